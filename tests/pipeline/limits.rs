//! `limit`: what a workload sends beyond it is dropped by a reason of its own, and nobody else notices.

use septum::burst::ETHERNET;
use septum::drop_reason::DropReason;
use septum::wire::tcp_flag::ACK;
use septum::wire::vnet_hdr::VnetHeader;
use septum_rules::proto::{Layer4, Protocol};

use crate::SHOP;
use crate::fabric::{Fabric, mend_ipv4};

/// The shop with a limit for web-1.
fn limited(limit: &str) -> String {
    SHOP.replacen("[workload.web-1]\n", &format!("[workload.web-1]\nlimit = {{ {limit} }}\n"), 1)
}

/// How many of `count` packets of one flow pass in one tick.
fn passing(fabric: &mut Fabric, from: &str, frame: &[u8], count: usize, reason: DropReason) -> usize {
    let mut passed = 0;
    for _ in 0..count {
        match fabric.outcome(from, frame) {
            Ok(()) => passed += 1,
            Err(why) => assert_eq!(why, reason),
        }
        fabric.received("api-1");
        fabric.received("ops-1");
    }
    passed
}

#[test]
fn packets_beyond_the_limit_are_dropped_and_those_of_others_are_not() {
    let mut fabric = Fabric::new(&limited("packets_per_s = 80"));
    let syslog = Layer4::ports(Protocol::UDP, 40_000, 514);
    let frame = fabric.opening("web-1", &fabric.flow("web-1", "ops-1", true, syslog));
    assert_eq!(passing(&mut fabric, "web-1", &frame, 100, DropReason::LimitPackets), 20);
    let other = fabric.opening("web-2", &fabric.flow("web-2", "ops-1", true, syslog));
    assert_eq!(passing(&mut fabric, "web-2", &other, 100, DropReason::LimitPackets), 100);
    let mut passed = 0;
    for _ in 0..80 {
        fabric.now.0 += 1;
        passed += passing(&mut fabric, "web-1", &frame, 30, DropReason::LimitPackets);
    }
    assert_eq!(passed, 800);
    // What the guard refuses is refused by its own reason, and what gates refuse counts: it was sent.
    fabric.now.0 += 8;
    let refused = fabric.flow("web-1", "ops-1", true, Layer4::ports(Protocol::UDP, 40_000, 515));
    let refused = fabric.opening("web-1", &refused);
    for _ in 0..20 {
        assert_eq!(fabric.outcome("web-1", &refused), Err(DropReason::DeniedEgress));
    }
    assert_eq!(fabric.outcome("web-1", &refused), Err(DropReason::LimitPackets));
    let mut lie = refused;
    lie[ETHERNET + 6] ^= 4;
    assert_eq!(fabric.outcome("web-1", &lie), Err(DropReason::SpoofMac));
}

#[test]
fn bytes_beyond_the_limit_are_dropped() {
    let mut fabric = Fabric::new(&limited("bytes_per_s = 40000"));
    let syslog = Layer4::ports(Protocol::UDP, 40_000, 514);
    let frame = fabric.opening("web-1", &fabric.flow("web-1", "ops-1", true, syslog));
    let length = frame.len() - ETHERNET;
    assert_eq!(passing(&mut fabric, "web-1", &frame, 500, DropReason::LimitBytes), 10_000 / length);
}

#[test]
fn a_super_frame_costs_what_its_segments_do() {
    let mut fabric = Fabric::new(&limited("packets_per_s = 400"));
    let api = Layer4::ports(Protocol::TCP, 40_000, 8080);
    let flow = fabric.flow("web-1", "api-1", true, api);
    assert_eq!(fabric.try_flow("web-1", "api-1", true, api), Ok(()));
    let mut frame = fabric.opening("web-1", &flow);
    frame.resize(frame.len() + 40_000, 1);
    mend_ipv4(&mut frame);
    frame[ETHERNET + 14 + 20 + 13] = ACK;
    let vnet = VnetHeader {
        flags: VnetHeader::NEEDS_CHECKSUM,
        gso_type: 1,
        header_length: 54,
        gso_size: 1000,
        checksum_start: 34,
        checksum_offset: 16,
        ..VnetHeader::default()
    };
    vnet.write(&mut frame);
    // One packet opened the connection; each of these is 40 more of the 100 that a full bucket holds.
    assert_eq!(passing(&mut fabric, "web-1", &frame, 5, DropReason::LimitPackets), 2);
}

#[test]
fn connections_beyond_the_limit_are_not_opened_and_those_that_live_go_on() {
    let mut fabric = Fabric::new(&limited("new_connections_per_s = 40"));
    let opened: Vec<_> = (0..50)
        .filter(|at| {
            let flow = Layer4::ports(Protocol::UDP, 40_000 + at, 514);
            match fabric.try_flow("web-1", "ops-1", true, flow) {
                Ok(()) => true,
                Err(reason) => {
                    assert_eq!(reason, DropReason::LimitConnections);
                    false
                }
            }
        })
        .collect();
    assert_eq!(opened, Vec::from_iter(0..10));
    assert_eq!(fabric.connections(), 10);
    // The limit is about opening: packets of those that live pass, and so do what others open towards the workload.
    for at in opened {
        let flow = Layer4::ports(Protocol::UDP, 40_000 + at, 514);
        assert_eq!(fabric.try_flow("web-1", "ops-1", true, flow), Ok(()));
    }
    let shell = Layer4::ports(Protocol::TCP, 40_000, 22);
    assert_eq!(fabric.try_flow("ops-1", "web-1", true, shell), Ok(()));
    fabric.now.0 += 8;
    assert_eq!(fabric.try_flow("web-1", "ops-1", true, Layer4::ports(Protocol::UDP, 50_000, 514)), Ok(()));
}
