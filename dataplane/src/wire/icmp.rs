//! ICMP (RFC 792) and ICMPv6 (RFC 4443): type, code, and the identifier of an echo.
//!
//! Nothing here panics on any input.

use septum_rules::proto::{Layer4, Protocol};

use super::transport::Transport;
use crate::drop_reason::DropReason;

/// Bytes that every message of either protocol has at least.
pub const HEADER: usize = 8;

/// Types of ICMP (RFC 792).
pub mod icmp_type {
    #![allow(missing_docs)]
    pub const ECHO_REPLY: u8 = 0;
    pub const UNREACHABLE: u8 = 3;
    pub const SOURCE_QUENCH: u8 = 4;
    pub const REDIRECT: u8 = 5;
    pub const ECHO_REQUEST: u8 = 8;
    pub const TIME_EXCEEDED: u8 = 11;
    pub const PARAMETER_PROBLEM: u8 = 12;
}

/// Types of ICMPv6 (RFC 4443, RFC 2710, RFC 3810, RFC 4861).
pub mod icmpv6_type {
    #![allow(missing_docs)]
    pub const UNREACHABLE: u8 = 1;
    pub const PACKET_TOO_BIG: u8 = 2;
    pub const TIME_EXCEEDED: u8 = 3;
    pub const PARAMETER_PROBLEM: u8 = 4;
    pub const ECHO_REQUEST: u8 = 128;
    pub const ECHO_REPLY: u8 = 129;
    pub const MLD_QUERY: u8 = 130;
    pub const MLD_REPORT: u8 = 131;
    pub const MLD_DONE: u8 = 132;
    pub const ROUTER_SOLICITATION: u8 = 133;
    pub const ROUTER_ADVERTISEMENT: u8 = 134;
    pub const NEIGHBOUR_SOLICITATION: u8 = 135;
    pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    pub const REDIRECT: u8 = 137;
    pub const MLD2_REPORT: u8 = 143;
}

/// Reads the message that begins `message`. `cut_off` is the reason when it is shorter than [`HEADER`].
///
/// # Errors
/// `cut_off`
#[inline]
pub fn parse(protocol: Protocol, message: &[u8], cut_off: DropReason) -> Result<Transport, DropReason> {
    let header: &[u8; HEADER] = message.first_chunk().ok_or(cut_off)?;
    let layer4 = Layer4::icmp(protocol, header[0], header[1]);
    let echo_identifier = if is_echo(layer4) { u16::from_be_bytes([header[4], header[5]]) } else { 0 };
    Ok(Transport { layer4, header_length: HEADER, tcp_flags: 0, echo_identifier })
}

/// Whether this is an echo request or reply of either protocol.
#[inline]
pub fn is_echo(layer4: Layer4) -> bool {
    is_echo_request(layer4)
        || matches!(
            (layer4.protocol, layer4.icmp_type_code()),
            (Protocol::ICMP, Some((icmp_type::ECHO_REPLY, _)))
                | (Protocol::ICMPV6, Some((icmpv6_type::ECHO_REPLY, _)))
        )
}

/// Whether this is an echo request of either protocol.
#[inline]
pub fn is_echo_request(layer4: Layer4) -> bool {
    matches!(
        (layer4.protocol, layer4.icmp_type_code()),
        (Protocol::ICMP, Some((icmp_type::ECHO_REQUEST, _)))
            | (Protocol::ICMPV6, Some((icmpv6_type::ECHO_REQUEST, _)))
    )
}

/// Whether this is an error, that is, a message that quotes the packet which caused it (RFC 1122 section 3.2.2;
/// RFC 4443 section 2.1: the types below 128).
#[inline]
pub fn is_error(layer4: Layer4) -> bool {
    match (layer4.protocol, layer4.icmp_type_code()) {
        (Protocol::ICMP, Some((icmp_type, _))) => matches!(
            icmp_type,
            icmp_type::UNREACHABLE
                | icmp_type::SOURCE_QUENCH
                | icmp_type::REDIRECT
                | icmp_type::TIME_EXCEEDED
                | icmp_type::PARAMETER_PROBLEM
        ),
        (Protocol::ICMPV6, Some((icmp_type, _))) => icmp_type < 128,
        _ => false,
    }
}
