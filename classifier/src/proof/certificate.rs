//! Certificates: which policy was proved equal to which object, as digests that are the same on every machine.
//!
//! Neither digest knows of layouts, numbers or orders that mean nothing. The source is all that gates read of the
//! policy, in the order of names: comments, file order and devices do not change it. The object is what its lookups
//! say, walked as the proof walks it: ends, programs and verdicts are numbered as they are met, rules are named.
//!
//! Cost: the policy, and every pair of ends once. A certificate is asked for after a proof, which costs more.

use std::fmt;
use std::hash::Hash;

use hashbrown::HashMap;
use septum_rules::address::Prefix;
use septum_rules::identity::RuleId;
use septum_rules::policy::Policy;
use septum_rules::proto::{Protocol, Service};
use septum_rules::rule::Rule;
use septum_rules::selector::{Alternative, Operator, Selector};
use septum_rules::verdict::{Decider, GateDecision};
use sha2::{Digest as _, Sha256};

use super::answer::Answer;
use super::parties::End;
use crate::Classifier;
use crate::layer4::Side;

/// A SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

/// As hexadecimal digits.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What was proved equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// What gates read of the policy.
    pub source: Digest,
    /// What the object's lookups say.
    pub object: Digest,
}

impl Certificate {
    /// One digest over both.
    pub fn digest(&self) -> Digest {
        let mut writer = Writer::new("septum certificate 1");
        writer.bytes(&self.source.0);
        writer.bytes(&self.object.0);
        writer.finish()
    }
}

impl Classifier {
    /// The certificate of this object, compiled from `policy`. It says what was proved, not that it was: ask
    /// [`Classifier::prove`] first.
    ///
    /// # Panics
    /// As [`Classifier::prove`].
    pub fn certificate(&self, policy: &Policy) -> Certificate {
        self.assert_plain();
        Certificate { source: source(policy), object: Object::new(self, policy).digest() }
    }
}

/// Parts, each with its length, so that no two sequences of parts are one text.
struct Writer(Sha256);

impl Writer {
    fn new(kind: &str) -> Self {
        let mut writer = Self(Sha256::new());
        writer.text(kind);
        writer
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// A plain value, by what it prints as; never text from a policy.
    fn value(&mut self, value: impl fmt::Debug) {
        self.text(&format!("{value:?}"));
    }

    fn numbers(&mut self, numbers: &[u128]) {
        numbers.iter().for_each(|number| self.0.update(number.to_be_bytes()));
    }

    fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.0.update((items.len() as u64).to_be_bytes());
        items.iter().for_each(|item| write(self, item));
    }

    fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

fn sorted<T: Ord + Clone>(items: &[T]) -> Vec<T> {
    let mut items = items.to_vec();
    items.sort_unstable();
    items.dedup();
    items
}

fn by_name<T>(items: &[T], name: impl Fn(&T) -> &str) -> Vec<&T> {
    let mut items: Vec<&T> = items.iter().collect();
    items.sort_by(|a, b| name(a).cmp(name(b)));
    items
}

/// What gates read of a policy.
fn source(policy: &Policy) -> Digest {
    let mut writer = Writer::new("septum source 1");
    let settings = policy.settings;
    writer.value((settings.default_allow, settings.deny_with));
    writer.list(&by_name(&policy.segments, |it| &it.name), |writer, segment| {
        writer.text(&segment.name);
        writer.value((sorted(&segment.gateways), segment.isolated));
    });
    writer.list(&by_name(&policy.workloads, |it| &it.name), |writer, workload| {
        writer.text(&workload.name);
        writer.text(&policy.segments[workload.segment.index()].name);
        writer.value((workload.mac, sorted(&workload.addresses)));
        writer.value((workload.promiscuous, workload.open, workload.audit));
        let labels: Vec<_> = workload.labels.iter().collect();
        writer.list(&labels, |writer, (key, value)| {
            writer.text(key);
            writer.text(value);
        });
    });
    writer.list(&by_name(&policy.networks, |it| &it.name), |writer, network| {
        writer.text(&network.name);
        for prefixes in [&network.include, &network.except] {
            writer.list(&sorted(prefixes), |writer, prefix: &Prefix| writer.text(&prefix.to_string()));
        }
    });
    writer.list(&by_name(&policy.rules, |it| &it.name), |writer, rule| write_rule(writer, policy, rule));
    writer.finish()
}

fn write_rule(writer: &mut Writer, policy: &Policy, rule: &Rule) {
    writer.text(&rule.name);
    writer.value((rule.tier, rule.priority, rule.action, rule.side));
    writer.value((rule.expires.map(|day| day.to_string()), rule.audit, rule.log, rule.deny_with));
    write_selector(writer, policy, &rule.from);
    write_selector(writer, policy, &rule.to);
    write_services(writer, &rule.services);
    writer.list(&rule.except, |writer, hole| {
        write_selector(writer, policy, &hole.from);
        write_selector(writer, policy, &hole.to);
        write_services(writer, &hole.services);
    });
}

fn write_services(writer: &mut Writer, services: &[Service]) {
    writer.list(&sorted(services), |writer, service| {
        let ranges = [service.source, service.destination].map(|range| (range.first(), range.last()));
        writer.value((service.protocol.map(|protocol| protocol.0), ranges));
    });
}

fn write_selector(writer: &mut Writer, policy: &Policy, selector: &Selector) {
    writer.list(&selector.alternatives, |writer, alternative| match alternative {
        Alternative::Any => writer.text("any"),
        Alternative::World => writer.text("world"),
        Alternative::Network(network) => {
            writer.text("cidr");
            writer.text(&policy.networks[network.index()].name);
        }
        Alternative::Labels(expression) => {
            writer.text("labels");
            writer.list(&expression.requirements, |writer, requirement| {
                writer.text(&requirement.key);
                let (operator, values) = match &requirement.operator {
                    Operator::In(values) => ("in", &values[..]),
                    Operator::NotIn(values) => ("notin", &values[..]),
                    Operator::Exists => ("exists", &[][..]),
                    Operator::DoesNotExist => ("absent", &[][..]),
                };
                writer.text(operator);
                writer.list(&sorted(values), |writer, value| writer.text(value));
            });
        }
    });
}

/// Values by the order in which they are met.
struct Met<T> {
    known: HashMap<T, u32, ahash::RandomState>,
    values: Vec<T>,
}

impl<T: Copy + Eq + Hash> Met<T> {
    fn new() -> Self {
        Self { known: HashMap::default(), values: Vec::new() }
    }

    fn number(&mut self, value: T) -> u128 {
        let number = *self.known.entry(value).or_insert_with(|| {
            self.values.push(value);
            self.values.len() as u32 - 1
        });
        number.into()
    }
}

/// Walks an object.
struct Object<'a> {
    classifier: &'a Classifier,
    policy: &'a Policy,
    writer: Writer,
    sources: Met<Option<End>>,
    destinations: Met<Option<End>>,
}

impl<'a> Object<'a> {
    fn new(classifier: &'a Classifier, policy: &'a Policy) -> Self {
        let writer = Writer::new("septum object 1");
        Self { classifier, policy, writer, sources: Met::new(), destinations: Met::new() }
    }

    fn digest(mut self) -> Digest {
        let classifier = self.classifier;
        self.writer.value(classifier.valid_until().map(|day| day.to_string()));
        let addresses = &classifier.addresses;
        for stretches in [addresses.ipv4.stretches(), addresses.ipv6.stretches()] {
            self.writer.numbers(&[stretches.len() as u128]);
            for (first, identity) in stretches {
                self.writer.numbers(&[first]);
                self.identity(identity);
            }
        }
        let mut workloads: Vec<_> = self.policy.workloads.iter().zip(&*addresses.workloads).collect();
        workloads.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        for (_, without) in workloads {
            let identities = [without.none, without.unspecified_ipv4, without.unspecified_ipv6];
            identities.iter().for_each(|identity| self.identity(Some(identity.0)));
        }
        for identity in [addresses.gateway, addresses.world, classifier.init_identity()] {
            self.identity(Some(identity.0));
        }
        self.layer4();
        self.pairs();
        self.writer.finish()
    }

    fn identity(&mut self, identity: Option<u32>) {
        let trie = &self.classifier.trie;
        let source = self.sources.number(identity.and_then(|identity| trie.source_end(identity)));
        let destination = self.destinations.number(identity.and_then(|it| trie.destination_end(it)));
        self.writer.numbers(&[source, destination]);
    }

    fn layer4(&mut self) {
        let layer4 = &self.classifier.layer4;
        self.writer.numbers(&[layer4.count().into()]);
        let mut groups = Met::new();
        for protocol in (0..=u8::MAX).map(Protocol) {
            let known = groups.values.len() as u128;
            let number = groups.number(layer4.group(protocol));
            self.writer.numbers(&[number]);
            if number == known {
                for side in [Side::Source, Side::Destination] {
                    let values = layer4.side(protocol, side);
                    self.writer.list(&values, |writer, (port, value)| {
                        writer.numbers(&[u128::from(*port), optional(*value)]);
                    });
                }
            }
        }
    }

    /// The programs of all pairs, the verdicts of all programs, and what verdicts stand for.
    fn pairs(&mut self) {
        let (classifier, mut programs, mut verdicts) = (self.classifier, Met::new(), Met::new());
        let trie = &classifier.trie;
        for source in &self.sources.values {
            // Runs of equal programs, with their lengths.
            let mut run: Option<(u128, u128)> = None;
            for destination in &self.destinations.values {
                let ends = source.zip(*destination);
                let program =
                    ends.and_then(|(source, destination)| trie.program_between(source, destination));
                let program = programs.number(program);
                match &mut run {
                    Some((last, length)) if *last == program => *length += 1,
                    _ => self.writer.numbers(&run.replace((program, 1)).map_or([0; 2], <[u128; 2]>::from)),
                }
            }
            self.writer.numbers(&run.map_or([0; 2], <[u128; 2]>::from));
        }
        for program in programs.values {
            let mut runs = Vec::new();
            match program {
                Some(program) => trie.verdicts(program, 0, classifier.layer4.count(), |class, verdict| {
                    runs.push((class, verdicts.number(verdict)));
                }),
                None => runs.push((0, verdicts.number(None))),
            }
            // Where it may change, it need not.
            runs.dedup_by_key(|(_, verdict)| *verdict);
            self.writer
                .list(&runs, |writer, (class, verdict)| writer.numbers(&[u128::from(*class), *verdict]));
        }
        for verdict in verdicts.values {
            self.answer(classifier.answer(verdict));
        }
    }

    fn answer(&mut self, answer: Option<Answer>) {
        let Some(Answer { decision, rule, log, deny_with, audited }) = answer else {
            return self.writer.text("no answer");
        };
        self.writer.value((decision.verdict, log, deny_with, audited));
        self.rules(rule.as_slice());
        for GateDecision { admits, decider, audited, audited_rules } in [decision.egress, decision.ingress] {
            self.writer.value((admits, audited));
            match decider {
                Decider::Rule(rule) => self.rules(&[rule]),
                other => self.writer.value(other),
            }
            self.rules(&audited_rules);
        }
    }

    fn rules(&mut self, rules: &[RuleId]) {
        let policy = self.policy;
        self.writer.list(rules, |writer, rule| {
            writer.text(policy.rules.get(rule.index()).map_or("", |rule| &rule.name));
        });
    }
}

/// `None` as a number that no `u32` is.
fn optional(value: Option<u32>) -> u128 {
    value.map_or(1 << 32, u128::from)
}
