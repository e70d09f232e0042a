//! The packet that an ICMP error quotes (RFC 792, RFC 4443 section 2.4 (c)).
//!
//! A quote may be cut: an IPv4 error need not hold more than the header and eight bytes behind it, an ICMPv6
//! error ends where the minimum MTU does. So only what must be there is asked for: the headers and eight bytes
//! of the transport's. Lengths and checksums are not verified: routers on the way changed the header, and the
//! packet is not there. A quoted later fragment, or one of a protocol without ports, has a flow without ports.
//!
//! Nothing here panics on any input.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use septum_rules::flow_key::FlowKey;
use septum_rules::identity::DomainId;
use septum_rules::proto::{Layer4, Protocol};

use super::ipv4::Ipv4Header;
use super::ipv6::Ipv6Header;
use super::ipv6_extensions::Extensions;
use super::{IpPacket, icmp};

/// What an ICMP error says of the packet that caused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// Its flow, in the direction in which it was sent.
    pub flow: FlowKey,
    /// Identifier of a quoted echo, else zero.
    pub echo_identifier: u16,
    /// Sequence number of a quoted TCP segment: a blind attacker does not know it (RFC 5927 section 4.1).
    pub tcp_sequence: Option<u32>,
}

/// Bytes of the transport header that every quote has.
const LEAST_TRANSPORT: usize = 8;

/// Reads the quote in `packet` of `frame`. `None` when it is no ICMP error, or quotes no packet of its family with
/// a readable transport header (a later fragment has none).
///
/// `packet` must come from parsing `frame`; with another frame the answer is meaningless, never a panic.
pub fn quoted(frame: &[u8], packet: &IpPacket) -> Option<Quoted> {
    if !icmp::is_error(packet.flow.layer4) || packet.is_later_fragment() {
        return None;
    }
    let quote = frame.get(usize::from(packet.payload)..packet.end as usize)?;
    match packet.flow.source {
        IpAddr::V4(_) => quoted_v4(quote),
        IpAddr::V6(_) => quoted_v6(quote),
    }
}

fn quoted_v4(quote: &[u8]) -> Option<Quoted> {
    let header: &[u8; Ipv4Header::LENGTH] = quote.first_chunk()?;
    let header_length = usize::from(header[0] & 0xf) * 4;
    let offset = u16::from_be_bytes([header[6], header[7]]) & 0x1fff;
    let protocol = Protocol(header[9]);
    if header[0] >> 4 != 4
        || header_length < Ipv4Header::LENGTH
        || offset != 0
        || protocol == Protocol::ICMPV6
    {
        return None;
    }
    let address = |at: usize| Ipv4Addr::from([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    with_transport(IpAddr::V4(address(12)), IpAddr::V4(address(16)), protocol, quote.get(header_length..)?)
}

fn quoted_v6(quote: &[u8]) -> Option<Quoted> {
    let header: &[u8; Ipv6Header::LENGTH] = quote.first_chunk()?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let rest = &quote[Ipv6Header::LENGTH..];
    // A fragment's data may be cut in the quote, so the checks on its length would be wrong: read on by hand.
    let extensions = Extensions::parse_quoted(header[6], rest)?;
    if extensions.protocol == Protocol::ICMP {
        return None;
    }
    let address = |at: usize| Ipv6Addr::from(std::array::from_fn(|octet| header[at + octet]));
    with_transport(
        IpAddr::V6(address(8)),
        IpAddr::V6(address(24)),
        extensions.protocol,
        rest.get(extensions.length..)?,
    )
}

fn with_transport(
    source: IpAddr,
    destination: IpAddr,
    protocol: Protocol,
    transport: &[u8],
) -> Option<Quoted> {
    let [b0, b1, b2, b3, b4, b5, b6, b7] = *transport.first_chunk::<LEAST_TRANSPORT>()?;
    let layer4 = match protocol {
        _ if protocol.has_ports() => {
            Layer4::ports(protocol, u16::from_be_bytes([b0, b1]), u16::from_be_bytes([b2, b3]))
        }
        _ if protocol.has_icmp_type() => Layer4::icmp(protocol, b0, b1),
        _ => Layer4::bare(protocol),
    };
    Some(Quoted {
        flow: FlowKey { domain: DomainId::default(), source, destination, layer4 },
        echo_identifier: if icmp::is_echo(layer4) { u16::from_be_bytes([b4, b5]) } else { 0 },
        tcp_sequence: (protocol == Protocol::TCP).then(|| u32::from_be_bytes([b4, b5, b6, b7])),
    })
}
