//! The Internet checksum (RFC 1071), its incremental update (RFC 1624) and the completion of partial checksums.
//!
//! Sums are one's complement sums of 16-bit words, kept unfolded in 64 bits and in the machine's own byte
//! order: RFC 1071 section 2 (B), the sum is independent of byte order. Cost: about 16 bytes a nanosecond.
//!
//! **Policy.** The IPv4 header checksum of every frame is verified, because the switch reads that header.
//! Transport checksums are not: they are the receiver's, a switch that decides by ports gains nothing from
//! them, and a frame whose checksum is still partial has none. The exceptions are messages that the switch
//! itself answers: neighbour discovery (RFC 4861 makes the checksum part of validity) and echo to a gateway.
//!
//! Nothing here panics on any input.

use std::net::{Ipv4Addr, Ipv6Addr};

use septum_rules::proto::Protocol;

use super::crc32c::crc32c;
use super::vnet_hdr::VnetHeader;

/// A one's complement sum under way. Parts are added in any order; only the last may have an odd length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// The pseudo header of IPv4 (RFC 9293 section 3.1, RFC 768). `length` is that of transport header and payload.
    pub fn pseudo_header_v4(
        source: Ipv4Addr,
        destination: Ipv4Addr,
        protocol: Protocol,
        length: u16,
    ) -> Self {
        Self::default()
            .add_bytes(&source.octets())
            .add_bytes(&destination.octets())
            .add_length(protocol, u32::from(length))
    }

    /// The pseudo header of IPv6 (RFC 8200 section 8.1). `length` is that of transport header and payload.
    pub fn pseudo_header_v6(
        source: Ipv6Addr,
        destination: Ipv6Addr,
        protocol: Protocol,
        length: u32,
    ) -> Self {
        Self::default()
            .add_bytes(&source.octets())
            .add_bytes(&destination.octets())
            .add_length(protocol, length)
    }

    fn add_length(self, protocol: Protocol, length: u32) -> Self {
        self.add_word(u16::from(protocol.0)).add_word((length >> 16) as u16).add_word(length as u16)
    }

    /// The sum of an IPv4 header without options.
    #[inline]
    pub fn of_header(header: &[u8; 20]) -> Self {
        let (words, last) = header.split_at(16);
        let (Some(a), Some(b), Some(last)) = (words.first_chunk(), words.last_chunk(), last.first_chunk())
        else {
            return Self::default();
        };
        let (a, b, last) = (u64::from_ne_bytes(*a), u64::from_ne_bytes(*b), u32::from_ne_bytes(*last));
        // 2^64 leaves 1 when divided by 0xffff, as 2^16 does: what is carried out at one end comes in at the other. A sum that has
        // just been carried out is small, so the last addition carries nothing.
        let (sum, carry) = a.overflowing_add(b);
        let (sum, carry) = sum.overflowing_add(u64::from(last) + u64::from(carry));
        Self(sum + u64::from(carry))
    }

    /// Adds one 16-bit word, given as the number that it stands for.
    #[must_use]
    pub fn add_word(self, word: u16) -> Self {
        Self(self.0 + u64::from(word.to_be()))
    }

    /// Adds bytes; an odd last one is padded with zero (RFC 1071 section 1).
    #[must_use]
    #[inline]
    pub fn add_bytes(self, bytes: &[u8]) -> Self {
        // Four-byte words into eight-byte sums: no carry to chase, so the compiler makes vectors of it. The sum
        // overflows after 16 GiB.
        let (words, rest) = bytes.as_chunks::<4>();
        let mut sum = self.0;
        for word in words {
            sum += u64::from(u32::from_ne_bytes(*word));
        }
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        Self(sum + u64::from(u32::from_ne_bytes(last)))
    }

    /// The sum folded to 16 bits, not complemented: what a partial checksum holds for its pseudo header.
    #[inline]
    pub fn fold(self) -> u16 {
        let mut sum = (self.0 >> 32) + (self.0 & 0xffff_ffff);
        sum = (sum >> 32) + (sum & 0xffff_ffff);
        sum = (sum >> 16) + (sum & 0xffff);
        sum = (sum >> 16) + (sum & 0xffff);
        u16::from_be((sum + (sum >> 16)) as u16)
    }

    /// The checksum of what was added, its own field counted as zero.
    #[inline]
    pub fn checksum(self) -> u16 {
        !self.fold()
    }

    /// The checksum as UDP and kernels write it: never zero, which in UDP says "none" (RFC 768).
    pub fn checksum_not_zero(self) -> u16 {
        match self.checksum() {
            0 => 0xffff,
            checksum => checksum,
        }
    }

    /// Whether what was added, its checksum field included, is intact.
    #[inline]
    pub fn is_valid(self) -> bool {
        // Folding keeps a number's remainder by 0xffff, since 2^16 leaves 1: cheaper than four dependent folds. Only
        // the sum of nothing but zeros has the remainder and not the value.
        self.0 != 0 && self.0.is_multiple_of(0xffff)
    }
}

/// The checksum after one 16-bit word of what it covers changed: `HC' = ~(~HC + ~m + m')` (RFC 1624 section 3).
pub fn updated(checksum: u16, old: u16, new: u16) -> u16 {
    Sum::default().add_word(!checksum).add_word(!old).add_word(new).checksum()
}

/// `checksum_offset` by which SCTP is known: no protocol keeps an Internet checksum at that place, and SCTP's is
/// a CRC (RFC 9260 section 6.8). Linux marks such a frame by nothing else.
pub const SCTP_CHECKSUM_OFFSET: u16 = 8;

/// Completes the checksum that `vnet` says is partial, over everything from `checksum_start` to the end of
/// `frame` (Ethernet, without its virtio header), and clears the flag. Nothing happens where none is partial.
///
/// The field must hold the pseudo header's sum, as Linux leaves it. A header that points outside the frame
/// ([`super::parse::parse`] refuses those) changes nothing but the flag.
pub fn fill_partial(frame: &mut [u8], vnet: &mut VnetHeader) {
    if !vnet.needs_checksum() {
        return;
    }
    vnet.flags &= !VnetHeader::NEEDS_CHECKSUM;
    let offset = usize::from(vnet.checksum_offset);
    let Some(covered) = frame.get_mut(usize::from(vnet.checksum_start)..) else { return };
    if vnet.checksum_offset == SCTP_CHECKSUM_OFFSET {
        let Some(field) = covered.get_mut(offset..offset + 4) else { return };
        field.fill(0);
        let crc = crc32c(covered);
        covered[offset..offset + 4].copy_from_slice(&crc.to_le_bytes());
    } else {
        let checksum = Sum::default().add_bytes(covered).checksum_not_zero();
        let Some(field) = covered.get_mut(offset..offset + 2) else { return };
        field.copy_from_slice(&checksum.to_be_bytes());
    }
    vnet.checksum_start = 0;
    vnet.checksum_offset = 0;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 section 4.1, word by word.
    fn by_the_book(bytes: &[u8]) -> u16 {
        let mut sum = 0u64;
        for pair in bytes.chunks(2) {
            sum += u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    proptest! {
        #[test]
        fn agrees_with_the_book(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
            prop_assert_eq!(Sum::default().add_bytes(&bytes).checksum(), by_the_book(&bytes));
        }

        #[test]
        fn parts_add_up(bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in 0usize..150) {
            let cut = (cut * 2).min(bytes.len() / 2 * 2);
            let (head, tail) = bytes.split_at(cut);
            prop_assert_eq!(Sum::default().add_bytes(head).add_bytes(tail).fold(), Sum::default().add_bytes(&bytes).fold());
        }

        #[test]
        fn an_update_equals_a_recalculation(mut words in proptest::collection::vec(any::<u16>(), 2..40), new: u16) {
            // All-zero data is the one case in which RFC 1624's zero differs from a recalculated one.
            words[1] |= 1;
            let sum = |words: &[u16]| words.iter().fold(Sum::default(), |sum, word| sum.add_word(*word)).checksum();
            let before = sum(&words);
            let old = std::mem::replace(&mut words[0], new);
            prop_assert_eq!(updated(before, old, new), sum(&words));
        }
    }

    #[test]
    fn a_partial_checksum_outside_the_frame_changes_no_byte() {
        for (start, offset) in [(0xffff, 0), (40, 60), (63, 0), (64, 0), (60, 8)] {
            let mut frame = [7; 64];
            let mut vnet = VnetHeader {
                flags: VnetHeader::NEEDS_CHECKSUM,
                checksum_start: start,
                checksum_offset: offset,
                ..VnetHeader::default()
            };
            fill_partial(&mut frame, &mut vnet);
            assert_eq!(frame, [7; 64], "{start} {offset}");
            assert!(!vnet.needs_checksum());
        }
    }
}
