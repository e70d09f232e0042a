//! ICMP and ICMPv6 errors that the switch originates (RFC 1812 section 4.3, RFC 4443 sections 2.4 and 3).
//!
//! One vocabulary for both families. An error quotes as much of the packet as keeps the whole within 576 bytes
//! (IPv4, RFC 1812 section 4.3.2.3) or 1,280 (IPv6, RFC 4443 section 2.4 (c)). [`deserves_error`] says which
//! packets must never be answered so; rate limits are the caller's. Written as a whole Ethernet frame, tagged like
//! the packet, into the caller's buffer; nothing allocates.

use std::net::IpAddr;

use septum_rules::mac::MacAddress;
use septum_rules::proto::Protocol;

use super::checksum::Sum;
use super::ethernet::{EtherType, EthernetHeader};
use super::icmp::{self, icmp_type, icmpv6_type};
use super::ipv4::Ipv4Header;
use super::ipv6::Ipv6Header;
use super::{Content, Headers, IpPacket, ORIGINATED_TTL};

/// What went wrong with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpError {
    /// No route to the destination.
    NetworkUnreachable,
    /// The destination's segment has nobody of that address.
    HostUnreachable,
    /// Nobody listens on that port.
    PortUnreachable,
    /// A policy refuses.
    AdministrativelyProhibited,
    /// The packet exceeds the next hop's MTU, in bytes of IP packet.
    TooBig {
        /// What would fit.
        mtu: u16,
    },
    /// The time to live ran out.
    TimeExceeded,
}

impl IcmpError {
    /// Type, code and the field behind the checksum in ICMP (RFC 792, RFC 1191, RFC 1812).
    const fn v4(self) -> (u8, u8, u32) {
        match self {
            Self::NetworkUnreachable => (icmp_type::UNREACHABLE, 0, 0),
            Self::HostUnreachable => (icmp_type::UNREACHABLE, 1, 0),
            Self::PortUnreachable => (icmp_type::UNREACHABLE, 3, 0),
            Self::TooBig { mtu } => (icmp_type::UNREACHABLE, 4, mtu as u32),
            Self::AdministrativelyProhibited => (icmp_type::UNREACHABLE, 13, 0),
            Self::TimeExceeded => (icmp_type::TIME_EXCEEDED, 0, 0),
        }
    }

    /// Type, code and the field behind the checksum in ICMPv6 (RFC 4443).
    const fn v6(self) -> (u8, u8, u32) {
        match self {
            Self::NetworkUnreachable => (icmpv6_type::UNREACHABLE, 0, 0),
            Self::AdministrativelyProhibited => (icmpv6_type::UNREACHABLE, 1, 0),
            Self::HostUnreachable => (icmpv6_type::UNREACHABLE, 3, 0),
            Self::PortUnreachable => (icmpv6_type::UNREACHABLE, 4, 0),
            Self::TooBig { mtu } => (icmpv6_type::PACKET_TOO_BIG, 0, mtu as u32),
            Self::TimeExceeded => (icmpv6_type::TIME_EXCEEDED, 0, 0),
        }
    }
}

/// The longest IPv4 error, in bytes of IP packet.
const LONGEST_V4: usize = 576;
/// The longest IPv6 error, in bytes of IP packet: the minimum MTU.
const LONGEST_V6: usize = 1280;
/// The longest frame that [`write()`] writes.
pub const LONGEST: usize = 18 + LONGEST_V6;

/// Precedence "internetwork control" (RFC 1812 section 4.3.2.5).
const INTERNETWORK_CONTROL: u8 = 0xc0;

/// Whether an error may be sent about this frame: not about an ICMP error, a later fragment, or anything sent to a
/// group or from no single host (RFC 1812 section 4.3.2.7, RFC 4443 section 2.4 (e)). `about_size` is the one
/// exception: IPv6 path MTU discovery works for multicast too.
pub fn deserves_error(headers: &Headers, about_size: bool) -> bool {
    let Content::Ip(packet) = &headers.content else { return false };
    let to_group = headers.destination.is_group()
        || match packet.flow.destination {
            IpAddr::V4(address) => address.is_multicast() || address.is_broadcast(),
            IpAddr::V6(address) => address.is_multicast(),
        };
    let from_nobody = packet.flow.source.is_unspecified() || headers.source.is_group();
    let may_be_group = about_size && packet.flow.source.is_ipv6();
    !icmp::is_error(packet.flow.layer4)
        && packet.neighbour.is_none_or(|neighbour| neighbour.icmp_type != icmpv6_type::REDIRECT)
        && !packet.is_later_fragment()
        && !from_nobody
        && (!to_group || may_be_group)
}

/// Writes the error about `packet` of `frame` to its sender, from `from` (the gateway's address in the sender's
/// segment) at `mac`, and gives its length. `None` when `from` is of the other family or `frame` is not the one that was parsed.
///
/// # Panics
/// When `out` is shorter than [`LONGEST`].
pub fn write(
    error: IcmpError,
    (frame, headers, packet): (&[u8], &Headers, &IpPacket),
    from: IpAddr,
    mac: MacAddress,
    out: &mut [u8],
) -> Option<usize> {
    let quote = frame.get(usize::from(packet.network)..packet.end as usize)?;
    let ethernet = |ethertype| EthernetHeader { destination: headers.source, source: mac, ethertype };
    match (from, packet.flow.source) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let network = ethernet(EtherType::IPV4).emit(headers.tag, out);
            let quote = &quote[..quote.len().min(LONGEST_V4 - Ipv4Header::LENGTH - icmp::HEADER)];
            let message = message(&mut out[network + Ipv4Header::LENGTH..], error.v4(), quote);
            let length = message.len();
            finish(message, Sum::default());
            Ipv4Header::emit(&mut out[network..], (from, to), Protocol::ICMP, INTERNETWORK_CONTROL, length);
            Some(network + Ipv4Header::LENGTH + length)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let network = ethernet(EtherType::IPV6).emit(headers.tag, out);
            let quote = &quote[..quote.len().min(LONGEST_V6 - Ipv6Header::LENGTH - icmp::HEADER)];
            let message = message(&mut out[network + Ipv6Header::LENGTH..], error.v6(), quote);
            let length = message.len();
            finish(message, Sum::pseudo_header_v6(from, to, Protocol::ICMPV6, length as u32));
            Ipv6Header::emit(&mut out[network..], (from, to), Protocol::ICMPV6, ORIGINATED_TTL, length);
            Some(network + Ipv6Header::LENGTH + length)
        }
        _ => None,
    }
}

/// Writes type, code, field and quote, the checksum still zero, and gives the message.
fn message<'a>(out: &'a mut [u8], (icmp_type, code, field): (u8, u8, u32), quote: &[u8]) -> &'a mut [u8] {
    let message = &mut out[..icmp::HEADER + quote.len()];
    message[..4].copy_from_slice(&[icmp_type, code, 0, 0]);
    message[4..8].copy_from_slice(&field.to_be_bytes());
    message[icmp::HEADER..].copy_from_slice(quote);
    message
}

fn finish(message: &mut [u8], pseudo_header: Sum) {
    let checksum = pseudo_header.add_bytes(message).checksum();
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
}
