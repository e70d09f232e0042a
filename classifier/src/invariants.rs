//! `[[invariant]]`s, decided on the compiled object for every packet, not sampled.
//!
//! All that the object or an invariant reads of an endpoint is the same within a *kind*: its identity, the address
//! family, and which of the invariant's selectors it satisfies. All that they read of a packet is the same within a
//! class of the object and inside or outside the invariant's services. So one party of each kind and one packet of
//! each class stand for all; the answer is a packet that breaks the claim, or that there is none.
//!
//! The packets are those that can be on a wire: from and to a workload's own addresses, a gateway's, or one of the
//! world that a host may have; of one family; ICMP over IPv4, ICMPv6 over IPv6; with a workload at one end at least,
//! and never from a workload to itself. What passes because a gate is audited passes.
//!
//! Cost: for each invariant, pairs of its kinds, and for each distinct program the packets of its services.

mod packets;
mod parties;

use hashbrown::HashMap;
use septum_rules::endpoint::{Endpoint, Party};
use septum_rules::identity::WorkloadId;
use septum_rules::invariant::{Claim, Flows, Invariant};
use septum_rules::oracle::Oracle;
use septum_rules::policy::Policy;
use septum_rules::proto::{Layer4, Service};
use septum_rules::selector::Selector;

use self::packets::Packets;
use self::parties::{Kind, kinds, parties};
use crate::{Classifier, VerdictId};

/// A packet that is admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmittedFlow {
    /// The source.
    pub source: Party,
    /// The destination.
    pub destination: Party,
    /// The packet that opens it.
    pub layer4: Layer4,
    /// The verdict.
    pub verdict: VerdictId,
}

/// Decides invariants on one compiled object.
pub struct InvariantChecker<'c> {
    classifier: &'c Classifier,
    oracle: Oracle<'c>,
    /// Everybody, once for each address.
    parties: Vec<Party>,
}

impl<'c> InvariantChecker<'c> {
    /// `policy` is the one that `classifier` was compiled from.
    ///
    /// # Panics
    /// When the object was updated since its compile.
    pub fn new(classifier: &'c Classifier, policy: &'c Policy) -> Self {
        classifier.assert_plain();
        let oracle = Oracle::new(policy, classifier.now());
        let parties = parties(&oracle);
        Self { classifier, oracle, parties }
    }

    /// Admitted packets that break the claim: one, or of a blast radius each hop on the way to a workload that is
    /// not among those it may reach. `None` when no packet does.
    pub fn violation(&self, invariant: &Invariant) -> Option<Vec<AdmittedFlow>> {
        match &invariant.claim {
            Claim::Never(flows) => self.admitted(flows, true).map(|flow| vec![flow]),
            Claim::Only(flows) => self.admitted(flows, false).map(|flow| vec![flow]),
            Claim::BlastRadius { of, at_most } => self.escape(of, at_most),
        }
    }

    /// An admitted flow to `flows.to` with one of its services, from whom `flows.from` means, or does not mean.
    fn admitted(&self, flows: &Flows, from_means: bool) -> Option<AdmittedFlow> {
        let sources = self.kinds(|party| self.oracle.selector_matches(&flows.from, party) == from_means);
        let destinations = self.kinds(|party| self.oracle.selector_matches(&flows.to, party));
        let mut packets = Packets::new(self.classifier, &flows.services);
        sources
            .iter()
            .find_map(|source| destinations.iter().find_map(|to| self.flow(source, to, &mut packets)))
    }

    fn kinds(&self, is_meant: impl Fn(Party) -> bool) -> Vec<Kind> {
        kinds(self.classifier, self.parties.iter().copied().filter(|party| is_meant(*party)))
    }

    /// An admitted packet between two kinds.
    fn flow(&self, from: &Kind, to: &Kind, packets: &mut Packets<'_>) -> Option<AdmittedFlow> {
        let (source, destination) = from.meets(to)?;
        let family = from.family.or(to.family);
        let (layer4, verdict) = packets.admitted(from.identity, to.identity, family)?;
        Some(AdmittedFlow { source, destination, layer4, verdict })
    }

    /// The hops from somebody whom `of` means to a workload that is neither such a one nor among `at_most`.
    fn escape(&self, of: &Selector, at_most: &[WorkloadId]) -> Option<Vec<AdmittedFlow>> {
        let mut packets = Packets::new(self.classifier, &[Service::ANY]);
        let targets = self.kinds(|party| workload(party).is_some());
        let mut untouched = vec![true; targets.len()];
        // How each workload was reached; those with which the attacker begins were not.
        let mut reached: HashMap<WorkloadId, Option<AdmittedFlow>, ahash::RandomState> = HashMap::default();
        let meant = |party: &Party| self.oracle.selector_matches(of, *party);
        let begun = self.parties.iter().copied().filter(meant);
        reached.extend(begun.clone().filter_map(workload).map(|id| (id, None)));
        // Who was reached in the last round attacks in the next, from every address that it has.
        let outside = begun.filter(|party| workload(*party).is_none());
        let mut attackers: Vec<Party> = outside.chain(self.addresses_of(&reached)).collect();
        while !attackers.is_empty() {
            let mut fresh: HashMap<WorkloadId, Option<AdmittedFlow>, ahash::RandomState> = HashMap::default();
            for from in kinds(self.classifier, attackers.drain(..)) {
                for (to, untouched) in targets.iter().zip(&mut untouched).filter(|(_, untouched)| **untouched)
                {
                    let Some(flow) = self.flow(&from, to, &mut packets) else { continue };
                    *untouched = false;
                    for party in &to.parties {
                        let Some(id) = workload(*party).filter(|id| !reached.contains_key(id)) else {
                            continue;
                        };
                        // One was found, so of this kind everybody is reached: an attacker itself is not new.
                        let source = from.parties.iter().find(|from| from.endpoint != party.endpoint);
                        let hop = source.map(|source| AdmittedFlow {
                            source: *source,
                            destination: *party,
                            ..flow
                        });
                        fresh.entry(id).or_insert(hop);
                    }
                }
            }
            attackers = self.addresses_of(&fresh).collect();
            reached.extend(fresh);
        }
        let allowed = |id: &WorkloadId| at_most.contains(id) || reached[id].is_none();
        let escaped = reached.keys().copied().filter(|id| !allowed(id)).min()?;
        let hop_to = |id: WorkloadId| reached.get(&id).copied().flatten();
        let mut hops: Vec<AdmittedFlow> =
            std::iter::successors(hop_to(escaped), |hop| hop_to(workload(hop.source)?)).collect();
        hops.reverse();
        Some(hops)
    }

    /// The parties of some workloads.
    fn addresses_of<'a, T, S: std::hash::BuildHasher>(
        &'a self,
        workloads: &'a HashMap<WorkloadId, T, S>,
    ) -> impl Iterator<Item = Party> + 'a {
        let is_one = |party: &Party| workload(*party).is_some_and(|id| workloads.contains_key(&id));
        self.parties.iter().copied().filter(is_one)
    }
}

fn workload(party: Party) -> Option<WorkloadId> {
    match party.endpoint {
        Endpoint::Workload(id) => Some(id),
        _ => None,
    }
}
