//! Frames as a liar writes them: every header by hand, checksums right, so that nothing but the lie is wrong.
//!
//! Ethernet II, 802.1Q, ARP (RFC 826), IPv4 (RFC 791), IPv6 (RFC 8200), UDP (RFC 768), TCP (RFC 9293),
//! neighbour and router advertisements (RFC 4861), the start of a DHCP offer (RFC 2131).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use septum_rules::mac::MacAddress;

use crate::cli::demo::actors::internet_checksum;

const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;
const UDP: u8 = 17;
const TCP: u8 = 6;
const ICMPV6: u8 = 58;
/// The hop limit that neighbour discovery demands, and a common one besides.
const HOPS: u8 = 255;

/// `ff02::1`, and the MAC that goes with it.
const ALL_NODES: (Ipv6Addr, MacAddress) =
    (Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), MacAddress([0x33, 0x33, 0, 0, 0, 1]));

/// The MAC addresses of a frame.
#[derive(Clone, Copy)]
pub(super) struct Link {
    pub(super) to: MacAddress,
    pub(super) from: MacAddress,
}

impl Link {
    fn frame(self, ethertype: u16, payload: &[u8]) -> Vec<u8> {
        [&self.to.0[..], &self.from.0, &ethertype.to_be_bytes(), payload].concat()
    }

    fn ip(self, packet: &[u8]) -> Vec<u8> {
        self.frame(if packet[0] >> 4 == 4 { IPV4 } else { IPV6 }, packet)
    }

    /// A datagram; both addresses of one family.
    pub(super) fn udp(self, from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
        let length = (8 + payload.len()) as u16;
        let ports = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
        let mut datagram = [&ports[..], &length.to_be_bytes(), &[0, 0], payload].concat();
        fill_checksum(&mut datagram, 6, UDP, from.ip(), to.ip());
        self.ip(&packet(UDP, from.ip(), to.ip(), &datagram))
    }

    /// A segment of a connection that nobody opened: ACK and PSH, with data.
    pub(super) fn tcp_ack(self, from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
        let ports = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
        let rest = [0, 0, 0x10, 0, 0, 0, 0x20, 0, 5 << 4, 0x18, 0xff, 0xff, 0, 0, 0, 0];
        let mut segment = [&ports[..], &rest, payload].concat();
        fill_checksum(&mut segment, 16, TCP, from.ip(), to.ip());
        self.ip(&packet(TCP, from.ip(), to.ip(), &segment))
    }

    /// An ARP reply that nobody asked for: "`claimed` is at `at`".
    pub(super) fn arp_claim(
        self,
        claimed: Ipv4Addr,
        at: MacAddress,
        told: (Ipv4Addr, MacAddress),
    ) -> Vec<u8> {
        let kind = [0, 1, 8, 0, 6, 4, 0, 2];
        let body = [&kind[..], &at.0, &claimed.octets(), &told.1.0, &told.0.octets()].concat();
        self.frame(ARP, &body)
    }

    /// A DHCP offer of `offered` to whoever listens. Only its first bytes matter to anyone here.
    pub(super) fn dhcp_offer(self, server: Ipv4Addr, offered: Ipv4Addr, mark: &[u8]) -> Vec<u8> {
        let mut message = vec![0; 240];
        message[..4].copy_from_slice(&[2, 1, 6, 0]);
        message[16..20].copy_from_slice(&offered.octets());
        message[20..24].copy_from_slice(&server.octets());
        message[44..44 + mark.len()].copy_from_slice(mark);
        message[236..240].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
        message.extend([53, 1, 2, 255]);
        let to = SocketAddr::from((Ipv4Addr::BROADCAST, 68));
        self.udp(SocketAddr::from((server, 67)), to, &message)
    }
}

/// The frame with an 802.1Q tag.
pub(super) fn tagged(frame: &[u8], vlan: u16) -> Vec<u8> {
    [&frame[..12], &VLAN.to_be_bytes(), &vlan.to_be_bytes(), &frame[12..]].concat()
}

/// A neighbour advertisement to all nodes: "`claimed` is at `at`, forget what you knew".
pub(super) fn neighbour_claim(from: (Ipv6Addr, MacAddress), claimed: Ipv6Addr, at: MacAddress) -> Vec<u8> {
    let override_flag = [136, 0, 0, 0, 0x20, 0, 0, 0];
    let message = [&override_flag[..], &claimed.octets(), &[2, 1], &at.0].concat();
    to_all_nodes(from, message)
}

/// A router advertisement to all nodes: "send me what leaves the segment".
pub(super) fn router_claim(from: (Ipv6Addr, MacAddress)) -> Vec<u8> {
    let lifetime = 1800_u16.to_be_bytes();
    let head = [134, 0, 0, 0, 64, 0, lifetime[0], lifetime[1], 0, 0, 0, 0, 0, 0, 0, 0, 1, 1];
    to_all_nodes(from, [&head[..], &from.1.0].concat())
}

fn to_all_nodes(from: (Ipv6Addr, MacAddress), mut message: Vec<u8>) -> Vec<u8> {
    fill_checksum(&mut message, 2, ICMPV6, from.0.into(), ALL_NODES.0.into());
    let packet = packet(ICMPV6, from.0.into(), ALL_NODES.0.into(), &message);
    Link { to: ALL_NODES.1, from: from.1 }.ip(&packet)
}

/// # Panics
/// When the addresses are of different families.
fn packet(protocol: u8, from: IpAddr, to: IpAddr, payload: &[u8]) -> Vec<u8> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let length = (20 + payload.len()) as u16;
            let [high, low] = length.to_be_bytes();
            let head = [0x45, 0, high, low, 0, 0, 0x40, 0, HOPS, protocol, 0, 0];
            let mut header = [&head[..], &from.octets(), &to.octets()].concat();
            let checksum = internet_checksum(&header);
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
            [&header[..], payload].concat()
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let [high, low] = (payload.len() as u16).to_be_bytes();
            let head = [0x60, 0, 0, 0, high, low, protocol, HOPS];
            [&head[..], &from.octets(), &to.octets(), payload].concat()
        }
        _ => panic!("{from} and {to} are of different families"),
    }
}

/// The checksum over the pseudo header (RFC 9293 section 3.1, RFC 8200 section 8.1), at `at`, which holds zero.
fn fill_checksum(message: &mut [u8], at: usize, protocol: u8, from: IpAddr, to: IpAddr) {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    // Summed as words, IPv4's (zero, protocol, length) and IPv6's (length, zeros, next header) are the same.
    let length = (message.len() as u16).to_be_bytes();
    let pseudo = [&octets(from)[..], &octets(to), &[0, protocol], &length, message].concat();
    let checksum = match internet_checksum(&pseudo) {
        // Zero would say "no checksum" (RFC 768).
        0 if protocol == UDP => u16::MAX,
        checksum => checksum,
    };
    message[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use etherparse::SlicedPacket;

    use super::*;

    const LINK: Link = Link { to: MacAddress([2, 0, 0, 0, 0, 2]), from: MacAddress([2, 0, 0, 0, 0, 1]) };

    fn sound(frame: &[u8]) -> SlicedPacket<'_> {
        SlicedPacket::from_ethernet(frame).expect("a frame that holds together")
    }

    #[test]
    fn datagrams_and_segments_are_sound_in_both_families() {
        use etherparse::TransportSlice;
        for (from, to) in [("10.0.0.1:1000", "10.0.0.2:514"), ("[fd00::1]:1000", "[fd00::2]:514")] {
            let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
            let (datagram, segment) = (LINK.udp(from, to, b"mark"), LINK.tcp_ack(from, to, b"mark"));
            let checks = |frame: &[u8]| {
                let sliced = sound(frame);
                let expected = match (&sliced.net, &sliced.transport) {
                    (Some(etherparse::NetSlice::Ipv4(ip)), Some(TransportSlice::Udp(udp))) => {
                        udp.to_header().calc_checksum_ipv4(&ip.header().to_header(), udp.payload()).unwrap()
                    }
                    (Some(etherparse::NetSlice::Ipv6(ip)), Some(TransportSlice::Udp(udp))) => {
                        udp.to_header().calc_checksum_ipv6(&ip.header().to_header(), udp.payload()).unwrap()
                    }
                    (Some(etherparse::NetSlice::Ipv4(ip)), Some(TransportSlice::Tcp(tcp))) => {
                        tcp.to_header().calc_checksum_ipv4(&ip.header().to_header(), tcp.payload()).unwrap()
                    }
                    (Some(etherparse::NetSlice::Ipv6(ip)), Some(TransportSlice::Tcp(tcp))) => {
                        tcp.to_header().calc_checksum_ipv6(&ip.header().to_header(), tcp.payload()).unwrap()
                    }
                    other => panic!("{other:?}"),
                };
                let carried = match sliced.transport {
                    Some(TransportSlice::Udp(udp)) => udp.checksum(),
                    Some(TransportSlice::Tcp(tcp)) => tcp.checksum(),
                    _ => 0,
                };
                assert_eq!(carried, expected, "{from}");
            };
            checks(&datagram);
            checks(&segment);
        }
    }

    #[test]
    fn advertisements_carry_their_claim_and_a_right_checksum() {
        let from = ("fe80::1".parse().unwrap(), LINK.from);
        for frame in [neighbour_claim(from, "fd00::9".parse().unwrap(), LINK.from), router_claim(from)] {
            let sliced = sound(&frame);
            let (Some(etherparse::NetSlice::Ipv6(ip)), Some(etherparse::TransportSlice::Icmpv6(icmp))) =
                (&sliced.net, &sliced.transport)
            else {
                panic!("no ICMPv6: {sliced:?}")
            };
            let (source, destination) = (ip.header().source(), ip.header().destination());
            assert!(icmp.is_checksum_valid(source, destination));
            assert_eq!(ip.header().hop_limit(), 255);
        }
    }

    #[test]
    fn a_tag_goes_between_the_addresses_and_the_rest() {
        let frame =
            LINK.arp_claim("10.0.0.9".parse().unwrap(), LINK.from, ("10.0.0.2".parse().unwrap(), LINK.to));
        let with_tag = tagged(&frame, 30);
        assert_eq!(with_tag.len(), frame.len() + 4);
        assert!(sound(&with_tag).link_exts.len() == 1);
        assert_eq!(with_tag[16..], frame[12..]);
    }
}
