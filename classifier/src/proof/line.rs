//! The addresses of one family as the policy cuts them: stretches with one owner and the same named networks.
//!
//! Cost: a sort of all edges, and the networks of each stretch.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hashbrown::HashMap;
use septum_rules::address::Prefix;
use septum_rules::endpoint::Party;
use septum_rules::identity::NetworkId;
use septum_rules::selector::Alternative;

use super::source::Source;
use super::work::{Exhausted, Work};

/// One of the two lines of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    pub(super) const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    pub(super) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::Ipv4 } else { Self::Ipv6 }
    }

    /// The highest address.
    pub(super) fn last(self) -> u128 {
        match self {
            Self::Ipv4 => u32::MAX.into(),
            Self::Ipv6 => u128::MAX,
        }
    }

    pub(super) fn address(self, point: u128) -> IpAddr {
        match self {
            Self::Ipv4 => Ipv4Addr::from_bits(point as u32).into(),
            Self::Ipv6 => Ipv6Addr::from_bits(point).into(),
        }
    }
}

fn point(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Neither owner nor networks change from `first` to where the next one begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch {
    pub(super) first: u128,
    /// Its owner, at its first address.
    pub(super) party: Party,
    /// A number in [`NetworkSets`].
    pub(super) networks: u32,
}

/// Distinct sets of networks; number zero is the empty one.
#[derive(Debug)]
pub(super) struct NetworkSets {
    known: HashMap<Vec<NetworkId>, u32, ahash::RandomState>,
    pub(super) sets: Vec<Vec<NetworkId>>,
}

impl NetworkSets {
    pub(super) fn new() -> Self {
        let mut sets = Self { known: HashMap::default(), sets: Vec::new() };
        sets.number(Vec::new());
        sets
    }

    fn number(&mut self, set: Vec<NetworkId>) -> u32 {
        if let Some(number) = self.known.get(&set) {
            return *number;
        }
        let number = self.sets.len() as u32;
        self.sets.push(set.clone());
        self.known.insert(set, number);
        number
    }
}

/// How many prefixes of a network hold the address at hand.
#[derive(Clone, Copy, Debug, Default)]
struct Holding {
    include: u32,
    except: u32,
}

/// Cuts a family's addresses.
///
/// # Errors
/// When that is more work than allowed.
pub(super) fn stretches(
    source: &Source<'_>,
    family: Family,
    sets: &mut NetworkSets,
    work: &mut Work,
) -> Result<Vec<Stretch>, Exhausted> {
    // Where prefixes begin and end: the network, whether it is an exception, and by how much it is held more.
    let mut edges: Vec<(u128, NetworkId, bool, bool)> = Vec::new();
    for network in named_networks(source) {
        let declared = &source.policy.networks[network.index()];
        for (prefixes, is_except) in [(&declared.include, false), (&declared.except, true)] {
            for prefix in prefixes.iter().filter(|prefix| prefix.is_ipv4() == (family == Family::Ipv4)) {
                edges.push((point(prefix.network()), network, is_except, true));
                edges.extend(above(*prefix, family).map(|above| (above, network, is_except, false)));
            }
        }
    }
    edges.sort_unstable();
    let owned = owned_addresses(source, family);
    work.spend((edges.len() + owned.len()) * 8)?;
    let mut firsts: Vec<u128> = vec![0];
    firsts.extend(edges.iter().map(|(first, ..)| *first));
    firsts.extend(owned.iter().filter(|address| **address < family.last()).map(|address| address + 1));
    firsts.extend(owned);
    firsts.sort_unstable();
    firsts.dedup();

    let mut holding: HashMap<NetworkId, Holding, ahash::RandomState> = HashMap::default();
    let mut active: BTreeSet<NetworkId> = BTreeSet::new();
    let mut networks = 0;
    let mut edges = edges.into_iter().peekable();
    let mut stretches = Vec::with_capacity(firsts.len());
    for first in firsts {
        let mut changed = false;
        while let Some((_, network, is_except, begins)) = edges.next_if(|(edge, ..)| *edge <= first) {
            let held = holding.entry(network).or_default();
            let count = if is_except { &mut held.except } else { &mut held.include };
            // What ends here began at an earlier edge.
            if begins {
                *count += 1
            } else {
                *count -= 1
            }
            changed = true;
            let holds = held.include > 0 && held.except == 0;
            if holds {
                active.insert(network)
            } else {
                active.remove(&network)
            };
        }
        if changed {
            work.spend(active.len() * 4)?;
            networks = sets.number(active.iter().copied().collect());
        }
        let party = source.oracle.party(family.address(first));
        stretches.push(Stretch { first, party, networks });
    }
    Ok(stretches)
}

/// Those that a selector of a rule in force names.
fn named_networks(source: &Source<'_>) -> BTreeSet<NetworkId> {
    let alternatives = source.selectors.iter().flat_map(|selector| &selector.alternatives);
    let named = alternatives.filter_map(|alternative| match alternative {
        Alternative::Network(network) => Some(*network),
        _ => None,
    });
    named.collect()
}

/// The first address behind a prefix.
fn above(prefix: Prefix, family: Family) -> Option<u128> {
    let last = point(prefix.last());
    (last < family.last()).then(|| last + 1)
}

fn owned_addresses(source: &Source<'_>, family: Family) -> Vec<u128> {
    let gateways = source.policy.segments.iter().flat_map(|segment| segment.gateways.iter().copied());
    let workloads = source.policy.workloads.iter().flat_map(|workload| workload.all_addresses());
    let owned = workloads.chain(gateways).filter(|address| Family::of(*address) == family);
    owned.map(point).collect()
}
