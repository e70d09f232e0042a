//! The guard: a frame's MAC, addresses and claims belong to the port that it came in on.
//!
//! Asked before anything is looked up, remembered or answered, so no other part of the switch ever sees a
//! source that its sender may not use. What it admits undeclared is the list on the semantics page: `0.0.0.0` for
//! DHCP and ARP probes, `::` for duplicate address detection and MLD, and the link-local address of the declared MAC.

use std::net::IpAddr;

use septum_rules::identity::IdentityId;
use septum_rules::proto::Protocol;

use crate::directory::Member;
use crate::drop_reason::DropReason;
use crate::wire::icmp::icmpv6_type;
use crate::wire::{Arp, Content, Headers, IpPacket, Neighbour, mld};

/// UDP ports of DHCP (RFC 2131) and DHCPv6 (RFC 8415): (server, client).
const DHCP: (u16, u16) = (67, 68);
const DHCPV6: (u16, u16) = (547, 546);

/// What the guard found out about a frame's source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A declared or link-local address, and the identity that it gives.
    Identity(IdentityId),
    /// No address yet: the packet may only be consumed by the switch.
    Unaddressed,
}

/// Admits a frame at `member`'s port, or says which claim is false.
///
/// # Errors
/// The reason of the drop.
pub fn admit(member: &Member, headers: &Headers) -> Result<Source, DropReason> {
    if headers.tag.is_some() {
        return Err(DropReason::VlanUnexpected);
    }
    if headers.source != member.mac {
        return Err(DropReason::SpoofMac);
    }
    match &headers.content {
        Content::Arp(arp) => admit_arp(member, arp),
        Content::Ip(ip) => admit_ip(member, ip),
    }
}

fn admit_arp(member: &Member, arp: &Arp) -> Result<Source, DropReason> {
    if arp.sender_mac != member.mac {
        return Err(DropReason::SpoofArp);
    }
    // RFC 5227 section 1.1: a probe carries an all-zero sender address.
    if arp.sender.is_unspecified() {
        return if arp.is_request { Ok(Source::Unaddressed) } else { Err(DropReason::SpoofArp) };
    }
    member.identity_of(arp.sender.into()).map(Source::Identity).ok_or(DropReason::SpoofArp)
}

fn admit_ip(member: &Member, ip: &IpPacket) -> Result<Source, DropReason> {
    let layer4 = ip.flow.layer4;
    let source = match member.identity_of(ip.flow.source) {
        Some(identity) => Source::Identity(identity),
        None if ip.flow.source.is_unspecified() && may_be_unaddressed(ip) => Source::Unaddressed,
        None => return Err(DropReason::SpoofIp),
    };
    if let Some(neighbour) = &ip.neighbour {
        admit_neighbour(member, neighbour)?;
    }
    // ICMP redirect and router advertisement (RFC 792, RFC 1256): workloads are no routers.
    let is_icmp_router =
        layer4.protocol == Protocol::ICMP && matches!(layer4.icmp_type_code(), Some((5 | 9, _)));
    let asks_for_listeners = layer4.protocol == Protocol::ICMPV6
        && matches!(layer4.icmp_type_code(), Some((icmpv6_type::MLD_QUERY, _)));
    if asks_for_listeners {
        return Err(DropReason::RogueQuerier);
    }
    // Servers speak to the client's port; clients do not mind from which (RFC 8415 section 7.2).
    let client = if ip.flow.source.is_ipv4() { DHCP.1 } else { DHCPV6.1 };
    let is_dhcp_server = layer4.protocol == Protocol::UDP && layer4.destination == client;
    if is_icmp_router || is_dhcp_server {
        return Err(DropReason::RogueServer);
    }
    Ok(source)
}

/// Whether a packet without a source address has a right to be so.
fn may_be_unaddressed(ip: &IpPacket) -> bool {
    let layer4 = ip.flow.layer4;
    match ip.flow.source {
        IpAddr::V4(_) => layer4.protocol == Protocol::UDP && (layer4.destination, layer4.source) == DHCP,
        // RFC 4862 section 5.4.2 and RFC 3590.
        IpAddr::V6(_) => {
            ip.neighbour.is_some_and(|neighbour| neighbour.icmp_type == Neighbour::SOLICITATION)
                || is_listener_discovery(ip)
        }
    }
}

fn admit_neighbour(member: &Member, neighbour: &Neighbour) -> Result<(), DropReason> {
    match neighbour.icmp_type {
        Neighbour::ROUTER_ADVERTISEMENT | Neighbour::REDIRECT => return Err(DropReason::RogueServer),
        // An advertisement claims its target.
        Neighbour::ADVERTISEMENT if member.identity_of(neighbour.target.into()).is_none() => {
            return Err(DropReason::SpoofNd);
        }
        _ => {}
    }
    match neighbour.link_layer {
        Some(mac) if mac != member.mac => Err(DropReason::SpoofNd),
        _ => Ok(()),
    }
}

/// Whether an ICMPv6 message is multicast listener discovery.
fn is_listener_discovery(ip: &IpPacket) -> bool {
    ip.flow.layer4.protocol == Protocol::ICMPV6
        && ip.flow.layer4.icmp_type_code().is_some_and(|(icmp_type, _)| mld::is_listener_discovery(icmp_type))
}

/// Whether a packet tells who listens to a group, or asks for it (IGMP, MLD).
pub fn is_about_listeners(ip: &IpPacket) -> bool {
    is_listener_discovery(ip) || ip.flow.layer4.protocol == Protocol::IGMP
}

/// Whether a packet asks for an address or for configuration (DHCP, DHCPv6).
pub fn is_dhcp_request(ip: &IpPacket) -> bool {
    let ports = (ip.flow.layer4.destination, ip.flow.layer4.source);
    ip.flow.layer4.protocol == Protocol::UDP && (ports == DHCP || ports == DHCPV6)
}
