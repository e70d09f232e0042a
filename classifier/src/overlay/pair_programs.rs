//! Pairs of identities with programs of their own: by source, its destinations in order.
//!
//! A rule touches many pairs of few sources, so a change copies a row for each of these and no pair by itself. Cost of a
//! lookup: one of a hash map, and a search by halves.

use std::sync::Arc;

use super::{PairProgram, SharedMap};

/// Some destinations, in order, each with its program.
type Row = Arc<[(u32, Arc<PairProgram>)]>;

/// All of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct PairPrograms {
    /// By source.
    rows: SharedMap<u32, Row>,
    len: usize,
}

impl PairPrograms {
    pub(crate) fn get(&self, source: u32, destination: u32) -> Option<&Arc<PairProgram>> {
        let row = self.row(source);
        let at = row.binary_search_by_key(&destination, |(known, _)| *known).ok()?;
        Some(&row[at].1)
    }

    /// The destinations of a source, in order.
    pub(crate) fn row(&self, source: u32) -> &[(u32, Arc<PairProgram>)] {
        self.rows.get(&source).map_or(&[], |row| row)
    }

    /// Gives pairs of one source other programs; destinations in order, none twice. Says which had none.
    pub(crate) fn insert(&mut self, source: u32, programs: &[(u32, Arc<PairProgram>)]) -> Vec<u32> {
        let before = self.row(source);
        let (mut row, mut new) = (Vec::with_capacity(before.len() + programs.len()), Vec::new());
        let mut before = before.iter().peekable();
        for (destination, program) in programs {
            while let Some(kept) = before.next_if(|(known, _)| known < destination) {
                row.push(kept.clone());
            }
            if before.next_if(|(known, _)| known == destination).is_none() {
                new.push(*destination);
            }
            row.push((*destination, Arc::clone(program)));
        }
        row.extend(before.cloned());
        self.len += new.len();
        self.rows.insert(source, row.into());
        new
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes on the heap, roughly; a program that several pairs have is counted for each.
    pub(crate) fn memory(&self) -> usize {
        let pairs = self.rows.values().flat_map(|row| row.iter());
        let pairs: usize =
            pairs.map(|(_, program)| size_of::<(u32, Arc<PairProgram>)>() + program.memory()).sum();
        self.rows.memory() + pairs
    }
}
