//! One named frame, or more, for every reason of the parser; and near misses that must pass.

use std::collections::HashSet;

use septum::drop_reason::DropReason;
use septum::wire::parse::parse;
use septum::wire::vnet_hdr::VnetHeader;

use crate::frames::*;

type Case = (DropReason, &'static str, Vec<u8>, VnetHeader);

/// What tags say depends on the port.
const BY_PORT: [DropReason; 3] =
    [DropReason::VlanUnexpected, DropReason::VlanMissing, DropReason::VlanUndeclared];

/// The reasons that parsing gives: everything up to the guard, but for the port's and the guard's own.
fn parser_reasons() -> HashSet<DropReason> {
    DropReason::ALL
        .into_iter()
        .filter(|reason| (DropReason::OffloadHeader..=DropReason::MartianDestination).contains(reason))
        .filter(|reason| !BY_PORT.contains(reason))
        .chain([DropReason::ReservedMulticast])
        .collect()
}

#[test]
fn every_case_is_refused_for_its_reason() {
    for (reason, name, frame, vnet) in cases() {
        assert_eq!(parse(&frame, &vnet), Err(reason), "{name}");
    }
}

#[test]
fn every_reason_of_the_parser_has_a_case() {
    let covered: HashSet<_> = cases().into_iter().map(|(reason, ..)| reason).collect();
    let missing: Vec<_> = parser_reasons().difference(&covered).copied().collect();
    assert!(missing.is_empty(), "no case for {missing:?}");
    let foreign: Vec<_> = covered.difference(&parser_reasons()).copied().collect();
    assert!(foreign.is_empty(), "not the parser's: {foreign:?}");
}

#[test]
fn near_misses_pass() {
    for (name, frame, vnet) in near_misses() {
        assert!(parse(&frame, &vnet).is_ok(), "{name}: {:?}", parse(&frame, &vnet));
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut case = |reason, name, frame| cases.push((reason, name, frame, VnetHeader::default()));
    link_cases(&mut case);
    ipv4_cases(&mut case);
    ipv6_cases(&mut case);
    fragment_cases(&mut case);
    transport_cases(&mut case);
    neighbour_cases(&mut case);
    address_cases(&mut case);
    for (name, frame, vnet) in offload_cases() {
        cases.push((DropReason::OffloadHeader, name, frame, vnet));
    }
    cases
}

type Add<'a> = &'a mut dyn FnMut(DropReason, &'static str, Vec<u8>);

fn link_cases(case: Add) {
    case(DropReason::EthernetTruncated, "13 bytes", udp4()[..13].to_vec());
    case(DropReason::EthernetTruncated, "nothing", vec![]);
    case(DropReason::EthertypeUnknown, "LLC", with(udp4(), 12, &[0, 38]));
    case(DropReason::EthertypeUnknown, "MPLS", with(udp4(), 12, &[0x88, 0x47]));
    case(DropReason::ReservedMulticast, "LLDP", with(udp4(), 0, &[1, 0x80, 0xc2, 0, 0, 0x0e]));
    case(DropReason::VlanTruncated, "cut tag", with_tag(udp4(), 0x8100, 10)[..17].to_vec());
    case(DropReason::VlanStacked, "QinQ", with_tag(with_tag(udp4(), 0x8100, 10), 0x8100, 20));
    case(DropReason::VlanStacked, "service tag", with_tag(udp4(), 0x88a8, 10));
    case(DropReason::ArpMalformed, "cut ARP", arp_request()[..41].to_vec());
    case(DropReason::ArpMalformed, "ARP of another hardware", with(arp_request(), 14, &[0, 6]));
    case(DropReason::ArpMalformed, "ARP of other lengths", with(arp_request(), 18, &[8]));
    case(DropReason::ArpOperation, "reverse ARP", with(arp_request(), 20, &[0, 3]));
}

fn ipv4_cases(case: Add) {
    case(DropReason::Ipv4Truncated, "19 bytes", udp4()[..33].to_vec());
    case(DropReason::Ipv4Version, "version 6", with(udp4(), IP, &[0x65]));
    case(DropReason::Ipv4HeaderLength, "16 bytes", with(udp4(), IP, &[0x44]));
    case(DropReason::Ipv4HeaderLength, "beyond the frame", with(udp4(), IP, &[0x4f])[..60].to_vec());
    case(DropReason::Ipv4TotalLength, "beyond the frame", with(udp4(), IP + 2, &[0xff, 0xff]));
    case(DropReason::Ipv4TotalLength, "below the header", with(udp4(), IP + 2, &[0, 19]));
    case(DropReason::Ipv4TotalLength, "zero", with(udp4(), IP + 2, &[0, 0]));
    case(DropReason::Ipv4Checksum, "one bit", with(udp4(), IP + 8, &[63]));
    case(
        DropReason::Ipv4Checksum,
        "one bit, with options",
        with(with_options(udp4(), &[1, 1, 1, 0]), IP + 8, &[63]),
    );
    case(DropReason::Ipv4Options, "loose source route", with_options(udp4(), &[131, 7, 4, 10, 0, 0, 9, 0]));
    case(DropReason::Ipv4Options, "strict source route", with_options(udp4(), &[1, 137, 7, 4, 10, 0, 0, 9]));
    case(DropReason::Ipv4Options, "length 0", with_options(udp4(), &[7, 0, 0, 0]));
    case(DropReason::Ipv4Options, "length 1", with_options(udp4(), &[7, 1, 0, 0]));
    case(DropReason::Ipv4Options, "beyond the header", with_options(udp4(), &[1, 7, 4, 0]));
    case(DropReason::Ipv4Options, "without a length", with_options(udp4(), &[1, 1, 1, 7]));
    case(DropReason::IcmpFamily, "ICMPv6 over IPv4", ipv4(58, &[128, 0, 0, 0, 0, 1, 0, 1]));
}

fn ipv6_cases(case: Add) {
    const HOP_BY_HOP: [u8; 8] = [60, 0, 1, 4, 0, 0, 0, 0];
    let chain = |first: u8, parts: &[&[u8]]| ipv6(first, &parts.concat());
    let udp = &udp6()[V6_PAYLOAD..];

    case(DropReason::Ipv6Truncated, "39 bytes", udp6()[..53].to_vec());
    case(DropReason::Ipv6Version, "version 4", with(udp6(), IP, &[0x40]));
    case(DropReason::Ipv6PayloadLength, "beyond the frame", with(udp6(), IP + 4, &[0, 27]));
    case(DropReason::Ipv6PayloadLength, "zero", with(udp6(), IP + 4, &[0, 0]));
    case(DropReason::Ipv6PayloadLength, "jumbo option", chain(0, &[&[17, 0, 0xc2, 4, 0, 1, 0, 0], udp]));
    case(
        DropReason::Ipv6Extensions,
        "hop by hop, not first",
        chain(60, &[&[0, 0, 1, 4, 0, 0, 0, 0], &[17, 0, 1, 4, 0, 0, 0, 0], udp]),
    );
    case(
        DropReason::Ipv6Extensions,
        "three destination options",
        chain(60, &[&HOP_BY_HOP, &HOP_BY_HOP, &[17, 0, 1, 4, 0, 0, 0, 0], udp]),
    );
    case(
        DropReason::Ipv6Extensions,
        "two routing headers",
        chain(43, &[&[43, 0, 4, 0, 0, 0, 0, 0], &[17, 0, 4, 0, 0, 0, 0, 0], udp]),
    );
    case(
        DropReason::Ipv6Extensions,
        "two fragment headers",
        chain(44, &[&[44, 0, 0, 0, 0, 0, 0, 1], &[17, 0, 0, 0, 0, 0, 0, 1], udp]),
    );
    case(DropReason::Ipv6Extensions, "mobility", chain(135, &[&[59, 0, 0, 0, 0, 0, 0, 0]]));
    case(
        DropReason::Ipv6Extensions,
        "deeper than the switch walks",
        chain(
            0,
            &[
                &HOP_BY_HOP,
                &[43, 0, 1, 4, 0, 0, 0, 0],
                &[44, 0, 4, 0, 0, 0, 0, 0],
                &[60, 0, 0, 0, 0, 0, 0, 1],
                &[60, 0, 1, 4, 0, 0, 0, 0],
                &[17, 0, 1, 4, 0, 0, 0, 0],
                udp,
            ],
        ),
    );
    case(DropReason::Ipv6ExtensionTruncated, "seven bytes", chain(0, &[&[17, 0, 1, 4, 0, 0, 0]]));
    case(DropReason::Ipv6ExtensionTruncated, "beyond the packet", chain(0, &[&[17, 1, 1, 4, 0, 0, 0, 0]]));
    case(DropReason::Ipv6Options, "beyond the header", chain(0, &[&[17, 0, 1, 5, 0, 0, 0, 0], udp]));
    case(DropReason::Ipv6Options, "without a length", chain(60, &[&[17, 0, 0, 0, 0, 0, 0, 5], udp]));
    case(DropReason::Ipv6RoutingHeader, "type 0", chain(43, &[&[17, 0, 0, 0, 0, 0, 0, 0], udp]));
    case(DropReason::Ipv6RoutingHeader, "segments left", chain(43, &[&[17, 0, 4, 1, 0, 0, 0, 0], udp]));
    case(DropReason::Ipv6RoutingHeader, "unknown type", chain(43, &[&[17, 0, 77, 0, 0, 0, 0, 0], udp]));
    case(DropReason::IcmpFamily, "ICMP over IPv6", ipv6(1, &[8, 0, 0, 0, 0, 1, 0, 1]));
    case(
        DropReason::IcmpFamily,
        "ICMP over IPv6 in a later fragment",
        fragment6(1, 8, &[8, 0, 0, 0, 0, 1, 0, 1]),
    );
}

fn fragment_cases(case: Add) {
    const MORE_V4: u16 = 0x2000;
    const MORE_V6: u16 = 1;
    let tcp = &tcp4()[V4_PAYLOAD..];
    let udp = &udp4()[V4_PAYLOAD..];
    let mut add = |name, frame| case(DropReason::FragmentMalformed, name, frame);
    add("tiny first TCP", fragment4(6, MORE_V4, &tcp[..16]));
    add(
        "first TCP without its options",
        fragment4(6, MORE_V4, &[&tcp[..12], &[0x80], &tcp[13..24]].concat()),
    );
    add("first UDP is never tiny, but may be empty", fragment4(17, MORE_V4, &[]));
    add("not a multiple of eight", fragment4(17, MORE_V4, &udp[..17]));
    add("later TCP inside the header", fragment4(6, 1, &[0; 16]));
    add("later TCP inside the options", fragment4(6, 2, &[0; 16]));
    add("later SCTP inside the header", fragment4(132, 1, &[0; 16]));
    add("empty last", fragment4(17, 5, &[]));
    add("beyond 65,535 bytes", fragment4(17, 0x1fff, &[0; 8]));
    add("tiny first TCP over IPv6", fragment6(6, MORE_V6, &tcp[..16]));
    add("not a multiple of eight over IPv6", fragment6(17, MORE_V6, &udp[..17]));
    add("later TCP inside the header over IPv6", fragment6(6, 8, &[0; 16]));
    add("beyond 65,535 bytes over IPv6", fragment6(17, 0xfff8, &[0; 16]));
    add("chain cut off in the first fragment", fragment6(60, MORE_V6, &[17, 1, 1, 4, 0, 0, 0, 0]));
    add("first SCTP cut off", fragment6(132, MORE_V6, &[0; 8]));
}

fn transport_cases(case: Add) {
    let tcp = tcp4()[V4_PAYLOAD..].to_vec();
    let tcp_flags = |flags| ipv4(6, &with(tcp.clone(), 13, &[flags]));
    case(DropReason::TcpTruncated, "19 bytes", ipv4(6, &tcp[..19]));
    case(DropReason::TcpDataOffset, "16 bytes", ipv4(6, &with(tcp.clone(), 12, &[0x40])));
    case(DropReason::TcpDataOffset, "beyond the segment", ipv4(6, &with(tcp.clone(), 12, &[0xf0])));
    case(DropReason::TcpFlags, "null scan", tcp_flags(0));
    case(DropReason::TcpFlags, "SYN and FIN", tcp_flags(3));
    case(DropReason::TcpFlags, "SYN and RST", tcp_flags(6));
    case(DropReason::TcpFlags, "FIN scan", tcp_flags(1));
    case(DropReason::TcpFlags, "Xmas scan", tcp_flags(0x29));
    case(DropReason::TcpFlags, "all flags", tcp_flags(0xff));
    case(DropReason::UdpTruncated, "7 bytes", ipv4(17, &[0; 7]));
    case(DropReason::UdpTruncated, "nothing, over IPv6", ipv6(17, &[0; 5]));
    case(DropReason::UdpLength, "beyond the packet", with(udp4(), V4_PAYLOAD + 4, &[0, 27]));
    case(DropReason::UdpLength, "below its header", with(udp4(), V4_PAYLOAD + 4, &[0, 7]));
    case(DropReason::UdpLength, "zero", with(udp6(), V6_PAYLOAD + 4, &[0, 0]));
    case(
        DropReason::UdpLength,
        "first fragment longer than the whole",
        fragment4(17, 0x2000, &[0, 1, 0, 2, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    );
    case(DropReason::SctpTruncated, "11 bytes", ipv4(132, &[0; 11]));
    case(DropReason::IcmpTruncated, "7 bytes", ipv4(1, &[8, 0, 0, 0, 0, 0, 0]));
    case(DropReason::Icmpv6Truncated, "7 bytes", ipv6(58, &[128, 0, 0, 0, 0, 0, 0]));
}

fn neighbour_cases(case: Add) {
    const LINK_LOCAL: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    const ALL_NODES: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let mut add = |name, frame| case(DropReason::NdMalformed, name, frame);
    let message = solicitation()[V6_PAYLOAD..].to_vec();
    let changed = |at, bytes: &[u8]| neighbour(with(message.clone(), at, bytes));
    let to = |message, source, destination| {
        with_icmpv6_checksum(with_addresses_v6(neighbour(message), source, destination))
    };
    let advertisement = [&[136, 0, 0, 0, 0x60, 0, 0, 0], &SENDER_V6[..], &[2, 1], &SENDER_MAC].concat();
    let options = |options: &[u8]| neighbour([&message[..24], options].concat());

    add("hop limit 254", with(solicitation(), IP + 7, &[254]));
    add("code 1", changed(1, &[1]));
    add("wrong checksum", with(solicitation(), V6_PAYLOAD + 2, &[0xde, 0xad]));
    add("cut target", neighbour(message[..20].to_vec()));
    add("multicast target", changed(8, &ALL_NODES));
    add("option of length 0", changed(25, &[0]));
    add("option beyond the message", changed(25, &[2]));
    add("half an option", options(&[1]));
    add("two link-layer addresses", options(&[&message[24..32], &message[24..32]].concat()));
    add("a link-layer address of 14 bytes", options(&[[1, 2].as_slice(), &[0; 14]].concat()));
    add("from `::` with a link-layer address", to(message.clone(), [0; 16], RECEIVER_V6));
    add("from `::` to one host", to(message[..24].to_vec(), [0; 16], RECEIVER_V6));
    add("solicited advertisement to all", to(advertisement, SENDER_V6, ALL_NODES));
    add("router advertisement not from link-local", neighbour([&[134][..], &[0; 15]].concat()));
    add(
        "router solicitation from `::` with an address",
        to([&[133, 0, 0, 0, 0, 0, 0, 0, 1, 1][..], &SENDER_MAC].concat(), [0; 16], ALL_NODES),
    );
    add("short router advertisement", to(vec![134, 0, 0, 0, 0, 0, 0, 0], LINK_LOCAL, ALL_NODES));
    add("redirect not from link-local", neighbour([&[137][..], &[0; 39]].concat()));
    add(
        "redirect to a foreign target",
        to([&[137, 0, 0, 0, 0, 0, 0, 0], &SENDER_V6[..], &RECEIVER_V6].concat(), LINK_LOCAL, RECEIVER_V6),
    );
    let mut atomic = fragment6(58, 0, &message);
    atomic[IP + 7] = 255;
    add("in an atomic fragment", atomic);
    let mut first = fragment6(58, 1, &message);
    first[IP + 7] = 255;
    add("in a first fragment", first);
}

fn address_cases(case: Add) {
    let v4 = |source, destination| with_addresses_v4(udp4(), source, destination);
    let v6 = |source, destination| with_addresses_v6(udp6(), source, destination);
    let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 9];
    let group = |scope| [0xff, scope, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let loopback = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

    case(DropReason::Land, "IPv4", v4(SENDER_V4, SENDER_V4));
    case(DropReason::Land, "IPv6", v6(SENDER_V6, SENDER_V6));
    case(DropReason::MartianSource, "unspecified, not DHCP", v4([0; 4], RECEIVER_V4));
    case(DropReason::MartianSource, "this network", v4([0, 1, 2, 3], RECEIVER_V4));
    case(DropReason::MartianSource, "loopback", v4([127, 0, 0, 1], RECEIVER_V4));
    case(DropReason::MartianSource, "multicast", v4([224, 0, 0, 1], RECEIVER_V4));
    case(DropReason::MartianSource, "reserved", v4([240, 0, 0, 1], RECEIVER_V4));
    case(DropReason::MartianSource, "broadcast", v4([255; 4], RECEIVER_V4));
    case(
        DropReason::MartianSource,
        "DHCP to one host",
        with(v4([0; 4], RECEIVER_V4), V4_PAYLOAD, &[0, 68, 0, 67]),
    );
    case(DropReason::MartianSource, "`::`, not ND", v6([0; 16], RECEIVER_V6));
    case(DropReason::MartianSource, "`::1`", v6(loopback, RECEIVER_V6));
    case(DropReason::MartianSource, "IPv4-mapped", v6(mapped, RECEIVER_V6));
    case(DropReason::MartianSource, "IPv6 multicast", v6(group(2), RECEIVER_V6));
    case(DropReason::MartianDestination, "unspecified", v4(SENDER_V4, [0; 4]));
    case(DropReason::MartianDestination, "loopback", v4(SENDER_V4, [127, 0, 0, 1]));
    case(DropReason::MartianDestination, "reserved", v4(SENDER_V4, [240, 0, 0, 1]));
    case(DropReason::MartianDestination, "`::`", v6(SENDER_V6, [0; 16]));
    case(DropReason::MartianDestination, "`::1`", v6(SENDER_V6, loopback));
    case(DropReason::MartianDestination, "IPv4-mapped", v6(SENDER_V6, mapped));
    case(DropReason::MartianDestination, "reserved scope", v6(SENDER_V6, group(0)));
    case(DropReason::MartianDestination, "interface-local scope", v6(SENDER_V6, group(1)));
}

/// A virtio header with a partial checksum.
pub(crate) fn partial(start: u16, offset: u16) -> VnetHeader {
    VnetHeader {
        flags: VnetHeader::NEEDS_CHECKSUM,
        checksum_start: start,
        checksum_offset: offset,
        ..VnetHeader::default()
    }
}

/// One of a super-frame.
pub(crate) fn super_frame(gso_type: u8, gso_size: u16, start: u16, offset: u16) -> VnetHeader {
    VnetHeader { gso_type, gso_size, ..partial(start, offset) }
}

fn offload_cases() -> Vec<(&'static str, Vec<u8>, VnetHeader)> {
    let syn = || with(tcp4(), V4_PAYLOAD + 13, &[2]);
    let many = || {
        let mut frame = udp4();
        frame.extend([7; 130]);
        let frame = with(with(frame, IP + 2, &[0, 176]), V4_PAYLOAD + 4, &[0, 156]);
        with_header_checksum(frame)
    };
    let atomic = || fragment6(6, 0, &tcp6()[V6_PAYLOAD..]);
    vec![
        ("partial outside the frame", udp4(), partial(4000, 6)),
        ("partial beyond the end", udp4(), partial(34, 600)),
        ("partial in the IP header", udp4(), partial(14, 10)),
        ("partial over the ports", udp4(), partial(34, 2)),
        ("a carried packet's CRC beyond the end", udp4(), partial(50, 8)),
        ("TCP partial at UDP's place", tcp4(), partial(34, 6)),
        ("TCP partial in the payload", tcp4(), partial(54, 2)),
        ("partial of an ARP", arp_request(), partial(14, 2)),
        ("partial of a fragment", fragment4(17, 0x2000, &udp4()[V4_PAYLOAD..58]), partial(34, 6)),
        ("unknown flag", udp4(), VnetHeader { flags: 8, ..VnetHeader::default() }),
        ("unknown type", tcp4(), super_frame(3, 100, 34, 16)),
        ("headers longer than the frame", udp4(), VnetHeader { header_length: 61, ..VnetHeader::default() }),
        (
            "super-frame without a partial checksum",
            tcp4(),
            VnetHeader { gso_type: 1, gso_size: 100, ..VnetHeader::default() },
        ),
        ("segment size zero", tcp4(), super_frame(1, 0, 34, 16)),
        ("segment size below the kernel's", tcp4(), super_frame(1, 7, 34, 16)),
        ("TCPv6 type over IPv4", tcp4(), super_frame(4, 100, 34, 16)),
        ("TCPv4 type over IPv6", tcp6(), super_frame(1, 100, 54, 16)),
        ("TCP type over UDP", udp4(), super_frame(1, 100, 34, 6)),
        ("UDP type over TCP", tcp4(), super_frame(5, 100, 34, 16)),
        ("UDP type with ECN", udp4(), super_frame(0x85, 100, 34, 6)),
        ("super-frame of an ARP", arp_request(), super_frame(1, 100, 34, 16)),
        (
            "super-frame of a fragment",
            fragment4(6, 0x2000, &tcp4()[V4_PAYLOAD..58]),
            super_frame(1, 100, 34, 16),
        ),
        ("super-frame of an atomic fragment", atomic(), super_frame(4, 100, 62, 16)),
        ("super-frame that opens a connection", syn(), super_frame(1, 100, 34, 16)),
        ("129 datagrams", many(), super_frame(5, 1, 34, 6)),
        ("super-frame with its checksum in the payload", udp4(), super_frame(5, 100, 42, 6)),
    ]
}

fn near_misses() -> Vec<(&'static str, Vec<u8>, VnetHeader)> {
    let none = VnetHeader::default;
    let dhcp = with(with_addresses_v4(udp4(), [0; 4], [255; 4]), V4_PAYLOAD, &[0, 68, 0, 67]);
    let solicited_node = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 2];
    let probe = neighbour(solicitation()[V6_PAYLOAD..V6_PAYLOAD + 24].to_vec());
    let probe = with_icmpv6_checksum(with_addresses_v6(probe, [0; 16], solicited_node));
    let five_extensions = [
        &[60, 0, 5, 2, 0, 0, 1, 0][..],
        &[43, 0, 1, 4, 0, 0, 0, 0],
        &[44, 0, 4, 0, 0, 0, 0, 0],
        &[60, 0, 0, 0, 0, 0, 0, 1],
        &[17, 0, 1, 4, 0, 0, 0, 0],
        &udp6()[V6_PAYLOAD..],
    ]
    .concat();
    vec![
        ("DHCP discover", dhcp, none()),
        ("duplicate address detection", probe, none()),
        (
            "MLD report from `::`",
            {
                let report =
                    with_addresses_v6(ipv6(58, &[143, 0, 0, 0, 0, 0, 0, 0]), [0; 16], solicited_node);
                with(report, IP + 7, &[1])
            },
            none(),
        ),
        ("all extension headers", ipv6(0, &five_extensions), none()),
        ("no next header", ipv6(59, &[]), none()),
        ("Ethernet padding", [ipv4(17, &[0, 1, 0, 2, 0, 8, 0, 0]), vec![0xaa; 18]].concat(), none()),
        ("UDP with a surplus area", with(udp4(), V4_PAYLOAD + 4, &[0, 20]), none()),
        ("record route", with_options(udp4(), &[7, 7, 4, 0, 0, 0, 0, 0]), none()),
        ("options end early", with_options(udp4(), &[0, 131, 131, 131]), none()),
        (
            "first fragment of UDP",
            fragment4(17, 0x2000, &with(udp4(), V4_PAYLOAD + 4, &[1, 0])[V4_PAYLOAD..58]),
            none(),
        ),
        ("last fragment that just fits", fragment4(17, 0x1ffc, &[0; 11]), none()),
        ("SYN with PSH", with(tcp4(), V4_PAYLOAD + 13, &[0x0a]), none()),
        ("SYN with ECE and CWR", with(tcp4(), V4_PAYLOAD + 13, &[0xc2]), none()),
        ("priority tag", with_tag(udp4(), 0x8100, 0x6000), none()),
        ("limited broadcast", with_addresses_v4(udp4(), SENDER_V4, [255; 4]), none()),
        ("own checksum partial", udp4(), partial(34, 6)),
        ("tagged, own checksum partial", with_tag(udp4(), 0x8100, 10), partial(38, 6)),
        ("encapsulated checksum partial", udp4(), partial(44, 10)),
        ("encapsulated CRC partial", udp4(), partial(48, 8)),
        ("GRE's inner checksum partial", ipv4(47, &[0; 40]), partial(50, 16)),
        ("SCTP's CRC partial", ipv4(132, &[0; 16]), partial(34, 8)),
        ("checksum already verified", udp4(), VnetHeader { flags: VnetHeader::DATA_VALID, ..none() }),
        ("TCP super-frame", tcp4(), super_frame(1, 8, 34, 16)),
        ("TCP super-frame with ECN", tcp6(), super_frame(0x84, 8, 54, 16)),
        ("UDP super-frame", udp6(), super_frame(5, 8, 54, 6)),
        ("super-frame of one segment", tcp4(), super_frame(1, 1460, 34, 16)),
    ]
}
