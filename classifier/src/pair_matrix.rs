//! Every pair of classes to a number: a matrix in blocks of 16 columns, equal blocks stored once.
//!
//! Most rows of a policy's matrix are mostly what no rule names, and rows of like classes are alike; so the blocks
//! are few. Cost of a lookup: two loads.

use crate::intern::Interner;
use crate::limits::{BuildError, Limits};

/// Columns of one block.
const BLOCK: usize = 16;

/// The finished matrix.
#[derive(Clone, Debug)]
pub(crate) struct PairMatrix {
    /// Rows of starts in `blocks`.
    rows: Box<[u32]>,
    blocks: Box<[u32]>,
}

impl PairMatrix {
    /// What stands in a cell; `row` is where the row starts, as [`PairMatrixBuild::row_start`] said.
    #[inline(always)]
    pub(crate) fn get(&self, row: u32, column: u32) -> u32 {
        let block = self.rows[row as usize + column as usize / BLOCK] as usize;
        self.blocks[block + column as usize % BLOCK]
    }

    /// [`PairMatrix::get`], without the trust that the tables are well formed.
    pub(crate) fn find(&self, row: u32, column: u32) -> Option<u32> {
        let block = *self.rows.get(row as usize + column as usize / BLOCK)? as usize;
        self.blocks.get(block + column as usize % BLOCK).copied()
    }

    /// Bytes on the heap.
    pub(crate) fn memory(&self) -> usize {
        size_of_val(&*self.rows) + size_of_val(&*self.blocks)
    }
}

/// The matrix while it grows.
pub(crate) struct PairMatrixBuild {
    limit: usize,
    rows: Vec<u32>,
    blocks: Interner<u32>,
}

impl PairMatrixBuild {
    pub(crate) fn new(limits: &Limits) -> Self {
        let limit = limits.table_entries;
        Self { limit, rows: Vec::new(), blocks: Interner::new("pairs", limit) }
    }

    /// Adds the next row.
    ///
    /// # Errors
    /// [`BuildError::Table`].
    pub(crate) fn add_row(&mut self, cells: &[u32]) -> Result<(), BuildError> {
        if self.rows.len() + cells.len().div_ceil(BLOCK) > self.limit {
            return Err(BuildError::Table { table: "rows", limit: self.limit });
        }
        let mut padded = [0; BLOCK];
        for block in cells.chunks(BLOCK) {
            padded[..block.len()].copy_from_slice(block);
            padded[block.len()..].fill(block[0]);
            let block = self.blocks.intern(&padded)?;
            self.rows.push(self.blocks.start(block));
        }
        Ok(())
    }

    /// Where the row of each class starts, in a matrix of so many columns.
    pub(crate) fn row_start(row: u32, columns: usize) -> u32 {
        row * columns.div_ceil(BLOCK) as u32
    }

    pub(crate) fn finish(self) -> PairMatrix {
        PairMatrix { rows: self.rows.into_boxed_slice(), blocks: self.blocks.into_items() }
    }
}
