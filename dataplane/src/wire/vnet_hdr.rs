//! The 24-byte header before every frame: `struct virtio_net_hdr_v1_hash_tunnel` (linux/virtio_net.h, VIRTIO 1.4 section 5.1.6).
//!
//! It says which checksum is still to be filled in, and how a super-frame is to be segmented: one that a UDP tunnel carries (VXLAN,
//! Geneve) has the inner packet's type and checksum, and says where outer transport and inner network header are. All fields are
//! little-endian (`TUNSETVNETLE`). `num_buffers` and the flow's hash are ignored on reading and written as zero.
//!
//! One layout for every port: kernels that know only a shorter header leave the rest as it was (before Linux 6.15) or zero. So the
//! tunnel's offsets are read only where the type says that there is one.

/// The header, decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VnetHeader {
    /// [`VnetHeader::NEEDS_CHECKSUM`], [`VnetHeader::DATA_VALID`], [`VnetHeader::TUNNEL_CHECKSUM`].
    pub flags: u8,
    /// One of [`GsoType`], perhaps with [`VnetHeader::GSO_ECN`] and one of [`VnetHeader::GSO_TUNNEL`].
    pub gso_type: u8,
    /// Length of all headers, a hint that the kernel does not verify and neither may we trust.
    pub header_length: u16,
    /// Payload bytes of each segment.
    pub gso_size: u16,
    /// Where the checksum begins, from the start of the Ethernet header; inside a tunnel, that of the inner packet.
    pub checksum_start: u16,
    /// Where to put it, from `checksum_start`.
    pub checksum_offset: u16,
    /// Where the UDP header of a tunnel is, from the start of the Ethernet header; zero outside a tunnel.
    pub outer_transport: u16,
    /// Where the network header of the packet inside a tunnel is; zero outside a tunnel.
    pub inner_network: u16,
}

/// What kind of super-frame it is (`VIRTIO_NET_HDR_GSO_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum GsoType {
    /// A plain frame.
    None = 0,
    /// TCP over IPv4.
    Tcpv4 = 1,
    /// TCP over IPv6.
    Tcpv6 = 4,
    /// UDP over either family, cut into datagrams.
    UdpL4 = 5,
}

impl VnetHeader {
    /// Bytes on the wire.
    pub const LENGTH: usize = 24;
    /// `VIRTIO_NET_HDR_F_NEEDS_CSUM`
    pub const NEEDS_CHECKSUM: u8 = 1;
    /// `VIRTIO_NET_HDR_F_DATA_VALID`
    pub const DATA_VALID: u8 = 2;
    /// `VIRTIO_NET_HDR_F_UDP_TUNNEL_CSUM`: the segments have checksums in the tunnel's UDP headers too.
    pub const TUNNEL_CHECKSUM: u8 = 8;
    /// `VIRTIO_NET_HDR_GSO_ECN`: the TCP segments carry CWR as RFC 3168 says.
    pub const GSO_ECN: u8 = 0x80;
    /// `VIRTIO_NET_HDR_GSO_UDP_TUNNEL_IPV4`: it is inside a UDP tunnel over IPv4.
    pub const GSO_TUNNEL_V4: u8 = 0x20;
    /// `VIRTIO_NET_HDR_GSO_UDP_TUNNEL_IPV6`: it is inside a UDP tunnel over IPv6.
    pub const GSO_TUNNEL_V6: u8 = 0x40;
    /// Either; both is nonsense.
    pub const GSO_TUNNEL: u8 = Self::GSO_TUNNEL_V4 | Self::GSO_TUNNEL_V6;

    /// Reads the header; `None` when `frame` is shorter.
    #[inline]
    pub fn read(frame: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::LENGTH] = frame.first_chunk()?;
        let field = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let of_tunnel = |at: usize| if bytes[1] & Self::GSO_TUNNEL == 0 { 0 } else { field(at) };
        Some(Self {
            flags: bytes[0],
            gso_type: bytes[1],
            header_length: field(2),
            gso_size: field(4),
            checksum_start: field(6),
            checksum_offset: field(8),
            outer_transport: of_tunnel(20),
            inner_network: of_tunnel(22),
        })
    }

    /// Writes the header over the first bytes of `frame`.
    ///
    /// # Panics
    /// When `frame` is shorter than [`VnetHeader::LENGTH`].
    pub fn write(&self, frame: &mut [u8]) {
        let frame: &mut [u8; Self::LENGTH] = frame.first_chunk_mut().expect("room for the header");
        frame[0] = self.flags;
        frame[1] = self.gso_type;
        frame[2..4].copy_from_slice(&self.header_length.to_le_bytes());
        frame[4..6].copy_from_slice(&self.gso_size.to_le_bytes());
        frame[6..8].copy_from_slice(&self.checksum_start.to_le_bytes());
        frame[8..10].copy_from_slice(&self.checksum_offset.to_le_bytes());
        frame[10..20].fill(0);
        frame[20..22].copy_from_slice(&self.outer_transport.to_le_bytes());
        frame[22..].copy_from_slice(&self.inner_network.to_le_bytes());
    }

    /// The kind of super-frame, whether a tunnel carries it or not; `None` for a type that the switch does not know.
    pub fn gso(&self) -> Option<GsoType> {
        let tunnel = self.gso_type & Self::GSO_TUNNEL;
        if tunnel == Self::GSO_TUNNEL {
            return None;
        }
        match self.gso_type ^ tunnel {
            0 if tunnel == 0 => Some(GsoType::None),
            1 | 0x81 => Some(GsoType::Tcpv4),
            4 | 0x84 => Some(GsoType::Tcpv6),
            5 => Some(GsoType::UdpL4),
            _ => None,
        }
    }

    /// Whether it is a super-frame inside a UDP tunnel.
    pub fn is_in_tunnel(&self) -> bool {
        self.gso_type & Self::GSO_TUNNEL != 0
    }

    /// Whether a transport checksum is still to be filled in.
    pub fn needs_checksum(&self) -> bool {
        self.flags & Self::NEEDS_CHECKSUM != 0
    }

    /// Moves every place in the frame that the header names.
    pub fn move_offsets(&mut self, moved: impl Fn(u16) -> u16) {
        if self.needs_checksum() {
            self.checksum_start = moved(self.checksum_start);
        }
        if self.header_length != 0 {
            self.header_length = moved(self.header_length);
        }
        if self.is_in_tunnel() {
            self.outer_transport = moved(self.outer_transport);
            self.inner_network = moved(self.inner_network);
        }
    }
}
