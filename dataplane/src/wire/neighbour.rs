//! Neighbour discovery (RFC 4861): which messages are valid, and what they claim.
//!
//! An invalid message is refused whole, as the RFC's receivers do: hop limit other than 255, code other than
//! 0, wrong checksum, too short, an option of length zero or beyond the message, and the conditions of
//! sections 6.1.1, 6.1.2, 7.1.1, 7.1.2 and 8.1. Stricter than the RFC, because receivers differ in which of two
//! they believe: a link-layer address option may stand once only. A fragment header makes it invalid
//! (RFC 6980). Whether a claim is true is the guard's question.
//!
//! Nothing here panics on any input.

use std::net::Ipv6Addr;

use septum_rules::mac::MacAddress;
use septum_rules::proto::Protocol;

use super::Neighbour;
use super::checksum::Sum;
use super::icmp::icmpv6_type::{
    NEIGHBOUR_ADVERTISEMENT, NEIGHBOUR_SOLICITATION, REDIRECT, ROUTER_ADVERTISEMENT, ROUTER_SOLICITATION,
};
use crate::drop_reason::DropReason;

/// Where a message stands: what the layers below it said.
#[derive(Clone, Copy, Debug)]
pub struct Carrier {
    /// Source address.
    pub source: Ipv6Addr,
    /// Destination address.
    pub destination: Ipv6Addr,
    /// Hop limit.
    pub hop_limit: u8,
    /// Whether any fragment header stands before the message.
    pub has_fragment_header: bool,
    /// Whether the checksum is still partial, and cannot be verified.
    pub has_partial_checksum: bool,
}

const SOURCE_LINK_LAYER: u8 = 1;
const TARGET_LINK_LAYER: u8 = 2;

/// The hop limit of every message: none came through a router.
pub const HOP_LIMIT: u8 = 255;

/// Whether an ICMPv6 type is neighbour discovery's.
#[inline]
pub const fn is_neighbour_discovery(icmp_type: u8) -> bool {
    matches!(icmp_type, ROUTER_SOLICITATION..=REDIRECT)
}

/// The multicast group that owners of `address` listen to (RFC 4291 section 2.7.1).
pub const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(SOLICITED_NODE | (address.to_bits() & 0xff_ffff))
}

/// Whether an address is such a group.
pub const fn is_solicited_node(group: Ipv6Addr) -> bool {
    group.to_bits() & !0xff_ffff == SOLICITED_NODE
}

/// `ff02::1:ff00:0/104`
const SOLICITED_NODE: u128 = 0xff02_0000_0000_0000_0000_0001_ff00_0000;

impl Neighbour {
    /// Reads a message whose type [`is_neighbour_discovery`]; `message` begins with the ICMPv6 header.
    ///
    /// # Errors
    /// [`DropReason::NdMalformed`]
    #[inline(never)]
    pub fn parse(message: &[u8], carrier: &Carrier) -> Result<Self, DropReason> {
        read(message, carrier).ok_or(DropReason::NdMalformed)
    }
}

fn read(message: &[u8], carrier: &Carrier) -> Option<Neighbour> {
    let header: &[u8; 8] = message.first_chunk()?;
    let [icmp_type, code, _, _, flags, ..] = *header;
    let intact = carrier.has_partial_checksum || {
        let length = message.len() as u32;
        let pseudo = Sum::pseudo_header_v6(carrier.source, carrier.destination, Protocol::ICMPV6, length);
        pseudo.add_bytes(message).is_valid()
    };
    if carrier.hop_limit != HOP_LIMIT || code != 0 || carrier.has_fragment_header || !intact {
        return None;
    }
    let fixed_length = match icmp_type {
        ROUTER_SOLICITATION => 8,
        ROUTER_ADVERTISEMENT => 16,
        NEIGHBOUR_SOLICITATION | NEIGHBOUR_ADVERTISEMENT => 24,
        REDIRECT => 40,
        _ => return None,
    };
    let options = Options::parse(message.get(fixed_length..)?)?;
    let address = |at: usize| {
        message.get(at..at + 16).and_then(<[u8]>::first_chunk).map(|octets| Ipv6Addr::from(*octets))
    };
    let target = if fixed_length >= 24 { address(8)? } else { Ipv6Addr::UNSPECIFIED };
    let from_nobody = carrier.source.is_unspecified();
    let valid = match icmp_type {
        // Section 6.1.1: an unspecified source has no link-layer address to tell.
        ROUTER_SOLICITATION => !from_nobody || options.source.is_none(),
        // Section 6.1.2.
        ROUTER_ADVERTISEMENT => carrier.source.is_unicast_link_local(),
        // Section 7.1.1.
        NEIGHBOUR_SOLICITATION => {
            let to_group = is_solicited_node(carrier.destination);
            !target.is_multicast() && (!from_nobody || (to_group && options.source.is_none()))
        }
        // Section 7.1.2: the answer to many is no answer to one.
        NEIGHBOUR_ADVERTISEMENT => {
            let answers_a_group = flags & 0x40 != 0 && carrier.destination.is_multicast();
            !target.is_multicast() && !answers_a_group
        }
        // Section 8.1.
        _ => {
            let redirected = address(24)?;
            carrier.source.is_unicast_link_local()
                && !redirected.is_multicast()
                && (target.is_unicast_link_local() || target == redirected)
        }
    };
    let link_layer = match icmp_type {
        NEIGHBOUR_ADVERTISEMENT | REDIRECT => options.target,
        _ => options.source,
    };
    valid.then_some(Neighbour { icmp_type, target, link_layer })
}

/// The link-layer address options of one message (RFC 4861 section 4.6.1).
#[derive(Default)]
struct Options {
    source: Option<MacAddress>,
    target: Option<MacAddress>,
}

impl Options {
    fn parse(mut options: &[u8]) -> Option<Self> {
        let mut found = Self::default();
        while !options.is_empty() {
            let [option_type, units, rest @ ..] = options else { return None };
            let length = usize::from(*units) * 8;
            if length == 0 || length > options.len() {
                return None;
            }
            let slot = match *option_type {
                SOURCE_LINK_LAYER => Some(&mut found.source),
                TARGET_LINK_LAYER => Some(&mut found.target),
                _ => None,
            };
            if let Some(slot) = slot {
                if length != 8 || slot.is_some() {
                    return None;
                }
                *slot = rest.first_chunk().copied().map(MacAddress);
            }
            options = &options[length..];
        }
        Some(found)
    }
}
