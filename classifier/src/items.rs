//! Rules as they apply to pairs: whole, or with the holes cut out that apply to some pair.

use crate::in_force::RulesInForce;
use crate::intern::Interner;
use crate::layer4::{self, Layer4Build};
use crate::limits::BuildError;
use crate::program::Item;
use crate::undecided::{Buckets, Extent};

/// Numbered items. The first ones are the rules without holes, by rank.
pub(crate) struct Items<'a> {
    rules: &'a RulesInForce<'a>,
    layer4: &'a Layer4Build,
    buckets: Buckets,
    /// By service list.
    extents: Vec<Extent>,
    /// Rank, then the service lists of the applicable holes.
    holed: Interner<u32>,
    /// Each of `holed`.
    cut: Vec<Cut>,
}

struct Cut {
    rank: u32,
    runs: Vec<(u32, u32)>,
    extent: Extent,
}

impl<'a> Items<'a> {
    pub(crate) fn new(rules: &'a RulesInForce<'a>, layer4: &'a Layer4Build, limit: usize) -> Self {
        let buckets = Buckets::of(layer4.classes.count());
        let extents = layer4.runs.iter().map(|runs| buckets.extent(runs)).collect();
        Self {
            rules,
            layer4,
            buckets,
            extents,
            holed: Interner::new("rules with holes", limit),
            cut: Vec::new(),
        }
    }

    /// The number of a rule with these holes (service lists, sorted).
    ///
    /// # Errors
    /// [`BuildError::Table`].
    pub(crate) fn with_holes(&mut self, rank: u32, holes: &[u32]) -> Result<u32, BuildError> {
        let number = self.holed.intern(&[&[rank], holes].concat())?;
        if number as usize == self.cut.len() {
            let layer4 = self.layer4;
            let whole = &layer4.runs[self.rules.rules[rank as usize].services as usize];
            let holes = holes.iter().flat_map(|list| layer4.runs[*list as usize].iter().copied());
            let runs = layer4::subtract(whole, &layer4::union(holes.collect()));
            let extent = self.buckets.extent(&runs);
            self.cut.push(Cut { rank, runs, extent });
        }
        Ok(self.rules.rules.len() as u32 + number)
    }

    /// The rank of the rule that it is.
    pub(crate) fn rank(&self, number: u32) -> u32 {
        match (number as usize).checked_sub(self.rules.rules.len()) {
            None => number,
            Some(cut) => self.cut[cut].rank,
        }
    }

    /// What is painted.
    pub(crate) fn get(&self, number: u32) -> Item<'_> {
        match self.rules.rules.get(number as usize) {
            Some(rule) => Item { rule, runs: &self.layer4.runs[rule.services as usize] },
            None => {
                let cut = &self.cut[number as usize - self.rules.rules.len()];
                Item { rule: &self.rules.rules[cut.rank as usize], runs: &cut.runs }
            }
        }
    }

    /// How far it reaches.
    pub(crate) fn extent(&self, number: u32) -> Extent {
        match self.rules.rules.get(number as usize) {
            Some(rule) => self.extents[rule.services as usize],
            None => self.cut[number as usize - self.rules.rules.len()].extent,
        }
    }
}
