//! Who is told apart at present, and by what: the identities of the tables and of the overlay.

use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::{Equivalent, HashMap};
use septum_rules::endpoint::{Endpoint, Party};
use septum_rules::identity::WorkloadId;
use septum_rules::policy::Policy;
use septum_rules::segment::Labels;
use septum_rules::selector::{Alternative, LabelExpression, Operator, Selector};
use septum_rules::workload::Workload;

use super::claims::Claims;
use crate::Classifier;
use crate::builder::Kept;
use crate::identities::{Identity, Kind};
use crate::intern::Interner;

/// All of it.
#[derive(Debug)]
pub(super) struct IdentityIndex {
    /// By number; what rules in force ask, or asked.
    pub(super) alternatives: Vec<Alternative>,
    numbers: HashMap<Alternative, u32, ahash::RandomState>,
    /// By number.
    pub(super) identities: Vec<Identity>,
    by_identity: HashMap<Identity, u32, ahash::RandomState>,
    /// Lists of alternatives, in order.
    pub(super) sets: Interner<u32>,
    /// By alternative that names labels or a network: the identities that satisfy it.
    holders: Vec<Vec<u32>>,
    described: Vec<u32>,
    world: Vec<u32>,
    /// By identity: parties that have, or had, it; the last one that still has stands for all.
    pub(super) members: Vec<Vec<Party>>,
    expressions: ExpressionIndex,
    /// Workloads by label.
    labelled: HashMap<(Arc<str>, Arc<str>), Vec<u32>, ahash::RandomState>,
}

impl IdentityIndex {
    pub(super) fn new(policy: &Policy, kept: Kept) -> Self {
        let Kept { alternatives, identities, sets } = kept;
        let mut index = Self {
            numbers: alternatives.iter().cloned().zip(0..).collect(),
            by_identity: identities.iter().copied().zip(0..).collect(),
            holders: vec![Vec::new(); alternatives.len()],
            described: Vec::new(),
            world: Vec::new(),
            members: Vec::new(),
            expressions: ExpressionIndex::default(),
            labelled: HashMap::default(),
            alternatives,
            identities: Vec::new(),
            sets,
        };
        for (number, alternative) in (0..).zip(&index.alternatives) {
            if let Alternative::Labels(expression) = alternative {
                index.expressions.add(number, expression);
            }
        }
        identities.into_iter().for_each(|identity| index.enter(identity));
        for (id, workload) in (0..).zip(&policy.workloads) {
            index.label(id, &workload.labels);
        }
        index
    }

    /// One party for each identity that somebody has.
    pub(super) fn add_members(&mut self, policy: &Policy, classifier: &Classifier, claims: &Claims) {
        let addresses = &classifier.addresses;
        let ipv4 = addresses.ipv4.edges().into_iter().map(|bits| IpAddr::V4(bits.into()));
        let ipv6 = addresses.ipv6.edges().into_iter().map(|bits| IpAddr::V6(bits.into()));
        let ends: [IpAddr; 2] = [[0; 4].into(), [0; 16].into()];
        for address in ends.into_iter().chain(ipv4).chain(ipv6).chain(claims.behind()) {
            if claims.owner(address).is_none() {
                let identity = classifier.identify(address).0 as usize;
                if self.members[identity].is_empty() {
                    self.members[identity].push(Party { endpoint: Endpoint::World, address: Some(address) });
                }
            }
        }
        let gateways = (0..).zip(&policy.segments).flat_map(|(id, segment)| {
            segment.gateways.iter().map(move |address| Party {
                endpoint: Endpoint::Gateway(septum_rules::identity::SegmentId(id)),
                address: Some(*address),
            })
        });
        for party in gateways {
            let identity = classifier.identify_party(party);
            self.members[identity.index()].push(party);
        }
        for (id, workload) in (0..).zip(&policy.workloads) {
            self.add_workload(id, workload, classifier, claims);
        }
    }

    /// Every way in which a workload can be met.
    pub(super) fn add_workload(
        &mut self,
        id: u32,
        workload: &Workload,
        classifier: &Classifier,
        claims: &Claims,
    ) {
        let endpoint = Endpoint::Workload(WorkloadId(id));
        let unspecified: [IpAddr; 2] = [[0; 4].into(), [0; 16].into()];
        let own = workload
            .all_addresses()
            .filter(|address| claims.owner(*address).and_then(|claim| claim.workload()) == Some(id));
        let addresses = unspecified.into_iter().map(Some).chain([None]).chain(own.map(Some));
        for party in addresses.map(|address| Party { endpoint, address }) {
            let identity = classifier.identify_party(party);
            self.members[identity.index()].push(party);
        }
    }

    pub(super) fn label(&mut self, id: u32, labels: &Labels) {
        for (key, value) in labels {
            self.labelled.entry((Arc::clone(key), Arc::clone(value))).or_default().push(id);
        }
    }

    /// The number of an identity.
    pub(super) fn number_of(&self, identity: &Identity) -> Option<u32> {
        self.by_identity.get(identity).copied()
    }

    /// Adds an identity that is new.
    pub(super) fn enter(&mut self, identity: Identity) {
        let number = self.identities.len() as u32;
        self.identities.push(identity);
        self.by_identity.insert(identity, number);
        self.members.push(Vec::new());
        if identity.kind != Kind::Init {
            self.described.push(number);
        }
        if identity.kind == Kind::World {
            self.world.push(number);
        }
        for set in [identity.labels, identity.networks] {
            for alternative in self.sets.get(set) {
                self.holders[*alternative as usize].push(number);
            }
        }
    }

    /// The number of an alternative that rules in force ask, or asked.
    pub(super) fn alternative(&self, alternative: &Alternative) -> Option<u32> {
        self.numbers.get(alternative).copied()
    }

    /// Adds an alternative that is new.
    pub(super) fn add_alternative(&mut self, alternative: &Alternative) -> u32 {
        let number = self.alternatives.len() as u32;
        if let Alternative::Labels(expression) = alternative {
            self.expressions.add(number, expression);
        }
        self.numbers.insert(alternative.clone(), number);
        self.alternatives.push(alternative.clone());
        self.holders.push(Vec::new());
        number
    }

    /// The numbers of a selector's alternatives, all of which are known.
    pub(super) fn numbers(&self, selector: &Selector) -> Box<[u32]> {
        selector.alternatives.iter().filter_map(|alternative| self.alternative(alternative)).collect()
    }

    /// The identities that satisfy one of these, each once.
    pub(super) fn satisfying(&self, alternatives: &[u32]) -> Vec<u32> {
        let lists = alternatives.iter().map(|number| match &self.alternatives[*number as usize] {
            Alternative::Any => &self.described,
            Alternative::World => &self.world,
            Alternative::Network(_) | Alternative::Labels(_) => &self.holders[*number as usize],
        });
        let mut identities: Vec<u32> = lists.flatten().copied().collect();
        identities.sort_unstable();
        identities.dedup();
        identities
    }

    /// How many identities that may be at most, without making the list.
    pub(super) fn count_satisfying(&self, alternatives: &[u32]) -> usize {
        let counts = alternatives.iter().map(|number| match &self.alternatives[*number as usize] {
            Alternative::Any => self.described.len(),
            Alternative::World => self.world.len(),
            Alternative::Network(_) | Alternative::Labels(_) => self.holders[*number as usize].len(),
        });
        counts.sum()
    }

    /// All that an identity satisfies, `any` and `world` included where rules ask them.
    pub(super) fn satisfied(&self, identity: u32) -> impl Iterator<Item = u32> {
        let identity = self.identities[identity as usize];
        let any = self.alternative(&Alternative::Any).filter(|_| identity.kind != Kind::Init);
        let world = self.alternative(&Alternative::World).filter(|_| identity.kind == Kind::World);
        let sets = [identity.labels, identity.networks];
        sets.into_iter().flat_map(|set| self.sets.get(set)).copied().chain(any).chain(world)
    }

    /// Whether an identity satisfies one of these.
    pub(super) fn satisfies(&self, identity: u32, alternatives: &[u32]) -> bool {
        let identity = self.identities[identity as usize];
        alternatives.iter().any(|number| match &self.alternatives[*number as usize] {
            Alternative::Any => identity.kind != Kind::Init,
            Alternative::World => identity.kind == Kind::World,
            Alternative::Network(_) => self.sets.get(identity.networks).binary_search(number).is_ok(),
            Alternative::Labels(_) => self.sets.get(identity.labels).binary_search(number).is_ok(),
        })
    }

    /// The known label expressions that labels satisfy, in order.
    pub(super) fn expressions_of(&self, labels: &Labels) -> Vec<u32> {
        self.expressions.satisfied_by(labels, &self.alternatives, &self.expressions.by_first)
    }

    /// The same, found another way.
    pub(super) fn expressions_again(&self, labels: &Labels) -> Vec<u32> {
        self.expressions.satisfied_by(labels, &self.alternatives, &self.expressions.by_last)
    }

    /// The workloads that an expression means; `None` where it demands no value, so that it may mean anybody.
    pub(super) fn workloads_meant(&self, policy: &Policy, expression: &LabelExpression) -> Option<Vec<u32>> {
        let (key, values) = demanded(expression).next()?;
        let lists = values.iter().filter_map(|value| self.labelled.get(&Label(key, value)));
        let is_meant = |id: &u32| expression.matches(&policy.workloads[*id as usize].labels);
        let mut meant: Vec<u32> = lists.flatten().copied().filter(is_meant).collect();
        meant.sort_unstable();
        meant.dedup();
        Some(meant)
    }
}

/// A label to look up, which hashes as the pair of its parts does.
#[derive(Hash)]
struct Label<'a>(&'a str, &'a str);

impl Equivalent<(Arc<str>, Arc<str>)> for Label<'_> {
    fn equivalent(&self, (key, value): &(Arc<str>, Arc<str>)) -> bool {
        *self.0 == **key && *self.1 == **value
    }
}

/// Label expressions by a value that they demand.
#[derive(Debug, Default)]
struct ExpressionIndex {
    by_first: HashMap<(Arc<str>, Arc<str>), Vec<u32>, ahash::RandomState>,
    /// For the proof, which is not to believe what the first one says.
    by_last: HashMap<(Arc<str>, Arc<str>), Vec<u32>, ahash::RandomState>,
    /// Those that demand none.
    others: Vec<u32>,
}

impl ExpressionIndex {
    fn add(&mut self, number: u32, expression: &LabelExpression) {
        let (Some(first), Some(last)) = (demanded(expression).next(), demanded(expression).last()) else {
            self.others.push(number);
            return;
        };
        for (index, (key, values)) in [(&mut self.by_first, first), (&mut self.by_last, last)] {
            for value in values {
                index.entry((Arc::clone(key), Arc::clone(value))).or_default().push(number);
            }
        }
    }

    fn satisfied_by(
        &self,
        labels: &Labels,
        alternatives: &[Alternative],
        index: &HashMap<(Arc<str>, Arc<str>), Vec<u32>, ahash::RandomState>,
    ) -> Vec<u32> {
        let candidates = labels.iter().filter_map(|(key, value)| index.get(&Label(key, value)));
        let is_satisfied = |number: &u32| match &alternatives[*number as usize] {
            Alternative::Labels(expression) => expression.matches(labels),
            _ => false,
        };
        let mut satisfied: Vec<u32> =
            candidates.flatten().chain(&self.others).copied().filter(is_satisfied).collect();
        satisfied.sort_unstable();
        satisfied.dedup();
        satisfied
    }
}

/// The keys of which an expression demands one of some values.
fn demanded(expression: &LabelExpression) -> impl Iterator<Item = (&Arc<str>, &Vec<Arc<str>>)> {
    expression.requirements.iter().filter_map(|requirement| match &requirement.operator {
        Operator::In(values) => Some((&requirement.key, values)),
        _ => None,
    })
}
