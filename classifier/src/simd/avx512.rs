//! The kernel of AVX-512: sixteen packets a vector, stage by stage over up to [`STAGE`] packets.
//!
//! Gathers take what has few bytes a packet (ports, roots, rows); a node and a bucket are one vector each, and are
//! searched by one comparison. Cells that lead to something are moved together before they are followed, so that
//! parts of a set which say nothing of a packet cost it nothing.

#![allow(
    clippy::multiple_unsafe_ops_per_block,
    reason = "the lint counts vector arithmetic, which is safe where its features are enabled"
)]

use std::arch::x86_64::*;

use super::address::{AddressTable, Block, KEYS, key};
use super::tables::{Bucket, NONE, PairMap, Record, SLOTS, ServiceTable, Tables};
use crate::filter::{FilterMatch, FiveTuple};

/// Packets of one stage.
const STAGE: usize = 128;
const LANES: usize = 16;
const PARTS: usize = 4;

/// Numbers of the packets of one stage.
#[repr(C, align(64))]
struct Column([u32; STAGE]);

impl Column {
    fn zeros() -> Self {
        Self([0; STAGE])
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(column: &Column, at: usize) -> __m512i {
    let lanes: &[u32; LANES] = column.0[at..].first_chunk().expect("a column is whole vectors");
    // SAFETY: the sixteen lanes are readable.
    unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(column: &mut Column, at: usize, lanes: __m512i) {
    let place: &mut [u32; LANES] = column.0[at..].first_chunk_mut().expect("a column is whole vectors");
    // SAFETY: the sixteen lanes are writable.
    unsafe { _mm512_storeu_si512(place.as_mut_ptr().cast(), lanes) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn lanes_of(vector: __m512i) -> [u32; LANES] {
    let mut lanes = [0; LANES];
    // SAFETY: there is room for sixteen lanes.
    unsafe { _mm512_storeu_si512(lanes.as_mut_ptr().cast(), vector) };
    lanes
}

/// `table[index]` for sixteen indices, 32 bits from there on.
///
/// # Safety
/// Each index lies in the table, and 32 bits from there on too.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn gather<const SCALE: i32, T>(table: &[T], index: __m512i) -> __m512i {
    debug_assert!(lanes_of(index).iter().all(|at| (*at as usize) * SCALE as usize + 4 <= size_of_val(table)));
    // SAFETY: the caller's promise.
    unsafe { _mm512_i32gather_epi32::<SCALE>(index, table.as_ptr().cast()) }
}

/// Four tuples a vector to sixteen of one field: words 0 to 3 of sixteen tuples of four words.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn transpose(tuples: &[FiveTuple<u32>; LANES]) -> [__m512i; 4] {
    let words: *const i32 = tuples.as_ptr().cast();
    let quarter = |at: usize| {
        // SAFETY: sixteen tuples of sixteen bytes are four vectors; every bit pattern is a number.
        unsafe { _mm512_loadu_si512(words.wrapping_add(at * LANES).cast()) }
    };
    let (first, second, third, fourth) = (quarter(0), quarter(1), quarter(2), quarter(3));
    let low = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 1, 5, 9, 13, 17, 21, 25, 29);
    let high = _mm512_setr_epi32(2, 6, 10, 14, 18, 22, 26, 30, 3, 7, 11, 15, 19, 23, 27, 31);
    let addresses =
        (_mm512_permutex2var_epi32(first, low, second), _mm512_permutex2var_epi32(third, low, fourth));
    let rest =
        (_mm512_permutex2var_epi32(first, high, second), _mm512_permutex2var_epi32(third, high, fourth));
    [
        _mm512_shuffle_i64x2::<0b01_00_01_00>(addresses.0, addresses.1),
        _mm512_shuffle_i64x2::<0b11_10_11_10>(addresses.0, addresses.1),
        _mm512_shuffle_i64x2::<0b01_00_01_00>(rest.0, rest.1),
        _mm512_shuffle_i64x2::<0b11_10_11_10>(rest.0, rest.1),
    ]
}

/// Service classes of sixteen packets: `ports` is the source port and above it the destination port.
#[inline]
#[target_feature(enable = "avx512f")]
fn classes(services: &ServiceTable, ports: __m512i, protocols: __m512i) -> __m512i {
    let byte = _mm512_set1_epi32(0xff);
    let half = _mm512_set1_epi32(0xffff);
    let protocol = _mm512_and_si512(protocols, byte);
    // SAFETY: 256 protocols have a summand.
    let mut sum = unsafe { gather::<4, _>(&services.protocols, protocol) };
    let page = _mm512_add_epi32(_mm512_srli_epi32::<24>(ports), _mm512_set1_epi32(256));
    // SAFETY: there are 512 pages.
    let page = unsafe { gather::<4, _>(&services.pages, page) };
    let at = _mm512_add_epi32(page, _mm512_and_si512(_mm512_srli_epi32::<16>(ports), byte));
    // SAFETY: a page has 256 values, and one more value stands behind the last page.
    let destination = unsafe { gather::<2, _>(&services.ports, at) };
    sum = _mm512_add_epi32(sum, _mm512_and_si512(destination, half));
    if services.sources_matter {
        let page = _mm512_and_si512(_mm512_srli_epi32::<8>(ports), byte);
        // SAFETY: as above.
        let page = unsafe { gather::<4, _>(&services.pages, page) };
        let at = _mm512_add_epi32(page, _mm512_and_si512(ports, byte));
        // SAFETY: as above.
        let source = unsafe { gather::<2, _>(&services.ports, at) };
        sum = _mm512_add_epi32(sum, _mm512_and_si512(source, half));
    }
    // SAFETY: no sum exceeds the table (`ServiceTable::new`), and one more value stands behind it.
    let class = unsafe { gather::<2, _>(&services.cross, sum) };
    _mm512_and_si512(class, half)
}

/// How many boundaries of a block an address has reached.
#[inline]
#[target_feature(enable = "avx512f,popcnt")]
fn reached(block: &Block, address: __m512i) -> u32 {
    // SAFETY: a block is 64 bytes, aligned.
    let keys = unsafe { _mm512_load_si512(block.0.as_ptr().cast()) };
    u32::from(_mm512_cmpgt_epi32_mask(address, keys)).count_ones()
}

/// The records of addresses, in a table of so many levels.
#[inline]
#[target_feature(enable = "avx512f,popcnt")]
fn records_in<const LEVELS: usize>(
    table: &AddressTable,
    known: &[Record],
    addresses: &[u32],
    records: &mut [Record],
) {
    let levels: &[u32; LEVELS] = table.levels.first_chunk().expect("the caller counted the levels");
    for (record, address) in records.iter_mut().zip(addresses) {
        let address = _mm512_set1_epi32(key(*address));
        let (mut block, mut boundaries) = (0, 0);
        for start in levels {
            block = block * (KEYS as u32 + 1) + boundaries;
            // SAFETY: boundaries lead to blocks that there are (`AddressTable::build`).
            boundaries = reached(unsafe { table.blocks.get_unchecked((start + block) as usize) }, address);
        }
        let interval = block * KEYS as u32 + boundaries;
        // SAFETY: there is a record for each interval (`Tables::check_intervals`).
        *record = unsafe { *known.get_unchecked(interval as usize) };
    }
}

/// The records of addresses.
#[target_feature(enable = "avx512f,popcnt")]
fn find_records(table: &AddressTable, known: &[Record], addresses: &[u32], records: &mut [Record]) {
    match table.levels.len() {
        1 => records_in::<1>(table, known, addresses, records),
        2 => records_in::<2>(table, known, addresses, records),
        3 => records_in::<3>(table, known, addresses, records),
        4 => records_in::<4>(table, known, addresses, records),
        5 => records_in::<5>(table, known, addresses, records),
        6 => records_in::<6>(table, known, addresses, records),
        7 => records_in::<7>(table, known, addresses, records),
        _ => records_in::<8>(table, known, addresses, records),
    }
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

/// Cells that lead somewhere, moved together: the cell, and class and packet.
struct Queue {
    cells: [u32; PARTS * STAGE + LANES],
    /// Class in the lower 16 bits, packet above.
    askers: [u32; PARTS * STAGE + LANES],
    length: usize,
}

impl Queue {
    fn new() -> Self {
        Self { cells: [0; PARTS * STAGE + LANES], askers: [0; PARTS * STAGE + LANES], length: 0 }
    }

    #[inline]
    #[target_feature(enable = "avx512f,popcnt")]
    fn push(&mut self, mask: __mmask16, cells: __m512i, askers: __m512i) {
        assert!(self.length <= PARTS * STAGE);
        let place = self.cells.as_mut_ptr().wrapping_add(self.length);
        // SAFETY: a vector behind `PARTS * STAGE` is there.
        unsafe { _mm512_storeu_si512(place.cast(), _mm512_maskz_compress_epi32(mask, cells)) };
        let place = self.askers.as_mut_ptr().wrapping_add(self.length);
        // SAFETY: as above.
        unsafe { _mm512_storeu_si512(place.cast(), _mm512_maskz_compress_epi32(mask, askers)) };
        self.length += mask.count_ones() as usize;
    }

    /// Vectors of cells and askers; what stands behind the end is a cell of nothing.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn vector(&self, at: usize) -> (__m512i, __m512i) {
        let cells: &[u32; LANES] = self.cells[at..].first_chunk().expect("the queue ends with a vector");
        let askers: &[u32; LANES] = self.askers[at..].first_chunk().expect("the queue ends with a vector");
        // SAFETY: sixteen lanes are readable.
        let cells = unsafe { _mm512_loadu_si512(cells.as_ptr().cast()) };
        // SAFETY: as above.
        let askers = unsafe { _mm512_loadu_si512(askers.as_ptr().cast()) };
        (cells, askers)
    }

    /// What the vector at `at` found: the lowest rank of each packet stays.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn settle(&self, at: usize, ranks: __m512i, best: &mut Column) {
        let ranks = lanes_of(ranks);
        let count = LANES.min(self.length - at);
        for (asker, rank) in self.askers[at..at + count].iter().zip(ranks) {
            let best = &mut best.0[(asker >> 16) as usize % STAGE];
            *best = rank.min(*best);
        }
    }
}

/// Whose cells have one filter: its rank, where the class is the service's.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,popcnt,bmi1,bmi2")]
fn follow_single(tables: &Tables, queue: &Queue, best: &mut Column) {
    let rank_mask = _mm512_set1_epi32((1 << tables.rank_bits) - 1);
    let rank_bits = _mm_cvtsi32_si128(tables.rank_bits as i32);
    for at in (0..queue.length).step_by(LANES) {
        let (cells, askers) = queue.vector(at);
        let class = _mm512_and_si512(askers, _mm512_set1_epi32(0xffff));
        let service = _mm512_srl_epi32(_mm512_and_si512(cells, _mm512_set1_epi32(i32::MAX)), rank_bits);
        let bit = _mm512_mullo_epi32(service, _mm512_set1_epi32(tables.service_bits as i32));
        let bit = _mm512_add_epi32(bit, class);
        // SAFETY: cells name services that there are, of `service_bits` bits each, and classes are below that
        // (`Tables::new`); behind the queue's end service and class are those of older cells, or zero.
        let word = unsafe { gather::<4, _>(&tables.members, _mm512_srli_epi32::<5>(bit)) };
        let is_member = _mm512_srlv_epi32(word, _mm512_and_si512(bit, _mm512_set1_epi32(31)));
        let hits = _mm512_test_epi32_mask(is_member, _mm512_set1_epi32(1));
        let ranks = _mm512_mask_and_epi32(_mm512_set1_epi32(NONE as i32), hits, cells, rank_mask);
        queue.settle(at, ranks, best);
    }
}

/// Whose cells are programs.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,popcnt,bmi1,bmi2")]
fn follow_programs(tables: &Tables, queue: &Queue, best: &mut Column) {
    for at in (0..queue.length).step_by(LANES) {
        let (cells, askers) = queue.vector(at);
        let class = _mm512_and_si512(askers, _mm512_set1_epi32(0xffff));
        // SAFETY: cells without `SINGLE` are numbers of programs (`Tables::new`).
        let pattern = unsafe { gather::<8, _>(&tables.programs, cells) };
        let list = _mm512_slli_epi32::<1>(cells);
        let list = _mm512_add_epi32(list, _mm512_set1_epi32(1));
        // SAFETY: as above; the second half of a program.
        let list = unsafe { gather::<4, _>(&tables.programs, list) };
        let has_pattern = _mm512_cmpneq_epi32_mask(pattern, _mm512_set1_epi32(Tables::DIRECT as i32));
        let at_class = _mm512_maskz_add_epi32(has_pattern, pattern, class);
        // SAFETY: a pattern has a byte for each class, and three bytes stand behind the last (`Tables::new`).
        let position = unsafe { gather::<1, _>(&tables.patterns, at_class) };
        let position = _mm512_mask_and_epi32(class, has_pattern, position, _mm512_set1_epi32(0xff));
        // SAFETY: positions of a program's pattern lie in its list (`Tables::new`).
        let ranks = unsafe { gather::<4, _>(&tables.lists, _mm512_add_epi32(list, position)) };
        queue.settle(at, ranks, best);
    }
}

/// The records of one side, as pair, row and wide number.
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

/// What the stages hand on. It is written before it is read, and made once a burst.
struct Workspace {
    class: Column,
    addresses: [Column; 2],
    records: [[Record; STAGE]; 2],
    buckets: Column,
    tags: Column,
    cells: Column,
    single: Queue,
    programs: Queue,
}

impl Workspace {
    fn new() -> Self {
        let column = Column::zeros;
        Self {
            class: column(),
            addresses: [column(), column()],
            records: [[Record::default(); STAGE]; 2],
            buckets: column(),
            tags: column(),
            cells: column(),
            single: Queue::new(),
            programs: Queue::new(),
        }
    }
}

/// Classifies up to [`STAGE`] packets, a multiple of sixteen.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,popcnt,bmi1,bmi2")]
fn stage(
    sides: [&AddressTable; 2],
    tables: &Tables,
    tuples: &[FiveTuple<u32>],
    space: &mut Workspace,
    best: &mut Column,
) {
    let Workspace { class, addresses, records, buckets, tags, cells: pair_cells, single, programs } = space;
    let count = tuples.len().min(STAGE);
    for at in (0..count).step_by(LANES) {
        let lanes = tuples[at..].first_chunk().expect("whole vectors");
        let [source, destination, ports, protocol] = transpose(lanes);
        for (side, address) in [source, destination].into_iter().enumerate() {
            store(&mut addresses[side], at, address);
        }
        store(class, at, classes(&tables.services, ports, protocol));
    }

    for (side, known) in [&tables.sources, &tables.destinations].into_iter().enumerate() {
        find_records(sides[side], known, &addresses[side].0[..count], &mut records[side]);
    }

    (single.length, programs.length) = (0, 0);
    let pairs = &tables.pairs;
    let zero = _mm512_setzero_si512();
    let numbers = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let mut sort = |cells: __m512i, askers: __m512i| {
        let is_single = _mm512_movepi32_mask(cells);
        let is_program = _mm512_cmpgt_epi32_mask(cells, zero);
        single.push(is_single, cells, askers);
        programs.push(is_program, cells, askers);
    };
    let asker_at = |class: &Column, at: usize| {
        let packet = _mm512_add_epi32(numbers, _mm512_set1_epi32(at as i32));
        _mm512_or_si512(load(class, at), _mm512_slli_epi32::<16>(packet))
    };
    for at in (0..count).step_by(LANES) {
        let (base, source_row, source_wide) = unpack(&records[0], at);
        let (column, destination_row, destination_wide) = unpack(&records[1], at);
        let askers = asker_at(class, at);
        if tables.has_wide {
            let wide = _mm512_mullo_epi32(source_wide, _mm512_set1_epi32(tables.wide_columns as i32));
            // SAFETY: there is a cell for each pair of wide numbers (`Tables::new`).
            let cells = unsafe { gather::<4, _>(&tables.wide, _mm512_add_epi32(wide, destination_wide)) };
            sort(cells, askers);
        }
        if tables.has_rows[0] {
            let at = _mm512_add_epi32(source_row, destination_wide);
            // SAFETY: no row reaches behind its table (`Tables::new`).
            sort(unsafe { gather::<4, _>(&tables.rows, at) }, askers);
        }
        if tables.has_rows[1] {
            let at = _mm512_add_epi32(destination_row, source_wide);
            // SAFETY: as above.
            sort(unsafe { gather::<4, _>(&tables.rows, at) }, askers);
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
        store(buckets, at, bucket);
        store(tags, at, _mm512_maskz_or_epi32(both, rest, column));
    }
    let searched = if pairs.entries == 0 { 0 } else { count };
    for at in 0..searched {
        // SAFETY: `bucket_bits` bits are a bucket (`Tables::new`).
        let bucket = unsafe { pairs.buckets.get_unchecked(buckets.0[at] as usize) };
        pair_cells.0[at] = cell_of(bucket, tags.0[at]);
    }
    for at in (0..searched).step_by(LANES) {
        sort(load(pair_cells, at), asker_at(class, at));
    }
    follow_single(tables, single, best);
    follow_programs(tables, programs, best);
}

/// The rank of the first filter for each packet, as far as both reach.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,popcnt,bmi1,bmi2")]
pub(super) fn classify(
    sides: [&AddressTable; 2],
    tables: &Tables,
    tuples: &[FiveTuple<u32>],
    matches: &mut [FilterMatch],
) {
    let mut space = Workspace::new();
    for (tuples, matches) in tuples.chunks(STAGE).zip(matches.chunks_mut(STAGE)) {
        let mut best = Column([NONE; STAGE]);
        if tuples.len().is_multiple_of(LANES) {
            stage(sides, tables, tuples, &mut space, &mut best);
        } else {
            let mut whole = [FiveTuple::default(); STAGE];
            whole[..tuples.len()].copy_from_slice(tuples);
            let whole = &whole[..tuples.len().next_multiple_of(LANES)];
            stage(sides, tables, whole, &mut space, &mut best);
        }
        let count = tuples.len().min(matches.len());
        matches[..count].iter_mut().zip(best.0).for_each(|(found, rank)| *found = FilterMatch(rank));
    }
}
