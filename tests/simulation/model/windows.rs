//! The checker's idea of sequence numbers: how far each end of a TCP connection has sent, as long as that is beyond doubt.
//!
//! Beyond doubt means: both ends began with their SYN, and every segment since continued what its end had sent. Whatever else
//! passes (a reset, a fragment, a SYN on a living connection, a gap under a policy that minds none) ends the certainty
//! for good, and with it what this part demands.

use crate::craft::{ACK, RST, SYN};
use crate::view::{Packet, Segment};

/// Further from the next number than any window here, and a super-frame.
const FAR: u32 = 1 << 18;

/// The number behind what each end has sent, the opener's first.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Windows {
    next: [Option<u32>; 2],
    /// By side: it has acknowledged something, and so bounded the other.
    answered: [bool; 2],
    is_doubtful: bool,
    /// The handshake is complete beyond doubt, and nobody has begun a new one.
    pub(super) is_settled: bool,
}

/// How far apart two numbers are, in the circle.
fn distance(a: u32, b: u32) -> u32 {
    (a.wrapping_sub(b) as i32).unsigned_abs()
}

impl Windows {
    pub(super) const DOUBTFUL: Self =
        Self { next: [None; 2], answered: [false; 2], is_doubtful: true, is_settled: false };

    /// Whether `side` has certainly sent up to `end`, and no further.
    pub(super) fn ends_at(&self, side: usize, end: u32) -> bool {
        !self.is_doubtful && self.next[side] == Some(end)
    }

    /// Whether `side` cannot have sent `sequence` just now, or be heard with it.
    pub(super) fn excludes(&self, side: usize, sequence: u32) -> bool {
        let next = self.next[side].filter(|_| !self.is_doubtful && self.answered == [true; 2]);
        next.is_some_and(|next| distance(sequence, next) > FAR)
    }

    /// Takes note of a segment that passed. `is_strict`: it would not have, outside its window.
    pub(super) fn passed(&mut self, packet: &Packet, segment: Segment, side: usize, is_strict: bool) {
        let end = segment.sequence.wrapping_add(segment.length);
        // In doubt, it may be over: then this SYN begins another.
        self.is_settled &= segment.flags & SYN == 0 || !self.is_doubtful;
        let is_first = self.next[side].is_none();
        let is_expected = match (segment.flags & SYN != 0, self.next[side]) {
            (true, None) if side == 0 => segment.flags & ACK == 0,
            (true, None) => Some(segment.acknowledgement) == self.next[0],
            // The same SYN again.
            (true, Some(next)) => next == end,
            (false, None) => false,
            _ if self.next[1 - side].is_none() => false,
            (false, Some(next)) => {
                is_strict || segment.sequence == next || (end.wrapping_sub(next) as i32) <= 0
            }
        };
        if !is_expected || packet.fragment.is_some() || segment.flags & RST != 0 {
            let is_settled = self.is_settled && segment.flags & SYN == 0;
            *self = Self { is_settled, ..Self::DOUBTFUL };
            return;
        }
        self.answered[side] |=
            segment.flags & ACK != 0 && Some(segment.acknowledgement) == self.next[1 - side];
        self.is_settled |= self.answered == [true; 2];
        if is_first || self.next[side].is_some_and(|next| end.wrapping_sub(next) as i32 > 0) {
            self.next[side] = Some(end);
        }
    }
}
