//! What routing through a gateway changes in a frame: both MACs, and the time to live (RFC 1812 section 5.3.1,
//! RFC 8200 section 3).
//!
//! Done in place. Checksums of the transport are not concerned, partial ones and super-frames included.
//! Nothing here panics on a frame that was parsed; see each function.

use septum_rules::mac::MacAddress;

use super::IpPacket;
use super::checksum;
use crate::drop_reason::DropReason;

/// Writes both MACs.
///
/// # Panics
/// When `frame` is shorter than 12 bytes.
pub fn set_macs(frame: &mut [u8], destination: MacAddress, source: MacAddress) {
    frame[..6].copy_from_slice(&destination.0);
    frame[6..12].copy_from_slice(&source.0);
}

/// Takes one hop from the time to live; the IPv4 header checksum is updated, not recalculated, so a header that
/// was damaged in between stays so.
///
/// # Errors
/// [`DropReason::TtlExceeded`] when it was 0 or 1: such a packet is not forwarded, and is left unchanged.
///
/// # Panics
/// When `frame` is not the one that `packet` was parsed from.
pub fn decrement_ttl(frame: &mut [u8], packet: &IpPacket) -> Result<(), DropReason> {
    hop(frame, usize::from(packet.network), packet.flow.source.is_ipv4())
}

/// The same for a packet whose IP header stands at `network`.
///
/// # Errors
/// [`DropReason::TtlExceeded`]; the frame is left unchanged.
///
/// # Panics
/// When no whole header stands there.
pub fn hop(frame: &mut [u8], network: usize, is_ipv4: bool) -> Result<(), DropReason> {
    let at = network + if is_ipv4 { 8 } else { 7 };
    let ttl = frame[at];
    if ttl <= 1 {
        return Err(DropReason::TtlExceeded);
    }
    if is_ipv4 {
        let header = &mut frame[network..network + 20];
        let old = u16::from_be_bytes([header[8], header[9]]);
        header[8] = ttl - 1;
        let new = u16::from_be_bytes([header[8], header[9]]);
        let updated = checksum::updated(u16::from_be_bytes([header[10], header[11]]), old, new);
        header[10..12].copy_from_slice(&updated.to_be_bytes());
    } else {
        frame[at] = ttl - 1;
    }
    Ok(())
}

/// Both at once: the packet takes its hop towards `destination`.
///
/// # Errors
/// [`DropReason::TtlExceeded`]; the frame is left unchanged.
///
/// # Panics
/// When `frame` is not the one that `packet` was parsed from.
pub fn route(
    frame: &mut [u8],
    packet: &IpPacket,
    destination: MacAddress,
    source: MacAddress,
) -> Result<(), DropReason> {
    decrement_ttl(frame, packet)?;
    set_macs(frame, destination, source);
    Ok(())
}
