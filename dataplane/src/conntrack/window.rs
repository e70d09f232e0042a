//! TCP windows as a middlebox sees them: which sequence numbers an end may use, and which it may acknowledge.
//!
//! After Guido van Rooij, "Real Stateful TCP Packet Filtering in IP Filter" (2001), and as Linux does it
//! (net/netfilter/nf_conntrack_proto_tcp.c). Of each end is known what its own segments have shown: how far it has sent,
//! how wide it has opened its window, what it has acknowledged, and up to where it lets the other send. A
//! segment of S to R is inside when
//!
//! 1. it begins at or before the edge that R has opened to S;
//! 2. it ends no further back than R's widest window behind what S has sent;
//! 3. it acknowledges (selectively, too) nothing that R has not sent;
//! 4. it acknowledges nothing further back than S's widest window behind what R has sent.
//!
//! Where the other end has not spoken yet, its bounds are not there. 2 and 4 have 64 KiB of slack, since a
//! super-frame can begin inside a window and end so far behind it.
//!
//! Everything known of an end only ever grows (in the circle of sequence numbers), by that end's segments alone. So
//! it is two words that are merged by compare-and-swap, in any order, by any worker: [`Sender::merged`] is
//! commutative, and what two workers learn at the same time is learnt. Pure functions; no table, no clock.

use super::segment::{Segment, is_after, later};

/// What one end of a connection has shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sender {
    /// It has spoken: what follows is known.
    pub is_known: bool,
    /// One behind the highest number that it has sent.
    pub end: u32,
    /// Its widest window, in bytes, scaled.
    pub window: u32,
    /// The window scale of its SYN.
    pub scale: Option<u8>,
    /// Its numbers cannot be followed: the connection was taken up midway (so its scales are not known), or a segment came in
    /// fragments (so its length is not). Everything is inside then.
    pub is_untracked: bool,
    /// What it has acknowledged, and up to where it lets the other end send.
    pub answer: Option<Answer>,
}

/// What the acknowledgements of an end have shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The highest acknowledgement.
    pub acknowledged: u32,
    /// The first number that the other end may not send yet.
    pub edge: u32,
}

/// How far a super-frame can reach behind a window that it begins in.
const SLACK: u32 = 65_536;

const KNOWN: u64 = 1;
const UNTRACKED: u64 = 2;
/// Four bits of scale; fifteen stands for none.
const SCALE: u32 = 2;
const NO_SCALE: u64 = 15;
/// 26 bits of window, in units of sixteen bytes, rounded up: the widest is a GiB (RFC 7323 section 2.3).
const WINDOW: u32 = 6;
const WINDOW_UNIT: u32 = 16;

impl Sender {
    /// Unpacks what [`Sender::to_words`] packed.
    pub(super) const fn from_words([sent, answered]: [u64; 2]) -> Self {
        let scale = sent >> SCALE & 15;
        Self {
            is_known: sent & KNOWN != 0,
            is_untracked: sent & UNTRACKED != 0,
            end: (sent >> 32) as u32,
            window: (sent as u32 >> WINDOW) * WINDOW_UNIT,
            scale: if scale == NO_SCALE { None } else { Some(scale as u8) },
            // An end that acknowledges 0 with the window 0 passes for one that has not: its peer is bounded a packet later.
            answer: match answered {
                0 => None,
                _ => Some(Answer { acknowledged: (answered >> 32) as u32, edge: answered as u32 }),
            },
        }
    }

    /// Packs: what it has sent in the first word, what it has answered in the second.
    pub(super) fn to_words(self) -> [u64; 2] {
        let units = u64::from(self.window.div_ceil(WINDOW_UNIT).min(u32::MAX >> WINDOW));
        let sent = u64::from(self.end) << 32
            | units << WINDOW
            | self.scale.map_or(NO_SCALE, u64::from) << SCALE
            | if self.is_untracked { UNTRACKED } else { 0 }
            | if self.is_known { KNOWN } else { 0 };
        let answered =
            self.answer.map_or(0, |answer| u64::from(answer.acknowledged) << 32 | u64::from(answer.edge));
        [sent, answered]
    }

    /// What the first segment of an end shows.
    fn first(segment: &Segment) -> Self {
        let window = u32::from(segment.window).max(1);
        Self {
            is_known: true,
            end: segment.end(),
            window,
            scale: segment.scale,
            is_untracked: segment.is_cut,
            answer: segment.has_ack().then(|| Answer {
                acknowledged: segment.acknowledgment,
                edge: segment.acknowledgment.wrapping_add(window),
            }),
        }
    }

    /// What a segment midway shows of an end whose SYN was not seen.
    pub(super) fn taken_up(segment: &Segment) -> Self {
        Self { is_untracked: true, ..Self::first(segment) }
    }

    /// The opener, by its SYN.
    pub(super) fn opener(segment: &Segment) -> Self {
        Self::first(segment)
    }

    /// What is known of the end after its segment, which is inside. `is_handshake`: neither side is established, so that a
    /// SYN with higher numbers replaces the earlier one.
    pub fn after(self, receiver: &Self, segment: &Segment, is_handshake: bool) -> Self {
        if segment.is_syn() {
            let first = Self::first(segment);
            return match () {
                () if !self.is_known || (is_handshake && is_after(first.end, self.end)) => first,
                () if is_handshake => self.merged(&first),
                () => self,
            };
        }
        if !self.is_known {
            // In a handshake: an end that answers an old connection (RFC 5961), and will soon be told so.
            return if receiver.is_untracked { Self::taken_up(segment) } else { self };
        }
        self.merged(&self.shown(receiver, segment))
    }

    /// What a segment shows by itself.
    fn shown(&self, receiver: &Self, segment: &Segment) -> Self {
        let window = u32::from(segment.window) << self.shift(receiver);
        Self {
            is_untracked: segment.is_cut,
            end: segment.end(),
            window,
            answer: segment.has_ack().then(|| Answer {
                acknowledged: segment.acknowledgment,
                edge: segment.acknowledgment.wrapping_add(window),
            }),
            ..*self
        }
    }

    /// Everything that two know of the same end.
    pub fn merged(&self, other: &Self) -> Self {
        let answer = match (self.answer, other.answer) {
            (Some(a), Some(b)) => Some(Answer {
                acknowledged: later(a.acknowledged, b.acknowledged),
                edge: later(a.edge, b.edge),
            }),
            (a, b) => a.or(b),
        };
        Self {
            is_known: self.is_known || other.is_known,
            is_untracked: self.is_untracked || other.is_untracked,
            end: later(self.end, other.end),
            window: self.window.max(other.window),
            scale: self.scale,
            answer,
        }
    }

    /// By how many bits its window fields are shifted: only if both SYNs had the option (RFC 7323 section 2.2).
    const fn shift(&self, receiver: &Self) -> u8 {
        match (self.scale, receiver.scale) {
            (Some(own), Some(_)) => own,
            _ => 0,
        }
    }

    /// Whether a segment of this end to `receiver` is inside the window; see the module's page.
    pub fn fits(&self, receiver: &Self, segment: &Segment) -> bool {
        if self.is_untracked || receiver.is_untracked {
            return true;
        }
        // A SYN has numbers of its own; only what it acknowledges is bounded.
        let has_history = !segment.is_syn();
        if has_history && receiver.answer.is_some_and(|answer| is_after(segment.sequence, answer.edge)) {
            return false;
        }
        if !receiver.is_known {
            return true;
        }
        if has_history && self.is_known {
            let oldest = self.end.wrapping_sub(receiver.window).wrapping_sub(SLACK);
            if is_after(oldest, segment.end()) {
                return false;
            }
        }
        if !segment.has_ack() || (segment.is_reset() && segment.acknowledgment == 0) {
            return true;
        }
        let oldest = receiver.end.wrapping_sub(self.window).wrapping_sub(SLACK);
        let highest = segment.sack.map_or(segment.acknowledgment, |sack| later(sack, segment.acknowledgment));
        !is_after(highest, receiver.end) && !is_after(oldest, segment.acknowledgment)
    }

    /// Whether `sequence` is one that this end has sent to `receiver` lately, as an ICMP error's quote must be.
    pub fn has_sent(&self, receiver: &Self, sequence: u32) -> bool {
        if self.is_untracked || receiver.is_untracked || !self.is_known {
            return true;
        }
        let window = if receiver.is_known { receiver.window } else { 0 };
        let oldest = self.end.wrapping_sub(window).wrapping_sub(SLACK);
        !is_after(sequence, self.end) && !is_after(oldest, sequence)
    }

    /// Whether a reset of this end is exactly in sequence (RFC 5961 section 3.2): the next number that it would send, or the next
    /// that `receiver` waits for; before it has spoken, an answer to the SYN (RFC 9293 section 3.10.7.3).
    pub fn resets_exactly(&self, receiver: &Self, segment: &Segment) -> bool {
        if !self.is_known {
            return segment.has_ack() && receiver.is_known && segment.acknowledgment == receiver.end;
        }
        segment.sequence == self.end
            || receiver.answer.is_some_and(|answer| answer.acknowledged == segment.sequence)
    }

    /// Whether a segment of this end acknowledges all that `receiver` has sent.
    pub fn acknowledges_all(&self, receiver: &Self, segment: &Segment) -> bool {
        segment.has_ack() && segment.acknowledgment == receiver.end
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
