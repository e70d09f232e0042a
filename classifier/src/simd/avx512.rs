//! What AVX-512 adds to the kernel: 32 lower halves or 16 boundaries of addresses, and a bucket's tags, are one comparison;
//! cells are fetched sixteen packets at a time, and those that lead somewhere moved together by one instruction.

#![allow(
    clippy::multiple_unsafe_ops_per_block,
    reason = "the lint counts vector arithmetic, which is safe where its features are enabled"
)]

use std::arch::x86_64::*;

use super::address::AddressTable;
use super::address::rooted::{self, Rooted};
use super::address::searched::{KEYS, Searched, key};
use super::kernel::{self, LANES, Packets, Queue, Queues, STAGE, Vectors};
use super::tables::{Bucket, PairMap, Record, SLOTS, Tables};
use crate::filter::{FilterMatch, FiveTuple};

/// The interval of an address.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,bmi2,popcnt")]
fn rooted<const VECTORS: usize>(table: &Rooted, address: u32) -> u32 {
    let (start, own) = table.bounds(address);
    let low = _mm512_set1_epi16(address as i16);
    let keys = table.keys.as_ptr().wrapping_add(start as usize);
    // SAFETY: two vectors from any boundary on lie in the table (`Rooted::build`).
    let reached = _mm512_cmple_epu16_mask(unsafe { _mm512_loadu_si512(keys.cast()) }, low);
    if VECTORS == 1 {
        return start + _bzhi_u32(reached, own).count_ones();
    }
    if own as usize > VECTORS * rooted::KEYS {
        return table.search(address, (start, own));
    }
    // SAFETY: as above.
    let above = unsafe { _mm512_loadu_si512(keys.wrapping_add(rooted::KEYS).cast()) };
    let reached = u64::from(reached) | u64::from(_mm512_cmple_epu16_mask(above, low)) << 32;
    start + _bzhi_u64(reached, own).count_ones()
}

/// The interval of an address.
#[inline]
#[target_feature(enable = "avx512f,popcnt")]
fn searched(table: &Searched, levels: &[u32], address: u32) -> u32 {
    let address = _mm512_set1_epi32(key(address));
    let (mut block, mut boundaries) = (0, 0);
    for start in levels {
        block = block * (KEYS as u32 + 1) + boundaries;
        // SAFETY: boundaries lead to blocks that there are (`Searched::build`).
        let keys = unsafe { table.blocks.get_unchecked((start + block) as usize) }.0.as_ptr();
        // SAFETY: a block is 64 bytes, aligned.
        let keys = unsafe { _mm512_load_si512(keys.cast()) };
        boundaries = u32::from(_mm512_cmpgt_epi32_mask(address, keys)).count_ones();
    }
    block * KEYS as u32 + boundaries
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(column: &[u32; STAGE], at: usize) -> __m512i {
    let lanes: &[u32; LANES] = column[at..].first_chunk().expect("a column is whole vectors");
    // SAFETY: the sixteen lanes are readable.
    unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(column: &mut [u32; STAGE], at: usize, lanes: __m512i) {
    let place: &mut [u32; LANES] = column[at..].first_chunk_mut().expect("a column is whole vectors");
    // SAFETY: the sixteen lanes are writable.
    unsafe { _mm512_storeu_si512(place.as_mut_ptr().cast(), lanes) }
}

/// `table[index]` for sixteen indices.
///
/// # Safety
/// Each index lies in the table.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn gather(table: &[u32], index: __m512i) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe { _mm512_i32gather_epi32::<4>(index, table.as_ptr().cast()) }
}

/// The cell of a bucket with that tag, or the empty cell behind the others.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,bmi1")]
fn cell_of(bucket: &Bucket, tag: u32) -> u32 {
    // SAFETY: the tags are 32 bytes, aligned.
    let tags = unsafe { _mm256_load_si256(bucket.tags.as_ptr().cast()) };
    let same = _mm256_cmpeq_epi32_mask(tags, _mm256_set1_epi32(tag as i32)) | 1 << (SLOTS - 1);
    // SAFETY: the last of eight bits is set.
    unsafe { *bucket.cells.get_unchecked(same.trailing_zeros() as usize) }
}

impl Queue {
    #[inline]
    #[target_feature(enable = "avx512f,popcnt")]
    fn push(&mut self, mask: __mmask16, cells: __m512i, askers: __m512i) {
        assert!(self.length + LANES <= self.cells.len());
        let place = self.cells.as_mut_ptr().wrapping_add(self.length);
        // SAFETY: there is room for a vector, just asserted.
        unsafe { _mm512_storeu_si512(place.cast(), _mm512_maskz_compress_epi32(mask, cells)) };
        let place = self.askers.as_mut_ptr().wrapping_add(self.length);
        // SAFETY: as above, both being of one length.
        unsafe { _mm512_storeu_si512(place.cast(), _mm512_maskz_compress_epi32(mask, askers)) };
        self.length += mask.count_ones() as usize;
    }
}

/// Sixteen records of one side, as pair, row and wide number.
#[inline]
#[target_feature(enable = "avx512f")]
fn unpack(records: &[Record; STAGE], at: usize) -> (__m512i, __m512i, __m512i) {
    let lanes: &[Record; LANES] = records[at..].first_chunk().expect("a stage is whole vectors");
    let words: *const i32 = lanes.as_ptr().cast();
    // SAFETY: sixteen records are two vectors.
    let first = unsafe { _mm512_loadu_si512(words.cast()) };
    // SAFETY: as above.
    let second = unsafe { _mm512_loadu_si512(words.wrapping_add(LANES).cast()) };
    let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    let odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    let low = _mm512_permutex2var_epi32(first, even, second);
    let high = _mm512_permutex2var_epi32(first, odd, second);
    let pair = _mm512_and_si512(low, _mm512_set1_epi32(Record::MOST_PAIR as i32));
    let row = _mm512_slli_epi32::<8>(_mm512_and_si512(high, _mm512_set1_epi32(0xffff)));
    let row = _mm512_or_si512(row, _mm512_srli_epi32::<24>(low));
    (pair, row, _mm512_srli_epi32::<16>(high))
}

/// Moves the cells of the packets to the queues. Behind the last packet, up to the end of its vector, stand packets of
/// before: what they find is written behind the last answer too.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,popcnt,bmi1,bmi2")]
fn cells(tables: &Tables, packets: &Packets, queues: &mut Queues, count: usize) {
    let pairs = &tables.pairs;
    let [mut buckets, mut tags, mut pair_cells] = [[0; STAGE]; 3];
    let numbers = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let mut sort = |cells: __m512i, askers: __m512i| {
        queues.single.push(_mm512_movepi32_mask(cells), cells, askers);
        queues.programs.push(_mm512_cmpgt_epi32_mask(cells, _mm512_setzero_si512()), cells, askers);
    };
    let asker_at = |at: usize| {
        let packet = _mm512_add_epi32(numbers, _mm512_set1_epi32(at as i32));
        _mm512_or_si512(load(&packets.class, at), _mm512_slli_epi32::<16>(packet))
    };
    for at in (0..count).step_by(LANES) {
        let (base, source_row, source_wide) = unpack(&packets.records[0], at);
        let (column, destination_row, destination_wide) = unpack(&packets.records[1], at);
        let askers = asker_at(at);
        if tables.has_wide {
            let wide = _mm512_mullo_epi32(source_wide, _mm512_set1_epi32(tables.wide_columns as i32));
            // SAFETY: there is a cell for each pair of wide numbers (`Tables::new`).
            sort(unsafe { gather(&tables.wide, _mm512_add_epi32(wide, destination_wide)) }, askers);
        }
        if tables.has_rows[0] {
            let at = _mm512_add_epi32(source_row, destination_wide);
            // SAFETY: no row reaches behind its table (`Tables::new`).
            sort(unsafe { gather(&tables.rows, at) }, askers);
        }
        if tables.has_rows[1] {
            let at = _mm512_add_epi32(destination_row, source_wide);
            // SAFETY: as above.
            sort(unsafe { gather(&tables.rows, at) }, askers);
        }
        if pairs.entries == 0 {
            continue;
        }
        // Where either is "none", bucket 0 is searched for a tag that only its empty slots have.
        let both = _mm512_test_epi32_mask(base, base) & _mm512_test_epi32_mask(column, column);
        let place = _mm512_and_si512(
            _mm512_add_epi32(base, column),
            _mm512_set1_epi32((1 << PairMap::BASE_BITS) - 1),
        );
        let bucket = _mm512_maskz_and_epi32(both, place, _mm512_set1_epi32((1 << pairs.bucket_bits) - 1));
        let rest = _mm512_srl_epi32(place, _mm_cvtsi32_si128(pairs.bucket_bits as i32));
        let rest = _mm512_sll_epi32(rest, _mm_cvtsi32_si128(pairs.column_bits as i32));
        store(&mut buckets, at, bucket);
        store(&mut tags, at, _mm512_maskz_or_epi32(both, rest, column));
    }
    if pairs.entries == 0 {
        return;
    }
    for (cell, (bucket, tag)) in pair_cells.iter_mut().zip(buckets.iter().zip(&tags)).take(count) {
        // SAFETY: `bucket_bits` bits are a bucket (`Tables::new`).
        *cell = cell_of(unsafe { pairs.buckets.get_unchecked(*bucket as usize) }, *tag);
    }
    for at in (0..count).step_by(LANES) {
        sort(load(&pair_cells, at), asker_at(at));
    }
}

struct Avx512;

impl Vectors for Avx512 {
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
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,popcnt,bmi1,bmi2")]
pub(super) unsafe fn classify(
    sides: [&AddressTable; 2],
    tables: &Tables,
    tuples: &[FiveTuple<u32>],
    matches: &mut [FilterMatch],
) {
    // SAFETY: these are the instructions; the rest is the caller's promise.
    unsafe { kernel::classify::<Avx512>(sides, tables, tuples, matches) }
}
