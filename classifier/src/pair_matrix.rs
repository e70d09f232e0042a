//! Every pair of classes to a number: a matrix in blocks of 16 columns, equal blocks stored once.
//!
//! Most rows of a policy's matrix are mostly what no rule names, and rows of like classes are alike; so the blocks
//! are few. Where they turn out to be many all the same, only a block that stands in the row above is still shared: to
//! look for others costs more than they take. Cost of a lookup: two loads.

use crate::intern::Interner;
use crate::limits::{BuildError, Limits};

/// Columns of one block.
const BLOCK: usize = 16;
/// Blocks after which it is seen whether they are worth sharing.
const TRIAL: usize = 1 << 16;

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

    #[cfg(test)]
    pub(crate) fn cells<'t>(&'t mut self, tables: &mut crate::cells::Tables<'t>) {
        tables.push(("rows of pairs", crate::cells::each(&mut self.rows)));
        tables.push(("blocks of pairs", crate::cells::each(&mut self.blocks)));
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
    /// Shared blocks.
    blocks: Interner<u32>,
    /// Behind all of these: blocks that are not looked for.
    plain: Vec<u32>,
}

impl PairMatrixBuild {
    pub(crate) fn new(limits: &Limits) -> Self {
        let limit = limits.table_entries;
        Self { limit, rows: Vec::new(), blocks: Interner::new("pairs", limit), plain: Vec::new() }
    }

    /// Adds the next row.
    ///
    /// # Errors
    /// [`BuildError::Table`].
    pub(crate) fn add_row(&mut self, cells: &[u32]) -> Result<(), BuildError> {
        if self.rows.len() + cells.len().div_ceil(BLOCK) > self.limit {
            return Err(BuildError::Table { table: "rows", limit: self.limit });
        }
        let width = cells.len().div_ceil(BLOCK);
        let mut padded = [0; BLOCK];
        for block in cells.chunks(BLOCK) {
            padded[..block.len()].copy_from_slice(block);
            padded[block.len()..].fill(block[0]);
            let start = match self.rows.len().checked_sub(width).map(|above| self.rows[above]) {
                Some(above) if self.block(above) == padded => above,
                _ => self.add_block(&padded)?,
            };
            self.rows.push(start);
        }
        Ok(())
    }

    fn block(&self, start: u32) -> &[u32] {
        let start = start as usize;
        match start.checked_sub(self.blocks.item_count()) {
            Some(plain) => &self.plain[plain..plain + BLOCK],
            None => &self.blocks.items()[start..start + BLOCK],
        }
    }

    /// The start of a block.
    fn add_block(&mut self, block: &[u32; BLOCK]) -> Result<u32, BuildError> {
        let is_trial = self.rows.len() < TRIAL || self.blocks.len() < self.rows.len() / 2;
        if is_trial && self.plain.is_empty() {
            let block = self.blocks.intern(block)?;
            return Ok(self.blocks.start(block));
        }
        let start = self.blocks.item_count() + self.plain.len();
        if start + BLOCK > self.limit {
            return Err(BuildError::Table { table: "pairs", limit: self.limit });
        }
        self.plain.extend_from_slice(block);
        Ok(start as u32)
    }

    /// Where the row of each class starts, in a matrix of so many columns.
    pub(crate) fn row_start(row: u32, columns: usize) -> u32 {
        row * columns.div_ceil(BLOCK) as u32
    }

    pub(crate) fn finish(self) -> PairMatrix {
        let mut blocks = self.blocks.into_items().into_vec();
        blocks.reserve_exact(self.plain.len());
        blocks.extend_from_slice(&self.plain);
        PairMatrix { rows: self.rows.into_boxed_slice(), blocks: blocks.into_boxed_slice() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_found_whether_their_blocks_are_shared_or_not() {
        // Rows that repeat; rows of which none is like another, until sharing ends; and again rows that repeat.
        let kinds: [fn(u32, u32) -> u32; 3] =
            [|row, at| row % 3 + at % 2, |row, at| row * 1000 + at, |_, at| at % 5];
        let (rows, columns) = (700_u32, 3_300_u32);
        let mut build = PairMatrixBuild::new(&Limits::default());
        let cell = |row: u32, at| kinds[(row / (rows / 3)).min(2) as usize](row, at);
        for row in 0..rows {
            let cells: Vec<u32> = (0..columns).map(|at| cell(row, at)).collect();
            build.add_row(&cells).unwrap();
        }
        let matrix = build.finish();
        for row in 0..rows {
            let start = PairMatrixBuild::row_start(row, columns as usize);
            assert!((0..columns).all(|at| matrix.get(start, at) == cell(row, at)), "row {row}");
        }
    }
}
