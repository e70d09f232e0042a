//! What arrives is what the reference evaluator admits, for every pair, service and family.

use septum_rules::identity::WorkloadId;
use septum_rules::oracle::Oracle;
use septum_rules::proto::{Layer4, Protocol};
use septum_rules::verdict::{Refusal, Verdict};

use crate::SHOP;
use crate::fabric::Fabric;
use septum::drop_reason::DropReason;

fn services(ipv4: bool) -> Vec<Layer4> {
    let ping = if ipv4 { (Protocol::ICMP, 8) } else { (Protocol::ICMPV6, 128) };
    let mut services = vec![Layer4::icmp(ping.0, ping.1, 0), Layer4::bare(Protocol::GRE)];
    for port in [22, 514, 5432, 8080, 8443] {
        for protocol in [Protocol::TCP, Protocol::UDP, Protocol::SCTP] {
            services.push(Layer4::ports(protocol, 40_000, port));
        }
    }
    services
}

#[test]
fn every_pair_and_service_ends_as_the_evaluator_says() {
    let mut admitted = 0;
    for ipv4 in [true, false] {
        for layer4 in services(ipv4) {
            // Fresh state for each service: a connection admits its replies.
            let mut fabric = Fabric::new(SHOP);
            let names: Vec<_> =
                fabric.policy().workloads.iter().map(|workload| workload.name.clone()).collect();
            for (at, from) in names.iter().enumerate() {
                for to in names.iter().filter(|to| *to != from) {
                    let expected = {
                        let oracle = Oracle::new(fabric.policy(), crate::fabric::today());
                        let destination = oracle.party(fabric.address(to, ipv4));
                        let source = oracle.party(fabric.address(from, ipv4));
                        assert_eq!(
                            source.endpoint,
                            septum_rules::endpoint::Endpoint::Workload(WorkloadId(at as u32))
                        );
                        oracle.decide(source, destination, layer4).verdict
                    };
                    let expected = match expected {
                        Verdict::Deny(Refusal::Egress) => Err(DropReason::DeniedEgress),
                        Verdict::Deny(Refusal::Ingress) => Err(DropReason::DeniedIngress),
                        Verdict::Deny(Refusal::Isolation) => Err(DropReason::Isolation),
                        Verdict::Allow => Ok(()),
                        other => panic!("{other:?}"),
                    };
                    let happened = fabric.try_flow(from, to, ipv4, layer4);
                    assert_eq!(happened, expected, "{from} -> {to} {layer4}");
                    admitted += u32::from(happened.is_ok());
                }
            }
        }
    }
    assert!(admitted > 20, "{admitted} flows were admitted at all");
}

/// A segment of three; what is said to all reaches those that may hear it.
const LAN: &str = r#"
version = 1
[segment.lan]
subnet = ["10.0.0.0/24", "fd00::/64"]
[segment.other]
subnet = ["10.1.0.0/24"]
[workload.a]
segment = "lan"
mac = "02:00:00:00:00:0a"
ip = ["10.0.0.10", "fd00::a"]
[workload.b]
segment = "lan"
mac = "02:00:00:00:00:0b"
ip = ["10.0.0.11", "fd00::b"]
labels = { listens = "yes" }
[workload.c]
segment = "lan"
mac = "02:00:00:00:00:0c"
ip = ["10.0.0.12", "fd00::c"]
[workload.d]
segment = "other"
mac = "02:00:00:00:00:0d"
ip = ["10.1.0.10"]
labels = { listens = "yes" }
[[rule]]
name = "mdns"
from = "name=a"
to = "listens=yes"
allow = ["udp/5353"]
"#;

#[test]
fn a_group_packet_reaches_those_members_of_its_segment_that_both_gates_admit() {
    let mut fabric = Fabric::new(LAN);
    let mdns = |fabric: &Fabric, from: &str, destination: &str, mac: [u8; 6]| {
        let mut flow = fabric.flow(from, from, true, Layer4::ports(Protocol::UDP, 5353, 5353));
        flow.destination = destination.parse().unwrap();
        crate::fabric::with_header(&septum::wire::sketch::opening(
            &flow,
            fabric.mac(from),
            septum_rules::mac::MacAddress(mac),
        ))
    };
    for (destination, mac) in [
        ("224.0.0.251", [0x01, 0, 0x5e, 0, 0, 0xfb]),
        ("255.255.255.255", [0xff; 6]),
        ("10.0.0.255", [0xff; 6]),
    ] {
        let frame = mdns(&fabric, "a", destination, mac);
        assert_eq!(fabric.outcome("a", &frame), Ok(()), "{destination}");
        assert_eq!(["b", "c", "d"].map(|name| fabric.received(name).len()), [1, 0, 0], "{destination}");
    }
    let frame = mdns(&fabric, "b", "224.0.0.251", [0x01, 0, 0x5e, 0, 0, 0xfb]);
    assert_eq!(fabric.outcome("b", &frame), Err(DropReason::GroupNoReceiver));
    // The MAC says everybody, the address one: it would be judged as one's and delivered to all.
    let frame = mdns(&fabric, "a", "10.0.0.11", [0xff; 6]);
    assert_eq!(fabric.outcome("a", &frame), Err(DropReason::AddressMismatch));
}
