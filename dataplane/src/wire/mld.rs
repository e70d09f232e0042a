//! Multicast listener discovery, versions 1 and 2 (RFC 2710, RFC 3810), as one who listens to listeners reads it.
//!
//! What a router would ignore is refused: a hop limit other than 1, a source that is not of the link, a wrong checksum, a fragment. The router alert is not asked for:
//! it only makes routers look, and the switch looks anyway.
//!
//! Nothing here panics on any input.

use std::net::IpAddr;

use septum_rules::proto::Protocol;

use super::IpPacket;
use super::checksum::Sum;
use super::icmp::icmpv6_type;
use super::listener::{Records, Told, address_at};
use crate::drop_reason::DropReason;

/// Bytes of a message of version 1, and of a query without its second version's part.
pub const HEADER: usize = 24;

/// The hop limit of every message.
pub const HOP_LIMIT: u8 = 1;

/// Whether an ICMPv6 type is multicast listener discovery's.
pub const fn is_listener_discovery(icmp_type: u8) -> bool {
    matches!(
        icmp_type,
        icmpv6_type::MLD_QUERY | icmpv6_type::MLD_REPORT | icmpv6_type::MLD_DONE | icmpv6_type::MLD2_REPORT
    )
}

/// Reads the message that `ip` carries; `has_partial_checksum` where its checksum cannot be verified.
///
/// # Errors
/// [`DropReason::MldMalformed`]
pub fn parse<'m>(
    message: &'m [u8],
    ip: &IpPacket,
    has_partial_checksum: bool,
) -> Result<Told<'m>, DropReason> {
    read(message, ip, has_partial_checksum).ok_or(DropReason::MldMalformed)
}

fn read<'m>(message: &'m [u8], ip: &IpPacket, has_partial_checksum: bool) -> Option<Told<'m>> {
    let (IpAddr::V6(source), IpAddr::V6(destination)) = (ip.flow.source, ip.flow.destination) else {
        return None;
    };
    let is_of_the_link = source.is_unicast_link_local() || source.is_unspecified();
    let intact = has_partial_checksum || {
        let length = message.len() as u32;
        let pseudo = Sum::pseudo_header_v6(source, destination, Protocol::ICMPV6, length);
        pseudo.add_bytes(message).is_valid()
    };
    if ip.ttl != HOP_LIMIT || ip.fragment.is_some() || !is_of_the_link || !intact {
        return None;
    }
    let one = |listens| {
        let group = address_at(message, 8, 16).filter(|group| group.is_multicast())?;
        Some(Told::One(group, listens))
    };
    match *message.first()? {
        icmpv6_type::MLD_QUERY if message.len() >= HEADER => Some(Told::Query),
        icmpv6_type::MLD_REPORT => one(true),
        icmpv6_type::MLD_DONE => one(false),
        icmpv6_type::MLD2_REPORT => Records::v6(message).map(Told::Many),
        _ => None,
    }
}
