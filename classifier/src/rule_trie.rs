//! The run-time tables from a pair of identities and a layer-4 class to a verdict.
//!
//! ```text
//! source identity ------> end ---┬> pair table: both ends ---> program, or nobody there:
//! destination identity -> end ---┘
//! source identity ------> row ---┬> pair matrix -------------> program
//! destination identity -> column ┘
//!
//! program ┬> head -> pattern, class -> position ┐
//!         └> list, or first number -- + position ┴> verdict
//! ```
//! The matrix stands over the coarse classes, which wide rules tell apart; the table holds the pairs of ends that narrow
//! rules name, each with its whole program (see `split`). An end is an identity's fine class; where classes are
//! hardly fewer than identities it is the identity itself, and a lookup reads nothing of it.
//!
//! A *program* is what a pair does with layer 4. It is kept as a *pattern* (which classes end alike: positions
//! in a list) and a *list* (the verdicts at these positions), because policies repeat the shapes far more often than the
//! rules: "tcp/443 and tcp/8443" for a thousand pairs is one pattern with a thousand lists of three words.
//! Most lists of single pairs are a verdict that many share (refused by default), then fresh ones, numbered as they were
//! found. Of these the program holds the first number, and its head the shared verdict: no list is written, and
//! none is read. Blocks, patterns, heads, lists and the matrix's programs are all hash-consed.

mod checked;

use crate::intern::Interner;
use crate::limits::{BuildError, Limits};
use crate::paged::Paged;
use crate::pair_matrix::{PairMatrix, PairMatrixBuild};
use crate::pattern::{PatternBuild, Patterns};
use crate::perfect_table::{PerfectTable, Value};
use crate::program::Outcomes;

/// Where an identity stands in the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// Start of its row, as a source.
    pub(crate) row: u32,
    /// Its column, as a destination.
    pub(crate) column: u32,
}

/// A program. Equal ones do the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Program {
    head: u32,
    /// With [`COUNTED`]: the verdict at position one, which the next positions count on from. Without: the start
    /// among the lists.
    list: u32,
}

/// See [`Program`].
const COUNTED: u32 = 1 << 31;

/// What programs share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Head {
    pattern: u32,
    /// The verdict at position zero, where positions are counted.
    first: u32,
}

impl Value for Program {
    const NONE: Self = Self { head: u32::MAX, list: u32::MAX };

    #[inline(always)]
    fn is_some(self) -> bool {
        self != Self::NONE
    }
}

/// An identity's fine classes, as a source and as a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FineClasses {
    pub(crate) source: u32,
    pub(crate) destination: u32,
}

/// A pair of ends as the table knows it.
fn pair(source: u32, destination: u32) -> u64 {
    u64::from(source) << 32 | u64::from(destination)
}

/// The finished tables.
#[derive(Clone, Debug)]
pub(crate) struct RuleTrie {
    /// By identity.
    places: Paged<Place>,
    /// By identity; empty where the identities themselves are the ends of pairs.
    classes: Box<[FineClasses]>,
    /// By [`pair`] of ends.
    pairs: PerfectTable<u64, Program>,
    matrix: PairMatrix,
    /// What the matrix's numbers stand for.
    programs: Box<[Program]>,
    heads: Box<[Head]>,
    patterns: Patterns,
    /// Never empty.
    lists: Box<[u32]>,
}

impl RuleTrie {
    /// The program of a pair.
    #[inline(always)]
    pub(crate) fn program(&self, source: u32, destination: u32) -> Program {
        if !self.pairs.is_empty()
            && let Some(program) = self.pairs.get(self.ends(source, destination))
        {
            return program;
        }
        self.wide_program(source, destination)
    }

    /// [`RuleTrie::program`] of the first `count` pairs, which wait together for what they read. `meanwhile` is done once for
    /// each of them.
    #[inline(always)]
    pub(crate) fn programs_of<const N: usize>(
        &self,
        sources: &[u32; N],
        destinations: &[u32; N],
        count: usize,
        programs: &mut [Program; N],
        meanwhile: impl FnMut(usize),
    ) {
        let ends = || sources.iter().zip(destinations).take(count);
        if self.pairs.is_empty() {
            (0..count).for_each(meanwhile);
            for (program, (source, destination)) in programs.iter_mut().zip(ends()) {
                *program = self.wide_program(*source, *destination);
            }
            return;
        }
        let (mut keys, mut places) = ([0; N], [0; N]);
        if self.classes.is_empty() {
            for ((key, source), destination) in keys.iter_mut().zip(sources).zip(destinations) {
                *key = pair(*source, *destination);
            }
        } else {
            for (key, (source, destination)) in keys.iter_mut().zip(ends()) {
                *key = self.ends(*source, *destination);
            }
        }
        self.pairs.fetch(&keys, count, &mut places, meanwhile);
        // Which pairs are not there cannot be predicted, and what they read instead need not wait for the others.
        let (mut missing, mut count_missing) = ([0; N], 0);
        for (at, (program, (place, ends))) in
            programs.iter_mut().zip(places.iter().zip(&keys)).enumerate().take(count)
        {
            let found = self.pairs.get_at(*place, *ends);
            missing[count_missing] = at;
            count_missing += usize::from(found.is_none());
            *program = found.unwrap_or_default();
        }
        for at in missing.iter().take(count_missing) {
            programs[*at] = self.wide_program(sources[*at], destinations[*at]);
        }
    }

    #[inline(always)]
    fn ends(&self, source: u32, destination: u32) -> u64 {
        if self.classes.is_empty() {
            return pair(source, destination);
        }
        pair(self.classes[source as usize].source, self.classes[destination as usize].destination)
    }

    /// What wide rules alone say of a pair.
    #[inline(always)]
    fn wide_program(&self, source: u32, destination: u32) -> Program {
        let (row, column) = (self.places.get(source).row, self.places.get(destination).column);
        self.programs[self.matrix.get(row, column) as usize]
    }

    /// What the program says of a class.
    #[inline(always)]
    pub(crate) fn verdict(&self, program: Program, class: u32) -> u32 {
        let head = self.heads[program.head as usize];
        let position = self.patterns.position(head.pattern, class);
        // Both ways are gone, so that the processor need not guess.
        let is_counted = program.list & COUNTED != 0;
        let listed = self.lists[if is_counted { 0 } else { program.list as usize + position }];
        let after_first = (program.list & !COUNTED) + position as u32;
        let counted = if position == 0 { head.first } else { after_first - 1 };
        if is_counted { counted } else { listed }
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
        let places = self.places.memory() + size_of_val(&*self.classes);
        let pairs = places + self.pairs.memory() + self.matrix.memory();
        let programs = size_of_val(&*self.programs)
            + size_of_val(&*self.heads)
            + self.patterns.memory()
            + size_of_val(&*self.lists);
        (pairs, programs)
    }
}

/// The tables while they grow.
pub(crate) struct RuleTrieBuild {
    limit: usize,
    pairs_limit: usize,
    pairs: Vec<(u64, Program)>,
    matrix: PairMatrixBuild,
    programs: Interner<Program>,
    heads: Interner<Head>,
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
            pairs_limit: limits.pairs,
            pairs: Vec::new(),
            matrix: PairMatrixBuild::new(limits),
            programs: Interner::new("programs", limit),
            heads: Interner::new("programs", limit),
            patterns: PatternBuild::new(class_count, limits),
            lists: Interner::new("verdict lists", limit.min(COUNTED as usize)),
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
        let is_counted = list[1..].windows(2).all(|two| two[0] + 1 == two[1]);
        let (first, list) = if is_counted {
            (list[0], COUNTED | list.get(1).copied().unwrap_or_default())
        } else {
            let list = self.lists.intern(&list)?;
            (0, self.lists.start(list))
        };
        Ok(Program { head: self.heads.intern(&[Head { pattern, first }])?, list })
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
        self.pairs.push((pair(source, destination), program));
        Ok(())
    }

    /// Closes the tables over the places and the classes of all identities.
    ///
    /// # Errors
    /// [`BuildError::Table`].
    pub(crate) fn finish(
        mut self,
        places: &[Place],
        classes: Box<[FineClasses]>,
    ) -> Result<RuleTrie, BuildError> {
        self.lists.intern(&[0])?;
        let (pairs, classes) = match by_identity(&self.pairs, &classes) {
            Some(pairs) => (pairs, Box::default()),
            None => (self.pairs, classes),
        };
        Ok(RuleTrie {
            places: Paged::build("places of identities", self.limit, places)?,
            classes,
            pairs: PerfectTable::build("pairs of identities", &pairs)?,
            matrix: self.matrix.finish(),
            programs: self.programs.into_items(),
            heads: self.heads.into_items(),
            patterns: self.patterns.finish(),
            lists: self.lists.into_items(),
        })
    }
}

/// Pairs of classes as pairs of identities, where these are not many more.
fn by_identity(pairs: &[(u64, Program)], classes: &[FineClasses]) -> Option<Vec<(u64, Program)>> {
    let sources = members(classes.iter().map(|classes| classes.source));
    let destinations = members(classes.iter().map(|classes| classes.destination));
    let ends = |pair: u64| (&sources[(pair >> 32) as usize], &destinations[pair as u32 as usize]);
    let products = pairs.iter().map(|(pair, _)| {
        let (sources, destinations) = ends(*pair);
        sources.len() * destinations.len()
    });
    let count: usize = products.sum();
    if count > pairs.len() + pairs.len() / 4 {
        return None;
    }
    let mut found = Vec::with_capacity(count);
    for (classes, program) in pairs {
        let (sources, destinations) = ends(*classes);
        for source in sources {
            found.extend(destinations.iter().map(|destination| (pair(*source, *destination), *program)));
        }
    }
    Some(found)
}

/// By class: the identities in it.
fn members(class_of: impl Iterator<Item = u32>) -> Vec<Vec<u32>> {
    let mut members = Vec::new();
    for (identity, class) in (0..).zip(class_of) {
        let class = class as usize;
        if members.len() <= class {
            members.resize(class + 1, Vec::new());
        }
        members[class].push(identity);
    }
    members
}
