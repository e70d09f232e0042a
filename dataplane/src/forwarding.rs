//! Where a frame goes: inside its segment by the directory, to another segment through the gateway, to many, or nowhere.
//!
//! MAC and address must name the same destination: the gates judge the address, the segment delivers by MAC, and a
//! frame in which the two disagree would be judged as one workload's and delivered to another.

use std::net::IpAddr;

use septum_rules::flow_key::FlowKey;
use septum_rules::identity::{IdentityId, SegmentId};
use septum_rules::mac::MacAddress;

use crate::directory::{Directory, Location, Member, SegmentEntry};
use crate::drop_reason::DropReason;
use crate::port::PortId;
use crate::routes::{Side, UplinkId};
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
    /// Through the gateway to an address behind an uplink.
    Uplink(UplinkId),
    /// Through the gateway to an address that lives nowhere here; the gates are asked before the sender hears so.
    Nowhere,
    /// To the members of the segment that may have it.
    Group,
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
    let address = ip.flow.destination;
    if headers.destination.is_group() {
        let fits = is_group(segment, address) && headers.destination == group_mac(address);
        return if fits { Ok(Destination::Group) } else { Err(DropReason::AddressMismatch) };
    }
    let is_to_gateway = headers.destination == segment.gateway_mac;
    let Some(Location { port, segment: home, identity }) = directory.locate(address) else {
        return match is_to_gateway {
            // Nobody's own address, and yet to one station: the gates would judge another flow than is delivered.
            _ if is_group(segment, address) => Err(DropReason::AddressMismatch),
            true if !leaves(segment, &ip.flow) => Err(DropReason::NoRoute),
            true => Ok(match directory.uplink_address(address) {
                Some(identity) => Destination::Gateway(identity),
                None => match directory.routes().side_of(address) {
                    Some(Side::Uplink(uplink)) => Destination::Uplink(uplink),
                    Some(Side::Segment) | None => Destination::Nowhere,
                },
            }),
            false => Err(unknown(directory, member, headers.destination)),
        };
    };
    match port {
        // The gateway answers at its MAC, in the families in which the segment has one.
        None if is_to_gateway && segment.routes(address.is_ipv4()) => Ok(Destination::Gateway(identity)),
        None => Err(unknown(directory, member, headers.destination)),
        Some(port) if port == member.port => Err(DropReason::Hairpin),
        Some(port) if is_to_gateway => match leaves(segment, &ip.flow) {
            true if directory.segment(home).routes(address.is_ipv4()) => {
                Ok(Destination::Routed { port, segment: home, identity })
            }
            true => Ok(Destination::Nowhere),
            false => Err(DropReason::NoRoute),
        },
        Some(port) => {
            let is_its_mac =
                directory.member(port.slot).is_some_and(|owner| owner.mac == headers.destination);
            match home == member.segment && is_its_mac {
                true => Ok(Destination::Bridged { port, identity }),
                false => Err(unknown(directory, member, headers.destination)),
            }
        }
    }
}

/// Whether an address means more than one station of a segment.
pub fn is_group(segment: &SegmentEntry, address: IpAddr) -> bool {
    address.is_multicast() || segment.is_broadcast(address)
}

/// Whether a packet leaves the segment through its gateway: that has an address of the family, and neither end is
/// link-local (RFC 4291 section 2.5.6: routers must not forward packets from or to such addresses).
pub fn leaves(segment: &SegmentEntry, flow: &FlowKey) -> bool {
    let is_local = is_link_local(flow.source) || is_link_local(flow.destination);
    segment.routes(flow.destination.is_ipv4()) && !is_local
}

/// Whether an address is one of its link alone.
pub fn is_link_local(address: IpAddr) -> bool {
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

/// The MAC behind which packets to a group address travel (RFC 1112 section 6.4, RFC 2464 section 7); broadcast where it is no
/// multicast address.
pub fn group_mac(address: IpAddr) -> MacAddress {
    match address {
        IpAddr::V4(v4) if v4.is_multicast() => {
            let [_, b, c, d] = v4.octets();
            MacAddress([0x01, 0x00, 0x5e, b & 0x7f, c, d])
        }
        IpAddr::V4(_) => MacAddress::BROADCAST,
        IpAddr::V6(v6) => {
            let [.., a, b, c, d] = v6.octets();
            MacAddress([0x33, 0x33, a, b, c, d])
        }
    }
}
