//! The verdict cases as frames: what the evaluator admits arrives, what it refuses does not.

use std::path::Path;

use septum_rules::endpoint::{Endpoint, Party};
use septum_rules::oracle::Oracle;
use septum_rules::policy::Policy;
use septum_rules::proto::{Layer4, Protocol};
use septum_rules::verify::verify;

use crate::fabric::Fabric;

/// The names of two workloads between which there is a way, where both ends are that.
fn names(policy: &Policy, from: Party, to: Party) -> Option<(String, String, bool)> {
    let (Endpoint::Workload(a), Endpoint::Workload(b)) = (from.endpoint, to.endpoint) else { return None };
    let ipv4 = from.address?.is_ipv4();
    let (near, far) = (policy.segment_of(a), policy.segment_of(b));
    let routes = |gateways: &[std::net::IpAddr]| gateways.iter().any(|gateway| gateway.is_ipv4() == ipv4);
    let has_way = near.name == far.name || (routes(&near.gateways) && routes(&far.gateways));
    let name = |id: septum_rules::identity::WorkloadId| policy.workloads[id.index()].name.to_string();
    let are_stations = [a, b].iter().all(|id| policy.workloads[id.index()].mac.is_some());
    (has_way && are_stations).then(|| (name(a), name(b), ipv4))
}

/// Whether the packet can be the first of anything: ICMP errors, replies and the neighbourhood's own messages cannot.
fn opens(layer4: Layer4) -> bool {
    match layer4.icmp_type_code() {
        Some((icmp_type, code)) => {
            (layer4.protocol, icmp_type, code) == (Protocol::ICMP, 8, 0)
                || (layer4.protocol, icmp_type, code) == (Protocol::ICMPV6, 128, 0)
        }
        None => layer4.protocol != Protocol::IGMP,
    }
}

#[test]
fn frames_keep_every_promise_of_the_verdict_cases() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/verdicts");
    let mut sent = 0;
    for entry in std::fs::read_dir(&folder).expect("the cases are there") {
        let path = entry.expect("a folder that can be read").path();
        let mut fabric = Fabric::new(&std::fs::read_to_string(&path).expect("a case is text"));
        let policy = std::sync::Arc::clone(&fabric.snapshot.policy);
        let oracle = Oracle::new(&policy, crate::fabric::today());
        let decide = |from: Party, to: Party, layer4: Layer4| {
            let decision = oracle.decide(from, to, layer4);
            if let Some((from, to, ipv4)) = names(&policy, from, to).filter(|_| opens(layer4)) {
                fabric.forget();
                let happened = fabric.try_flow(&from, &to, ipv4, layer4);
                let what = format!("{}: {from} -> {to} {layer4}: {happened:?}", path.display());
                assert_eq!(happened.is_ok(), decision.verdict.is_allow(), "{what}");
                sent += 1;
            }
            decision
        };
        verify(&policy, &policy.tests, decide, |_| ());
    }
    assert!(sent > 200, "only {sent} frames were sent");
}
