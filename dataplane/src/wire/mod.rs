//! Frames as the wire shows them: one file a protocol, all of one shape.
//!
//! Nothing here panics on any input: every read is bounded by the bytes that are there, and what does not
//! hold together is a [`DropReason`]. Offsets count from the Ethernet header, in bytes.
//!
//! Reading: [`parse::parse`] walks one file a protocol, from [`ethernet`] to [`transport`]; [`quoted`] reads what an
//! ICMP error quotes; [`igmp`] and [`mld`] what listeners tell. Writing: [`rewrite`] (what routing changes), [`reply`], [`reset`],
//! [`question`], [`query`] and [`icmp_error`] (what the switch originates), [`segment`] (super-frames for ports that
//! cannot take them; [`tunnel`] finds the packet inside one that a UDP tunnel carries). Writers panic only when the buffer that they
//! are given is shorter than they say.

pub mod arp;
pub mod checksum;
pub mod crc32c;
pub mod dhcp;
pub mod dhcpv6;
pub mod ethernet;
pub mod fragment;
pub mod icmp;
pub mod icmp_error;
pub mod igmp;
pub mod ipv4;
pub mod ipv6;
pub mod ipv6_extensions;
pub mod listener;
pub mod martian;
pub mod mld;
pub mod neighbour;
pub mod offload;
pub mod parse;
pub mod query;
pub mod question;
pub mod quoted;
pub mod reply;
pub mod reset;
pub mod rewrite;
pub mod router_advertisement;
pub mod segment;
pub mod sketch;
pub mod transport;
pub mod tunnel;
pub mod vlan;
pub mod vnet_hdr;

use std::net::Ipv4Addr;

use septum_rules::flow_key::FlowKey;
use septum_rules::mac::MacAddress;

use crate::drop_reason::DropReason;

/// A frame that holds together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// Destination MAC.
    pub destination: MacAddress,
    /// Source MAC.
    pub source: MacAddress,
    /// The tag (PCP, DEI, VID) of an 802.1Q frame.
    pub tag: Option<u16>,
    /// What the frame carries.
    pub content: Content,
}

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Address resolution (RFC 826).
    Arp(Arp),
    /// IPv4 or IPv6.
    Ip(IpPacket),
}

/// An ARP packet of Ethernet over IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// A request, else a reply.
    pub is_request: bool,
    /// Sender's MAC as claimed.
    pub sender_mac: MacAddress,
    /// Sender's address as claimed; unspecified in a probe (RFC 5227).
    pub sender: Ipv4Addr,
    /// Target's MAC as claimed.
    pub target_mac: MacAddress,
    /// Who is asked for.
    pub target: Ipv4Addr,
}

/// An IP packet: where its parts are and what decides about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpPacket {
    /// Addresses and layer 4. A later fragment has the bare protocol: it carries no ports.
    pub flow: FlowKey,
    /// Offset of the IP header.
    pub network: u16,
    /// Offset of the transport header (behind IPv6 extension headers).
    pub transport: u16,
    /// Offset behind the transport header and its options; `transport` itself where the switch reads no such header.
    pub payload: u16,
    /// One behind the packet's last byte: Ethernet padding lies behind it.
    pub end: u32,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// IPv4 "don't fragment"; IPv6 packets always are so.
    pub dont_fragment: bool,
    /// Where it is a fragment (an atomic IPv6 fragment is a whole packet, RFC 6946).
    pub fragment: Option<Fragment>,
    /// TCP flags, else zero.
    pub tcp_flags: u8,
    /// Identifier of ICMP and ICMPv6 echo, else zero.
    pub echo_identifier: u16,
    /// Neighbour discovery, where it is that.
    pub neighbour: Option<Neighbour>,
}

/// Where a fragment belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Identification.
    pub identification: u32,
    /// Offset of its data in bytes.
    pub offset: u16,
    /// Whether more follow.
    pub more: bool,
    /// Bytes of its data.
    pub length: u16,
}

/// The claims of a neighbour discovery message (RFC 4861), already checked for hop limit, code and options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// ICMPv6 type, 133 to 137.
    pub icmp_type: u8,
    /// Target of a solicitation, an advertisement or a redirect; unspecified for router messages.
    pub target: std::net::Ipv6Addr,
    /// The source (of solicitations) or target (of advertisements) link-layer address option.
    pub link_layer: Option<MacAddress>,
}

impl Neighbour {
    /// Router solicitation.
    pub const ROUTER_SOLICITATION: u8 = 133;
    /// Router advertisement.
    pub const ROUTER_ADVERTISEMENT: u8 = 134;
    /// Neighbour solicitation.
    pub const SOLICITATION: u8 = 135;
    /// Neighbour advertisement.
    pub const ADVERTISEMENT: u8 = 136;
    /// Redirect.
    pub const REDIRECT: u8 = 137;
}

impl IpPacket {
    /// Bytes from the IP header to the packet's end: what an MTU limits, but see [`segment::longest_packet`].
    pub fn length(&self) -> usize {
        (self.end as usize).saturating_sub(usize::from(self.network))
    }

    /// Whether this is a fragment other than the first.
    pub fn is_later_fragment(&self) -> bool {
        self.fragment.is_some_and(|fragment| fragment.offset != 0)
    }
}

/// TCP flags (RFC 9293 section 3.1).
pub mod tcp_flag {
    #![allow(missing_docs)]
    pub const FIN: u8 = 1;
    pub const SYN: u8 = 2;
    pub const RST: u8 = 4;
    pub const PSH: u8 = 8;
    pub const ACK: u8 = 16;
    pub const URG: u8 = 32;
    pub const ECE: u8 = 64;
    pub const CWR: u8 = 128;
}

/// Time to live and hop limit of packets that the switch originates (RFC 1700 "IP time to live").
pub const ORIGINATED_TTL: u8 = 64;

/// What parsing gives: a frame that holds together, or why not.
pub type Parsed = Result<Headers, DropReason>;
