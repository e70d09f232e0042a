//! Etherparse as the oracle: it and the parser agree wherever none of the parser's stricter rules applies.

use std::net::IpAddr;

use etherparse::{LinkExtSlice, NetSlice, SlicedPacket, TransportSlice};
use proptest::prelude::*;
use septum::drop_reason::DropReason;
use septum::wire::parse::parse;
use septum::wire::vnet_hdr::VnetHeader;
use septum::wire::{Content, Headers, IpPacket};
use septum_rules::proto::{Layer4, Protocol};

use crate::frames::{parse_plain, with_header_checksum};
use crate::traffic::{spoiled, well_formed};

/// Fails when the two disagree about `frame`.
///
/// Where etherparse refuses, the parser may accept only what it deliberately does not look into: AH (etherparse
/// walks it), later fragments (etherparse walks on behind their header), short IGMP, the length of ICMP time stamps. Where
/// etherparse accepts, the parser may refuse only for a rule that etherparse does not have.
pub(crate) fn compare(frame: &[u8]) -> Result<(), String> {
    match (parse_plain(frame), SlicedPacket::from_ethernet(frame)) {
        (Err(_), Err(_)) => Ok(()),
        (Err(reason), Ok(_)) if is_stricter_rule(reason) => Ok(()),
        (Err(reason), Ok(sliced)) => Err(format!("refused for {reason}, etherparse: {sliced:?}")),
        (Ok(headers), Err(_)) if is_not_looked_into(&headers) => Ok(()),
        (Ok(headers), Err(error)) => Err(format!("accepted as {headers:?}, etherparse: {error}")),
        (Ok(headers), Ok(sliced)) => agree(frame, &headers, &sliced),
    }
}

fn is_stricter_rule(reason: DropReason) -> bool {
    use DropReason as R;
    matches!(
        reason,
        R::ReservedMulticast
            | R::EthertypeUnknown
            | R::VlanStacked
            | R::ArpMalformed
            | R::ArpOperation
            | R::Ipv4Checksum
            | R::Ipv4Options
            | R::Ipv6PayloadLength
            | R::Ipv6Extensions
            | R::Ipv6Options
            | R::Ipv6RoutingHeader
            | R::FragmentMalformed
            | R::TcpFlags
            | R::UdpLength
            | R::SctpTruncated
            | R::IcmpFamily
            | R::NdMalformed
            | R::Land
            | R::MartianSource
            | R::MartianDestination
    )
}

fn is_not_looked_into(headers: &Headers) -> bool {
    let Content::Ip(packet) = headers.content else { return false };
    let protocol = packet.flow.layer4.protocol;
    // Types 13 and 14: etherparse wants 20 bytes and no more.
    let is_time_stamp = protocol == Protocol::ICMP && matches!(packet.flow.layer4.destination >> 8, 13 | 14);
    packet.is_later_fragment() || is_time_stamp || matches!(protocol, Protocol::AH | Protocol::IGMP)
}

fn agree(frame: &[u8], headers: &Headers, sliced: &SlicedPacket) -> Result<(), String> {
    let same = |what: &str, ours: &dyn std::fmt::Debug, theirs: &dyn std::fmt::Debug| {
        let (ours, theirs) = (format!("{ours:?}"), format!("{theirs:?}"));
        if ours == theirs { Ok(()) } else { Err(format!("{what}: ours {ours}, etherparse {theirs}")) }
    };
    let tag = match sliced.link_exts.as_slice() {
        [] => None,
        [LinkExtSlice::Vlan(tag)] => Some(u16::from_be_bytes([tag.slice()[0], tag.slice()[1]])),
        other => return Err(format!("etherparse sees {other:?}")),
    };
    same("tag", &headers.tag, &tag)?;
    let packet = match (headers.content, &sliced.net) {
        (Content::Ip(packet), Some(NetSlice::Ipv4(_) | NetSlice::Ipv6(_))) => packet,
        (Content::Arp(arp), Some(NetSlice::Arp(theirs))) => {
            same("ARP sender", &arp.sender.octets().as_slice(), &theirs.sender_protocol_addr())?;
            same("ARP target", &arp.target.octets().as_slice(), &theirs.target_protocol_addr())?;
            return same("ARP sender MAC", &arp.sender_mac.0.as_slice(), &theirs.sender_hw_addr());
        }
        (content, net) => return Err(format!("ours {content:?}, etherparse {net:?}")),
    };
    let (source, destination, ttl, payload) = match sliced.net.as_ref() {
        Some(NetSlice::Ipv4(ip)) => {
            let header = ip.header();
            (
                IpAddr::V4(header.source_addr()),
                IpAddr::V4(header.destination_addr()),
                header.ttl(),
                ip.payload(),
            )
        }
        Some(NetSlice::Ipv6(ip)) => {
            let header = ip.header();
            (
                IpAddr::V6(header.source_addr()),
                IpAddr::V6(header.destination_addr()),
                header.hop_limit(),
                ip.payload(),
            )
        }
        _ => unreachable!("the match above"),
    };
    same("source", &packet.flow.source, &source)?;
    same("destination", &packet.flow.destination, &destination)?;
    same("time to live", &packet.ttl, &ttl)?;
    same("fragment", &packet.fragment.is_some(), &payload.fragmented)?;
    let protocol = packet.flow.layer4.protocol;
    if protocol == Protocol::AH || packet.is_later_fragment() {
        return Ok(());
    }
    same("protocol", &protocol.0, &payload.ip_number.0)?;
    let transport = payload.payload.as_ptr() as usize - frame.as_ptr() as usize;
    same("transport offset", &usize::from(packet.transport), &transport)?;
    same("end", &(packet.end as usize), &(transport + payload.payload.len()))?;
    agree_on_transport(&packet, sliced.transport.as_ref(), same)
}

type Same<'a> = &'a dyn std::fmt::Debug;

fn agree_on_transport(
    packet: &IpPacket,
    transport: Option<&TransportSlice>,
    same: impl Fn(&str, Same, Same) -> Result<(), String>,
) -> Result<(), String> {
    let protocol = packet.flow.layer4.protocol;
    let header_length = usize::from(packet.payload - packet.transport);
    let (layer4, length) = match transport {
        Some(TransportSlice::Tcp(tcp)) => {
            same("TCP flags", &packet.tcp_flags, &tcp.slice()[13])?;
            (Layer4::ports(protocol, tcp.source_port(), tcp.destination_port()), tcp.header_slice().len())
        }
        Some(TransportSlice::Udp(udp)) => {
            (Layer4::ports(protocol, udp.source_port(), udp.destination_port()), udp.header_slice().len())
        }
        Some(TransportSlice::Icmpv4(icmp)) => (Layer4::icmp(protocol, icmp.type_u8(), icmp.code_u8()), 8),
        Some(TransportSlice::Icmpv6(icmp)) => (Layer4::icmp(protocol, icmp.type_u8(), icmp.code_u8()), 8),
        // Fragments, SCTP and the rest: etherparse has no word on their ports.
        Some(TransportSlice::Igmp(_)) | None => return Ok(()),
    };
    same("layer 4", &packet.flow.layer4, &layer4)?;
    same("header length", &header_length, &length)
}

fn any_header() -> impl Strategy<Value = VnetHeader> {
    let flags = prop::sample::select(vec![0u8, 1, 1, 1, 2, 3, 8, 9]);
    let gso_type =
        prop::sample::select(vec![0u8, 0, 1, 4, 5, 0x81, 0x84, 3, 0x80, 0x21, 0x41, 0x24, 0x45, 0x61]);
    let small = || prop_oneof![0u16..120, any::<u16>()];
    let start =
        prop_oneof![4 => prop::sample::select(vec![34u16, 38, 54, 58, 74]), 1 => any::<u16>()].boxed();
    let offset = prop_oneof![4 => prop::sample::select(vec![2u16, 6, 8, 16]), 1 => any::<u16>()];
    (flags, gso_type, small(), small(), start.clone(), offset, (start, small())).prop_map(
        |(flags, gso_type, header_length, gso_size, checksum_start, checksum_offset, of_tunnel)| VnetHeader {
            flags,
            gso_type,
            header_length,
            gso_size,
            checksum_start,
            checksum_offset,
            outer_transport: of_tunnel.0,
            inner_network: of_tunnel.1,
        },
    )
}

/// A frame that is spoiled, its IPv4 checksum perhaps mended.
fn mended() -> impl Strategy<Value = Vec<u8>> {
    (spoiled(well_formed()), any::<bool>()).prop_map(|(frame, mend)| {
        if mend && frame.len() >= 34 && frame[12..14] == [8, 0] { with_header_checksum(frame) } else { frame }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_well_formed_is_accepted_and_read_alike(frame in well_formed()) {
        prop_assert!(parse_plain(&frame).is_ok(), "{:?}", parse_plain(&frame));
        prop_assert_eq!(compare(&frame), Ok(()));
    }

    #[test]
    fn what_is_spoiled_is_read_alike_or_refused(frame in mended()) {
        prop_assert_eq!(compare(&frame), Ok(()));
    }

    #[test]
    fn no_bytes_and_no_virtio_header_make_a_panic(
        frame in prop_oneof![mended(), proptest::collection::vec(any::<u8>(), 0..200)],
        vnet in any_header(),
    ) {
        if let Ok(Headers { content: Content::Ip(packet), .. }) = parse(&frame, &vnet) {
            // What was accepted holds together.
            prop_assert!(packet.network < packet.transport && packet.transport <= packet.payload);
            prop_assert!(u32::from(packet.payload) <= packet.end && packet.end as usize <= frame.len());
            let _ = septum::wire::quoted::quoted(&frame, &packet);
        }
    }
}
