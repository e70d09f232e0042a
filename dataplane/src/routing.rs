//! The way through a gateway: time to live, MACs, MTU, and the ICMP errors that say why not (RFC 1812, RFC 4443).
//!
//! Reached only by packets that were admitted: a sender hears about routes only where it may go.

use crate::burst::ETHERNET;
use crate::drop_reason::DropReason;
use crate::fast_path::Way;
use crate::forwarding::Destination;
use crate::pipeline::End;
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
    let (port, segment) = match destination {
        Destination::Bridged { port, .. } => {
            // Both ends are on one link: a frame that does not fit it is a sender's mistake, not a path's.
            let egress = snapshot.directory.member(port.slot);
            let fits = egress.is_some_and(|egress| fits(asking.burst.frame(asking.index), ip, egress.mtu));
            return if fits { End::Forward(port) } else { DropReason::TooBig.into() };
        }
        Destination::Routed { port, segment, .. } => (port, segment),
        Destination::Gateway(_) => return DropReason::GatewayNoService.into(),
        Destination::Nowhere => {
            let is_on_link = snapshot.policy.segment_containing(ip.flow.destination).is_some();
            let error = if is_on_link { IcmpError::HostUnreachable } else { IcmpError::NetworkUnreachable };
            return asking.reject(ip, error, DropReason::NoRoute);
        }
        // Groups are copied, never routed.
        Destination::Group => return DropReason::NoRoute.into(),
    };
    let Some(egress) = snapshot.directory.member(port.slot) else { return DropReason::NoRoute.into() };
    if ip.ttl <= 1 {
        return asking.reject(ip, IcmpError::TimeExceeded, DropReason::TtlExceeded);
    }
    if !fits(asking.burst.frame(asking.index), ip, egress.mtu) {
        return asking.reject(ip, IcmpError::TooBig { mtu: egress.mtu }, DropReason::TooBig);
    }
    let gateway_mac = snapshot.directory.segment(segment).gateway_mac;
    let frame = &mut asking.burst.frame_mut(asking.index)[ETHERNET..];
    match rewrite::route(frame, ip, egress.mac, gateway_mac) {
        Ok(()) => End::Forward(port),
        Err(reason) => reason.into(),
    }
}

/// Routes an untagged frame of the fast path, whose time to live and length were found to do; `None` where it cannot be.
pub fn route_common(snapshot: &Snapshot, way: &Way, frame: &mut [u8]) -> Option<()> {
    let egress = snapshot.directory.member(way.egress.slot)?;
    let gateway_mac = snapshot.directory.segment(egress.segment).gateway_mac;
    let is_ipv4 = EthernetHeader::parse(frame).ok()?.ethertype == EtherType::IPV4;
    rewrite::hop(frame, EthernetHeader::LENGTH, is_ipv4).ok()?;
    rewrite::set_macs(frame, egress.mac, gateway_mac);
    Some(())
}

/// Whether the packet, or each segment of a super-frame, fits an MTU.
#[inline]
pub fn fits(frame: &[u8], ip: &IpPacket, mtu: u16) -> bool {
    // No segment is longer than the super-frame.
    ip.length() <= usize::from(mtu) || each_segment_fits(frame, ip, mtu)
}

fn each_segment_fits(frame: &[u8], ip: &IpPacket, mtu: u16) -> bool {
    VnetHeader::read(frame).is_some_and(|vnet| longest_packet(&vnet, ip) <= usize::from(mtu))
}
