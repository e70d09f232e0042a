//! Frames that nobody should send: whatever they are, each has one end, and none gets to whom the policy forbids.

use proptest::prelude::*;
use septum::burst::ETHERNET;
use septum::port::Offloads;
use septum::wire::Content;
use septum_rules::oracle::Oracle;
use septum_rules::proto::{Layer4, Protocol};

use crate::SHOP;
use crate::fabric::{Fabric, headers};

const NAMES: [&str; 6] = ["web-1", "web-2", "api-1", "ops-1", "pay-1", "db-1"];

/// A frame that was right once: who sends it to whom, with what, and which bytes are changed afterwards.
#[derive(Clone, Debug)]
struct Hostile {
    from: usize,
    to: usize,
    ipv4: bool,
    layer4: Layer4,
    changes: Vec<(prop::sample::Index, u8)>,
    cut: Option<prop::sample::Index>,
}

fn hostile() -> impl Strategy<Value = Hostile> {
    let protocol = prop::sample::select(vec![
        Protocol::TCP,
        Protocol::UDP,
        Protocol::SCTP,
        Protocol::ICMP,
        Protocol::ICMPV6,
        Protocol::GRE,
    ]);
    let port = prop::sample::select(vec![22u16, 514, 5432, 8080, 8443, 67, 547, 5353, 2048, 0x8000]);
    let layer4 = (protocol, port).prop_map(|(protocol, port)| match protocol.has_ports() {
        true => Layer4::ports(protocol, 40_000, port),
        false => Layer4 { protocol, source: 0, destination: if protocol.has_icmp_type() { port } else { 0 } },
    });
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    let cut = prop::option::weighted(0.1, any::<prop::sample::Index>());
    (0..NAMES.len(), 0..NAMES.len(), any::<bool>(), layer4, changes, cut)
        .prop_map(|(from, to, ipv4, layer4, changes, cut)| Hostile { from, to, ipv4, layer4, changes, cut })
}

fn build(fabric: &Fabric, hostile: &Hostile) -> Vec<u8> {
    let (from, to) = (NAMES[hostile.from], NAMES[hostile.to]);
    let mut frame = fabric.opening(from, &fabric.flow(from, to, hostile.ipv4, hostile.layer4));
    for (at, value) in &hostile.changes {
        let at = at.index(frame.len());
        frame[at] = *value;
    }
    if let Some(cut) = hostile.cut {
        frame.truncate(cut.index(frame.len()));
    }
    frame
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// In a fresh switch, whatever arrives somewhere was admitted by the gates as the packet that it is.
    #[test]
    fn nothing_arrives_that_the_evaluator_forbids(frames in prop::collection::vec(hostile(), 1..12)) {
        let mut fabric = Fabric::with_offloads(SHOP, |name| match name {
            "ops-1" | "pay-1" => Offloads::NONE,
            _ => Offloads::ALL,
        });
        for hostile in frames {
            fabric.forget();
            let frame = build(&fabric, &hostile);
            fabric.send(NAMES[hostile.from], &frame);
            for name in NAMES.into_iter().filter(|name| *name != NAMES[hostile.from]) {
                for arrived in fabric.received(name) {
                    let Content::Ip(packet) = headers(&arrived).content else { panic!("only IP is forwarded") };
                    let oracle = Oracle::new(fabric.policy(), crate::fabric::today());
                    let (source, destination) = (oracle.party(packet.flow.source), oracle.party(packet.flow.destination));
                    let decision = oracle.decide(source, destination, packet.flow.layer4);
                    prop_assert!(decision.verdict.is_allow(), "{} to {name}: {}", NAMES[hostile.from], packet.flow);
                    let own = fabric.workload(NAMES[hostile.from]);
                    prop_assert!(own.all_addresses().any(|address| address == packet.flow.source));
                }
            }
        }
    }

    /// Noise has an end too.
    #[test]
    fn noise_is_dropped_and_counted(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut fabric = Fabric::new(SHOP);
        fabric.send("web-1", &bytes);
        prop_assert_eq!(fabric.counters("web-1").received, 1);
        for name in NAMES.into_iter().skip(1) {
            prop_assert!(fabric.received(name).is_empty());
        }
        prop_assert!(bytes.len() < ETHERNET || fabric.counters("web-1").dropped_total() == 1);
    }
}
