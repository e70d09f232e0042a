//! What the switch asks in its own name: who has an address (RFC 826, RFC 5227, RFC 4861 section 4.3).
//!
//! Each is written as a whole untagged Ethernet frame into the caller's buffer; the caller writes an empty virtio
//! header before it. Nothing allocates.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use septum_rules::mac::MacAddress;
use septum_rules::proto::Protocol;

use super::Arp;
use super::checksum::Sum;
use super::ethernet::{EtherType, EthernetHeader};
use super::icmp::icmpv6_type;
use super::ipv6::Ipv6Header;
use super::neighbour::{HOP_LIMIT, solicited_node};

/// Bytes of a neighbour solicitation with its one option.
const SOLICITATION: usize = 32;
const SOURCE_LINK_LAYER: u8 = 1;

/// The longest frame that [`who_has`] writes.
pub const LONGEST: usize = EthernetHeader::LENGTH + Ipv6Header::LENGTH + SOLICITATION;

/// Writes the question for the MAC of `target`, and gives its length. `own` is the asker's address of the family, if it
/// has one: without, ARP is asked as a probe, and IPv6 by the link-local address that `mac` makes.
///
/// # Panics
/// When `out` is shorter than [`LONGEST`].
pub fn who_has(target: IpAddr, mac: MacAddress, own: Option<IpAddr>, out: &mut [u8]) -> usize {
    match target {
        IpAddr::V4(target) => {
            let sender = match own {
                Some(IpAddr::V4(own)) => own,
                _ => Ipv4Addr::UNSPECIFIED,
            };
            let ethernet =
                EthernetHeader { destination: MacAddress::BROADCAST, source: mac, ethertype: EtherType::ARP };
            let network = ethernet.emit(None, out);
            let request =
                Arp { is_request: true, sender_mac: mac, sender, target_mac: MacAddress([0; 6]), target };
            request.emit(&mut out[network..]);
            network + Arp::LENGTH
        }
        IpAddr::V6(target) => {
            let source = match own {
                Some(IpAddr::V6(own)) => own,
                _ => mac.link_local(),
            };
            solicitation(target, mac, source, out)
        }
    }
}

fn solicitation(target: Ipv6Addr, mac: MacAddress, source: Ipv6Addr, out: &mut [u8]) -> usize {
    let group = solicited_node(target);
    let [.., a, b, c, d] = group.octets();
    let destination = MacAddress([0x33, 0x33, a, b, c, d]);
    let network = EthernetHeader { destination, source: mac, ethertype: EtherType::IPV6 }.emit(None, out);
    let transport = network + Ipv6Header::LENGTH;
    Ipv6Header::emit(&mut out[network..], (source, group), Protocol::ICMPV6, HOP_LIMIT, SOLICITATION);
    let message = &mut out[transport..transport + SOLICITATION];
    message[..8].copy_from_slice(&[icmpv6_type::NEIGHBOUR_SOLICITATION, 0, 0, 0, 0, 0, 0, 0]);
    message[8..24].copy_from_slice(&target.octets());
    message[24..26].copy_from_slice(&[SOURCE_LINK_LAYER, 1]);
    message[26..].copy_from_slice(&mac.0);
    let pseudo = Sum::pseudo_header_v6(source, group, Protocol::ICMPV6, SOLICITATION as u32);
    let checksum = pseudo.add_bytes(message).checksum();
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    transport + SOLICITATION
}
