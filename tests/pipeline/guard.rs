//! A compromised workload lies about who it is; each lie has a reason of its own, and reaches nobody.

use septum::burst::ETHERNET;
use septum::drop_reason::DropReason;
use septum::wire::{Arp, Content};
use septum_rules::mac::MacAddress;
use septum_rules::proto::{Layer4, Protocol};

use crate::SHOP;
use crate::fabric::{Fabric, headers, with_header};

const API: Layer4 = Layer4::ports(Protocol::TCP, 40_000, 8080);

/// web-1 sends the opening packet of an admitted flow, changed.
fn lie(change: impl FnOnce(&Fabric, &mut Vec<u8>)) -> Result<(), DropReason> {
    let mut fabric = Fabric::new(SHOP);
    let flow = fabric.flow("web-1", "api-1", true, API);
    let mut frame = fabric.opening("web-1", &flow);
    change(&fabric, &mut frame);
    fabric.outcome("web-1", &frame)
}

#[test]
fn the_truth_passes() {
    assert_eq!(lie(|_, _| ()), Ok(()));
}

#[test]
fn a_foreign_source_mac_is_refused() {
    let reason =
        lie(|fabric, frame| frame[ETHERNET + 6..ETHERNET + 12].copy_from_slice(&fabric.mac("web-2").0));
    assert_eq!(reason, Err(DropReason::SpoofMac));
}

#[test]
fn a_foreign_source_address_is_refused_in_both_families() {
    for ipv4 in [true, false] {
        let mut fabric = Fabric::new(SHOP);
        let mut flow = fabric.flow("web-1", "api-1", ipv4, API);
        for stolen in ["ops-1", "web-2"] {
            flow.source = fabric.address(stolen, ipv4);
            let frame = fabric.opening("web-1", &flow);
            assert_eq!(fabric.outcome("web-1", &frame), Err(DropReason::SpoofIp), "{stolen}");
        }
    }
}

#[test]
fn a_tag_at_an_access_port_is_refused() {
    let reason = lie(|_, frame| drop(frame.splice(ETHERNET + 12..ETHERNET + 12, [0x81, 0x00, 0, 20])));
    assert_eq!(reason, Err(DropReason::VlanUnexpected));
}

#[test]
fn a_mac_and_an_address_that_belong_to_two_workloads_are_refused() {
    // Judged as the one's, delivered to the other: the gates would be got around.
    let mut fabric = Fabric::new(SHOP);
    let flow = fabric.flow("api-1", "pay-1", true, Layer4::ports(Protocol::TCP, 40_000, 8443));
    let mut frame = fabric.opening("api-1", &flow);
    frame[ETHERNET..ETHERNET + 6].copy_from_slice(&fabric.mac("ops-1").0);
    assert_eq!(fabric.outcome("api-1", &frame), Err(DropReason::AddressMismatch));
    frame[ETHERNET..ETHERNET + 6].copy_from_slice(&[2, 9, 9, 9, 9, 9]);
    assert_eq!(fabric.outcome("api-1", &frame), Err(DropReason::UnknownDestination));
}

fn arp(fabric: &Fabric, is_request: bool, sender_mac: MacAddress, sender: &str, target: &str) -> Vec<u8> {
    let packet = Arp {
        is_request,
        sender_mac,
        sender: sender.parse().unwrap(),
        target_mac: MacAddress([0; 6]),
        target: target.parse().unwrap(),
    };
    let mut frame = vec![0; 14 + 28];
    frame[..6].copy_from_slice(&[0xff; 6]);
    frame[6..12].copy_from_slice(&fabric.mac("api-1").0);
    frame[12..14].copy_from_slice(&[0x08, 0x06]);
    packet.emit(&mut frame[14..]);
    with_header(&frame)
}

#[test]
fn arp_is_answered_by_the_switch_and_lies_are_refused() {
    let mut fabric = Fabric::new(SHOP);
    let (own, other) = (fabric.mac("api-1"), fabric.mac("ops-1"));
    for (target, mac) in [("10.20.0.12", other), ("10.20.0.1", fabric.gateway_mac("api-1"))] {
        let frame = arp(&fabric, true, own, "10.20.0.11", target);
        assert_eq!(fabric.outcome("api-1", &frame), Ok(()));
        let replies = fabric.received("api-1");
        let Content::Arp(reply) = headers(&replies[0]).content else { panic!() };
        assert_eq!(
            (reply.is_request, reply.sender_mac, reply.sender.to_string()),
            (false, mac, target.to_owned())
        );
    }
    for (frame, reason) in [
        (arp(&fabric, true, own, "10.20.0.12", "10.20.0.1"), DropReason::SpoofArp),
        (arp(&fabric, false, own, "10.20.0.1", "10.20.0.12"), DropReason::SpoofArp),
        (arp(&fabric, true, other, "10.20.0.11", "10.20.0.1"), DropReason::SpoofArp),
        (arp(&fabric, true, own, "10.20.0.11", "10.20.0.11"), DropReason::Absorbed),
        (arp(&fabric, true, own, "0.0.0.0", "10.20.0.11"), DropReason::Absorbed),
        (arp(&fabric, true, own, "10.20.0.11", "10.20.0.99"), DropReason::UnknownNeighbour),
        (arp(&fabric, true, own, "10.20.0.11", "10.30.0.11"), DropReason::UnknownNeighbour),
    ] {
        assert_eq!(fabric.outcome("api-1", &frame), Err(reason));
        assert!(fabric.received("api-1").is_empty() && fabric.received("ops-1").is_empty());
    }
}

#[test]
fn an_isolated_member_is_not_told_where_another_is() {
    let mut fabric = Fabric::new(SHOP);
    let mut frame = arp(&fabric, true, fabric.mac("web-1"), "10.10.0.11", "10.10.0.12");
    let own = fabric.mac("web-1");
    frame[ETHERNET + 6..ETHERNET + 12].copy_from_slice(&own.0);
    assert_eq!(fabric.outcome("web-1", &frame), Err(DropReason::Isolation));
}

#[test]
fn answers_are_limited_for_each_port_alone() {
    let mut fabric = Fabric::new(SHOP);
    let frame = arp(&fabric, true, fabric.mac("api-1"), "10.20.0.11", "10.20.0.1");
    let limit = septum::responder::AnswerBudgets::PER_TICK;
    for _ in 0..limit {
        assert_eq!(fabric.outcome("api-1", &frame), Ok(()));
        fabric.received("api-1");
    }
    assert_eq!(fabric.outcome("api-1", &frame), Err(DropReason::ReplyLimited));
    fabric.now.0 += 1;
    assert_eq!(fabric.outcome("api-1", &frame), Ok(()));
}

#[test]
fn a_dhcp_server_is_known_by_the_clients_port_whatever_its_own() {
    let open = format!(
        "{SHOP}\n[[rule]]\nname = \"lan\"\nfrom = \"segment=app\"\nto = \"segment=app\"\nallow = [\"udp\"]\n"
    );
    for (ipv4, client) in [(true, 68), (false, 546)] {
        for source in [67, 547, 1067] {
            let mut fabric = Fabric::new(&open);
            let offer = Layer4::ports(Protocol::UDP, source, client);
            assert_eq!(
                fabric.try_flow("api-1", "ops-1", ipv4, offer),
                Err(DropReason::RogueServer),
                "{source}"
            );
        }
    }
}
