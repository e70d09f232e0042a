//! Through the gateway: MACs, time to live, MTU, the errors that say why not, and echo.

use septum::burst::ETHERNET;
use septum::drop_reason::DropReason;
use septum::wire::Content;
use septum_rules::flow_key::FlowKey;
use septum_rules::proto::{Layer4, Protocol};

use crate::SHOP;
use crate::fabric::{Fabric, headers, mend_ipv4};

const API: Layer4 = Layer4::ports(Protocol::UDP, 40_000, 514);

fn flow_of(frame: &[u8]) -> FlowKey {
    let Content::Ip(packet) = headers(frame).content else { panic!("no IP packet") };
    packet.flow
}

#[test]
fn a_routed_packet_changes_macs_and_takes_a_hop() {
    for ipv4 in [true, false] {
        let mut fabric = Fabric::new(SHOP);
        let flow = fabric.flow("web-1", "ops-1", ipv4, API);
        let frame = fabric.opening("web-1", &flow);
        fabric.send("web-1", &frame);
        let arrived = fabric.received("ops-1");
        let seen = headers(&arrived[0]);
        assert_eq!(seen.source, fabric.gateway_mac("ops-1"));
        assert_eq!(seen.destination, fabric.mac("ops-1"));
        let Content::Ip(packet) = seen.content else { panic!() };
        assert_eq!((packet.flow, packet.ttl), (flow, 63));
    }
}

#[test]
fn a_packet_at_its_last_hop_is_answered_with_time_exceeded() {
    for ipv4 in [true, false] {
        let mut fabric = Fabric::new(SHOP);
        let flow = fabric.flow("web-1", "ops-1", ipv4, API);
        let mut frame = fabric.opening("web-1", &flow);
        set_ttl(&mut frame, ipv4, 1);
        assert_eq!(fabric.outcome("web-1", &frame), Err(DropReason::TtlExceeded));
        let error = flow_of(&fabric.received("web-1")[0]);
        let (protocol, icmp_type) = if ipv4 { (Protocol::ICMP, 11) } else { (Protocol::ICMPV6, 3) };
        assert_eq!(error.layer4, Layer4::icmp(protocol, icmp_type, 0));
        assert_eq!(error.destination, flow.source);
    }
}

/// Writes a time to live, and keeps the IPv4 header checksum right.
fn set_ttl(frame: &mut [u8], ipv4: bool, ttl: u8) {
    let header = &mut frame[ETHERNET + 14..];
    if !ipv4 {
        header[7] = ttl;
        return;
    }
    let old = u16::from_be_bytes([header[8], header[9]]);
    header[8] = ttl;
    let new = u16::from_be_bytes([header[8], header[9]]);
    let checksum = septum::wire::checksum::updated(u16::from_be_bytes([header[10], header[11]]), old, new);
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
}

#[test]
fn an_echo_to_the_gateway_is_answered_without_a_rule() {
    for ipv4 in [true, false] {
        let mut fabric = Fabric::new(SHOP);
        // db-1 may open nothing at all.
        let ping = if ipv4 { (Protocol::ICMP, 8) } else { (Protocol::ICMPV6, 128) };
        let mut flow = fabric.flow("db-1", "db-1", ipv4, Layer4::icmp(ping.0, ping.1, 0));
        flow.destination = if ipv4 { "10.30.0.1" } else { "fd00:30::1" }.parse().unwrap();
        let frame = fabric.opening("db-1", &flow);
        assert_eq!(fabric.outcome("db-1", &frame), Ok(()));
        let reply = flow_of(&fabric.received("db-1")[0]);
        assert_eq!((reply.source, reply.destination), (flow.destination, flow.source));
        assert_eq!(fabric.counters("db-1").replied, 1);
    }
}

#[test]
fn what_the_gateway_does_not_serve_is_refused_by_a_reason_of_its_own() {
    let mut fabric = Fabric::new(SHOP);
    let mut flow = fabric.flow("api-1", "api-1", true, Layer4::ports(Protocol::TCP, 40_000, 22));
    flow.destination = "10.20.0.1".parse().unwrap();
    let frame = fabric.opening("api-1", &flow);
    assert_eq!(fabric.outcome("api-1", &frame), Err(DropReason::DeniedEgress));
    let open = format!(
        "{SHOP}\n[[rule]]\nname = \"out\"\nside = \"egress\"\nfrom = \"app=api\"\nallow = [\"any\"]\n"
    );
    fabric.change(&open);
    assert_eq!(fabric.outcome("api-1", &frame), Err(DropReason::GatewayNoService));
    // An address that lives nowhere: the sender hears so only where it may go.
    flow.destination = "10.30.0.99".parse().unwrap();
    let frame = fabric.opening("api-1", &flow);
    assert_eq!(fabric.outcome("api-1", &frame), Err(DropReason::NoRoute));
    assert_eq!(flow_of(&fabric.received("api-1")[0]).layer4, Layer4::icmp(Protocol::ICMP, 3, 1));
    flow.destination = "192.0.2.1".parse().unwrap();
    let frame = fabric.opening("api-1", &flow);
    assert_eq!(fabric.outcome("api-1", &frame), Err(DropReason::NoRoute));
    assert_eq!(flow_of(&fabric.received("api-1")[0]).layer4, Layer4::icmp(Protocol::ICMP, 3, 0));
    fabric.change(SHOP);
    assert_eq!(fabric.outcome("api-1", &frame), Err(DropReason::DeniedEgress));
    assert!(fabric.received("api-1").is_empty());
}

#[test]
fn a_packet_larger_than_the_next_link_is_answered_with_its_mtu() {
    let small = SHOP.replace("[segment.app]\n", "[segment.app]\nmtu = 1280\n");
    for ipv4 in [true, false] {
        let mut fabric = Fabric::new(&small);
        let flow = fabric.flow("web-1", "ops-1", ipv4, API);
        let mut frame = fabric.opening("web-1", &flow);
        let network = ETHERNET + 14;
        frame.resize(network + 1400, 0);
        if ipv4 {
            mend_ipv4(&mut frame);
            frame[network + 24..][..2].copy_from_slice(&1380u16.to_be_bytes());
        } else {
            let header = &mut frame[network..];
            header[4..6].copy_from_slice(&1360u16.to_be_bytes());
            header[44..46].copy_from_slice(&1360u16.to_be_bytes());
        }
        assert_eq!(fabric.outcome("web-1", &frame), Err(DropReason::TooBig));
        let errors = fabric.received("web-1");
        let (protocol, icmp_type, code) =
            if ipv4 { (Protocol::ICMP, 3, 4) } else { (Protocol::ICMPV6, 2, 0) };
        assert_eq!(flow_of(&errors[0]).layer4, Layer4::icmp(protocol, icmp_type, code));
        let transport = if ipv4 { network + 20 } else { network + 40 };
        assert_eq!(errors[0][transport + 6..transport + 8], 1280u16.to_be_bytes());
    }
}

#[test]
fn a_link_local_source_stays_on_its_link() {
    // Routed, it would be judged as an address that lies in none of the sender's named networks.
    let mut fabric = Fabric::new(SHOP);
    let mut flow = fabric.flow("web-1", "ops-1", false, API);
    flow.source = fabric.mac("web-1").link_local().into();
    let frame = fabric.opening("web-1", &flow);
    assert_eq!(fabric.outcome("web-1", &frame), Err(DropReason::NoRoute));
}

#[test]
fn a_segment_without_a_gateway_has_none_to_answer() {
    let closed = SHOP.replace("gateway = [\"10.30.0.1\", \"fd00:30::1\"]\n", "");
    let mut fabric = Fabric::new(&closed);
    let mut flow = fabric.flow("db-1", "db-1", true, Layer4::icmp(Protocol::ICMP, 8, 0));
    flow.destination = "10.20.0.1".parse().unwrap();
    let frame = fabric.opening("db-1", &flow);
    assert_eq!(fabric.outcome("db-1", &frame), Err(DropReason::UnknownDestination));
}

#[test]
fn what_can_never_be_delivered_takes_no_room_among_connections() {
    let open = format!(
        "{SHOP}\n[[rule]]\nname = \"out\"\nside = \"egress\"\nfrom = \"app=api\"\nallow = [\"any\"]\n"
    );
    let mut fabric = Fabric::new(&open);
    for host in 1..100 {
        let mut flow = fabric.flow("api-1", "api-1", true, API);
        flow.destination = std::net::Ipv4Addr::new(192, 0, 2, host).into();
        let frame = fabric.opening("api-1", &flow);
        assert_eq!(fabric.outcome("api-1", &frame), Err(DropReason::NoRoute));
        fabric.received("api-1");
    }
    assert_eq!(fabric.connections(), 0);
}
