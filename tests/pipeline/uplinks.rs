//! Uplinks: what lives behind them is reached, and comes in, as the policy says; nobody out there can be one of us.

use septum::burst::ETHERNET;
use septum::directory::{gateway_mac, uplink_port};
use septum::drop_reason::DropReason;
use septum::wire::checksum::Sum;
use septum::wire::{Arp, Content, Neighbour, sketch};
use septum_rules::flow_key::FlowKey;
use septum_rules::identity::DomainId;
use septum_rules::mac::MacAddress;
use septum_rules::proto::{Layer4, Protocol};

use crate::fabric::{Fabric, headers, mend_ipv4, with_header};

/// A segment of two, a network behind one uplink by way of a router, and the world behind another, on whose link the switch
/// has addresses.
const POLICY: &str = r#"version = 1

[segment.shop]
subnet  = ["10.10.0.0/24", "fd00:10::/64"]
gateway = ["10.10.0.1", "fd00:10::1"]

[workload.web]
tap     = "t0"
segment = "shop"
mac     = "02:00:0a:0a:00:0b"
ip      = ["10.10.0.11", "fd00:10::b"]

[workload.db]
tap     = "t1"
segment = "shop"
mac     = "02:00:0a:0a:00:0c"
ip      = ["10.10.0.12", "fd00:10::c"]

[cidr]
corp = { in = ["10.99.0.0/16", "fd00:99::/32"], except = ["10.99.255.0/24"] }
all  = ["0.0.0.0/0", "::/0"]

[uplink.corp]
device  = "eth1"
gateway = ["10.99.0.1", "fe80::1"]
cidr    = "corp"
mtu     = 1400

[uplink.internet]
device  = "eth0"
ip      = ["192.0.2.2/24", "2001:db8::2/64"]
gateway = ["192.0.2.1", "2001:db8::1"]
neighbours = { "2001:db8::1" = "02:00:00:00:00:01" }
cidr    = "all"

[[rule]]
name  = "corp-in"
from  = "cidr:corp"
to    = "name=web"
allow = ["tcp/443", "icmp/echo-request", "icmp6/echo-request"]

[[rule]]
name  = "web-out"
from  = "name=web"
to    = "world"
allow = ["udp/53", "tcp/80"]
"#;

const CORP: &str = "uplink=corp";
const INTERNET: &str = "uplink=internet";
const ROUTER: MacAddress = MacAddress([2, 0, 0, 0, 0, 0x77]);
const DNS: Layer4 = Layer4::ports(Protocol::UDP, 40_000, 53);
const HTTPS: Layer4 = Layer4::ports(Protocol::TCP, 40_000, 443);

fn own_mac(uplink: &str) -> MacAddress {
    gateway_mac(&uplink_port(uplink))
}

fn flow(source: &str, destination: &str, layer4: Layer4) -> FlowKey {
    let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
    FlowKey { domain: DomainId::default(), source, destination, layer4 }
}

/// The opening frame of a flow as a router behind an uplink hands it on.
fn from_router(uplink: &str, flow: &FlowKey) -> Vec<u8> {
    with_header(&sketch::opening(flow, ROUTER, own_mac(uplink)))
}

/// A reply that says where an address is.
fn told(uplink: &str, address: &str, mac: MacAddress) -> Vec<u8> {
    let mut frame = [own_mac(uplink).0, mac.0].concat();
    match address.parse().unwrap() {
        std::net::IpAddr::V4(sender) => {
            let reply = Arp {
                is_request: false,
                sender_mac: mac,
                sender,
                target_mac: own_mac(uplink),
                target: "192.0.2.2".parse().unwrap(),
            };
            frame.extend([8, 6]);
            frame.resize(14 + Arp::LENGTH, 0);
            reply.emit(&mut frame[14..]);
        }
        std::net::IpAddr::V6(target) => {
            let to = own_mac(uplink).link_local();
            let mut message = vec![136, 0, 0, 0, 0xe0, 0, 0, 0];
            message.extend(target.octets());
            message.extend([2, 1]);
            message.extend(mac.0);
            let sum = Sum::pseudo_header_v6(target, to, Protocol::ICMPV6, 32).add_bytes(&message).checksum();
            message[2..4].copy_from_slice(&sum.to_be_bytes());
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, 255]);
            frame.extend(target.octets());
            frame.extend(to.octets());
            frame.extend(message);
        }
    }
    with_header(&frame)
}

/// A switch that knows the routers behind both uplinks.
fn resolved() -> Fabric {
    let mut fabric = Fabric::new(POLICY);
    for (uplink, name, to, router) in [
        (CORP, "corp", "10.99.1.1", "10.99.0.1"),
        (CORP, "corp", "fd00:99:1::1", "fe80::1"),
        (INTERNET, "internet", "198.51.100.1", "192.0.2.1"),
    ] {
        let source = if to.contains(':') { "fd00:10::b" } else { "10.10.0.11" };
        let frame = fabric.opening("web", &flow(source, to, DNS));
        assert_eq!(fabric.outcome("web", &frame), Err(DropReason::NextHopUnresolved));
        assert_eq!(fabric.received(uplink).len(), 1, "the switch asks");
        let answer = told(name, router, ROUTER);
        assert_eq!(fabric.outcome(uplink, &answer), Err(DropReason::Absorbed));
    }
    fabric
}

#[test]
fn a_next_hop_is_asked_for_and_then_carries_what_the_policy_admits() {
    let mut fabric = Fabric::new(POLICY);
    let out = flow("10.10.0.11", "10.99.1.1", DNS);
    let frame = fabric.opening("web", &out);
    assert_eq!(fabric.outcome("web", &frame), Err(DropReason::NextHopUnresolved));
    let asked = fabric.received(CORP);
    let Content::Arp(question) = headers(&asked[0]).content else { panic!() };
    assert_eq!((question.is_request, question.target.to_string()), (true, "10.99.0.1".to_owned()));
    assert_eq!(question.sender_mac, own_mac("corp"));
    assert!(question.sender.is_unspecified(), "the switch has no address there");
    assert_eq!(fabric.counters(CORP).originated, 1);
    // One question a second, however many packets wait for it.
    assert_eq!(fabric.outcome("web", &frame), Err(DropReason::NextHopUnresolved));
    assert!(fabric.received(CORP).is_empty());
    let answer = told("corp", "10.99.0.1", ROUTER);
    assert_eq!(fabric.outcome(CORP, &answer), Err(DropReason::Absorbed));
    assert_eq!(fabric.outcome("web", &frame), Ok(()));
    let sent = fabric.received(CORP);
    let seen = headers(&sent[0]);
    assert_eq!((seen.source, seen.destination), (own_mac("corp"), ROUTER));
    let Content::Ip(packet) = seen.content else { panic!() };
    assert_eq!((packet.flow, packet.ttl), (out, 63));

    // On the uplink's own link, the destination itself is asked for, in the switch's name.
    let near = flow("10.10.0.11", "192.0.2.9", DNS);
    let frame = fabric.opening("web", &near);
    assert_eq!(fabric.outcome("web", &frame), Err(DropReason::NextHopUnresolved));
    let asked = fabric.received(INTERNET);
    let Content::Arp(question) = headers(&asked[0]).content else { panic!() };
    assert_eq!(
        (question.sender.to_string(), question.target.to_string()),
        ("192.0.2.2".into(), "192.0.2.9".into())
    );
    // IPv6 is asked by neighbour solicitation; a declared neighbour is not asked.
    let frame = fabric.opening("web", &flow("fd00:10::b", "2001:db8::9", DNS));
    assert_eq!(fabric.outcome("web", &frame), Err(DropReason::NextHopUnresolved));
    let asked = fabric.received(INTERNET);
    let Content::Ip(question) = headers(&asked[0]).content else { panic!() };
    let neighbour = question.neighbour.expect("a solicitation");
    assert_eq!(
        (neighbour.icmp_type, neighbour.target.to_string()),
        (Neighbour::SOLICITATION, "2001:db8::9".into())
    );
    assert_eq!(neighbour.link_layer, Some(own_mac("internet")));
    let frame = fabric.opening("web", &flow("fd00:10::b", "2001:db8:ffff::9", DNS));
    assert_eq!(fabric.outcome("web", &frame), Ok(()));
    assert_eq!(headers(&fabric.received(INTERNET)[0]).destination, MacAddress([2, 0, 0, 0, 0, 1]));
}

#[test]
fn who_may_not_go_there_asks_for_nothing_and_learns_nothing() {
    let mut fabric = Fabric::new(POLICY);
    let frame = fabric.opening("db", &flow("10.10.0.12", "10.99.1.1", DNS));
    assert_eq!(fabric.outcome("db", &frame), Err(DropReason::DeniedEgress));
    assert!(fabric.received(CORP).is_empty() && fabric.received("db").is_empty());
}

#[test]
fn a_next_hop_that_stays_silent_is_unreachable() {
    let mut fabric = Fabric::new(POLICY);
    let frame = fabric.opening("web", &flow("10.10.0.11", "10.99.1.1", DNS));
    for _ in 0..3 {
        assert_eq!(fabric.outcome("web", &frame), Err(DropReason::NextHopUnresolved));
        assert_eq!(fabric.received(CORP).len(), 1);
        fabric.now.0 += 8;
    }
    fabric.now.0 -= 1;
    assert_eq!(fabric.outcome("web", &frame), Err(DropReason::NextHopUnresolved));
    let Content::Ip(error) = headers(&fabric.received("web")[0]).content else { panic!() };
    assert_eq!(error.flow.layer4, Layer4::icmp(Protocol::ICMP, 3, 1));
}

#[test]
fn what_comes_in_is_judged_as_its_network_and_answered_without_a_rule() {
    for (outside, inside) in [("10.99.1.1", "10.10.0.11"), ("fd00:99:1::1", "fd00:10::b")] {
        let mut fabric = resolved();
        let opening = flow(outside, inside, HTTPS);
        let frame = from_router("corp", &opening);
        assert_eq!(fabric.outcome(CORP, &frame), Ok(()), "{outside}");
        let arrived = fabric.received("web");
        let seen = headers(&arrived[0]);
        assert_eq!((seen.source, seen.destination), (fabric.gateway_mac("web"), fabric.mac("web")));
        let mut reply = fabric
            .opening("web", &flow(inside, outside, Layer4 { source: 443, destination: 40_000, ..HTTPS }));
        let transport = ETHERNET + 14 + if opening.source.is_ipv4() { 20 } else { 40 };
        reply[transport + 13] = 0x12;
        assert_eq!(fabric.outcome("web", &reply), Ok(()));
        assert_eq!(headers(&fabric.received(CORP)[0]).destination, ROUTER);
        // Another port, another workload: as the policy says.
        let frame = from_router("corp", &flow(outside, inside, Layer4 { destination: 22, ..HTTPS }));
        assert_eq!(fabric.outcome(CORP, &frame), Err(DropReason::DeniedIngress));
        let db = if opening.source.is_ipv4() { "10.10.0.12" } else { "fd00:10::c" };
        let frame = from_router("corp", &flow(outside, db, HTTPS));
        assert_eq!(fabric.outcome(CORP, &frame), Err(DropReason::DeniedIngress));
        // The world is not the corporation.
        let world = if opening.source.is_ipv4() { "198.51.100.1" } else { "2001:db8:7::1" };
        let frame = from_router("internet", &flow(world, inside, HTTPS));
        assert_eq!(fabric.outcome(INTERNET, &frame), Err(DropReason::DeniedIngress));
    }
}

#[test]
fn nobody_out_there_is_one_of_us() {
    let mut fabric = resolved();
    let ours = [
        "10.10.0.12",
        "10.10.0.1",
        "10.10.0.99",
        "192.0.2.2",
        "fd00:10::c",
        "fd00:10::1",
        "fd00:10::99",
        "2001:db8::2",
    ];
    for stolen in ours {
        let inside = if stolen.contains(':') { "fd00:10::b" } else { "10.10.0.11" };
        for (uplink, name) in [(CORP, "corp"), (INTERNET, "internet")] {
            let frame = from_router(name, &flow(stolen, inside, HTTPS));
            assert_eq!(fabric.outcome(uplink, &frame), Err(DropReason::UplinkSpoof), "{stolen}");
        }
    }
    // ARP claims too.
    let claim = told("corp", "10.10.0.12", ROUTER);
    assert_eq!(fabric.outcome(CORP, &claim), Err(DropReason::UplinkSpoof));
    // A network comes in where it lives, and nowhere else.
    for (source, uplink, name) in [
        ("198.51.100.1", CORP, "corp"),
        ("10.99.255.1", CORP, "corp"),
        ("10.99.1.1", INTERNET, "internet"),
        ("fd00:99:1::1", INTERNET, "internet"),
    ] {
        let inside = if source.contains(':') { "fd00:10::b" } else { "10.10.0.11" };
        let frame = from_router(name, &flow(source, inside, HTTPS));
        assert_eq!(fabric.outcome(uplink, &frame), Err(DropReason::UplinkSource), "{source}");
    }
    // Our own MAC comes back.
    let mut frame = from_router("corp", &flow("10.99.1.1", "10.10.0.11", HTTPS));
    frame[ETHERNET + 6..ETHERNET + 12].copy_from_slice(&own_mac("corp").0);
    assert_eq!(fabric.outcome(CORP, &frame), Err(DropReason::SpoofMac));
    let mut tagged = from_router("corp", &flow("10.99.1.1", "10.10.0.11", HTTPS));
    tagged.splice(ETHERNET + 12..ETHERNET + 12, [0x81, 0, 0, 5]);
    assert_eq!(fabric.outcome(CORP, &tagged), Err(DropReason::VlanUnexpected));
    assert!(fabric.received("web").is_empty() && fabric.received("db").is_empty());
}

#[test]
fn nothing_passes_the_switch_by_and_no_group_packet_enters() {
    let mut fabric = resolved();
    let through = from_router("corp", &flow("10.99.1.1", "198.51.100.1", HTTPS));
    assert_eq!(fabric.outcome(CORP, &through), Err(DropReason::UplinkTransit));
    let back = from_router("corp", &flow("10.99.1.1", "10.99.2.2", HTTPS));
    assert_eq!(fabric.outcome(CORP, &back), Err(DropReason::UplinkTransit));
    let mut broadcast = from_router("corp", &flow("10.99.1.1", "10.10.0.11", HTTPS));
    broadcast[ETHERNET..ETHERNET + 6].copy_from_slice(&[0xff; 6]);
    assert_eq!(fabric.outcome(CORP, &broadcast), Err(DropReason::UplinkGroup));
    let multicast =
        from_router("corp", &flow("10.99.1.1", "224.0.0.251", Layer4::ports(Protocol::UDP, 5353, 5353)));
    assert_eq!(fabric.outcome(CORP, &multicast), Err(DropReason::UplinkGroup));
    // The segment's own broadcast address from outside is an address that nobody has.
    let directed = from_router("corp", &flow("10.99.1.1", "10.10.0.255", HTTPS));
    assert_eq!(fabric.outcome(CORP, &directed), Err(DropReason::NoRoute));
    let mut elsewhere = from_router("corp", &flow("10.99.1.1", "10.10.0.11", HTTPS));
    elsewhere[ETHERNET + 5] ^= 1;
    assert_eq!(fabric.outcome(CORP, &elsewhere), Err(DropReason::UnknownDestination));
    assert!(fabric.received("web").is_empty() && fabric.received("db").is_empty());
    assert!(fabric.received(INTERNET).is_empty());
}

#[test]
fn the_switch_answers_out_there_for_whom_it_routes_to() {
    let mut fabric = Fabric::new(POLICY);
    let ask = |target: &str| {
        let mut frame = [[0xff; 6], ROUTER.0].concat();
        frame.extend([8, 6]);
        frame.resize(14 + Arp::LENGTH, 0);
        let request = Arp {
            is_request: true,
            sender_mac: ROUTER,
            sender: "192.0.2.1".parse().unwrap(),
            target_mac: MacAddress([0; 6]),
            target: target.parse().unwrap(),
        };
        request.emit(&mut frame[14..]);
        with_header(&frame)
    };
    for known in ["10.10.0.11", "10.10.0.1", "192.0.2.2"] {
        assert_eq!(fabric.outcome(INTERNET, &ask(known)), Ok(()), "{known}");
        let answers = fabric.received(INTERNET);
        let Content::Arp(answer) = headers(&answers[0]).content else { panic!() };
        assert_eq!((answer.sender_mac, answer.sender.to_string()), (own_mac("internet"), known.to_owned()));
    }
    for unknown in ["10.10.0.99", "192.0.2.9"] {
        assert_eq!(fabric.outcome(INTERNET, &ask(unknown)), Err(DropReason::UnknownNeighbour));
    }
    // Echo to its own addresses, from both sides.
    let ping = Layer4::icmp(Protocol::ICMP, 8, 0);
    let frame = from_router("internet", &flow("198.51.100.1", "192.0.2.2", ping));
    assert_eq!(fabric.outcome(INTERNET, &frame), Ok(()));
    let frame = fabric.opening("db", &flow("10.10.0.12", "192.0.2.2", ping));
    assert_eq!(fabric.outcome("db", &frame), Ok(()));
    assert_eq!((fabric.received(INTERNET).len(), fabric.received("db").len()), (1, 1));
}

#[test]
fn time_and_size_run_out_on_the_way_and_the_sender_hears_it() {
    let mut fabric = resolved();
    let mut frame = from_router("internet", &flow("198.51.100.1", "10.10.0.11", HTTPS));
    // Refused by the gates: nothing is said of routes.
    frame[ETHERNET + 14 + 8] = 1;
    mend_ipv4(&mut frame);
    assert_eq!(fabric.outcome(INTERNET, &frame), Err(DropReason::DeniedIngress));
    let mut frame = from_router("corp", &flow("10.99.1.1", "10.10.0.11", HTTPS));
    frame[ETHERNET + 14 + 8] = 1;
    mend_ipv4(&mut frame);
    assert_eq!(fabric.outcome(CORP, &frame), Err(DropReason::TtlExceeded));
    let Content::Ip(error) = headers(&fabric.received(CORP)[0]).content else { panic!() };
    assert_eq!(error.flow.layer4, Layer4::icmp(Protocol::ICMP, 11, 0));
    // The switch has no address on that link: it speaks as the gateway of the segment.
    assert_eq!(error.flow.source.to_string(), "10.10.0.1");

    let mut frame = fabric.opening("web", &flow("10.10.0.11", "10.99.1.1", DNS));
    frame.resize(ETHERNET + 14 + 1450, 0);
    frame[ETHERNET + 14 + 24..][..2].copy_from_slice(&1430u16.to_be_bytes());
    mend_ipv4(&mut frame);
    assert_eq!(fabric.outcome("web", &frame), Err(DropReason::TooBig));
    let errors = fabric.received("web");
    assert_eq!(errors[0][ETHERNET + 40..ETHERNET + 42], 1400u16.to_be_bytes());
}

#[test]
fn routers_on_the_path_may_speak_of_it_and_others_may_not() {
    let mut fabric = resolved();
    let out = flow("10.10.0.11", "10.99.1.1", DNS);
    let frame = fabric.opening("web", &out);
    assert_eq!(fabric.outcome("web", &frame), Ok(()));
    let sent = fabric.received(CORP).remove(0);
    let error = |uplink: &str, from: &str| {
        let mut frame = from_router(uplink, &flow(from, "10.10.0.11", Layer4::icmp(Protocol::ICMP, 11, 0)));
        frame.extend(&sent[ETHERNET + 14..]);
        let header = &mut frame[ETHERNET + 14..];
        let length = header.len() as u16;
        header[2..4].copy_from_slice(&length.to_be_bytes());
        mend_ipv4(&mut frame);
        frame
    };
    assert_eq!(fabric.outcome(CORP, &error("corp", "10.99.7.7")), Ok(()));
    assert_eq!(fabric.received("web").len(), 1);
    let off_path = error("internet", "198.51.100.1");
    assert_eq!(fabric.outcome(INTERNET, &off_path), Err(DropReason::IcmpNoConnection));
}

#[test]
fn an_uplink_without_a_device_is_no_way() {
    // Its port is not attached: the switch says so to whom it may.
    let without = POLICY.replace("cidr    = \"all\"", "cidr    = \"corp\"");
    let mut fabric = Fabric::new(&without);
    let frame = fabric.opening("web", &flow("10.10.0.11", "198.51.100.1", DNS));
    assert_eq!(fabric.outcome("web", &frame), Err(DropReason::NoRoute));
    let Content::Ip(error) = headers(&fabric.received("web")[0]).content else { panic!() };
    assert_eq!(error.flow.layer4, Layer4::icmp(Protocol::ICMP, 3, 0));
}
