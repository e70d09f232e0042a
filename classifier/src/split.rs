//! Which rules are *wide* and which *narrow*: the two forms in which pairs of classes are kept.
//!
//! Wide rules tell few classes apart, and each applies to many pairs of them: a matrix holds their programs, two loads
//! a lookup. A rule from one workload to another would add a row and a column to it for a single cell. So such rules are
//! narrow: the pairs that they name stand one by one in a table, each with its whole program (the wide rules'
//! part included), and the matrix need not tell these workloads apart.
//!
//! A rule's *area* is the number of pairs that it names. All rules up to some area are narrow, and the area is
//! chosen by the memory that both forms then take. While the matrix of all rules is small, all are wide: its lookup
//! is the shorter one. The choice is a function of the policy. Cost: a pass over the classes for each area tried.

use hashbrown::HashSet;

use crate::endpoint_class::EndpointClasses;
use crate::in_force::{RuleInForce, RulesInForce};
use crate::limits::Limits;

/// Up to this many cells no rule is narrow.
const SMALL_MATRIX: u64 = 1 << 22;
/// Bytes of a cell, at most: where blocks are shared it is less.
const CELL: u64 = 4;
/// Bytes of a pair in the table.
const PAIR: u64 = 21;

/// What was chosen.
#[derive(Debug)]
pub(crate) struct Split {
    /// By rank.
    pub(crate) narrow: Vec<bool>,
    /// By selector: whether a wide rule asks it of a source, and of a destination.
    pub(crate) wide_from: Vec<bool>,
    pub(crate) wide_to: Vec<bool>,
}

impl Split {
    /// The split with the least memory; or, with `area`, the one at that area.
    pub(crate) fn choose(
        rules: &RulesInForce<'_>,
        sources: &EndpointClasses,
        destinations: &EndpointClasses,
        area: Option<u64>,
        limits: &Limits,
    ) -> Self {
        let area_of = |rule: &RuleInForce| {
            let from = sources.members[rule.from as usize].all().len() as u64;
            from * destinations.members[rule.to as usize].all().len() as u64
        };
        let areas: Vec<u64> = rules.rules.iter().map(area_of).collect();
        if area.is_some() {
            return Self::at(rules, &areas, area);
        }
        let cells = |split: &Self| {
            sources.count_merged(&split.wide_from) as u64 * destinations.count_merged(&split.wide_to) as u64
        };
        let wide = Self::at(rules, &areas, None);
        let all = cells(&wide);
        if all <= SMALL_MATRIX {
            return wide;
        }
        let mut named: Vec<(u64, u32, u32)> =
            rules.rules.iter().zip(&areas).map(|(rule, area)| (*area, rule.from, rule.to)).collect();
        named.sort_unstable();
        named.dedup();
        let largest = named.last().map_or(0, |(area, ..)| *area);
        let mut best = (all.saturating_mul(CELL), wide);
        for area in (0..64).step_by(2).map(|exponent| 1_u64 << exponent) {
            let pairs: u64 = named.iter().take_while(|(it, ..)| *it <= area).map(|(it, ..)| it).sum();
            if pairs > limits.pairs as u64 || pairs.saturating_mul(PAIR) >= best.0 {
                break;
            }
            let split = Self::at(rules, &areas, Some(area));
            let cost = cells(&split) * CELL + pairs * PAIR;
            if cost < best.0 {
                best = (cost, split);
            }
            if area >= largest {
                break;
            }
        }
        best.1
    }

    /// Narrow are rules up to this area, or none; `areas` are by rank.
    fn at(rules: &RulesInForce<'_>, areas: &[u64], most: Option<u64>) -> Self {
        let selectors = rules.selectors.len();
        let mut split = Self {
            narrow: areas.iter().map(|area| most.is_some_and(|most| *area <= most)).collect(),
            wide_from: vec![false; selectors],
            wide_to: vec![false; selectors],
        };
        for (rule, narrow) in rules.rules.iter().zip(&split.narrow) {
            if !narrow {
                let holes = rule.except.iter().map(|hole| (hole.from, hole.to));
                for (from, to) in holes.chain([(rule.from, rule.to)]) {
                    split.wide_from[from as usize] = true;
                    split.wide_to[to as usize] = true;
                }
            }
        }
        split
    }
}

impl EndpointClasses {
    /// How many classes [`EndpointClasses::merged`] would make.
    fn count_merged(&self, keeps: &[bool]) -> usize {
        let mut kept = Vec::new();
        let mut known: HashSet<Box<[u32]>, ahash::RandomState> = HashSet::default();
        for (gate, selectors) in self.gates.iter().zip(&self.selectors) {
            kept.clear();
            kept.extend(gate.words());
            kept.extend(selectors.iter().filter(|selector| keeps[**selector as usize]));
            if !known.contains(&*kept) {
                known.insert(kept.as_slice().into());
            }
        }
        known.len()
    }
}
