//! The IPv6 header (RFC 8200 section 3). Extension headers are [`super::ipv6_extensions`]'s.
//!
//! A payload length of zero is refused unless nothing follows the header: it announces a jumbogram
//! (RFC 2675) or a super-frame above 64 KiB ("BIG TCP"), which no port enables.
//!
//! Parsing never panics; emitting panics when the buffer is too short.

use std::net::Ipv6Addr;

use septum_rules::proto::Protocol;

use super::ipv6_extensions::NO_NEXT_HEADER;
use crate::drop_reason::DropReason;

/// What an IPv6 header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6Header {
    /// Bytes behind the header; all of them are there.
    pub payload_length: usize,
    /// What follows: an extension header or a transport protocol.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source address.
    pub source: Ipv6Addr,
    /// Destination address.
    pub destination: Ipv6Addr,
}

impl Ipv6Header {
    /// Bytes on the wire.
    pub const LENGTH: usize = 40;

    /// Reads a header; `packet` begins with it and may end with Ethernet padding.
    ///
    /// # Errors
    /// [`DropReason::Ipv6Truncated`], [`DropReason::Ipv6Version`], [`DropReason::Ipv6PayloadLength`].
    #[inline]
    pub fn parse(packet: &[u8]) -> Result<Self, DropReason> {
        let header: &[u8; Self::LENGTH] = packet.first_chunk().ok_or(DropReason::Ipv6Truncated)?;
        if header[0] >> 4 != 6 {
            return Err(DropReason::Ipv6Version);
        }
        let payload_length = usize::from(u16::from_be_bytes([header[4], header[5]]));
        let next_header = header[6];
        let announces_jumbo = payload_length == 0 && next_header != NO_NEXT_HEADER;
        if announces_jumbo || payload_length > packet.len() - Self::LENGTH {
            return Err(DropReason::Ipv6PayloadLength);
        }
        let (source, rest) = header[8..].split_first_chunk::<16>().ok_or(DropReason::Ipv6Truncated)?;
        let destination = rest.first_chunk::<16>().ok_or(DropReason::Ipv6Truncated)?;
        Ok(Self {
            payload_length,
            next_header,
            hop_limit: header[7],
            source: Ipv6Addr::from(*source),
            destination: Ipv6Addr::from(*destination),
        })
    }

    /// Writes a header with flow label zero.
    ///
    /// # Panics
    /// When `packet` is shorter than [`Ipv6Header::LENGTH`] or `payload_length` exceeds 65,535.
    pub fn emit(
        packet: &mut [u8],
        (source, destination): (Ipv6Addr, Ipv6Addr),
        protocol: Protocol,
        hop_limit: u8,
        payload_length: usize,
    ) {
        let payload_length = u16::try_from(payload_length).expect("callers bound what they write");
        packet[..4].copy_from_slice(&[0x60, 0, 0, 0]);
        packet[4..6].copy_from_slice(&payload_length.to_be_bytes());
        packet[6] = protocol.0;
        packet[7] = hop_limit;
        packet[8..24].copy_from_slice(&source.octets());
        packet[24..40].copy_from_slice(&destination.octets());
    }
}
