//! Open vSwitch's own packets for fragments and ICMP errors (`tests/system-traffic.at`, `tests/ofproto-dpif.at`), in their
//! order, each with its end here.
//!
//! Their fragments are of datagrams whose length is that of an empty one: refused here, and mended for what follows.
//! Where the two switches differ, the line says so: Open vSwitch reassembles before it decides, this one lets a fragment follow
//! the first, or not at all; and it calls an error related whoever sends it, while here it must come from the other end.

use std::collections::HashMap;

use septum::drop_reason::DropReason::{self, *};

use crate::at_packets::at_packets;
use crate::fabric::{Fabric, with_header};
use crate::fixtures::fixtures;

/// A workload: name, MAC, addresses.
type Station = (&'static str, &'static str, &'static [&'static str]);

/// Who sends a packet, which one of the test's, and its end.
type Step = (&'static str, usize, Result<(), DropReason>);

struct Case {
    title: &'static str,
    /// Of the first fragment: which packet it is, where its UDP length stands, and what that should say.
    first: Option<(usize, usize, u16)>,
    subnet: &'static str,
    stations: &'static [Station],
    steps: &'static [Step],
}

const FRAGMENTERS: &[Station] =
    &[("a", "50:54:00:00:00:09", &["10.1.1.1"]), ("b", "50:54:00:00:00:0a", &["10.1.1.2"])];
const PAIR: &[Station] =
    &[("a", "e6:4c:47:35:28:c9", &["172.16.0.1"]), ("b", "c6:f9:4e:cb:72:db", &["172.16.0.2", "172.16.0.3"])];

const CASES: &[Case] = &[
    Case {
        title: "conntrack - IPv4 fragmentation incomplete reassembled packet",
        first: Some((0, 14 + 20 + 4, 428)),
        subnet: "10.1.1.0/24",
        stations: FRAGMENTERS,
        // There, nothing leaves before the second has come.
        steps: &[("a", 0, Ok(())), ("a", 1, Ok(()))],
    },
    Case {
        title: "conntrack - IPv4 fragmentation with fragments specified",
        first: Some((0, 14 + 20 + 4, 428)),
        subnet: "10.1.1.0/24",
        stations: FRAGMENTERS,
        steps: &[("a", 0, Ok(())), ("a", 1, Ok(()))],
    },
    Case {
        title: "conntrack - IPv4 fragmentation out of order",
        first: Some((1, 14 + 20 + 4, 428)),
        subnet: "10.1.1.0/24",
        stations: FRAGMENTERS,
        // There, the first is waited for; here the sender sends again.
        steps: &[("a", 0, Err(FragmentUntracked)), ("a", 1, Ok(()))],
    },
    Case {
        title: "conntrack - IPv4 fragmentation overlapping fragments by 1 octet",
        first: Some((0, 14 + 20 + 4, 420)),
        subnet: "10.1.1.0/24",
        stations: FRAGMENTERS,
        steps: &[("a", 0, Ok(())), ("a", 1, Err(FragmentOverlap))],
    },
    Case {
        title: "conntrack - IPv4 fragmentation overlapping fragments by 1 octet out of order",
        first: Some((1, 14 + 20 + 4, 420)),
        subnet: "10.1.1.0/24",
        stations: FRAGMENTERS,
        steps: &[("a", 0, Err(FragmentUntracked)), ("a", 1, Ok(())), ("a", 0, Err(FragmentOverlap))],
    },
    Case {
        title: "conntrack - IPv6 fragmentation incomplete reassembled packet",
        first: Some((0, 14 + 40 + 8 + 4, 2000)),
        subnet: "fc00::/64",
        stations: &[("a", "50:54:00:00:00:09", &["fc00::1"]), ("b", "50:54:00:00:00:0a", &["fc00::2"])],
        // There, it waits for ever.
        steps: &[("a", 0, Ok(())), ("a", 0, Err(FragmentDuplicate))],
    },
    Case {
        title: "conntrack - ICMP related to original direction",
        first: None,
        subnet: "192.100.0.0/16",
        stations: &[
            ("a", "00:23:22:11:22:33", &["192.100.1.8"]),
            ("b", "00:01:02:00:02:04", &["192.100.2.5"]),
        ],
        steps: &[
            ("a", 2, Err(IcmpNoConnection)),
            ("a", 0, Ok(())),
            ("b", 1, Ok(())),
            ("a", 2, Ok(())),
            ("b", 2, Err(SpoofMac)),
        ],
    },
    Case {
        title: "conntrack - ICMP related 2",
        first: None,
        subnet: "172.16.0.0/24",
        stations: PAIR,
        // There, the error of another address than the connection's is related.
        steps: &[("a", 1, Ok(())), ("b", 2, Err(IcmpNoConnection))],
    },
    Case {
        title: "ofproto-dpif - conntrack - ICMP related",
        first: None,
        subnet: "172.16.0.0/24",
        stations: PAIR,
        steps: &[("b", 2, Err(IcmpNoConnection)), ("a", 1, Ok(())), ("b", 2, Ok(()))],
    },
    Case {
        title: "ofproto-dpif - conntrack - related nat",
        first: None,
        subnet: "172.16.0.0/24",
        stations: PAIR,
        steps: &[("a", 0, Ok(())), ("b", 1, Err(SpoofIp)), ("b", 2, Ok(()))],
    },
    Case {
        title: "conntrack - ICMP related NAT with single port",
        first: None,
        subnet: "10.1.1.0/24",
        stations: &[
            ("a", "f0:00:00:01:01:01", &["10.1.1.1"]),
            ("b", "f0:00:00:01:01:02", &["10.1.1.240", "10.1.1.2"]),
        ],
        // The second quotes what only a switch that translates addresses has sent.
        steps: &[("a", 0, Ok(())), ("b", 1, Err(IcmpNoConnection)), ("b", 2, Ok(()))],
    },
    Case {
        title: "conntrack - ICMPv6 related NAT with single port",
        first: None,
        subnet: "fc00::/64",
        stations: &[
            ("a", "f0:00:00:01:01:01", &["fc00::1"]),
            ("b", "f0:00:00:01:01:02", &["fc00::240", "fc00::2"]),
        ],
        steps: &[("a", 0, Ok(())), ("b", 1, Err(IcmpNoConnection)), ("b", 2, Ok(()))],
    },
    Case {
        title: "conntrack - ICMP from different source related with NAT",
        first: None,
        subnet: "192.168.20.0/24",
        stations: &[
            ("a", "00:00:00:00:20:10", &["192.168.20.10"]),
            ("b", "00:00:00:00:10:20", &["192.168.20.20"]),
            ("router", "00:00:00:00:20:00", &["192.168.20.1"]),
        ],
        // There, a router's word counts from any port; here a workload is no router.
        steps: &[("a", 0, Ok(())), ("router", 2, Err(IcmpNoConnection)), ("router", 5, Err(SpoofIp))],
    },
];

/// One segment of these workloads, in which everything is allowed.
fn policy(case: &Case) -> String {
    let mut text = format!("version = 1\n\n[segment.link]\nsubnet = [\"{}\"]\n", case.subnet);
    for (number, (name, mac, addresses)) in case.stations.iter().enumerate() {
        text += &format!(
            "\n[workload.{name}]\ntap = \"t{number}\"\nsegment = \"link\"\nmac = \"{mac}\"\nip = {addresses:?}\n"
        );
    }
    text + "\n[[rule]]\nname = \"all\"\nfrom = \"any\"\nto = \"any\"\nallow = [\"any\"]\n"
}

#[test]
fn fragments_and_errors_of_open_vswitch_end_as_they_should() {
    let Some(directory) = fixtures("openvswitch") else { return };
    let packets: HashMap<_, _> = at_packets(&directory).into_iter().collect();
    for case in CASES {
        let mut packets =
            packets.get(case.title).unwrap_or_else(|| panic!("no test {:?}", case.title)).clone();
        let mut fabric = Fabric::new(&policy(case));
        if let Some((first, at, length)) = case.first {
            // Their datagrams end in the first fragment, and go on nevertheless.
            let outcome = fabric.outcome("a", &with_header(&packets[first]));
            assert_eq!(outcome, Err(UdpLength), "{}", case.title);
            packets[first][at..at + 2].copy_from_slice(&length.to_be_bytes());
        }
        for (number, (from, at, expected)) in case.steps.iter().enumerate() {
            let outcome = fabric.outcome(from, &with_header(&packets[*at]));
            assert_eq!(outcome, *expected, "{}, step {number}", case.title);
        }
    }
}
