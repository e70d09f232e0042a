//! Well-formed frames, made by etherparse and pnet, and the means to spoil them.

use etherparse::PacketBuilder;
use septum::drop_reason::DropReason;
use septum::wire::parse::parse;
use septum::wire::vnet_hdr::VnetHeader;
use septum::wire::{Content, Headers, IpPacket};

pub(crate) const SENDER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(crate) const RECEIVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub(crate) const SENDER_V4: [u8; 4] = [10, 0, 0, 1];
pub(crate) const RECEIVER_V4: [u8; 4] = [10, 0, 0, 2];
pub(crate) const SENDER_V6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
pub(crate) const RECEIVER_V6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
/// Offset of the IP header in a frame without a tag.
pub(crate) const IP: usize = 14;
/// Offset of what follows an IPv4 header without options.
pub(crate) const V4_PAYLOAD: usize = 34;
/// Offset of what follows an IPv6 header.
pub(crate) const V6_PAYLOAD: usize = 54;

fn v4() -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    PacketBuilder::ethernet2(SENDER_MAC, RECEIVER_MAC).ipv4(SENDER_V4, RECEIVER_V4, 64)
}

fn v6() -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    PacketBuilder::ethernet2(SENDER_MAC, RECEIVER_MAC).ipv6(SENDER_V6, RECEIVER_V6, 64)
}

macro_rules! written {
    ($builder:expr, $payload:expr) => {{
        let mut frame = Vec::new();
        $builder.write(&mut frame, $payload).expect("a Vec takes everything");
        frame
    }};
}

pub(crate) fn udp4() -> Vec<u8> {
    written!(v4().udp(4000, 53), &[7; 18])
}

pub(crate) fn udp6() -> Vec<u8> {
    written!(v6().udp(4000, 53), &[7; 18])
}

pub(crate) fn tcp4() -> Vec<u8> {
    written!(v4().tcp(4000, 443, 1, 1000).ack(2), &[7; 10])
}

pub(crate) fn tcp6() -> Vec<u8> {
    written!(v6().tcp(4000, 443, 1, 1000).ack(2), &[7; 10])
}

pub(crate) fn ping4() -> Vec<u8> {
    written!(v4().icmpv4_echo_request(0x1234, 1), &[7; 16])
}

pub(crate) fn ping6() -> Vec<u8> {
    written!(v6().icmpv6_echo_request(0x1234, 1), &[7; 16])
}

pub(crate) fn arp_request() -> Vec<u8> {
    let mut frame = [[0xff; 6], SENDER_MAC].concat();
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(SENDER_MAC);
    frame.extend(SENDER_V4);
    frame.extend([0; 6]);
    frame.extend(RECEIVER_V4);
    frame
}

/// An IPv4 frame of any protocol.
pub(crate) fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    v4().write(&mut frame, etherparse::IpNumber(protocol), payload).expect("a Vec takes everything");
    frame
}

/// An IPv6 frame whose payload begins with a header of any type.
pub(crate) fn ipv6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = [RECEIVER_MAC, SENDER_MAC].concat();
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    frame.extend((payload.len() as u16).to_be_bytes());
    frame.extend([next_header, 64]);
    frame.extend(SENDER_V6);
    frame.extend(RECEIVER_V6);
    frame.extend(payload);
    frame
}

/// An IPv4 fragment: `field` is the flags and offset field.
pub(crate) fn fragment4(protocol: u8, field: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = ipv4(protocol, payload);
    frame[IP + 6..IP + 8].copy_from_slice(&field.to_be_bytes());
    with_header_checksum(frame)
}

/// An IPv6 packet with a fragment header before `next_header`.
pub(crate) fn fragment6(next_header: u8, field: u16, payload: &[u8]) -> Vec<u8> {
    let [high, low] = field.to_be_bytes();
    ipv6(44, &[&[next_header, 0, high, low, 0, 0, 0, 9], payload].concat())
}

/// A neighbour solicitation for the receiver, with the sender's link-layer address.
pub(crate) fn solicitation() -> Vec<u8> {
    let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
    message.extend(RECEIVER_V6);
    message.extend([1, 1]);
    message.extend(SENDER_MAC);
    neighbour(message)
}

/// Any neighbour discovery message, with the hop limit and checksum that it must have.
pub(crate) fn neighbour(message: Vec<u8>) -> Vec<u8> {
    let mut frame = ipv6(58, &message);
    frame[IP + 7] = 255;
    with_icmpv6_checksum(frame)
}

/// The same with another source, destination or both.
pub(crate) fn with_addresses_v6(mut frame: Vec<u8>, source: [u8; 16], destination: [u8; 16]) -> Vec<u8> {
    frame[IP + 8..IP + 24].copy_from_slice(&source);
    frame[IP + 24..IP + 40].copy_from_slice(&destination);
    frame
}

/// The same with another source and destination.
pub(crate) fn with_addresses_v4(mut frame: Vec<u8>, source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
    frame[IP + 12..IP + 16].copy_from_slice(&source);
    frame[IP + 16..IP + 20].copy_from_slice(&destination);
    with_header_checksum(frame)
}

/// The same with some bytes replaced.
pub(crate) fn with(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

/// The same with options in its IPv4 header: a multiple of four bytes.
pub(crate) fn with_options(mut frame: Vec<u8>, options: &[u8]) -> Vec<u8> {
    frame.splice(V4_PAYLOAD..V4_PAYLOAD, options.iter().copied());
    frame[IP] = 0x45 + (options.len() / 4) as u8;
    let length = (frame.len() - IP) as u16;
    frame[IP + 2..IP + 4].copy_from_slice(&length.to_be_bytes());
    with_header_checksum(frame)
}

/// The same, tagged.
pub(crate) fn with_tag(mut frame: Vec<u8>, ethertype: u16, tag: u16) -> Vec<u8> {
    let bytes = [ethertype.to_be_bytes(), tag.to_be_bytes()].concat();
    frame.splice(12..12, bytes);
    frame
}

/// The same with a right IPv4 header checksum.
pub(crate) fn with_header_checksum(mut frame: Vec<u8>) -> Vec<u8> {
    let end = (IP + usize::from(frame[IP] & 0xf) * 4).min(frame.len());
    frame[IP + 10..IP + 12].fill(0);
    let checksum = pnet::packet::util::checksum(&frame[IP..end], 5);
    frame[IP + 10..IP + 12].copy_from_slice(&checksum.to_be_bytes());
    frame
}

/// The same with a right ICMPv6 checksum; the message must follow the IPv6 header.
pub(crate) fn with_icmpv6_checksum(mut frame: Vec<u8>) -> Vec<u8> {
    let source = std::net::Ipv6Addr::from(*frame[IP + 8..].first_chunk::<16>().expect("an IPv6 header"));
    let destination =
        std::net::Ipv6Addr::from(*frame[IP + 24..].first_chunk::<16>().expect("an IPv6 header"));
    let message = &frame[V6_PAYLOAD..];
    let checksum = pnet::packet::util::ipv6_checksum(
        message,
        1,
        &[],
        &source,
        &destination,
        pnet::packet::ip::IpNextHeaderProtocols::Icmpv6,
    );
    frame[V6_PAYLOAD + 2..V6_PAYLOAD + 4].copy_from_slice(&checksum.to_be_bytes());
    frame
}

/// Parses a frame whose virtio header says nothing.
pub(crate) fn parse_plain(frame: &[u8]) -> Result<Headers, DropReason> {
    parse(frame, &VnetHeader::default())
}

/// The IP packet of a frame that must parse.
#[track_caller]
pub(crate) fn ip_of(frame: &[u8]) -> (Headers, IpPacket) {
    let headers = parse_plain(frame).expect("a well-formed frame");
    match headers.content {
        Content::Ip(packet) => (headers, packet),
        Content::Arp(_) => panic!("an IP packet"),
    }
}
