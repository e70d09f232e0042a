//! The way through a gateway: time to live, MACs, MTU, and the ICMP errors that say why not (RFC 1812, RFC 4443).
//!
//! Reached only by packets that were admitted: a sender hears about routes only where it may go.

use septum_rules::mac::MacAddress;

use crate::burst::ETHERNET;
use crate::drop_reason::DropReason;
use crate::fast_path::Way;
use crate::forwarding::Destination;
use crate::neighbours::NextHop;
use crate::pipeline::End;
use crate::port::PortId;
use crate::responder::Asking;
use crate::snapshot::Snapshot;
use crate::wire::ethernet::{EtherType, EthernetHeader};
use crate::wire::icmp_error::IcmpError;
use crate::wire::segment::longest_packet;
use crate::wire::vnet_hdr::VnetHeader;
use crate::wire::{IpPacket, rewrite};

/// Sends an admitted packet on its way, or refuses it and says so.
pub fn dispatch(
    snapshot: &Snapshot,
    ip: &IpPacket,
    destination: Destination,
    asking: &mut Asking<'_>,
) -> End {
    match destination {
        Destination::Bridged { port, .. } => {
            // Both ends are on one link: a frame that does not fit it is a sender's mistake, not a path's.
            let egress = snapshot.directory.member(port.slot);
            let fits = egress.is_some_and(|egress| fits(asking.burst.frame(asking.index), ip, egress.mtu));
            if fits { End::Forward(port) } else { DropReason::TooBig.into() }
        }
        Destination::Routed { port, segment, .. } => {
            let Some(egress) = snapshot.directory.member(port.slot) else {
                return DropReason::NoRoute.into();
            };
            let gateway_mac = snapshot.directory.segment(segment).gateway_mac;
            hop(port, egress.mtu, ip, asking, |_| Ok((egress.mac, gateway_mac)))
        }
        Destination::Uplink(uplink) => {
            let Some(uplink) = snapshot.directory.uplink(uplink) else {
                return asking.reject(ip, IcmpError::NetworkUnreachable, DropReason::NoRoute);
            };
            let next_hop = |asking: &mut Asking<'_>| {
                let address = uplink.next_hop_to(ip.flow.destination);
                match uplink.neighbours.next_hop(address, asking.now) {
                    NextHop::Known(mac) => Ok((mac, uplink.mac)),
                    NextHop::Ask => Err(asking.ask(uplink, address)),
                    NextHop::Waiting => Err(DropReason::NextHopUnresolved.into()),
                    NextHop::Silent => {
                        let (error, reason) = (IcmpError::HostUnreachable, DropReason::NextHopUnresolved);
                        Err(asking.reject(ip, error, reason))
                    }
                }
            };
            hop(uplink.port, uplink.mtu, ip, asking, next_hop)
        }
        Destination::Gateway(_) => DropReason::GatewayNoService.into(),
        Destination::Nowhere => {
            let is_on_link = snapshot.policy.segment_containing(ip.flow.destination).is_some();
            let error = if is_on_link { IcmpError::HostUnreachable } else { IcmpError::NetworkUnreachable };
            asking.reject(ip, error, DropReason::NoRoute)
        }
        // Groups are copied, never routed.
        Destination::Group => DropReason::NoRoute.into(),
    }
}

/// One hop: the time to live falls, the packet fits the next link, and the MACs are those of that link: destination and source,
/// which `macs` finds, or says how the packet ends without.
fn hop(
    port: PortId,
    mtu: u16,
    ip: &IpPacket,
    asking: &mut Asking<'_>,
    macs: impl FnOnce(&mut Asking<'_>) -> Result<(MacAddress, MacAddress), End>,
) -> End {
    if ip.ttl <= 1 {
        return asking.reject(ip, IcmpError::TimeExceeded, DropReason::TtlExceeded);
    }
    if !fits(asking.burst.frame(asking.index), ip, mtu) {
        return asking.reject(ip, IcmpError::TooBig { mtu }, DropReason::TooBig);
    }
    let (destination, source) = match macs(asking) {
        Ok(macs) => macs,
        Err(end) => return end,
    };
    let frame = &mut asking.burst.frame_mut(asking.index)[ETHERNET..];
    match rewrite::route(frame, ip, destination, source) {
        Ok(()) => End::Forward(port),
        Err(reason) => reason.into(),
    }
}

/// Whether nothing but the gates keeps the packet from its egress port. What would die on the way opens no connection.
pub fn arrives(snapshot: &Snapshot, frame: &[u8], ip: &IpPacket, destination: Destination) -> bool {
    let (mtu, takes_a_hop) = match destination {
        Destination::Bridged { port, .. } => {
            (snapshot.directory.member(port.slot).map(|egress| egress.mtu), false)
        }
        Destination::Routed { port, .. } => {
            (snapshot.directory.member(port.slot).map(|egress| egress.mtu), true)
        }
        Destination::Uplink(uplink) => (snapshot.directory.uplink(uplink).map(|uplink| uplink.mtu), true),
        Destination::Gateway(_) | Destination::Nowhere | Destination::Group => (None, false),
    };
    mtu.is_some_and(|mtu| fits(frame, ip, mtu)) && (ip.ttl > 1 || !takes_a_hop)
}

/// Routes an untagged frame of the fast path, whose time to live and length were found to do.
///
/// # Errors
/// Why it cannot be.
pub fn route_common(snapshot: &Snapshot, way: &Way, frame: &mut [u8]) -> Result<(), DropReason> {
    let egress = snapshot.directory.member(way.egress.slot).ok_or(DropReason::NoRoute)?;
    let gateway_mac = snapshot.directory.segment(egress.segment).gateway_mac;
    let is_ipv4 = EthernetHeader::parse(frame)?.ethertype == EtherType::IPV4;
    rewrite::hop(frame, EthernetHeader::LENGTH, is_ipv4)?;
    rewrite::set_macs(frame, egress.mac, gateway_mac);
    Ok(())
}

/// Whether the packet, or each segment of a super-frame, fits an MTU.
#[inline]
pub fn fits(frame: &[u8], ip: &IpPacket, mtu: u16) -> bool {
    // No segment is longer than the super-frame.
    ip.length() <= usize::from(mtu) || each_segment_fits(frame, ip, mtu)
}

fn each_segment_fits(frame: &[u8], ip: &IpPacket, mtu: u16) -> bool {
    VnetHeader::read(frame).is_some_and(|vnet| longest_packet(&vnet, frame, ip) <= usize::from(mtu))
}
