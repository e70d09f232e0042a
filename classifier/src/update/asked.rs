//! For the proof: which rules mean both ends of a pair, asked of the ends themselves.
//!
//! Which label expressions an end satisfies is found from its labels, by an index that nothing else uses; networks are asked
//! whether they hold its address. An end's identity is not believed, but for the networks by which rules are found. The end of
//! which fewer rules ask says which rules to ask; each is asked about both.
//!
//! Cost: an end, its labels when it is met first; a pair, a word for each rule that asks for one end of it.

use std::cell::OnceCell;

use hashbrown::HashMap;
use septum_rules::endpoint::{Endpoint, Party};
use septum_rules::identity::{RuleId, WorkloadId};
use septum_rules::policy::Policy;
use septum_rules::segment::Labels;
use septum_rules::selector::Alternative;
use septum_rules::verdict::Gate;

use super::identity_index::IdentityIndex;
use super::region_proof::is_meant;
use super::rule_index::RuleIndex;

/// Somebody who stands for all that have an identity.
pub(super) struct End<'a> {
    pub(super) identity: u32,
    pub(super) party: Party,
    /// The alternatives that mean it, in order; of networks, those of its identity.
    satisfied: Vec<u32>,
    /// A bit for each of them, by [`bit`]: most that it does not satisfy are known by their bit.
    bits: u64,
    /// How many times rules ask for it as a source, and as a destination.
    asked: [usize; 2],
    /// Those rules, once they were looked for.
    asking: [OnceCell<Vec<Asking<'a>>>; 2],
}

/// A rule that means one end, with what it asks of the other.
struct Asking<'a> {
    id: RuleId,
    asked: &'a [u32],
    /// It asks for labels only.
    is_of_labels: bool,
    /// Who has none of these bits satisfies no label expression of it.
    bits: u64,
}

/// The label expressions that workloads satisfy. No change gives a workload other labels, so each is asked once, and
/// again only about expressions that are new.
#[derive(Debug, Default)]
pub(super) struct LabelsAsked {
    /// By workload: how many alternatives there were, and those of them that it satisfies.
    satisfied: HashMap<u32, (usize, Vec<u32>), ahash::RandomState>,
}

/// So many new expressions are asked one by one; of more the index says which.
const FEW: usize = 64;

impl LabelsAsked {
    fn of(&mut self, identities: &IdentityIndex, id: WorkloadId, labels: &Labels) -> &[u32] {
        let count = identities.alternatives.len();
        let (known, satisfied) = self.satisfied.entry(id.0).or_default();
        if count - *known > FEW {
            *satisfied = identities.expressions_again(labels);
        } else {
            let new = (*known..count).filter(|number| match &identities.alternatives[*number] {
                Alternative::Labels(expression) => expression.matches(labels),
                _ => false,
            });
            satisfied.extend(new.map(|number| number as u32));
        }
        *known = count;
        satisfied
    }
}

impl<'a> End<'a> {
    pub(super) fn new(
        policy: &Policy,
        identities: &IdentityIndex,
        rules: &RuleIndex,
        labels: &mut LabelsAsked,
        (identity, party): (u32, Party),
    ) -> Self {
        let mut satisfied = match party.endpoint {
            Endpoint::Workload(id) => {
                labels.of(identities, id, &policy.workloads[id.index()].labels).to_vec()
            }
            _ => Vec::new(),
        };
        let others = identities.satisfied(identity).filter(|number| {
            let alternative = &identities.alternatives[*number as usize];
            !matches!(alternative, Alternative::Labels(_)) && is_meant(policy, alternative, party)
        });
        satisfied.extend(others);
        satisfied.sort_unstable();
        let bits = bits(&satisfied);
        let asked = [Gate::Egress, Gate::Ingress].map(|gate| rules.count_asking(gate, &satisfied));
        Self { identity, party, satisfied, bits, asked, asking: Default::default() }
    }

    fn satisfies(&self, number: u32) -> bool {
        self.bits & bit(number) != 0 && self.satisfied.binary_search(&number).is_ok()
    }

    /// The rules that ask for it as the owner of a gate, each once.
    fn asking(&self, identities: &IdentityIndex, rules: &'a RuleIndex, gate: Gate) -> &[Asking<'a>] {
        let (at, other) = match gate {
            Gate::Egress => (0, Gate::Ingress),
            Gate::Ingress => (1, Gate::Egress),
        };
        self.asking[at].get_or_init(|| {
            let mut ids: Vec<RuleId> = Vec::with_capacity(self.asked[at]);
            ids.extend(rules.asking(gate, &self.satisfied));
            // Which comes twice only where it asks for one thing or another.
            let is_simple = |id: &RuleId| rules.parts(*id).is_none_or(|parts| parts.asked(gate).len() == 1);
            if !ids.iter().all(is_simple) {
                ids.sort_unstable();
                ids.dedup();
            }
            let mut asking = Vec::with_capacity(ids.len());
            for id in ids {
                let Some(parts) = rules.parts(id) else { continue };
                let asked = parts.asked(other);
                let is_of_labels = asked.iter().all(|number| is_label(identities, *number));
                asking.push(Asking { id, asked, is_of_labels, bits: bits(asked) });
            }
            asking
        })
    }
}

fn is_label(identities: &IdentityIndex, number: u32) -> bool {
    matches!(identities.alternatives[number as usize], Alternative::Labels(_))
}

fn bit(number: u32) -> u64 {
    1 << (number % 64)
}

fn bits(numbers: &[u32]) -> u64 {
    numbers.iter().fold(0, |bits, number| bits | bit(*number))
}

/// Finds the rules of pairs; keeps its buffer.
pub(super) struct Asked<'a> {
    policy: &'a Policy,
    identities: &'a IdentityIndex,
    rules: &'a RuleIndex,
    of_pair: Vec<RuleId>,
}

impl<'a> Asked<'a> {
    pub(super) fn new(policy: &'a Policy, identities: &'a IdentityIndex, rules: &'a RuleIndex) -> Self {
        Self { policy, identities, rules, of_pair: Vec::new() }
    }

    /// The rules that mean both ends, by number.
    pub(super) fn rules(&mut self, source: &End<'a>, destination: &End<'a>) -> &[RuleId] {
        let Self { policy, identities, rules, of_pair } = self;
        let (gate, end, other) = if destination.asked[1] < source.asked[0] {
            (Gate::Ingress, destination, source)
        } else {
            (Gate::Egress, source, destination)
        };
        let is_meant_by = |number: &u32| {
            let alternative = &identities.alternatives[*number as usize];
            !is_label(identities, *number) && is_meant(policy, alternative, other.party)
        };
        of_pair.clear();
        let may_be_meant = |rule: &&Asking<'_>| !rule.is_of_labels || rule.bits & other.bits != 0;
        for rule in end.asking(identities, rules, gate).iter().filter(may_be_meant) {
            if rule.asked.iter().any(|number| other.satisfies(*number))
                || (!rule.is_of_labels && rule.asked.iter().any(is_meant_by))
            {
                of_pair.push(rule.id);
            }
        }
        of_pair.sort_unstable();
        of_pair
    }
}
