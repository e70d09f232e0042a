//! TCP (RFC 9293), UDP (RFC 768), SCTP (RFC 9260), and every other protocol by its number.
//!
//! Ports are read from whole headers only: a first fragment that cuts its transport header off is refused
//! ([`DropReason::FragmentMalformed`]), and a later fragment never gets here. Checksums are not verified
//! ([`super::checksum`] says why). A UDP length below the packet's passes: the rest is the surplus area of
//! RFC 9868. A UDP length of zero (a jumbogram, RFC 2675) does not.
//!
//! Nothing here panics on any input.

use septum_rules::proto::{Layer4, Protocol};

use super::checksum::Sum;
use super::icmp;
use super::tcp_flag::{ACK, FIN, PSH, RST, SYN, URG};
use crate::drop_reason::DropReason;

/// Bytes of a UDP header.
pub const UDP_HEADER: usize = 8;
/// Bytes of a TCP header without options.
pub const TCP_HEADER: usize = 20;
/// Bytes of SCTP's common header.
pub const SCTP_HEADER: usize = 12;

/// The shortest header of `protocol`; zero for those that the switch does not read.
pub const fn least_header(protocol: Protocol) -> usize {
    match protocol {
        Protocol::TCP => TCP_HEADER,
        Protocol::UDP => UDP_HEADER,
        Protocol::SCTP => SCTP_HEADER,
        Protocol::ICMP | Protocol::ICMPV6 => icmp::HEADER,
        _ => 0,
    }
}

/// What a transport header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    /// Protocol and ports, or type and code.
    pub layer4: Layer4,
    /// Bytes of the header, options included.
    pub header_length: usize,
    /// TCP flags, else zero.
    pub tcp_flags: u8,
    /// Identifier of an echo, else zero.
    pub echo_identifier: u16,
}

/// Writes the header of the UDP datagram that fills `datagram`, from and to these ports, its checksum included;
/// `pseudo_header` is the sum of the pseudo-header.
///
/// # Panics
/// When the datagram is shorter than its header.
pub fn emit_udp(datagram: &mut [u8], ports: (u16, u16), pseudo_header: Sum) {
    let length = datagram.len() as u16;
    datagram[..2].copy_from_slice(&ports.0.to_be_bytes());
    datagram[2..4].copy_from_slice(&ports.1.to_be_bytes());
    datagram[4..6].copy_from_slice(&length.to_be_bytes());
    datagram[6..8].fill(0);
    let checksum = pseudo_header.add_bytes(datagram).checksum_not_zero();
    datagram[6..8].copy_from_slice(&checksum.to_be_bytes());
}

impl Transport {
    /// Reads the header that begins `segment`, which ends where the IP packet ends. `is_whole` is false for a
    /// first fragment.
    ///
    /// # Errors
    /// The reasons about TCP, UDP, SCTP, ICMP and ICMPv6, and [`DropReason::FragmentMalformed`].
    #[inline]
    pub fn parse(protocol: Protocol, segment: &[u8], is_whole: bool) -> Result<Self, DropReason> {
        let or_fragment = |reason| if is_whole { reason } else { DropReason::FragmentMalformed };
        match protocol {
            Protocol::TCP => tcp(segment, or_fragment(DropReason::TcpTruncated), is_whole),
            Protocol::UDP => udp(segment, or_fragment(DropReason::UdpTruncated), is_whole),
            Protocol::SCTP => sctp(segment, or_fragment(DropReason::SctpTruncated)),
            Protocol::ICMP => icmp::parse(protocol, segment, or_fragment(DropReason::IcmpTruncated)),
            Protocol::ICMPV6 => icmp::parse(protocol, segment, or_fragment(DropReason::Icmpv6Truncated)),
            _ => Ok(Self::bare(protocol)),
        }
    }

    /// A packet without a transport header that the switch reads.
    pub const fn bare(protocol: Protocol) -> Self {
        Self { layer4: Layer4::bare(protocol), header_length: 0, tcp_flags: 0, echo_identifier: 0 }
    }
}

#[inline]
fn ports(protocol: Protocol, header: [u8; 4]) -> Layer4 {
    let [s0, s1, d0, d1] = header;
    Layer4::ports(protocol, u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]))
}

#[inline]
fn tcp(segment: &[u8], cut_off: DropReason, is_whole: bool) -> Result<Transport, DropReason> {
    let header: &[u8; TCP_HEADER] = segment.first_chunk().ok_or(cut_off)?;
    let header_length = usize::from(header[12] >> 4) * 4;
    if header_length < TCP_HEADER {
        return Err(DropReason::TcpDataOffset);
    }
    if header_length > segment.len() {
        return Err(if is_whole { DropReason::TcpDataOffset } else { DropReason::FragmentMalformed });
    }
    let tcp_flags = header[13];
    if !are_sane(tcp_flags) {
        return Err(DropReason::TcpFlags);
    }
    let layer4 = ports(Protocol::TCP, [header[0], header[1], header[2], header[3]]);
    Ok(Transport { layer4, header_length, tcp_flags, echo_identifier: 0 })
}

/// The combinations of FIN, SYN, RST, ACK and URG that RFC 9293 section 3.10 lets a stack send; PSH, ECE and CWR
/// go with any. Everything else is a scanner's.
const SANE_FLAGS: [u8; 9] =
    [SYN, SYN | URG, SYN | ACK, RST, RST | ACK, FIN | ACK, FIN | ACK | URG, ACK, ACK | URG];

/// One bit for each combination of the six flags.
const SANE: u64 = {
    let mut set = 0;
    let mut at = 0;
    while at < SANE_FLAGS.len() {
        set |= 1 << SANE_FLAGS[at] | 1 << (SANE_FLAGS[at] | PSH);
        at += 1;
    }
    set
};

#[inline]
const fn are_sane(tcp_flags: u8) -> bool {
    SANE >> (tcp_flags & 0x3f) & 1 != 0
}

#[inline]
fn udp(segment: &[u8], cut_off: DropReason, is_whole: bool) -> Result<Transport, DropReason> {
    let header: &[u8; UDP_HEADER] = segment.first_chunk().ok_or(cut_off)?;
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    // The length of a first fragment counts the fragments behind it too.
    let fits = if is_whole { length <= segment.len() } else { length >= segment.len() };
    if length < UDP_HEADER || !fits {
        return Err(DropReason::UdpLength);
    }
    let layer4 = ports(Protocol::UDP, [header[0], header[1], header[2], header[3]]);
    Ok(Transport { layer4, header_length: UDP_HEADER, tcp_flags: 0, echo_identifier: 0 })
}

fn sctp(segment: &[u8], cut_off: DropReason) -> Result<Transport, DropReason> {
    let header: &[u8; SCTP_HEADER] = segment.first_chunk().ok_or(cut_off)?;
    let layer4 = ports(Protocol::SCTP, [header[0], header[1], header[2], header[3]]);
    Ok(Transport { layer4, header_length: SCTP_HEADER, tcp_flags: 0, echo_identifier: 0 })
}
