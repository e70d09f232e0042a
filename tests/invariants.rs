//! Invariants against the reference evaluator: what is said to be broken is, by the packet that is shown; and what is
//! said to hold holds for every packet that can tell anything apart.

#[path = "support/policies.rs"]
mod policies;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use policies::{packets, parties, policy, selector, services, today};
use proptest::prelude::*;
use septum_classifier::{AdmittedFlow, Classifier, InvariantChecker};
use septum_rules::endpoint::{Endpoint, Party};
use septum_rules::identity::WorkloadId;
use septum_rules::invariant::{Claim, Flows, Invariant};
use septum_rules::load::load_text;
use septum_rules::oracle::Oracle;
use septum_rules::policy::Policy;
use septum_rules::proto::{Layer4, Protocol, Service};
use septum_rules::selector::Selector;
use septum_rules::source::Span;

fn invariant(claim: Claim) -> Invariant {
    Invariant { name: "promised".into(), claim, span: Span::default() }
}

fn violation(policy: &Policy, claim: Claim) -> Option<Vec<AdmittedFlow>> {
    let classifier = Classifier::build(policy, today()).expect("it fits");
    InvariantChecker::new(&classifier, policy).violation(&invariant(claim))
}

/// Whether a packet of the party can be on a wire.
fn is_real(policy: &Policy, party: Party) -> bool {
    match (party.endpoint, party.address) {
        (Endpoint::Init, _) => false,
        (Endpoint::Workload(id), address) => {
            let own: Vec<IpAddr> = policy.workloads[id.index()].all_addresses().collect();
            address.map_or(own.is_empty(), |address| own.contains(&address))
        }
        (_, None) => false,
        (_, Some(IpAddr::V4(address))) => {
            !(address.octets()[0] == 0 || address.is_loopback() || address.octets()[0] >= 224)
        }
        (_, Some(IpAddr::V6(address))) => {
            !(address.is_multicast() || address.to_ipv4().is_some() || address.is_unspecified())
        }
    }
}

/// Whether a packet can go from one to the other.
fn can_go(from: Party, to: Party, layer4: Layer4) -> bool {
    let workload = |party: Party| matches!(party.endpoint, Endpoint::Workload(_));
    let families: BTreeSet<bool> =
        [from.address, to.address].into_iter().flatten().map(|address| address.is_ipv4()).collect();
    let carried = match layer4.protocol {
        Protocol::ICMP => !families.contains(&false),
        Protocol::ICMPV6 => !families.contains(&true),
        _ => true,
    };
    families.len() < 2 && carried && (workload(from) || workload(to)) && from.endpoint != to.endpoint
}

/// What a claim forbids, asked of one packet.
fn forbids(oracle: &Oracle<'_>, flows: &Flows, never: bool, from: Party, to: Party, layer4: Layer4) -> bool {
    oracle.selector_matches(&flows.from, from) == never
        && oracle.selector_matches(&flows.to, to)
        && flows.services.iter().any(|service| service.matches(layer4))
        && oracle.decide(from, to, layer4).verdict.is_allow()
}

/// Every packet at and beside an edge, of the claim's services too.
fn all_packets(policy: &Policy, services: &[Service]) -> Vec<Layer4> {
    let mut policy = policy.clone();
    if let Some(mut rule) = policy.rules.first().cloned() {
        rule.services = services.to_vec();
        policy.rules.push(rule);
    }
    let mut packets = packets(&policy);
    packets.extend(services.iter().map(|service| Layer4 {
        protocol: service.protocol.unwrap_or(Protocol::TCP),
        source: service.source.first(),
        destination: service.destination.first(),
    }));
    packets
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn never_and_only_are_decided_for_every_packet(
        policy in policy(), from in selector(), to in selector(), services in services(), never in any::<bool>(),
    ) {
        let flows = Flows { from, to, services };
        let claim = if never { Claim::Never(flows.clone()) } else { Claim::Only(flows.clone()) };
        let oracle = Oracle::new(&policy, today());
        if let Some(hops) = violation(&policy, claim) {
            prop_assert_eq!(hops.len(), 1);
            let AdmittedFlow { source, destination, layer4, .. } = hops[0];
            prop_assert!(is_real(&policy, source) && is_real(&policy, destination), "{:?}", hops);
            prop_assert!(can_go(source, destination, layer4), "{:?}", hops);
            prop_assert!(forbids(&oracle, &flows, never, source, destination, layer4), "{:?}", hops);
            return Ok(());
        }
        let parties: Vec<Party> = parties(&policy).into_iter().filter(|it| is_real(&policy, *it)).collect();
        let packets = all_packets(&policy, &flows.services);
        for from in &parties {
            for to in &parties {
                for layer4 in packets.iter().filter(|layer4| can_go(*from, *to, **layer4)) {
                    let missed = forbids(&oracle, &flows, never, *from, *to, *layer4);
                    prop_assert!(!missed, "{:?} -> {:?} {}", from, to, layer4);
                }
            }
        }
    }

    #[test]
    fn a_blast_radius_is_decided_over_any_number_of_hops(
        policy in policy(), of in selector(), at_most in prop::collection::btree_set(0..8_u32, 0..3),
    ) {
        let at_most: Vec<WorkloadId> =
            at_most.into_iter().filter(|id| (*id as usize) < policy.workloads.len()).map(WorkloadId).collect();
        let oracle = Oracle::new(&policy, today());
        let (begun, reached) = spread(&oracle, &of);
        let escaped: Vec<&Endpoint> = reached
            .iter()
            .filter(|it| !begun.contains(it))
            .filter(|it| !matches!(it, Endpoint::Workload(id) if at_most.contains(id)))
            .collect();
        let found = violation(&policy, Claim::BlastRadius { of: of.clone(), at_most });
        prop_assert_eq!(found.is_some(), !escaped.is_empty(), "{:?} {:?}", found, escaped);
        let Some(hops) = found else { return Ok(()) };
        prop_assert!(begun.contains(&hops[0].source.endpoint), "{:?}", hops);
        prop_assert!(escaped.contains(&&hops.last().unwrap().destination.endpoint), "{:?}", hops);
        for pair in hops.windows(2) {
            prop_assert_eq!(pair[0].destination.endpoint, pair[1].source.endpoint);
        }
        for AdmittedFlow { source, destination, layer4, .. } in hops {
            prop_assert!(can_go(source, destination, layer4));
            prop_assert!(oracle.decide(source, destination, layer4).verdict.is_allow());
        }
    }
}

/// With whom an attacker begins, and whom it reaches, asking the evaluator about every packet.
fn spread(oracle: &Oracle<'_>, of: &Selector) -> (BTreeSet<Endpoint>, BTreeSet<Endpoint>) {
    let policy = oracle.policy();
    let everybody: Vec<Party> = parties(policy).into_iter().filter(|it| is_real(policy, *it)).collect();
    let packets = all_packets(policy, &[Service::ANY]);
    let meant = |party: &&Party| oracle.selector_matches(of, **party);
    let begun: BTreeSet<Endpoint> = everybody.iter().filter(meant).map(|party| party.endpoint).collect();
    let mut attackers: Vec<Party> = everybody
        .iter()
        .filter(|party| match party.endpoint {
            // A compromised workload attacks from each of its addresses; elsewhere an address is all there is.
            Endpoint::Workload(_) => begun.contains(&party.endpoint),
            _ => meant(party),
        })
        .copied()
        .collect();
    let mut reached = BTreeSet::new();
    while let Some(from) = attackers.pop() {
        for to in everybody.iter().filter(|to| matches!(to.endpoint, Endpoint::Workload(_))) {
            let passes = |layer4: &Layer4| {
                can_go(from, *to, *layer4) && oracle.decide(from, *to, *layer4).verdict.is_allow()
            };
            if !begun.contains(&to.endpoint) && !reached.contains(&to.endpoint) && packets.iter().any(passes)
            {
                reached.insert(to.endpoint);
                attackers.extend(everybody.iter().filter(|party| party.endpoint == to.endpoint));
            }
        }
    }
    (begun, reached)
}

#[test]
fn the_way_of_an_attacker_is_shown_hop_by_hop() {
    let text = r#"version = 1
[segment.lan]
[workload.a]
segment = "lan"
[workload.b]
segment = "lan"
[workload.c]
segment = "lan"
[[rule]]
name = "ab"
from = "name=a"
to = "name=b"
allow = ["tcp/80"]
[[rule]]
name = "bc"
from = "name=b"
to = "name=c"
allow = ["udp/53"]
[[invariant]]
name = "a reaches b at most"
blast_radius = { of = "name=a", at_most = ["b"] }
[[invariant]]
name = "a reaches b and c at most"
blast_radius = { of = "name=a", at_most = ["b", "c"] }
"#;
    let policy = load_text("policy.toml", text).unwrap_or_else(|error| panic!("{error}")).policy;
    let found = violation(&policy, policy.invariants[0].claim.clone()).expect("c is reached");
    let name = |party: Party| match party.endpoint {
        Endpoint::Workload(id) => Arc::clone(&policy.workloads[id.index()].name),
        other => format!("{other:?}").into(),
    };
    let hops: Vec<String> = found
        .iter()
        .map(|hop| format!("{} -> {} {}", name(hop.source), name(hop.destination), hop.layer4))
        .collect();
    assert_eq!(hops, ["a -> b tcp/80", "b -> c udp/53"]);
    assert_eq!(violation(&policy, policy.invariants[1].claim.clone()), None);
}
