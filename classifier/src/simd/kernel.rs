//! The kernel, stage by stage over up to [`STAGE`] packets; [`Vectors`] is what differs between instruction sets.
//!
//! Every stage is a loop whose turns do not depend on each other, and hands a column of numbers on: so the loads of many
//! packets are under way at once. What one packet needs of one place is a plain load: on the processors at hand a gather
//! costs more than the loads that it stands for. Vectors compare: boundaries of addresses, tags of buckets.
//!
//! A set of one part (`dense`) takes a way without queues. Of others, the cells that lead to something are moved together
//! before they are followed, so that parts of a set which say nothing of a packet cost it nothing.

use super::address::rooted::Rooted;
use super::address::searched::{MOST_LEVELS, Searched};
use super::address::{AddressTable, Form};
use super::dense::Dense;
use super::tables::{NONE, Record, ServiceTable, Tables};
use crate::filter::{FilterMatch, FiveTuple};

/// Packets of one stage. What stages hand on is to stay in the first-level cache: of dense tables that is less.
pub(super) const STAGE: usize = 64;
const DENSE_STAGE: usize = 256;
/// Lanes of the widest vector.
pub(super) const LANES: usize = 16;
const PARTS: usize = 4;

/// What an instruction set adds.
///
/// # Safety
/// To call any of it, the processor must have the instructions.
pub(super) trait Vectors {
    /// The interval of an address in a table of so many vectors.
    unsafe fn rooted<const VECTORS: usize>(table: &Rooted, address: u32) -> u32;

    /// The interval of an address; `levels` are those of the table.
    unsafe fn searched(table: &Searched, levels: &[u32], address: u32) -> u32;

    /// Moves the cells of the first `count` packets to the queues.
    unsafe fn cells(tables: &Tables, packets: &Packets, queues: &mut Queues, count: usize);
}

/// What the parts of a set are asked of each packet.
pub(super) struct Packets {
    pub(super) class: [u32; STAGE],
    pub(super) records: [[Record; STAGE]; 2],
}

/// Cells that lead somewhere, moved together.
pub(super) struct Queue {
    /// A vector more than there can be: it may be written as a whole.
    pub(super) cells: [u32; PARTS * STAGE + LANES],
    /// Class in the lower 16 bits, packet above.
    pub(super) askers: [u32; PARTS * STAGE + LANES],
    pub(super) length: usize,
}

/// Of cells that hold a filter, and of those that are programs.
pub(super) struct Queues {
    pub(super) single: Queue,
    pub(super) programs: Queue,
}

impl Queue {
    fn new() -> Self {
        Self { cells: [0; PARTS * STAGE + LANES], askers: [0; PARTS * STAGE + LANES], length: 0 }
    }

    /// The lowest rank of each packet stays.
    #[inline(always)]
    fn settle(&self, best: &mut [u32; STAGE], rank: impl Fn(u32, u32) -> u32) {
        for (cell, asker) in self.cells.iter().zip(&self.askers).take(self.length) {
            let best = &mut best[(asker >> 16) as usize % STAGE];
            *best = rank(*cell, asker & 0xffff).min(*best);
        }
    }
}

impl Tables {
    /// [`Tables::rank_in_program`] without checks.
    ///
    /// # Safety
    /// The cell is one of these tables and has no [`Tables::SINGLE`], the class is one of these tables.
    #[inline(always)]
    unsafe fn follow_program(&self, cell: u32, class: u32) -> u32 {
        // SAFETY: such a cell is the number of a program (`Tables::new`).
        let [pattern, list] = unsafe { *self.programs.get_unchecked(cell as usize) };
        let position = if pattern == Self::DIRECT {
            class
        } else {
            // SAFETY: a pattern has a position for each class (`Tables::new`).
            u32::from(unsafe { *self.patterns.get_unchecked((pattern + class) as usize) })
        };
        // SAFETY: positions of a program's pattern lie in its list, as do classes where there is none (`Tables::new`).
        unsafe { *self.lists.get_unchecked((list + position) as usize) }
    }

    /// [`Tables::rank_of_single`] without checks.
    ///
    /// # Safety
    /// The cell is one of these tables and has [`Tables::SINGLE`], the class is one of these tables.
    #[inline(always)]
    unsafe fn follow_single(&self, cell: u32, class: u32) -> u32 {
        let service = (cell & !Self::SINGLE) >> self.rank_bits;
        let bit = service * self.service_bits + class;
        // SAFETY: such a cell names a service that there is, and it has a bit for each class (`Tables::new`).
        let word = unsafe { *self.members.get_unchecked(bit as usize / 32) };
        cell & ((1 << self.rank_bits) - 1) | (word >> (bit % 32) & 1).wrapping_sub(1)
    }
}

/// Finds the interval of one address of each tuple, and hands it to `take` with the place of the packet in `column`.
///
/// # Safety
/// The processor has the instructions of `V`.
#[inline(always)]
unsafe fn find_intervals<V: Vectors, T, const LENGTH: usize>(
    table: &AddressTable,
    tuples: &[FiveTuple<u32>],
    address: impl Fn(&FiveTuple<u32>) -> u32,
    column: &mut [T; LENGTH],
    take: impl Fn(&mut T, u32),
) {
    let each = column.iter_mut().zip(tuples).map(|(place, tuple)| (place, address(tuple)));
    match &table.form {
        Form::Rooted(table) if table.vectors == 1 => {
            // SAFETY: the caller's promise.
            each.for_each(|(place, address)| take(place, unsafe { V::rooted::<1>(table, address) }));
        }
        Form::Rooted(table) => {
            // SAFETY: the caller's promise.
            each.for_each(|(place, address)| take(place, unsafe { V::rooted::<2>(table, address) }));
        }
        Form::Searched(table) => {
            let levels = &table.levels[..];
            match levels.len() {
                // SAFETY: the caller's promise, here and below.
                1 => unsafe { search_levels::<V, _, 1>(table, levels, each, take) },
                // SAFETY: as above.
                2 => unsafe { search_levels::<V, _, 2>(table, levels, each, take) },
                // SAFETY: as above.
                3 => unsafe { search_levels::<V, _, 3>(table, levels, each, take) },
                // SAFETY: as above.
                4 => unsafe { search_levels::<V, _, 4>(table, levels, each, take) },
                // SAFETY: as above.
                5 => unsafe { search_levels::<V, _, 5>(table, levels, each, take) },
                // SAFETY: as above.
                _ => unsafe { search_levels::<V, _, MOST_LEVELS>(table, levels, each, take) },
            }
        }
    }
}

/// Searches so many levels, which are a constant of the loop.
///
/// # Safety
/// The processor has the instructions of `V`.
#[inline(always)]
unsafe fn search_levels<'t, V: Vectors, T: 't, const LEVELS: usize>(
    table: &Searched,
    levels: &[u32],
    each: impl Iterator<Item = (&'t mut T, u32)>,
    take: impl Fn(&mut T, u32),
) {
    let levels: [u32; LEVELS] = *levels.first_chunk().expect("the caller counted the levels");
    // SAFETY: the caller's promise.
    each.for_each(|(place, address)| take(place, unsafe { V::searched(table, &levels, address) }));
}

/// The class of a packet, without checks.
#[inline(always)]
fn class_of<const SOURCES_MATTER: bool>(services: &ServiceTable, tuple: &FiveTuple<u32>) -> u32 {
    let FiveTuple { protocol, source_port, destination_port, .. } = *tuple;
    services.class_by(protocol, SOURCES_MATTER.then_some(source_port), destination_port, |table, at| {
        // SAFETY: pages begin 256 before the end of their table at the latest, and no sum reaches the end of
        // its own (`ServiceTable::new`).
        unsafe { *table.get_unchecked(at) }
    })
}

/// The rank of the first filter for each packet, as far as both reach.
///
/// # Safety
/// The processor has the instructions of `V`, and each interval of `sides` has a record (`Tables::check_intervals`).
#[inline(always)]
pub(super) unsafe fn classify<V: Vectors>(
    sides: [&AddressTable; 2],
    tables: &Tables,
    tuples: &[FiveTuple<u32>],
    matches: &mut [FilterMatch],
) {
    if let Some(dense) = &tables.dense {
        let bursts = tuples.chunks(DENSE_STAGE).zip(matches.chunks_mut(DENSE_STAGE));
        bursts.for_each(|(tuples, matches)| {
            // SAFETY: the caller's promise.
            unsafe { classify_dense::<V>(sides, tables, dense, tuples, matches) }
        });
    } else {
        let class = [0; STAGE];
        let mut packets = Packets { class, records: [[Record::default(); STAGE]; 2] };
        let mut queues = Queues { single: Queue::new(), programs: Queue::new() };
        let bursts = tuples.chunks(STAGE).zip(matches.chunks_mut(STAGE));
        bursts.for_each(|(tuples, matches)| {
            // SAFETY: the caller's promise.
            unsafe { classify_parts::<V>(sides, tables, tuples, matches, &mut packets, &mut queues) }
        });
    }
}

/// Up to [`DENSE_STAGE`] packets, in tables of one part.
///
/// # Safety
/// As for [`classify`]; `dense` is that of the tables.
#[inline(always)]
unsafe fn classify_dense<V: Vectors>(
    sides: [&AddressTable; 2],
    tables: &Tables,
    dense: &Dense,
    tuples: &[FiveTuple<u32>],
    matches: &mut [FilterMatch],
) {
    let mut cells = [0; DENSE_STAGE];
    let take_row = |place: &mut u32, interval: u32| {
        // SAFETY: as many rows as records, of which each interval has one, the caller says.
        *place = unsafe { *dense.rows.get_unchecked(interval as usize) };
    };
    // SAFETY: the caller's promise.
    unsafe { find_intervals::<V, _, _>(sides[0], tuples, |tuple| tuple.source, &mut cells, take_row) };
    let take_cell = |place: &mut u32, interval: u32| {
        // SAFETY: as above, for columns.
        let column = unsafe { *dense.columns.get_unchecked(interval as usize) };
        // SAFETY: there is a cell for each row and column (`Dense::new`).
        *place = u32::from(unsafe { *dense.cells.get_unchecked((*place + column) as usize) });
    };
    // SAFETY: the caller's promise.
    unsafe { find_intervals::<V, _, _>(sides[1], tuples, |tuple| tuple.destination, &mut cells, take_cell) };
    let each = matches.iter_mut().zip(cells.iter().zip(tuples));
    if tables.services.sources_matter {
        each.for_each(|(found, (cell, tuple))| {
            let class = class_of::<true>(&tables.services, tuple);
            // SAFETY: the cell of a dense table is a program; both are of these tables.
            *found = FilterMatch(unsafe { tables.follow_program(*cell, class) });
        });
    } else {
        each.for_each(|(found, (cell, tuple))| {
            let class = class_of::<false>(&tables.services, tuple);
            // SAFETY: as above.
            *found = FilterMatch(unsafe { tables.follow_program(*cell, class) });
        });
    }
}

/// Up to [`STAGE`] packets, in tables of up to four parts.
///
/// # Safety
/// As for [`classify`]; records and classes of `packets` are of these tables, or zero.
#[inline(always)]
unsafe fn classify_parts<V: Vectors>(
    sides: [&AddressTable; 2],
    tables: &Tables,
    tuples: &[FiveTuple<u32>],
    matches: &mut [FilterMatch],
    packets: &mut Packets,
    queues: &mut Queues,
) {
    let each = packets.class.iter_mut().zip(tuples);
    if tables.services.sources_matter {
        each.for_each(|(class, tuple)| *class = class_of::<true>(&tables.services, tuple));
    } else {
        each.for_each(|(class, tuple)| *class = class_of::<false>(&tables.services, tuple));
    }
    let [mut sources, mut destinations] = [[0; STAGE]; 2];
    let take = |place: &mut u32, interval: u32| *place = interval;
    // SAFETY: the caller's promise.
    unsafe { find_intervals::<V, _, _>(sides[0], tuples, |tuple| tuple.source, &mut sources, take) };
    // SAFETY: the caller's promise.
    unsafe {
        find_intervals::<V, _, _>(sides[1], tuples, |tuple| tuple.destination, &mut destinations, take)
    };
    // Loops of their own: of records in a large set, all that a processor can wait for are to be under way.
    let sides = [(&tables.sources, &sources), (&tables.destinations, &destinations)];
    for (records, (known, intervals)) in packets.records.iter_mut().zip(sides) {
        for (record, interval) in records.iter_mut().zip(&intervals[..tuples.len()]) {
            // SAFETY: each interval has a record, the caller says.
            *record = unsafe { *known.get_unchecked(*interval as usize) };
        }
    }
    (queues.single.length, queues.programs.length) = (0, 0);
    // SAFETY: the caller's promise.
    unsafe { V::cells(tables, packets, queues, tuples.len()) };
    let mut best = [NONE; STAGE];
    // SAFETY: cells of the queue have `SINGLE`; cells and classes are of these tables.
    queues.single.settle(&mut best, |cell, class| unsafe { tables.follow_single(cell, class) });
    // SAFETY: cells of the queue are programs; cells and classes are of these tables.
    queues.programs.settle(&mut best, |cell, class| unsafe { tables.follow_program(cell, class) });
    matches.iter_mut().zip(&best[..tuples.len()]).for_each(|(found, rank)| *found = FilterMatch(*rank));
}
