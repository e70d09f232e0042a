//! The 24-byte header before every frame: `struct virtio_net_hdr_v1_hash_tunnel` (linux/virtio_net.h, VIRTIO 1.4 section 5.1.6).
//!
//! It says which checksum is still to be filled in, and how a super-frame is to be segmented. All fields are
//! little-endian (`TUNSETVNETLE`). `num_buffers` and the flow's hash are ignored on reading and written as zero.
//!
//! One layout for every port: kernels that know only a shorter header leave the rest as it was (before Linux 6.15) or zero.

/// The header, decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VnetHeader {
    /// [`VnetHeader::NEEDS_CHECKSUM`], [`VnetHeader::DATA_VALID`].
    pub flags: u8,
    /// One of [`GsoType`], perhaps with [`VnetHeader::GSO_ECN`].
    pub gso_type: u8,
    /// Length of all headers, a hint that the kernel does not verify and neither may we trust.
    pub header_length: u16,
    /// Payload bytes of each segment.
    pub gso_size: u16,
    /// Where the checksum begins, from the start of the Ethernet header.
    pub checksum_start: u16,
    /// Where to put it, from `checksum_start`.
    pub checksum_offset: u16,
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
    /// `VIRTIO_NET_HDR_GSO_ECN`: the TCP segments carry CWR as RFC 3168 says.
    pub const GSO_ECN: u8 = 0x80;

    /// Reads the header; `None` when `frame` is shorter.
    pub fn read(frame: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::LENGTH] = frame.first_chunk()?;
        let field = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        Some(Self {
            flags: bytes[0],
            gso_type: bytes[1],
            header_length: field(2),
            gso_size: field(4),
            checksum_start: field(6),
            checksum_offset: field(8),
        })
    }

    /// Writes the header over the first bytes of `frame`.
    ///
    /// # Panics
    /// When `frame` is shorter than [`VnetHeader::LENGTH`].
    pub fn write(&self, frame: &mut [u8]) {
        frame[0] = self.flags;
        frame[1] = self.gso_type;
        frame[2..4].copy_from_slice(&self.header_length.to_le_bytes());
        frame[4..6].copy_from_slice(&self.gso_size.to_le_bytes());
        frame[6..8].copy_from_slice(&self.checksum_start.to_le_bytes());
        frame[8..10].copy_from_slice(&self.checksum_offset.to_le_bytes());
        frame[10..Self::LENGTH].fill(0);
    }

    /// The kind of super-frame; `None` for a type that the switch does not know.
    pub fn gso(&self) -> Option<GsoType> {
        match self.gso_type & !Self::GSO_ECN {
            0 if self.gso_type == 0 => Some(GsoType::None),
            1 => Some(GsoType::Tcpv4),
            4 => Some(GsoType::Tcpv6),
            5 if self.gso_type == 5 => Some(GsoType::UdpL4),
            _ => None,
        }
    }

    /// Whether a transport checksum is still to be filled in.
    pub fn needs_checksum(&self) -> bool {
        self.flags & Self::NEEDS_CHECKSUM != 0
    }
}
