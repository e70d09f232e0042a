//! The lookups of a rule trie, without the trust that its tables are well formed.
//!
//! For the proof. Where a lookup would leave a table, there is no answer.

use super::{COUNTED, FineClasses, Program, RuleTrie, pair};

impl RuleTrie {
    /// All that a lookup reads of an identity as a source: identities for which it is equal are the same source.
    pub(crate) fn source_end(&self, identity: u32) -> Option<[u32; 2]> {
        let place = self.places.find(identity)?;
        Some([self.end(identity, |classes| classes.source)?, place.row])
    }

    /// Likewise as a destination.
    pub(crate) fn destination_end(&self, identity: u32) -> Option<[u32; 2]> {
        let place = self.places.find(identity)?;
        Some([self.end(identity, |classes| classes.destination)?, place.column])
    }

    fn end(&self, identity: u32, side: impl Fn(&FineClasses) -> u32) -> Option<u32> {
        match (self.pairs.is_empty(), self.classes.is_empty()) {
            // Nobody asks.
            (true, _) => Some(0),
            (false, true) => Some(identity),
            (false, false) => self.classes.get(identity as usize).map(side),
        }
    }

    /// [`RuleTrie::program`] between two ends.
    pub(crate) fn program_between(&self, source: [u32; 2], destination: [u32; 2]) -> Option<Program> {
        let ([source, row], [destination, column]) = (source, destination);
        if !self.pairs.is_empty()
            && let Some(program) = self.pairs.get(pair(source, destination))
        {
            return Some(program);
        }
        self.programs.get(self.matrix.find(row, column)? as usize).copied()
    }

    /// All pairs, source first, of which [`RuleTrie::program_between`] may read more than row and column; in order, each once.
    pub(crate) fn pairs_by_themselves(&self) -> Vec<(u32, u32)> {
        let mut pairs: Vec<u64> = self.pairs.keys().collect();
        pairs.sort_unstable();
        pairs.dedup();
        pairs.into_iter().map(|pair| ((pair >> 32) as u32, pair as u32)).collect()
    }

    /// [`RuleTrie::verdict`] for `count` classes from `first` on: tells where the verdict may change (counted from
    /// `first`), zero included. Cost: uniform parts of a pattern count once.
    pub(crate) fn verdicts(
        &self,
        program: Program,
        first: u32,
        count: u32,
        mut tell: impl FnMut(u32, Option<u32>),
    ) {
        let Some(head) = self.heads.get(program.head as usize) else { return tell(0, None) };
        self.patterns.positions(head.pattern, first, count, |at, position| {
            let verdict = position.and_then(|position| match program.list & COUNTED {
                0 => self.lists.get(program.list as usize + position).copied(),
                _ if position == 0 => Some(head.first),
                _ => Some((program.list & !COUNTED) + position as u32 - 1),
            });
            tell(at, verdict);
        });
    }
}

#[cfg(test)]
impl RuleTrie {
    pub(crate) fn cells<'t>(&'t mut self, tables: &mut crate::cells::Tables<'t>) {
        use super::{Head, Place};
        use crate::cells::{AsCell, each};
        let place = |Place { row, column }: &'t mut Place| [row, column].map(AsCell::as_cell).into();
        self.places.cells("places", place, tables);
        let classes = self.classes.iter_mut().flat_map(|classes| {
            let FineClasses { source, destination } = classes;
            [source, destination].map(AsCell::as_cell)
        });
        tables.push(("classes of identities", classes.collect()));
        let program = |Program { head, list }: &'t mut Program| vec![head.as_cell(), list.as_cell()];
        self.pairs.cells("pairs", program, tables);
        self.matrix.cells(tables);
        tables.push(("programs", self.programs.iter_mut().flat_map(program).collect()));
        let heads =
            self.heads.iter_mut().flat_map(|Head { pattern, first }| [pattern, first].map(AsCell::as_cell));
        tables.push(("heads", heads.collect()));
        self.patterns.cells(tables);
        tables.push(("lists", each(&mut self.lists)));
    }
}
