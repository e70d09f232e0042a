//! The table of connections: shared by all workers, bounded, without locks.
//!
//! An entry is one cache line of eight atomic words. Word 0, *control*, says what the entry is (never used,
//! being written, live, dead), counts its reuses, and holds 16 bits of the key's hash and whose share it is; words 1 to 5
//! are the key; word 6 is the state (deadline, reuse count, phase); word 7 the verdict that admitted it and under which
//! policy. Four more words, in an array beside, are what the two ends have shown of themselves
//! ([`super::window`], [`super::sctp`]): two lines in four entries, that only TCP and SCTP touch. A key of IPv6 takes five words,
//! so 64 bytes cannot hold both; entries of 128 would cost every UDP flow a line and the table a third more.
//!
//! A key may stand in the eight entries of its bucket, and where they are all taken, in those of a second one. The table is
//! twice as long as its bound, so it is the bound that refuses, long before two full buckets meet. Reading follows the protocol of a
//! sequence lock: control, key, control again. Words 6 and 7 change by compare-and-swap and carry the reuse count, so a late
//! writer never touches the entry's next tenant. The windows' words change by compare-and-swap too and only
//! grow ([`super::window`] says why that is enough); a late writer would have to find the very 64 bits that
//! it had read, and could then widen the next tenant's window, no more.
//!
//! An entry leaves the state *live* by one worker's compare-and-swap, and that worker alone gives back its owner's share. Whether
//! it was half-open then is what a swap of word 6 finds, after which no late change of phase can succeed.
//!
//! A full table refuses the new connection; nothing live is ever evicted. Expired entries are reused where they
//! stand, and [`ConnectionTable::sweep`] gives back the shares of those that nobody reuses. Cost: a hit reads one line, TCP a second;
//! what is nowhere, the one or two buckets up to the first entry that was never used.

use std::hash::{BuildHasher, Hasher};

use foldhash::SharedSeed;
use foldhash::quality::SeedableRandomState;
use septum_rules::proto::Protocol;

use super::fragments::FragmentTable;
use super::key::{ConnectionKey, Direction};
use super::quota::{Accounts, Met};
use super::state::{Packet, Phase, State, Step};
use super::sync::{AtomicU32, AtomicU64, Ordering, Shared, fence, zeroed};
use super::terms::Terms;
use super::window::Sender;
use crate::clock::Tick;
use crate::sys::prefetch::prefetch;

/// Entries of a bucket.
const WAYS: usize = if cfg!(septum_loom) { 2 } else { 8 };

pub(super) const NEVER_USED: u64 = 0;
pub(super) const CLAIMED: u64 = 1;
pub(super) const LIVE: u64 = 2;
pub(super) const DEAD: u64 = 3;
pub(super) const KIND: u64 = 0b11;
pub(super) const REUSE: u64 = 1 << 2;
pub(super) const REUSE_MASK: u64 = 0xffff_fffc;
pub(super) const FINGERPRINT: u64 = 0xffff << 32;
const OWNER: u32 = 48;

/// Bits of the policy generation that an entry keeps. A connection would have to sleep through a million policy
/// changes, to the very number, to escape its recheck.
const GENERATIONS: u32 = (1 << 20) - 1;

/// What stands for no verdict; the limits of the compiled policy are far below it.
pub const NO_VERDICT: u32 = (1 << 28) - 1;

/// Parts in which the table is swept, one a tick: sixteen seconds a round.
const SLICES: u32 = 128;

/// One cache line. All zero is [`NEVER_USED`].
type Words = [AtomicU64; 8];

/// Two words an end: up, then down.
type Ends = [AtomicU64; 4];

/// The shared table.
#[derive(Debug)]
pub struct ConnectionTable {
    entries: Shared<Words>,
    ends: Shared<Ends>,
    hasher: SeedableRandomState,
    accounts: Accounts,
    limit: u64,
    fragments: FragmentTable,
    /// The tick whose slice was swept last.
    swept: AtomicU32,
    started: Tick,
}

/// Why a connection is not remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unopened {
    /// The table has no room.
    TableFull,
    /// Its workload has as many connections as it may have.
    Quota,
    /// Its workload has as many half-open connections as it may have.
    HalfOpenQuota,
}

/// A connection that is to be remembered.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    /// The packet that opens it, or is the first seen of it.
    pub packet: &'a Packet,
    /// Which way that goes.
    pub direction: Direction,
    /// Which way the opening packet goes, or went: the gates have judged that one.
    pub opener: Direction,
    /// Generation of the policy, and its verdict.
    pub judged: (u32, u32),
    /// The port slot of the workload whose share it is.
    pub owner: u16,
}

/// A live entry, as it was when it was found.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    index: usize,
    control: u64,
    state_word: u64,
    verdict_word: u64,
    ends: [u64; 4],
}

impl Entry {
    /// Whether the policy of `generation` has judged this connection.
    pub fn is_judged_by(&self, generation: u32) -> bool {
        generation_of(self.verdict_word) == generation & GENERATIONS
    }

    /// Whether a later policy than that of `generation` has: one that another worker already forwards by.
    pub fn is_judged_after(&self, generation: u32) -> bool {
        let ahead = generation_of(self.verdict_word).wrapping_sub(generation) & GENERATIONS;
        ahead != 0 && ahead <= GENERATIONS / 2
    }

    /// The index into that policy's verdict table; none for a connection that was kept unjudged.
    pub fn verdict(&self) -> Option<u32> {
        verdict_of(self.verdict_word)
    }

    /// How far it has come.
    pub fn state(&self) -> State {
        State::from_bits(self.state_word as u16)
    }

    /// Which way the opening packet went.
    pub fn opened(&self) -> Direction {
        if self.state().opened_down { Direction::Down } else { Direction::Up }
    }

    /// What is known of the end whose packets go in `direction`, in TCP.
    pub fn sender(&self, direction: Direction) -> Sender {
        let at = 2 * direction as usize;
        Sender::from_words([self.ends[at], self.ends[at + 1]])
    }

    /// What a packet that goes in `direction` does to the connection.
    pub fn step(&self, packet: &Packet, direction: Direction) -> Step {
        self.step_from(self.state(), packet, direction)
    }

    fn step_from(&self, state: State, packet: &Packet, direction: Direction) -> Step {
        let from_opener = state.opened_down == (direction == Direction::Down);
        match packet {
            Packet::Tcp(segment) => {
                let (sender, receiver) = (self.sender(direction), self.sender(direction.reversed()));
                state.step_tcp(segment, &sender, &receiver, from_opener)
            }
            Packet::Sctp(chunk) => {
                let own = self.ends[2 * direction as usize];
                let other = self.ends[2 * direction.reversed() as usize];
                chunk.step(state, own, other, from_opener)
            }
            Packet::Other => state.step_other(from_opener),
        }
    }
}

/// Puts a deadline, the reuse count and state bits into a state word.
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

pub(super) const fn generation_of(verdict_word: u64) -> u32 {
    (verdict_word >> 44) as u32
}

pub(super) fn verdict_of(verdict_word: u64) -> Option<u32> {
    let verdict = (verdict_word >> 16) as u32 & NO_VERDICT;
    (verdict != NO_VERDICT).then_some(verdict)
}

/// Whether a live entry's time is over.
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

impl ConnectionTable {
    /// Port slots that have a share of their own.
    const OWNERS: usize = if cfg!(septum_loom) { 2 } else { 1 << 16 };

    /// A table for `limit` connections: 192 bytes for each, rounded up to a power of two.
    pub fn new(limit: usize) -> Self {
        Self::hashed_by(SeedableRandomState::random(), limit)
    }

    /// The same with a hash that `seed` alone determines, so that a simulation can be played again. Never for traffic:
    /// senders choose the keys.
    pub fn seeded(seed: u64, limit: usize) -> Self {
        static SHARED: SharedSeed = SharedSeed::from_u64(0);
        Self::hashed_by(SeedableRandomState::with_seed(seed, &SHARED), limit)
    }

    fn hashed_by(hasher: SeedableRandomState, limit: usize) -> Self {
        let limit = limit.max(WAYS);
        let length = limit.saturating_mul(2).next_power_of_two();
        Self {
            entries: zeroed(length),
            ends: zeroed(length),
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

    /// The fragments that are on their way.
    pub fn fragments(&self) -> &FragmentTable {
        &self.fragments
    }

    /// The key's hash; compute it once a packet. Seeded: senders choose the keys.
    pub fn hash(&self, key: &ConnectionKey) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        key.0.iter().for_each(|word| hasher.write_u64(*word));
        hasher.finish()
    }

    /// The entries of a key's two buckets, each once, beginning with the one that its hash prefers. The second bucket is used
    /// only while the first is full, so an entry of the first that was never used ends every search.
    fn candidates(&self, hash: u64) -> impl Iterator<Item = usize> + use<> {
        let mask = self.entries.len() - 1;
        let (first, second) = (hash as usize & mask, (hash >> 20) as usize & mask);
        let prefer = first & (WAYS - 1);
        let ways = if (first ^ second) & !(WAYS - 1) == 0 { WAYS } else { 2 * WAYS };
        (0..ways).map(move |way| {
            let base = if way < WAYS { first } else { second } & !(WAYS - 1);
            base | ((prefer + way) % WAYS)
        })
    }

    /// Asks the processor for the entry that a lookup of this hash reads first, and for what its ends have shown. Some tens
    /// of nanoseconds before the lookup, it saves the wait for memory.
    pub fn prefetch(&self, hash: u64) {
        let first = hash as usize & (self.entries.len() - 1);
        prefetch(&self.entries[first]);
        prefetch(&self.ends[first]);
    }

    fn words(&self, index: usize) -> &Words {
        &self.entries[index]
    }

    /// The live entry of a key, whatever packet asks. Changes nothing.
    pub fn find(&self, key: &ConnectionKey, hash: u64, now: Tick) -> Option<Entry> {
        self.find_live(key, hash).filter(|entry| !is_expired(entry.state_word, now))
    }

    /// The live entry of `key`, expired or not.
    fn find_live(&self, key: &ConnectionKey, hash: u64) -> Option<Entry> {
        let has_ends = matches!(Protocol(key.0[4] as u8), Protocol::TCP | Protocol::SCTP);
        for index in self.candidates(hash) {
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
                let mut ends = [0; 4];
                if has_ends && same {
                    for (end, word) in ends.iter_mut().zip(&self.ends[index]) {
                        *end = word.load(Ordering::Relaxed);
                    }
                }
                fence(Ordering::Acquire);
                if words[0].load(Ordering::Relaxed) != control {
                    continue;
                }
                if same {
                    return Some(Entry { index, control, state_word, verdict_word, ends });
                }
                break;
            }
        }
        None
    }

    /// Records that a packet of the connection was forwarded, after which it is in the state `next`.
    pub fn advance(
        &self,
        entry: &Entry,
        direction: Direction,
        packet: &Packet,
        next: State,
        terms: &Terms,
        now: Tick,
    ) {
        let protocol = match packet {
            Packet::Tcp(segment) => {
                if !segment.is_reset() {
                    let is_handshake = matches!(entry.state().phase, Phase::SynSent | Phase::SynReceived);
                    let (known, receiver) = (entry.sender(direction), entry.sender(direction.reversed()));
                    let learnt = known.after(&receiver, segment, is_handshake).to_words();
                    self.learn(entry, direction, learnt, segment.is_syn());
                }
                Protocol::TCP
            }
            Packet::Sctp(chunk) => {
                if chunk.teaches(next.phase) {
                    let word = chunk.sender_word(entry.ends[2 * direction as usize]);
                    self.learn(entry, direction, [word, 0], true);
                }
                Protocol::SCTP
            }
            // Of all others the terms tell apart what the key says.
            Packet::Other => Protocol(self.words(entry.index)[5].load(Ordering::Relaxed) as u8),
        };
        let word = &self.words(entry.index)[6];
        let (mut current, mut next) = (entry.state_word, next);
        loop {
            let deadline = terms.deadline(protocol, next, now);
            let changed = state_word(deadline, entry.control, next.to_bits());
            if changed == current {
                return;
            }
            match word.compare_exchange(current, changed, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => {
                    let before = State::from_bits(current as u16).phase;
                    if before.is_half_open() && !next.phase.is_half_open() {
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
    fn learn(&self, entry: &Entry, direction: Direction, learnt: [u64; 2], replaces: bool) {
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

    /// Ends a connection at once.
    pub fn end(&self, entry: &Entry) {
        self.release(entry.index, entry.control);
    }

    /// Takes a live entry out of use, and gives back its owner's share. Nothing, where another worker has done so.
    fn release(&self, index: usize, control: u64) {
        let claimed = control & REUSE_MASK | CLAIMED;
        let word = &self.words(index)[0];
        if word.compare_exchange(control, claimed, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            self.settle(index, control);
            word.store(control & REUSE_MASK | DEAD, Ordering::Release);
        }
    }

    /// Gives back the share of an entry that was live under `control` and is claimed by this worker.
    fn settle(&self, index: usize, control: u64) {
        // Whoever reads what follows must see that the entry is claimed.
        fence(Ordering::Release);
        let last = self.words(index)[6].swap(tombstone(control), Ordering::Relaxed);
        self.accounts.give(owner_of(control), State::from_bits(last as u16).phase.is_half_open());
    }

    /// Enters a connection that the gates have admitted. One that is there already (another worker's) is left as it is.
    ///
    /// # Errors
    /// Why there is no room for it; then nothing has changed.
    pub fn open(
        &self,
        key: &ConnectionKey,
        hash: u64,
        opening: &Opening<'_>,
        terms: &Terms,
        now: Tick,
    ) -> Result<(), Unopened> {
        let Opening { packet, direction, opener, judged, owner } = *opening;
        let state = State::opened_by(packet, opener == Direction::Down);
        if let Some(existing) = self.find_live(key, hash) {
            if !is_expired(existing.state_word, now) {
                return Ok(());
            }
            self.end(&existing);
        }
        let is_half_open = state.phase.is_half_open();
        let bounds = (terms.connections, terms.half_open, self.limit);
        self.accounts.take(owner, is_half_open, bounds).map_err(|met| match met {
            Met::All => Unopened::TableFull,
            Met::Connections => Unopened::Quota,
            Met::HalfOpen => Unopened::HalfOpenQuota,
        })?;
        let Some(index) = self.claim_free(hash, now) else {
            self.accounts.give(owner, is_half_open);
            return Err(Unopened::TableFull);
        };
        let words = self.words(index);
        let claimed = words[0].load(Ordering::Relaxed);
        fence(Ordering::Release);
        for (word, value) in words[1..6].iter().zip(key.0) {
            word.store(value, Ordering::Relaxed);
        }
        let live = live(claimed, hash, owner);
        let deadline = terms.deadline(Protocol(key.0[4] as u8), state, now);
        words[6].store(state_word(deadline, live, state.to_bits()), Ordering::Relaxed);
        words[7].store(verdict_word(judged.0, judged.1, live), Ordering::Relaxed);
        let shown = match packet {
            Packet::Tcp(segment) if segment.is_opening() => Sender::opener(segment).to_words(),
            Packet::Tcp(segment) => Sender::taken_up(segment).to_words(),
            Packet::Sctp(chunk) => [chunk.sender_word(0), 0],
            Packet::Other => [0; 2],
        };
        if *packet != Packet::Other {
            let own = 2 * direction as usize;
            for (at, word) in self.ends[index].iter().enumerate() {
                let value = if at & 2 == own { shown[at & 1] } else { 0 };
                word.store(value, Ordering::Relaxed);
            }
        }
        words[0].store(live, Ordering::Release);
        // Of two workers that both store first and look then, at least one must see the other.
        fence(Ordering::SeqCst);
        self.settle_duplicates(key, hash, index, live);
        Ok(())
    }

    /// Claims the first entry of the key's buckets that holds nothing live; its control word is then ours alone.
    fn claim_free(&self, hash: u64, now: Tick) -> Option<usize> {
        for index in self.candidates(hash) {
            let words = self.words(index);
            let control = words[0].load(Ordering::Acquire);
            let kind = control & KIND;
            let free = match kind {
                CLAIMED => false,
                LIVE => is_expired(words[6].load(Ordering::Relaxed), now),
                _ => true,
            };
            let claimed = control.wrapping_add(REUSE) & REUSE_MASK | CLAIMED;
            if free
                && words[0].compare_exchange(control, claimed, Ordering::Acquire, Ordering::Relaxed).is_ok()
            {
                if kind == LIVE {
                    self.settle(index, control);
                }
                return Some(index);
            }
        }
        None
    }

    /// Two workers may enter the same connection at the same moment: the entry that lookups meet first stays.
    fn settle_duplicates(&self, key: &ConnectionKey, hash: u64, mine: usize, my_control: u64) {
        let mut met_mine = false;
        for index in self.candidates(hash) {
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
                if !met_mine {
                    return self.release(mine, my_control);
                }
                self.release(index, control);
            }
        }
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
        let slice = (next % SLICES) as usize;
        let part = |length: usize, slice: usize| (length as u64 * slice as u64 / u64::from(SLICES)) as usize;
        let length = self.entries.len();
        for index in part(length, slice)..part(length, slice + 1) {
            let words = self.words(index);
            let control = words[0].load(Ordering::Acquire);
            if control & KIND == LIVE && is_expired(words[6].load(Ordering::Relaxed), now) {
                self.release(index, control);
            }
        }
        let length = self.fragments.capacity();
        self.fragments.sweep(part(length, slice)..part(length, slice + 1), now);
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
