//! Pairs of identities with programs of their own: by source, its destinations in order.
//!
//! A rule touches many pairs of few sources, so a change copies a row of numbers for each of these and no pair by itself;
//! pairs that do the same share a program. Programs that no pair has any more stay until the next compile. Cost of a lookup:
//! one of a hash map, and a search by halves.

use std::sync::Arc;

use super::{PairProgram, SharedList, SharedMap};

/// Some destinations, in order, each with the number of its program.
type Row = Arc<[(u32, u32)]>;

/// All of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct PairPrograms {
    /// By source.
    rows: SharedMap<u32, Row>,
    /// By number.
    programs: SharedList<Arc<PairProgram>>,
    len: usize,
}

impl PairPrograms {
    pub(crate) fn get(&self, source: u32, destination: u32) -> Option<&PairProgram> {
        let program = self.programs.get(self.number(source, destination)? as usize)?;
        Some(program)
    }

    /// The number of a pair's program.
    pub(crate) fn number(&self, source: u32, destination: u32) -> Option<u32> {
        program_in(self.row(source), destination)
    }

    /// Whether two identities have the same programs, as sources and as destinations.
    pub(crate) fn is_alike(&self, one: u32, other: u32) -> bool {
        let has_alike = |row: &Row| program_in(row, one) == program_in(row, other);
        self.row(one) == self.row(other) && self.rows.values().all(has_alike)
    }

    /// The destinations of a source, in order, with the numbers of their programs.
    pub(crate) fn row(&self, source: u32) -> &[(u32, u32)] {
        self.rows.get(&source).map_or(&[], |row| row)
    }

    /// Adds a program, which no pair has yet; gives its number.
    pub(crate) fn add(&mut self, program: PairProgram) -> u32 {
        self.programs.push(Arc::new(program));
        self.programs.len() as u32 - 1
    }

    /// Gives pairs of one source other programs; destinations in order, none twice. Says which had none.
    pub(crate) fn insert(&mut self, source: u32, programs: &[(u32, u32)]) -> Vec<u32> {
        let before = self.row(source);
        let (mut row, mut new) = (Vec::with_capacity(before.len() + programs.len()), Vec::new());
        let mut rest = before;
        for pair in programs {
            let kept = rest.partition_point(|(known, _)| *known < pair.0);
            row.extend_from_slice(&rest[..kept]);
            let is_known = rest.get(kept).is_some_and(|(known, _)| *known == pair.0);
            rest = &rest[kept + usize::from(is_known)..];
            if !is_known {
                new.push(pair.0);
            }
            row.push(*pair);
        }
        row.extend_from_slice(rest);
        self.len += new.len();
        self.rows.insert(source, row.into());
        new
    }

    #[cfg(test)]
    pub(crate) fn cells<'t>(&'t mut self, tables: &mut crate::cells::Tables<'t>) {
        use crate::cells::Cell;
        let rows = self.rows.values_mut().into_iter();
        let cells = rows.flat_map(|(_, row)| Arc::make_mut(row).iter_mut());
        let cells = cells.flat_map(|(destination, program)| [Cell::Word(destination), Cell::Word(program)]);
        tables.push(("rows", cells.collect()));
        let programs = self.programs.iter_mut();
        tables.push(("programs", programs.flat_map(|program| Arc::make_mut(program).cells()).collect()));
    }

    /// Pairs.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Programs, those that no pair has any more included.
    pub(crate) fn program_count(&self) -> usize {
        self.programs.len()
    }

    /// Bytes on the heap, roughly.
    pub(crate) fn memory(&self) -> usize {
        let pairs: usize = self.rows.values().map(|row| size_of_val(&**row)).sum();
        let programs = (0..self.programs.len()).filter_map(|number| self.programs.get(number));
        let programs: usize = programs.map(|program| size_of::<PairProgram>() + program.memory()).sum();
        self.rows.memory() + pairs + self.programs.memory() + programs
    }
}

fn program_in(row: &[(u32, u32)], destination: u32) -> Option<u32> {
    let at = row.binary_search_by_key(&destination, |(known, _)| *known).ok()?;
    Some(row[at].1)
}
