//! Whether a `virtio_net_hdr` tells the truth about its frame.
//!
//! The header is the sender's word, and what it says is done to the frame *after* the verdict: a checksum is
//! written, a super-frame is cut. So it may only name what was judged. The rules, beyond VIRTIO 1.2 section
//! 5.1.6.2:
//! - no flags or super-frame types but those that the ports negotiate; `header_length` within the frame;
//! - a partial checksum stands at its protocol's own place. For UDP, and for protocols that the switch does not
//!   read (GRE, IP in IP), it may also stand behind the transport header: Linux leaves the checksum of an
//!   encapsulated packet partial. It never overlaps anything that was judged;
//! - a super-frame is TCP or UDP of the type's family, has a partial transport checksum, is no fragment (not
//!   even an atomic one), and has a segment size: for TCP at least [`LEAST_TCP_SEGMENT`], for UDP one that makes
//!   at most [`MOST_UDP_SEGMENTS`], the kernel's own bounds; a TCP super-frame opens and resets nothing (SYN, RST);
//! - a fragment has no partial checksum: its sum covers the whole packet.
//!
//! A super-frame whose payload is one segment or less is a plain frame, as it is to the kernel.
//! Nothing here panics.

use std::net::IpAddr;

use septum_rules::proto::Protocol;

use super::checksum::SCTP_CHECKSUM_OFFSET;
use super::tcp_flag::{RST, SYN};
use super::vnet_hdr::{GsoType, VnetHeader};
use super::{Content, IpPacket};
use crate::drop_reason::DropReason;

/// The smallest segment size of a TCP super-frame (`TCP_MIN_GSO_SIZE` of linux/net/tcp.h).
pub const LEAST_TCP_SEGMENT: u16 = 8;

/// The most datagrams of one UDP super-frame (`UDP_MAX_SEGMENTS` of linux/udp.h).
pub const MOST_UDP_SEGMENTS: usize = 128;

/// Judges `vnet` against the frame of `length` bytes that carries `content`.
///
/// # Errors
/// [`DropReason::OffloadHeader`]
#[inline]
pub fn check(
    vnet: &VnetHeader,
    length: usize,
    content: &Content,
    has_fragment_header: bool,
) -> Result<(), DropReason> {
    let plain = vnet.flags & !VnetHeader::DATA_VALID == 0 && vnet.gso_type == 0;
    if usize::from(vnet.header_length) > length {
        return Err(DropReason::OffloadHeader);
    }
    let truthful = plain
        || match content {
            Content::Arp(_) => false,
            Content::Ip(packet) => is_truthful(vnet, packet, has_fragment_header),
        };
    if truthful { Ok(()) } else { Err(DropReason::OffloadHeader) }
}

fn is_truthful(vnet: &VnetHeader, packet: &IpPacket, has_fragment_header: bool) -> bool {
    let known_flags = VnetHeader::NEEDS_CHECKSUM | VnetHeader::DATA_VALID;
    let Some(gso) = vnet.gso() else { return false };
    if vnet.flags & !known_flags != 0 || packet.fragment.is_some() {
        return false;
    }
    let at_own_place = has_checksum_at_own_place(vnet, packet);
    if gso == GsoType::None {
        return at_own_place || has_checksum_behind_header(vnet, packet);
    }
    let payload = packet.end.saturating_sub(u32::from(packet.payload)) as usize;
    let protocol = packet.flow.layer4.protocol;
    let is_v4 = matches!(packet.flow.source, IpAddr::V4(_));
    let fits = match gso {
        GsoType::None => false,
        GsoType::Tcpv4 | GsoType::Tcpv6 => {
            protocol == Protocol::TCP
                && is_v4 == (gso == GsoType::Tcpv4)
                && vnet.gso_size >= LEAST_TCP_SEGMENT
                && packet.tcp_flags & (SYN | RST) == 0
        }
        GsoType::UdpL4 => {
            protocol == Protocol::UDP
                && vnet.gso_size > 0
                && payload <= usize::from(vnet.gso_size) * MOST_UDP_SEGMENTS
        }
    };
    fits && at_own_place && !has_fragment_header
}

/// Where the checksum stands in the header of `protocol`, for those that the switch reads.
fn own_place(protocol: Protocol) -> Option<u16> {
    match protocol {
        Protocol::TCP => Some(16),
        Protocol::UDP => Some(6),
        Protocol::SCTP => Some(SCTP_CHECKSUM_OFFSET),
        Protocol::ICMP | Protocol::ICMPV6 => Some(2),
        _ => None,
    }
}

fn has_checksum_at_own_place(vnet: &VnetHeader, packet: &IpPacket) -> bool {
    vnet.needs_checksum()
        && vnet.checksum_start == packet.transport
        && own_place(packet.flow.layer4.protocol) == Some(vnet.checksum_offset)
}

fn has_checksum_behind_header(vnet: &VnetHeader, packet: &IpPacket) -> bool {
    let protocol = packet.flow.layer4.protocol;
    let carries_packets = protocol == Protocol::UDP || own_place(protocol).is_none();
    let end_of_field = u32::from(vnet.checksum_start) + u32::from(vnet.checksum_offset) + 2;
    vnet.needs_checksum()
        && carries_packets
        && vnet.checksum_start >= packet.payload
        && end_of_field <= packet.end
}
