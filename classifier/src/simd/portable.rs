//! The kernel that every processor can run, and the answer for a single packet. No `unsafe`.

use super::address::AddressTable;
use super::tables::{NONE, Tables};
use crate::filter::{FilterMatch, FiveTuple};

impl Tables {
    /// The lowest rank of all filters that match a packet with these intervals and this class, or [`NONE`].
    #[inline(always)]
    pub(crate) fn rank(&self, source: u32, destination: u32, class: u32) -> u32 {
        if let Some(dense) = &self.dense {
            return self.rank_in_program(dense.cell(source, destination), class);
        }
        let (source, destination) = (self.sources[source as usize], self.destinations[destination as usize]);
        let wide = source.wide() * self.wide_columns + destination.wide();
        [
            self.wide[wide as usize],
            self.rows[(source.row() + destination.wide()) as usize],
            self.rows[(destination.row() + source.wide()) as usize],
            self.pairs.get(source.pair(), destination.pair()),
        ]
        .into_iter()
        .map(|cell| self.rank_in_cell(cell, class))
        .min()
        .unwrap_or(NONE)
    }

    #[inline(always)]
    fn rank_in_cell(&self, cell: u32, class: u32) -> u32 {
        match cell & Self::SINGLE {
            0 => self.rank_in_program(cell, class),
            _ => self.rank_of_single(cell, class),
        }
    }

    /// What a cell without [`Tables::SINGLE`] says of a class.
    #[inline(always)]
    pub(super) fn rank_in_program(&self, cell: u32, class: u32) -> u32 {
        let [pattern, list] = self.programs[cell as usize];
        let position = match pattern {
            Self::DIRECT => class,
            pattern => self.patterns[(pattern + class) as usize].into(),
        };
        self.lists[(list + position) as usize]
    }

    /// What a cell with [`Tables::SINGLE`] says of a class.
    #[inline(always)]
    pub(super) fn rank_of_single(&self, cell: u32, class: u32) -> u32 {
        let service = (cell & !Self::SINGLE) >> self.rank_bits;
        let bit = service * self.service_bits + class;
        // All ones where the bit is not set.
        let is_outside = (self.members[bit as usize / 32] >> (bit % 32) & 1).wrapping_sub(1);
        cell & ((1 << self.rank_bits) - 1) | is_outside
    }
}

/// The rank of the first filter for each packet, as far as both reach.
pub(super) fn classify(
    sides: [&AddressTable; 2],
    tables: &Tables,
    tuples: &[FiveTuple<u32>],
    matches: &mut [FilterMatch],
) {
    for (tuple, found) in tuples.iter().zip(matches) {
        let (source, destination) = (sides[0].get(tuple.source), sides[1].get(tuple.destination));
        let class = tables.services().class(tuple.protocol, tuple.source_port, tuple.destination_port);
        *found = FilterMatch(tables.rank(source, destination, class));
    }
}
