//! Fragments on their way: which first fragment was admitted, and which parts of its packet have followed.
//!
//! One entry a packet, a bit for each of its 8,192 eighths: where a fragment lies, and where one begins. So an exact
//! duplicate is told from an overlap (RFC 5722, RFC 8200 section 4.5), whatever the order and the sizes, and a packet that is
//! complete leaves the table at once. Nothing is held back and nothing put together here: the receiver does that,
//! and gets no two fragments that contradict each other.
//!
//! Shared by all workers, without locks: an entry is found and claimed as one of [`super::table`] is; bits are taken by
//! an atomic *or*, so of two workers with overlapping fragments one finds the other's bits. Whatever a late writer
//! leaves behind in an entry's next tenant are bits too many: they refuse, and never admit.
//!
//! Bounded: [`FragmentTable::capacity`] packets of 2,176 bytes each, and a share for each workload; one that has used up its share
//! loses an older packet of its own that is not complete, or has the new one refused. Cost: a later fragment reads the
//! entry's line and changes three more.

use std::ops::Range;

use super::key::ConnectionKey;
use super::quota::{Accounts, Met};
use super::sync::{AtomicU64, Ordering, Shared, fence, zeroed};
use super::terms::Terms;
use super::words::{
    CLAIMED, DEAD, FINGERPRINT, GENERATIONS, KIND, LIVE, REUSE, REUSE_MASK, generation_of, is_expired, live,
    owner_of, state_word, tombstone, verdict_of, verdict_word,
};
use crate::clock::Tick;
use crate::wire::Fragment;
use septum_rules::conntrack::Timeout;

/// Entries in which one packet may stand.
const WAYS: usize = 8;

/// Words of a bit for each eighth byte of a packet.
const BITMAP: usize = if cfg!(septum_loom) { 1 } else { 128 };

/// Control, key, state (deadline and reuse count), verdict; then the [`Extent`], and from the third line on the two bitmaps.
type Datagram = [AtomicU64; BITMAPS + 2 * BITMAP];

const EXTENT: usize = 8;
const BITMAPS: usize = 16;

/// Where fragments lie.
fn covered(datagram: &Datagram) -> &[AtomicU64] {
    &datagram[BITMAPS..BITMAPS + BITMAP]
}

/// Where fragments begin.
fn starts(datagram: &Datagram) -> &[AtomicU64] {
    &datagram[BITMAPS + BITMAP..]
}

/// How much of a packet was seen: the highest byte, its length (zero until the last fragment came), eighths received,
/// and whether it is refused from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extent {
    highest: u16,
    total: u16,
    received: u16,
    is_refused: bool,
    reuse: u16,
}

impl Extent {
    const fn from_word(word: u64) -> Self {
        Self {
            highest: word as u16,
            total: (word >> 16) as u16,
            received: (word >> 32) as u16 & 0x7fff,
            is_refused: word >> 47 & 1 != 0,
            reuse: (word >> 48) as u16,
        }
    }

    const fn to_word(self) -> u64 {
        self.highest as u64
            | (self.total as u64) << 16
            | (self.received as u64) << 32
            | (self.is_refused as u64) << 47
            | (self.reuse as u64) << 48
    }

    /// The extent with one more fragment; `None` where that, or an earlier one, reaches behind the last.
    fn with(self, fragment: &Fragment) -> Option<Self> {
        let end = fragment.offset + fragment.length;
        let fits = match (fragment.more, self.total) {
            (true, 0) => true,
            (true, total) => end < total,
            (false, 0) => self.highest <= end,
            (false, total) => end == total,
        };
        fits.then(|| Self {
            highest: self.highest.max(end),
            total: if fragment.more { self.total } else { end },
            received: self.received + eighths(fragment).len() as u16,
            ..self
        })
    }

    fn is_complete(&self) -> bool {
        self.total != 0 && self.received == self.total.div_ceil(8)
    }
}

/// Where a fragment lies.
fn eighths(fragment: &Fragment) -> Range<usize> {
    let start = usize::from(fragment.offset) / 8;
    start..start + usize::from(fragment.length).div_ceil(8)
}

/// The words of a bitmap that a range touches, with its bits in each.
fn masks(range: Range<usize>) -> impl Iterator<Item = (usize, u64)> {
    (range.start / 64..range.end.div_ceil(64)).map(move |word| {
        let first = range.start.saturating_sub(word * 64);
        let last = (range.end - word * 64).min(64);
        (word, u64::MAX << first & u64::MAX >> (64 - last))
    })
}

fn bit(bitmap: &[AtomicU64], at: usize) -> bool {
    bitmap.get(at / 64).is_some_and(|word| word.load(Ordering::Relaxed) >> (at % 64) & 1 != 0)
}

/// Why a fragment does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfollowed {
    /// The first was not seen, was refused, or is forgotten.
    Untracked,
    /// It is there already.
    Duplicate,
    /// It, or an earlier one, overlapped another: nothing of the packet passes any more.
    Overlap,
    /// It, or an earlier one, reaches behind the last: nothing of the packet passes any more.
    BeyondEnd,
    /// The workload has as many packets on their way as it may have.
    Quota,
    /// The table has no room.
    Full,
}

/// The packets whose fragments are on their way.
#[derive(Debug)]
pub struct FragmentTable {
    datagrams: Shared<Datagram>,
    accounts: Accounts,
}

impl FragmentTable {
    /// The most packets that any table follows.
    const MOST: usize = 4096;
    /// And the fewest.
    const LEAST: usize = if cfg!(septum_loom) { WAYS } else { 64 };

    pub(super) fn new(capacity: usize, owners: usize) -> Self {
        let capacity = capacity.clamp(Self::LEAST, Self::MOST).next_power_of_two();
        Self { datagrams: zeroed(capacity), accounts: Accounts::new(owners) }
    }

    /// The most packets that it follows.
    pub fn capacity(&self) -> usize {
        self.datagrams.len()
    }

    /// Packets on their way, some of which may have expired just now.
    pub fn count(&self) -> u64 {
        self.accounts.count_all()
    }

    fn bucket(&self, hash: u64) -> Range<usize> {
        let base = hash as usize & (self.datagrams.len() - 1) & !(WAYS - 1);
        base..base + WAYS
    }

    /// The live entry of a key, with its control, state and verdict words.
    fn find(&self, key: &ConnectionKey, hash: u64, now: Tick) -> Option<(usize, u64, u64)> {
        for index in self.bucket(hash) {
            let words = &self.datagrams[index];
            let control = words[0].load(Ordering::Acquire);
            if control & KIND != LIVE || (control ^ hash) & FINGERPRINT != 0 {
                continue;
            }
            let same = (0..5).all(|at| words[at + 1].load(Ordering::Relaxed) == key.0[at]);
            let (state, verdict) = (words[6].load(Ordering::Relaxed), words[7].load(Ordering::Relaxed));
            fence(Ordering::Acquire);
            // One that changes meanwhile is ending: what follows it is refused.
            if same && words[0].load(Ordering::Relaxed) == control && !is_expired(state, now) {
                return Some((index, control, verdict));
            }
        }
        None
    }

    /// Follows the packet whose first fragment was admitted.
    ///
    /// # Errors
    /// Why the first fragment does not pass after all.
    #[allow(clippy::too_many_arguments)]
    pub fn open(
        &self,
        key: &ConnectionKey,
        hash: u64,
        fragment: &Fragment,
        judged: (u32, u32),
        owner: u16,
        terms: &Terms,
        now: Tick,
    ) -> Result<(), Unfollowed> {
        if let Some((index, control, verdict)) = self.find(key, hash, now) {
            if generation_of(verdict) == judged.0 & GENERATIONS {
                return self.add(index, control, fragment);
            }
            self.release(index, control);
        }
        let index = self.claim(hash, owner, terms, now)?;
        let datagram = &self.datagrams[index];
        let claimed = datagram[0].load(Ordering::Relaxed);
        fence(Ordering::Release);
        for (word, value) in datagram[1..6].iter().zip(key.0) {
            word.store(value, Ordering::Relaxed);
        }
        let live = live(claimed, hash, owner);
        let deadline = now.plus(terms.ticks(Timeout::Fragments));
        datagram[6].store(state_word(deadline, live, 0), Ordering::Relaxed);
        datagram[7].store(verdict_word(judged.0, judged.1, live), Ordering::Relaxed);
        let extent =
            Extent { highest: 0, total: 0, received: 0, is_refused: false, reuse: (live >> 2) as u16 };
        datagram[EXTENT].store(extent.to_word(), Ordering::Relaxed);
        datagram[0].store(live, Ordering::Release);
        self.add(index, live, fragment)
    }

    /// Judges a later fragment by the first of its packet; gives that one's verdict.
    ///
    /// # Errors
    /// Why it does not pass.
    pub fn follow(
        &self,
        key: &ConnectionKey,
        hash: u64,
        fragment: &Fragment,
        generation: u32,
        now: Tick,
    ) -> Result<Option<u32>, Unfollowed> {
        let (index, control, verdict) = self.find(key, hash, now).ok_or(Unfollowed::Untracked)?;
        if generation_of(verdict) != generation & GENERATIONS {
            return Err(Unfollowed::Untracked);
        }
        self.add(index, control, fragment)?;
        Ok(verdict_of(verdict))
    }

    /// Adds a fragment to a packet, which leaves the table when it is complete.
    fn add(&self, index: usize, control: u64, fragment: &Fragment) -> Result<(), Unfollowed> {
        let datagram = &self.datagrams[index];
        let reuse = (control >> 2) as u16;
        let seen = Extent::from_word(datagram[EXTENT].load(Ordering::Relaxed));
        if seen.reuse != reuse {
            return Err(Unfollowed::Untracked);
        }
        if seen.is_refused {
            return Err(Unfollowed::Overlap);
        }
        if seen.with(fragment).is_none() {
            return self.refuse(datagram, reuse, Unfollowed::BeyondEnd);
        }
        let range = eighths(fragment);
        let start = 1 << (range.start % 64);
        let was_start = starts(datagram)[range.start / 64].fetch_or(start, Ordering::Relaxed) & start != 0;
        let (mut any, mut all) = (false, true);
        for (word, mask) in masks(range.clone()) {
            let before = covered(datagram)[word].fetch_or(mask, Ordering::Relaxed) & mask;
            any |= before != 0;
            all &= before == mask;
        }
        if any {
            let ends_here = !bit(covered(datagram), range.end) || bit(starts(datagram), range.end);
            let begins_inside = masks(range.start + 1..range.end)
                .any(|(word, mask)| starts(datagram)[word].load(Ordering::Relaxed) & mask != 0);
            // The very bytes as the last ones, where they were not: that is no duplicate.
            let says_the_same = fragment.more || seen.total != 0;
            if all && was_start && ends_here && !begins_inside && says_the_same {
                return Err(Unfollowed::Duplicate);
            }
            return self.refuse(datagram, reuse, Unfollowed::Overlap);
        }
        let mut current = seen.to_word();
        loop {
            let seen = Extent::from_word(current);
            if seen.reuse != reuse || seen.is_refused {
                return Err(if seen.is_refused { Unfollowed::Overlap } else { Unfollowed::Untracked });
            }
            let Some(next) = seen.with(fragment) else {
                return self.refuse(datagram, reuse, Unfollowed::BeyondEnd);
            };
            match datagram[EXTENT].compare_exchange(
                current,
                next.to_word(),
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) if next.is_complete() => {
                    self.release(index, control);
                    return Ok(());
                }
                Ok(_) => return Ok(()),
                Err(actual) => current = actual,
            }
        }
    }

    /// Refuses all that may still come of a packet.
    fn refuse(&self, datagram: &Datagram, reuse: u16, why: Unfollowed) -> Result<(), Unfollowed> {
        let mut current = datagram[EXTENT].load(Ordering::Relaxed);
        while Extent::from_word(current).reuse == reuse {
            let refused = Extent { is_refused: true, ..Extent::from_word(current) }.to_word();
            match datagram[EXTENT].compare_exchange(current, refused, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => break,
                Err(actual) => current = actual,
            }
        }
        Err(why)
    }

    /// Takes a share of `owner`'s and an entry of the bucket; its control word is then ours alone.
    fn claim(&self, hash: u64, owner: u16, terms: &Terms, now: Tick) -> Result<usize, Unfollowed> {
        for index in self.bucket(hash) {
            let words = &self.datagrams[index];
            let control = words[0].load(Ordering::Acquire);
            if control & KIND == LIVE && is_expired(words[6].load(Ordering::Relaxed), now) {
                self.release(index, control);
            }
        }
        let bounds = (terms.fragments, u32::MAX, u64::MAX);
        let mut met = Unfollowed::Full;
        // An older packet of its own, once: for its share, or for the bucket's room.
        for makes_room in [false, true] {
            if makes_room && !self.release_oldest(hash, owner) {
                break;
            }
            match self.accounts.take(owner, false, bounds) {
                Err(Met::All | Met::Connections | Met::HalfOpen) => met = Unfollowed::Quota,
                Ok(()) => match self.claim_free(hash) {
                    Some(index) => return Ok(index),
                    None => self.accounts.give(owner, false),
                },
            }
        }
        Err(met)
    }

    fn claim_free(&self, hash: u64) -> Option<usize> {
        self.bucket(hash).find(|index| {
            let word = &self.datagrams[*index][0];
            let control = word.load(Ordering::Relaxed);
            let claimed = control.wrapping_add(REUSE) & REUSE_MASK | CLAIMED;
            !matches!(control & KIND, LIVE | CLAIMED)
                && word.compare_exchange(control, claimed, Ordering::Acquire, Ordering::Relaxed).is_ok()
        })
    }

    /// Lets go of the bucket's oldest packet of `owner`; whether there was one.
    fn release_oldest(&self, hash: u64, owner: u16) -> bool {
        let own = self.bucket(hash).filter_map(|index| {
            let words = &self.datagrams[index];
            let control = words[0].load(Ordering::Acquire);
            let deadline = (words[6].load(Ordering::Relaxed) >> 32) as u32;
            (control & KIND == LIVE && owner_of(control) == owner).then_some((deadline, index, control))
        });
        let oldest = own.reduce(|a, b| if (a.0.wrapping_sub(b.0) as i32) <= 0 { a } else { b });
        oldest.is_some_and(|(_, index, control)| self.release(index, control))
    }

    /// Takes a live entry out of use, empties it, and gives back its owner's share. False where another worker has done so.
    fn release(&self, index: usize, control: u64) -> bool {
        let datagram = &self.datagrams[index];
        let word = &datagram[0];
        let claimed = control & REUSE_MASK | CLAIMED;
        if word.compare_exchange(control, claimed, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return false;
        }
        fence(Ordering::Release);
        datagram[6].store(tombstone(control), Ordering::Relaxed);
        let extent = Extent::from_word(datagram[EXTENT].swap(0, Ordering::Relaxed));
        // A refused packet may have bits anywhere.
        let used = if extent.is_refused { BITMAP } else { usize::from(extent.highest).div_ceil(512) };
        for word in covered(datagram)[..used].iter().chain(&starts(datagram)[..used]) {
            word.store(0, Ordering::Relaxed);
        }
        self.accounts.give(owner_of(control), false);
        word.store(control & REUSE_MASK | DEAD, Ordering::Release);
        true
    }

    /// Lets go of what has expired among some entries.
    pub(super) fn sweep(&self, entries: Range<usize>, now: Tick) {
        // Mostly there are none, and each lies on a page of its own.
        if self.accounts.count_all() == 0 {
            return;
        }
        for index in entries {
            let words = &self.datagrams[index];
            let control = words[0].load(Ordering::Acquire);
            if control & KIND == LIVE && is_expired(words[6].load(Ordering::Relaxed), now) {
                self.release(index, control);
            }
        }
    }
}

#[cfg(all(test, septum_loom))]
#[path = "fragments_loom_tests.rs"]
mod loom_tests;
#[cfg(all(test, not(septum_loom)))]
#[path = "fragments_tests.rs"]
mod tests;
