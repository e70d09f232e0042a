//! IGMP, versions 1 to 3 (RFC 1112 appendix I, RFC 2236, RFC 3376), as one who listens to listeners reads it.
//!
//! The checksum is verified: what a router would ignore changes nothing here either. Messages of other types tell nothing about
//! listeners.
//!
//! Nothing here panics on any input.

use super::checksum::Sum;
use super::listener::{Records, Told, address_at};
use crate::drop_reason::DropReason;

/// Message types.
pub mod igmp_type {
    #![allow(missing_docs)]
    pub const QUERY: u8 = 0x11;
    pub const REPORT_V1: u8 = 0x12;
    pub const REPORT_V2: u8 = 0x16;
    pub const LEAVE: u8 = 0x17;
    pub const REPORT_V3: u8 = 0x22;
}

/// Bytes that every message has at least.
pub const HEADER: usize = 8;

/// Reads a message, which ends where the IP packet ends.
///
/// # Errors
/// [`DropReason::IgmpMalformed`]
pub fn parse(message: &[u8]) -> Result<Told<'_>, DropReason> {
    read(message).ok_or(DropReason::IgmpMalformed)
}

fn read(message: &[u8]) -> Option<Told<'_>> {
    let header: &[u8; HEADER] = message.first_chunk()?;
    if !Sum::default().add_bytes(message).is_valid() {
        return None;
    }
    let one = |listens| {
        let group = address_at(message, 4, 4).filter(|group| group.is_multicast())?;
        Some(Told::One(group, listens))
    };
    match header[0] {
        igmp_type::QUERY => Some(Told::Query),
        igmp_type::REPORT_V1 | igmp_type::REPORT_V2 => one(true),
        igmp_type::LEAVE => one(false),
        igmp_type::REPORT_V3 => Records::v4(message).map(Told::Many),
        _ => Some(Told::Other),
    }
}
