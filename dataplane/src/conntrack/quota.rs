//! Who has how many connections: exact counts without a lock, touched when a connection begins and ends, never by a packet.
//!
//! An account is one atomic word a port slot: connections in its low half, half-open ones in its high half, so that
//! both are taken by one addition. What was taken beyond a bound is given back at once, so for a moment a count may be
//! above its bound, by one for each worker, and nothing is remembered for it.

use crossbeam_utils::CachePadded;

use super::sync::{AtomicU64, Ordering};

/// The accounts of all port slots, and of all together.
#[derive(Debug)]
pub(super) struct Accounts {
    owners: Box<[AtomicU64]>,
    /// On a line of its own: what every packet reads stands beside the accounts.
    all: CachePadded<AtomicU64>,
}

const ONE: u64 = 1;
const ONE_HALF_OPEN: u64 = 1 << 32;

/// Which bound a new connection meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Met {
    Connections,
    HalfOpen,
    All,
}

impl Accounts {
    pub(super) fn new(slots: usize) -> Self {
        Self { owners: (0..slots).map(|_| AtomicU64::new(0)).collect(), all: AtomicU64::new(0).into() }
    }

    fn of(&self, owner: u16) -> &AtomicU64 {
        // Every owner has an account; a table that was made for fewer lets them share.
        &self.owners[usize::from(owner) % self.owners.len()]
    }

    /// Takes one from `owner`'s share and from everybody's.
    pub(super) fn take(
        &self,
        owner: u16,
        is_half_open: bool,
        (connections, half_open, all): (u32, u32, u64),
    ) -> Result<(), Met> {
        let taken = ONE + if is_half_open { ONE_HALF_OPEN } else { 0 };
        let account = self.of(owner);
        let before = account.fetch_add(taken, Ordering::Relaxed);
        let met = match () {
            () if is_half_open && before >> 32 >= u64::from(half_open) => Some(Met::HalfOpen),
            () if before & (ONE_HALF_OPEN - 1) >= u64::from(connections) => Some(Met::Connections),
            () if self.all.fetch_add(1, Ordering::Relaxed) >= all => {
                self.all.fetch_sub(1, Ordering::Relaxed);
                Some(Met::All)
            }
            () => None,
        };
        match met {
            None => Ok(()),
            Some(met) => {
                account.fetch_sub(taken, Ordering::Relaxed);
                Err(met)
            }
        }
    }

    /// Gives back what a connection had taken.
    pub(super) fn give(&self, owner: u16, is_half_open: bool) {
        let taken = ONE + if is_half_open { ONE_HALF_OPEN } else { 0 };
        self.of(owner).fetch_sub(taken, Ordering::Relaxed);
        self.all.fetch_sub(1, Ordering::Relaxed);
    }

    /// One of `owner`'s half-open connections is complete.
    pub(super) fn complete(&self, owner: u16) {
        self.of(owner).fetch_sub(ONE_HALF_OPEN, Ordering::Relaxed);
    }

    /// Connections and half-open ones of `owner`.
    pub(super) fn count(&self, owner: u16) -> (u32, u32) {
        let account = self.of(owner).load(Ordering::Relaxed);
        (account as u32, (account >> 32) as u32)
    }

    /// Connections of all.
    pub(super) fn count_all(&self) -> u64 {
        self.all.load(Ordering::Relaxed)
    }
}
