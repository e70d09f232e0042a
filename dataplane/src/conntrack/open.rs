//! How a connection begins: its share, its entry, and which of two stays.

use super::displaced::DISPLACED;
use super::key::{ConnectionKey, Direction};
use super::quota::Met;
use super::state::{Packet, State};
use super::sync::{Ordering, fence};
use super::table::{ConnectionTable, holds};
use super::terms::Terms;
use super::window::Sender;
use super::words::{
    CLAIMED, FINGERPRINT, KIND, LIVE, REUSE, REUSE_MASK, is_expired, live, state_word, verdict_word,
};
use crate::clock::Tick;

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

impl ConnectionTable {
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
            if !existing.is_expired(now) {
                return Ok(());
            }
            self.end(&existing);
        }
        let is_half_open = state.phase().is_half_open();
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
        for (word, value) in words[1..5].iter().zip(key.0) {
            word.store(value, Ordering::Relaxed);
        }
        // The place's own bits stay, whoever changes them meanwhile.
        let with_key = |word| Some(word & DISPLACED | key.0[4]);
        let _ = words[5].fetch_update(Ordering::Relaxed, Ordering::Relaxed, with_key);
        let live = live(claimed, hash, owner);
        let deadline = terms.deadline(key.protocol(), state, now);
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

    /// Claims the first entry of the key's candidates that holds nothing live, and counts the key in; its control word is then ours
    /// alone.
    fn claim_free(&self, hash: u64, now: Tick) -> Option<usize> {
        let region = self.places.for_next();
        for (nth, index) in region.candidates(hash).enumerate() {
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
                self.count_in(region, hash, index, nth);
                return Some(index);
            }
        }
        None
    }

    /// Two workers may enter the same connection at the same moment: the entry that lookups meet first stays.
    fn settle_duplicates(&self, key: &ConnectionKey, hash: u64, mine: usize, my_control: u64) {
        let mut met_mine = false;
        for index in self.occupied(hash) {
            if index == mine {
                met_mine = true;
                continue;
            }
            let words = self.words(index);
            let control = words[0].load(Ordering::Acquire);
            let same = control & KIND == LIVE && (control ^ hash) & FINGERPRINT == 0 && holds(words, key);
            if same {
                if !met_mine {
                    return self.release(mine, my_control);
                }
                self.release(index, control);
            }
        }
    }
}
