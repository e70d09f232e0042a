//! How many connections that prefer an entry stand elsewhere: what says where a search ends.
//!
//! Six bits of an entry's last key word which no key uses. They belong to the entry, whoever its tenant is: three count
//! those that stand in other entries of its bucket, three those in other buckets. A count is raised before its connection can be
//! found and lowered after, so it is never too low. One that reaches seven is lost, and stays: that costs longer searches from one
//! entry, and eight connections have to prefer it at the same time.

use super::sync::{AtomicU64, Ordering};

/// The bits, in the last word of an entry's key.
pub(super) const DISPLACED: u64 = 0b11_1111 << 10;

/// A count that is lost.
const LOST: u64 = 7;

/// Where connections stand that do not stand where they would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Displaced {
    /// In the bucket of the entry that they prefer.
    Near = 10,
    /// In another one.
    Far = 13,
}

impl Displaced {
    /// Whether there may be any, by the last key word of the entry that they prefer.
    pub(super) const fn are_in(self, word: u64) -> bool {
        word >> self as u32 & LOST != 0
    }

    /// Counts one more.
    pub(super) fn raise(self, word: &AtomicU64) {
        self.change(word, |one| one);
    }

    /// Counts one less.
    pub(super) fn lower(self, word: &AtomicU64) {
        self.change(word, u64::wrapping_neg);
    }

    fn change(self, word: &AtomicU64, by: impl Fn(u64) -> u64) {
        let changed = |word: u64| {
            let is_lost = word >> self as u32 & LOST == LOST;
            (!is_lost).then(|| word.wrapping_add(by(1 << self as u32)))
        };
        // Where the count is lost, nothing changes.
        let _ = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, changed);
    }
}
