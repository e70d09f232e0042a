//! Whether a policy keeps its promises: every `[[test]]` and `[[invariant]]`, judged and told.
//!
//! Reach tests are decided on the reference evaluator and on the compiled object, and both must say the same; packet
//! tests go through the pipeline; invariants are decided on the compiled object for every packet, and the evaluator
//! confirms the witness. Who prints, and what, is the verb's business.

use std::sync::Arc;

use septum_classifier::{AdmittedFlow, InvariantChecker};
use septum_rules::endpoint::{Endpoint, Party};
use septum_rules::invariant::Invariant;
use septum_rules::oracle::Oracle;
use septum_rules::policy::Policy;
use septum_rules::proto::Layer4;
use septum_rules::source::{Place, Sources};
use septum_rules::test_case::TestCase;
use septum_rules::verdict::Decision;
use septum_rules::verify::{Broken, Expected, verify};

use super::failure::Failure;
use crate::packet_test;
use crate::snapshot::CompiledPolicy;

/// Flows of one promise that are told; more of them say nothing new.
const MOST_FLOWS: usize = 10;

/// What kind of promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A `[[test]]`.
    Test,
    /// An `[[invariant]]`.
    Invariant,
}

impl Kind {
    /// As policies write it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Test => "test",
            Self::Invariant => "invariant",
        }
    }
}

/// A promise and what became of it.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) kind: Kind,
    pub(super) name: Arc<str>,
    pub(super) place: Place,
    /// What breaks it, a sentence each; empty where it is kept.
    pub(super) breaches: Vec<String>,
    /// Breaches that have no sentence of their own.
    pub(super) more: usize,
}

impl Outcome {
    fn new(kind: Kind, name: &Arc<str>, place: Place) -> Self {
        Self { kind, name: Arc::clone(name), place, breaches: Vec::new(), more: 0 }
    }

    pub(super) fn is_kept(&self) -> bool {
        self.breaches.is_empty()
    }

    fn breach(&mut self, sentence: impl FnOnce() -> String) {
        if self.breaches.len() < MOST_FLOWS {
            self.breaches.push(sentence());
        } else {
            self.more += 1;
        }
    }

    /// What breaks it, a line each, with the place of the promise.
    pub(super) fn tell(&self) -> Vec<String> {
        let Self { kind, name, place, .. } = self;
        let line = |sentence: &dyn std::fmt::Display| {
            format!("{place}: {} `{name}` is broken: {sentence}", kind.name())
        };
        let mut lines: Vec<String> = self.breaches.iter().map(|sentence| line(sentence)).collect();
        if self.more > 0 {
            lines.push(line(&format_args!("{} more flows", self.more)));
        }
        lines
    }
}

/// Judges tests, then invariants, in their order; `sources` is what their spans point into.
///
/// # Errors
/// When evaluator and compiled object disagree, which is a fault of this program.
pub(super) fn judge(
    compiled: &CompiledPolicy,
    tests: &[TestCase],
    invariants: &[Invariant],
    sources: &Sources,
) -> Result<Vec<Outcome>, Failure> {
    let policy = &*compiled.policy;
    let oracle = Oracle::new(policy, compiled.classifier.now());
    let by_oracle = broken(policy, tests, |from, to, layer4| oracle.decide(from, to, layer4));
    let by_object = broken(policy, tests, |from, to, layer4| compiled.classifier.decide(from, to, layer4));
    let flows = |found: &[Broken]| -> Vec<_> {
        found.iter().map(|broken| (broken.test, broken.from, broken.to, broken.layer4)).collect()
    };
    if flows(&by_oracle) != flows(&by_object) {
        return Err(disagreement());
    }
    let mut outcomes: Vec<Outcome> =
        tests.iter().map(|test| Outcome::new(Kind::Test, &test.name, sources.place(test.span))).collect();
    for broken in &by_object {
        outcomes[broken.test].breach(|| flow_breach(policy, broken));
    }
    for failed in packet_test::run_all(compiled, tests) {
        outcomes[failed.test].breach(|| failed.to_string());
    }
    let checker = InvariantChecker::new(&compiled.classifier, policy);
    for invariant in invariants {
        let mut outcome = Outcome::new(Kind::Invariant, &invariant.name, sources.place(invariant.span));
        if let Some(hops) = checker.violation(invariant) {
            for AdmittedFlow { source, destination, layer4, .. } in &hops {
                if !oracle.decide(*source, *destination, *layer4).verdict.is_allow() {
                    return Err(disagreement());
                }
            }
            outcome.breach(|| witness(compiled, &hops));
        }
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

fn disagreement() -> Failure {
    let reason = "the compiled policy differs from its meaning: a fault of septum, not of the policy";
    Failure::new(Failure::ENVIRONMENT, reason).fix("please report it, with the policy")
}

/// The packets that break an invariant, one behind the other.
fn witness(compiled: &CompiledPolicy, hops: &[AdmittedFlow]) -> String {
    let policy = &*compiled.policy;
    let hop = |flow: &AdmittedFlow| {
        let why = match compiled.classifier.verdict(flow.verdict).rule {
            Some(rule) => {
                format!("by rule `{}` at {}", policy.rules[rule.index()].name, policy.rule_place(rule))
            }
            None => "by default".to_owned(),
        };
        let (from, to) = (party_name(policy, flow.source), party_name(policy, flow.destination));
        format!("{from} -> {to} {} is admitted {why}", flow.layer4)
    };
    hops.iter().map(hop).collect::<Vec<_>>().join(", then ")
}

/// Judges what the policy itself promises.
///
/// # Errors
/// As [`judge`].
pub(super) fn judge_own(compiled: &CompiledPolicy) -> Result<Vec<Outcome>, Failure> {
    let policy = &*compiled.policy;
    judge(compiled, &policy.tests, &policy.invariants, &policy.sources)
}

fn broken(
    policy: &Policy,
    tests: &[TestCase],
    decide: impl FnMut(Party, Party, Layer4) -> Decision,
) -> Vec<Broken> {
    let mut found = Vec::new();
    verify(policy, tests, decide, |broken| found.push(broken));
    found
}

fn flow_breach(policy: &Policy, broken: &Broken) -> String {
    let promised = match broken.expected {
        Expected::Allowed => "allowed".to_owned(),
        Expected::Denied => "refused".to_owned(),
        Expected::AllowedBy(rule) => format!("allowed by `{}`", policy.rules[rule.index()].name),
    };
    let found = if broken.decision.verdict.is_allow() { "allowed" } else { "refused" };
    let why = match broken.decision.rule() {
        Some(rule) => format!("by rule `{}` at {}", policy.rules[rule.index()].name, policy.rule_place(rule)),
        None => "by default".to_owned(),
    };
    format!(
        "{} -> {} {} should be {promised}, and is {found} {why}",
        party_name(policy, broken.from),
        party_name(policy, broken.to),
        broken.layer4,
    )
}

/// A party as people know it: its name, its address behind.
pub(super) fn party_name(policy: &Policy, party: Party) -> String {
    let name = match party.endpoint {
        Endpoint::Gateway(segment) => format!("gateway of {}", policy.segments[segment.index()].name),
        Endpoint::World => "world".to_owned(),
        Endpoint::Workload(_) | Endpoint::Init => party_label(policy, party),
    };
    match party.address {
        Some(address) => format!("{name} ({address})"),
        None => name,
    }
}

/// A party in a word: a workload's name, of everybody else the address.
pub(super) fn party_label(policy: &Policy, party: Party) -> String {
    match (party.endpoint, party.address) {
        (Endpoint::Workload(workload), _) => policy.workloads[workload.index()].name.to_string(),
        (Endpoint::Init, _) => "init".to_owned(),
        (Endpoint::Gateway(_) | Endpoint::World, Some(address)) => address.to_string(),
        (Endpoint::Gateway(segment), None) => policy.segments[segment.index()].name.to_string(),
        (Endpoint::World, None) => "world".to_owned(),
    }
}
