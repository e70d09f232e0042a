//! The checker's idea of shares: who has opened how many connections in this very moment, under this very policy.
//!
//! None of them can have ended meanwhile, so their number is a lower bound of what the switch remembers.

use std::collections::HashMap;

use super::{Key, Moment};
use crate::craft::{SCTP, TCP};
use crate::world::atlas;

/// By workload: the connections that it has opened in one moment.
#[derive(Debug, Default)]
pub(super) struct Shares {
    since: (u32, usize, usize),
    /// Half-open until somebody but the opener has spoken.
    opened: HashMap<usize, HashMap<Key, bool>>,
}

impl Shares {
    /// Forgets all: a port has come or gone.
    pub(super) fn forget(&mut self) {
        self.opened.clear();
    }

    fn of(&mut self, owner: usize, moment: Moment) -> &mut HashMap<Key, bool> {
        let since = (moment.tick, moment.rules, moment.newest);
        if self.since != since {
            (self.since, self.opened) = (since, HashMap::new());
        }
        self.opened.entry(owner).or_default()
    }

    /// Takes note of a connection that `owner` has opened.
    pub(super) fn opened(&mut self, owner: usize, key: Key, moment: Moment) -> Result<(), String> {
        let own = self.of(owner, moment);
        own.insert(key, matches!(key.protocol, TCP | SCTP));
        let [most, most_half_open] = atlas().rules[moment.rules].shares;
        let half_open = own.values().filter(|is_half_open| **is_half_open).count();
        match () {
            () if own.len() > most => Err(format!("{} connections of one, of {most}", own.len())),
            () if half_open > most_half_open => {
                Err(format!("{half_open} half-open connections of one, of {most_half_open}"))
            }
            () => Ok(()),
        }
    }

    /// A further packet of a connection has passed: its handshake may be complete.
    pub(super) fn continued(&mut self, key: Key) {
        for own in self.opened.values_mut() {
            if let Some(is_half_open) = own.get_mut(&key) {
                *is_half_open = false;
            }
        }
    }
}
