//! DHCP, DHCPv6 and router solicitations: a workload is told its declared addresses, and no lie gets it another.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::PacketBuilder;
use septum::burst::ETHERNET;
use septum::drop_reason::DropReason;
use septum::wire::Content;
use septum::wire::checksum::Sum;
use septum_rules::mac::MacAddress;
use septum_rules::proto::{Layer4, Protocol};

use crate::fabric::{Fabric, headers, with_header};

/// Source and destination of a frame, at both layers.
#[derive(Clone, Copy)]
struct Ends {
    macs: (MacAddress, MacAddress),
    addresses: (IpAddr, IpAddr),
}

impl Ends {
    fn udp(self, source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
        let ethernet = PacketBuilder::ethernet2(self.macs.0.0, self.macs.1.0);
        let mut frame = Vec::new();
        let written = match self.addresses {
            (IpAddr::V4(from), IpAddr::V4(to)) => ethernet
                .ipv4(from.octets(), to.octets(), 64)
                .udp(source, destination)
                .write(&mut frame, payload),
            (IpAddr::V6(from), IpAddr::V6(to)) => ethernet
                .ipv6(from.octets(), to.octets(), 1)
                .udp(source, destination)
                .write(&mut frame, payload),
            _ => unreachable!("both ends of one family"),
        };
        written.expect("writing to memory");
        frame
    }

    /// A router solicitation with these options.
    fn solicitation(self, options: &[u8]) -> Vec<u8> {
        let (IpAddr::V6(from), IpAddr::V6(to)) = self.addresses else { unreachable!("IPv6 only") };
        let mut frame = Vec::new();
        PacketBuilder::ethernet2(self.macs.0.0, self.macs.1.0)
            .ipv6(from.octets(), to.octets(), 255)
            .icmpv6_raw(133, 0, [0; 4])
            .write(&mut frame, options)
            .expect("writing to memory");
        frame
    }
}

const POLICY: &str = r#"version = 1

[segment.shop]
subnet  = ["10.10.0.0/24", "fd00:10::/64"]
gateway = ["10.10.0.1", "fd00:10::1"]
dns     = ["10.10.0.53", "fd00:10::53"]
mtu     = 1400

[segment.closed]
subnet = ["10.20.0.0/16"]

[workload.web]
tap     = "t0"
segment = "shop"
mac     = "02:00:0a:0a:00:0b"
ip      = ["10.10.0.11", "fd00:10::b"]

[workload.own]
tap     = "t1"
segment = "shop"
mac     = "02:00:0a:0a:00:0c"
ip      = ["fd00:10::aff:fe0a:c"]

[workload.alone]
tap     = "t2"
segment = "closed"
mac     = "02:00:0a:14:00:0b"
ip      = ["10.20.0.11"]
"#;

/// A DHCP message of a client (RFC 2131 section 2): fixed fields and options.
fn message(mac: MacAddress, current: Ipv4Addr, options: &[&[u8]]) -> Vec<u8> {
    let mut message = vec![1, 1, 6, 0, 0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, 0];
    message.extend(current.octets());
    message.resize(28, 0);
    message.extend(mac.0);
    message.resize(236, 0);
    message.extend([99, 130, 83, 99]);
    message.extend(options.concat());
    message.push(255);
    message
}

/// From a client that has no address.
fn broadcast(mac: MacAddress, payload: &[u8]) -> Vec<u8> {
    let ends = Ends {
        macs: (mac, MacAddress::BROADCAST),
        addresses: (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::BROADCAST.into()),
    };
    with_header(&ends.udp(68, 67, payload))
}

/// The payload of the one datagram that a workload has received, whose checksum is right; and its ends.
fn datagram(fabric: &mut Fabric, name: &str) -> ((IpAddr, IpAddr), Vec<u8>) {
    let frames = fabric.received(name);
    assert_eq!(frames.len(), 1);
    let seen = headers(&frames[0]);
    assert_eq!(seen.destination, fabric.mac(name));
    assert_eq!(seen.source, fabric.gateway_mac(name));
    let Content::Ip(packet) = seen.content else { panic!() };
    let udp = &frames[0][ETHERNET + usize::from(packet.transport)..];
    let sum = match (packet.flow.source, packet.flow.destination) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            Sum::pseudo_header_v4(from, to, Protocol::UDP, udp.len() as u16)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            Sum::pseudo_header_v6(from, to, Protocol::UDP, udp.len() as u32)
        }
        _ => unreachable!(),
    };
    assert!(sum.add_bytes(udp).is_valid());
    ((packet.flow.source, packet.flow.destination), udp[8..].to_vec())
}

/// An option of a DHCP message.
fn option(message: &[u8], wanted: u8) -> Option<Vec<u8>> {
    let mut rest = &message[240..];
    loop {
        match rest {
            [255, ..] => return None,
            [0, more @ ..] => rest = more,
            [code, length, more @ ..] => {
                let (value, more) = more.split_at(usize::from(*length));
                if *code == wanted {
                    return Some(value.to_vec());
                }
                rest = more;
            }
            _ => panic!("options without an end"),
        }
    }
}

const DISCOVER: &[u8] = &[53, 1, 1];
const REQUEST: &[u8] = &[53, 1, 3];

#[test]
fn a_client_is_offered_and_granted_its_declared_address() {
    let mut fabric = Fabric::new(POLICY);
    let mac = fabric.mac("web");
    let nothing = Ipv4Addr::UNSPECIFIED;
    let discover = broadcast(mac, &message(mac, nothing, &[DISCOVER, &[61, 3, 1, 2, 3]]));
    assert_eq!(fabric.outcome("web", &discover), Ok(()));
    let (ends, offer) = datagram(&mut fabric, "web");
    assert_eq!(ends, ("10.10.0.1".parse().unwrap(), "10.10.0.11".parse().unwrap()));
    assert_eq!(
        (offer[0], &offer[4..8], &offer[16..20]),
        (2, &[0xca, 0xfe, 0xba, 0xbe][..], &[10, 10, 0, 11][..])
    );
    assert_eq!(offer[28..34], mac.0);
    for (code, value) in [
        (53, vec![2]),
        (54, vec![10, 10, 0, 1]),
        (1, vec![255, 255, 255, 0]),
        (3, vec![10, 10, 0, 1]),
        (6, vec![10, 10, 0, 53]),
        (26, vec![5, 120]),
        (51, vec![0, 0, 14, 16]),
        (61, vec![1, 2, 3]),
    ] {
        assert_eq!(option(&offer, code), Some(value), "{code}");
    }
    // Taken, asked for again after a reboot, and renewed.
    let (server, wanted) = ([54, 4, 10, 10, 0, 1], [50, 4, 10, 10, 0, 11]);
    let select = broadcast(mac, &message(mac, nothing, &[REQUEST, &server, &wanted]));
    let reboot = broadcast(mac, &message(mac, nothing, &[REQUEST, &wanted]));
    let ends = Ends {
        macs: (mac, fabric.gateway_mac("web")),
        addresses: (fabric.address("web", true), "10.10.0.1".parse().unwrap()),
    };
    let renew = with_header(&ends.udp(68, 67, &message(mac, Ipv4Addr::new(10, 10, 0, 11), &[REQUEST])));
    for frame in [select, reboot, renew] {
        assert_eq!(fabric.outcome("web", &frame), Ok(()));
        let (_, granted) = datagram(&mut fabric, "web");
        assert_eq!((option(&granted, 53), &granted[16..20]), (Some(vec![5]), &[10, 10, 0, 11][..]));
    }
    let inform = with_header(&ends.udp(68, 67, &message(mac, Ipv4Addr::new(10, 10, 0, 11), &[&[53, 1, 8]])));
    assert_eq!(fabric.outcome("web", &inform), Ok(()));
    let (_, told) = datagram(&mut fabric, "web");
    assert_eq!((option(&told, 53), option(&told, 51), &told[16..20]), (Some(vec![5]), None, &[0; 4][..]));
    assert_eq!(fabric.counters("web").replied, 5);
}

#[test]
fn another_address_is_refused_and_another_server_left_alone() {
    let mut fabric = Fabric::new(POLICY);
    let mac = fabric.mac("web");
    let nothing = Ipv4Addr::UNSPECIFIED;
    let stolen = broadcast(mac, &message(mac, nothing, &[REQUEST, &[50, 4, 10, 10, 0, 12]]));
    assert_eq!(fabric.outcome("web", &stolen), Ok(()));
    let (ends, refused) = datagram(&mut fabric, "web");
    assert_eq!(ends.1, IpAddr::from(Ipv4Addr::BROADCAST));
    assert_eq!((option(&refused, 53), &refused[16..20]), (Some(vec![6]), &[0; 4][..]));
    let elsewhere = message(mac, nothing, &[REQUEST, &[54, 4, 10, 10, 0, 77], &[50, 4, 10, 10, 0, 11]]);
    for quiet in [elsewhere, message(mac, nothing, &[&[53, 1, 4]]), message(mac, nothing, &[&[53, 1, 7]])] {
        assert_eq!(fabric.outcome("web", &broadcast(mac, &quiet)), Err(DropReason::Absorbed));
    }
    // Without a gateway there is a server all the same, and no way out; without an IPv4 address there is nothing.
    let alone = fabric.mac("alone");
    let discover = broadcast(alone, &message(alone, nothing, &[DISCOVER]));
    assert_eq!(fabric.outcome("alone", &discover), Ok(()));
    let (_, offer) = datagram(&mut fabric, "alone");
    assert_eq!(
        (option(&offer, 1), option(&offer, 3), option(&offer, 54)),
        (Some(vec![255, 255, 0, 0]), None, Some(vec![169, 254, 1, 1]))
    );
    let own = fabric.mac("own");
    let discover = broadcast(own, &message(own, nothing, &[DISCOVER]));
    assert_eq!(fabric.outcome("own", &discover), Err(DropReason::Absorbed));
}

#[test]
fn options_that_lie_are_refused_whole() {
    let mut fabric = Fabric::new(POLICY);
    let (mac, other) = (fabric.mac("web"), fabric.mac("own"));
    let nothing = Ipv4Addr::UNSPECIFIED;
    let good = message(mac, nothing, &[DISCOVER, &[61, 3, 1, 2, 3], &[55, 2, 1, 3]]);
    let frame = broadcast(mac, &message(other, nothing, &[DISCOVER]));
    assert_eq!(fabric.outcome("web", &frame), Err(DropReason::SpoofDhcp));
    let edited = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut message = good.clone();
        edit(&mut message);
        message
    };
    let lies = [
        edited(&|it| it[0] = 2),
        edited(&|it| it[1] = 6),
        edited(&|it| it[2] = 16),
        edited(&|it| it[24] = 10),
        edited(&|it| it[236] = 0),
        edited(&|it| it[241] = 200),
        edited(&|it| it[241] = 0),
        edited(&|it| it[242] = 2),
        edited(&|it| it[242] = 99),
        edited(&|it| it[244] = 255),
        edited(&|it| it.truncate(239)),
        message(mac, nothing, &[]),
        message(mac, nothing, &[DISCOVER, REQUEST]),
        message(mac, nothing, &[REQUEST]),
        message(mac, nothing, &[REQUEST, &[50, 3, 10, 10, 0]]),
    ];
    for (at, lie) in lies.into_iter().enumerate() {
        assert_eq!(fabric.outcome("web", &broadcast(mac, &lie)), Err(DropReason::DhcpMalformed), "{at}");
    }
    // Cut off anywhere, it is refused; nothing is read beyond it.
    for length in 0..good.len() {
        let frame = broadcast(mac, &good[..length]);
        assert_eq!(fabric.outcome("web", &frame), Err(DropReason::DhcpMalformed), "{length}");
    }
    assert_eq!(fabric.outcome("web", &broadcast(mac, &good)), Ok(()));
    fabric.received("web");
    // Long identifiers are left out of the answer.
    let long = [&[61, 255][..], &[7; 255]].concat();
    let frame = broadcast(mac, &message(mac, nothing, &[DISCOVER, &long]));
    assert_eq!(fabric.outcome("web", &frame), Ok(()));
    assert_eq!(option(&datagram(&mut fabric, "web").1, 61), None);
    for _ in 0..400 {
        let _ = fabric.outcome("web", &broadcast(mac, &good));
        fabric.received("web");
    }
    assert_eq!(fabric.outcome("web", &broadcast(mac, &good)), Err(DropReason::ReplyLimited));
}

/// A DHCPv6 message of a client (RFC 8415 section 8): type and options.
fn v6(fabric: &Fabric, name: &str, kind: u8, options: &[(u16, &[u8])]) -> Vec<u8> {
    let mut payload = vec![kind, 1, 2, 3];
    for (code, value) in options {
        payload.extend(code.to_be_bytes());
        payload.extend((value.len() as u16).to_be_bytes());
        payload.extend(*value);
    }
    let mac = fabric.mac(name);
    let ends = Ends {
        macs: (mac, MacAddress([0x33, 0x33, 0, 1, 0, 2])),
        addresses: (mac.link_local().into(), "ff02::1:2".parse().unwrap()),
    };
    with_header(&ends.udp(546, 547, &payload))
}

/// An option of a DHCPv6 message or of a part of one.
fn v6_option(mut options: &[u8], wanted: u16) -> Option<Vec<u8>> {
    while let [a, b, c, d, rest @ ..] = options {
        let (value, more) = rest.split_at(usize::from(u16::from_be_bytes([*c, *d])));
        if u16::from_be_bytes([*a, *b]) == wanted {
            return Some(value.to_vec());
        }
        options = more;
    }
    None
}

const DUID: &[u8] = &[0, 3, 0, 1, 2, 0, 10, 10, 0, 11];
const ASSOCIATION: &[u8] = &[0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0];

#[test]
fn a_dhcpv6_client_is_granted_its_declared_address() {
    let mut fabric = Fabric::new(POLICY);
    let declared: Ipv6Addr = "fd00:10::b".parse().unwrap();
    let solicit = v6(&fabric, "web", 1, &[(1, DUID), (3, ASSOCIATION)]);
    assert_eq!(fabric.outcome("web", &solicit), Ok(()));
    let (ends, advertised) = datagram(&mut fabric, "web");
    assert_eq!(ends, (fabric.gateway_mac("web").link_local().into(), fabric.mac("web").link_local().into()));
    assert_eq!(advertised[..4], [2, 1, 2, 3]);
    let server = v6_option(&advertised[4..], 2).expect("a server");
    assert_eq!(v6_option(&advertised[4..], 1).as_deref(), Some(DUID));
    let request = v6(&fabric, "web", 3, &[(1, DUID), (2, &server), (3, ASSOCIATION)]);
    let rapid = v6(&fabric, "web", 1, &[(1, DUID), (3, ASSOCIATION), (14, &[])]);
    let renew = v6(&fabric, "web", 5, &[(1, DUID), (2, &server), (3, ASSOCIATION)]);
    let rebind = v6(&fabric, "web", 6, &[(1, DUID), (3, ASSOCIATION)]);
    for frame in [request, rapid, renew, rebind] {
        assert_eq!(fabric.outcome("web", &frame), Ok(()));
        let (_, reply) = datagram(&mut fabric, "web");
        assert_eq!(reply[..4], [7, 1, 2, 3]);
        let association = v6_option(&reply[4..], 3).expect("an association");
        assert_eq!(association[..4], [0, 0, 0, 9]);
        assert_eq!(v6_option(&association[12..], 5).expect("an address")[..16], declared.octets());
        let name: Ipv6Addr = "fd00:10::53".parse().unwrap();
        assert_eq!(v6_option(&reply[4..], 23), Some(name.octets().to_vec()));
    }
    // Confirmed on this link, and nowhere else.
    for (address, status) in [("fd00:10::b", 0), ("fd00:20::b", 4)] {
        let address: Ipv6Addr = address.parse().unwrap();
        let held = [ASSOCIATION, &[0, 5, 0, 24], &address.octets(), &[0; 8]].concat();
        let confirm = v6(&fabric, "web", 4, &[(1, DUID), (3, &held)]);
        assert_eq!(fabric.outcome("web", &confirm), Ok(()));
        assert_eq!(v6_option(&datagram(&mut fabric, "web").1[4..], 13), Some(vec![0, status]));
    }
    let information = v6(&fabric, "web", 11, &[]);
    assert_eq!(fabric.outcome("web", &information), Ok(()));
    assert_eq!(v6_option(&datagram(&mut fabric, "web").1[4..], 3), None);
    // Another's server; and what hangs together badly.
    let other = v6(&fabric, "web", 3, &[(1, DUID), (2, &[0, 3, 0, 1, 9, 9, 9, 9, 9, 9]), (3, ASSOCIATION)]);
    assert_eq!(fabric.outcome("web", &other), Err(DropReason::Absorbed));
    for frame in [
        v6(&fabric, "web", 1, &[]),
        v6(&fabric, "web", 2, &[(1, DUID)]),
        v6(&fabric, "web", 12, &[(1, DUID)]),
        v6(&fabric, "web", 1, &[(1, DUID), (1, DUID)]),
        v6(&fabric, "web", 1, &[(1, &[7; 200])]),
        v6(&fabric, "web", 1, &[(1, DUID), (2, &server)]),
        v6(&fabric, "web", 3, &[(1, DUID), (3, ASSOCIATION)]),
        v6(&fabric, "web", 1, &[(1, DUID), (3, &[0; 11])]),
    ] {
        assert_eq!(fabric.outcome("web", &frame), Err(DropReason::Dhcpv6Malformed));
    }
    let mut cut = solicit;
    let length = cut.len();
    cut[length - 13] = 200;
    assert_eq!(fabric.outcome("web", &cut), Err(DropReason::Dhcpv6Malformed));
}

#[test]
fn a_router_solicitation_is_answered_for_who_asks() {
    let mut fabric = Fabric::new(POLICY);
    for (name, flags, prefix_flags) in [("web", 0xc0, 0x80), ("own", 0, 0xc0)] {
        let mac = fabric.mac(name);
        let ends = Ends {
            macs: (mac, MacAddress([0x33, 0x33, 0, 0, 0, 2])),
            addresses: (mac.link_local().into(), "ff02::2".parse().unwrap()),
        };
        let solicitation = with_header(&ends.solicitation(&[&[1, 1][..], &mac.0].concat()));
        assert_eq!(fabric.outcome(name, &solicitation), Ok(()));
        let frames = fabric.received(name);
        // Read by the switch's own parser of neighbour discovery: hop limit, checksum, options.
        let Content::Ip(packet) = headers(&frames[0]).content else { panic!() };
        assert_eq!(packet.flow.layer4, Layer4::icmp(Protocol::ICMPV6, 134, 0));
        assert_eq!(packet.neighbour.and_then(|it| it.link_layer), Some(fabric.gateway_mac(name)));
        assert_eq!(packet.flow.destination, IpAddr::from(mac.link_local()));
        let message = &frames[0][ETHERNET + usize::from(packet.transport)..];
        assert_eq!((message[5], &message[6..8]), (flags, &[0xff, 0xff][..]), "{name}");
        assert_eq!(message[28..32], 1400u32.to_be_bytes());
        assert_eq!(message[32..36], [3, 4, 64, prefix_flags], "{name}");
        let name_server: Ipv6Addr = "fd00:10::53".parse().unwrap();
        assert_eq!((message[64], &message[72..88]), (25, &name_server.octets()[..]));
    }
    // In a segment without IPv6, there is nothing to say.
    let mac = fabric.mac("alone");
    let ends = Ends {
        macs: (mac, MacAddress([0x33, 0x33, 0, 0, 0, 2])),
        addresses: (mac.link_local().into(), "ff02::2".parse().unwrap()),
    };
    let frame = with_header(&ends.solicitation(&[]));
    assert_eq!(fabric.outcome("alone", &frame), Err(DropReason::Absorbed));
}
