//! The router advertisement (RFC 4861 section 4.2) by which a workload learns its link: prefixes, MTU, the way out, name servers
//! (RFC 8106), and whether its addresses come from the prefixes or from DHCPv6.
//!
//! Written as a whole untagged Ethernet frame into the caller's buffer. Nothing allocates.

use std::net::Ipv6Addr;

use septum_rules::address::Prefix;
use septum_rules::mac::MacAddress;
use septum_rules::proto::Protocol;

use super::checksum::Sum;
use super::ethernet::{EtherType, EthernetHeader};
use super::icmp::icmpv6_type;
use super::ipv6::Ipv6Header;
use super::neighbour::HOP_LIMIT;

/// Prefixes that an advertisement tells.
pub const PREFIXES: usize = 8;
/// Name servers that it names.
pub const NAME_SERVERS: usize = 4;
/// The longest frame that [`RouterAdvertisement::write`] writes: fixed part, link-layer address, MTU, prefixes, name servers.
pub const LONGEST: usize =
    EthernetHeader::LENGTH + Ipv6Header::LENGTH + 16 + 8 + 8 + 32 * PREFIXES + 8 + 16 * NAME_SERVERS;

/// Seconds for which the way out holds: the most that there is (RFC 8319), since a workload that sleeps through a repetition
/// should not lose it.
const ROUTER_LIFETIME: u16 = 65_535;
const FOR_EVER: u32 = u32::MAX;

const SOURCE_LINK_LAYER: u8 = 1;
const PREFIX: u8 = 3;
const MTU: u8 = 5;
const NAMES: u8 = 25;
const ON_LINK: u8 = 0x80;
const AUTONOMOUS: u8 = 0x40;
const MANAGED: u8 = 0x80;
const OTHER: u8 = 0x40;

/// What an advertisement says.
#[derive(Clone, Copy, Debug)]
pub struct RouterAdvertisement<'a> {
    /// The router's MAC; its link-local address is the source.
    pub router: MacAddress,
    /// Who hears it.
    pub to: (MacAddress, Ipv6Addr),
    /// It is the way out, not only what knows of the link.
    pub is_way_out: bool,
    /// Addresses come from DHCPv6; else from the prefixes and the workload's MAC.
    pub is_managed: bool,
    /// Layer-3 MTU.
    pub mtu: u16,
    /// Prefixes of the link; the first [`PREFIXES`] are told.
    pub prefixes: &'a [Prefix],
    /// Name servers; the first [`NAME_SERVERS`] are told.
    pub name_servers: &'a [Ipv6Addr],
}

impl RouterAdvertisement<'_> {
    /// Writes the advertisement, and gives its length.
    ///
    /// # Panics
    /// When `out` is shorter than [`LONGEST`].
    pub fn write(&self, out: &mut [u8]) -> usize {
        const MESSAGE: usize = EthernetHeader::LENGTH + Ipv6Header::LENGTH;
        let (mac, destination) = self.to;
        let source = self.router.link_local();
        let ethernet = EthernetHeader { destination: mac, source: self.router, ethertype: EtherType::IPV6 };
        ethernet.emit(None, out);
        let length = self.write_message(&mut out[MESSAGE..]);
        let network = &mut out[EthernetHeader::LENGTH..];
        Ipv6Header::emit(network, (source, destination), Protocol::ICMPV6, HOP_LIMIT, length);
        let message = &mut out[MESSAGE..MESSAGE + length];
        let pseudo = Sum::pseudo_header_v6(source, destination, Protocol::ICMPV6, length as u32);
        let checksum = pseudo.add_bytes(message).checksum();
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
        MESSAGE + length
    }

    fn write_message(&self, out: &mut [u8]) -> usize {
        let flags = if self.is_managed { MANAGED | OTHER } else { 0 };
        let [high, low] = if self.is_way_out { ROUTER_LIFETIME } else { 0 }.to_be_bytes();
        out[..16].fill(0);
        out[..8].copy_from_slice(&[icmpv6_type::ROUTER_ADVERTISEMENT, 0, 0, 0, 64, flags, high, low]);
        out[16..18].copy_from_slice(&[SOURCE_LINK_LAYER, 1]);
        out[18..24].copy_from_slice(&self.router.0);
        out[24..28].copy_from_slice(&[MTU, 1, 0, 0]);
        out[28..32].copy_from_slice(&u32::from(self.mtu).to_be_bytes());
        let mut at = 32;
        for prefix in self.prefixes.iter().filter(|prefix| !prefix.is_ipv4()).take(PREFIXES) {
            let option = &mut out[at..at + 32];
            option.fill(0);
            // Addresses are made from a prefix of 64 bits alone (RFC 4291 section 2.5.1).
            let autonomous = if self.is_managed || prefix.len() != 64 { 0 } else { AUTONOMOUS };
            option[..4].copy_from_slice(&[PREFIX, 4, prefix.len(), ON_LINK | autonomous]);
            option[4..8].copy_from_slice(&FOR_EVER.to_be_bytes());
            option[8..12].copy_from_slice(&FOR_EVER.to_be_bytes());
            if let std::net::IpAddr::V6(network) = prefix.network() {
                option[16..].copy_from_slice(&network.octets());
            }
            at += 32;
        }
        let told = self.name_servers.len().min(NAME_SERVERS);
        if told != 0 {
            out[at..at + 4].copy_from_slice(&[NAMES, 1 + 2 * told as u8, 0, 0]);
            out[at + 4..at + 8].copy_from_slice(&FOR_EVER.to_be_bytes());
            at += 8;
            for server in &self.name_servers[..told] {
                out[at..at + 16].copy_from_slice(&server.octets());
                at += 16;
            }
        }
        at
    }
}
