//! Running `[[test]]`s: does a policy keep what its author promises?
//!
//! A test lists services; a service may be a box of many packets, and a box is tried at every packet at which
//! the policy's rules could tell a difference: a decision cannot change between two edges of the rules' own boxes.
//! So a passing test holds for all packets of the box, not for a sample.
//!
//! The engine is a parameter: the same tests run on the reference evaluator and on the compiled object. Packet tests
//! need a pipeline and are run where there is one.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::endpoint::{Endpoint, Party};
use crate::identity::RuleId;
use crate::policy::Policy;
use crate::port_range::PortRange;
use crate::proto::{Layer4, Protocol, Service};
use crate::test_case::{Check, TestCase, TestParty};
use crate::verdict::{Decider, Decision};

/// A flow that does not do what a test says.
#[derive(Clone, Debug)]
pub struct Broken {
    /// Index of the test.
    pub test: usize,
    /// The source.
    pub from: Party,
    /// The destination.
    pub to: Party,
    /// A packet at which it shows.
    pub layer4: Layer4,
    /// What the test says.
    pub expected: Expected,
    /// What the policy does.
    pub decision: Decision,
}

/// What a test says of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It passes.
    Allowed,
    /// It is refused.
    Denied,
    /// It passes because of this rule, at both gates.
    AllowedBy(RuleId),
}

/// Runs the reach tests among `tests` on an engine. `report` hears of every pair and service that breaks one, with the first
/// packet that shows it.
///
/// Cost: tests x address pairs x edges of the rules inside each service.
pub fn verify(
    policy: &Policy,
    tests: &[TestCase],
    mut decide: impl FnMut(Party, Party, Layer4) -> Decision,
    mut report: impl FnMut(Broken),
) {
    let edges = Edges::of(policy);
    for (test, case) in tests.iter().enumerate() {
        let Check::Reach { from, to, allow, deny, by } = &case.check else { continue };
        let expected = by.map_or(Expected::Allowed, Expected::AllowedBy);
        let pairs = pairs(policy, from, to);
        for (services, expected) in [(allow, expected), (deny, Expected::Denied)] {
            for service in services {
                let packets: Vec<Layer4> = edges.packets(service).collect();
                for (from, to) in pairs.iter().copied() {
                    let carried = packets.iter().filter(|packet| can_carry(from.address, packet.protocol));
                    let broken = carried.copied().find_map(|layer4| {
                        let decision = decide(from, to, layer4);
                        (!expected.is_met_by(&decision)).then_some(Broken {
                            test,
                            from,
                            to,
                            layer4,
                            expected,
                            decision,
                        })
                    });
                    broken.into_iter().for_each(&mut report);
                }
            }
        }
    }
}

impl Expected {
    fn is_met_by(self, decision: &Decision) -> bool {
        let decided_by = |rule| {
            // An end without a gate has nothing to decide.
            [&decision.egress, &decision.ingress]
                .iter()
                .all(|gate| gate.decider == Decider::Rule(rule) || gate.decider == Decider::NoGate)
        };
        match self {
            Self::Allowed => decision.verdict.is_allow(),
            Self::Denied => !decision.verdict.is_allow(),
            Self::AllowedBy(rule) => decision.verdict.is_allow() && decided_by(rule),
        }
    }
}

/// ICMP belongs to IPv4 and ICMPv6 to IPv6; an end without an address takes either.
fn can_carry(address: Option<IpAddr>, protocol: Protocol) -> bool {
    !matches!(
        (address, protocol),
        (Some(IpAddr::V4(_)), Protocol::ICMPV6) | (Some(IpAddr::V6(_)), Protocol::ICMP)
    )
}

/// Every pair of addresses of one family; a workload is not asked about itself.
fn pairs(policy: &Policy, from: &[TestParty], to: &[TestParty]) -> Vec<(Party, Party)> {
    let parties =
        |list: &[TestParty]| list.iter().flat_map(|party| addresses(policy, *party)).collect::<Vec<_>>();
    let (sources, destinations) = (parties(from), parties(to));
    let one_family = |a: &Party, b: &Party| match (a.address, b.address) {
        (Some(a), Some(b)) => a.is_ipv4() == b.is_ipv4(),
        _ => true,
    };
    sources
        .iter()
        .flat_map(|from| destinations.iter().map(move |to| (*from, *to)))
        .filter(|(from, to)| from.endpoint != to.endpoint || from.endpoint == Endpoint::World)
        .filter(|(from, to)| one_family(from, to))
        .collect()
}

fn addresses(policy: &Policy, party: TestParty) -> Vec<Party> {
    match party {
        TestParty::World(address) => vec![Party { endpoint: Endpoint::World, address: Some(address) }],
        TestParty::Workload(id) => {
            let endpoint = Endpoint::Workload(id);
            let declared = &policy.workloads[id.index()].addresses;
            if declared.is_empty() {
                return vec![Party { endpoint, address: None }];
            }
            declared.iter().map(|address| Party { endpoint, address: Some(*address) }).collect()
        }
    }
}

/// Where the rules' boxes begin and end.
struct Edges {
    protocols: BTreeSet<Protocol>,
    sources: BTreeSet<u16>,
    destinations: BTreeSet<u16>,
}

impl Edges {
    fn of(policy: &Policy) -> Self {
        let mut edges =
            Self { protocols: BTreeSet::new(), sources: BTreeSet::new(), destinations: BTreeSet::new() };
        let rules = policy.rules.iter();
        for service in rules
            .flat_map(|rule| rule.services.iter().chain(rule.except.iter().flat_map(|hole| &hole.services)))
        {
            edges.protocols.extend(service.protocol);
            edges.sources.extend(begins(service.source));
            edges.destinations.extend(begins(service.destination));
        }
        // Stands for all protocols that no rule names (253 is for experiments, RFC 3692).
        edges.protocols.extend([
            Protocol::TCP,
            Protocol::UDP,
            Protocol::ICMP,
            Protocol::ICMPV6,
            Protocol(253),
        ]);
        edges
    }

    /// Packets of `service`, one for each way in which the rules could tell them apart.
    fn packets<'a>(&'a self, service: &'a Service) -> impl Iterator<Item = Layer4> + 'a {
        let protocols: Vec<Protocol> = match service.protocol {
            Some(protocol) => vec![protocol],
            None => self.protocols.iter().copied().collect(),
        };
        protocols.into_iter().flat_map(move |protocol| {
            let sources = if protocol.has_ports() { within(&self.sources, service.source) } else { vec![0] };
            let destinations = match protocol.has_ports() || protocol.has_icmp_type() {
                true => within(&self.destinations, service.destination),
                false => vec![0],
            };
            sources.into_iter().flat_map(move |source| {
                destinations.clone().into_iter().map(move |destination| Layer4 {
                    protocol,
                    source,
                    destination,
                })
            })
        })
    }
}

/// The first number inside a range and the first one behind it.
fn begins(range: PortRange) -> impl Iterator<Item = u16> {
    [Some(range.first()), range.last().checked_add(1)].into_iter().flatten()
}

/// Both ends of a range, and of every stretch into which the edges cut it. One end of each would do for an engine that is
/// right; the other finds one that is wrong by one.
fn within(edges: &BTreeSet<u16>, range: PortRange) -> Vec<u16> {
    let inside = edges.range(range.first()..=range.last()).filter(|edge| **edge != range.first());
    let ends = inside.flat_map(|edge| [edge - 1, *edge]);
    let mut numbers: Vec<u16> = [range.first(), range.last()].into_iter().chain(ends).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::load_text;
    use crate::oracle::Oracle;

    const TOPOLOGY: &str = r#"
version = 1
[segment.lan]
subnet = ["10.0.0.0/24", "fd00::/64"]
[workload.a]
segment = "lan"
ip = ["10.0.0.1", "fd00::1"]
[workload.b]
segment = "lan"
ip = ["10.0.0.2", "fd00::2"]
"#;

    fn broken(rest: &str) -> Vec<(usize, String)> {
        let loaded =
            load_text("test.toml", &format!("{TOPOLOGY}{rest}")).unwrap_or_else(|error| panic!("{error}"));
        let oracle = Oracle::new(&loaded.policy, "2026-01-01".parse().unwrap());
        let mut found = Vec::new();
        let decide = |from, to, layer4| oracle.decide(from, to, layer4);
        verify(&loaded.policy, &loaded.policy.tests, decide, |broken| {
            found.push((broken.test, format!("{} {}", broken.from.address.unwrap(), broken.layer4)));
        });
        found
    }

    #[test]
    fn a_range_is_tried_at_every_edge_of_the_rules() {
        let found = broken(
            r#"
[[rule]]
name = "most"
from = "name=a"
to = "name=b"
allow = ["tcp"]
except = [{ services = ["tcp/8081"] }]
[[test]]
name = "all of it"
from = "a"
to = "b"
allow = ["tcp/8000-9000"]
"#,
        );
        assert_eq!(found, [(0, "10.0.0.1 tcp/8081".to_owned()), (0, "fd00::1 tcp/8081".to_owned())]);
    }

    #[test]
    fn by_names_the_rule_that_must_decide_at_both_gates() {
        let rules = r#"
[[rule]]
name = "ping"
from = "name=a"
to = "name=b"
allow = ["icmp/echo-request", "icmp6/echo-request"]
[[rule]]
name = "ping-out"
side = "egress"
priority = 1
from = "name=a"
allow = ["icmp6/echo-request"]
[[test]]
name = "ping"
from = "a"
to = "b"
allow = ["icmp/echo-request", "icmp6/echo-request"]
deny = ["tcp"]
by = "ping"
"#;
        assert_eq!(broken(rules), [(0, "fd00::1 icmp6/echo-request".to_owned())]);
    }
}
