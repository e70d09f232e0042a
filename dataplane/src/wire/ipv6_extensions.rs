//! The walk over IPv6 extension headers (RFC 8200 section 4).
//!
//! **Depth.** At most five, which is every header of the recommended order (section 4.1) once, destination
//! options twice: hop-by-hop options (only first), destination options, routing, fragment, destination
//! options. More, repeated ones, and those that the switch does not walk (mobility, HIP, Shim6, experiments)
//! are refused. Authentication (AH) and encrypted payload (ESP) end the walk: what they carry has no ports
//! for us, and rules name them by number.
//!
//! **Routing headers** are refused when they are of type 0 (RFC 5095), of a type that IANA does not list, or
//! still have segments left: then the destination that was judged is not the one that gets the packet.
//!
//! **Fragments.** The first fragment must hold the whole chain (RFC 7112): what is cut off there is
//! [`DropReason::FragmentMalformed`]. An atomic fragment is a whole packet (RFC 6946). A later fragment
//! ends the walk: its protocol is what the fragment header names, be it an extension header.
//!
//! Nothing here panics on any input.

use septum_rules::proto::Protocol;

use super::Fragment;
use crate::drop_reason::DropReason;

/// Extension headers that one packet may have.
pub const MOST_EXTENSIONS: usize = 5;

/// "Nothing follows" (RFC 8200 section 4.7).
pub const NO_NEXT_HEADER: u8 = 59;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;
const MOBILITY: u8 = 135;
const HOST_IDENTITY: u8 = 139;
const SHIM6: u8 = 140;
const EXPERIMENT_1: u8 = 253;
const EXPERIMENT_2: u8 = 254;

/// What the chain of extension headers ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extensions {
    /// The transport protocol.
    pub protocol: Protocol,
    /// Bytes of all extension headers.
    pub length: usize,
    /// Where it is a fragment, other than an atomic one.
    pub fragment: Option<Fragment>,
    /// Whether there is a fragment header at all: neighbour discovery may not have one (RFC 6980).
    pub has_fragment_header: bool,
}

/// Whether `number` names an extension header of IPv6, walked or not.
pub const fn is_extension(number: u8) -> bool {
    matches!(
        number,
        HOP_BY_HOP
            | ROUTING
            | FRAGMENT
            | DESTINATION_OPTIONS
            | MOBILITY
            | HOST_IDENTITY
            | SHIM6
            | EXPERIMENT_1
            | EXPERIMENT_2
    )
}

impl Extensions {
    /// Walks the chain that begins `payload` (everything behind the IPv6 header) with a header of type `first`.
    ///
    /// # Errors
    /// The `Ipv6...` reasons about extension headers, and [`DropReason::FragmentMalformed`].
    #[inline]
    pub fn parse(first: u8, payload: &[u8]) -> Result<Self, DropReason> {
        if is_extension(first) {
            return Self::walk(first, payload);
        }
        Ok(Self { protocol: Protocol(first), length: 0, fragment: None, has_fragment_header: false })
    }

    /// The same for the start of a packet that an ICMP error quotes. `None` where the chain is cut off, refused, or
    /// is that of a later fragment.
    pub fn parse_quoted(first: u8, payload: &[u8]) -> Option<Self> {
        let mut found =
            Self { protocol: Protocol(first), length: 0, fragment: None, has_fragment_header: false };
        for _ in 0..=MOST_EXTENSIONS {
            if !is_extension(found.protocol.0) {
                return Some(found);
            }
            let header: &[u8; 8] = payload.get(found.length..)?.first_chunk()?;
            let is_fragment = found.protocol.0 == FRAGMENT;
            if is_fragment && u16::from_be_bytes([header[2], header[3]]) & !7 != 0 {
                return None;
            }
            found.has_fragment_header |= is_fragment;
            found.length += if is_fragment { 8 } else { 8 + usize::from(header[1]) * 8 };
            found.protocol = Protocol(header[0]);
        }
        None
    }

    #[cold]
    #[inline(never)]
    fn walk(first: u8, payload: &[u8]) -> Result<Self, DropReason> {
        let mut found =
            Self { protocol: Protocol(first), length: 0, fragment: None, has_fragment_header: false };
        let mut destination_options = 0;
        let mut has_routing = false;
        for position in 0..=MOST_EXTENSIONS {
            let number = found.protocol.0;
            if !is_extension(number) {
                return Ok(found);
            }
            if !matches!(number, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS) {
                return Err(DropReason::Ipv6Extensions);
            }
            let cut_off = match found.fragment {
                None => DropReason::Ipv6ExtensionTruncated,
                Some(_) => DropReason::FragmentMalformed,
            };
            let rest = &payload[found.length..];
            let [next, length_field, third, fourth, ..] = *rest.first_chunk::<8>().ok_or(cut_off)?;
            let length = if number == FRAGMENT { 8 } else { 8 + usize::from(length_field) * 8 };
            let header = rest.get(..length).ok_or(cut_off)?;
            match number {
                HOP_BY_HOP if position == 0 => check_options(&header[2..])?,
                DESTINATION_OPTIONS if destination_options < 2 => {
                    destination_options += 1;
                    check_options(&header[2..])?;
                }
                ROUTING if !has_routing => {
                    has_routing = true;
                    check_routing(third, fourth)?;
                }
                FRAGMENT if !found.has_fragment_header => {
                    found.has_fragment_header = true;
                    found.fragment = fragment_of(header, found.length, rest.len() - length)?;
                }
                _ => return Err(DropReason::Ipv6Extensions),
            }
            found.protocol = Protocol(next);
            found.length += length;
            if found.fragment.is_some_and(|fragment| fragment.offset != 0) {
                return Ok(found);
            }
        }
        Err(DropReason::Ipv6Extensions)
    }
}

/// Reads a fragment header of eight bytes; `before` and `behind` are the payload's bytes around it.
fn fragment_of(header: &[u8], before: usize, behind: usize) -> Result<Option<Fragment>, DropReason> {
    let field = u16::from_be_bytes([header[2], header[3]]);
    let fragment = Fragment {
        identification: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
        offset: field & !7,
        more: field & 1 != 0,
        length: 0,
    };
    let is_atomic = fragment.offset == 0 && !fragment.more;
    // "the Payload Length of the packet reassembled from that fragment would exceed 65,535 octets" (section 4.5)
    if is_atomic { Ok(None) } else { fragment.checked(before, behind).map(Some) }
}

/// Routing types that IANA lists and that may be carried once used up: 2 (RFC 6275), 3 (RFC 6554), 4 (RFC 8754).
fn check_routing(routing_type: u8, segments_left: u8) -> Result<(), DropReason> {
    match (routing_type, segments_left) {
        (2..=4, 0) => Ok(()),
        _ => Err(DropReason::Ipv6RoutingHeader),
    }
}

/// Walks the options of a hop-by-hop or destination options header (RFC 8200 section 4.2).
fn check_options(mut options: &[u8]) -> Result<(), DropReason> {
    const PAD1: u8 = 0;
    const JUMBO_PAYLOAD: u8 = 0xc2;

    loop {
        options = match *options {
            [] => return Ok(()),
            [PAD1, ref rest @ ..] => rest,
            [JUMBO_PAYLOAD, ..] => return Err(DropReason::Ipv6PayloadLength),
            [_, length, ref rest @ ..] => rest.get(usize::from(length)..).ok_or(DropReason::Ipv6Options)?,
            [_] => return Err(DropReason::Ipv6Options),
        };
    }
}
