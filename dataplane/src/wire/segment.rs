//! Segmentation in software: a super-frame becomes the frames that its sender's stack would have sent (linux
//! `tcp_gso_segment`, `__udp_gso_segment`, `skb_udp_tunnel_segment`; VIRTIO 1.4 section 5.1.6.2), for a port that cannot take it whole.
//!
//! Each segment carries all headers again, and of those changes: the IPv4 total length, identification (one more
//! each) and header checksum, or the IPv6 payload length; TCP's sequence number, FIN and PSH (on the last only)
//! and CWR (on the first only, RFC 3168 section 6.1.2); UDP's length; the transport checksum, complete or partial as
//! the port wants it. Everything else, options, extension headers and tag included, is a copy.
//!
//! Inside a UDP tunnel it is the inner packet that is cut so; the tunnel's own header is a copy, and the outer IP and UDP headers get
//! their lengths, identification and header checksum. A virtio header tells of one partial checksum, the inner one, which is that of
//! the payload; the outer one is always complete, and costs headers only: an inner segment, once its checksum is right, sums
//! to the complement of its pseudo header.
//!
//! Frames here begin with their virtio header, as they lie in a slot. Ethernet padding is cut off. Nothing
//! allocates: segments are written into the caller's buffer, which may be the next slot of a burst. Cost: the copy
//! and the sum of every byte; see `cargo bench --bench parse`.
//!
//! Nothing here panics on any frame; a buffer shorter than [`Segments::frame_length`] does.

use std::net::IpAddr;

use septum_rules::proto::Protocol;

use super::checksum::{Sum, fill_partial};
use super::ipv4::Ipv4Header;
use super::ipv6::Ipv6Header;
use super::parse::parse;
use super::tcp_flag::{CWR, FIN, PSH};
use super::tunnel::{Inner, headers_end};
use super::vnet_hdr::{GsoType, VnetHeader};
use super::{Content, IpPacket};
use crate::drop_reason::DropReason;
use crate::port::Offloads;

/// What is left to do before a port can take a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfinished {
    /// Nothing.
    Nothing,
    /// The checksum must be filled in.
    Checksum,
    /// The super-frame must be segmented.
    Segmentation,
}

impl Unfinished {
    /// What a frame with `vnet` lacks for a port with `offloads`. Segmentation by the device includes the checksum,
    /// so a port without checksum offload has none.
    #[inline]
    pub fn of(vnet: &VnetHeader, offloads: Offloads) -> Self {
        let takes_whole = match vnet.gso() {
            Some(GsoType::None) => true,
            Some(GsoType::Tcpv4) => offloads.checksum && offloads.tso4,
            Some(GsoType::Tcpv6) => offloads.checksum && offloads.tso6,
            Some(GsoType::UdpL4) => offloads.checksum && offloads.uso,
            None => false,
        };
        let takes_whole = takes_whole && (offloads.tunnel || !vnet.is_in_tunnel());
        match takes_whole {
            false => Self::Segmentation,
            true if vnet.needs_checksum() && !offloads.checksum => Self::Checksum,
            true => Self::Nothing,
        }
    }
}

/// Bytes of the longest IP packet that `packet`, a super-frame or not, puts on the wire: what an MTU limits. `frame` has the virtio
/// header `vnet`, which told the truth.
pub fn longest_packet(vnet: &VnetHeader, frame: &[u8], packet: &IpPacket) -> usize {
    if matches!(vnet.gso(), Some(GsoType::None)) {
        return packet.length();
    }
    let headers_end = headers_end(vnet, frame, packet.payload);
    let payload = (packet.end as usize).saturating_sub(headers_end);
    (headers_end + payload.min(usize::from(vnet.gso_size))).saturating_sub(usize::from(packet.network))
}

/// Brings `frame` (virtio header first) into the shape that a port with `offloads` takes, and hands what comes of it
/// to `sink`, in order: itself, perhaps with its checksum filled in, or its segments, each written into `scratch`.
/// Gives their number.
///
/// # Errors
/// The reason, when the frame is one that parsing refuses; then `sink` got nothing.
///
/// # Panics
/// When `scratch` is shorter than a segment; [`crate::burst::SLOT`] bytes always suffice.
pub fn fit(
    frame: &mut [u8],
    offloads: Offloads,
    scratch: &mut [u8],
    mut sink: impl FnMut(&mut [u8]),
) -> Result<usize, DropReason> {
    let mut vnet = VnetHeader::read(frame).ok_or(DropReason::FrameSize)?;
    match Unfinished::of(&vnet, offloads) {
        Unfinished::Nothing => {}
        Unfinished::Checksum => {
            fill_partial(&mut frame[VnetHeader::LENGTH..], &mut vnet);
            vnet.write(frame);
        }
        Unfinished::Segmentation => {
            let mut segments = Segments::new(frame, offloads.checksum)?;
            let count = segments.count();
            while let Some(length) = segments.next_into(scratch) {
                sink(&mut scratch[..length]);
            }
            return Ok(count);
        }
    }
    sink(frame);
    Ok(1)
}

/// A packet of which each segment has headers of its own. Offsets count from the Ethernet header.
#[derive(Clone, Copy, Debug)]
struct Layer {
    network: usize,
    transport: usize,
    addresses: (IpAddr, IpAddr),
    protocol: Protocol,
}

/// The segments of one super-frame, not yet written.
#[derive(Clone, Debug)]
pub struct Segments<'a> {
    /// From the Ethernet header to the IP packet's end.
    frame: &'a [u8],
    /// The packet that is cut.
    packet: Layer,
    /// The one that carries it, where a tunnel does.
    carrier: Option<Layer>,
    /// Where the payload begins.
    payload: usize,
    segment_size: usize,
    /// Whether the port fills checksums in.
    leaves_checksum: bool,
    checksum_offset: u16,
    /// Segments that were written.
    written: usize,
}

impl<'a> Segments<'a> {
    /// The segments of `frame` (virtio header first). `leaves_checksum` says that the port fills checksums in. A
    /// plain frame with a partial checksum is one segment.
    ///
    /// # Errors
    /// The reason, when parsing refuses the frame; [`DropReason::OffloadHeader`] when there is nothing to do.
    pub fn new(frame: &'a [u8], leaves_checksum: bool) -> Result<Self, DropReason> {
        let vnet = VnetHeader::read(frame).ok_or(DropReason::FrameSize)?;
        let frame = &frame[VnetHeader::LENGTH..];
        let headers = parse(frame, &vnet)?;
        let Content::Ip(packet) = headers.content else { return Err(DropReason::OffloadHeader) };
        let end = packet.end as usize;
        let judged = Layer {
            network: packet.network.into(),
            transport: packet.transport.into(),
            addresses: (packet.flow.source, packet.flow.destination),
            protocol: packet.flow.layer4.protocol,
        };
        let (packet, carrier, payload) = if vnet.is_in_tunnel() {
            let inner =
                Inner::read(frame, vnet.inner_network.into(), end).ok_or(DropReason::OffloadHeader)?;
            let packet = Layer {
                network: inner.network,
                transport: inner.extent.transport,
                addresses: inner.addresses,
                protocol: inner.transport.layer4.protocol,
            };
            (packet, Some(judged), inner.extent.payload)
        } else {
            (judged, None, packet.payload.into())
        };
        let is_tcp_or_udp = matches!(packet.protocol, Protocol::TCP | Protocol::UDP);
        let is_partial = usize::from(vnet.checksum_start) == packet.transport && vnet.needs_checksum();
        if !is_partial || !is_tcp_or_udp {
            return Err(DropReason::OffloadHeader);
        }
        Ok(Self {
            frame: &frame[..end],
            packet,
            carrier,
            payload,
            segment_size: if vnet.gso_size == 0 { usize::MAX } else { usize::from(vnet.gso_size) },
            leaves_checksum,
            checksum_offset: vnet.checksum_offset,
            written: 0,
        })
    }

    fn payload_length(&self) -> usize {
        self.frame.len() - self.payload
    }

    /// How many there are; one when there is no payload.
    pub fn count(&self) -> usize {
        self.payload_length().div_ceil(self.segment_size).max(1)
    }

    /// Bytes of the longest, virtio header included.
    pub fn frame_length(&self) -> usize {
        VnetHeader::LENGTH + self.payload + self.payload_length().min(self.segment_size)
    }

    /// Writes the next segment, virtio header first, and gives its length; `None` behind the last.
    ///
    /// # Panics
    /// When `out` is shorter than [`Segments::frame_length`].
    pub fn next_into(&mut self, out: &mut [u8]) -> Option<usize> {
        if self.written == self.count() {
            return None;
        }
        let (headers, payload) = self.frame.split_at(self.payload);
        let begin = self.written.saturating_mul(self.segment_size);
        let end = begin.saturating_add(self.segment_size).min(payload.len());
        let length = self.payload + end - begin;

        let (vnet, segment) = out.split_at_mut(VnetHeader::LENGTH);
        let segment = &mut segment[..length];
        segment[..self.payload].copy_from_slice(headers);
        segment[self.payload..].copy_from_slice(&payload[begin..end]);
        self.header_of(self.leaves_checksum).write(vnet);
        let pseudo_header = self.write_network(&self.packet, segment);
        self.write_transport(segment, begin as u32, end == payload.len(), pseudo_header);
        if let Some(carrier) = &self.carrier {
            let outer_pseudo_header = self.write_network(carrier, segment);
            self.write_carrier(carrier, segment, outer_pseudo_header, pseudo_header);
        }
        self.written += 1;
        Some(VnetHeader::LENGTH + length)
    }

    fn header_of(&self, is_partial: bool) -> VnetHeader {
        if !is_partial {
            return VnetHeader::default();
        }
        VnetHeader {
            flags: VnetHeader::NEEDS_CHECKSUM,
            checksum_start: self.packet.transport as u16,
            checksum_offset: self.checksum_offset,
            ..VnetHeader::default()
        }
    }

    /// Writes lengths, identification and header checksum; gives the sum of the transport's pseudo header.
    fn write_network(&self, layer: &Layer, segment: &mut [u8]) -> Sum {
        let transport_length = segment.len() - layer.transport;
        let header = &mut segment[layer.network..layer.transport];
        match layer.addresses {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let total_length = (header.len() + transport_length) as u16;
                let identification =
                    u16::from_be_bytes([header[4], header[5]]).wrapping_add(self.written as u16);
                header[2..4].copy_from_slice(&total_length.to_be_bytes());
                header[4..6].copy_from_slice(&identification.to_be_bytes());
                Ipv4Header::write_checksum(header);
                Sum::pseudo_header_v4(source, destination, layer.protocol, transport_length as u16)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let payload_length = (header.len() - Ipv6Header::LENGTH + transport_length) as u16;
                header[4..6].copy_from_slice(&payload_length.to_be_bytes());
                Sum::pseudo_header_v6(source, destination, layer.protocol, transport_length as u32)
            }
            _ => Sum::default(),
        }
    }

    /// Writes what the transport header changes from segment to segment, and its checksum.
    fn write_transport(&self, segment: &mut [u8], begin: u32, is_last: bool, pseudo_header: Sum) {
        let segment = &mut segment[self.packet.transport..];
        if self.packet.protocol == Protocol::TCP {
            let sequence = u32::from_be_bytes([segment[4], segment[5], segment[6], segment[7]]);
            segment[4..8].copy_from_slice(&sequence.wrapping_add(begin).to_be_bytes());
            if !is_last {
                segment[13] &= !(FIN | PSH);
            }
            if self.written != 0 {
                segment[13] &= !CWR;
            }
        } else {
            write_udp_length(segment);
        }
        let field = usize::from(self.checksum_offset);
        segment[field..field + 2].fill(0);
        let checksum = if self.leaves_checksum {
            pseudo_header.fold()
        } else {
            pseudo_header.add_bytes(segment).checksum_not_zero()
        };
        segment[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
    }

    /// Writes length and checksum of the UDP header that carries a segment; `inner_pseudo_header` is the sum of the segment's own,
    /// whose checksum is written.
    fn write_carrier(
        &self,
        carrier: &Layer,
        segment: &mut [u8],
        pseudo_header: Sum,
        inner_pseudo_header: Sum,
    ) {
        let datagram = &mut segment[carrier.transport..];
        write_udp_length(datagram);
        if datagram[6..8] == [0, 0] {
            return;
        }
        datagram[6..8].fill(0);
        let headers = &datagram[..self.packet.transport - carrier.transport];
        let inner = !inner_pseudo_header.fold();
        // Behind an odd number of bytes, sums stand the other way round (RFC 1071 section 2 (B)).
        let inner = if headers.len().is_multiple_of(2) { inner } else { inner.swap_bytes() };
        let checksum = pseudo_header.add_bytes(headers).add_word(inner).checksum_not_zero();
        datagram[6..8].copy_from_slice(&checksum.to_be_bytes());
    }
}

fn write_udp_length(datagram: &mut [u8]) {
    let length = datagram.len() as u16;
    datagram[4..6].copy_from_slice(&length.to_be_bytes());
}
