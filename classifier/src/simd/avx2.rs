//! What AVX2 adds to the kernel: boundaries of addresses and a bucket's tags are compared eight or sixteen at a time.

use std::arch::x86_64::*;

use super::address::AddressTable;
use super::address::rooted::{self, Rooted};
use super::address::searched::{self, Searched, key};
use super::kernel::{self, Packets, Queue, Queues, Vectors};
use super::tables::{Bucket, SLOTS, Tables};
use crate::filter::{FilterMatch, FiveTuple};

/// Lanes of 32 bits.
const LANES: usize = 8;
/// A comparison of 16-bit lanes gives two bits a lane.
const BITS: u32 = 2;

/// The interval of an address.
#[inline]
#[target_feature(enable = "avx2,bmi2,popcnt")]
fn rooted<const VECTORS: usize>(table: &Rooted, address: u32) -> u32 {
    let (start, own) = table.bounds(address);
    if VECTORS == rooted::MOST_VECTORS && own as usize > VECTORS * rooted::KEYS {
        return table.search(address, (start, own));
    }
    let low = _mm256_set1_epi16(address as i16);
    let mut reached = 0;
    for vector in 0..VECTORS {
        let keys = table.keys.as_ptr().wrapping_add(start as usize + vector * rooted::KEYS);
        let half = |at: usize| {
            // SAFETY: two vectors of `KEYS` from any boundary on lie in the table (`Rooted::build`).
            let keys = unsafe { _mm256_loadu_si256(keys.wrapping_add(at * rooted::KEYS / 2).cast()) };
            // There is no unsigned comparison: the greater of both is the address.
            u64::from(_mm256_movemask_epi8(_mm256_cmpeq_epi16(_mm256_max_epu16(keys, low), low)) as u32)
        };
        let own = own.saturating_sub((vector * rooted::KEYS) as u32);
        reached += _bzhi_u64(half(0) | half(1) << 32, (own * BITS).min(u64::BITS)).count_ones();
    }
    start + reached / BITS
}

/// The interval of an address.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn searched(table: &Searched, levels: &[u32], address: u32) -> u32 {
    let address = _mm256_set1_epi32(key(address));
    let (mut block, mut boundaries) = (0, 0);
    for start in levels {
        block = block * (searched::KEYS as u32 + 1) + boundaries;
        // SAFETY: boundaries lead to blocks that there are (`Searched::build`).
        let keys = unsafe { table.blocks.get_unchecked((start + block) as usize) }.0.as_ptr();
        let half = |at: usize| {
            // SAFETY: a block is two vectors, aligned.
            let keys = unsafe { _mm256_load_si256(keys.wrapping_add(at * LANES).cast()) };
            _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(address, keys))) as u32
        };
        boundaries = (half(0) | half(1) << LANES).count_ones();
    }
    block * searched::KEYS as u32 + boundaries
}

/// The cell of a bucket with that tag, or the empty cell behind the others.
#[inline]
#[target_feature(enable = "avx2,bmi1")]
fn cell_of(bucket: &Bucket, tag: u32) -> u32 {
    // SAFETY: the tags are 32 bytes, aligned.
    let tags = unsafe { _mm256_load_si256(bucket.tags.as_ptr().cast()) };
    let same = _mm256_cmpeq_epi32(tags, _mm256_set1_epi32(tag as i32));
    let same = _mm256_movemask_ps(_mm256_castsi256_ps(same)) | 1 << (SLOTS - 1);
    bucket.cells[same.trailing_zeros() as usize % SLOTS]
}

impl Queue {
    /// Written in any case, kept if told so: what a cell is cannot be predicted.
    #[inline(always)]
    fn push_one(&mut self, is_kept: bool, cell: u32, asker: u32) {
        (self.cells[self.length], self.askers[self.length]) = (cell, asker);
        self.length += usize::from(is_kept);
    }
}

/// Moves the cells of the packets to the queues.
#[inline]
#[target_feature(enable = "avx2,popcnt,bmi1,bmi2")]
fn cells(tables: &Tables, packets: &Packets, queues: &mut Queues, count: usize) {
    let mut sort = |cell: u32, packet: usize| {
        let asker = packets.class[packet] | (packet as u32) << 16;
        queues.single.push_one(cell & Tables::SINGLE != 0, cell, asker);
        queues.programs.push_one(cell.wrapping_sub(1) < Tables::SINGLE - 1, cell, asker);
    };
    let [sources, destinations] = &packets.records;
    let each = || sources.iter().zip(destinations).enumerate().take(count);
    if tables.has_wide {
        for (packet, (source, destination)) in each() {
            let at = source.wide() * tables.wide_columns + destination.wide();
            sort(tables.wide[at as usize], packet);
        }
    }
    if tables.has_rows[0] {
        for (packet, (source, destination)) in each() {
            sort(tables.rows[(source.row() + destination.wide()) as usize], packet);
        }
    }
    if tables.has_rows[1] {
        for (packet, (source, destination)) in each() {
            sort(tables.rows[(destination.row() + source.wide()) as usize], packet);
        }
    }
    if tables.pairs.entries > 0 {
        for (packet, (source, destination)) in each() {
            let (bucket, tag) = tables.pairs.place_of(source.pair(), destination.pair());
            // Where either is "none", an empty slot answers.
            let both = u32::from(source.pair() != 0) & u32::from(destination.pair() != 0);
            let bucket = &tables.pairs.buckets[(bucket * both) as usize];
            sort(cell_of(bucket, tag * both), packet);
        }
    }
}

struct Avx2;

impl Vectors for Avx2 {
    #[inline(always)]
    unsafe fn rooted<const VECTORS: usize>(table: &Rooted, address: u32) -> u32 {
        // SAFETY: the caller says that the processor has the instructions.
        unsafe { rooted::<VECTORS>(table, address) }
    }

    #[inline(always)]
    unsafe fn searched(table: &Searched, levels: &[u32], address: u32) -> u32 {
        // SAFETY: as above.
        unsafe { searched(table, levels, address) }
    }

    #[inline(always)]
    unsafe fn cells(tables: &Tables, packets: &Packets, queues: &mut Queues, count: usize) {
        // SAFETY: as above.
        unsafe { cells(tables, packets, queues, count) }
    }
}

/// The rank of the first filter for each packet, as far as both reach.
///
/// # Safety
/// Each interval of `sides` has a record (`Tables::check_intervals`).
#[target_feature(enable = "avx2,popcnt,bmi1,bmi2")]
pub(super) unsafe fn classify(
    sides: [&AddressTable; 2],
    tables: &Tables,
    tuples: &[FiveTuple<u32>],
    matches: &mut [FilterMatch],
) {
    // SAFETY: these are the instructions; the rest is the caller's promise.
    unsafe { kernel::classify::<Avx2>(sides, tables, tuples, matches) }
}
