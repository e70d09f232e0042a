//! The reset that answers a TCP segment which must not pass, as its destination would send it (RFC 9293 section 3.10.7.1).
//!
//! Written as a whole Ethernet frame, tagged like the segment, into the caller's buffer: addresses, ports and MACs
//! change sides, so it can go nowhere but back. Whether to answer at all ([`super::icmp_error::deserves_error`], rate
//! limit) is the caller's decision. Nothing allocates; nothing panics on any frame.

use std::net::IpAddr;

use septum_rules::proto::Protocol;

use super::checksum::Sum;
use super::ethernet::{EtherType, EthernetHeader};
use super::ipv4::Ipv4Header;
use super::ipv6::Ipv6Header;
use super::tcp_flag::{ACK, FIN, RST, SYN};
use super::transport::TCP_HEADER;
use super::{Headers, IpPacket, ORIGINATED_TTL};

/// The longest frame that [`write()`] writes.
pub const LONGEST: usize = 18 + Ipv6Header::LENGTH + TCP_HEADER;

/// Writes the reset that answers the segment `packet` of `frame`, and gives its length. `None` for a reset, which nothing
/// answers, for what is no TCP, and when `frame` is not the one that was parsed.
///
/// # Panics
/// When `out` is shorter than [`LONGEST`].
pub fn write(frame: &[u8], headers: &Headers, packet: &IpPacket, out: &mut [u8]) -> Option<usize> {
    if packet.flow.layer4.protocol != Protocol::TCP
        || packet.tcp_flags & RST != 0
        || packet.is_later_fragment()
    {
        return None;
    }
    let ethernet =
        |ethertype| EthernetHeader { destination: headers.source, source: headers.destination, ethertype };
    let reset = header(frame, packet)?;
    let (length, transport, pseudo_header) = match (packet.flow.destination, packet.flow.source) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let network = ethernet(EtherType::IPV4).emit(headers.tag, out);
            Ipv4Header::emit(&mut out[network..], (from, to), Protocol::TCP, 0, TCP_HEADER);
            let transport = network + Ipv4Header::LENGTH;
            let sum = Sum::pseudo_header_v4(from, to, Protocol::TCP, TCP_HEADER as u16);
            (transport + TCP_HEADER, transport, sum)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let network = ethernet(EtherType::IPV6).emit(headers.tag, out);
            Ipv6Header::emit(&mut out[network..], (from, to), Protocol::TCP, ORIGINATED_TTL, TCP_HEADER);
            let transport = network + Ipv6Header::LENGTH;
            let sum = Sum::pseudo_header_v6(from, to, Protocol::TCP, TCP_HEADER as u32);
            (transport + TCP_HEADER, transport, sum)
        }
        _ => return None,
    };
    let message = &mut out[transport..length];
    message.copy_from_slice(&reset);
    let checksum = pseudo_header.add_bytes(message).checksum();
    message[16..18].copy_from_slice(&checksum.to_be_bytes());
    Some(length)
}

/// The reset's TCP header, its checksum still zero.
fn header(frame: &[u8], packet: &IpPacket) -> Option<[u8; TCP_HEADER]> {
    let segment: &[u8; TCP_HEADER] = frame.get(usize::from(packet.transport)..)?.first_chunk()?;
    let word =
        |at: usize| u32::from_be_bytes([segment[at], segment[at + 1], segment[at + 2], segment[at + 3]]);
    let (sequence, acknowledgement, flags) = if packet.tcp_flags & ACK != 0 {
        // <SEQ=SEG.ACK><CTL=RST>
        (word(8), 0, RST)
    } else {
        // <SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>, where SYN and FIN count one each.
        let payload = packet.end.saturating_sub(u32::from(packet.payload));
        let marks = [SYN, FIN].into_iter().filter(|mark| packet.tcp_flags & mark != 0).count() as u32;
        (0, word(4).wrapping_add(payload).wrapping_add(marks), RST | ACK)
    };
    let mut reset = [0; TCP_HEADER];
    reset[..2].copy_from_slice(&segment[2..4]);
    reset[2..4].copy_from_slice(&segment[..2]);
    reset[4..8].copy_from_slice(&sequence.to_be_bytes());
    reset[8..12].copy_from_slice(&acknowledgement.to_be_bytes());
    reset[12] = (TCP_HEADER as u8 / 4) << 4;
    reset[13] = flags;
    Some(reset)
}
