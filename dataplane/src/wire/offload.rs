//! Whether a `virtio_net_hdr` tells the truth about its frame.
//!
//! The header is the sender's word, and what it says is done to the frame *after* the verdict: a checksum is
//! written, a super-frame is cut. So it may only name what was judged. The rules, beyond VIRTIO 1.4 section
//! 5.1.6.2:
//! - no flags or super-frame types but those that the ports negotiate; `header_length` within the frame;
//! - a partial checksum stands at its protocol's own place. For UDP, and for protocols that the switch does not
//!   read (GRE, IP in IP), it may also stand behind the transport header: Linux leaves the checksum of an
//!   encapsulated packet partial. It never overlaps anything that was judged;
//! - a super-frame is TCP or UDP of the type's family, has a partial transport checksum, is no fragment (not
//!   even an atomic one), and has a segment size: for TCP at least [`LEAST_TCP_SEGMENT`], for UDP one that makes
//!   at most [`MOST_UDP_SEGMENTS`], the kernel's own bounds; a TCP super-frame opens and resets nothing (SYN, RST);
//! - a fragment has no partial checksum: its sum covers the whole packet;
//! - a super-frame inside a UDP tunnel is all that for its inner packet, which lies where the header says and ends where the outer
//!   one does; the outer one is UDP of the family that the type names, no fragment, has its length, and has a checksum, which will
//!   be that of each segment, or none, as the header says ([`super::tunnel`]). It has more than one segment: a device would leave
//!   the outer checksum of a single one unfinished.
//!
//! Any other super-frame whose payload is one segment or less is a plain frame, as it is to the kernel.
//! Nothing here panics.

use septum_rules::proto::Protocol;

use super::checksum::SCTP_CHECKSUM_OFFSET;
use super::tcp_flag::{RST, SYN};
use super::transport::Transport;
use super::tunnel::Inner;
use super::vnet_hdr::{GsoType, VnetHeader};
use crate::drop_reason::DropReason;

/// The smallest segment size of a TCP super-frame (`TCP_MIN_GSO_SIZE` of linux/net/tcp.h).
pub const LEAST_TCP_SEGMENT: u16 = 8;

/// The most datagrams of one UDP super-frame (`UDP_MAX_SEGMENTS` of linux/udp.h).
pub const MOST_UDP_SEGMENTS: usize = 128;

/// Where an IP packet's parts lie, in bytes from the Ethernet header, and what kind of packet it is.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Where the transport header begins.
    pub transport: usize,
    /// One behind the transport header.
    pub payload: usize,
    /// One behind the packet.
    pub end: usize,
    /// IPv4, else IPv6.
    pub is_v4: bool,
    /// A part of a packet.
    pub is_fragment: bool,
    /// That, or an atomic fragment.
    pub has_fragment_header: bool,
}

/// Judges `vnet` against the frame (Ethernet) in which `transport` lies as `extent` says.
///
/// # Errors
/// [`DropReason::OffloadHeader`]
// By value: what only the rare frame needs must not be spilled to memory for every frame.
#[inline]
pub fn check(
    vnet: &VnetHeader,
    frame: &[u8],
    transport: Transport,
    extent: Extent,
) -> Result<(), DropReason> {
    if is_plain(vnet, frame.len()) || is_truthful(vnet, frame, transport, extent) {
        Ok(())
    } else {
        Err(DropReason::OffloadHeader)
    }
}

/// The same for a frame without an IP packet: there is nothing to leave to a device.
///
/// # Errors
/// [`DropReason::OffloadHeader`]
pub fn check_not_ip(vnet: &VnetHeader, length: usize) -> Result<(), DropReason> {
    if is_plain(vnet, length) { Ok(()) } else { Err(DropReason::OffloadHeader) }
}

/// Whether nothing is left to a device, and the one field that kernels check all the same is right.
#[inline]
pub fn is_plain(vnet: &VnetHeader, length: usize) -> bool {
    vnet.flags & !VnetHeader::DATA_VALID == 0
        && vnet.gso_type == 0
        && usize::from(vnet.header_length) <= length
}

#[inline(never)]
fn is_truthful(vnet: &VnetHeader, frame: &[u8], transport: Transport, extent: Extent) -> bool {
    let is_in_tunnel = vnet.is_in_tunnel();
    let of_tunnels = if is_in_tunnel { VnetHeader::TUNNEL_CHECKSUM } else { 0 };
    let known_flags = VnetHeader::NEEDS_CHECKSUM | VnetHeader::DATA_VALID | of_tunnels;
    let Some(gso) = vnet.gso() else { return false };
    if vnet.flags & !known_flags != 0
        || !vnet.needs_checksum()
        || extent.is_fragment
        || usize::from(vnet.header_length) > frame.len()
    {
        return false;
    }
    if gso == GsoType::None {
        return is_at_own_place(vnet, &transport, &extent)
            || is_behind_header(vnet, transport.layer4.protocol, &extent);
    }
    if !is_in_tunnel {
        return is_super_frame(vnet, gso, &transport, &extent);
    }
    Inner::of(vnet, frame, transport, &extent).is_some_and(|Inner { transport, extent, .. }| {
        is_super_frame(vnet, gso, &transport, &extent)
            && extent.end - extent.payload > usize::from(vnet.gso_size)
    })
}

/// Whether the packet that is cut is of the kind that the type names, and may be cut.
fn is_super_frame(vnet: &VnetHeader, gso: GsoType, transport: &Transport, extent: &Extent) -> bool {
    let protocol = transport.layer4.protocol;
    let fits = match gso {
        GsoType::None => false,
        GsoType::Tcpv4 | GsoType::Tcpv6 => {
            protocol == Protocol::TCP
                && extent.is_v4 == (gso == GsoType::Tcpv4)
                && vnet.gso_size >= LEAST_TCP_SEGMENT
                && transport.tcp_flags & (SYN | RST) == 0
        }
        GsoType::UdpL4 => {
            protocol == Protocol::UDP
                && vnet.gso_size > 0
                && extent.end - extent.payload <= usize::from(vnet.gso_size) * MOST_UDP_SEGMENTS
        }
    };
    fits && is_at_own_place(vnet, transport, extent) && !extent.has_fragment_header
}

/// Whether the partial checksum is that of this very packet.
fn is_at_own_place(vnet: &VnetHeader, transport: &Transport, extent: &Extent) -> bool {
    usize::from(vnet.checksum_start) == extent.transport
        && own_place(transport.layer4.protocol) == Some(vnet.checksum_offset)
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

/// Whether the partial checksum is that of a packet which this one carries.
fn is_behind_header(vnet: &VnetHeader, protocol: Protocol, extent: &Extent) -> bool {
    let carries_packets = protocol == Protocol::UDP || own_place(protocol).is_none();
    let start = usize::from(vnet.checksum_start);
    let field = if vnet.checksum_offset == SCTP_CHECKSUM_OFFSET { 4 } else { 2 };
    let end_of_field = start + usize::from(vnet.checksum_offset) + field;
    carries_packets && start >= extent.payload && end_of_field <= extent.end
}
