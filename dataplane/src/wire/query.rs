//! The question who listens: general queries of IGMPv3 and MLDv2 (RFC 3376 section 4.1, RFC 3810 section 5.1), which hosts of
//! every version answer, each with its own.
//!
//! Written as whole untagged Ethernet frames into the caller's buffer. Nothing allocates.

use std::net::{Ipv4Addr, Ipv6Addr};

use septum_rules::mac::MacAddress;
use septum_rules::proto::Protocol;

use super::checksum::Sum;
use super::ethernet::{EtherType, EthernetHeader};
use super::icmp::icmpv6_type;
use super::igmp::igmp_type;
use super::ipv4::Ipv4Header;
use super::ipv6::Ipv6Header;
use super::mld;

/// Seconds between two queries at one port (RFC 3376 section 8.2, RFC 3810 section 9.2). Below 128 its code is itself.
pub const INTERVAL: u8 = 125;
/// Queries of which one may be lost (section 8.1, section 9.1).
pub const ROBUSTNESS: u8 = 2;

/// Time to answer: a second. There is one host at each port, so no storm of answers is to be spread.
const ANSWER_WITHIN_TENTHS: u8 = 10;
const ANSWER_WITHIN_MS: u16 = 1000;

/// `224.0.0.1` and `ff02::1`, and the MACs behind which they travel.
const ALL_SYSTEMS: (Ipv4Addr, MacAddress) =
    (Ipv4Addr::new(224, 0, 0, 1), MacAddress([0x01, 0, 0x5e, 0, 0, 1]));
const ALL_NODES: (Ipv6Addr, MacAddress) =
    (Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), MacAddress([0x33, 0x33, 0, 0, 0, 1]));

/// Router alert (RFC 2113).
const ROUTER_ALERT_V4: [u8; 4] = [0x94, 4, 0, 0];
/// Hop-by-hop options that are router alert and padding (RFC 2711), before ICMPv6.
const ROUTER_ALERT_V6: [u8; 8] = [Protocol::ICMPV6.0, 0, 5, 2, 0, 0, 1, 0];
/// Internetwork control (RFC 3376 section 4: "should be sent with IP precedence of Internetwork Control").
const INTERNETWORK_CONTROL: u8 = 0xc0;

const IGMP_QUERY: usize = 12;
const MLD_QUERY: usize = mld::HEADER + 4;

/// The longest frame that is written here.
pub const LONGEST: usize = EthernetHeader::LENGTH + Ipv6Header::LENGTH + ROUTER_ALERT_V6.len() + MLD_QUERY;

/// Writes the general query of IGMP, and gives its length. `source` may be unspecified (RFC 4541 section 2.1.1).
///
/// # Panics
/// When `out` is shorter than [`LONGEST`].
pub fn igmp(mac: MacAddress, source: Ipv4Addr, out: &mut [u8]) -> usize {
    let (group, destination) = ALL_SYSTEMS;
    let network = EthernetHeader { destination, source: mac, ethertype: EtherType::IPV4 }.emit(None, out);
    let header = Ipv4Header::LENGTH + ROUTER_ALERT_V4.len();
    let packet = &mut out[network..network + header + IGMP_QUERY];
    let payload = ROUTER_ALERT_V4.len() + IGMP_QUERY;
    Ipv4Header::emit(packet, (source, group), Protocol::IGMP, INTERNETWORK_CONTROL, payload);
    packet[0] = 0x40 | (header / 4) as u8;
    // It stays on the link.
    packet[8] = 1;
    packet[Ipv4Header::LENGTH..header].copy_from_slice(&ROUTER_ALERT_V4);
    Ipv4Header::write_checksum(&mut packet[..header]);
    let message = &mut packet[header..];
    message.fill(0);
    message[..2].copy_from_slice(&[igmp_type::QUERY, ANSWER_WITHIN_TENTHS]);
    message[8..10].copy_from_slice(&[ROBUSTNESS, INTERVAL]);
    let checksum = Sum::default().add_bytes(message).checksum();
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    network + header + IGMP_QUERY
}

/// Writes the general query of MLD, from the link-local address of `mac`, and gives its length.
///
/// # Panics
/// When `out` is shorter than [`LONGEST`].
pub fn mld(mac: MacAddress, out: &mut [u8]) -> usize {
    let (group, destination) = ALL_NODES;
    let source = mac.link_local();
    let network = EthernetHeader { destination, source: mac, ethertype: EtherType::IPV6 }.emit(None, out);
    let length = ROUTER_ALERT_V6.len() + MLD_QUERY;
    // Hop-by-hop options are "protocol" 0 (RFC 8200 section 4.3).
    Ipv6Header::emit(&mut out[network..], (source, group), Protocol(0), mld::HOP_LIMIT, length);
    let payload = &mut out[network + Ipv6Header::LENGTH..][..length];
    let (options, message) = payload.split_at_mut(ROUTER_ALERT_V6.len());
    options.copy_from_slice(&ROUTER_ALERT_V6);
    message.fill(0);
    message[0] = icmpv6_type::MLD_QUERY;
    message[4..6].copy_from_slice(&ANSWER_WITHIN_MS.to_be_bytes());
    message[mld::HEADER..mld::HEADER + 2].copy_from_slice(&[ROBUSTNESS, INTERVAL]);
    let pseudo = Sum::pseudo_header_v6(source, group, Protocol::ICMPV6, MLD_QUERY as u32);
    let checksum = pseudo.add_bytes(message).checksum();
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    network + Ipv6Header::LENGTH + length
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::listener::Told;
    use crate::wire::parse::parse;
    use crate::wire::vnet_hdr::VnetHeader;
    use crate::wire::{Content, igmp as igmp_messages};

    const GATEWAY: MacAddress = MacAddress([2, 0x53, 1, 2, 3, 4]);

    #[test]
    fn queries_hold_together() {
        let mut out = [0xee; LONGEST];
        for gateway in [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(192, 0, 2, 9)] {
            let length = igmp(GATEWAY, gateway, &mut out);
            let headers = parse(&out[..length], &VnetHeader::default()).unwrap();
            let Content::Ip(ip) = headers.content else { panic!("no IP") };
            assert_eq!((ip.ttl, ip.flow.source), (1, gateway.into()));
            let message = &out[usize::from(ip.transport)..length];
            assert_eq!(igmp_messages::parse(message), Ok(Told::Query));
        }
        let length = mld(GATEWAY, &mut out);
        let headers = parse(&out[..length], &VnetHeader::default()).unwrap();
        let Content::Ip(ip) = headers.content else { panic!("no IP") };
        let message = &out[usize::from(ip.transport)..length];
        assert_eq!(mld::parse(message, &ip, false), Ok(Told::Query));
    }
}
