//! The tables, their parts while they are built, and the check that makes unchecked loads from them sound.

use super::address::AddressTable;
use super::dense::Dense;

/// The rank of "no filter".
pub(crate) const NONE: u32 = u32::MAX;

/// Ports of one page of a [`ServiceTable`].
const PAGE: usize = 256;

/// What [`ServiceTable`] is made of: for each value of a field a summand, and the table at the sums.
#[derive(Debug)]
pub(crate) struct ServiceParts {
    /// 256 summands.
    pub(crate) protocols: Vec<u32>,
    /// 65,536 summands below 2^16.
    pub(crate) sources: Vec<u32>,
    /// 65,536 summands below 2^16.
    pub(crate) destinations: Vec<u32>,
    /// By sum: the class.
    pub(crate) cross: Vec<u16>,
}

/// Protocol and ports to a class. Pages of ports that are equal are stored once, so that a set which names few ports
/// stays in the first-level cache.
#[derive(Clone, Debug)]
pub(crate) struct ServiceTable {
    protocols: Box<[u32; PAGE]>,
    /// By upper half of the port: where its page begins in `ports`. Source and destination.
    pages: [Box<[u32; PAGE]>; 2],
    ports: Box<[u16]>,
    cross: Box<[u16]>,
    /// Whether the source port matters at all.
    pub(super) sources_matter: bool,
    classes: u32,
}

impl ServiceTable {
    /// # Panics
    /// When a sum may lie outside the table.
    fn new(parts: ServiceParts) -> Self {
        let greatest = |values: &[u32]| values.iter().copied().max().unwrap_or(0) as usize;
        let ServiceParts { protocols, sources, destinations, cross } = parts;
        assert!(protocols.len() == 256 && sources.len() == 1 << 16 && destinations.len() == 1 << 16);
        let sums = greatest(&protocols) + greatest(&sources) + greatest(&destinations);
        assert!(sums < cross.len(), "a sum lies outside the table of services");
        let sources_matter = sources.iter().any(|value| *value != 0);
        let mut ports: Vec<u16> = Vec::new();
        let pages = [sources, destinations].map(|side| {
            let mut pages = Box::new([0; PAGE]);
            for (start, values) in pages.iter_mut().zip(side.chunks(PAGE)) {
                let page: Vec<u16> = values.iter().map(|value| *value as u16).collect();
                let known = ports.chunks(PAGE).position(|known| known == page);
                *start = known.map_or(ports.len(), |known| known * PAGE) as u32;
                if known.is_none() {
                    ports.extend(page);
                }
            }
            pages
        });
        let classes = cross.iter().copied().max().map_or(0, u32::from) + 1;
        let protocols = protocols.into_boxed_slice().try_into().expect("256 summands");
        Self { protocols, pages, ports: ports.into(), cross: cross.into(), sources_matter, classes }
    }

    /// The class of a packet, with the source port if it matters; `at` reads an entry of a table.
    #[inline(always)]
    pub(super) fn class_by(
        &self,
        protocol: u8,
        source: Option<u16>,
        destination: u16,
        at: impl Fn(&[u16], usize) -> u16,
    ) -> u32 {
        let port = |side: usize, port: u16| {
            let page = self.pages[side][usize::from(port >> 8)] as usize;
            u32::from(at(&self.ports, page + usize::from(port & 0xff)))
        };
        let sum = self.protocols[usize::from(protocol)]
            + source.map_or(0, |source| port(0, source))
            + port(1, destination);
        u32::from(at(&self.cross, sum as usize))
    }

    /// The class of a packet.
    #[inline(always)]
    pub(crate) fn class(&self, protocol: u8, source: u16, destination: u16) -> u32 {
        self.class_by(protocol, Some(source), destination, |table, at| table[at])
    }

    fn memory(&self) -> usize {
        size_of_val(&*self.protocols)
            + 2 * size_of_val(&*self.pages[0])
            + size_of_val(&*self.ports)
            + size_of_val(&*self.cross)
    }
}

/// What an interval of addresses means on its side, packed in 64 bits: 24 bits for the pair map (a row's base as source, a
/// column as destination), 24 bits where its row of the list table begins, 16 bits for the number of its wide prefix.
/// Zero each is "none".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Record(pub(super) u64);

impl Record {
    pub(crate) const MOST_PAIR: u32 = (1 << 24) - 1;
    pub(crate) const MOST_ROW: u32 = (1 << 24) - 1;
    pub(crate) const MOST_WIDE: u32 = (1 << 16) - 1;

    pub(crate) fn new(pair: u32, row: u32, wide: u32) -> Self {
        debug_assert!(pair <= Self::MOST_PAIR && row <= Self::MOST_ROW && wide <= Self::MOST_WIDE);
        Self(u64::from(pair) | u64::from(row) << 24 | u64::from(wide) << 48)
    }

    #[inline(always)]
    pub(super) fn pair(self) -> u32 {
        self.0 as u32 & Self::MOST_PAIR
    }

    #[inline(always)]
    pub(super) fn row(self) -> u32 {
        (self.0 >> 24) as u32 & Self::MOST_ROW
    }

    #[inline(always)]
    pub(super) fn wide(self) -> u32 {
        (self.0 >> 48) as u32
    }
}

/// A cell of the pair map while it is built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PairEntry {
    /// From zero.
    pub(crate) row: u32,
    /// From one.
    pub(crate) column: u32,
    /// Not zero.
    pub(crate) cell: u32,
}

/// Slots of a bucket; the last stays empty, so that a search that finds nothing ends there.
pub(super) const SLOTS: usize = 8;

/// One cache line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub(super) struct Bucket {
    pub(super) tags: [u32; SLOTS],
    pub(super) cells: [u32; SLOTS],
}

/// (row, column) to cell, for the pairs that have one.
///
/// Each row has a *base* of its own, and its cells stand from there on: the cell of column `c` in the bucket
/// `(base + c) mod buckets`. Bases are chosen so that no bucket overflows, and no two rows have the same, so
/// that the rest of `base + c` and the column say exactly whose a cell is. One cache line a question.
#[derive(Clone, Debug)]
pub(crate) struct PairMap {
    pub(super) buckets: Box<[Bucket]>,
    /// The binary logarithm of their number.
    pub(super) bucket_bits: u32,
    pub(super) column_bits: u32,
    pub(super) entries: usize,
}

impl PairMap {
    /// Bits of a base, and of where `base + column` wraps around.
    pub(super) const BASE_BITS: u32 = 24;

    /// The map of the given entries, which are sorted by row, and the base of each row.
    /// `None` when there are too many rows or columns.
    pub(crate) fn build(entries: &[PairEntry], rows: usize, columns: usize) -> Option<(Self, Vec<u32>)> {
        let mut starts = vec![0_usize; rows + 1];
        entries.iter().for_each(|entry| starts[entry.row as usize + 1] += 1);
        (0..rows).for_each(|row| starts[row + 1] += starts[row]);
        let mut order: Vec<u32> = (0..rows as u32).collect();
        let length = |row: &u32| starts[*row as usize + 1] - starts[*row as usize];
        order.sort_by_key(|row| std::cmp::Reverse(length(row)));
        let column_bits = (columns + 1).next_power_of_two().ilog2();
        let least = (entries.len() * 2 / 11).max(1).next_power_of_two().ilog2();
        (least..=Self::BASE_BITS.min(20)).find_map(|bucket_bits| {
            let map = Self { buckets: [].into(), bucket_bits, column_bits, entries: entries.len() };
            // The tag must fit.
            if Self::BASE_BITS - bucket_bits + column_bits > 32 {
                return None;
            }
            map.place(entries, &starts, &order)
        })
    }

    fn place(mut self, entries: &[PairEntry], starts: &[usize], order: &[u32]) -> Option<(Self, Vec<u32>)> {
        const TRIES: u32 = 200;
        let mut buckets = vec![Bucket::default(); 1 << self.bucket_bits];
        let mut filled = vec![0_u8; 1 << self.bucket_bits];
        let mut is_taken = vec![0_u64; (1 << Self::BASE_BITS) / 64];
        let mut bases = vec![0; starts.len() - 1];
        let mut state = 0x9e37_79b9_u32;
        // Base zero is "no row".
        is_taken[0] = 1;
        for row in order {
            let own = &entries[starts[*row as usize]..starts[*row as usize + 1]];
            let base = (0..TRIES).find_map(|_| {
                // xorshift (Marsaglia, 2003): any spread will do.
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                let base = state >> (32 - Self::BASE_BITS);
                if is_taken[base as usize / 64] >> (base % 64) & 1 == 1 {
                    return None;
                }
                for (placed, entry) in own.iter().enumerate() {
                    let bucket = self.place_of(base, entry.column).0 as usize;
                    if usize::from(filled[bucket]) == SLOTS - 1 {
                        for entry in &own[..placed] {
                            filled[self.place_of(base, entry.column).0 as usize] -= 1;
                        }
                        return None;
                    }
                    filled[bucket] += 1;
                }
                Some(base)
            })?;
            is_taken[base as usize / 64] |= 1 << (base % 64);
            bases[*row as usize] = base;
            for entry in own {
                let (bucket, tag) = self.place_of(base, entry.column);
                let bucket = &mut buckets[bucket as usize];
                let free = bucket.tags.iter().position(|tag| *tag == 0)?;
                bucket.tags[free] = tag;
                bucket.cells[free] = entry.cell;
            }
        }
        self.buckets = buckets.into();
        Some((self, bases))
    }

    /// Bucket and tag. A tag is never zero: its lower bits are the column.
    #[inline(always)]
    pub(super) fn place_of(&self, base: u32, column: u32) -> (u32, u32) {
        let place = base.wrapping_add(column) & ((1 << Self::BASE_BITS) - 1);
        let bucket = place & ((1 << self.bucket_bits) - 1);
        (bucket, place >> self.bucket_bits << self.column_bits | column)
    }

    /// The cell of a row's base and a column, or zero.
    #[inline(always)]
    pub(super) fn get(&self, base: u32, column: u32) -> u32 {
        let (bucket, tag) = self.place_of(base, column);
        let bucket = &self.buckets[bucket as usize];
        let at = bucket.tags[..SLOTS - 1].iter().position(|known| *known == tag).unwrap_or(SLOTS - 1);
        bucket.cells[at]
    }
}

/// What cells lead to.
#[derive(Debug)]
pub(crate) struct CellParts {
    /// Rows of cells: at the row of a record, plus the wide number of the other side. Begins with zeros.
    pub(crate) rows: Vec<u32>,
    /// Cells by wide number of the source, then of the destination.
    pub(crate) wide: Vec<u32>,
    /// Starts in `patterns` and `lists`.
    pub(crate) programs: Vec<[u32; 2]>,
    /// At a program's start, plus the class: a position in its list.
    pub(crate) patterns: Vec<u8>,
    /// Ranks; the first of each list is [`NONE`].
    pub(crate) lists: Vec<u32>,
    /// Which classes a service has: bits at `service * service_bits + class`.
    pub(crate) members: Vec<u32>,
    /// A multiple of 32.
    pub(crate) service_bits: u32,
    /// Of a cell with [`Tables::SINGLE`]: how many of its bits are the rank; the rest is the service.
    pub(crate) rank_bits: u32,
}

/// All that [`Tables`] are made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) services: ServiceParts,
    pub(crate) pairs: PairMap,
    pub(crate) cells: CellParts,
    /// By interval of the source addresses.
    pub(crate) sources: Vec<Record>,
    /// By interval of the destination addresses.
    pub(crate) destinations: Vec<Record>,
}

/// The tables behind the addresses, of one family.
#[derive(Clone, Debug)]
pub(crate) struct Tables {
    pub(super) services: ServiceTable,
    pub(super) pairs: PairMap,
    pub(super) sources: Box<[Record]>,
    pub(super) destinations: Box<[Record]>,
    pub(super) rows: Box<[u32]>,
    /// Empty where there is `dense`.
    pub(super) wide: Box<[u32]>,
    /// Wide numbers of destinations, zero included.
    pub(super) wide_columns: u32,
    pub(super) dense: Option<Dense>,
    pub(super) programs: Box<[[u32; 2]]>,
    pub(super) patterns: Box<[u8]>,
    pub(super) lists: Box<[u32]>,
    pub(super) members: Box<[u32]>,
    pub(super) service_bits: u32,
    pub(super) rank_bits: u32,
    /// Whether the wide table has a cell that leads anywhere.
    pub(super) has_wide: bool,
    /// Whether records of sources, and of destinations, have rows.
    pub(super) has_rows: [bool; 2],
}

impl Tables {
    /// Of a cell: it has one filter, and holds its service and rank. Otherwise it is the number of a program.
    pub(crate) const SINGLE: u32 = 1 << 31;
    /// Instead of a program's pattern: the class itself is the position in its list.
    pub(crate) const DIRECT: u32 = u32::MAX;

    /// Closes the tables.
    ///
    /// # Panics
    /// When an index that some packet would lead to lies outside its table. Unchecked loads rely on this.
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { services, pairs, cells, sources, destinations } = parts;
        let services = ServiceTable::new(services);
        let most_wide = |records: &[Record]| records.iter().map(|record| record.wide()).max().unwrap_or(0);
        let most_row = |records: &[Record]| records.iter().map(|record| record.row()).max().unwrap_or(0);
        let (wide_rows, wide_columns) = (most_wide(&sources) + 1, most_wide(&destinations) + 1);
        assert_eq!(cells.wide.len(), wide_rows as usize * wide_columns as usize);
        let reach = (most_row(&sources) + wide_columns).max(most_row(&destinations) + wide_rows);
        assert!(cells.rows.len() >= reach as usize, "a row reaches behind its table");
        let classes = services.classes;
        assert!(cells.service_bits >= classes && cells.service_bits.is_multiple_of(32));
        let known_services = cells.members.len() / (cells.service_bits as usize / 32);
        let is_sound = |cell: u32| match cell & Self::SINGLE != 0 {
            true => (((cell & !Self::SINGLE) >> cells.rank_bits) as usize) < known_services,
            false => (cell as usize) < cells.programs.len(),
        };
        let in_buckets = pairs.buckets.iter().flat_map(|bucket| bucket.cells.iter());
        let all_cells = cells.rows.iter().chain(&cells.wide).chain(in_buckets);
        assert!(all_cells.copied().all(is_sound), "a cell leads outside its table");
        assert_eq!(pairs.buckets.len(), 1 << pairs.bucket_bits);
        // Patterns are shared by many programs, and looked through once.
        let patterns = cells.patterns.chunks_exact(classes as usize);
        let last_positions: Vec<u8> =
            patterns.map(|pattern| pattern.iter().copied().max().unwrap_or(0)).collect();
        for [pattern, list] in &cells.programs {
            if *pattern == Self::DIRECT {
                assert!(*list as usize + classes as usize <= cells.lists.len(), "a list ends too early");
                continue;
            }
            assert!(pattern.is_multiple_of(classes), "a pattern begins within another");
            let last = last_positions[(pattern / classes) as usize];
            assert!(*list as usize + usize::from(last) < cells.lists.len(), "a list ends too early");
        }
        let has_wide = cells.wide.iter().any(|cell| *cell != 0);
        let has_rows = [most_row(&sources) > 0, most_row(&destinations) > 0];
        let is_dense = has_rows == [false; 2] && pairs.entries == 0;
        let dense = if is_dense { Dense::new([&sources, &destinations], &cells.wide) } else { None };
        let wide = if dense.is_some() { [].into() } else { cells.wide.into() };
        Self {
            has_wide,
            has_rows,
            dense,
            services,
            pairs,
            sources: sources.into(),
            destinations: destinations.into(),
            rows: cells.rows.into(),
            wide,
            wide_columns,
            programs: cells.programs.into(),
            patterns: cells.patterns.into(),
            lists: cells.lists.into(),
            members: cells.members.into(),
            service_bits: cells.service_bits,
            rank_bits: cells.rank_bits,
        }
    }

    /// Whether these address tables end in intervals that have records here.
    ///
    /// # Panics
    /// When they do not. Unchecked loads rely on this.
    pub(super) fn check_intervals(&self, sides: [&AddressTable; 2]) {
        assert!(sides[0].intervals() as usize == self.sources.len());
        assert!(sides[1].intervals() as usize == self.destinations.len());
    }

    pub(crate) fn services(&self) -> &ServiceTable {
        &self.services
    }

    /// How many records each side has.
    pub(crate) fn record_counts(&self) -> (usize, usize) {
        (self.sources.len(), self.destinations.len())
    }

    /// Cells of the pair map.
    pub(crate) fn pair_entries(&self) -> usize {
        self.pairs.entries
    }

    /// Classes of services.
    pub(crate) fn class_count(&self) -> u32 {
        self.services.classes
    }

    /// Programs, that of no filter included.
    pub(crate) fn program_count(&self) -> usize {
        self.programs.len()
    }

    /// Bytes on the heap: services, records, cells, programs.
    pub(crate) fn memory(&self) -> [usize; 4] {
        [
            self.services.memory(),
            size_of_val(&*self.sources) + size_of_val(&*self.destinations),
            size_of_val(&*self.pairs.buckets)
                + size_of_val(&*self.rows)
                + size_of_val(&*self.wide)
                + self.dense.as_ref().map_or(0, Dense::memory),
            size_of_val(&*self.programs)
                + size_of_val(&*self.patterns)
                + size_of_val(&*self.lists)
                + size_of_val(&*self.members),
        ]
    }
}
