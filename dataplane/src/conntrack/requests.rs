//! Requests for the cache lines in which the connections of a burst stand.
//!
//! A request waits until its address is translated, and what is behind it waits too, unless it is another request: a processor
//! walks through several page tables at the same time. So the lines of a few connections are asked for one behind the other. Of
//! many more at once it forgets some.

use super::displaced::DISPLACED;
use super::key::Connection;
use super::places::Region;
use super::sync::Ordering;
use super::table::ConnectionTable;
use super::words::FINGERPRINT;
use crate::sys::prefetch::prefetch;

impl ConnectionTable {
    /// Connections whose lines are best asked for together.
    pub const REQUESTED: usize = 8;

    /// Asks for the lines that lookups of these connections read first, and for those where the ones `before`, whose lines have come
    /// meanwhile, may stand instead. Some tens of nanoseconds before the lookups, it saves the wait for memory.
    #[inline(always)]
    pub fn request<'a>(
        &self,
        connections: impl Iterator<Item = &'a Connection>,
        before: impl Iterator<Item = &'a Connection>,
    ) {
        let (region, other) = self.places.in_use();
        for connection in connections {
            self.request_first(region, connection);
            if let Some(other) = other {
                self.request_first(other, connection);
            }
        }
        before.for_each(|connection| self.request_further(region, connection.hash));
    }

    #[inline(always)]
    fn request_first(&self, region: Region, connection: &Connection) {
        let first = region.preferred(connection.hash);
        prefetch(&self.entries[first]);
        if connection.key.has_ends() {
            prefetch(&self.ends[first]);
        }
    }

    /// Asks for more if another has the entry that a key of this hash prefers.
    #[inline(always)]
    fn request_further(&self, region: Region, hash: u64) {
        let words = self.words(region.preferred(hash));
        let is_anothers = (words[0].load(Ordering::Relaxed) ^ hash) & FINGERPRINT != 0;
        if is_anothers && words[5].load(Ordering::Relaxed) & DISPLACED != 0 {
            region.candidates(hash).skip(1).take(2).for_each(|next| prefetch(&self.entries[next]));
        }
    }
}
