//! Who can be at an end of a packet: every workload at each of its addresses, every gateway, and of the world one
//! address for each stretch that named networks and owners leave.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hashbrown::HashMap;
use septum_rules::address::successor;
use septum_rules::endpoint::{Endpoint, Party};
use septum_rules::identity::{IdentityId, WorkloadId};
use septum_rules::oracle::Oracle;
use septum_rules::policy::Policy;

use crate::Classifier;

/// Which IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Family {
    Ipv4,
    Ipv6,
}

/// Parties of which the object reads the same.
pub(super) struct Kind {
    pub(super) identity: IdentityId,
    /// `None`: workloads without an address, which may have one of either.
    pub(super) family: Option<Family>,
    /// Never empty.
    pub(super) parties: Vec<Party>,
}

impl Kind {
    /// Two parties between which a packet can go.
    pub(super) fn meets(&self, other: &Self) -> Option<(Party, Party)> {
        if self.family.zip(other.family).is_some_and(|(one, other)| one != other) {
            return None;
        }
        let (first, second) = (self.parties[0], other.parties[0]);
        if !is_workload(first) && !is_workload(second) {
            return None;
        }
        // A switch sends nothing back where it came from.
        let away = |parties: &[Party], from: Party| {
            parties.iter().copied().find(|party| party.endpoint != from.endpoint)
        };
        let forth = away(&other.parties, first).map(|destination| (first, destination));
        forth.or_else(|| away(&self.parties, second).map(|source| (source, second)))
    }
}

fn is_workload(party: Party) -> bool {
    matches!(party.endpoint, Endpoint::Workload(_))
}

/// Parties by kind, in the order in which kinds appear.
pub(super) fn kinds(classifier: &Classifier, parties: impl Iterator<Item = Party>) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = Vec::new();
    let mut places: HashMap<(IdentityId, Option<Family>), usize, ahash::RandomState> = HashMap::default();
    for party in parties {
        let identity = classifier.identify_party(party);
        let family = party.address.map(|it| if it.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 });
        let place = *places.entry((identity, family)).or_insert_with(|| {
            kinds.push(Kind { identity, family, parties: Vec::new() });
            kinds.len() - 1
        });
        kinds[place].parties.push(party);
    }
    kinds
}

/// Everybody; workloads first, so that they are the first to be named.
pub(super) fn parties(oracle: &Oracle<'_>) -> Vec<Party> {
    let policy = oracle.policy();
    let mut parties = Vec::new();
    for (id, workload) in (0..).map(WorkloadId).zip(&policy.workloads) {
        let endpoint = Endpoint::Workload(id);
        if workload.addresses.is_empty() && workload.mac.is_none() {
            parties.push(Party { endpoint, address: None });
        }
        // An address may be another's: the one who has it counts.
        let own = workload.all_addresses().map(|address| oracle.party(address));
        parties.extend(own.filter(|party| party.endpoint == endpoint));
    }
    let others = edges(policy).into_iter().filter(|address| is_host(*address));
    parties.extend(others.map(|address| oracle.party(address)).filter(|party| !is_workload(*party)));
    parties
}

/// The lowest address of every stretch on which neither networks nor owners change.
fn edges(policy: &Policy) -> BTreeSet<IpAddr> {
    // Where what no host can have ends (see `is_host`).
    let mut edges: BTreeSet<IpAddr> = BTreeSet::from([
        Ipv4Addr::new(1, 0, 0, 0).into(),
        Ipv4Addr::new(128, 0, 0, 0).into(),
        Ipv6Addr::from_bits(1 << 32).into(),
        Ipv6Addr::from_bits(1 << 48).into(),
    ]);
    for prefix in policy.networks.iter().flat_map(|network| network.include.iter().chain(&network.except)) {
        edges.insert(prefix.network());
        edges.extend(successor(prefix.last()));
    }
    let gateways = policy.segments.iter().flat_map(|segment| segment.gateways.iter().copied());
    for address in policy.workloads.iter().flat_map(|workload| workload.all_addresses()).chain(gateways) {
        edges.insert(address);
        edges.extend(successor(address));
    }
    edges
}

/// Whether a host can have the address (RFC 1812 section 5.3.7, RFC 6890, RFC 4291): the guard refuses the others.
fn is_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => matches!(address.octets()[0], 1..=126 | 128..=223),
        // `::`, `::1` and `::a.b.c.d` are below 2^32; `::ffff:a.b.c.d` is the IPv4 that it holds.
        IpAddr::V6(address) => {
            address.to_bits() >> 32 != 0 && address.to_ipv4_mapped().is_none() && !address.is_multicast()
        }
    }
}
