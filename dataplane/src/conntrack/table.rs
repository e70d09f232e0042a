//! The table of connections: shared by all workers, bounded, without locks.
//!
//! An entry is one cache line of eight atomic words. Word 0, *control*, says what the entry is (dead,
//! being written, live), counts its reuses, and holds 16 bits of the key's hash and whose share it is; words 1 to 5
//! are the key (and, in six bits that no key uses, [`super::displaced`]); word 6 is the state (deadline, reuse count, phase);
//! word 7 the verdict that admitted it and under which policy. Four more words, in an array beside, are what the two ends have
//! shown of themselves ([`super::window`], [`super::sctp`]): two lines in four entries, that only TCP and SCTP touch. A key of
//! IPv6 takes five words, so 64 bytes cannot hold both; entries of 128 would cost every UDP flow a line and the table a third more.
//!
//! Where a key may stand, [`super::places`] says: nearly always in the entry that its hash prefers. There is a place for all that the
//! bound admits, so it is the bound alone that refuses. Each entry counts how many that prefer it stand elsewhere, in its bucket and
//! beyond; a search that finds none counted ends at its first line, whatever was there before.
//!
//! Reading follows the protocol of a sequence lock: control, key, control again. Words 6 and 7 change by compare-and-swap and carry
//! the reuse count, so a late writer never touches the entry's next tenant. The windows' words change by compare-and-swap too and only
//! grow ([`super::window`] says why that is enough); a late writer would have to find the very 64 bits that
//! it had read, and could then widen the next tenant's window, no more.
//!
//! A full table refuses the new connection; nothing live is ever evicted. Expired entries are reused where they
//! stand, and [`ConnectionTable::sweep`] gives back the shares of those that nobody reuses. Cost: a hit reads one line, TCP a second, and
//! what is nowhere reads one too; where others are displaced (at a table filled to its bound, from one entry in eight), the bucket.
//!
//! Here: the table itself, and what packets of a live connection read and change. How one begins is [`super::open`]'s, how it
//! ends [`super::end`]'s.

use std::hash::{BuildHasher, Hasher};

use foldhash::SharedSeed;
use foldhash::quality::SeedableRandomState;

use super::displaced::{DISPLACED, Displaced};
use super::entry::Entry;
use super::fragments::FragmentTable;
use super::key::{ConnectionKey, Direction};
use super::places::{Places, Region, WAYS};
use super::quota::Accounts;
use super::state::{Packet, Phase, State, Step};
use super::sync::{AtomicU32, AtomicU64, Ordering, Shared, fence, zeroed};
use super::terms::Terms;
use super::window::Sender;
use super::words::{FINGERPRINT, KIND, LIVE, is_expired, owner_of, state_word, verdict_word};
use crate::clock::Tick;

/// One cache line. All zero is a dead entry.
pub(super) type Words = [AtomicU64; 8];

/// Two words an end: up, then down.
type Ends = [AtomicU64; 4];

/// Whether the words are those of this key.
#[inline]
pub(super) fn holds(words: &Words, key: &ConnectionKey) -> bool {
    // Folded: nearly always all five words are compared.
    let differ = |differ, (word, key): (&AtomicU64, u64)| differ | (word.load(Ordering::Relaxed) ^ key);
    let last = (words[5].load(Ordering::Relaxed) ^ key.0[4]) & !DISPLACED;
    words[1..5].iter().zip(key.0).fold(last, differ) == 0
}

/// The shared table.
#[derive(Debug)]
pub struct ConnectionTable {
    pub(super) entries: Shared<Words>,
    pub(super) ends: Shared<Ends>,
    hasher: SeedableRandomState,
    pub(super) accounts: Accounts,
    pub(super) limit: u64,
    pub(super) fragments: FragmentTable,
    pub(super) places: Places,
    /// The tick whose slice was swept last.
    pub(super) swept: AtomicU32,
    started: Tick,
}

impl ConnectionTable {
    /// Port slots that have a share of their own.
    const OWNERS: usize = if cfg!(septum_loom) { 2 } else { 1 << 16 };

    /// A table for `limit` connections: 240 bytes for each, rounded up to a power of two.
    pub fn new(limit: usize) -> Self {
        Self::hashed_by(SeedableRandomState::random(), limit, Places::new(limit))
    }

    /// The same with a hash that `seed` alone determines, so that a simulation can be played again. Never for traffic:
    /// senders choose the keys.
    pub fn seeded(seed: u64, limit: usize) -> Self {
        Self::hashed_by(Self::hash_of(seed), limit, Places::new(limit))
    }

    /// The same with other regions.
    #[cfg(test)]
    fn seeded_with(seed: u64, limit: usize, places: Places) -> Self {
        Self::hashed_by(Self::hash_of(seed), limit, places)
    }

    fn hash_of(seed: u64) -> SeedableRandomState {
        static SHARED: SharedSeed = SharedSeed::from_u64(0);
        SeedableRandomState::with_seed(seed, &SHARED)
    }

    fn hashed_by(hasher: SeedableRandomState, limit: usize, places: Places) -> Self {
        let limit = limit.max(WAYS);
        Self {
            entries: zeroed(places.length()),
            ends: zeroed(places.length()),
            places,
            hasher,
            accounts: Accounts::new(Self::OWNERS),
            limit: limit as u64,
            fragments: FragmentTable::new(limit / 64, Self::OWNERS),
            swept: AtomicU32::new(0),
            started: Tick::default(),
        }
    }

    /// The same, with the moment from which a pick-up window counts.
    pub fn started_at(self, started: Tick) -> Self {
        Self { started, swept: AtomicU32::new(started.0), ..self }
    }

    /// Whether connections that were under way before the start are taken up at `now`.
    pub fn picks_up(&self, terms: &Terms, now: Tick) -> bool {
        terms.pick_up != 0 && now.since(self.started) < terms.pick_up
    }

    /// Every cache line as it stands, those of the entries first: for benches that ask which lines a packet writes.
    pub fn lines(&self) -> impl Iterator<Item = [u64; 8]> {
        let entries =
            self.entries.iter().map(|words| words.each_ref().map(|word| word.load(Ordering::Relaxed)));
        let ends = self
            .ends
            .chunks_exact(2)
            .map(|pair| std::array::from_fn(|word| pair[word / 4][word % 4].load(Ordering::Relaxed)));
        entries.chain(ends)
    }

    /// The fragments that are on their way.
    pub fn fragments(&self) -> &FragmentTable {
        &self.fragments
    }

    /// The key's hash; compute it once a packet. Seeded: senders choose the keys.
    #[inline]
    pub fn hash(&self, key: &ConnectionKey) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        key.0.iter().for_each(|word| hasher.write_u64(*word));
        hasher.finish()
    }

    /// All entries in which a key of this hash may stand now, in an order that never changes.
    pub(super) fn occupied(&self, hash: u64) -> impl Iterator<Item = usize> {
        self.places.occupied().flat_map(move |region| self.occupied_of(region, hash))
    }

    /// Those of one region.
    fn occupied_of(&self, region: Region, hash: u64) -> impl Iterator<Item = usize> + use<> {
        let word = self.words(region.preferred(hash))[5].load(Ordering::Relaxed);
        let count = match () {
            () if Displaced::Far.are_in(word) => self.places.reach(),
            () if Displaced::Near.are_in(word) => WAYS,
            () => 1,
        };
        region.candidates(hash).take(count)
    }

    /// Where a key stands that is in entry `index` of a region, and the word that counts it; `None`: where it prefers to.
    fn displaced(&self, region: Region, hash: u64, index: usize) -> Option<(Displaced, &AtomicU64)> {
        let preferred = region.preferred(hash);
        let displaced = match index ^ preferred {
            0 => return None,
            1..WAYS => Displaced::Near,
            _ => Displaced::Far,
        };
        Some((displaced, &self.words(preferred)[5]))
    }

    /// Counts that a key of this hash will stand in entry `index`, the `nth` of its candidates in the region.
    pub(super) fn count_in(&self, region: Region, hash: u64, index: usize, nth: usize) {
        self.places.enter(region, nth);
        if let Some((displaced, word)) = self.displaced(region, hash, index) {
            displaced.raise(word);
        }
    }

    /// Counts that the key in entry `index`, which is claimed, stands there no more.
    pub(super) fn count_out(&self, index: usize) {
        let words = self.words(index);
        let mut key = ConnectionKey(std::array::from_fn(|at| words[at + 1].load(Ordering::Relaxed)));
        key.0[4] &= !DISPLACED;
        let region = self.places.region_of(index);
        if let Some((displaced, word)) = self.displaced(region, self.hash(&key), index) {
            displaced.lower(word);
        }
        self.places.leave(region);
    }

    pub(super) fn words(&self, index: usize) -> &Words {
        &self.entries[index]
    }

    /// The live entry of a key, whatever packet asks. Changes nothing.
    #[inline]
    pub fn find(&self, key: &ConnectionKey, hash: u64, now: Tick) -> Option<Entry> {
        self.find_live(key, hash).filter(|entry| !entry.is_expired(now))
    }

    /// The same, but only where a key prefers to stand: nearly every connection stands there. `has_ends`: those of its protocol show
    /// numbers.
    // Inlined here and below, where every packet passes: as calls, their results would go through memory. So they would where two
    // searches meet.
    #[inline(always)]
    pub fn find_first(&self, key: &ConnectionKey, hash: u64, has_ends: bool, now: Tick) -> Option<Entry> {
        let preferred = self.places.most_used().preferred(hash);
        self.look(preferred, key, hash, has_ends).filter(|entry| !entry.is_expired(now))
    }

    /// The live entry of `key`, expired or not.
    #[inline]
    pub(super) fn find_live(&self, key: &ConnectionKey, hash: u64) -> Option<Entry> {
        // Asked once: which of the two regions is the more used may change between two questions, and one entry would be left out.
        let (region, other) = self.places.in_use();
        let preferred = region.preferred(hash);
        self.look(preferred, key, hash, key.has_ends()).or_else(|| {
            let is_displaced = self.words(preferred)[5].load(Ordering::Relaxed) & DISPLACED != 0;
            if is_displaced || other.is_some() { self.find_further(key, hash, region, other) } else { None }
        })
    }

    /// The live entry of `key` behind the first one of `region`.
    #[inline(never)]
    fn find_further(
        &self,
        key: &ConnectionKey,
        hash: u64,
        region: Region,
        other: Option<Region>,
    ) -> Option<Entry> {
        let look = |index| self.look(index, key, hash, key.has_ends());
        let further = self.occupied_of(region, hash).skip(1).find_map(look);
        further.or_else(|| self.occupied_of(other?, hash).find_map(look))
    }

    /// The live entry of a key, if it is this one.
    #[inline(always)]
    fn look(&self, index: usize, key: &ConnectionKey, hash: u64, has_ends: bool) -> Option<Entry> {
        let words = self.words(index);
        loop {
            let control = words[0].load(Ordering::Acquire);
            if control & KIND != LIVE || (control ^ hash) & FINGERPRINT != 0 {
                return None;
            }
            let same = holds(words, key);
            let state_word = words[6].load(Ordering::Relaxed);
            let verdict_word = words[7].load(Ordering::Relaxed);
            let mut ends = [0; 4];
            if same && has_ends {
                for (end, word) in ends.iter_mut().zip(&self.ends[index]) {
                    *end = word.load(Ordering::Relaxed);
                }
            }
            fence(Ordering::Acquire);
            if words[0].load(Ordering::Relaxed) == control {
                let protocol = key.protocol();
                return same.then_some(Entry { index, protocol, control, state_word, verdict_word, ends });
            }
        }
    }

    /// Records that a packet of the connection was forwarded, after which it is in the state `next`.
    #[inline(always)]
    pub fn advance(
        &self,
        entry: &Entry,
        direction: Direction,
        packet: &Packet,
        next: State,
        terms: &Terms,
        now: Tick,
    ) {
        match packet {
            Packet::Tcp(segment) => {
                if !segment.is_reset() {
                    let is_handshake = matches!(entry.state().phase(), Phase::SynSent | Phase::SynReceived);
                    let (known, receiver) = (entry.sender(direction), entry.sender(direction.reversed()));
                    let learnt = known.after(&receiver, segment, is_handshake).to_words();
                    self.learn(*entry, direction, learnt, segment.is_syn());
                }
            }
            Packet::Sctp(chunk) => {
                if chunk.teaches(next.phase()) {
                    let word = chunk.sender_word(entry.ends[2 * direction as usize]);
                    self.learn(*entry, direction, [word, 0], true);
                }
            }
            Packet::Other => {}
        }
        let deadline = terms.deadline(entry.protocol, next, now);
        let changed = state_word(deadline, entry.control, next.to_bits());
        // Most packets of a connection under way change nothing, and most of the others the deadline alone.
        if changed == entry.state_word
            || (changed as u32 == entry.state_word as u32 && self.put_off(entry, changed))
        {
            return;
        }
        self.move_on(*entry, direction, packet, next, terms, now);
    }

    /// Puts a later deadline in; false where another worker has changed the state word meanwhile.
    #[inline(always)]
    fn put_off(&self, entry: &Entry, changed: u64) -> bool {
        let word = &self.words(entry.index)[6];
        word.compare_exchange(entry.state_word, changed, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Puts the state `next` and its deadline in.
    // By value: whose address is taken stands in memory from the beginning.
    #[inline(never)]
    fn move_on(
        &self,
        entry: Entry,
        direction: Direction,
        packet: &Packet,
        next: State,
        terms: &Terms,
        now: Tick,
    ) {
        let word = &self.words(entry.index)[6];
        let (mut current, mut next) = (entry.state_word, next);
        loop {
            let deadline = terms.deadline(entry.protocol, next, now);
            let changed = state_word(deadline, entry.control, next.to_bits());
            if changed == current {
                return;
            }
            match word.compare_exchange(current, changed, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => {
                    let before = State::from_bits(current as u16).phase();
                    if before.is_half_open() && !next.phase().is_half_open() {
                        self.accounts.complete(owner_of(entry.control));
                    }
                    return;
                }
                // It is another's entry now, or nobody's.
                Err(actual) if (actual ^ current) & 0xffff_0000 != 0 => return,
                // Another worker has moved it on: the packet does to that state what it does.
                Err(actual) => {
                    let Step::Continue(then) =
                        entry.step_from(State::from_bits(actual as u16), packet, direction)
                    else {
                        return;
                    };
                    (current, next) = (actual, then);
                }
            }
        }
    }

    /// Records what an end has shown of itself. `replaces`: a handshake's packet, whose numbers stand for themselves.
    #[inline(never)]
    fn learn(&self, entry: Entry, direction: Direction, learnt: [u64; 2], replaces: bool) {
        let at = 2 * direction as usize;
        for (half, new) in learnt.into_iter().enumerate() {
            let word = &self.ends[entry.index][at + half];
            let (mut current, mut new) = (entry.ends[at + half], new);
            while new != current {
                match word.compare_exchange(current, new, Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) => break,
                    Err(_) if replaces => break,
                    Err(actual) => {
                        let is_gone = self.words(entry.index)[0].load(Ordering::Relaxed) != entry.control;
                        if is_gone {
                            return;
                        }
                        let of = |word| Sender::from_words(if half == 0 { [word, 0] } else { [0, word] });
                        (current, new) = (actual, of(actual).merged(&of(new)).to_words()[half]);
                    }
                }
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

    /// Live connections that have not expired. Cost: reads the whole table.
    pub fn count_live(&self, now: Tick) -> usize {
        let is_live = |words: &&Words| {
            words[0].load(Ordering::Acquire) & KIND == LIVE
                && !is_expired(words[6].load(Ordering::Relaxed), now)
        };
        self.entries.iter().filter(is_live).count()
    }

    /// Connections that a port slot's workload has, and how many of them are half-open; some may have expired just now.
    pub fn share_of(&self, owner: u16) -> (u32, u32) {
        self.accounts.count(owner)
    }

    /// Connections of all, some of which may have expired just now.
    pub fn count(&self) -> u64 {
        self.accounts.count_all()
    }

    /// The most connections that it remembers.
    pub fn capacity(&self) -> usize {
        self.limit as usize
    }
}

#[cfg(all(test, septum_loom))]
#[path = "loom_tests.rs"]
mod loom_tests;
#[cfg(all(test, not(septum_loom)))]
#[path = "table_tests.rs"]
mod tests;
