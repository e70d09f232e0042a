//! One party for each kind that policy or object tell apart.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hashbrown::HashSet;
use septum_rules::endpoint::{Endpoint, Party};
use septum_rules::identity::{IdentityId, WorkloadId};

use super::source::{Owner, Source};
use crate::Classifier;

/// A party and all that is read of it.
pub(super) struct ProofParty {
    pub(super) party: Party,
    pub(super) identity: IdentityId,
    pub(super) owner: Owner,
    /// By selector of the policy.
    satisfied: Vec<bool>,
}

impl ProofParty {
    pub(super) fn satisfies(&self, selector: usize) -> bool {
        self.satisfied[selector]
    }
}

pub(super) fn representatives(classifier: &Classifier, source: &Source<'_>) -> Vec<ProofParty> {
    let mut parties: Vec<Party> =
        edges(classifier, source).into_iter().map(|address| source.oracle.party(address)).collect();
    for endpoint in (0..source.policy.workloads.len() as u32).map(|at| Endpoint::Workload(WorkloadId(at))) {
        let unspecified = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        parties.push(Party { endpoint, address: None });
        parties.extend(unspecified.map(|address| Party { endpoint, address: Some(address) }));
    }
    parties.push(Party { endpoint: Endpoint::World, address: None });
    parties.push(Party { endpoint: Endpoint::Init, address: None });

    let mut known: HashSet<(IdentityId, Owner, Vec<bool>), ahash::RandomState> = HashSet::default();
    let mut representatives = Vec::new();
    for party in parties {
        let identity = classifier.identify_party(party);
        let owner = source.owner(party);
        let satisfied: Vec<bool> =
            source.selectors.iter().map(|selector| source.oracle.selector_matches(selector, party)).collect();
        if known.insert((identity, owner, satisfied.clone())) {
            representatives.push(ProofParty { party, identity, owner, satisfied });
        }
    }
    representatives
}

/// The lowest address of every stretch on which neither the policy nor the tries change.
fn edges(classifier: &Classifier, source: &Source<'_>) -> BTreeSet<IpAddr> {
    let policy = source.policy;
    let mut edges: BTreeSet<IpAddr> =
        BTreeSet::from([Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()]);
    for prefix in policy.networks.iter().flat_map(|network| network.include.iter().chain(&network.except)) {
        edges.insert(prefix.network());
        edges.extend(above(prefix.last()));
    }
    let gateways = policy.segments.iter().flat_map(|segment| segment.gateways.iter().copied());
    for address in policy.workloads.iter().flat_map(|workload| workload.all_addresses()).chain(gateways) {
        edges.insert(address);
        edges.extend(above(address));
    }
    edges.extend(classifier.addresses.ipv4.edges().into_iter().map(Ipv4Addr::from_bits).map(IpAddr::from));
    edges.extend(classifier.addresses.ipv6.edges().into_iter().map(Ipv6Addr::from_bits).map(IpAddr::from));
    edges
}

fn above(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => address.to_bits().checked_add(1).map(|bits| Ipv4Addr::from_bits(bits).into()),
        IpAddr::V6(address) => address.to_bits().checked_add(1).map(|bits| Ipv6Addr::from_bits(bits).into()),
    }
}
