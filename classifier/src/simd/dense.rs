//! The cells of a set that is all wide: one table of half words, whose rows and columns the intervals name themselves.
//!
//! Small sets are like that. Half as large as the wide table, it lies in the second-level cache with the rest.

use super::tables::{Record, Tables};

/// The table, and where each interval's cells are in it.
#[derive(Clone, Debug)]
pub(super) struct Dense {
    /// By interval of the source addresses: where its row begins.
    pub(super) rows: Box<[u32]>,
    /// By interval of the destination addresses: where in a row.
    pub(super) columns: Box<[u32]>,
    /// Numbers of programs. No row and column lead outside.
    pub(super) cells: Box<[u16]>,
}

impl Dense {
    /// The table of `wide`; `None` when a cell holds a filter, or there are too many programs.
    ///
    /// # Panics
    /// When the records lead outside the cells. Unchecked loads rely on this.
    pub(super) fn new([sources, destinations]: [&[Record]; 2], wide: &[u32]) -> Option<Self> {
        // A cell with a filter is no number of 16 bits.
        const { assert!(Tables::SINGLE > u16::MAX as u32) };
        let cells: Box<[u16]> = wide.iter().map(|cell| u16::try_from(*cell).ok()).collect::<Option<_>>()?;
        let columns: Box<[u32]> = destinations.iter().map(|record| record.wide()).collect();
        let width = columns.iter().max()? + 1;
        let rows: Box<[u32]> = sources.iter().map(|record| record.wide() * width).collect();
        assert!((rows.iter().max()? + width) as usize <= cells.len(), "a row leads outside the table");
        Some(Self { rows, columns, cells })
    }

    /// The cell of two intervals.
    #[inline(always)]
    pub(super) fn cell(&self, source: u32, destination: u32) -> u32 {
        let at = self.rows[source as usize] + self.columns[destination as usize];
        u32::from(self.cells[at as usize])
    }

    /// Bytes on the heap.
    pub(super) fn memory(&self) -> usize {
        size_of_val(&*self.rows) + size_of_val(&*self.columns) + size_of_val(&*self.cells)
    }
}
