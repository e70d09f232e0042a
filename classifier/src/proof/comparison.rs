//! Comparing distinct pairs: what the two gates say of every cell against what the object says under the pair's program.
//!
//! Each is compared by itself, so they are divided among threads. What is found does not depend on how many there are:
//! neither the work that is counted, nor which pair is the first that differs.
//!
//! Cost: for each pair, its rules' cells and the cells under its program.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::answer::Answer;
use super::gates::{Ends, Judged};
use super::items::{Items, Pieces};
use super::packets::Packets;
use super::source::Source;
use super::work::{Exhausted, Work};
use crate::Classifier;
use crate::rule_trie::Program;

/// A pair that is like none before it.
pub(super) struct Distinct {
    /// The number of the source class, and of the destination class.
    pub(super) classes: [usize; 2],
    pub(super) ends: Ends,
    /// `None` where a lookup leaves its tables.
    pub(super) program: Option<Program>,
    /// The items that apply.
    pub(super) list: Arc<[u32]>,
}

/// A cell of which policy and object do not say the same.
pub(super) struct Differs {
    pub(super) cell: u32,
    pub(super) meant: Answer,
    pub(super) compiled: Option<Answer>,
}

/// What became of the pairs that one thread took.
struct Part {
    spent: u64,
    outcome: Result<Option<(usize, Differs)>, Exhausted>,
}

/// A thread takes so many pairs at a time.
const TAKEN: usize = 32;

/// Compares all of them; gives the first that differs, by its place.
///
/// # Errors
/// When that is more work than allowed, and no difference was found before.
pub(super) fn compare_all<'a, 'p: 'a>(
    pairs: &[Distinct],
    comparer: impl Fn() -> Comparer<'a, 'p> + Sync,
    threads: NonZeroUsize,
    work: &mut Work,
) -> Result<Option<(usize, Differs)>, Exhausted> {
    let next = AtomicUsize::new(0);
    let left = work.left();
    // Each may spend all that is left: if one of them spends more, so do all of them together, and it is found below.
    let part = || {
        let mut work = Work::new(left);
        let outcome = compare_some(pairs, &next, comparer(), &mut work);
        Part { spent: work.spent, outcome }
    };
    let helpers = (threads.get() - 1).min(pairs.len() / (4 * TAKEN));
    let parts: Vec<Part> = thread::scope(|scope| {
        let helpers: Vec<_> = (0..helpers).map(|_| scope.spawn(part)).collect();
        let own = part();
        let theirs = helpers
            .into_iter()
            .map(|helper| helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        theirs.chain([own]).collect()
    });
    let spent = parts.iter().map(|part| part.spent).fold(0, u64::saturating_add);
    let is_within = work.spend(usize::try_from(spent).unwrap_or(usize::MAX));
    let differs = parts.into_iter().filter_map(|part| part.outcome.ok().flatten()).min_by_key(|(at, _)| *at);
    if differs.is_none() {
        is_within?;
    }
    Ok(differs)
}

/// Takes pairs until there are none, or one differs. Those before it were taken before, and whoever took them compares them
/// to their end: so the first difference of all is among those that are found.
fn compare_some(
    pairs: &[Distinct],
    next: &AtomicUsize,
    mut comparer: Comparer<'_, '_>,
    work: &mut Work,
) -> Result<Option<(usize, Differs)>, Exhausted> {
    loop {
        let begin = next.fetch_add(TAKEN, Ordering::Relaxed);
        let end = (begin + TAKEN).min(pairs.len());
        if begin >= end {
            return Ok(None);
        }
        for at in begin..end {
            let found = comparer.compare(&pairs[at], work);
            if !matches!(found, Ok(None)) {
                // Nobody needs to go on.
                next.store(pairs.len(), Ordering::Relaxed);
                return found.map(|differs| differs.map(|differs| (at, differs)));
            }
        }
    }
}

/// Compares one pair after the other; keeps its buffers.
pub(super) struct Comparer<'a, 'p> {
    classifier: &'a Classifier,
    source: &'a Source<'p>,
    packets: &'a Packets,
    items: &'a Items<'a, 'p>,
    pieces: Pieces,
    judged: Judged,
    /// What the object says of the cells: where the verdict may change, and the verdict.
    says: Vec<(u32, Option<u32>)>,
}

impl<'a, 'p> Comparer<'a, 'p> {
    pub(super) fn new(
        classifier: &'a Classifier,
        source: &'a Source<'p>,
        packets: &'a Packets,
        items: &'a Items<'a, 'p>,
    ) -> Self {
        let (pieces, judged) = (Pieces::default(), Judged::default());
        Self { classifier, source, packets, items, pieces, judged, says: Vec::new() }
    }

    fn compare(&mut self, pair: &Distinct, work: &mut Work) -> Result<Option<Differs>, Exhausted> {
        self.judge(pair, work)?;
        self.ask(pair.program, work)?;
        self.compare_cells(pair.ends, work)
    }

    /// What the gates say.
    fn judge(&mut self, pair: &Distinct, work: &mut Work) -> Result<(), Exhausted> {
        let list = &pair.list;
        work.spend(self.items.cost(list))?;
        self.items.cut(list, &mut self.pieces);
        work.spend(list.len() * self.pieces.words * 2 + self.pieces.firsts.len())?;
        self.judged.judge(pair.ends, self.items, list, &self.pieces);
        Ok(())
    }

    /// What the object says of all cells under one program.
    fn ask(&mut self, program: Option<Program>, work: &mut Work) -> Result<(), Exhausted> {
        let says = &mut self.says;
        says.clear();
        let mut say = |cell: u32, verdict: Option<u32>| {
            if says.last().is_none_or(|(_, last)| *last != verdict) {
                says.push((cell, verdict));
            }
        };
        for run in &self.packets.runs {
            work.spend(2 + run.cells as usize / 16)?;
            match program.zip(run.first_class) {
                None => say(run.first_cell, None),
                Some((program, class)) => {
                    let tell = |at: u32, verdict: Option<u32>| say(run.first_cell + at, verdict);
                    self.classifier.trie.verdicts(program, class, run.cells, tell);
                }
            }
        }
        Ok(())
    }

    /// Goes over the cells where the policy's answer or the object's may change.
    fn compare_cells(&mut self, ends: Ends, work: &mut Work) -> Result<Option<Differs>, Exhausted> {
        let (says, firsts) = (&self.says, &self.pieces.firsts);
        work.spend(says.len() + firsts.len())?;
        let (mut piece, mut run) = (0, 0);
        let mut meant: Option<(usize, Answer)> = None;
        let mut equal: Option<Option<u32>> = None;
        loop {
            let cell = firsts[piece].max(says[run].0);
            let is_known =
                meant.as_ref().is_some_and(|(of, _)| *of == piece || self.judged.is_same(*of, piece));
            if !is_known {
                meant = Some((piece, self.judged.answer(ends, piece, self.source)));
                equal = None;
            }
            let verdict = says[run].1;
            if let Some((_, meant)) = &meant
                && equal != Some(verdict)
            {
                work.spend(16)?;
                if !self.classifier.answers(verdict, meant) {
                    let (meant, compiled) = (meant.clone(), self.classifier.answer(verdict));
                    return Ok(Some(Differs { cell, meant, compiled }));
                }
                equal = Some(verdict);
            }
            // On to whichever ends first.
            let ends_at = |next: Option<u32>| next.unwrap_or(self.packets.cells);
            let piece_end = ends_at(firsts.get(piece + 1).copied());
            let run_end = ends_at(says.get(run + 1).map(|(first, _)| *first));
            let end = piece_end.min(run_end);
            if end == self.packets.cells {
                return Ok(None);
            }
            piece += usize::from(piece_end == end);
            run += usize::from(run_end == end);
        }
    }
}
