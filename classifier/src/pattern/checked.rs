//! What a pattern says of a run of classes, without the trust that its tables are well formed.
//!
//! For the proof. Where a lookup would leave a table, there is no position.

use super::{BLOCK, PAGE, Patterns};

impl Patterns {
    /// [`Patterns::position`] for `count` classes from `first` on: tells where the position may change (counted from
    /// `first`), zero included. Cost: a page that is the same as the one before counts once, and so does a block.
    pub(crate) fn positions(
        &self,
        pattern: u32,
        first: u32,
        count: u32,
        mut tell: impl FnMut(u32, Option<usize>),
    ) {
        let mut done = 0;
        // The part that was told last, and that it was told from its beginning and is uniform.
        let mut told: Option<(Option<usize>, Option<u16>)> = None;
        while done < count {
            // Beyond the last class that a `u32` can name there is none.
            let Some(class) = first.checked_add(done) else { return tell(done, None) };
            let class = class as usize;
            let inside = class % BLOCK;
            let here = (BLOCK - inside).min((count - done) as usize);
            let block = self.block(pattern as usize, class);
            let is_repeated =
                told.is_some_and(|(before, uniform)| before == block && uniform.is_some() && inside == 0);
            if !is_repeated {
                told = Some((
                    block,
                    self.tell_block(block, inside, here, |at, position| tell(done + at, position)),
                ));
            }
            done += here as u32;
        }
    }

    /// Where the block of a class starts.
    fn block(&self, pattern: usize, class: usize) -> Option<usize> {
        let page = if self.has_tops { *self.tops.get(pattern + class / PAGE)? as usize } else { pattern };
        self.pages.get(page + class / BLOCK % (PAGE / BLOCK)).map(|block| *block as usize)
    }

    /// Tells the positions of a block from `inside` on; gives the one that is the whole block's, if there is one.
    fn tell_block(
        &self,
        block: Option<usize>,
        inside: usize,
        here: usize,
        mut tell: impl FnMut(u32, Option<usize>),
    ) -> Option<u16> {
        let Some(block) = block else {
            tell(0, None);
            return None;
        };
        let mut last: Option<Option<u16>> = None;
        let mut changes = 0;
        for at in 0..here {
            let position = self.blocks.get(block + inside + at).copied();
            if last != Some(position) {
                last = Some(position);
                changes += 1;
                tell(at as u32, position.map(usize::from));
            }
        }
        last.flatten().filter(|_| changes == 1 && here == BLOCK)
    }
}

#[cfg(test)]
impl Patterns {
    pub(crate) fn cells<'t>(&'t mut self, tables: &mut crate::cells::Tables<'t>) {
        tables.push(("tops of patterns", crate::cells::each(&mut self.tops)));
        tables.push(("pages of patterns", crate::cells::each(&mut self.pages)));
        tables.push(("blocks of patterns", crate::cells::each(&mut self.blocks)));
        tables.push(("levels of patterns", vec![crate::cells::Cell::Flag(&mut self.has_tops)]));
    }
}
