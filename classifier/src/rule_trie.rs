//! The run-time tables from a pair of identities and a layer-4 class to a verdict.
//!
//! ```text
//! source identity ------> place ┬> pair table: source class, destination class --> program, or nobody there:
//! destination identity -> place ┴> pair matrix: row, column ---------------------> program
//!
//! program ┬> pattern, class -> position ┐
//!         └> list ------------ + position ┴> verdict
//! ```
//! The matrix stands over the coarse classes, which wide rules tell apart; the table holds the pairs of fine classes
//! that narrow rules name, each with its whole program (see `split`).
//!
//! A *program* is what a pair does with layer 4. It is kept as a *pattern* (which classes end alike: positions
//! in a list) and a *list* (the verdicts at these positions), because policies repeat the shapes far more often than the
//! rules: "tcp/443 and tcp/8443" for a thousand pairs is one pattern with a thousand lists of three words.
//! Blocks, patterns, lists and the matrix's programs are all hash-consed.

mod checked;

use crate::intern::Interner;
use crate::limits::{BuildError, Limits};
use crate::pair_matrix::{PairMatrix, PairMatrixBuild};
use crate::pair_table::{self, PairTable};
use crate::pattern::{PatternBuild, Patterns};
use crate::program::Outcomes;

/// Where an identity stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its fine class as a source.
    pub(crate) source: u32,
    /// Its fine class as a destination.
    pub(crate) destination: u32,
    /// Start of its row in the matrix, as a source.
    pub(crate) row: u32,
    /// Its column, as a destination.
    pub(crate) column: u32,
}

/// A program: starts among patterns and lists. Equal programs do the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Program {
    pub(crate) pattern: u32,
    pub(crate) list: u32,
}

/// The finished tables.
#[derive(Clone, Debug)]
pub(crate) struct RuleTrie {
    /// By identity.
    places: Box<[Place]>,
    pairs: PairTable,
    matrix: PairMatrix,
    /// What the matrix's numbers stand for.
    programs: Box<[Program]>,
    patterns: Patterns,
    lists: Box<[u32]>,
}

impl RuleTrie {
    /// The program of a pair.
    #[inline(always)]
    pub(crate) fn program(&self, source: u32, destination: u32) -> Program {
        let (source, destination) = (self.places[source as usize], self.places[destination as usize]);
        if !self.pairs.is_empty()
            && let Some(program) = self.pairs.get(pair_table::key(source.source, destination.destination))
        {
            return program;
        }
        self.programs[self.matrix.get(source.row, destination.column) as usize]
    }

    /// What the program says of a class.
    #[inline(always)]
    pub(crate) fn verdict(&self, program: Program, class: u32) -> u32 {
        let position = self.patterns.position(program.pattern, class);
        self.lists[program.list as usize + position]
    }

    /// How many identities it knows.
    pub(crate) fn identities(&self) -> usize {
        self.places.len()
    }

    /// How many programs the matrix has, and how many pairs have one of their own.
    pub(crate) fn programs(&self) -> (usize, usize) {
        (self.programs.len(), self.pairs.len())
    }

    /// Bytes on the heap: pairs, and programs.
    pub(crate) fn memory(&self) -> (usize, usize) {
        let pairs = size_of_val(&*self.places) + self.pairs.memory() + self.matrix.memory();
        let programs = size_of_val(&*self.programs) + self.patterns.memory() + size_of_val(&*self.lists);
        (pairs, programs)
    }
}

/// The tables while they grow.
pub(crate) struct RuleTrieBuild {
    pairs_limit: usize,
    pairs: Vec<(u64, Program)>,
    matrix: PairMatrixBuild,
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
            pairs_limit: limits.pairs,
            pairs: Vec::new(),
            matrix: PairMatrixBuild::new(limits),
            programs: Interner::new("programs", limit),
            patterns: PatternBuild::new(class_count, limits),
            lists: Interner::new("verdict lists", limit),
            seen: Vec::new(),
            serial: 0,
        }
    }

    /// The program with these outcomes.
    ///
    /// # Errors
    /// [`BuildError::Outcomes`] or [`BuildError::Table`].
    pub(crate) fn program(&mut self, outcomes: &Outcomes) -> Result<Program, BuildError> {
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
        Ok(Program { pattern, list })
    }

    /// The number of a program in the matrix.
    ///
    /// # Errors
    /// [`BuildError::Table`].
    pub(crate) fn number(&mut self, program: Program) -> Result<u32, BuildError> {
        self.programs.intern(&[program])
    }

    /// Adds the row of the next coarse source class: a program's number for each coarse destination class.
    ///
    /// # Errors
    /// [`BuildError::Table`].
    pub(crate) fn add_row(&mut self, programs: &[u32]) -> Result<(), BuildError> {
        self.matrix.add_row(programs)
    }

    /// Gives a pair of fine classes, none twice, a program of its own.
    ///
    /// # Errors
    /// [`BuildError::Pairs`].
    pub(crate) fn add_pair(
        &mut self,
        source: u32,
        destination: u32,
        program: Program,
    ) -> Result<(), BuildError> {
        if self.pairs.len() >= self.pairs_limit {
            return Err(BuildError::Pairs { limit: self.pairs_limit });
        }
        self.pairs.push((pair_table::key(source, destination), program));
        Ok(())
    }

    /// Closes the tables over the places of all identities.
    ///
    /// # Errors
    /// [`BuildError::Table`].
    pub(crate) fn finish(self, places: Box<[Place]>) -> Result<RuleTrie, BuildError> {
        Ok(RuleTrie {
            places,
            pairs: PairTable::build(&self.pairs)?,
            matrix: self.matrix.finish(),
            programs: self.programs.into_items(),
            patterns: self.patterns.finish(),
            lists: self.lists.into_items(),
        })
    }
}
