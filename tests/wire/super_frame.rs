//! Super-frames as a kernel hands them out: virtio header first, checksum partial.

use septum::wire::vnet_hdr::VnetHeader;

/// A super-frame of TCP or UDP.
#[derive(Clone, Debug)]
pub(crate) struct SuperFrame {
    pub(crate) is_v6: bool,
    pub(crate) is_tcp: bool,
    pub(crate) is_tagged: bool,
    pub(crate) payload: Vec<u8>,
    /// Payload bytes of a segment; 0 is a plain frame with a partial checksum.
    pub(crate) size: u16,
    /// Of TCP.
    pub(crate) flags: u8,
    /// Four-byte words of TCP options.
    pub(crate) option_words: u8,
    /// What carries it.
    pub(crate) tunnel: Option<Tunnel>,
}

/// A UDP tunnel around a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tunnel {
    pub(crate) is_v6: bool,
    pub(crate) has_checksum: bool,
    /// Bytes between the outer UDP header and the inner packet: 22 of VXLAN, its own 8 and an Ethernet header.
    pub(crate) header: u8,
}

impl Tunnel {
    /// The tunnels that VXLAN makes.
    pub(crate) const VXLAN: [Self; 4] = [
        Self { is_v6: false, has_checksum: false, header: 22 },
        Self { is_v6: false, has_checksum: true, header: 22 },
        Self { is_v6: true, has_checksum: false, header: 22 },
        Self { is_v6: true, has_checksum: true, header: 22 },
    ];

    /// The packet that carries `inner`. Its checksum, where it has one, is that of the pseudo header, as the kernel leaves it.
    fn packet(self, inner: &[u8]) -> Vec<u8> {
        let length = 8 + usize::from(self.header) + inner.len();
        let checksum = if self.has_checksum { pseudo_header(self.is_v6, 17, length) } else { 0 };
        let mut datagram = vec![0xc0, 0, 0x12, 0xb5];
        datagram.extend((length as u16).to_be_bytes());
        datagram.extend(checksum.to_be_bytes());
        let ethertype = if inner[0] >> 4 == 6 { [0x86, 0xdd] } else { [0x08, 0x00] };
        // The last 22 bytes of a header that is as long; a longer one has options before them.
        let vxlan = [&[8, 0, 0, 0, 0, 0, 5, 0][..], &[2; 12], &ethertype].concat();
        let options = usize::from(self.header).saturating_sub(vxlan.len());
        datagram.extend(std::iter::repeat_n(0x5a, options));
        datagram.extend(&vxlan[vxlan.len() - (usize::from(self.header) - options)..]);
        datagram.extend(inner);
        ip_packet(self.is_v6, 17, &datagram)
    }
}

/// The source MAC of every super-frame.
pub(crate) const SOURCE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

impl SuperFrame {
    /// Offset of the outermost IP header, from the Ethernet header.
    fn network(&self) -> usize {
        if self.is_tagged { 18 } else { 14 }
    }

    /// Offset of the outermost transport header.
    pub(crate) fn outer_transport(&self) -> usize {
        self.network() + ip_header(self.tunnel.map_or(self.is_v6, |tunnel| tunnel.is_v6))
    }

    /// Offset of the IP header of the packet that is cut.
    pub(crate) fn inner_network(&self) -> usize {
        let outer = |tunnel: Tunnel| self.outer_transport() + 8 + usize::from(tunnel.header);
        self.tunnel.map_or(self.network(), outer)
    }

    /// Offset of the transport header of the packet that is cut.
    pub(crate) fn transport(&self) -> usize {
        self.inner_network() + ip_header(self.is_v6)
    }

    /// The frame, virtio header first.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut segment = self.segment();
        let field = usize::from(self.checksum_offset());
        let partial = pseudo_header(self.is_v6, self.protocol(), segment.len());
        segment[field..field + 2].copy_from_slice(&partial.to_be_bytes());
        let mut packet = ip_packet(self.is_v6, self.protocol(), &segment);
        let mut is_v6 = self.is_v6;
        if let Some(tunnel) = self.tunnel {
            packet = tunnel.packet(&packet);
            is_v6 = tunnel.is_v6;
        }
        let mut frame = [[2, 0, 0, 0, 0, 2], SOURCE_MAC].concat();
        if self.is_tagged {
            frame.extend([0x81, 0x00, 0x60, 0x0a]);
        }
        frame.extend(if is_v6 { [0x86, 0xdd] } else { [0x08, 0x00] });
        frame.extend(packet);
        let mut bytes = vec![0; VnetHeader::LENGTH];
        self.header().write(&mut bytes);
        bytes.extend(frame);
        bytes
    }

    pub(crate) fn protocol(&self) -> u8 {
        if self.is_tcp { 6 } else { 17 }
    }

    fn checksum_offset(&self) -> u16 {
        if self.is_tcp { 16 } else { 6 }
    }

    fn segment(&self) -> Vec<u8> {
        let mut segment = vec![0x10, 0, 0, 53];
        if self.is_tcp {
            // The sequence number overflows after 4,096 bytes.
            segment.extend([0xff, 0xff, 0xf0, 0, 0, 0, 0, 9]);
            segment.extend([(5 + self.option_words) << 4, self.flags, 4, 0, 0, 0, 0, 0]);
            segment.extend(std::iter::repeat_n(1, usize::from(self.option_words) * 4));
        } else {
            segment.extend((8 + self.payload.len() as u16).to_be_bytes());
            segment.extend([0, 0]);
        }
        segment.extend(&self.payload);
        segment
    }

    fn header(&self) -> VnetHeader {
        let gso_type = match (self.size, self.is_tcp, self.is_v6) {
            (0, ..) => 0,
            (_, true, false) => 1,
            (_, true, true) => 4,
            (_, false, _) => 5,
        };
        let has_ecn = gso_type != 0 && self.is_tcp && self.flags & 0x80 != 0;
        let headers =
            self.transport() + if self.is_tcp { 20 + usize::from(self.option_words) * 4 } else { 8 };
        let plain = VnetHeader {
            flags: VnetHeader::NEEDS_CHECKSUM,
            gso_type: gso_type | if has_ecn { VnetHeader::GSO_ECN } else { 0 },
            header_length: headers as u16,
            gso_size: self.size,
            checksum_start: self.transport() as u16,
            checksum_offset: self.checksum_offset(),
            ..VnetHeader::default()
        };
        match self.tunnel {
            Some(tunnel) if self.size != 0 => VnetHeader {
                flags: plain.flags | if tunnel.has_checksum { VnetHeader::TUNNEL_CHECKSUM } else { 0 },
                gso_type: plain.gso_type
                    | if tunnel.is_v6 { VnetHeader::GSO_TUNNEL_V6 } else { VnetHeader::GSO_TUNNEL_V4 },
                outer_transport: self.outer_transport() as u16,
                inner_network: self.inner_network() as u16,
                ..plain
            },
            _ => plain,
        }
    }
}

fn ip_header(is_v6: bool) -> usize {
    if is_v6 { 40 } else { 20 }
}

/// The addresses of every packet, one behind the other.
fn addresses(is_v6: bool) -> Vec<u8> {
    if is_v6 {
        let address = |last| [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
        [address(1), address(2)].concat()
    } else {
        vec![10, 0, 0, 1, 10, 0, 0, 2]
    }
}

/// What the checksum of `length` bytes holds while it is partial.
fn pseudo_header(is_v6: bool, protocol: u8, length: usize) -> u16 {
    let mut bytes = addresses(is_v6);
    bytes.extend([0, protocol]);
    bytes.extend((length as u16).to_be_bytes());
    sum(&bytes)
}

fn ip_packet(is_v6: bool, protocol: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len() as u16;
    let mut packet = if is_v6 { vec![0x6b, 0x81, 0x23, 0x45] } else { vec![0x45, 0x12] };
    if is_v6 {
        packet.extend(length.to_be_bytes());
        packet.extend([protocol, 64]);
        packet.extend(addresses(true));
    } else {
        packet.extend((length + 20).to_be_bytes());
        // The identification overflows in the third segment.
        packet.extend([0xff, 0xfe, 0x40, 0, 64, protocol, 0, 0]);
        packet.extend(addresses(false));
        let checksum = !sum(&packet);
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
    packet.extend(content);
    packet
}

/// RFC 1071 by the book.
fn sum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes.chunks_exact(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
