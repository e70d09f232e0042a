//! Frames written by hand: independent of the switch's own wire formats, so that a mistake there is not made here too.
//!
//! Every frame begins with its 24-byte virtio header.

use std::net::IpAddr;

use septum_rules::mac::MacAddress;

/// Bytes before the Ethernet header.
pub(crate) const VNET: usize = 24;
/// Bytes before the network header of an untagged frame.
pub(crate) const NETWORK: usize = VNET + 14;

pub(crate) const ICMP: u8 = 1;
pub(crate) const IGMP: u8 = 2;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const GRE: u8 = 47;
pub(crate) const ICMPV6: u8 = 58;
pub(crate) const SCTP: u8 = 132;

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const PSH: u8 = 8;
pub(crate) const ACK: u8 = 16;

/// The one's complement sum of 16-bit words (RFC 1071), not yet inverted.
pub(crate) fn sum(parts: &[&[u8]]) -> u16 {
    let mut total = 0u64;
    for part in parts {
        for pair in part.chunks(2) {
            total += u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0));
        }
    }
    while total >> 16 != 0 {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

/// The pseudo header that covers `length` bytes of `protocol`; its sum is what matters, so one shape does for both families.
pub(crate) fn pseudo(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    let mut bytes = octets(source);
    bytes.extend(octets(destination));
    bytes.extend((length as u32).to_be_bytes());
    bytes.extend([0, protocol]);
    bytes
}

pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// Where a protocol's checksum stands in its header.
pub(crate) fn checksum_place(protocol: u8) -> Option<usize> {
    match protocol {
        TCP => Some(16),
        UDP => Some(6),
        ICMP | ICMPV6 => Some(2),
        _ => None,
    }
}

/// One packet that is still to be put into a frame.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) macs: (MacAddress, MacAddress),
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) ttl: u8,
    pub(crate) protocol: u8,
    pub(crate) identification: u32,
    /// Transport header and payload.
    pub(crate) transport: Vec<u8>,
    /// IPv4 options.
    pub(crate) options: Vec<u8>,
}

impl Draft {
    /// Writes the transport's checksum.
    pub(crate) fn sealed(mut self) -> Self {
        let Some(at) = checksum_place(self.protocol) else { return self };
        if self.transport.len() < at + 2 {
            return self;
        }
        self.transport[at..at + 2].fill(0);
        let length = self.transport.len();
        let checksum = match self.protocol {
            ICMP => !sum(&[&self.transport]),
            protocol => !sum(&[&pseudo(self.source, self.destination, protocol, length), &self.transport]),
        };
        let checksum = if checksum == 0 && self.protocol == UDP { 0xffff } else { checksum };
        self.transport[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        self
    }

    /// The frame of the whole packet.
    pub(crate) fn frame(&self) -> Vec<u8> {
        self.frame_of(None, &self.transport)
    }

    /// The frame of the part of the packet that begins at byte `offset` and is `length` bytes long.
    pub(crate) fn fragment(&self, offset: usize, length: usize) -> Vec<u8> {
        let end = (offset + length).min(self.transport.len());
        let more = end < self.transport.len();
        self.frame_of(Some((offset as u16, more)), &self.transport[offset.min(end)..end])
    }

    /// A frame that says it is a fragment, whatever it holds.
    pub(crate) fn frame_of(&self, fragment: Option<(u16, bool)>, data: &[u8]) -> Vec<u8> {
        let mut frame = self.link(if self.source.is_ipv4() { 0x0800 } else { 0x86dd });
        match self.source {
            IpAddr::V4(_) => {
                let begin = frame.len();
                let total = (20 + self.options.len() + data.len()) as u16;
                frame.extend([0x40 | (5 + self.options.len() / 4) as u8, 0]);
                frame.extend(total.to_be_bytes());
                frame.extend((self.identification as u16).to_be_bytes());
                let flags = fragment.map_or(0, |(offset, more)| (offset / 8) | (u16::from(more) << 13));
                frame.extend(flags.to_be_bytes());
                frame.extend([self.ttl, self.protocol, 0, 0]);
                frame.extend(octets(self.source));
                frame.extend(octets(self.destination));
                frame.extend(&self.options);
                fix_header_checksum(&mut frame[begin..]);
            }
            IpAddr::V6(_) => {
                let header = if fragment.is_some() { 8 } else { 0 };
                frame.extend([0x60, 0, 0, 0]);
                frame.extend(((header + data.len()) as u16).to_be_bytes());
                frame.extend([if fragment.is_some() { 44 } else { self.protocol }, self.ttl]);
                frame.extend(octets(self.source));
                frame.extend(octets(self.destination));
                if let Some((offset, more)) = fragment {
                    frame.extend([self.protocol, 0]);
                    frame.extend((offset & !7 | u16::from(more)).to_be_bytes());
                    frame.extend(self.identification.to_be_bytes());
                }
            }
        }
        frame.extend(data);
        frame
    }

    /// An IPv6 frame with extension headers, the first of type `first`, between the header and the transport.
    pub(crate) fn frame_with_extensions(&self, first: u8, extensions: &[u8]) -> Vec<u8> {
        let mut frame = self.link(0x86dd);
        frame.extend([0x60, 0, 0, 0]);
        frame.extend(((extensions.len() + self.transport.len()) as u16).to_be_bytes());
        frame.extend([first, self.ttl]);
        frame.extend(octets(self.source));
        frame.extend(octets(self.destination));
        frame.extend(extensions);
        frame.extend(&self.transport);
        frame
    }

    /// A super-frame, or (`segment` zero) a plain frame whose checksum is left partial.
    pub(crate) fn unfinished(mut self, segment: u16) -> Vec<u8> {
        let at = checksum_place(self.protocol).expect("a protocol with a checksum");
        let pseudo = pseudo(self.source, self.destination, self.protocol, self.transport.len());
        let partial = if self.protocol == ICMP { 0 } else { sum(&[&pseudo]) };
        self.transport[at..at + 2].copy_from_slice(&partial.to_be_bytes());
        let mut frame = self.frame();
        let start = frame.len() - self.transport.len() - VNET;
        frame[0] = 1;
        frame[1] = match (segment, self.protocol, self.source.is_ipv4()) {
            (0, ..) => 0,
            (_, UDP, _) => 5,
            (_, _, true) => 1,
            _ => 4,
        };
        frame[4..6].copy_from_slice(&segment.to_le_bytes());
        frame[6..8].copy_from_slice(&(start as u16).to_le_bytes());
        frame[8..10].copy_from_slice(&(at as u16).to_le_bytes());
        frame
    }

    /// A super-frame of `inner` inside a UDP tunnel between this packet's ports, by VXLAN.
    pub(crate) fn in_tunnel(mut self, inner: Self, segment: u16, has_checksum: bool) -> Vec<u8> {
        let inner = inner.unfinished(segment);
        let vxlan = [8, 0, 0, 0, 0, 0, 7, 0];
        let mut datagram = self.transport[..4].to_vec();
        datagram.extend(((16 + inner.len() - VNET) as u16).to_be_bytes());
        datagram.extend([0, 0]);
        datagram.extend(vxlan);
        datagram.extend(&inner[VNET..]);
        if has_checksum {
            let partial = sum(&[&pseudo(self.source, self.destination, UDP, datagram.len())]);
            datagram[6..8].copy_from_slice(&partial.to_be_bytes());
        }
        self.transport = datagram;
        let mut frame = self.frame();
        let outer_transport = (frame.len() - self.transport.len() - VNET) as u16;
        // Both headers, and what the inner one says counts from its own Ethernet header.
        let ethernet = outer_transport + 16;
        frame[..VNET].copy_from_slice(&inner[..VNET]);
        let checksum_start = u16::from_le_bytes([inner[6], inner[7]]) + ethernet;
        frame[0] |= if has_checksum { 8 } else { 0 };
        frame[1] |= if self.source.is_ipv4() { 0x20 } else { 0x40 };
        for (at, offset) in [(6, checksum_start), (20, outer_transport), (22, ethernet + 14)] {
            frame[at..at + 2].copy_from_slice(&offset.to_le_bytes());
        }
        frame
    }

    fn link(&self, ethertype: u16) -> Vec<u8> {
        ethernet(self.macs, ethertype)
    }
}

/// A virtio header and an Ethernet header: (source, destination).
pub(crate) fn ethernet(macs: (MacAddress, MacAddress), ethertype: u16) -> Vec<u8> {
    let mut frame = Vec::with_capacity(128);
    frame.extend([0; VNET]);
    frame.extend(macs.1.0);
    frame.extend(macs.0.0);
    frame.extend(ethertype.to_be_bytes());
    frame
}

/// Writes an IPv4 header's checksum; `packet` begins with the header.
pub(crate) fn fix_header_checksum(packet: &mut [u8]) {
    let length = (usize::from(packet[0] & 0xf) * 4).min(packet.len());
    packet[10..12].fill(0);
    let checksum = !sum(&[&packet[..length]]);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
}

pub(crate) fn ports(source: u16, destination: u16) -> Vec<u8> {
    [source.to_be_bytes(), destination.to_be_bytes()].concat()
}

/// A TCP header and payload; `numbers` are sequence and acknowledgement.
pub(crate) fn tcp(
    (source, destination): (u16, u16),
    numbers: (u32, u32),
    flags: u8,
    payload: &[u8],
) -> Vec<u8> {
    let mut bytes = ports(source, destination);
    bytes.extend(numbers.0.to_be_bytes());
    bytes.extend(numbers.1.to_be_bytes());
    bytes.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    bytes.extend(payload);
    bytes
}

pub(crate) fn udp((source, destination): (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut bytes = ports(source, destination);
    bytes.extend(((8 + payload.len()) as u16).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(payload);
    bytes
}

pub(crate) fn sctp((source, destination): (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut bytes = ports(source, destination);
    bytes.extend([0; 8]);
    bytes.extend(payload);
    bytes
}

/// ICMP of either family: type, code, the word behind the checksum, and the rest.
pub(crate) fn icmp(icmp_type: u8, code: u8, word: [u8; 4], rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![icmp_type, code, 0, 0];
    bytes.extend(word);
    bytes.extend(rest);
    bytes
}

/// An ARP packet's frame.
pub(crate) fn arp(
    macs: (MacAddress, MacAddress),
    operation: u16,
    (sender_mac, sender): (MacAddress, IpAddr),
    target: IpAddr,
) -> Vec<u8> {
    let mut frame = ethernet(macs, 0x0806);
    frame.extend([0, 1, 8, 0, 6, 4]);
    frame.extend(operation.to_be_bytes());
    frame.extend(sender_mac.0);
    frame.extend(octets(sender));
    frame.extend([0; 6]);
    frame.extend(octets(target));
    frame
}

/// Puts an 802.1Q or 802.1ad tag into a frame.
pub(crate) fn with_tag(mut frame: Vec<u8>, ethertype: u16, tag: u16) -> Vec<u8> {
    let bytes = [ethertype.to_be_bytes(), tag.to_be_bytes()].concat();
    frame.splice(VNET + 12..VNET + 12, bytes);
    move_offsets(&mut frame, |offset| offset.saturating_add(4));
    frame
}

/// Moves what a virtio header says of places in its frame: the headers' length, where an unfinished checksum begins, and two of a
/// tunnel.
pub(crate) fn move_offsets(frame: &mut [u8], moved: impl Fn(u16) -> u16) {
    let is_in_tunnel = frame[1] & 0x60 != 0;
    let places = [(2, frame[2..4] != [0, 0]), (6, frame[0] & 1 != 0), (20, is_in_tunnel), (22, is_in_tunnel)];
    for (at, _) in places.into_iter().filter(|(_, is_said)| *is_said) {
        let offset = moved(u16::from_le_bytes([frame[at], frame[at + 1]]));
        frame[at..at + 2].copy_from_slice(&offset.to_le_bytes());
    }
}
