//! Super-frames as a kernel hands them out: virtio header first, checksum partial.

use septum::burst::SLOT;
use septum::port::Offloads;
use septum::wire::segment::fit;
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
}

/// The source MAC of every super-frame.
pub(crate) const SOURCE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

impl SuperFrame {
    /// Offset of the transport header, from the Ethernet header.
    pub(crate) fn transport(&self) -> usize {
        let tag = if self.is_tagged { 4 } else { 0 };
        14 + tag + if self.is_v6 { 40 } else { 20 }
    }

    /// The frame, virtio header first.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let segment = self.segment();
        let length = segment.len() as u16;
        let mut frame = [[2, 0, 0, 0, 0, 2], SOURCE_MAC].concat();
        if self.is_tagged {
            frame.extend([0x81, 0x00, 0x60, 0x0a]);
        }
        if self.is_v6 {
            frame.extend([0x86, 0xdd, 0x6b, 0x81, 0x23, 0x45]);
            frame.extend(length.to_be_bytes());
            frame.extend([self.protocol(), 64]);
            frame.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
            frame.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        } else {
            frame.extend([0x08, 0x00]);
            let mut header = vec![0x45, 0x12];
            header.extend((length + 20).to_be_bytes());
            // The identification overflows in the third segment.
            header.extend([0xff, 0xfe, 0x40, 0, 64, self.protocol(), 0, 0]);
            header.extend([10, 0, 0, 1, 10, 0, 0, 2]);
            let checksum = !sum(&header);
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
            frame.extend(header);
        }
        let transport = self.transport();
        let addresses = if self.is_v6 { transport - 32 } else { transport - 8 };
        let mut pseudo_header = frame[addresses..].to_vec();
        pseudo_header.extend([0, self.protocol()]);
        pseudo_header.extend(length.to_be_bytes());
        frame.extend(segment);
        let field = transport + usize::from(self.checksum_offset());
        frame[field..field + 2].copy_from_slice(&sum(&pseudo_header).to_be_bytes());
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
        VnetHeader {
            flags: VnetHeader::NEEDS_CHECKSUM,
            gso_type: gso_type | if has_ecn { VnetHeader::GSO_ECN } else { 0 },
            header_length: headers as u16,
            gso_size: self.size,
            checksum_start: self.transport() as u16,
            checksum_offset: self.checksum_offset(),
        }
    }
}

/// RFC 1071 by the book.
fn sum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes.chunks_exact(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// What our segmentation makes of a frame.
pub(crate) fn fitted(frame: &[u8], offloads: Offloads) -> Vec<Vec<u8>> {
    let mut segments = Vec::new();
    let mut scratch = vec![0; SLOT];
    let count = fit(&mut frame.to_vec(), offloads, &mut scratch, |segment| segments.push(segment.to_vec()));
    assert_eq!(count, Ok(segments.len()));
    segments
}
