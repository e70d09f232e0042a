//! Which rules decide anything: every pair of classes, both gates, every service, in the order of evaluation.
//!
//! For each pair and gate the rules that match it are asked in order, each taking from what the earlier ones
//! left. A rule that takes nothing anywhere is shadowed or redundant; one whose share would be decided alike by
//! the rules behind it is redundant. A rule that lasts longer than the one before it is not hidden by it.
//!
//! Cost: the pairs of classes that rules match, times the rules that match each; it counts against the budget.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Budget;
use super::classes::{ClassId, Classes};
use super::space::{Cuboid, overlap, subtract};
use crate::date::Date;
use crate::identity::RuleId;
use crate::policy::Policy;
use crate::proto::Layer4;
use crate::rule::{Action, Rule, Tier};
use crate::selector::Selector;
use crate::verdict::Gate;

/// Coverers that are remembered for a rule: more than a message could name.
pub(super) const MOST_COVERERS: usize = 4;
/// Contradictions that are reported for one rule.
const MOST_CONTRADICTIONS: usize = 3;

/// One flow that shows a finding.
#[derive(Clone, Copy, Debug)]
pub(super) struct Witness {
    pub(super) source: ClassId,
    pub(super) destination: ClassId,
    pub(super) layer4: Layer4,
}

/// What was seen of one rule.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// It is the first to match some flow.
    pub(super) decides: bool,
    /// Without it, some flow would be decided differently.
    pub(super) essential: bool,
    /// Some flow that it allows has a path, or it allows none.
    pub(super) has_path: bool,
    /// Who takes what it matches, or would decide alike.
    pub(super) coverers: Vec<RuleId>,
    /// A flow that it matches; `None`: there is none, at a gate where it stands.
    pub(super) witness: Option<Witness>,
    /// Rules of equal priority that refuse what it allows, each with a flow.
    pub(super) contradictions: Vec<(RuleId, Witness)>,
}

/// A rule as it takes part: its classes and its place in the order.
struct Candidate<'p> {
    id: RuleId,
    rule: &'p Rule,
    from: Arc<[ClassId]>,
    to: Arc<[ClassId]>,
    services: Vec<Cuboid>,
    holes: Vec<Hole>,
    /// Of its tier and priority there is an allow and a deny, so it may take part in a contradiction.
    disputed: bool,
}

/// An `except`.
struct Hole {
    from: Arc<[ClassId]>,
    to: Arc<[ClassId]>,
    services: Vec<Cuboid>,
}

impl Candidate<'_> {
    /// What it matches between two classes.
    fn region(&self, source: ClassId, destination: ClassId) -> Vec<Cuboid> {
        let mut region = self.services.clone();
        for hole in &self.holes {
            if hole.from.binary_search(&source).is_ok() && hole.to.binary_search(&destination).is_ok() {
                hole.services.iter().for_each(|service| subtract(&mut region, service));
            }
        }
        region
    }

    /// Whether it is still there whenever `other` is.
    fn outlasts(&self, other: &Self) -> bool {
        match (self.rule.expires, other.rule.expires) {
            (None, _) => true,
            (Some(own), Some(other)) => own >= other,
            (Some(_), None) => false,
        }
    }
}

/// Judges all rules that are valid on the day `now`. Indexed by [`RuleId`]. `None`: the budget does not suffice.
pub(super) fn judge(
    policy: &Policy,
    classes: &Classes<'_>,
    now: Date,
    budget: &mut Budget,
) -> Option<Vec<Seen>> {
    let mut judge = Judge {
        classes,
        candidates: candidates(policy, classes, now),
        seen: vec![Seen::default(); policy.rules.len()],
        contradictions: HashSet::new(),
    };
    judge.run(budget)?;
    Some(judge.seen)
}

fn candidates<'p>(policy: &'p Policy, classes: &Classes<'_>, now: Date) -> Vec<Candidate<'p>> {
    let mut known: HashMap<&Selector, Arc<[ClassId]>> = HashMap::new();
    let mut of =
        |selector: &'p Selector| Arc::clone(known.entry(selector).or_insert_with(|| classes.of(selector)));
    let order = policy.evaluation_order();
    let valid = order.into_iter().filter(|id| !policy.rules[id.index()].is_expired(now));
    let level = |rule: &Rule| (rule.tier, rule.priority);
    let levels_of = |action: Action| {
        policy.rules.iter().filter(|rule| rule.action == action).map(level).collect::<HashSet<_>>()
    };
    let (allows, denies) = (levels_of(Action::Allow), levels_of(Action::Deny));
    valid
        .map(|id| {
            let rule = &policy.rules[id.index()];
            let services = |services: &[_]| services.iter().map(Cuboid::from).collect();
            let holes = rule.except.iter();
            Candidate {
                id,
                rule,
                from: of(&rule.from),
                to: of(&rule.to),
                services: services(&rule.services),
                disputed: allows.contains(&level(rule)) && denies.contains(&level(rule)),
                holes: holes
                    .map(|hole| Hole {
                        from: of(&hole.from),
                        to: of(&hole.to),
                        services: services(&hole.services),
                    })
                    .collect(),
            }
        })
        .collect()
}

struct Judge<'a, 'p> {
    classes: &'a Classes<'p>,
    /// In the order of evaluation.
    candidates: Vec<Candidate<'a>>,
    seen: Vec<Seen>,
    contradictions: HashSet<(RuleId, RuleId)>,
}

/// A rule at one pair: its place in the order, and what it matches there.
struct Share {
    candidate: usize,
    region: Vec<Cuboid>,
}

/// The rules that met between two gates, and were judged.
#[derive(Default)]
struct Judged {
    all: HashSet<Vec<u32>>,
    /// What was asked last: a rule meets the classes of its `to` one after the other, and most of them meet nobody else.
    last: Vec<u32>,
}

impl Judged {
    fn is_new(&mut self, rules: &[u32], has_gates: [bool; 2]) -> bool {
        let gates = has_gates.into_iter().fold(0, |gates, has_gate| gates << 1 | u32::from(has_gate));
        if let [known @ .., known_gates] = &*self.last
            && *known_gates == gates
            && known == rules
        {
            return false;
        }
        self.last.clear();
        self.last.extend_from_slice(rules);
        self.last.push(gates);
        !self.all.contains(&self.last) && self.all.insert(self.last.clone())
    }
}

impl Judge<'_, '_> {
    fn run(&mut self, budget: &mut Budget) -> Option<()> {
        // Every rule is dealt to the pairs that it names, and asked there: what cannot be done is not begun.
        let area = |candidate: &Candidate<'_>| candidate.from.len().saturating_mul(candidate.to.len());
        let least = self.candidates.iter().map(area).fold(0, usize::saturating_add);
        budget.affords(least.saturating_mul(2))?;
        let count = self.classes.classes.len();
        let mut by_source: Vec<Vec<u32>> = vec![Vec::new(); count];
        for (at, candidate) in (0..).zip(&self.candidates) {
            budget.spend(candidate.from.len())?;
            candidate.from.iter().for_each(|source| by_source[*source as usize].push(at));
        }
        let mut by_destination: Vec<Vec<u32>> = vec![Vec::new(); count];
        let mut judged = Judged::default();
        let mut met = Vec::new();
        for (source, rules) in (0..).zip(&by_source) {
            budget.spend(rules.len())?;
            if rules.iter().all(|at| self.is_settled(*at)) {
                continue;
            }
            for at in rules {
                let to = &self.candidates[*at as usize].to;
                budget.spend(to.len())?;
                for destination in to.iter() {
                    let matching = &mut by_destination[*destination as usize];
                    if matching.is_empty() {
                        met.push(*destination);
                    }
                    matching.push(*at);
                }
            }
            for destination in met.drain(..) {
                let mut matching = std::mem::take(&mut by_destination[destination as usize]);
                self.pair(source, destination, &matching, &mut judged, budget)?;
                matching.clear();
                by_destination[destination as usize] = matching;
            }
        }
        Some(())
    }

    fn pair(
        &mut self,
        source: ClassId,
        destination: ClassId,
        matching: &[u32],
        judged: &mut Judged,
        budget: &mut Budget,
    ) -> Option<()> {
        let (from, to) =
            (&self.classes.classes[source as usize], &self.classes.classes[destination as usize]);
        budget.spend(matching.len())?;
        if !from.meets(to) || matching.iter().all(|at| self.is_settled(*at)) {
            return Some(());
        }
        let has_path = from.has_path(to);
        let gates = [(Gate::Egress, from.has_gate), (Gate::Ingress, to.has_gate)];
        // Nothing new can be learned where the same rules met the same gates before, but for holes and paths.
        let plain = || matching.iter().all(|at| self.candidates[*at as usize].holes.is_empty());
        if has_path && plain() && !judged.is_new(matching, [from.has_gate, to.has_gate]) {
            return Some(());
        }
        let shares: Vec<Share> = matching
            .iter()
            .map(|at| *at as usize)
            .map(|at| Share { candidate: at, region: self.candidates[at].region(source, destination) })
            .filter(|share| !share.region.is_empty())
            .collect();
        for (gate, _) in gates.into_iter().filter(|(_, exists)| *exists) {
            let standing: Vec<&Share> =
                shares.iter().filter(|share| self.candidates[share.candidate].rule.stands_at(gate)).collect();
            self.gate(source, destination, &standing, has_path, budget)?;
            self.contradictions(source, destination, &standing, budget)?;
        }
        Some(())
    }

    /// Whether nothing more can be learned about a rule.
    fn is_settled(&self, at: u32) -> bool {
        let candidate = &self.candidates[at as usize];
        let seen = &self.seen[candidate.id.index()];
        seen.essential && seen.has_path && !candidate.disputed
    }

    /// Asks the rules of one gate in order.
    fn gate(
        &mut self,
        source: ClassId,
        destination: ClassId,
        shares: &[&Share],
        has_path: bool,
        budget: &mut Budget,
    ) -> Option<()> {
        let flow = |layer4| Witness { source, destination, layer4 };
        for (place, share) in shares.iter().enumerate() {
            let candidate = &self.candidates[share.candidate];
            let seen = &self.seen[candidate.id.index()];
            if seen.essential && seen.has_path {
                continue;
            }
            let mut rest = share.region.clone();
            let mut takers = Vec::new();
            for earlier in &shares[..place] {
                let other = &self.candidates[earlier.candidate];
                let left_to_us = other.rule.action == Action::Pass && other.rule.tier != candidate.rule.tier;
                if other.rule.audit || left_to_us || !other.outlasts(candidate) {
                    continue;
                }
                budget.spend(rest.len() * earlier.region.len())?;
                if overlap(&rest, &earlier.region).is_some() {
                    takers.push(other.id);
                    let taken = self.decided(earlier, &shares[..place], candidate.rule.tier);
                    taken.iter().for_each(|hole| subtract(&mut rest, hole));
                }
                if rest.is_empty() {
                    break;
                }
            }
            let first = rest.first().map(Cuboid::sample);
            let essential = first.is_some()
                && self.is_essential(share, &rest, &shares[place + 1..], &mut takers, budget)?;
            let seen = &mut self.seen[self.candidates[share.candidate].id.index()];
            if first.is_some() && !seen.decides {
                seen.decides = true;
                // What hid it elsewhere no longer matters.
                seen.coverers.clear();
            }
            if seen.witness.is_none() || first.is_some() {
                seen.witness = Some(flow(first.unwrap_or_else(|| share.region[0].sample())));
            }
            seen.essential |= essential;
            seen.has_path |= first.is_some() && has_path;
            if first.is_some() == seen.decides {
                for taker in takers {
                    if seen.coverers.len() <= MOST_COVERERS && !seen.coverers.contains(&taker) {
                        seen.coverers.push(taker);
                    }
                }
            }
        }
        Some(())
    }

    /// What `share` takes from the rules of `tier`: in an earlier tier not what a pass led past it.
    fn decided<'s>(&self, share: &'s Share, all: &[&Share], tier: Tier) -> Cow<'s, [Cuboid]> {
        let own_tier = self.candidates[share.candidate].rule.tier;
        let mut region = Cow::Borrowed(&share.region[..]);
        if own_tier == tier {
            return region;
        }
        for before in all.iter().take_while(|before| before.candidate < share.candidate) {
            let rule = self.candidates[before.candidate].rule;
            if rule.tier == own_tier && rule.action == Action::Pass && !rule.audit {
                let mut left = region.into_owned();
                before.region.iter().for_each(|hole| subtract(&mut left, hole));
                region = Cow::Owned(left);
            }
        }
        region
    }

    /// Whether some flow of `rest` would be decided differently without the rule; else who would decide alike.
    fn is_essential(
        &self,
        share: &Share,
        rest: &[Cuboid],
        later: &[&Share],
        alike: &mut Vec<RuleId>,
        budget: &mut Budget,
    ) -> Option<bool> {
        alike.clear();
        let candidate = &self.candidates[share.candidate];
        // What a pass leads to, and what an audit records, no other rule does alike.
        if candidate.rule.action == Action::Pass || candidate.rule.audit {
            return Some(true);
        }
        let mut rest = rest.to_vec();
        for other_share in later {
            let other = &self.candidates[other_share.candidate];
            if other.rule.audit {
                continue;
            }
            budget.spend(rest.len() * other_share.region.len())?;
            if overlap(&rest, &other_share.region).is_none() {
                continue;
            }
            let same = other.rule.action == candidate.rule.action
                && other.rule.deny_with == candidate.rule.deny_with;
            if !same || !other.outlasts(candidate) {
                return Some(true);
            }
            alike.push(other.id);
            other_share.region.iter().for_each(|hole| subtract(&mut rest, hole));
            if rest.is_empty() {
                return Some(false);
            }
        }
        Some(true)
    }

    /// Allows and denies of one tier and priority that meet.
    fn contradictions(
        &mut self,
        source: ClassId,
        destination: ClassId,
        shares: &[&Share],
        budget: &mut Budget,
    ) -> Option<()> {
        let level = |share: &Share| {
            let rule = self.candidates[share.candidate].rule;
            (rule.tier, rule.priority)
        };
        let mut found = Vec::new();
        for group in shares.chunk_by(|a, b| level(a) == level(b)) {
            let of = |action: Action| {
                let rule = |share: &Share| self.candidates[share.candidate].rule;
                group.iter().filter(move |share| rule(share).action == action && !rule(share).audit)
            };
            for allow in of(Action::Allow) {
                let allowed = self.candidates[allow.candidate].id;
                if self.seen[allowed.index()].contradictions.len() >= MOST_CONTRADICTIONS {
                    continue;
                }
                for deny in of(Action::Deny) {
                    budget.spend(1)?;
                    let denied = self.candidates[deny.candidate].id;
                    if self.contradictions.contains(&(allowed, denied)) {
                        continue;
                    }
                    if let Some(common) = overlap(&allow.region, &deny.region) {
                        found.push((
                            allowed,
                            denied,
                            Witness { source, destination, layer4: common.sample() },
                        ));
                    }
                }
            }
        }
        for (allowed, denied, witness) in found {
            if self.contradictions.insert((allowed, denied)) {
                self.seen[allowed.index()].contradictions.push((denied, witness));
            }
        }
        Some(())
    }
}
