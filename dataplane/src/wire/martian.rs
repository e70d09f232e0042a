//! Addresses that no packet on the wire may have (RFC 1812 section 5.3.7, RFC 6890, RFC 4291).
//!
//! | | source | destination |
//! |---|---|---|
//! | `0.0.0.0/8` | refused; `0.0.0.0` only from UDP 68 to 67 of `255.255.255.255` (RFC 2131) | refused |
//! | `127.0.0.0/8` | refused | refused |
//! | `224.0.0.0/4` | refused | multicast |
//! | `240.0.0.0/4` | refused | refused, but `255.255.255.255` |
//! | `::` | refused; only for duplicate address detection (RFC 4862) and MLD (RFC 3590) | refused |
//! | `::1`, `::a.b.c.d`, `::ffff:a.b.c.d` | refused | refused |
//! | `ff00::/8` | refused | multicast; scope 0 (reserved) and 1 (never on a link) refused |
//!
//! A packet from an address to itself is a LAND attack. Nothing here panics.

use std::net::{Ipv4Addr, Ipv6Addr};

use septum_rules::proto::{Layer4, Protocol};

use super::icmp::icmpv6_type;
use crate::drop_reason::DropReason;

/// Judges the addresses of an IPv4 packet.
///
/// # Errors
/// [`DropReason::MartianSource`], [`DropReason::MartianDestination`], [`DropReason::Land`]
#[inline]
pub fn check_v4(source: Ipv4Addr, destination: Ipv4Addr, layer4: Layer4) -> Result<(), DropReason> {
    if !matches!(source.octets()[0], 1..=126 | 128..=223) && !is_dhcp_request(source, destination, layer4) {
        return Err(DropReason::MartianSource);
    }
    if !matches!(destination.octets()[0], 1..=126 | 128..=239) && !destination.is_broadcast() {
        return Err(DropReason::MartianDestination);
    }
    if source == destination { Err(DropReason::Land) } else { Ok(()) }
}

#[cold]
#[inline(never)]
fn is_dhcp_request(source: Ipv4Addr, destination: Ipv4Addr, layer4: Layer4) -> bool {
    source.is_unspecified()
        && destination.is_broadcast()
        && layer4 == Layer4::ports(Protocol::UDP, DHCP_CLIENT, DHCP_SERVER)
}

/// UDP ports of DHCP (RFC 2131 section 4.1).
pub const DHCP_CLIENT: u16 = 68;
/// UDP ports of DHCP (RFC 2131 section 4.1).
pub const DHCP_SERVER: u16 = 67;

/// Judges the addresses of an IPv6 packet.
///
/// # Errors
/// [`DropReason::MartianSource`], [`DropReason::MartianDestination`], [`DropReason::Land`]
#[inline]
pub fn check_v6(source: Ipv6Addr, destination: Ipv6Addr, layer4: Layer4) -> Result<(), DropReason> {
    if source.is_multicast() || (is_special(source) && !may_be_unspecified(source, layer4)) {
        return Err(DropReason::MartianSource);
    }
    let [first, second, ..] = destination.octets();
    if (first == 0xff && matches!(second & 0xf, 0 | 1)) || is_special(destination) {
        return Err(DropReason::MartianDestination);
    }
    if source == destination { Err(DropReason::Land) } else { Ok(()) }
}

/// `::`, `::1`, and IPv4 addresses in IPv6 clothes, compatible or mapped: `::/96` and `::ffff:0:0/96`.
#[inline]
fn is_special(address: Ipv6Addr) -> bool {
    matches!(address.to_bits() >> 32, 0 | 0xffff)
}

/// The neighbour solicitations meant are valid already: to the solicited-node group, without a link-layer address.
#[cold]
#[inline(never)]
fn may_be_unspecified(source: Ipv6Addr, layer4: Layer4) -> bool {
    source.is_unspecified()
        && layer4.protocol == Protocol::ICMPV6
        && layer4.icmp_type_code().is_some_and(|(icmp_type, _)| {
            matches!(
                icmp_type,
                icmpv6_type::NEIGHBOUR_SOLICITATION
                    | icmpv6_type::MLD_REPORT
                    | icmpv6_type::MLD_DONE
                    | icmpv6_type::MLD2_REPORT
            )
        })
}
