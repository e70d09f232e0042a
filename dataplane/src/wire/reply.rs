//! What the switch says in its own name, other than errors: ARP replies (RFC 826), neighbour advertisements
//! (RFC 4861 section 4.4) and echo replies (RFC 792, RFC 4443 section 4.2).
//!
//! Each is written as a whole Ethernet frame, tagged like the request, into the caller's buffer; the caller
//! writes an empty virtio header before it. Whether to answer at all (guard, rate limit, duplicate address
//! detection) is the caller's decision. Nothing allocates.

use std::net::{IpAddr, Ipv6Addr};

use septum_rules::mac::MacAddress;
use septum_rules::proto::Protocol;

use super::checksum::{Sum, updated};
use super::ethernet::{EtherType, EthernetHeader};
use super::icmp::{self, icmp_type, icmpv6_type};
use super::ipv4::Ipv4Header;
use super::ipv6::Ipv6Header;
use super::neighbour::HOP_LIMIT;
use super::{Arp, Content, Headers, IpPacket, ORIGINATED_TTL, rewrite};

/// The longest frame that [`arp_reply`] and [`neighbour_advertisement`] write.
pub const LONGEST: usize = 18 + Ipv6Header::LENGTH + ADVERTISEMENT;

/// Bytes of a neighbour advertisement with its one option.
const ADVERTISEMENT: usize = 32;

/// Writes the reply "`request.target` is at `mac`" to who asked, and gives its length.
///
/// # Panics
/// When `out` is shorter than [`LONGEST`].
pub fn arp_reply(request: &Headers, arp: &Arp, mac: MacAddress, out: &mut [u8]) -> usize {
    let header = EthernetHeader { destination: arp.sender_mac, source: mac, ethertype: EtherType::ARP };
    let network = header.emit(request.tag, out);
    let reply = Arp {
        is_request: false,
        sender_mac: mac,
        sender: arp.target,
        target_mac: arp.sender_mac,
        target: arp.sender,
    };
    reply.emit(&mut out[network..]);
    network + Arp::LENGTH
}

/// What a neighbour advertisement says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advertisement {
    /// The address that is asked for.
    pub target: Ipv6Addr,
    /// Where it is; also the frame's source.
    pub mac: MacAddress,
    /// Whether that is a router: the R flag.
    pub is_router: bool,
}

/// Writes the answer to `solicitation` (whose flow is in `packet`), and gives its length. It goes to who asked, as
/// a solicited one that overrides; to all nodes, unsolicited, where the source is `::` (RFC 4861 section 7.2.4).
///
/// # Panics
/// When `out` is shorter than [`LONGEST`], or `packet` is not IPv6.
pub fn neighbour_advertisement(
    solicitation: &Headers,
    packet: &IpPacket,
    answer: &Advertisement,
    out: &mut [u8],
) -> usize {
    let IpAddr::V6(asker) = packet.flow.source else { panic!("a neighbour solicitation is IPv6") };
    let (destination_mac, destination, solicited) = if asker.is_unspecified() {
        (ALL_NODES_MAC, ALL_NODES, 0)
    } else {
        (solicitation.source, asker, SOLICITED)
    };
    let header =
        EthernetHeader { destination: destination_mac, source: answer.mac, ethertype: EtherType::IPV6 };
    let network = header.emit(solicitation.tag, out);
    let transport = network + Ipv6Header::LENGTH;
    let addresses = (answer.target, destination);
    Ipv6Header::emit(&mut out[network..], addresses, Protocol::ICMPV6, HOP_LIMIT, ADVERTISEMENT);
    let message = &mut out[transport..transport + ADVERTISEMENT];
    let router = if answer.is_router { ROUTER } else { 0 };
    message[..8].copy_from_slice(&[
        icmpv6_type::NEIGHBOUR_ADVERTISEMENT,
        0,
        0,
        0,
        router | solicited | OVERRIDE,
        0,
        0,
        0,
    ]);
    message[8..24].copy_from_slice(&answer.target.octets());
    message[24..26].copy_from_slice(&[TARGET_LINK_LAYER, 1]);
    message[26..32].copy_from_slice(&answer.mac.0);
    let pseudo = Sum::pseudo_header_v6(addresses.0, addresses.1, Protocol::ICMPV6, ADVERTISEMENT as u32);
    let checksum = pseudo.add_bytes(message).checksum();
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    transport + ADVERTISEMENT
}

const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;
const TARGET_LINK_LAYER: u8 = 2;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: MacAddress = MacAddress([0x33, 0x33, 0, 0, 0, 1]);

/// Turns an echo request into its reply, in place: addresses and MACs change sides, the time to live starts
/// anew, options and payload stay. `mac` becomes the source. False, with `frame` unchanged, when this is no whole
/// echo request, is to a group, or fails its own checksum (complete a partial one first).
///
/// `frame` ends where it did: Ethernet padding stays.
pub fn echo_reply(frame: &mut [u8], request: &Headers, mac: MacAddress) -> bool {
    let Content::Ip(packet) = &request.content else { return false };
    let flow = &packet.flow;
    let (network, transport) = (usize::from(packet.network), usize::from(packet.transport));
    if !icmp::is_echo_request(flow.layer4)
        || packet.fragment.is_some()
        || flow.destination.is_multicast()
        || request.destination.is_group()
    {
        return false;
    }
    let Some(message) = frame.get(transport..packet.end as usize) else { return false };
    let (pseudo, reply_type) = match (flow.source, flow.destination) {
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let length = message.len() as u32;
            let pseudo = Sum::pseudo_header_v6(source, destination, Protocol::ICMPV6, length);
            (pseudo, icmpv6_type::ECHO_REPLY)
        }
        _ => (Sum::default(), icmp_type::ECHO_REPLY),
    };
    if !pseudo.add_bytes(message).is_valid() {
        return false;
    }
    let Some(message) = frame.get_mut(transport..transport + icmp::HEADER) else { return false };
    let word = |bytes: &[u8]| u16::from_be_bytes([bytes[0], bytes[1]]);
    let old = word(message);
    message[0] = reply_type;
    // Swapping two addresses leaves a sum unchanged; only the type differs.
    let checksum = updated(word(&message[2..]), old, word(message));
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    swap_addresses(&mut frame[network..transport]);
    rewrite::set_macs(frame, request.source, mac);
    true
}

/// Swaps source and destination of an IP header and gives it the time to live of a new packet.
fn swap_addresses(header: &mut [u8]) {
    if header[0] >> 4 == 4 {
        let (sources, destinations) = header[12..20].split_at_mut(4);
        sources.swap_with_slice(destinations);
        header[8] = ORIGINATED_TTL;
        Ipv4Header::write_checksum(header);
    } else {
        let (sources, destinations) = header[8..Ipv6Header::LENGTH].split_at_mut(16);
        sources.swap_with_slice(destinations);
        header[7] = ORIGINATED_TTL;
    }
}

/// The longest IPv4 and IPv6 headers that the switch writes are these.
const _: () = assert!(LONGEST >= 18 + Arp::LENGTH && Ipv4Header::LENGTH < Ipv6Header::LENGTH);
