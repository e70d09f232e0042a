//! The kernel of AVX2: one packet a step, stage by stage over up to [`STAGE`] packets.
//!
//! Blocks of boundaries and buckets are searched by vector comparisons. Everything else is plain loads with checked
//! indices: on the processors at hand a gather of eight is not faster than eight loads.

use std::arch::x86_64::*;

use super::address::{AddressTable, Block, KEYS, key};
use super::tables::{Bucket, NONE, Record, SLOTS, Tables};
use crate::filter::{FilterMatch, FiveTuple};

/// Packets of one stage.
const STAGE: usize = 64;
const PARTS: usize = 4;
/// Lanes of one vector.
const LANES: usize = 8;

/// How many boundaries of a block an address has reached.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn reached(block: &Block, address: __m256i) -> u32 {
    let halves = block.0.as_ptr();
    // SAFETY: the lower half of a block is 32 bytes, aligned.
    let low = unsafe { _mm256_load_si256(halves.cast()) };
    // SAFETY: the upper half too.
    let high = unsafe { _mm256_load_si256(halves.wrapping_add(LANES).cast()) };
    let below = |keys| _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(address, keys)));
    ((below(low) | below(high) << LANES) as u32).count_ones()
}

/// The interval of an address.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn interval(table: &AddressTable, address: u32) -> u32 {
    let address = _mm256_set1_epi32(key(address));
    let (mut block, mut boundaries) = (0, 0);
    for start in &table.levels {
        block = block * (KEYS as u32 + 1) + boundaries;
        boundaries = reached(&table.blocks[(start + block) as usize], address);
    }
    block * KEYS as u32 + boundaries
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

/// Cells that lead somewhere, and whose they are.
struct Queue {
    entries: [(u32, u32); PARTS * STAGE + 1],
    length: usize,
}

impl Queue {
    fn new() -> Self {
        Self { entries: [(0, 0); PARTS * STAGE + 1], length: 0 }
    }

    /// Written in any case, kept if told so: what a cell is cannot be predicted.
    #[inline(always)]
    fn push(&mut self, is_kept: bool, cell: u32, packet: usize) {
        self.entries[self.length] = (cell, packet as u32);
        self.length += usize::from(is_kept);
    }

    #[inline(always)]
    fn settle(&self, best: &mut [u32; STAGE], rank: impl Fn(u32, usize) -> u32) {
        for (cell, packet) in &self.entries[..self.length] {
            let packet = *packet as usize % STAGE;
            best[packet] = best[packet].min(rank(*cell, packet));
        }
    }
}

/// The rank of the first filter for each packet, as far as both reach.
#[target_feature(enable = "avx2,popcnt,bmi1,bmi2")]
pub(super) fn classify(
    sides: [&AddressTable; 2],
    tables: &Tables,
    tuples: &[FiveTuple<u32>],
    matches: &mut [FilterMatch],
) {
    let mut records = [(Record::default(), Record::default()); STAGE];
    let mut class = [0; STAGE];
    let (mut single, mut programs) = (Queue::new(), Queue::new());
    for (tuples, matches) in tuples.chunks(STAGE).zip(matches.chunks_mut(STAGE)) {
        for (class, tuple) in class.iter_mut().zip(tuples) {
            *class = tables.services.class(tuple.protocol, tuple.source_port, tuple.destination_port);
        }
        for (records, tuple) in records.iter_mut().zip(tuples) {
            records.0 = tables.sources[interval(sides[0], tuple.source) as usize];
            records.1 = tables.destinations[interval(sides[1], tuple.destination) as usize];
        }
        (single.length, programs.length) = (0, 0);
        let mut sort = |cell: u32, packet: usize| {
            single.push(cell & Tables::SINGLE != 0, cell, packet);
            programs.push(cell.wrapping_sub(1) < Tables::SINGLE - 1, cell, packet);
        };
        let records = &records[..tuples.len()];
        if tables.has_wide {
            for (packet, (source, destination)) in records.iter().enumerate() {
                sort(
                    tables.wide[(source.wide() * tables.wide_columns + destination.wide()) as usize],
                    packet,
                );
            }
        }
        if tables.has_rows[0] {
            for (packet, (source, destination)) in records.iter().enumerate() {
                sort(tables.rows[(source.row() + destination.wide()) as usize], packet);
            }
        }
        if tables.has_rows[1] {
            for (packet, (source, destination)) in records.iter().enumerate() {
                sort(tables.rows[(destination.row() + source.wide()) as usize], packet);
            }
        }
        if tables.pairs.entries > 0 {
            for (packet, (source, destination)) in records.iter().enumerate() {
                let (bucket, tag) = tables.pairs.place_of(source.pair(), destination.pair());
                // Where either is "none", an empty slot answers.
                let both = u32::from(source.pair() != 0) & u32::from(destination.pair() != 0);
                let bucket = &tables.pairs.buckets[(bucket * both) as usize];
                sort(cell_of(bucket, tag * both), packet);
            }
        }
        let mut best = [NONE; STAGE];
        single.settle(&mut best, |cell, packet| tables.rank_of_single(cell, class[packet]));
        programs.settle(&mut best, |cell, packet| tables.rank_in_program(cell, class[packet]));
        matches.iter_mut().zip(&best[..tuples.len()]).for_each(|(found, rank)| *found = FilterMatch(*rank));
    }
}
