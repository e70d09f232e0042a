//! For the proof: which rules mean both ends of a pair, asked of the ends themselves.
//!
//! Which label expressions an end satisfies is found from its labels, by an index that nothing else uses; networks are asked
//! whether they hold its address. An end's identity is not believed, but for the networks by which rules are found. The end of
//! which fewer rules ask says which rules to ask; each is asked about both.
//!
//! Cost: an end, its labels when it is met first; a pair, the rules that ask for one end of it.

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
pub(super) struct End {
    pub(super) identity: u32,
    pub(super) party: Party,
    /// The alternatives that mean it, in order; of networks, those of its identity.
    satisfied: Vec<u32>,
    /// A bit for each of them, by [`bit`]: most that it does not satisfy are known by their bit.
    bits: u64,
    /// Rules that ask for it as a source, and as a destination.
    rules: [usize; 2],
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

impl End {
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
        let bits = satisfied.iter().fold(0, |bits, number| bits | bit(*number));
        let count = [Gate::Egress, Gate::Ingress].map(|gate| rules.asking(gate, &satisfied).count());
        Self { identity, party, satisfied, bits, rules: count }
    }

    fn satisfies(&self, number: u32) -> bool {
        self.bits & bit(number) != 0 && self.satisfied.binary_search(&number).is_ok()
    }
}

fn bit(number: u32) -> u64 {
    1 << (number % 64)
}

/// A rule that means one end, with what it asks of the other.
struct Asking<'a> {
    id: RuleId,
    asked: &'a [u32],
    /// It asks for labels only.
    is_of_labels: bool,
}

/// Remembers the rules of ends that were asked first.
pub(super) struct Asked<'a> {
    policy: &'a Policy,
    identities: &'a IdentityIndex,
    rules: &'a RuleIndex,
    /// By side and identity.
    of_end: HashMap<(Gate, u32), Vec<Asking<'a>>, ahash::RandomState>,
    of_pair: Vec<RuleId>,
}

impl<'a> Asked<'a> {
    pub(super) fn new(policy: &'a Policy, identities: &'a IdentityIndex, rules: &'a RuleIndex) -> Self {
        Self { policy, identities, rules, of_end: HashMap::default(), of_pair: Vec::new() }
    }

    /// The rules that mean both ends, by number.
    pub(super) fn rules(&mut self, source: &End, destination: &End) -> &[RuleId] {
        let Self { policy, identities, rules, of_end, of_pair } = self;
        let (first, end, second, other) = if destination.rules[1] < source.rules[0] {
            (Gate::Ingress, destination, Gate::Egress, source)
        } else {
            (Gate::Egress, source, Gate::Ingress, destination)
        };
        let is_label =
            |number: &u32| matches!(identities.alternatives[*number as usize], Alternative::Labels(_));
        let asking = of_end.entry((first, end.identity)).or_insert_with(|| {
            let mut asking: Vec<RuleId> = rules.asking(first, &end.satisfied).collect();
            asking.sort_unstable();
            asking.dedup();
            let asked = asking.into_iter().filter_map(|id| Some((id, rules.parts(id)?.asked(second))));
            asked.map(|(id, asked)| Asking { id, asked, is_of_labels: asked.iter().all(is_label) }).collect()
        });
        let is_meant_by = |number: &u32| {
            let alternative = &identities.alternatives[*number as usize];
            !is_label(number) && is_meant(policy, alternative, other.party)
        };
        let means = |rule: &&Asking<'_>| {
            rule.asked.iter().any(|number| other.satisfies(*number))
                || (!rule.is_of_labels && rule.asked.iter().any(is_meant_by))
        };
        of_pair.clear();
        of_pair.extend(asking.iter().filter(means).map(|rule| rule.id));
        of_pair
    }
}
