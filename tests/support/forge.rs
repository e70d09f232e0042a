//! Frames that no honest stack sends, built by etherparse and by hand: independent of the switch's own wire formats.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::PacketBuilder;
use septum_rules::mac::MacAddress;

/// Source and destination of a frame, at both layers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) macs: (MacAddress, MacAddress),
    pub(crate) addresses: (IpAddr, IpAddr),
}

impl Ends {
    /// A UDP datagram.
    pub(crate) fn udp(self, source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
        let ethernet = PacketBuilder::ethernet2(self.macs.0.0, self.macs.1.0);
        let mut frame = Vec::new();
        match self.addresses {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let builder = ethernet.ipv4(from.octets(), to.octets(), 64).udp(source, destination);
                builder.write(&mut frame, payload)
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let builder = ethernet.ipv6(from.octets(), to.octets(), 64).udp(source, destination);
                builder.write(&mut frame, payload)
            }
            _ => unreachable!("both ends of one family"),
        }
        .expect("writing to memory");
        frame
    }

    /// A TCP segment with these flags (RFC 9293 section 3.1: FIN is 1, SYN 2, RST 4, ACK 16).
    pub(crate) fn tcp(self, source: u16, destination: u16, flags: u8) -> Vec<u8> {
        let (IpAddr::V4(from), IpAddr::V4(to)) = self.addresses else { unreachable!("IPv4 only") };
        let mut builder = PacketBuilder::ethernet2(self.macs.0.0, self.macs.1.0)
            .ipv4(from.octets(), to.octets(), 64)
            .tcp(source, destination, 1000, 1024);
        if flags & 1 != 0 {
            builder = builder.fin();
        }
        if flags & 2 != 0 {
            builder = builder.syn();
        }
        if flags & 4 != 0 {
            builder = builder.rst();
        }
        if flags & 16 != 0 {
            builder = builder.ack(2000);
        }
        let mut frame = Vec::new();
        builder.write(&mut frame, &[]).expect("writing to memory");
        frame
    }

    /// An ICMP or ICMPv6 message: type, code, the four bytes behind the checksum, and the rest.
    pub(crate) fn icmp(self, icmp_type: u8, code: u8, rest: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let ethernet = PacketBuilder::ethernet2(self.macs.0.0, self.macs.1.0);
        let mut frame = Vec::new();
        match self.addresses {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let builder = ethernet.ipv4(from.octets(), to.octets(), 64);
                builder.icmpv4_raw(icmp_type, code, rest).write(&mut frame, payload)
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                // RFC 4861: neighbour discovery has not crossed a router.
                let builder = ethernet.ipv6(from.octets(), to.octets(), 255);
                builder.icmpv6_raw(icmp_type, code, rest).write(&mut frame, payload)
            }
            _ => unreachable!("both ends of one family"),
        }
        .expect("writing to memory");
        frame
    }
}

/// ARP (RFC 826) from `sender` to everybody: operation 1 asks, 2 answers.
pub(crate) fn arp(
    ethernet_source: MacAddress,
    operation: u8,
    sender: (MacAddress, Ipv4Addr),
    target: Ipv4Addr,
) -> Vec<u8> {
    let mut frame = MacAddress::BROADCAST.0.to_vec();
    frame.extend(ethernet_source.0);
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4, 0, operation]);
    frame.extend(sender.0.0);
    frame.extend(sender.1.octets());
    frame.extend([0; 6]);
    frame.extend(target.octets());
    frame.resize(60, 0);
    frame
}

/// What neighbour discovery says behind its first 8 bytes: a target, and a link-layer address option (1 source, 2 target).
pub(crate) fn neighbour(target: Ipv6Addr, option: u8, mac: MacAddress) -> Vec<u8> {
    let mut message = target.octets().to_vec();
    message.extend([option, 1]);
    message.extend(mac.0);
    message
}
