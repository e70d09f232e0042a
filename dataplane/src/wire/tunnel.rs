//! The packet inside a UDP tunnel (VXLAN, Geneve): where a super-frame's header says that it is, or, where a kernel could not say so,
//! where it must be.
//!
//! What is judged is the outer packet. The inner one is read for one thing: a device, or [`super::segment`], will cut it and write its
//! headers, so it must be the packet that the header describes, whole, and end where the outer one ends. The tunnel's own header
//! between the two is nobody's business here.
//!
//! AF_PACKET's header has no room for a tunnel: the kernel describes such a super-frame as if the inner packet were all there is
//! (`virtio_net_hdr_from_skb` of linux/virtio_net.h), and tells where the inner transport header begins. [`describe`] finds the
//! network header before it, and says the rest.
//!
//! Paid by super-frames alone. Nothing here panics.

use std::net::IpAddr;

use septum_rules::proto::Protocol;

use super::Content;
use super::ethernet::EthernetHeader;
use super::ipv4::Ipv4Header;
use super::ipv6::Ipv6Header;
use super::ipv6_extensions::Extensions;
use super::offload::Extent;
use super::parse::parse;
use super::transport::{TCP_HEADER, Transport, UDP_HEADER};
use super::vnet_hdr::{GsoType, VnetHeader};

/// A packet inside another. Offsets count from the outer Ethernet header.
#[derive(Clone, Copy, Debug)]
pub struct Inner {
    /// Where its IP header begins.
    pub network: usize,
    /// From and to whom it goes.
    pub addresses: (IpAddr, IpAddr),
    /// What its transport header says.
    pub transport: Transport,
    /// Where its parts lie.
    pub extent: Extent,
}

impl Inner {
    /// Reads the packet that fills `network..end` of `frame` (Ethernet, without its virtio header); `None` where no whole packet does.
    pub fn read(frame: &[u8], network: usize, end: usize) -> Option<Self> {
        let packet = frame.get(network..end)?;
        let (headers, protocol, addresses, length, is_part) = match packet.first()? >> 4 {
            4 => {
                let header = Ipv4Header::parse(packet).ok()?;
                let addresses = (IpAddr::V4(header.source), IpAddr::V4(header.destination));
                let is_part = header.fragment.is_some();
                (header.header_length, header.protocol, addresses, header.total_length, is_part)
            }
            6 => {
                let header = Ipv6Header::parse(packet).ok()?;
                let addresses = (IpAddr::V6(header.source), IpAddr::V6(header.destination));
                let extensions =
                    Extensions::parse(header.next_header, packet.get(Ipv6Header::LENGTH..)?).ok()?;
                let headers = Ipv6Header::LENGTH + extensions.length;
                let length = Ipv6Header::LENGTH + header.payload_length;
                (headers, extensions.protocol, addresses, length, extensions.has_fragment_header)
            }
            _ => return None,
        };
        if length != packet.len() || is_part {
            return None;
        }
        let transport = Transport::parse(protocol, packet.get(headers..)?, true).ok()?;
        let extent = Extent {
            transport: network + headers,
            payload: network + headers + transport.header_length,
            end,
            is_v4: addresses.0.is_ipv4(),
            is_fragment: false,
            has_fragment_header: false,
        };
        Some(Self { network, addresses, transport, extent })
    }

    /// The packet of which `vnet`, the header of a super-frame inside a tunnel, tells, where it tells the truth about the tunnel itself:
    /// `outer` and `extent` are what was judged.
    pub(super) fn of(vnet: &VnetHeader, frame: &[u8], outer: Transport, extent: &Extent) -> Option<Self> {
        let family = if extent.is_v4 { VnetHeader::GSO_TUNNEL_V4 } else { VnetHeader::GSO_TUNNEL_V6 };
        let network = usize::from(vnet.inner_network);
        let is_tunnel = outer.layer4.protocol == Protocol::UDP
            && vnet.gso_type & VnetHeader::GSO_TUNNEL == family
            && !extent.has_fragment_header
            && usize::from(vnet.outer_transport) == extent.transport
            && network >= extent.payload;
        let udp: &[u8; UDP_HEADER] = frame.get(extent.transport..)?.first_chunk()?;
        let is_whole =
            usize::from(u16::from_be_bytes([udp[4], udp[5]])) == extent.end.checked_sub(extent.transport)?;
        let has_checksum = udp[6..8] != [0, 0];
        if !is_tunnel || !is_whole || has_checksum != (vnet.flags & VnetHeader::TUNNEL_CHECKSUM != 0) {
            return None;
        }
        let inner = Self::read(frame, network, extent.end)?;
        (inner.extent.transport == usize::from(vnet.checksum_start)).then_some(inner)
    }
}

/// One behind the headers that each segment of a super-frame repeats, from the Ethernet header; `behind` is where those of the
/// outer packet end. `frame` has its virtio header, `vnet`, which told the truth.
pub fn headers_end(vnet: &VnetHeader, frame: &[u8], behind: u16) -> usize {
    if !vnet.is_in_tunnel() {
        return usize::from(behind);
    }
    let transport = usize::from(vnet.checksum_start);
    let data_offset =
        || frame.get(VnetHeader::LENGTH + transport + 12).map(|byte| usize::from(byte >> 4) * 4);
    transport
        + match vnet.gso() {
            Some(GsoType::UdpL4) => UDP_HEADER,
            _ => data_offset().unwrap_or(TCP_HEADER),
        }
}

/// No transport header inside a tunnel begins before this.
const LEAST_INNER_TRANSPORT: usize = EthernetHeader::LENGTH + 2 * Ipv4Header::LENGTH + UDP_HEADER;

/// No longer are the inner IP header and its options or extension headers, where they are looked for.
const MOST_INNER_HEADERS: usize = 128;

/// Has the header of `frame`, a super-frame from a device that cannot describe tunnels, say that a tunnel carries it, where one does. What
/// it then says is judged like any other header; where no such packet is found, nothing changes, and it is refused as what it claims.
pub fn describe(frame: &mut [u8]) {
    if let Some(header) =
        VnetHeader::read(frame).and_then(|vnet| described(vnet, &frame[VnetHeader::LENGTH..]))
    {
        header.write(frame);
    }
}

fn described(vnet: VnetHeader, frame: &[u8]) -> Option<VnetHeader> {
    let start = usize::from(vnet.checksum_start);
    let is_described = vnet.gso()? == GsoType::None || vnet.is_in_tunnel() || start < LEAST_INNER_TRANSPORT;
    if is_described || !vnet.needs_checksum() {
        return None;
    }
    let Content::Ip(outer) = parse(frame, &VnetHeader::default()).ok()?.content else { return None };
    if outer.flow.layer4.protocol != Protocol::UDP
        || outer.fragment.is_some()
        || start <= usize::from(outer.payload)
    {
        return None;
    }
    let end = outer.end as usize;
    // Headers are whole 32-bit words. A packet that begins there has its length, and its headers end here: none is found by chance.
    let network = (Ipv4Header::LENGTH..=MOST_INNER_HEADERS.min(start - usize::from(outer.payload)))
        .step_by(4)
        .map(|length| start - length)
        .find(|network| {
            Inner::read(frame, *network, end).is_some_and(|inner| inner.extent.transport == start)
        })?;
    let transport = usize::from(outer.transport);
    let has_checksum = frame.get(transport + 6..transport + 8)? != [0, 0];
    Some(VnetHeader {
        flags: vnet.flags | if has_checksum { VnetHeader::TUNNEL_CHECKSUM } else { 0 },
        gso_type: vnet.gso_type
            | if outer.flow.source.is_ipv4() { VnetHeader::GSO_TUNNEL_V4 } else { VnetHeader::GSO_TUNNEL_V6 },
        outer_transport: outer.transport,
        inner_network: network as u16,
        ..vnet
    })
}
