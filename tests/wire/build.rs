//! What the switch writes: etherparse must read it as it was meant, and pnet must find its checksums right.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{Icmpv4Type, Icmpv6Type, NetSlice, SlicedPacket, TransportSlice};
use pnet::packet::ip::IpNextHeaderProtocols;
use proptest::prelude::*;
use septum::drop_reason::DropReason;
use septum::wire::icmp_error::{self, IcmpError, deserves_error};
use septum::wire::quoted::quoted;
use septum::wire::reply::{self, Advertisement};
use septum::wire::{Content, Headers, IpPacket, rewrite};
use septum_rules::mac::MacAddress;

use crate::frames::*;
use crate::traffic::well_formed;

const SWITCH_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 0xfe]);
const ANSWER_MAC: MacAddress = MacAddress(RECEIVER_MAC);

/// Fails unless every checksum of `frame`, an ICMP or ICMPv6 message without options or extensions, is right.
#[track_caller]
pub(crate) fn assert_intact(frame: &[u8]) {
    let sliced = SlicedPacket::from_ethernet(frame).expect("well-formed");
    match sliced.net.expect("a network header") {
        NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            assert_eq!(pnet::packet::util::checksum(ip.payload().payload, usize::MAX), 0);
        }
        NetSlice::Ipv6(ip) => {
            let (source, destination) = (ip.header().source_addr(), ip.header().destination_addr());
            let sum = pnet::packet::util::ipv6_checksum(
                ip.payload().payload,
                usize::MAX,
                &[],
                &source,
                &destination,
                IpNextHeaderProtocols::Icmpv6,
            );
            assert_eq!(sum, 0);
        }
        NetSlice::Arp(_) => panic!("an IP packet"),
    }
}

#[test]
fn an_arp_request_is_answered_to_who_asked() {
    for tag in [None, Some(0x600a)] {
        let request = match tag {
            None => arp_request(),
            Some(tag) => with_tag(arp_request(), 0x8100, tag),
        };
        let headers = parse_plain(&request).expect("well-formed");
        let Content::Arp(arp) = headers.content else { panic!("ARP") };
        let mut out = [0xee; reply::LONGEST];
        let length = reply::arp_reply(&headers, &arp, ANSWER_MAC, &mut out);
        let answer = parse_plain(&out[..length]).expect("well-formed");
        assert_eq!((answer.destination, answer.source), (MacAddress(SENDER_MAC), ANSWER_MAC));
        assert_eq!(answer.tag, tag);
        let Content::Arp(answer) = answer.content else { panic!("ARP") };
        assert!(!answer.is_request);
        assert_eq!((answer.sender_mac, answer.sender), (ANSWER_MAC, Ipv4Addr::from(RECEIVER_V4)));
        assert_eq!((answer.target_mac, answer.target), (MacAddress(SENDER_MAC), Ipv4Addr::from(SENDER_V4)));
    }
}

#[test]
fn a_solicitation_is_answered_by_a_valid_advertisement() {
    let all_nodes: Ipv6Addr = "ff02::1".parse().expect("an address");
    let probe = neighbour(solicitation()[V6_PAYLOAD..V6_PAYLOAD + 24].to_vec());
    let solicited_node = septum::wire::neighbour::solicited_node(Ipv6Addr::from(RECEIVER_V6));
    let probe = with_icmpv6_checksum(with_addresses_v6(probe, [0; 16], solicited_node.octets()));
    for (question, to, to_mac, solicited) in [
        (solicitation(), Ipv6Addr::from(SENDER_V6), MacAddress(SENDER_MAC), true),
        (probe, all_nodes, MacAddress([0x33, 0x33, 0, 0, 0, 1]), false),
    ] {
        let (headers, packet) = ip_of(&question);
        let target = packet.neighbour.expect("a solicitation").target;
        let answer = Advertisement { target, mac: ANSWER_MAC, is_router: false };
        let mut out = [0xee; reply::LONGEST];
        let length = reply::neighbour_advertisement(&headers, &packet, &answer, &mut out);
        assert_intact(&out[..length]);
        // Parsing holds it to RFC 4861: hop limit, checksum, options.
        let (answer_headers, answer) = ip_of(&out[..length]);
        let claim = answer.neighbour.expect("an advertisement");
        assert_eq!((claim.icmp_type, claim.target, claim.link_layer), (136, target, Some(ANSWER_MAC)));
        assert_eq!((answer.flow.source, answer.flow.destination), (IpAddr::V6(target), IpAddr::V6(to)));
        assert_eq!(answer_headers.destination, to_mac);
        assert_eq!(out[V6_PAYLOAD + 4], if solicited { 0x60 } else { 0x20 });
    }
}

#[test]
fn an_echo_request_becomes_its_reply() {
    let with_record_route = with_options(ping4(), &[7, 7, 4, 0, 0, 0, 0, 0]);
    for request in [ping4(), ping6(), with_record_route, with_tag(ping4(), 0x8100, 10)] {
        let (headers, packet) = ip_of(&request);
        let mut frame = request.clone();
        assert!(reply::echo_reply(&mut frame, &headers, SWITCH_MAC));
        let (answer_headers, answer) = ip_of(&frame);
        assert_eq!((answer_headers.source, answer_headers.destination), (SWITCH_MAC, headers.source));
        assert_eq!(
            (answer.flow.source, answer.flow.destination),
            (packet.flow.destination, packet.flow.source)
        );
        assert_eq!((answer.echo_identifier, answer.ttl), (0x1234, 64));
        let (icmp_type, _) = answer.flow.layer4.icmp_type_code().expect("ICMP");
        assert!(matches!(icmp_type, 0 | 129));
        assert_eq!(frame[usize::from(answer.payload)..], request[usize::from(packet.payload)..]);
        assert_intact(&frame);
    }
}

#[test]
fn what_is_no_intact_echo_request_to_one_host_is_left_alone() {
    let damaged = with(ping4(), V4_PAYLOAD + 12, &[0]);
    let to_group = with_addresses_v4(ping4(), SENDER_V4, [224, 0, 0, 1]);
    let to_all_macs = with(ping4(), 0, &[0xff; 6]);
    let first_fragment = fragment4(1, 0x2000, &ping4()[V4_PAYLOAD..]);
    let reply = with(ping4(), V4_PAYLOAD, &[0]);
    for frame in [damaged, to_group, to_all_macs, first_fragment, reply, udp4(), arp_request()] {
        let headers = parse_plain(&frame).expect("well-formed");
        let mut copy = frame.clone();
        assert!(!reply::echo_reply(&mut copy, &headers, SWITCH_MAC));
        assert_eq!(copy, frame);
    }
}

#[test]
fn a_hop_costs_one_and_keeps_the_header_intact() {
    for frame in [udp4(), tcp6(), with_options(tcp4(), &[1; 8]), with_tag(udp4(), 0x8100, 10)] {
        let (_, packet) = ip_of(&frame);
        let mut routed = frame.clone();
        rewrite::route(&mut routed, &packet, ANSWER_MAC, SWITCH_MAC).expect("64 is enough");
        let (headers, after) = ip_of(&routed);
        assert_eq!((headers.destination, headers.source), (ANSWER_MAC, SWITCH_MAC));
        assert_eq!(after, IpPacket { ttl: 63, ..packet });
    }
    for ttl in [0, 1] {
        let frame = with_header_checksum(with(udp4(), IP + 8, &[ttl]));
        let (_, packet) = ip_of(&frame);
        let mut routed = frame.clone();
        assert_eq!(
            rewrite::route(&mut routed, &packet, ANSWER_MAC, SWITCH_MAC),
            Err(DropReason::TtlExceeded)
        );
        assert_eq!(routed, frame);
    }
}

const ERRORS: [IcmpError; 6] = [
    IcmpError::NetworkUnreachable,
    IcmpError::HostUnreachable,
    IcmpError::PortUnreachable,
    IcmpError::AdministrativelyProhibited,
    IcmpError::TooBig { mtu: 1400 },
    IcmpError::TimeExceeded,
];

/// Etherparse's name of an error, by its own tables.
fn name_of(frame: &[u8]) -> String {
    match SlicedPacket::from_ethernet(frame).expect("well-formed").transport.expect("ICMP") {
        TransportSlice::Icmpv4(icmp) => match icmp.icmp_type() {
            Icmpv4Type::DestinationUnreachable(header) => format!("{header:?}"),
            other => format!("{other:?}"),
        },
        TransportSlice::Icmpv6(icmp) => match icmp.icmp_type() {
            Icmpv6Type::DestinationUnreachable(header) => format!("{header:?}"),
            other => format!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn error_about(frame: &[u8], error: IcmpError) -> Vec<u8> {
    let (headers, packet) = ip_of(frame);
    let from: IpAddr = match packet.flow.source {
        IpAddr::V4(_) => [10, 0, 0, 254].into(),
        IpAddr::V6(_) => "fd00::fe".parse().expect("an address"),
    };
    let mut out = [0xee; icmp_error::LONGEST];
    let length = icmp_error::write(error, (frame, &headers, &packet), from, SWITCH_MAC, &mut out);
    out[..length.expect("one family")].to_vec()
}

#[test]
fn errors_say_what_they_mean() {
    let names = |frame: &[u8]| ERRORS.map(|error| name_of(&error_about(frame, error)));
    assert_eq!(
        names(&udp4()),
        [
            "Network",
            "Host",
            "Port",
            "FilterProhibited",
            "FragmentationNeeded { next_hop_mtu: 1400 }",
            "TimeExceeded(TtlExceededInTransit)"
        ]
        .map(String::from)
    );
    assert_eq!(
        names(&udp6()),
        [
            "NoRoute",
            "Address",
            "Port",
            "Prohibited",
            "PacketTooBig { mtu: 1400 }",
            "TimeExceeded(HopLimitExceeded)"
        ]
        .map(String::from)
    );
}

#[test]
fn errors_quote_no_more_than_they_may() {
    let long = |frame: Vec<u8>, at: usize, field: usize, extra: usize| {
        let mut frame = frame;
        frame.extend(vec![7; 1400]);
        let length = (frame.len() - at - extra) as u16;
        frame[field..field + 2].copy_from_slice(&length.to_be_bytes());
        frame
    };
    let v4 = with_header_checksum(long(tcp4(), IP, IP + 2, 0));
    let v6 = long(tcp6(), IP, IP + 4, 40);
    for (frame, most) in [(v4, 576), (v6, 1280)] {
        let error = error_about(&frame, IcmpError::TimeExceeded);
        assert_eq!(error.len(), IP + most);
        assert_intact(&error);
    }
}

#[test]
fn nothing_undeserving_gets_an_error() {
    let deserves =
        |frame: Vec<u8>, about_size| deserves_error(&parse_plain(&frame).expect("well-formed"), about_size);
    let group_v6 = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
    assert!(deserves(udp4(), false) && deserves(udp6(), false));
    assert!(
        deserves(ping4(), false)
            && deserves(fragment4(17, 0x2000, &with(udp4(), V4_PAYLOAD + 4, &[1, 0])[V4_PAYLOAD..58]), false)
    );
    let undeserving = [
        arp_request(),
        error_about(&udp4(), IcmpError::HostUnreachable),
        error_about(&udp6(), IcmpError::HostUnreachable),
        fragment4(17, 4, &[0; 16]),
        with_addresses_v4(udp4(), SENDER_V4, [224, 0, 0, 9]),
        with_addresses_v4(udp4(), SENDER_V4, [255; 4]),
        with(udp4(), 0, &[0xff; 6]),
        with_addresses_v6(udp6(), SENDER_V6, group_v6),
        with(with_addresses_v4(udp4(), [0; 4], [255; 4]), V4_PAYLOAD, &[0, 68, 0, 67]),
    ];
    for frame in undeserving {
        assert!(!deserves(frame.clone(), false), "{frame:02x?}");
    }
    assert!(deserves(with_addresses_v6(udp6(), SENDER_V6, group_v6), true));
}

proptest! {
    #[test]
    fn an_error_about_any_packet_is_intact_and_quotes_its_flow(
        frame in well_formed(),
        which in 0..ERRORS.len(),
    ) {
        let headers = parse_plain(&frame).expect("well-formed");
        if let Headers { content: Content::Ip(packet), tag: None, .. } = headers {
            let error = error_about(&frame, ERRORS[which]);
            assert_intact(&error);
            let (_, error_packet) = ip_of(&error);
            let quote = quoted(&error, &error_packet);
            // Eight bytes behind the header is what a quote must have to be of use.
            if packet.end - u32::from(packet.transport) >= 8 {
                let quote = quote.expect("a readable quote");
                prop_assert_eq!(quote.flow, packet.flow);
                prop_assert_eq!(quote.echo_identifier, packet.echo_identifier);
            }
        }
    }
}
