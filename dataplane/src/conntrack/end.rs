//! How a connection ends: by a packet or a policy, or because its time is over.
//!
//! An entry leaves the state *live* by one worker's compare-and-swap, and that worker alone gives back its owner's share. Whether
//! it was half-open then is what a swap of word 6 finds, after which no late change of phase can succeed.

use super::entry::Entry;
use super::places::part_of;
use super::state::State;
use super::sync::{Ordering, fence};
use super::table::ConnectionTable;
use super::words::{CLAIMED, DEAD, KIND, LIVE, REUSE_MASK, is_expired, owner_of, tombstone};
use crate::clock::Tick;
use crate::sys::prefetch::prefetch;

/// Parts in which the table is swept, one a tick: sixteen seconds a round.
pub(super) const SLICES: u32 = 128;

/// How far ahead of the sweep its lines are asked for: some pages' first lines are on their way then, which no processor fetches by
/// itself.
const AHEAD: usize = 32;

impl ConnectionTable {
    /// Ends a connection at once.
    pub fn end(&self, entry: &Entry) {
        self.release(entry.index, entry.control);
    }

    /// Takes a live entry out of use, and gives back its owner's share. Nothing, where another worker has done so.
    pub(super) fn release(&self, index: usize, control: u64) {
        let claimed = control & REUSE_MASK | CLAIMED;
        let word = &self.words(index)[0];
        if word.compare_exchange(control, claimed, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            self.settle(index, control);
            word.store(control & REUSE_MASK | DEAD, Ordering::Release);
        }
    }

    /// Gives back the share of an entry that was live under `control` and is claimed by this worker, and no longer counts it as
    /// displaced.
    pub(super) fn settle(&self, index: usize, control: u64) {
        // Whoever reads what follows must see that the entry is claimed.
        fence(Ordering::Release);
        let last = self.words(index)[6].swap(tombstone(control), Ordering::Relaxed);
        self.accounts.give(owner_of(control), State::from_bits(last as u16).phase().is_half_open());
        self.count_out(index);
    }

    /// Gives back the shares of connections whose time is over, a slice of the table a tick. Call it once a burst: where its
    /// time has not come it costs two loads. Whoever was idle for long catches up, a slice a call.
    pub fn sweep(&self, now: Tick) {
        let last = self.swept.load(Ordering::Relaxed);
        let behind = now.since(Tick(last));
        if behind == 0 {
            return;
        }
        let next = if behind > SLICES { now.0.wrapping_sub(SLICES - 1) } else { last.wrapping_add(1) };
        if self.swept.compare_exchange(last, next, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        let slice = next % SLICES;
        for region in self.places.occupied() {
            let part = region.part(slice, SLICES);
            for index in part.clone() {
                prefetch(self.words((index + AHEAD).min(part.end - 1)));
                let words = self.words(index);
                let control = words[0].load(Ordering::Acquire);
                if control & KIND == LIVE && is_expired(words[6].load(Ordering::Relaxed), now) {
                    self.release(index, control);
                }
            }
        }
        self.fragments.sweep(part_of(0..self.fragments.capacity(), slice, SLICES), now);
    }
}
