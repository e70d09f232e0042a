//! The words of an entry: what stands where in them.
//!
//! Word 0, *control*: kind, reuse count, 16 bits of the key's hash, owner. Word 6: deadline, reuse count, state. Word 7:
//! generation of the policy, verdict, reuse count. Pure functions.

use crate::clock::Tick;

pub(super) const DEAD: u64 = 0;
pub(super) const CLAIMED: u64 = 1;
pub(super) const LIVE: u64 = 2;
pub(super) const KIND: u64 = 0b11;
pub(super) const REUSE: u64 = 1 << 2;
pub(super) const REUSE_MASK: u64 = 0xffff_fffc;
pub(super) const FINGERPRINT: u64 = 0xffff << 32;
/// Where the owner begins.
const OWNER: u32 = 48;

/// Bits of the policy generation that an entry keeps. A connection would have to sleep through a million policy
/// changes, to the very number, to escape its recheck.
pub(super) const GENERATIONS: u32 = (1 << 20) - 1;

/// What stands for no verdict; the limits of the compiled policy are far below it.
pub const NO_VERDICT: u32 = (1 << 28) - 1;

/// Puts a deadline, the reuse count and state bits into a state word.
#[inline]
pub(super) const fn state_word(deadline: Tick, control: u64, bits: u16) -> u64 {
    (deadline.0 as u64) << 32 | (control >> 2 & 0xffff) << 16 | bits as u64
}

/// What stands in the state word of an entry that is not live: no writer that knew the entry has this reuse count.
pub(super) const fn tombstone(control: u64) -> u64 {
    (!control >> 2 & 0xffff) << 16
}

/// Puts generation, verdict and reuse count into a verdict word.
pub(super) const fn verdict_word(generation: u32, verdict: u32, control: u64) -> u64 {
    (generation as u64) << 44 | (verdict as u64 & NO_VERDICT as u64) << 16 | control >> 2 & 0xffff
}

#[inline]
pub(super) const fn generation_of(verdict_word: u64) -> u32 {
    (verdict_word >> 44) as u32
}

#[inline]
pub(super) fn verdict_of(verdict_word: u64) -> Option<u32> {
    let verdict = (verdict_word >> 16) as u32 & NO_VERDICT;
    (verdict != NO_VERDICT).then_some(verdict)
}

/// Whether a live entry's time is over.
#[inline]
pub(super) fn is_expired(state_word: u64, now: Tick) -> bool {
    now.since(Tick((state_word >> 32) as u32)) > 0
}

/// The owner whose share a live entry is.
pub(super) const fn owner_of(control: u64) -> u16 {
    (control >> OWNER) as u16
}

/// The control word of a live entry.
pub(super) const fn live(claimed: u64, hash: u64, owner: u16) -> u64 {
    claimed & REUSE_MASK | LIVE | hash & FINGERPRINT | (owner as u64) << OWNER
}
