//! Destinations that are alike to a source until a rule, or a pair of its own in the object's table, tells them apart.
//!
//! Where neither names a pair, the object reads the destination's column and the policy its owner: so one pair stands for all
//! of a column. What is named is found beforehand, from both sides: by dealing the rules, and by reading all keys of the
//! table. Without this the proof of a policy of single workloads would be the square of their number.
//!
//! Cost: for each source, the columns and what is named.

use hashbrown::HashMap;

use super::count::Count;
use super::parties::{Class, Parties};
use crate::Classifier;

/// All destination classes.
pub(super) struct Columns {
    /// Classes by what object and policy read of them where nothing names the pair.
    columns: Vec<Vec<u32>>,
    /// By class.
    column_of: Vec<u32>,
    /// Classes by what the table of pairs is asked for.
    by_end: HashMap<u32, Vec<u32>, ahash::RandomState>,
    /// In order: the pairs in the object's table.
    pairs: Vec<(u32, u32)>,
    /// By class: the last source by which it was named, counted from one.
    named_by: Vec<u32>,
    /// By column: how many of it are named by the source at hand.
    named: Vec<u32>,
    /// How many addresses of each family.
    pub(super) addresses: [Count; 2],
}

impl Columns {
    pub(super) fn new(classifier: &Classifier, parties: &Parties) -> Self {
        let classes = &parties.destinations.classes;
        let mut numbers: HashMap<(Option<u32>, u32), u32, ahash::RandomState> = HashMap::default();
        let mut columns: Vec<Vec<u32>> = Vec::new();
        let mut by_end: HashMap<u32, Vec<u32>, ahash::RandomState> = HashMap::default();
        let mut column_of = Vec::with_capacity(classes.len());
        let mut addresses = [Count::ZERO; 2];
        for (number, class) in (0..).zip(classes) {
            let key = (class.end.map(|[_, column]| column), class.owner);
            let column = *numbers.entry(key).or_insert_with(|| {
                columns.push(Vec::new());
                columns.len() as u32 - 1
            });
            columns[column as usize].push(number);
            column_of.push(column);
            if let Some([end, _]) = class.end {
                by_end.entry(end).or_default().push(number);
            }
            addresses.iter_mut().zip(&class.weights).for_each(|(sum, weight)| *sum += *weight);
        }
        Self {
            named_by: vec![0; classes.len()],
            named: vec![0; columns.len()],
            columns,
            column_of,
            by_end,
            pairs: classifier.trie.pairs_by_themselves(),
            addresses,
        }
    }

    /// How many columns, and how many pairs in the object's table: what has to be gone through.
    pub(super) fn cost(&self) -> usize {
        self.columns.len() + self.pairs.len()
    }

    /// What has to be gone through for each source, beside what is named.
    pub(super) fn cost_of_a_source(&self) -> usize {
        self.columns.len().div_ceil(4)
    }

    /// Destinations of which all pairs with a source are compared when theirs are: `dealt`, to which rules were dealt; those
    /// that the table names, and one of each column that has others.
    pub(super) fn standing_for_all(&mut self, number: usize, source: &Class, dealt: &[u32]) -> Vec<u32> {
        let Self { columns, column_of, by_end, pairs, named_by, named, .. } = self;
        named.fill(0);
        let stamp = number as u32 + 1;
        let end = source.end.map(|[end, _]| end);
        let from = pairs.partition_point(|(known, _)| end.is_some_and(|end| *known < end));
        let own = pairs[from..].iter().take_while(|(known, _)| Some(*known) == end);
        let own = own.flat_map(|(_, destination)| by_end.get(destination).into_iter().flatten());
        let mut standing = Vec::with_capacity(dealt.len() + columns.len());
        for class in dealt.iter().chain(own) {
            if std::mem::replace(&mut named_by[*class as usize], stamp) != stamp {
                named[column_of[*class as usize] as usize] += 1;
                standing.push(*class);
            }
        }
        for (column, named) in columns.iter().zip(named) {
            if (*named as usize) < column.len() {
                standing.extend(column.iter().find(|class| named_by[**class as usize] != stamp));
            }
        }
        standing
    }
}
