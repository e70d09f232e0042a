//! A live entry as a lookup found it: a copy of its words, and what a packet does to it.

use septum_rules::proto::Protocol;

use super::key::Direction;
use super::state::{Packet, State, Step};
use super::window::Sender;
use super::words::{GENERATIONS, generation_of, is_expired, verdict_of};
use crate::clock::Tick;

/// A live entry, as it was when it was found.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub(super) index: usize,
    pub(super) protocol: Protocol,
    pub(super) control: u64,
    pub(super) state_word: u64,
    pub(super) verdict_word: u64,
    pub(super) ends: [u64; 4],
}

impl Entry {
    /// Whether its time is over.
    #[inline]
    pub(super) fn is_expired(&self, now: Tick) -> bool {
        is_expired(self.state_word, now)
    }

    /// Whether the policy of `generation` has judged this connection.
    #[inline]
    pub fn is_judged_by(&self, generation: u32) -> bool {
        generation_of(self.verdict_word) == generation & GENERATIONS
    }

    /// Whether a later policy than that of `generation` has: one that another worker already forwards by.
    pub fn is_judged_after(&self, generation: u32) -> bool {
        let ahead = generation_of(self.verdict_word).wrapping_sub(generation) & GENERATIONS;
        ahead != 0 && ahead <= GENERATIONS / 2
    }

    /// The index into that policy's verdict table; none for a connection that was kept unjudged.
    #[inline]
    pub fn verdict(&self) -> Option<u32> {
        verdict_of(self.verdict_word)
    }

    /// How far it has come.
    #[inline]
    pub fn state(&self) -> State {
        State::from_bits(self.state_word as u16)
    }

    /// Which way the opening packet went.
    pub fn opened(&self) -> Direction {
        if self.state().is_opened_down() { Direction::Down } else { Direction::Up }
    }

    /// What is known of the end whose packets go in `direction`, in TCP.
    #[inline]
    pub fn sender(&self, direction: Direction) -> Sender {
        let at = 2 * direction as usize;
        Sender::from_words([self.ends[at], self.ends[at + 1]])
    }

    /// What a packet that goes in `direction` does to the connection.
    #[inline(always)]
    pub fn step(&self, packet: &Packet, direction: Direction) -> Step {
        self.step_from(self.state(), packet, direction)
    }

    #[inline(always)]
    pub(super) fn step_from(&self, state: State, packet: &Packet, direction: Direction) -> Step {
        let from_opener = state.is_opened_down() == (direction == Direction::Down);
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
