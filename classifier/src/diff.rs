//! What differs between two compiled policies, for every packet, not sampled.
//!
//! Both objects are constant on the parts of their common refinement: stretches of addresses that neither address
//! table nor any owner divides, single workloads that have no address, and packets that neither port table divides.
//! Parties with the same identities in both objects are one *kind*; each ordered pair of kinds has a program in each
//! object, and each pair of programs is compared once, packet by packet. Pairs that change alike are then joined into
//! *regions*: a set of sources, a set of destinations, services, and what becomes of them before and after.
//!
//! A packet is known by its addresses, so an address that passes from the world to a new workload changes what
//! becomes of its packets. Such regions are kept apart by the *fate* of their parties ([`Fate`]): who reads of them can
//! tell "this workload is new" from "this workload may now". A workload without an address is known by its name, and
//! compared where both policies have it.
//!
//! What differs: the verdict, or what one gate on its own admits. The deciding rules of what is decided alike are
//! compared only where asked for ([`Comparison::deciders`]), by name. Logs, answers to refused senders and audited rules
//! are no difference.
//!
//! Packets are those that can be on a wire: of one family, ICMP over IPv4 and ICMPv6 over IPv6, not from an address or
//! a workload to itself. A region holds all that changes alike; that some packets of its box cannot exist does not divide it.
//!
//! Cost: ordered pairs of kinds, two lookups each; distinct pairs of programs times packets; the members of the
//! regions. [`Budget`] bounds the sum.

mod names;
mod parties;
mod regions;
mod services;
mod witness;

use hashbrown::HashMap;
use septum_rules::policy::Policy;
use septum_rules::verdict::{Decider, Verdict};

pub use self::names::Names;
pub use self::parties::{Fate, Member, PartySet};
pub use self::regions::{Change, ChangedRegion};
pub use self::services::ServiceSet;
pub use self::witness::DifferenceWitness;

use self::parties::Parties;
use self::regions::Rectangles;
use self::services::Packets;
use crate::proof::Budget;
use crate::rule_trie::Program;
use crate::{Classifier, VerdictId};

/// All that differs.
#[derive(Clone, Debug)]
pub struct Difference {
    /// What changes, the newly admitted first; every packet that changes lies in at least one of them.
    pub regions: Vec<ChangedRegion>,
    /// Kinds of party that either object tells apart.
    pub kinds: usize,
    /// Kinds of packet at layer 4 that either object tells apart.
    pub packets: usize,
    /// Ordered pairs of kinds, all compared.
    pub pairs: u64,
    /// Every party of both policies.
    everybody: Vec<(Fate, Member)>,
}

/// What becomes of the packets of a region, in one of the objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Judgement {
    /// What happens.
    pub verdict: Verdict,
    /// The source's gate.
    pub egress: GateJudgement,
    /// The destination's gate.
    pub ingress: GateJudgement,
}

/// One gate's part of a [`Judgement`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GateJudgement {
    /// Whether the gate, on its own, admits.
    pub admits: bool,
    /// What decides; `None` where the gate says the same before and after, by whatever rules.
    pub decided_by: Option<DecidedBy>,
}

/// [`Decider`], in an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DecidedBy {
    /// A rule of the object's own policy, by its index.
    Rule(u32),
    /// No rule.
    Default,
    /// It is no workload's, and open.
    NoGate,
    /// The endpoint is not described.
    Undescribed,
}

impl From<Decider> for DecidedBy {
    fn from(decider: Decider) -> Self {
        match decider {
            Decider::Rule(rule) => Self::Rule(rule.0),
            Decider::Default => Self::Default,
            Decider::NoGate => Self::NoGate,
            Decider::Undescribed => Self::Undescribed,
        }
    }
}

/// Why two policies were not compared to the end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiffError {
    /// The work did not fit its budget.
    #[error("not compared to the end: {done} of {pairs} pairs of parties fit the budget of {budget} steps")]
    Budget {
        /// Pairs that were compared.
        done: u64,
        /// All pairs.
        pairs: u64,
        /// The budget.
        budget: u64,
    },
}

/// Two compiled policies to compare; both compiled for one day.
#[derive(Clone, Debug)]
pub struct Comparison<'a> {
    pub(crate) before: Side<'a>,
    pub(crate) after: Side<'a>,
    deciders: bool,
    budget: Budget,
}

/// An object and the policy that it was compiled from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Side<'a> {
    pub(crate) classifier: &'a Classifier,
    pub(crate) policy: &'a Policy,
}

impl<'a> Comparison<'a> {
    /// Compares `before` with `after`, each with its own policy.
    pub fn new(
        before: &'a Classifier,
        before_policy: &'a Policy,
        after: &'a Classifier,
        after_policy: &'a Policy,
    ) -> Self {
        Self {
            before: Side { classifier: before, policy: before_policy },
            after: Side { classifier: after, policy: after_policy },
            deciders: false,
            budget: Budget::default(),
        }
    }

    /// Whether another deciding rule (by name), or another default, is a difference although the gate says the same.
    #[must_use]
    pub fn deciders(mut self, deciders: bool) -> Self {
        self.deciders = deciders;
        self
    }

    /// How much work it may be, in lookups.
    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = budget;
        self
    }

    /// Compares.
    ///
    /// # Errors
    /// [`DiffError`] when there was too much to compare.
    ///
    /// # Panics
    /// When one of the objects was updated since its compile.
    pub fn run(&self) -> Result<Difference, DiffError> {
        [self.before, self.after].iter().for_each(|side| side.classifier.assert_plain());
        let parties = Parties::of(self);
        let packets = Packets::of(self);
        let judged = Judged::of(self);
        let kinds = parties.kinds.len() as u64;
        let pairs = kinds.saturating_mul(kinds);
        let exceeded = |done| DiffError::Budget { done, pairs, budget: self.budget.0 };
        if pairs > self.budget.0 {
            return Err(exceeded(0));
        }
        let mut work = 0;
        let mut rectangles = Rectangles::default();
        // By programs: the changes of their packets, an index into `changes`.
        let mut known: HashMap<(Program, Program), u32, ahash::RandomState> = HashMap::default();
        let mut changes: Vec<Vec<u32>> = vec![Vec::new()];
        for (at, from) in (0..).zip(&parties.kinds) {
            for (column, to) in (0..).zip(&parties.kinds) {
                let before = self.before.classifier.trie.program(from.before.0, to.before.0);
                let after = self.after.classifier.trie.program(from.after.0, to.after.0);
                work += 1;
                let number = *known.entry((before, after)).or_insert_with(|| {
                    work += packets.cells.len() as u64;
                    let changed = judged.changed(self, &packets, before, after);
                    if changed.is_empty() {
                        return 0;
                    }
                    let numbered = changed.into_iter().map(|change| rectangles.number(change)).collect();
                    changes.push(numbered);
                    changes.len() as u32 - 1
                });
                for change in &changes[number as usize] {
                    work += 1;
                    rectangles.add(*change, at, column);
                }
                if work > self.budget.0 {
                    return Err(exceeded(u64::from(at) * kinds + u64::from(column)));
                }
            }
        }
        let regions = rectangles.regions(&parties, self.budget.0 - work);
        let regions = regions.ok_or_else(|| exceeded(pairs))?;
        let everybody = parties.kinds.iter();
        let everybody = everybody.flat_map(|kind| kind.members.iter().map(|member| (kind.fate, *member)));
        Ok(Difference {
            regions,
            kinds: parties.kinds.len(),
            packets: packets.cells.len(),
            pairs,
            everybody: everybody.collect(),
        })
    }
}

/// The verdicts of both objects as they are compared: equal numbers where nothing differs.
struct Judged {
    before: Vec<(u32, Judgement)>,
    after: Vec<(u32, Judgement)>,
}

impl Judged {
    fn of<'a>(comparison: &Comparison<'a>) -> Self {
        let mut numbers: HashMap<_, u32, ahash::RandomState> = HashMap::default();
        let mut read = |side: Side<'a>| -> Vec<(u32, Judgement)> {
            let verdicts = (0..side.classifier.verdict_count() as u32).map(VerdictId);
            let judge = |verdict| {
                let entry = *side.classifier.verdict(verdict);
                let gate = |gate: crate::GateEntry| GateJudgement {
                    admits: gate.admits,
                    decided_by: Some(gate.decider.into()),
                };
                let judgement = Judgement {
                    verdict: entry.verdict,
                    egress: gate(entry.egress),
                    ingress: gate(entry.ingress),
                };
                let decider = |decider| match decider {
                    Decider::Rule(rule) => Some(&*side.policy.rules[rule.index()].name),
                    _ => None,
                };
                let deciders = [entry.egress.decider, entry.ingress.decider].map(decider);
                let deciders = comparison.deciders.then_some(deciders);
                let compared = (entry.verdict, entry.egress.admits, entry.ingress.admits, deciders);
                let next = numbers.len() as u32;
                (*numbers.entry(compared).or_insert(next), judgement)
            };
            verdicts.map(judge).collect()
        };
        Self { before: read(comparison.before), after: read(comparison.after) }
    }

    /// What changes between two programs: each change once, with all its packets.
    fn changed(
        &self,
        comparison: &Comparison<'_>,
        packets: &Packets,
        before: Program,
        after: Program,
    ) -> Vec<(Judgement, Judgement, ServiceSet)> {
        let (old, new) = (&comparison.before.classifier.trie, &comparison.after.classifier.trie);
        let mut changes: Vec<((Judgement, Judgement), Vec<u32>)> = Vec::new();
        let mut places: HashMap<(Judgement, Judgement), usize, ahash::RandomState> = HashMap::default();
        for (cell, classes) in (0..).zip(&packets.cells) {
            let (was, was_judged) = self.before[old.verdict(before, classes.0) as usize];
            let (is, is_judged) = self.after[new.verdict(after, classes.1) as usize];
            if was == is {
                continue;
            }
            let change = told(comparison, was_judged, is_judged);
            let place = *places.entry(change).or_insert_with(|| {
                changes.push((change, Vec::new()));
                changes.len() - 1
            });
            changes[place].1.push(cell);
        }
        let told = |((before, after), cells): (_, Vec<u32>)| (before, after, packets.services(&cells));
        changes.into_iter().map(told).collect()
    }
}

/// Leaves out what decides at a gate that says the same before and after: regions need not be divided by it.
fn told(comparison: &Comparison<'_>, mut before: Judgement, mut after: Judgement) -> (Judgement, Judgement) {
    let name = |side: Side<'_>, gate: GateJudgement| match gate.decided_by {
        Some(DecidedBy::Rule(rule)) => Some(std::sync::Arc::clone(&side.policy.rules[rule as usize].name)),
        _ => None,
    };
    for (was, is) in [(&mut before.egress, &mut after.egress), (&mut before.ingress, &mut after.ingress)] {
        let differs = comparison.deciders && name(comparison.before, *was) != name(comparison.after, *is);
        if was.admits == is.admits && !differs {
            (was.decided_by, is.decided_by) = (None, None);
        }
    }
    (before, after)
}
