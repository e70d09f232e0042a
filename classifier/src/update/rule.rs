//! A rule that is added, replaced or put to rest: the pairs that it touches get new programs.

use septum_rules::endpoint::{Endpoint, Party};
use septum_rules::identity::{RuleId, WorkloadId};
use septum_rules::rule::Rule;
use septum_rules::selector::Alternative;

use super::address::WITHOUT;
use super::rule_index::Parts;
use super::{UpdateError, Updated, Updater, WIDE};
use crate::identities::{Identity, Kind, digest, key};

const FULL: UpdateError = UpdateError::NeedsCompile("there is no room for another set of labels");

/// A party that got another identity because a new label expression means it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Split {
    pub(super) party: Party,
    pub(super) before: u32,
    pub(super) after: u32,
}

impl Updater {
    /// Puts `rule` in the place of the one with this number, or behind the last one.
    pub(super) fn set_rule(&mut self, id: RuleId, rule: Rule) -> Result<Updated, UpdateError> {
        let mut parts = None;
        if !rule.is_expired(self.now) {
            self.learn(&rule)?;
            parts = Some(Parts::of(&rule, &self.identities));
        }
        let pairs = self.touched(&[self.rules.parts(id), parts.as_ref()])?;
        let saved = self.overlay.clone();
        let parts_before = self.rules.parts(id).cloned();
        let before = self.exchange(id, Some(rule), parts);
        let outcome = self.prove_split().and_then(|()| self.repaint(&pairs)).and_then(|()| {
            let candidate = self.candidate();
            self.prove_pairs(&candidate, &pairs)
        });
        match outcome {
            Ok(packets) => Ok(Updated { compiled: false, pairs: pairs.len(), packets }),
            Err(error) if error.is_wrong() => Err(error),
            Err(error) => {
                self.exchange(id, before, parts_before);
                self.overlay = saved;
                Err(error)
            }
        }
    }

    /// Another rule under this number, or none behind the last one; gives the one before.
    fn exchange(&mut self, id: RuleId, rule: Option<Rule>, parts: Option<Parts>) -> Option<Rule> {
        let is_last = id.index() == self.policy.rules.len();
        let (now, name) = (self.now, rule.as_ref().map(|rule| rule.name.clone()));
        let ends = |rule: &Rule| rule.expires.filter(|_| !rule.is_expired(now)).map(|day| day.tomorrow());
        if let Some(day) = rule.as_ref().and_then(ends) {
            *self.expiries.entry(day).or_default() += 1;
        }
        let before = match rule {
            Some(rule) if is_last => {
                self.policy.rules.push(rule);
                None
            }
            Some(rule) => Some(std::mem::replace(&mut self.policy.rules[id.index()], rule)),
            None => self.policy.rules.pop(),
        };
        if let Some(before) = &before {
            self.names.remove(&before.name);
            if let Some(day) = ends(before)
                && let Some(count) = self.expiries.get_mut(&day)
            {
                *count -= 1;
                if *count == 0 {
                    self.expiries.remove(&day);
                }
            }
        }
        self.names.extend(name);
        self.rules.set(id, parts);
        self.overlay.valid_until = self.expiries.keys().next().copied();
        before
    }

    /// Tells apart what the rule asks of endpoints. Changes no answer: who was told apart stays so if the rule is refused.
    pub(super) fn learn(&mut self, rule: &Rule) -> Result<(), UpdateError> {
        let holes = rule.except.iter().flat_map(|hole| [&hole.from, &hole.to]);
        let asked = holes.chain([&rule.from, &rule.to]).flat_map(|selector| &selector.alternatives);
        let mut unknown: Vec<(&Alternative, Vec<u32>)> = Vec::new();
        for alternative in asked.filter(|alternative| self.identities.alternative(alternative).is_none()) {
            let meant = match alternative {
                Alternative::Any | Alternative::World => Vec::new(),
                Alternative::Network(_) => {
                    return Err(UpdateError::NeedsCompile("no rule in force has named this network yet"));
                }
                Alternative::Labels(expression) => {
                    let meant = self.identities.workloads_meant(&self.policy, expression);
                    meant
                        .filter(|meant| meant.len() <= self.bounds.split_workloads)
                        .ok_or(UpdateError::NeedsCompile("a new label expression may mean many workloads"))?
                }
            };
            if !unknown.iter().any(|(known, _)| known == &alternative) {
                unknown.push((alternative, meant));
            }
        }
        for (alternative, meant) in unknown {
            let number = self.identities.add_alternative(alternative);
            for workload in meant {
                // Half of those that it means would be told apart.
                self.split(number, workload).inspect_err(|_| self.spoiled = true)?;
            }
        }
        Ok(())
    }

    /// A workload satisfies one more expression: it gets identities of its own, or of others that do, too.
    fn split(&mut self, number: u32, workload: u32) -> Result<(), UpdateError> {
        let endpoint = Endpoint::Workload(WorkloadId(workload));
        let own: Vec<_> = self.policy.workloads[workload as usize]
            .all_addresses()
            .filter(|address| {
                self.claims.owner(*address).and_then(|claim| claim.workload()) == Some(workload)
            })
            .collect();
        for address in own {
            let before = self.identity_at(address);
            let after = self.extended(before, number)?;
            self.overlay.addresses.insert(address, after);
            let party = Party { endpoint, address: Some(address) };
            self.identities.members[after as usize].push(party);
            self.split.push(Split { party, before, after });
        }
        let mut without = self.without_address(workload);
        for (identity, address) in without.iter_mut().zip(WITHOUT) {
            let before = *identity;
            *identity = self.extended(before, number)?;
            self.split.push(Split { party: Party { endpoint, address }, before, after: *identity });
        }
        self.set_without_address(workload, without);
        Ok(())
    }

    /// The identity that satisfies one more expression.
    fn extended(&mut self, before: u32, number: u32) -> Result<u32, UpdateError> {
        let known = self.identities.identities[before as usize];
        let labels = [self.identities.sets.get(known.labels), &[number]].concat();
        let labels = self.identities.sets.intern(&labels).map_err(|_| FULL)?;
        let identity = Identity { labels, ..known };
        if let Some(known) = self.identities.number_of(&identity) {
            return Ok(known);
        }
        let next = self.identities.identities.len() as u32;
        self.identities.enter(identity);
        let sets = [identity.labels, identity.networks];
        let parts = sets.into_iter().flat_map(|set| self.identities.sets.get(set));
        let digests: Vec<[u8; 32]> = parts
            .map(|alternative| digest(&self.identities.alternatives[*alternative as usize], &self.policy))
            .collect();
        let key = key(&self.policy, &identity, digests.iter().collect());
        self.overlay.identities.push((self.overlay.twin(before), key));
        // What the overlay says of the one before, it says of this one too.
        for source in self.sources_of.get(&before).cloned().unwrap_or_default() {
            if let Some(program) = self.overlay.pairs.number(source, before) {
                self.set_programs(source, &[(next, program)]);
            }
        }
        let row = self.overlay.pairs.row(before).to_vec();
        if !row.is_empty() {
            self.set_programs(next, &row);
        }
        Ok(next)
    }

    /// The pairs of identities to which some rules apply, each once, in order.
    pub(super) fn touched(&self, rules: &[Option<&Parts>]) -> Result<Vec<(u32, u32)>, UpdateError> {
        let identities = &self.identities;
        let mut pairs = Vec::new();
        let mut known: Option<&Parts> = None;
        for parts in rules.iter().flatten() {
            if known.is_some_and(|known| (&known.from, &known.to) == (&parts.from, &parts.to)) {
                continue;
            }
            known = Some(parts);
            let most = identities.count_satisfying(&parts.from) * identities.count_satisfying(&parts.to);
            if most > self.bounds.touched_pairs {
                return Err(WIDE);
            }
            let destinations = identities.satisfying(&parts.to);
            for source in identities.satisfying(&parts.from) {
                pairs.extend(destinations.iter().map(|destination| (source, *destination)));
            }
        }
        let has_gate = |identity: u32| identities.identities[identity as usize].kind == Kind::Workload;
        // Between two ends without a gate no rule is asked.
        pairs.retain(|(source, destination)| has_gate(*source) || has_gate(*destination));
        // Stable, as it is faster where one rule's pairs, or two's, are in order already.
        pairs.sort();
        pairs.dedup();
        Ok(pairs)
    }
}
