//! The IPv4 header (RFC 791) and its options.
//!
//! Refused: a wrong version, length or checksum; source routing (RFC 7126 section 4.3 and 4.4: it lets the sender
//! choose another destination than the one that was judged); malformed options. All other options pass
//! unread. The reserved flag is ignored, as receivers do. A total length of zero (super-frames above 64 KiB,
//! "BIG TCP", which no port enables) is refused.
//!
//! Parsing never panics; emitting panics when the buffer is too short.

use std::net::Ipv4Addr;

use septum_rules::proto::Protocol;

use super::Fragment;
use super::checksum::Sum;
use crate::drop_reason::DropReason;

/// What an IPv4 header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Header {
    /// Bytes of header and options.
    pub header_length: usize,
    /// Bytes of header, options and payload; all of them are there.
    pub total_length: usize,
    /// "Don't fragment".
    pub dont_fragment: bool,
    /// Where it is a fragment.
    pub fragment: Option<Fragment>,
    /// Time to live.
    pub ttl: u8,
    /// What follows.
    pub protocol: Protocol,
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
}

/// Bit of the flags and fragment offset field.
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const FRAGMENT_OFFSET: u16 = 0x1fff;

impl Ipv4Header {
    /// Bytes without options.
    pub const LENGTH: usize = 20;
    /// The first byte of such a header: version and length in words of four bytes.
    pub const WITHOUT_OPTIONS: u8 = 0x45;

    /// Reads a header; `packet` begins with it and may end with Ethernet padding.
    ///
    /// # Errors
    /// The `Ipv4...` reasons, and [`DropReason::FragmentMalformed`].
    // Called where every frame passes, from two places: as a call, its result would go through memory.
    #[inline(always)]
    pub fn parse(packet: &[u8]) -> Result<Self, DropReason> {
        let header: &[u8; Self::LENGTH] = packet.first_chunk().ok_or(DropReason::Ipv4Truncated)?;
        if header[0] >> 4 != 4 {
            return Err(DropReason::Ipv4Version);
        }
        let header_length = usize::from(header[0] & 0xf) * 4;
        if header_length < Self::LENGTH || header_length > packet.len() {
            return Err(DropReason::Ipv4HeaderLength);
        }
        let total_length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if total_length < header_length || total_length > packet.len() {
            return Err(DropReason::Ipv4TotalLength);
        }
        if header_length == Self::LENGTH {
            if !Sum::of_header(header).is_valid() {
                return Err(DropReason::Ipv4Checksum);
            }
        } else {
            check_options(&packet[..header_length])?;
        }
        let flags = u16::from_be_bytes([header[6], header[7]]);
        let fragment = if flags & (MORE_FRAGMENTS | FRAGMENT_OFFSET) == 0 {
            None
        } else {
            Some(fragment_of(header, header_length, total_length - header_length)?)
        };
        Ok(Self {
            header_length,
            total_length,
            dont_fragment: flags & DONT_FRAGMENT != 0,
            fragment,
            ttl: header[8],
            protocol: Protocol(header[9]),
            source: Ipv4Addr::new(header[12], header[13], header[14], header[15]),
            destination: Ipv4Addr::new(header[16], header[17], header[18], header[19]),
        })
    }

    /// Writes the header of a packet that the switch originates: no options, not a fragment, "don't fragment"
    /// set and identification zero (RFC 6864 section 4.1: an atomic datagram's identification means nothing).
    ///
    /// # Panics
    /// When `packet` is shorter than [`Ipv4Header::LENGTH`] or `payload_length` makes it longer than 65,535 bytes.
    pub fn emit(
        packet: &mut [u8],
        (source, destination): (Ipv4Addr, Ipv4Addr),
        protocol: Protocol,
        type_of_service: u8,
        payload_length: usize,
    ) {
        let header = &mut packet[..Self::LENGTH];
        let total_length =
            u16::try_from(Self::LENGTH + payload_length).expect("callers bound what they write");
        header.copy_from_slice(&[
            0x45,
            type_of_service,
            0,
            0,
            0,
            0,
            0x40,
            0,
            super::ORIGINATED_TTL,
            protocol.0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
        ]);
        header[2..4].copy_from_slice(&total_length.to_be_bytes());
        header[12..16].copy_from_slice(&source.octets());
        header[16..20].copy_from_slice(&destination.octets());
        Self::write_checksum(header);
    }

    /// Calculates the checksum of a whole `header`, options included, and writes it in.
    ///
    /// # Panics
    /// When `header` is shorter than [`Ipv4Header::LENGTH`].
    pub fn write_checksum(header: &mut [u8]) {
        header[10..12].fill(0);
        let checksum = Sum::default().add_bytes(header).checksum();
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// Reads the fields of a fragment with `payload` bytes of data.
#[cold]
#[inline(never)]
fn fragment_of(
    header: &[u8; Ipv4Header::LENGTH],
    header_length: usize,
    payload: usize,
) -> Result<Fragment, DropReason> {
    let flags = u16::from_be_bytes([header[6], header[7]]);
    let fragment = Fragment {
        identification: u32::from(u16::from_be_bytes([header[4], header[5]])),
        offset: (flags & FRAGMENT_OFFSET) * 8,
        more: flags & MORE_FRAGMENTS != 0,
        length: 0,
    };
    // The reassembled packet has a header too (RFC 791 section 3.2: total length is 16 bits).
    fragment.checked(header_length, payload)
}

/// Walks the options of a whole header (RFC 791 section 3.1) and verifies its checksum.
#[cold]
#[inline(never)]
fn check_options(header: &[u8]) -> Result<(), DropReason> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const LOOSE_SOURCE_ROUTE: u8 = 131;
    const STRICT_SOURCE_ROUTE: u8 = 137;

    if !Sum::default().add_bytes(header).is_valid() {
        return Err(DropReason::Ipv4Checksum);
    }
    let mut options = &header[Ipv4Header::LENGTH..];
    loop {
        options = match *options {
            [] | [END, ..] => return Ok(()),
            [NO_OPERATION, ref rest @ ..] => rest,
            [LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE, ..] => return Err(DropReason::Ipv4Options),
            [_, length, ..] if length >= 2 => {
                options.get(usize::from(length)..).ok_or(DropReason::Ipv4Options)?
            }
            _ => return Err(DropReason::Ipv4Options),
        };
    }
}
