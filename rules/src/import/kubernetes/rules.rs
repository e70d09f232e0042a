//! From what policy objects say to `[[rule]]`s.
//!
//! A named port means a number of the destination, and may mean another number at each pod. So pods carry the label
//! `port.PROTOCOL/NAME = NUMBER` for every name that a policy uses, and for each number among the pods that a rule can mean
//! there is one rule: its destination has the label of that number, its service is that port.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Import;
use super::pod::Pod;
use super::ports::PortEntry;
use super::selector::written;
use crate::address::Prefix;
use crate::diagnostic::Code;
use crate::proto::{Protocol, Service};
use crate::rule::{Action, Tier};
use crate::segment::Labels;
use crate::selector::{LabelExpression, Operator, Requirement};
use crate::source::Span;
use crate::verdict::Gate;

/// Some of those that a rule speaks of.
#[derive(Clone, Debug)]
pub(super) enum Peer {
    /// Pods.
    Pods(LabelExpression),
    /// Everybody whose address lies in the network of that name.
    Network(String),
}

/// Those that a rule speaks of.
#[derive(Clone, Debug)]
pub(super) enum Peers {
    Any,
    Some(Vec<Peer>),
}

/// What one entry of a policy object says, before its named ports are looked up.
pub(super) struct RuleDraft {
    pub(super) name: String,
    pub(super) tier: Tier,
    pub(super) priority: Option<u32>,
    pub(super) gate: Gate,
    pub(super) action: Action,
    /// Whom the policy is about.
    pub(super) subject: LabelExpression,
    /// The other end.
    pub(super) peers: Peers,
    /// `None`: every packet.
    pub(super) ports: Option<Vec<PortEntry>>,
    pub(super) why: String,
}

/// A rule as it will be written.
pub(super) struct RuleOut {
    pub(super) name: String,
    pub(super) tier: Tier,
    pub(super) priority: Option<u32>,
    pub(super) gate: Gate,
    pub(super) action: Action,
    pub(super) from: Vec<String>,
    pub(super) to: Vec<String>,
    pub(super) services: Vec<String>,
    pub(super) why: String,
}

/// A set of addresses: prefixes, and those that are taken out.
type Ranges = (Vec<Prefix>, Vec<Prefix>);

/// `[cidr]`: each set of addresses once, under a name that tells what it is.
#[derive(Default)]
pub(super) struct Networks {
    names: BTreeMap<Ranges, String>,
    taken: BTreeSet<String>,
}

impl Networks {
    pub(super) fn name(&mut self, include: Prefix, mut except: Vec<Prefix>) -> String {
        except.sort();
        except.dedup();
        let ranges = (vec![include], except);
        if let Some(name) = self.names.get(&ranges) {
            return name.clone();
        }
        let mut name = include.to_string();
        for (at, prefix) in ranges.1.iter().enumerate() {
            match at {
                0 => name += &format!("-but-{prefix}"),
                1 => name += &format!("-and-{}-more", ranges.1.len() - 1),
                _ => break,
            }
        }
        let base = name.clone();
        let mut number = 2;
        while !self.taken.insert(name.clone()) {
            name = format!("{base}-{number}");
            number += 1;
        }
        self.names.insert(ranges, name.clone());
        name
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &[Prefix], &[Prefix])> {
        self.names.iter().map(|((include, except), name)| (name, &**include, &**except))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

/// The label that says which number a name means at a pod.
pub(super) fn port_label(protocol: Protocol, name: &str) -> Arc<str> {
    format!("port.{protocol}/{name}").into()
}

/// The pods, as the rules see them.
pub(super) struct Directory {
    /// Each pod's labels as the policy file will have them, without those of ports.
    pub(super) labels: Vec<Labels>,
    /// The names that some rule uses.
    pub(super) used_ports: BTreeSet<(Protocol, String)>,
}

/// Turns a draft into rules.
pub(super) fn rules(
    draft: RuleDraft,
    pods: &[Pod],
    directory: &mut Directory,
    import: &mut Import,
) -> Vec<RuleOut> {
    let mut rules = Vec::new();
    let mut services: Vec<Service> = Vec::new();
    let mut named = Vec::new();
    match &draft.ports {
        None => services.push(Service::ANY),
        Some(entries) => {
            for entry in entries {
                match entry {
                    PortEntry::Service(service) => services.push(*service),
                    PortEntry::Named { name, protocols, span } => named.push((name, protocols, *span)),
                }
            }
        }
    }
    services.dedup();
    if !services.is_empty() {
        let services = services.iter().map(Service::to_string).collect();
        rules.push(draft.rule(None, services, String::new()));
    }
    let mut seen = BTreeSet::new();
    for (name, protocols, span) in named {
        let mut found = false;
        for protocol in protocols {
            if !seen.insert((name, *protocol)) {
                found = true;
                continue;
            }
            let numbers = draft.numbers_at_destination(name, *protocol, span, pods, directory, import);
            found |= !numbers.is_empty();
            for number in numbers {
                directory.used_ports.insert((*protocol, name.clone()));
                let requirement = Requirement {
                    key: port_label(*protocol, name),
                    operator: Operator::In(vec![number.to_string().into()]),
                };
                let service = vec![format!("{protocol}/{number}")];
                rules.push(draft.rule(Some(requirement), service, format!(" {name}={protocol}/{number}")));
            }
        }
        if !found {
            let message =
                format!("no pod that this rule can mean has a port called `{name}`: it matches nothing");
            import.sink.report(Code::ImportRemark, span, message);
        }
    }
    rules
}

impl RuleDraft {
    /// The numbers that a name has among the pods that may be the destination.
    fn numbers_at_destination(
        &self,
        name: &str,
        protocol: Protocol,
        span: Span,
        pods: &[Pod],
        directory: &Directory,
        import: &mut Import,
    ) -> BTreeSet<u16> {
        let own = [Peer::Pods(self.subject.clone())];
        let destination = match (self.gate, &self.peers) {
            (Gate::Ingress, _) => Some(&own[..]),
            (Gate::Egress, Peers::Some(peers)) => Some(&**peers),
            (Gate::Egress, Peers::Any) => None,
        };
        if let Some(destination) = destination
            && destination.iter().any(|peer| matches!(peer, Peer::Network(_)))
        {
            let message = format!("the named port `{name}` cannot be looked up at a range of addresses");
            import.unsupported(span, message);
        }
        let is_destination = |labels: &Labels| {
            destination.is_none_or(|peers| {
                peers.iter().any(|peer| matches!(peer, Peer::Pods(pods) if pods.matches(labels)))
            })
        };
        let number = |pod: &Pod| number_of(pod, protocol, name);
        let pods = pods.iter().zip(&directory.labels).filter(|(_, labels)| is_destination(labels));
        pods.filter_map(|(pod, _)| number(pod)).collect()
    }

    /// A rule of the draft; the destination fulfils `requirement` too, where there is one.
    fn rule(&self, requirement: Option<Requirement>, services: Vec<String>, suffix: String) -> RuleOut {
        let narrowed = requirement.is_some();
        let narrow = |expression: &LabelExpression| {
            let mut expression = expression.clone();
            expression.requirements.extend(requirement.clone());
            written(&expression)
        };
        let subject = match self.gate {
            Gate::Ingress => narrow(&self.subject),
            Gate::Egress => written(&self.subject),
        };
        let peers = match (&self.peers, self.gate, &requirement) {
            (Peers::Any, Gate::Egress, Some(_)) => vec![narrow(&LabelExpression::default())],
            (Peers::Any, ..) => Vec::new(),
            (Peers::Some(peers), gate, _) => {
                let narrowed = narrowed && gate == Gate::Egress;
                let peers = peers.iter().filter_map(|peer| match peer {
                    Peer::Pods(pods) if narrowed => Some(narrow(pods)),
                    Peer::Pods(pods) => Some(written(pods)),
                    // No named port can be looked up there, which has been said.
                    Peer::Network(_) if narrowed => None,
                    Peer::Network(name) => Some(format!("cidr:{name}")),
                });
                peers.collect()
            }
        };
        let (from, to) = match self.gate {
            Gate::Ingress => (peers, vec![subject]),
            Gate::Egress => (vec![subject], peers),
        };
        RuleOut {
            name: format!("{}{suffix}", self.name),
            tier: self.tier,
            priority: self.priority,
            gate: self.gate,
            action: self.action,
            from,
            to,
            services,
            why: self.why.clone(),
        }
    }
}

/// The number that a name means at a pod: its first container's that has it (as Kubernetes looks it up).
pub(super) fn number_of(pod: &Pod, protocol: Protocol, name: &str) -> Option<u16> {
    let port = pod.ports.iter().find(|port| port.protocol == protocol && port.name == name);
    port.map(|port| port.number)
}
