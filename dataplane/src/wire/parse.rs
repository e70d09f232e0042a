//! One frame, one pass: from the Ethernet header to the ports, or the reason why not.
//!
//! The order is that of the layers, so the reason is the first thing that does not hold: link, tag, network header,
//! extension headers, fragment, transport header, neighbour discovery, addresses, and last whether the virtio
//! header tells the truth about all that. Every byte that decides is read once; payloads are not touched,
//! except those of neighbour discovery.
//!
//! Cost: `cargo bench --bench parse`. Nothing here panics on any input, allocates or loops without a bound.

use std::net::IpAddr;

use septum_rules::flow_key::FlowKey;
use septum_rules::identity::DomainId;
use septum_rules::mac::MacAddress;
use septum_rules::proto::{Layer4, Protocol};

use super::ethernet::{EtherType, EthernetHeader};
use super::ipv4::Ipv4Header;
use super::ipv6::Ipv6Header;
use super::ipv6_extensions::Extensions;
use super::neighbour::{Carrier, is_neighbour_discovery};
use super::offload::Extent;
use super::transport::Transport;
use super::vlan::VlanTag;
use super::vnet_hdr::VnetHeader;
use super::{Arp, Content, Fragment, Headers, IpPacket, Neighbour, Parsed, martian, offload};
use crate::drop_reason::DropReason;

/// Parses `frame`, which begins with the Ethernet header, and checks what `vnet`, its virtio header, says of it.
///
/// # Errors
/// The reason why the frame does not hold together; see the module's page for the order.
#[inline]
pub fn parse(frame: &[u8], vnet: &VnetHeader) -> Parsed {
    let link = Link::parse(frame)?;
    match link.ethertype {
        EtherType::IPV4 => ipv4(frame, &link, vnet),
        EtherType::IPV6 => ipv6(frame, &link, vnet),
        EtherType::ARP => {
            let arp = Arp::parse(&frame[link.network..])?;
            offload::check_not_ip(vnet, frame.len())?;
            Ok(link.headers(Content::Arp(arp)))
        }
        _ => Err(DropReason::EthertypeUnknown),
    }
}

/// Everything below the network header.
struct Link {
    destination: MacAddress,
    source: MacAddress,
    tag: Option<u16>,
    ethertype: EtherType,
    /// Where the network header begins.
    network: usize,
}

impl Link {
    #[inline]
    fn parse(frame: &[u8]) -> Result<Self, DropReason> {
        let EthernetHeader { destination, source, ethertype } = EthernetHeader::parse(frame)?;
        let (tag, ethertype, network) = match ethertype {
            EtherType::VLAN => {
                let tag = VlanTag::parse(&frame[EthernetHeader::LENGTH..])?;
                (Some(tag.tag), tag.ethertype, EthernetHeader::LENGTH + VlanTag::LENGTH)
            }
            EtherType::SERVICE_VLAN | EtherType::OLD_SERVICE_VLAN => return Err(DropReason::VlanStacked),
            ethertype => (None, ethertype, EthernetHeader::LENGTH),
        };
        Ok(Self { destination, source, tag, ethertype, network })
    }

    #[inline]
    fn headers(&self, content: Content) -> Headers {
        Headers { destination: self.destination, source: self.source, tag: self.tag, content }
    }
}

// The result is large: each family builds it once, at the very end, where the caller wants it.

#[inline]
fn ipv4(frame: &[u8], link: &Link, vnet: &VnetHeader) -> Parsed {
    let network = link.network;
    let packet = &frame[network..];
    let header = Ipv4Header::parse(packet)?;
    if header.protocol == Protocol::ICMPV6 {
        return Err(DropReason::IcmpFamily);
    }
    let segment = &packet[header.header_length..header.total_length];
    let transport = transport(header.protocol, segment, header.fragment)?;
    martian::check_v4(header.source, header.destination, transport.layer4)?;
    let start = network + header.header_length;
    let extent = Extent {
        transport: start,
        payload: start + transport.header_length,
        end: network + header.total_length,
        is_v4: true,
        is_fragment: header.fragment.is_some(),
        has_fragment_header: header.fragment.is_some(),
    };
    offload::check(vnet, frame, transport, extent)?;
    Ok(link.headers(Content::Ip(IpPacket {
        flow: flow(IpAddr::V4(header.source), IpAddr::V4(header.destination), transport.layer4),
        network: network as u16,
        transport: extent.transport as u16,
        payload: extent.payload as u16,
        end: extent.end as u32,
        ttl: header.ttl,
        dont_fragment: header.dont_fragment,
        fragment: header.fragment,
        tcp_flags: transport.tcp_flags,
        echo_identifier: transport.echo_identifier,
        neighbour: None,
    })))
}

#[inline]
fn ipv6(frame: &[u8], link: &Link, vnet: &VnetHeader) -> Parsed {
    let network = link.network;
    let packet = &frame[network..];
    let header = Ipv6Header::parse(packet)?;
    let payload = &packet[Ipv6Header::LENGTH..][..header.payload_length];
    let extensions = Extensions::parse(header.next_header, payload)?;
    if extensions.protocol == Protocol::ICMP {
        return Err(DropReason::IcmpFamily);
    }
    let segment = &payload[extensions.length..];
    let transport = transport(extensions.protocol, segment, extensions.fragment)?;
    let neighbour = match transport.layer4.icmp_type_code() {
        // A later fragment of ICMPv6 has no header and so no type.
        Some((icmp_type, _)) if is_neighbour_discovery(icmp_type) && transport.header_length != 0 => {
            let carrier = Carrier {
                source: header.source,
                destination: header.destination,
                hop_limit: header.hop_limit,
                has_fragment_header: extensions.has_fragment_header,
                has_partial_checksum: vnet.needs_checksum(),
            };
            Some(Neighbour::parse(segment, &carrier)?)
        }
        _ => None,
    };
    martian::check_v6(header.source, header.destination, transport.layer4)?;
    let start = network + Ipv6Header::LENGTH + extensions.length;
    let extent = Extent {
        transport: start,
        payload: start + transport.header_length,
        end: network + Ipv6Header::LENGTH + header.payload_length,
        is_v4: false,
        is_fragment: extensions.fragment.is_some(),
        has_fragment_header: extensions.has_fragment_header,
    };
    offload::check(vnet, frame, transport, extent)?;
    Ok(link.headers(Content::Ip(IpPacket {
        flow: flow(IpAddr::V6(header.source), IpAddr::V6(header.destination), transport.layer4),
        network: network as u16,
        transport: extent.transport as u16,
        payload: extent.payload as u16,
        end: extent.end as u32,
        ttl: header.hop_limit,
        dont_fragment: true,
        fragment: extensions.fragment,
        tcp_flags: transport.tcp_flags,
        echo_identifier: transport.echo_identifier,
        neighbour,
    })))
}

/// Reads the transport header where this part of the packet has it.
#[inline]
fn transport(
    protocol: Protocol,
    segment: &[u8],
    fragment: Option<Fragment>,
) -> Result<Transport, DropReason> {
    match fragment {
        None => Transport::parse(protocol, segment, true),
        Some(fragment) if fragment.offset == 0 => Transport::parse(protocol, segment, false),
        Some(fragment) if fragment.begins_in_header(protocol) => Err(DropReason::FragmentMalformed),
        Some(_) => Ok(Transport::bare(protocol)),
    }
}

#[inline]
fn flow(source: IpAddr, destination: IpAddr, layer4: Layer4) -> FlowKey {
    FlowKey { domain: DomainId::default(), source, destination, layer4 }
}
