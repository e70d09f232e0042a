//! Everybody who can be at an end of a packet, as two objects and two policies tell them apart.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use hashbrown::HashMap;
use septum_rules::address::successor;
use septum_rules::endpoint::{Endpoint, Party};
use septum_rules::identity::{IdentityId, WorkloadId};
use septum_rules::oracle::Oracle;
use septum_rules::policy::Policy;

use super::Comparison;

/// What becomes of a party between two policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fate {
    /// The same workload (by name), or none in both.
    Stays,
    /// An address that passes from one workload to another, or between the world and a workload that both policies have.
    Moved,
    /// An address that was no workload's, and is one's that only the new policy has.
    Added,
    /// An address that was a workload's that only the old policy has, and is no workload's.
    Removed,
}

/// A range of addresses, or a workload without an address, that neither policy divides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// First and last; `None` is a workload that has no address.
    pub addresses: Option<(IpAddr, IpAddr)>,
    /// Who it is in the old policy.
    pub before: Endpoint,
    /// Who it is in the new policy.
    pub after: Endpoint,
}

impl Member {
    /// Whether `address` is one of its addresses.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.addresses.is_some_and(|(first, last)| {
            first.is_ipv4() == address.is_ipv4() && first <= address && address <= last
        })
    }

    /// Whether it is of this family; a workload without an address is of either.
    pub(super) fn is_of(&self, ipv4: bool) -> bool {
        self.addresses.is_none_or(|(first, _)| first.is_ipv4() == ipv4)
    }

    /// Whether both are one address, or one workload in both policies: a switch sends nothing back where it came from.
    pub(super) fn is_self(&self, other: &Self) -> bool {
        if self == other && self.addresses.is_none_or(|(first, last)| first == last) {
            return true;
        }
        let same =
            |one, other| matches!((one, other), (Endpoint::Workload(a), Endpoint::Workload(b)) if a == b);
        same(self.before, other.before) && same(self.after, other.after)
    }
}

/// Some members of one fate, in the order of workloads without addresses, IPv4, IPv6.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PartySet {
    /// What became of them.
    pub fate: Fate,
    /// They; never empty.
    pub members: Vec<Member>,
}

/// Parties with the same identities in both objects, and the same fate.
#[derive(Clone, Debug)]
pub(super) struct Kind {
    pub(super) before: IdentityId,
    pub(super) after: IdentityId,
    pub(super) fate: Fate,
    pub(super) members: Vec<Member>,
}

/// All kinds.
#[derive(Clone, Debug)]
pub(super) struct Parties {
    pub(super) kinds: Vec<Kind>,
}

impl Parties {
    pub(super) fn of(comparison: &Comparison<'_>) -> Self {
        let (before, after) = (comparison.before, comparison.after);
        let now = before.classifier.now();
        let oracles = [Oracle::new(before.policy, now), Oracle::new(after.policy, now)];
        let fates = Fates::of(before.policy, after.policy);
        let mut kinds = Kinds::default();
        for (old, workload) in (0..).zip(&before.policy.workloads) {
            let Some(new) = fates.successor(old) else { continue };
            let other = &after.policy.workloads[new as usize];
            if workload.addresses.is_empty() && workload.mac.is_none()
                || other.addresses.is_empty() && other.mac.is_none()
            {
                let party =
                    |number| Party { endpoint: Endpoint::Workload(WorkloadId(number)), address: None };
                let ends = (party(old), party(new));
                let identities =
                    (before.classifier.identify_party(ends.0), after.classifier.identify_party(ends.1));
                let (before, after) = (ends.0.endpoint, ends.1.endpoint);
                kinds.add(identities, Fate::Stays, Member { addresses: None, before, after });
            }
        }
        for edges in edges(comparison) {
            let behind = edges.iter().skip(1).map(|next| last_before(*next));
            let end = if edges[0].is_ipv4() {
                IpAddr::V4(Ipv4Addr::BROADCAST)
            } else {
                IpAddr::V6(Ipv6Addr::from_bits(u128::MAX))
            };
            // What neither side divides is one member: tables have more edges than meanings.
            let mut open: Option<((IdentityId, IdentityId), Member)> = None;
            for (first, last) in edges.iter().copied().zip(behind.chain([end])) {
                let identities = (before.classifier.identify(first), after.classifier.identify(first));
                let (was, is) = (oracles[0].party(first).endpoint, oracles[1].party(first).endpoint);
                let member = Member { addresses: Some((first, last)), before: was, after: is };
                match &mut open {
                    Some((known, joined))
                        if *known == identities && (joined.before, joined.after) == (was, is) =>
                    {
                        joined.addresses = joined.addresses.map(|(first, _)| (first, last));
                    }
                    _ => {
                        let done = open.replace((identities, member));
                        done.into_iter()
                            .for_each(|(ids, member)| kinds.add(ids, fates.of_member(member), member));
                    }
                }
            }
            open.into_iter().for_each(|(ids, member)| kinds.add(ids, fates.of_member(member), member));
        }
        Self { kinds: kinds.kinds }
    }

    /// The members of some kinds.
    pub(super) fn set(&self, kinds: &[u32]) -> PartySet {
        let fate = kinds.first().map_or(Fate::Stays, |kind| self.kinds[*kind as usize].fate);
        let mut members: Vec<Member> =
            kinds.iter().flat_map(|kind| self.kinds[*kind as usize].members.iter().copied()).collect();
        members.sort_unstable();
        PartySet { fate, members }
    }
}

#[derive(Default)]
struct Kinds {
    kinds: Vec<Kind>,
    places: HashMap<(IdentityId, IdentityId, Fate), usize, ahash::RandomState>,
}

impl Kinds {
    fn add(&mut self, (before, after): (IdentityId, IdentityId), fate: Fate, member: Member) {
        let Self { kinds, places } = self;
        let place = *places.entry((before, after, fate)).or_insert_with(|| {
            kinds.push(Kind { before, after, fate, members: Vec::new() });
            kinds.len() - 1
        });
        kinds[place].members.push(member);
    }
}

/// Which workload of one policy is which of the other.
struct Fates {
    /// By old workload.
    successors: Vec<Option<u32>>,
    /// By new workload: whether the old policy has it.
    known: Vec<bool>,
}

impl Fates {
    fn of(before: &Policy, after: &Policy) -> Self {
        let names: HashMap<&Arc<str>, u32, ahash::RandomState> =
            after.workloads.iter().map(|workload| &workload.name).zip(0..).collect();
        let successors: Vec<Option<u32>> =
            before.workloads.iter().map(|workload| names.get(&workload.name).copied()).collect();
        let mut known = vec![false; after.workloads.len()];
        successors.iter().flatten().for_each(|new| known[*new as usize] = true);
        Self { successors, known }
    }

    fn successor(&self, old: u32) -> Option<u32> {
        self.successors[old as usize]
    }

    fn of_member(&self, member: Member) -> Fate {
        match (member.before, member.after) {
            (Endpoint::Workload(old), Endpoint::Workload(new)) if self.successor(old.0) == Some(new.0) => {
                Fate::Stays
            }
            (Endpoint::Workload(_), Endpoint::Workload(_)) => Fate::Moved,
            (Endpoint::Workload(old), _) if self.successor(old.0).is_none() => Fate::Removed,
            (_, Endpoint::Workload(new)) if !self.known[new.index()] => Fate::Added,
            (Endpoint::Workload(_), _) | (_, Endpoint::Workload(_)) => Fate::Moved,
            // Of what has no gate only the name changes: a gateway that was added, or taken away.
            _ => Fate::Stays,
        }
    }
}

/// The first address of every stretch on which neither object nor any owner changes; IPv4, and IPv6.
fn edges(comparison: &Comparison<'_>) -> [Vec<IpAddr>; 2] {
    let mut edges = [
        BTreeSet::from([IpAddr::V4(Ipv4Addr::UNSPECIFIED)]),
        BTreeSet::from([IpAddr::V6(Ipv6Addr::UNSPECIFIED)]),
    ];
    for side in [comparison.before, comparison.after] {
        let addresses = &side.classifier.addresses;
        edges[0].extend(addresses.ipv4.edges().into_iter().map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))));
        edges[1].extend(addresses.ipv6.edges().into_iter().map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits))));
        let gateways = side.policy.segments.iter().flat_map(|segment| segment.gateways.iter().copied());
        let owned =
            side.policy.workloads.iter().flat_map(|workload| workload.all_addresses()).chain(gateways);
        for address in owned {
            let edges = &mut edges[usize::from(address.is_ipv6())];
            edges.insert(address);
            edges.extend(successor(address));
        }
    }
    edges.map(|edges| edges.into_iter().collect())
}

/// The address before one that is not the first of its family.
fn last_before(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits().wrapping_sub(1)).into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits().wrapping_sub(1)).into(),
    }
}
