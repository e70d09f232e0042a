//! The run-time tables from a pair of identities and a layer-4 class to a verdict.
//!
//! ```text
//! source identity -> row ┐
//!                        ├> pairs: row, column / 16 -> block -> program ┬> pattern, class -> position ┐
//! destination identity -> column                                        └> list ------------ + position ┴> verdict
//! ```
//! A *program* is what a pair does with layer 4. It is kept as a *pattern* (which classes end alike: positions
//! in a list) and a *list* (the verdicts at these positions), because policies repeat the shapes far more often than the
//! rules: "tcp/443 and tcp/8443" for a thousand pairs is one pattern with a thousand lists of three words.
//! Blocks, patterns, lists and programs are all hash-consed.

use crate::intern::Interner;
use crate::limits::{BuildError, Limits};
use crate::pattern::{PatternBuild, Patterns};
use crate::program::Outcomes;

/// Columns of one block of the pair matrix.
const PAIR_BLOCK: usize = 16;

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
    patterns: Patterns,
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
        let position = self.patterns.position(program.pattern, class);
        self.lists[program.list as usize + position]
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
        let programs = size_of_val(&*self.programs) + self.patterns.memory() + size_of_val(&*self.lists);
        (pairs, programs)
    }
}

/// The tables while they grow.
pub(crate) struct RuleTrieBuild {
    limit: usize,
    rows: Vec<u32>,
    pair_blocks: Interner<u32>,
    programs: Interner<Program>,
    patterns: PatternBuild,
    lists: Interner<u32>,
    /// By verdict: in which program it was last seen, and at which position.
    seen: Vec<(u32, u16)>,
    serial: u32,
}

impl RuleTrieBuild {
    pub(crate) fn new(class_count: u32, limits: &Limits) -> Self {
        let limit = limits.table_entries;
        Self {
            limit,
            rows: Vec::new(),
            pair_blocks: Interner::new("pairs", limit),
            programs: Interner::new("programs", limit),
            patterns: PatternBuild::new(class_count, limits),
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
        let pattern = self.patterns.pattern(&shape)?;
        let list = self.lists.intern(&list)?;
        let list = self.lists.start(list);
        self.programs.intern(&[Program { pattern, list }])
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
            patterns: self.patterns.finish(),
            lists: self.lists.into_items(),
        }
    }
}
