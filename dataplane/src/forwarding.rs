//! Where a frame goes: inside its segment by the directory, to another segment through the gateway, to many, or nowhere.
//!
//! MAC and address must name the same destination: the gates judge the address, the segment delivers by MAC, and a
//! frame in which the two disagree would be judged as one workload's and delivered to another.

use std::net::IpAddr;

use septum_rules::identity::{IdentityId, SegmentId};
use septum_rules::mac::MacAddress;

use crate::directory::{Directory, Location, Member};
use crate::drop_reason::DropReason;
use crate::port::PortId;
use crate::wire::{Headers, IpPacket};

/// Where an IP packet is to go, if the gates admit it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To a member of the sender's segment, as it is.
    Bridged {
        /// Its port.
        port: PortId,
        /// Who it is to the gates.
        identity: IdentityId,
    },
    /// To a workload through the gateway: the time to live falls, the MACs change.
    Routed {
        /// Its port.
        port: PortId,
        /// Its segment.
        segment: SegmentId,
        /// Who it is to the gates.
        identity: IdentityId,
    },
    /// To the switch itself, at a gateway's address.
    Gateway(IdentityId),
    /// Through the gateway to an address that lives nowhere here; the gates are asked before the sender hears so.
    Nowhere,
    /// To the members of the segment that may have it.
    Group,
}

/// `01:80:c2:00:00:00` to `0f`: never forwarded (IEEE 802.1Q-2018 table 8-1).
fn is_reserved(mac: MacAddress) -> bool {
    matches!(mac.0, [0x01, 0x80, 0xc2, 0, 0, 0..=0x0f])
}

/// Finds the destination of an IP packet from `member`.
///
/// # Errors
/// The reason of the drop.
pub fn resolve(
    directory: &Directory,
    member: &Member,
    headers: &Headers,
    ip: &IpPacket,
) -> Result<Destination, DropReason> {
    let segment = directory.segment(member.segment);
    let is_group_address = ip.flow.destination.is_multicast() || segment.is_broadcast(ip.flow.destination);
    if headers.destination.is_group() {
        return match is_reserved(headers.destination) {
            true => Err(DropReason::ReservedMulticast),
            false if is_group_address && group_mac_fits(headers.destination, ip.flow.destination) => {
                Ok(Destination::Group)
            }
            false => Err(DropReason::AddressMismatch),
        };
    }
    if is_group_address {
        return Err(DropReason::AddressMismatch);
    }
    let location = directory.locate(ip.flow.destination);
    if headers.destination == segment.gateway_mac {
        return resolve_through_gateway(directory, member, ip, location);
    }
    let Some(Location { port: Some(port), segment: home, identity }) = location else {
        return Err(unknown(directory, member, headers.destination));
    };
    let is_its_mac = directory.member(port.slot).is_some_and(|owner| owner.mac == headers.destination);
    if home != member.segment || !is_its_mac {
        return Err(unknown(directory, member, headers.destination));
    }
    if port == member.port { Err(DropReason::Hairpin) } else { Ok(Destination::Bridged { port, identity }) }
}

fn resolve_through_gateway(
    directory: &Directory,
    member: &Member,
    ip: &IpPacket,
    location: Option<Location>,
) -> Result<Destination, DropReason> {
    let ipv4 = ip.flow.destination.is_ipv4();
    match location {
        Some(Location { port: None, identity, .. }) => Ok(Destination::Gateway(identity)),
        // A segment without a gateway of the family has no way out, and none in. Link-local addresses have none either
        // (RFC 4291 section 2.5.6: routers must not forward them).
        _ if !directory.segment(member.segment).routes(ipv4) || is_link_local(ip.flow.destination) => {
            Err(DropReason::NoRoute)
        }
        Some(Location { port: Some(port), segment, identity }) if directory.segment(segment).routes(ipv4) => {
            if port == member.port {
                return Err(DropReason::Hairpin);
            }
            Ok(Destination::Routed { port, segment, identity })
        }
        _ => Ok(Destination::Nowhere),
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// The destination MAC is nobody's, or is one member's and the address is another's.
fn unknown(directory: &Directory, member: &Member, mac: MacAddress) -> DropReason {
    match directory.is_station(member.segment, mac) {
        true => DropReason::AddressMismatch,
        false => DropReason::UnknownDestination,
    }
}

/// Whether a group MAC is the one that the address maps to (RFC 1112 section 6.4, RFC 2464 section 7).
fn group_mac_fits(mac: MacAddress, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) if v4.is_multicast() => {
            let [_, b, c, d] = v4.octets();
            mac.0 == [0x01, 0x00, 0x5e, b & 0x7f, c, d]
        }
        IpAddr::V4(_) => mac == MacAddress::BROADCAST,
        IpAddr::V6(v6) => {
            let [.., a, b, c, d] = v6.octets();
            mac.0 == [0x33, 0x33, a, b, c, d]
        }
    }
}
