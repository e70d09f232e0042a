//! The table of connections: shared by all workers, bounded, without locks.
//!
//! An entry is one cache line of eight atomic words. Word 0, *control*, says what the entry is (never used,
//! being written, live, dead), counts its reuses, and holds 32 bits of the key's hash; words 1 to 5 are the key;
//! word 6 is the state (last seen, reuse count, phase); word 7 the verdict that admitted it and under which policy.
//! A key may stand in the eight entries of its bucket only. Reading follows the protocol of a sequence lock:
//! control, key, control again. Words 6 and 7 change by compare-and-swap and carry the reuse count, so a late
//! writer never touches the entry's next tenant.
//!
//! A full bucket refuses the new connection; nothing live is ever evicted. Expired entries are reused where they
//! stand; nothing sweeps. Cost: a hit reads one line, two more where the bucket is crowded.

use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering, fence};

use foldhash::SharedSeed;
use foldhash::quality::SeedableRandomState;
use septum_rules::proto::Protocol;

use super::key::{ConnectionKey, Direction};
use super::state::{Packet, State, Step, Timeouts};
use crate::clock::Tick;
use crate::sys::pages::Pages;
use crate::sys::prefetch::prefetch;

/// Entries in which one key may stand.
const WAYS: usize = 8;

const NEVER_USED: u64 = 0;
const CLAIMED: u64 = 1;
const LIVE: u64 = 2;
const DEAD: u64 = 3;
const KIND: u64 = 0b11;
const REUSE: u64 = 1 << 2;
const REUSE_MASK: u64 = 0xffff_fffc;
const FINGERPRINT: u64 = 0xffff_ffff_0000_0000;

/// Bits of the policy generation that an entry keeps. A connection would have to sleep through a million policy
/// changes, to the very number, to escape its recheck.
const GENERATIONS: u32 = (1 << 20) - 1;

/// What stands for no verdict; the limits of the compiled policy are far below it.
pub const NO_VERDICT: u32 = (1 << 28) - 1;

/// Entries of a bucket that fragments may take: identifications cost a sender nothing, connections need an admitted
/// opening each, and those must not be crowded out.
const FRAGMENT_WAYS: usize = 2;

/// One cache line. All zero is [`NEVER_USED`].
type Words = [AtomicU64; 8];

/// The shared table.
#[derive(Debug)]
pub struct ConnectionTable {
    entries: Pages<Words>,
    hasher: SeedableRandomState,
    timeouts: Timeouts,
}

/// The bucket has no room for another connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableFull;

/// Why the fragments of a packet are not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfollowed {
    /// No entry is free for fragments.
    Full,
    /// A first fragment of the same packet, of another length, is followed already.
    Overlap,
}

/// A live entry, as it was when it was found.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    index: usize,
    control: u64,
    state_word: u64,
    verdict_word: u64,
}

/// An entry and what a packet does to it.
#[derive(Clone, Copy, Debug)]
pub enum Found {
    /// The packet belongs to this live connection.
    Connection(Entry),
    /// The packet would open a connection anew where this one stands.
    Reopens(Entry),
    /// No connection has this key.
    None,
}

impl Entry {
    /// The generation (its low bits) of the policy that judged the connection last.
    fn generation(&self) -> u32 {
        (self.verdict_word >> 44) as u32
    }

    /// Whether the policy of `generation` has judged this connection.
    pub fn is_judged_by(&self, generation: u32) -> bool {
        self.generation() == generation & GENERATIONS
    }

    /// Whether a later policy than that of `generation` has: one that another worker already forwards by.
    pub fn is_judged_after(&self, generation: u32) -> bool {
        let ahead = self.generation().wrapping_sub(generation) & GENERATIONS;
        ahead != 0 && ahead <= GENERATIONS / 2
    }

    /// The index into that policy's verdict table; none for fragments of a connection that was kept unjudged.
    pub fn verdict(&self) -> Option<u32> {
        let verdict = (self.verdict_word >> 16) as u32 & NO_VERDICT;
        (verdict != NO_VERDICT).then_some(verdict)
    }

    fn state(&self) -> State {
        State::from_bits(self.state_word as u16)
    }

    /// Which way the opening packet went.
    pub fn opened(&self) -> Direction {
        if self.state().opened_down { Direction::Down } else { Direction::Up }
    }

    /// The 13-bit note of a fragment entry.
    pub fn note(&self) -> u16 {
        self.state_word as u16
    }
}

/// Puts last-seen, reuse count and state bits into a state word.
const fn state_word(seen: Tick, control: u64, bits: u16) -> u64 {
    (seen.0 as u64) << 32 | (control >> 2 & 0xffff) << 16 | bits as u64
}

/// Puts generation, verdict and reuse count into a verdict word.
const fn verdict_word(generation: u32, verdict: u32, control: u64) -> u64 {
    (generation as u64) << 44 | (verdict as u64 & NO_VERDICT as u64) << 16 | control >> 2 & 0xffff
}

impl ConnectionTable {
    /// A table for `capacity` connections, rounded up to a power of two (64 bytes each, at least one bucket).
    pub fn new(capacity: usize, timeouts: Timeouts) -> Self {
        Self::hashed_by(SeedableRandomState::random(), capacity, timeouts)
    }

    /// The same with a hash that `seed` alone determines, so that a simulation can be played again. Never for traffic:
    /// senders choose the keys.
    pub fn seeded(seed: u64, capacity: usize, timeouts: Timeouts) -> Self {
        static SHARED: SharedSeed = SharedSeed::from_u64(0);
        Self::hashed_by(SeedableRandomState::with_seed(seed, &SHARED), capacity, timeouts)
    }

    fn hashed_by(hasher: SeedableRandomState, capacity: usize, timeouts: Timeouts) -> Self {
        let length = capacity.max(WAYS).next_power_of_two();
        Self { entries: Pages::zeroed(length), hasher, timeouts }
    }

    /// The key's hash; compute it once a packet. Seeded: senders choose the keys.
    pub fn hash(&self, key: &ConnectionKey) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        key.0.iter().for_each(|word| hasher.write_u64(*word));
        let hash = hasher.finish();
        // Fragments begin with their bucket's first entry: they may take only a few, and must find those again.
        if ConnectionKey::rest_is_fragments(key.0[4]) { hash & !(WAYS as u64 - 1) } else { hash }
    }

    /// The entries of a key's bucket, beginning with the one that its hash prefers.
    fn bucket(&self, hash: u64) -> impl Iterator<Item = usize> + use<> {
        let at = hash as usize & (self.entries.len() - 1);
        let (base, first) = (at & !(WAYS - 1), at & (WAYS - 1));
        (0..WAYS).map(move |way| base | ((first + way) % WAYS))
    }

    /// Asks the processor for the entry that a lookup of this hash reads first. Some tens of nanoseconds before the lookup,
    /// it saves the wait for memory.
    pub fn prefetch(&self, hash: u64) {
        prefetch(self.words(hash as usize & (self.entries.len() - 1)));
    }

    fn words(&self, index: usize) -> &Words {
        &self.entries[index]
    }

    /// The live entry of `key`, expired or not.
    fn find_live(&self, key: &ConnectionKey, hash: u64) -> Option<Entry> {
        for index in self.bucket(hash) {
            let words = self.words(index);
            loop {
                let control = words[0].load(Ordering::Acquire);
                if control == NEVER_USED {
                    return None;
                }
                if control & KIND != LIVE || (control ^ hash) & FINGERPRINT != 0 {
                    break;
                }
                let same = (0..5).all(|at| words[at + 1].load(Ordering::Relaxed) == key.0[at]);
                let state_word = words[6].load(Ordering::Relaxed);
                let verdict_word = words[7].load(Ordering::Relaxed);
                fence(Ordering::Acquire);
                if words[0].load(Ordering::Relaxed) != control {
                    continue;
                }
                if same {
                    return Some(Entry { index, control, state_word, verdict_word });
                }
                break;
            }
        }
        None
    }

    fn is_expired(&self, state_word: u64, key_rest: u64, now: Tick) -> bool {
        let seen = Tick((state_word >> 32) as u32);
        let timeout = if ConnectionKey::rest_is_fragments(key_rest) {
            self.timeouts.fragments
        } else {
            self.timeouts.of(Protocol(key_rest as u8), State::from_bits(state_word as u16).phase)
        };
        now.since(seen) > timeout
    }

    /// What a packet that goes in `direction` finds. Changes nothing.
    pub fn find(
        &self,
        key: &ConnectionKey,
        hash: u64,
        direction: Direction,
        packet: Packet,
        now: Tick,
    ) -> Found {
        let Some(entry) = self.find_live(key, hash) else { return Found::None };
        if self.is_expired(entry.state_word, key.0[4], now) {
            return Found::None;
        }
        match entry.state().step(packet, direction == entry.opened()) {
            Step::Continue(_) => Found::Connection(entry),
            Step::Reopen => Found::Reopens(entry),
        }
    }

    /// Records that a packet of the connection was forwarded.
    pub fn advance(&self, entry: &Entry, direction: Direction, packet: Packet, now: Tick) {
        let word = &self.words(entry.index)[6];
        let mut current = entry.state_word;
        // Twice at the most: whoever wins against us has recorded a packet just as recent.
        for _ in 0..2 {
            let state = State::from_bits(current as u16);
            let Step::Continue(next) = state.step(packet, direction == entry.opened()) else { return };
            let changed = state_word(now, entry.control, next.to_bits());
            if changed == current {
                return;
            }
            match word.compare_exchange(current, changed, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(actual) if (actual ^ current) & 0xffff_0000 != 0 => return,
                Err(actual) => current = actual,
            }
        }
    }

    /// Records that the policy of `generation` has judged the connection again and admitted it.
    pub fn rejudged(&self, entry: &Entry, generation: u32, verdict: u32) {
        let changed = verdict_word(generation, verdict, entry.control);
        let word = &self.words(entry.index)[7];
        // Losing means that another worker has judged it, or that it is gone.
        let _ = word.compare_exchange(entry.verdict_word, changed, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Ends a connection at once.
    pub fn end(&self, entry: &Entry) {
        let dead = entry.control & !KIND | DEAD;
        let control = &self.words(entry.index)[0];
        let _ = control.compare_exchange(entry.control, dead, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Enters a connection that the gates have admitted. One that is there already (another worker's) is left as it is.
    ///
    /// # Errors
    /// [`TableFull`] when every entry of the bucket is another live connection's.
    pub fn open(
        &self,
        key: &ConnectionKey,
        hash: u64,
        direction: Direction,
        packet: Packet,
        judged: (u32, u32),
        now: Tick,
    ) -> Result<(), TableFull> {
        let state = State::opened_by(packet, direction == Direction::Down);
        self.insert(key, hash, state.to_bits(), judged, now)
    }

    /// Follows the fragments of a packet whose first was admitted; `note` is 13 bits of the caller's: how far that reaches.
    ///
    /// # Errors
    /// [`Unfollowed::Overlap`] when another first fragment of this identification reaches elsewhere;
    /// [`Unfollowed::Full`] when the few entries that fragments may take are taken.
    pub fn open_fragments(
        &self,
        key: &ConnectionKey,
        hash: u64,
        note: u16,
        judged: (u32, u32),
        now: Tick,
    ) -> Result<(), Unfollowed> {
        match self.find_any(key, hash, now) {
            Some(known) if known.is_judged_by(judged.0) && known.note() == note => return Ok(()),
            Some(known) if known.is_judged_by(judged.0) => return Err(Unfollowed::Overlap),
            Some(outdated) => self.end(&outdated),
            None => {}
        }
        self.insert(key, hash, note, judged, now).map_err(|TableFull| Unfollowed::Full)
    }

    /// The live entry of a key, whatever packet asks: of a connection that an error quotes, or of fragments.
    pub fn find_any(&self, key: &ConnectionKey, hash: u64, now: Tick) -> Option<Entry> {
        self.find_live(key, hash).filter(|entry| !self.is_expired(entry.state_word, key.0[4], now))
    }

    fn insert(
        &self,
        key: &ConnectionKey,
        hash: u64,
        bits: u16,
        judged: (u32, u32),
        now: Tick,
    ) -> Result<(), TableFull> {
        if let Some(existing) = self.find_live(key, hash) {
            if !self.is_expired(existing.state_word, key.0[4], now) {
                return Ok(());
            }
            self.end(&existing);
        }
        let ways = if ConnectionKey::rest_is_fragments(key.0[4]) { FRAGMENT_WAYS } else { WAYS };
        let index = self.claim_free(hash, ways, now).ok_or(TableFull)?;
        let words = self.words(index);
        let claimed = words[0].load(Ordering::Relaxed);
        fence(Ordering::Release);
        for (word, value) in words[1..6].iter().zip(key.0) {
            word.store(value, Ordering::Relaxed);
        }
        let live = claimed & REUSE_MASK | LIVE | hash & FINGERPRINT;
        words[6].store(state_word(now, live, bits), Ordering::Relaxed);
        words[7].store(verdict_word(judged.0, judged.1, live), Ordering::Relaxed);
        words[0].store(live, Ordering::Release);
        // Of two workers that both store first and look then, at least one must see the other.
        fence(Ordering::SeqCst);
        self.settle_duplicates(key, hash, index, live);
        Ok(())
    }

    /// Claims the first of some entries of the bucket that holds nothing live; its control word is then ours alone.
    fn claim_free(&self, hash: u64, ways: usize, now: Tick) -> Option<usize> {
        for index in self.bucket(hash).take(ways) {
            let words = self.words(index);
            let control = words[0].load(Ordering::Acquire);
            let free = match control & KIND {
                CLAIMED => false,
                LIVE => {
                    let rest = words[5].load(Ordering::Relaxed);
                    self.is_expired(words[6].load(Ordering::Relaxed), rest, now)
                }
                _ => true,
            };
            let claimed = control.wrapping_add(REUSE) & REUSE_MASK | CLAIMED;
            if free
                && words[0].compare_exchange(control, claimed, Ordering::Acquire, Ordering::Relaxed).is_ok()
            {
                return Some(index);
            }
        }
        None
    }

    /// Two workers may enter the same connection at the same moment: the entry that lookups meet first stays.
    fn settle_duplicates(&self, key: &ConnectionKey, hash: u64, mine: usize, my_control: u64) {
        let mut met_mine = false;
        for index in self.bucket(hash) {
            if index == mine {
                met_mine = true;
                continue;
            }
            let words = self.words(index);
            let control = words[0].load(Ordering::Acquire);
            let same = control & KIND == LIVE
                && (control ^ hash) & FINGERPRINT == 0
                && (0..5).all(|at| words[at + 1].load(Ordering::Relaxed) == key.0[at]);
            if same {
                let (loser, observed) = if met_mine { (index, control) } else { (mine, my_control) };
                let dead = observed & !KIND | DEAD;
                let _ = self.words(loser)[0].compare_exchange(
                    observed,
                    dead,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                );
            }
        }
    }

    /// Live connections (fragments too) that have not expired. Cost: reads the whole table.
    pub fn count_live(&self, now: Tick) -> usize {
        let is_live = |words: &&Words| {
            words[0].load(Ordering::Acquire) & KIND == LIVE
                && !self.is_expired(words[6].load(Ordering::Relaxed), words[5].load(Ordering::Relaxed), now)
        };
        self.entries.iter().filter(is_live).count()
    }

    /// The most connections that it can hold.
    pub fn capacity(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
