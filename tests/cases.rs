//! Every file of `tests/cases/verdicts` is a policy with `[[test]]`s in its own words. The reference evaluator and
//! the compiled object must both keep them; a service of a test is tried at the corners of its box, for each pair of
//! addresses that two workloads have in one family.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use septum_classifier::Classifier;
use septum_rules::date::Date;
use septum_rules::endpoint::{Endpoint, Party};
use septum_rules::load::load_text;
use septum_rules::oracle::Oracle;
use septum_rules::policy::Policy;
use septum_rules::port_range::PortRange;
use septum_rules::proto::{Layer4, Protocol, Service};
use septum_rules::test_case::{Check, TestParty};
use septum_rules::verdict::Decision;

fn today() -> Date {
    "2026-06-15".parse().expect("a date")
}

fn cases() -> Vec<(PathBuf, Policy)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/verdicts");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(&folder).expect("the cases are there").map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let load = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("a case is text");
        match load_text(&path.display().to_string(), &text) {
            Ok(loaded) => (path, loaded.policy),
            Err(diagnostics) => panic!("{} does not load: {diagnostics}", path.display()),
        }
    };
    paths.into_iter().map(load).collect()
}

/// The packets at the corners of a service.
fn corners(service: &Service) -> Vec<Layer4> {
    let protocol = service.protocol.unwrap_or(Protocol::TCP);
    let ends = |range: PortRange| [range.first(), range.last()];
    let mut packets = Vec::new();
    for source in ends(service.source) {
        packets.extend(ends(service.destination).map(|destination| Layer4 { protocol, source, destination }));
    }
    packets
}

fn parties(policy: &Policy, party: TestParty) -> Vec<Party> {
    match party {
        TestParty::World(address) => vec![Party { endpoint: Endpoint::World, address: Some(address) }],
        TestParty::Workload(workload) => policy.workloads[workload.index()]
            .addresses
            .iter()
            .map(|address| Party { endpoint: Endpoint::Workload(workload), address: Some(*address) })
            .collect(),
    }
}

/// Asks every question of every case; gives their number.
fn keep_promises(decide: impl Fn(&Policy, Party, Party, Layer4) -> Decision) -> usize {
    let mut asked = 0;
    for (path, policy) in cases() {
        assert!(!policy.tests.is_empty(), "{} promises nothing", path.display());
        for test in &policy.tests {
            let Check::Reach { from, to, allow, deny, by } = &test.check else { continue };
            let sources: Vec<Party> = from.iter().flat_map(|party| parties(&policy, *party)).collect();
            let destinations: Vec<Party> = to.iter().flat_map(|party| parties(&policy, *party)).collect();
            let family = |party: &Party| party.address.map(|address: IpAddr| address.is_ipv4());
            for (source, destination) in sources
                .iter()
                .flat_map(|source| destinations.iter().map(move |destination| (source, destination)))
            {
                if family(source) != family(destination) {
                    continue;
                }
                for (services, admitted) in [(allow, true), (deny, false)] {
                    for layer4 in services.iter().flat_map(corners) {
                        let decision = decide(&policy, *source, *destination, layer4);
                        let what = format!(
                            "{}: {}: {source:?} -> {destination:?} {layer4} gave {decision:?}",
                            path.display(),
                            test.name
                        );
                        assert_eq!(decision.verdict.is_allow(), admitted, "{what}");
                        if let (Some(rule), true) = (by, admitted) {
                            assert_eq!(decision.egress.rule().unwrap_or(*rule), *rule, "{what}");
                            assert_eq!(decision.ingress.rule().unwrap_or(*rule), *rule, "{what}");
                            assert_eq!(decision.rule(), Some(*rule), "{what}");
                        }
                        asked += 1;
                    }
                }
            }
        }
    }
    asked
}

#[test]
fn the_reference_evaluator_keeps_every_promise() {
    let asked = keep_promises(|policy, source, destination, layer4| {
        Oracle::new(policy, today()).decide(source, destination, layer4)
    });
    assert!(asked > 300, "only {asked} questions were asked");
}

#[test]
fn the_compiled_object_keeps_every_promise() {
    keep_promises(|policy, source, destination, layer4| {
        let classifier = Classifier::build(policy, today()).expect("cases are within limits");
        classifier.decide(source, destination, layer4)
    });
}
