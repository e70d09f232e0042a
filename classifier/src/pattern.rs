//! Patterns: which layer-4 classes end alike, as positions in a list of verdicts.
//!
//! ```text
//! pattern, class / 4096 -> page ┬> class / 64 % 64 -> block ┬> class % 64 -> position
//! ```
//! A policy names thousands of ports, a pair of identities one or two of them. So a pattern is a radix tree whose
//! parts are hash-consed: a stretch without an edge is a shared uniform page or block, and writing a pattern costs
//! its edges, not its classes. Up to 4096 classes the one page is the pattern, and its upper level does not exist.
//!
//! Cost of a lookup: two loads, or three.

mod checked;

use crate::intern::Interner;
use crate::limits::{BuildError, Limits};

/// Layer-4 classes of one block.
const BLOCK: usize = 64;
/// Layer-4 classes of one page.
const PAGE: usize = 64 * BLOCK;

/// The finished patterns.
#[derive(Clone, Debug)]
pub(crate) struct Patterns {
    /// Starts in `pages`, one for each 4096 classes; empty where a pattern is one page.
    tops: Box<[u32]>,
    /// Starts in `blocks`.
    pages: Box<[u32]>,
    blocks: Box<[u16]>,
    has_tops: bool,
}

impl Patterns {
    /// The position of a class.
    #[inline(always)]
    pub(crate) fn position(&self, pattern: u32, class: u32) -> usize {
        let (mut page, class) = (pattern as usize, class as usize);
        if self.has_tops {
            page = self.tops[page + class / PAGE] as usize;
        }
        let block = self.pages[page + class / BLOCK % (PAGE / BLOCK)] as usize;
        usize::from(self.blocks[block + class % BLOCK])
    }

    /// Bytes on the heap.
    pub(crate) fn memory(&self) -> usize {
        size_of_val(&*self.tops) + size_of_val(&*self.pages) + size_of_val(&*self.blocks)
    }
}

/// The patterns while they grow.
pub(crate) struct PatternBuild {
    class_count: usize,
    /// Patterns as runs, before they are spread out: `(first class, position)`.
    shapes: Interner<(u32, u16)>,
    /// By shape.
    pattern_of: Vec<u32>,
    tops: Interner<u32>,
    pages: Interner<u32>,
    blocks: Interner<u16>,
    /// By position: the block and the page that hold nothing else.
    uniform: Vec<Option<(u32, u32)>>,
}

impl PatternBuild {
    pub(crate) fn new(class_count: u32, limits: &Limits) -> Self {
        let limit = limits.table_entries;
        Self {
            class_count: class_count as usize,
            shapes: Interner::new("pattern runs", limit),
            pattern_of: Vec::new(),
            tops: Interner::new("patterns", limit),
            pages: Interner::new("pattern pages", limit),
            blocks: Interner::new("pattern blocks", limit),
            uniform: Vec::new(),
        }
    }

    /// The pattern with these runs: `(first class, position)`, in order, the first at zero.
    ///
    /// # Errors
    /// [`BuildError::Table`].
    pub(crate) fn pattern(&mut self, shape: &[(u32, u16)]) -> Result<u32, BuildError> {
        let id = self.shapes.intern(shape)? as usize;
        if id == self.pattern_of.len() {
            let pattern = self.spread(shape)?;
            self.pattern_of.push(pattern);
        }
        Ok(self.pattern_of[id])
    }

    pub(crate) fn finish(self) -> Patterns {
        Patterns {
            has_tops: self.has_tops(),
            tops: self.tops.into_items(),
            pages: self.pages.into_items(),
            blocks: self.blocks.into_items(),
        }
    }

    fn has_tops(&self) -> bool {
        self.class_count > PAGE
    }

    fn spread(&mut self, mut shape: &[(u32, u16)]) -> Result<u32, BuildError> {
        if !self.has_tops() {
            return self.page(shape, 0);
        }
        let mut tops = Vec::with_capacity(self.class_count.div_ceil(PAGE));
        for first in (0..self.class_count).step_by(PAGE) {
            shape = skip_to(shape, first);
            tops.push(match shape.get(1) {
                Some((next, _)) if (*next as usize) < first + PAGE => self.page(shape, first)?,
                _ => self.uniform(shape[0].1)?.1,
            });
        }
        let tops = self.tops.intern(&tops)?;
        Ok(self.tops.start(tops))
    }

    /// The start of the page that begins at the class `first`.
    fn page(&mut self, mut shape: &[(u32, u16)], first: usize) -> Result<u32, BuildError> {
        let mut page = Vec::with_capacity(PAGE / BLOCK);
        for first in (first..self.class_count.min(first + PAGE)).step_by(BLOCK) {
            shape = skip_to(shape, first);
            page.push(match shape.get(1) {
                Some((next, _)) if (*next as usize) < first + BLOCK => self.block(shape, first)?,
                _ => self.uniform(shape[0].1)?.0,
            });
        }
        let page = self.pages.intern(&page)?;
        Ok(self.pages.start(page))
    }

    fn block(&mut self, mut shape: &[(u32, u16)], first: usize) -> Result<u32, BuildError> {
        let block: [u16; BLOCK] = std::array::from_fn(|at| {
            shape = skip_to(shape, first + at);
            shape[0].1
        });
        let block = self.blocks.intern(&block)?;
        Ok(self.blocks.start(block))
    }

    /// The starts of the block and of the page with nothing but `position`.
    fn uniform(&mut self, position: u16) -> Result<(u32, u32), BuildError> {
        let at = usize::from(position);
        if self.uniform.len() <= at {
            self.uniform.resize(at + 1, None);
        }
        if let Some(known) = self.uniform[at] {
            return Ok(known);
        }
        let block = self.blocks.intern(&[position; BLOCK])?;
        let block = self.blocks.start(block);
        // Only a pattern of several pages can hold a uniform one.
        let page = if self.has_tops() {
            let page = self.pages.intern(&[block; PAGE / BLOCK])?;
            self.pages.start(page)
        } else {
            0
        };
        self.uniform[at] = Some((block, page));
        Ok((block, page))
    }
}

/// The runs from the one that holds `class`, which is none before the first.
fn skip_to(mut shape: &[(u32, u16)], class: usize) -> &[(u32, u16)] {
    while let [_, rest @ ..] = shape
        && rest.first().is_some_and(|(next, _)| *next as usize <= class)
    {
        shape = rest;
    }
    shape
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_pattern_says_of_each_class_what_its_runs_say(
            class_count in prop_oneof![1..200_u32, 4000..4200_u32, 8000..20_000_u32],
            shapes in proptest::collection::vec(
                proptest::collection::vec((any::<prop::sample::Index>(), 0..5_u16), 0..12), 1..6),
        ) {
            let mut build = PatternBuild::new(class_count, &Limits::default());
            let mut known = Vec::new();
            for shape in shapes {
                let runs = shape.into_iter().map(|(at, position)| (at.index(class_count as usize) as u32, position));
                let mut runs: Vec<(u32, u16)> = std::iter::once((0, 9)).chain(runs).collect();
                runs.sort_by_key(|(first, _)| *first);
                runs.dedup_by_key(|(first, _)| *first);
                let pattern = build.pattern(&runs).unwrap();
                prop_assert_eq!(build.pattern(&runs).unwrap(), pattern);
                known.push((pattern, runs));
            }
            let patterns = build.finish();
            for (pattern, runs) in known {
                for class in 0..class_count {
                    let run = runs.partition_point(|(first, _)| *first <= class) - 1;
                    prop_assert_eq!(patterns.position(pattern, class), usize::from(runs[run].1));
                }
            }
        }
    }
}
