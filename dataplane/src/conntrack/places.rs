//! Where a key may stand: the regions of the table, and the order of places in each.
//!
//! A processor translates addresses page by page, and the kernel's own work between two bursts pushes out what it has kept of
//! them. In a table for a million connections each packet meets a page of its own, and to translate its address takes longer than
//! to fetch the line: a prefetch waits for it too, and in a virtual machine it is a walk through two page tables, whatever the
//! guest's pages are. So a table has an *inner* region of a quarter of the rest, where connections stand while there is
//! room: few of them live on few pages. Where it is a quarter full, so that nearly all still have the entry that they prefer, they stand
//! in the *outer* region. Nothing moves: a search goes through both while both hold something, and begins where more do.
//!
//! In a region a key prefers one entry by its hash. Where that is taken it stands in another of the same bucket of eight, and where they
//! all are, in another bucket: the hash leads through all of them. A region is at least twice as long as what may stand in it, so
//! there is always a place. How many buckets a search beyond goes through is the most that any connection of the table ever needed.

use std::ops::Range;

use crossbeam_utils::CachePadded;

use super::sync::{AtomicU32, AtomicU64, Ordering};

/// Entries of a bucket.
pub(super) const WAYS: usize = if cfg!(septum_loom) { 2 } else { 8 };

/// Entries of the least inner region. So small that every test of connections goes through both regions.
const LEAST_INNER: usize = 16;

/// A part of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Region {
    /// Which of the two it is.
    number: usize,
    /// Its first entry; the first of a bucket.
    start: usize,
    /// How many it has: a power of two, or none.
    length: usize,
}

impl Region {
    /// The entry that a key of this hash prefers here.
    #[inline(always)]
    pub(super) fn preferred(&self, hash: u64) -> usize {
        self.start + (hash as usize & (self.length - 1))
    }

    /// The entries of one of so many parts.
    pub(super) fn part(&self, part: u32, parts: u32) -> Range<usize> {
        part_of(self.start..self.start + self.length, part, parts)
    }

    /// All entries, in the order in which a key may stand in them: its bucket's, beginning with the one that it prefers, then those of
    /// the other buckets.
    pub(super) fn candidates(self, hash: u64) -> impl Iterator<Item = usize> {
        let Self { start, length, .. } = self;
        let preferred = self.preferred(hash) - start;
        // The number of buckets is a power of two, so an odd step leads through all.
        let step = ((hash >> 48) as usize | 1) * WAYS;
        (0..length).map(move |at| {
            let base = (preferred & !(WAYS - 1)).wrapping_add(at / WAYS * step) & (length - 1);
            start + (base | ((preferred ^ at) % WAYS))
        })
    }
}

/// One of so many parts of a range: no two of them meet, and together they are all of it.
pub(super) fn part_of(whole: Range<usize>, part: u32, parts: u32) -> Range<usize> {
    let at = |part: u32| whole.start + (whole.len() as u64 * u64::from(part) / u64::from(parts)) as usize;
    at(part)..at(part + 1)
}

/// The regions, and how many connections stand in each.
#[derive(Debug)]
pub(super) struct Places {
    regions: [Region; 2],
    /// Written whenever a connection begins or ends: not beside what only packets read.
    held: CachePadded<[AtomicU64; 2]>,
    /// Buckets that a search beyond a key's own goes through, its own included. Only grows.
    reach: AtomicU32,
}

impl Places {
    /// Places for `limit` connections, and a bucket's at least.
    pub(super) fn new(limit: usize) -> Self {
        let length = limit.max(WAYS).saturating_mul(2).next_power_of_two();
        let inner = length / 4;
        Self::of_lengths(if inner < LEAST_INNER { 0 } else { inner }, length)
    }

    /// The same with an inner region of so many entries; none where it is 0.
    pub(super) fn of_lengths(inner: usize, outer: usize) -> Self {
        let region = |number, start, length| Region { number, start, length };
        let regions = match inner {
            0 => [region(0, 0, outer), region(1, outer, 0)],
            _ => [region(0, 0, inner), region(1, inner, outer)],
        };
        Self { regions, held: [0, 0].map(AtomicU64::new).into(), reach: AtomicU32::new(1) }
    }

    /// Entries of all regions.
    pub(super) fn length(&self) -> usize {
        self.regions.iter().map(|region| region.length).sum()
    }

    fn held(&self, number: usize) -> u64 {
        self.held[number].load(Ordering::Relaxed)
    }

    /// The region in which most connections stand.
    #[inline(always)]
    pub(super) fn most_used(&self) -> Region {
        self.regions[usize::from(self.held(1) > self.held(0))]
    }

    /// That, and the other one if it holds any.
    #[inline(always)]
    pub(super) fn in_use(&self) -> (Region, Option<Region>) {
        let most_used = self.most_used();
        let other = 1 - most_used.number;
        (most_used, (self.held(other) != 0).then(|| self.regions[other]))
    }

    /// The regions that hold anything, in an order that never changes.
    pub(super) fn occupied(&self) -> impl Iterator<Item = Region> {
        self.regions.into_iter().filter(|region| region.number == 0 || self.held(region.number) != 0)
    }

    /// The region where the next connection is to stand.
    pub(super) fn for_next(&self) -> Region {
        let [inner, outer] = self.regions;
        if outer.length == 0 || self.held(0) < inner.length as u64 / 4 { inner } else { outer }
    }

    /// The region of an entry.
    pub(super) fn region_of(&self, index: usize) -> Region {
        self.regions[usize::from(index >= self.regions[1].start)]
    }

    /// Counts one more connection in a region, the `nth` of the candidates of its hash there.
    pub(super) fn enter(&self, region: Region, nth: usize) {
        self.held[region.number].fetch_add(1, Ordering::Relaxed);
        let reach = (nth / WAYS) as u32 + 1;
        if reach > self.reach.load(Ordering::Relaxed) {
            self.reach.fetch_max(reach, Ordering::Relaxed);
        }
    }

    /// Counts one less.
    pub(super) fn leave(&self, region: Region) {
        self.held[region.number].fetch_sub(1, Ordering::Relaxed);
    }

    /// Entries that a search goes through which leaves its bucket.
    pub(super) fn reach(&self) -> usize {
        WAYS * self.reach.load(Ordering::Relaxed) as usize
    }
}
