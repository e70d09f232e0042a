//! What comes in by an uplink: whose it may be, where it may go, and what it tells of neighbours.
//!
//! The network behind an uplink is nobody's workload: its frames have no declared MAC, and its addresses are those of
//! the uplink's named networks. So the guard is another: nothing may claim an address of this side, nor one that
//! another uplink is nearer to; broadcasts, multicasts and packets that are only passing through end here. RFC 2827, RFC 3704
//! (strict reverse path). What the switch sends there, [`crate::routing`] says.

use septum_rules::identity::IdentityId;

use crate::burst::{Burst, ETHERNET};
use crate::clock::Tick;
use crate::directory::{Directory, Location, UplinkEntry};
use crate::drop_reason::DropReason;
use crate::forwarding::{self, Destination};
use crate::routes::Side;
use crate::snapshot::Snapshot;
use crate::wire::vnet_hdr::VnetHeader;
use crate::wire::{Content, Headers, IpPacket, Neighbour, question};

/// Admits a frame at an uplink, or says which claim is false.
///
/// # Errors
/// The reason of the drop.
pub fn admit(directory: &Directory, uplink: &UplinkEntry, headers: &Headers) -> Result<(), DropReason> {
    if headers.tag.is_some() {
        return Err(DropReason::VlanUnexpected);
    }
    if headers.source.is_group() || headers.source == uplink.mac {
        return Err(DropReason::SpoofMac);
    }
    let source = match &headers.content {
        Content::Arp(arp) => arp.sender.into(),
        Content::Ip(ip) => ip.flow.source,
    };
    let is_ours = directory.locate(source).is_some()
        || directory.uplink_address(source).is_some()
        || directory.routes().side_of(source) == Some(Side::Segment);
    if is_ours { Err(DropReason::UplinkSpoof) } else { Ok(()) }
}

/// Takes note of what a frame tells of its sender's MAC, if that was asked for.
pub fn hear(uplink: &UplinkEntry, headers: &Headers, now: Tick) {
    match &headers.content {
        Content::Arp(arp) => uplink.neighbours.hear(arp.sender.into(), arp.sender_mac, now),
        Content::Ip(ip) => {
            let Some(Neighbour { icmp_type, target, link_layer: Some(mac) }) = ip.neighbour else { return };
            let address = match icmp_type {
                Neighbour::ADVERTISEMENT => target.into(),
                Neighbour::SOLICITATION => ip.flow.source,
                _ => return,
            };
            uplink.neighbours.hear(address, mac, now);
        }
    }
}

/// Finds who sent a packet that came in by an uplink, to the gates, and where it goes.
///
/// # Errors
/// The reason of the drop.
pub fn resolve(
    snapshot: &Snapshot,
    uplink: &UplinkEntry,
    headers: &Headers,
    ip: &IpPacket,
) -> Result<(IdentityId, Destination), DropReason> {
    let directory = &snapshot.directory;
    let (source, destination) = (ip.flow.source, ip.flow.destination);
    if headers.destination.is_group() || destination.is_multicast() {
        return Err(DropReason::UplinkGroup);
    }
    if headers.destination != uplink.mac {
        return Err(DropReason::UnknownDestination);
    }
    if forwarding::is_link_local(source) || forwarding::is_link_local(destination) {
        return Err(DropReason::NoRoute);
    }
    if !directory.routes().is_behind(source, uplink.id) {
        return Err(DropReason::UplinkSource);
    }
    let way = match directory.locate(destination) {
        Some(Location { port, segment, identity }) => {
            if !directory.segment(segment).routes(destination.is_ipv4()) {
                return Err(DropReason::NoRoute);
            }
            match port {
                Some(port) => Destination::Routed { port, segment, identity },
                None => Destination::Gateway(identity),
            }
        }
        None => match (directory.uplink_address(destination), directory.routes().side_of(destination)) {
            (Some(identity), _) => Destination::Gateway(identity),
            (None, Some(Side::Segment)) => Destination::Nowhere,
            (None, Some(Side::Uplink(_))) => return Err(DropReason::UplinkTransit),
            (None, None) => return Err(DropReason::NoRoute),
        },
    };
    Ok((snapshot.classifier.identify(source), way))
}

/// Puts questions for gateways whose MAC is missing, or about to be, into `burst`.
pub fn ask_gateways(uplink: &UplinkEntry, now: Tick, burst: &mut Burst) {
    // Who is asked is not due again: this ends.
    while let Some(gateway) = uplink.neighbours.due(now).filter(|_| burst.has_room()) {
        let slot = burst.next_slot();
        VnetHeader::default().write(slot);
        let own = uplink.own_address(gateway.is_ipv4());
        let length = question::who_has(gateway, uplink.mac, own, &mut slot[ETHERNET..]);
        burst.commit(ETHERNET + length);
    }
}
