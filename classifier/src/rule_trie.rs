//! The run-time tables from a pair of identities and a layer-4 class to a verdict.
//!
//! ```text
//! source identity -> row ┐
//!                        ├> pairs: row, column / 16 -> block -> program ┬> pattern, class / 64 -> block -> position ┐
//! destination identity -> column                                        └> list ------------------------- + position ┴> verdict
//! ```
//! A *program* is what a pair does with layer 4. It is kept as a *pattern* (which classes end alike: positions
//! in a list) and a *list* (the verdicts at these positions), because policies repeat the shapes far more often than the
//! rules: "tcp/443 and tcp/8443" for a thousand pairs is one pattern with a thousand lists of three words.
//! Blocks, patterns, lists and programs are all hash-consed.

use crate::intern::Interner;
use crate::limits::BuildError;
use crate::program::Outcomes;

/// Columns of one block of the pair matrix.
const PAIR_BLOCK: usize = 16;
/// Layer-4 classes of one block of a pattern.
const PATTERN_BLOCK: usize = 64;

/// Where an identity stands in the pair matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Start of its row, as a source.
    pub(crate) row: u32,
    /// Its column, as a destination.
    pub(crate) column: u32,
}

/// A program: starts in `patterns` and in `lists`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Program {
    pattern: u32,
    list: u32,
}

/// The finished tables.
#[derive(Clone, Debug)]
pub(crate) struct RuleTrie {
    /// By identity.
    places: Box<[Place]>,
    /// Rows of starts in `pair_blocks`.
    rows: Box<[u32]>,
    pair_blocks: Box<[u32]>,
    programs: Box<[Program]>,
    /// Starts in `pattern_blocks`.
    patterns: Box<[u32]>,
    pattern_blocks: Box<[u16]>,
    lists: Box<[u32]>,
}

impl RuleTrie {
    /// The program of a pair.
    #[inline(always)]
    pub(crate) fn program(&self, source: u32, destination: u32) -> u32 {
        let row = self.places[source as usize].row as usize;
        let column = self.places[destination as usize].column as usize;
        let block = self.rows[row + column / PAIR_BLOCK] as usize;
        self.pair_blocks[block + column % PAIR_BLOCK]
    }

    /// What the program says of a class.
    #[inline(always)]
    pub(crate) fn verdict(&self, program: u32, class: u32) -> u32 {
        let program = self.programs[program as usize];
        let block = self.patterns[program.pattern as usize + class as usize / PATTERN_BLOCK] as usize;
        let position = self.pattern_blocks[block + class as usize % PATTERN_BLOCK];
        self.lists[program.list as usize + usize::from(position)]
    }

    /// How many identities it knows.
    pub(crate) fn identities(&self) -> usize {
        self.places.len()
    }

    /// How many programs.
    pub(crate) fn programs(&self) -> usize {
        self.programs.len()
    }

    /// Bytes on the heap: the pair matrix, and the programs.
    pub(crate) fn memory(&self) -> (usize, usize) {
        let pairs = size_of_val(&*self.places) + size_of_val(&*self.rows) + size_of_val(&*self.pair_blocks);
        let programs = size_of_val(&*self.programs)
            + size_of_val(&*self.patterns)
            + size_of_val(&*self.pattern_blocks)
            + size_of_val(&*self.lists);
        (pairs, programs)
    }
}

/// The tables while they grow.
pub(crate) struct RuleTrieBuild {
    class_count: u32,
    limit: usize,
    rows: Vec<u32>,
    pair_blocks: Interner<u32>,
    programs: Interner<Program>,
    /// Patterns as runs, before they are spread out: `(first class, position)`.
    shapes: Interner<(u32, u16)>,
    /// By shape.
    pattern_of: Vec<u32>,
    patterns: Interner<u32>,
    pattern_blocks: Interner<u16>,
    lists: Interner<u32>,
    /// By verdict: in which program it was last seen, and at which position.
    seen: Vec<(u32, u16)>,
    serial: u32,
}

impl RuleTrieBuild {
    pub(crate) fn new(class_count: u32, limit: usize) -> Self {
        Self {
            class_count,
            limit,
            rows: Vec::new(),
            pair_blocks: Interner::new("pairs", limit),
            programs: Interner::new("programs", limit),
            shapes: Interner::new("pattern runs", limit),
            pattern_of: Vec::new(),
            patterns: Interner::new("patterns", limit),
            pattern_blocks: Interner::new("pattern blocks", limit),
            lists: Interner::new("verdict lists", limit),
            seen: Vec::new(),
            serial: 0,
        }
    }

    /// The number of the program with these outcomes.
    ///
    /// # Errors
    /// [`BuildError::Outcomes`] or [`BuildError::Table`].
    pub(crate) fn program(&mut self, outcomes: &Outcomes) -> Result<u32, BuildError> {
        self.serial += 1;
        let mut list = Vec::new();
        let mut shape = Vec::with_capacity(outcomes.len());
        for (first, verdict) in outcomes {
            let known = *verdict as usize;
            if known >= self.seen.len() {
                self.seen.resize(known + 1, (0, 0));
            }
            if self.seen[known].0 != self.serial {
                let position = u16::try_from(list.len());
                let position = position.map_err(|_| BuildError::Outcomes { limit: 1 << 16 })?;
                self.seen[known] = (self.serial, position);
                list.push(*verdict);
            }
            shape.push((*first, self.seen[known].1));
        }
        let shape_id = self.shapes.intern(&shape)?;
        if shape_id as usize == self.pattern_of.len() {
            let pattern = self.spread(&shape)?;
            self.pattern_of.push(pattern);
        }
        let list = self.lists.intern(&list)?;
        let list = self.lists.start(list);
        self.programs.intern(&[Program { pattern: self.pattern_of[shape_id as usize], list }])
    }

    /// Writes a shape down class by class; gives its start in `patterns`.
    fn spread(&mut self, shape: &[(u32, u16)]) -> Result<u32, BuildError> {
        let mut blocks = Vec::with_capacity(self.class_count as usize / PATTERN_BLOCK + 1);
        let mut run = 0;
        for first in (0..self.class_count).step_by(PATTERN_BLOCK) {
            let block: [u16; PATTERN_BLOCK] = std::array::from_fn(|at| {
                while shape.get(run + 1).is_some_and(|(next, _)| *next <= first + at as u32) {
                    run += 1;
                }
                shape[run].1
            });
            let block = self.pattern_blocks.intern(&block)?;
            blocks.push(self.pattern_blocks.start(block));
        }
        let pattern = self.patterns.intern(&blocks)?;
        Ok(self.patterns.start(pattern))
    }

    /// Adds the row of the next source class: a program for each destination class.
    ///
    /// # Errors
    /// [`BuildError::Table`].
    pub(crate) fn add_row(&mut self, programs: &[u32]) -> Result<(), BuildError> {
        if self.rows.len() + programs.len().div_ceil(PAIR_BLOCK) > self.limit {
            return Err(BuildError::Table { table: "rows", limit: self.limit });
        }
        let mut padded = [0; PAIR_BLOCK];
        for block in programs.chunks(PAIR_BLOCK) {
            padded[..block.len()].copy_from_slice(block);
            padded[block.len()..].fill(block[0]);
            let block = self.pair_blocks.intern(&padded)?;
            self.rows.push(self.pair_blocks.start(block));
        }
        Ok(())
    }

    /// Closes the tables over the classes of each identity.
    pub(crate) fn finish(self, sources: &[u32], destinations: &[u32], columns: usize) -> RuleTrie {
        let width = columns.div_ceil(PAIR_BLOCK) as u32;
        let places = sources.iter().zip(destinations);
        RuleTrie {
            places: places.map(|(source, column)| Place { row: source * width, column: *column }).collect(),
            rows: self.rows.into_boxed_slice(),
            pair_blocks: self.pair_blocks.into_items(),
            programs: self.programs.into_items(),
            patterns: self.patterns.into_items(),
            pattern_blocks: self.pattern_blocks.into_items(),
            lists: self.lists.into_items(),
        }
    }
}
