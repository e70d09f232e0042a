//! Who can be at an end of a packet, in classes: parties of a class are told apart neither by the policy nor by what
//! the object reads of them.
//!
//! The parties are every address of both families with its owner; every workload without an address and at the
//! unspecified ones; a gateway and the world without an address; what is attached but not described. Addresses are cut
//! by the policy (`line`) and by the object's tries, whose every way is walked, so that a table that is wrong for one
//! address makes a class of its own of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hashbrown::HashMap;
use septum_rules::endpoint::{Endpoint, Party};
use septum_rules::identity::{IdentityId, SegmentId, WorkloadId};
use septum_rules::selector::Alternative;
use septum_rules::verdict::Gate;

use super::count::Count;
use super::labels;
use super::line::{Family, NetworkSets, stretches};
use super::source::{Owner, Source};
use super::work::{Exhausted, Work};
use crate::Classifier;

/// All that the object reads of an identity on one side.
pub(super) type End = [u32; 2];

/// The classes of one side of a flow.
pub(super) struct Side {
    pub(super) classes: Vec<Class>,
    /// By selector: the classes that satisfy it.
    pub(super) members: Vec<Vec<u32>>,
    /// Distinct owners; a class names its own by number.
    pub(super) owners: Vec<Owner>,
    known: HashMap<(Option<End>, Owner, u32), u32, ahash::RandomState>,
    lists: Lists,
}

/// Parties that are alike on one side.
pub(super) struct Class {
    /// What the object reads of them on this side; `None` where that leaves its tables.
    pub(super) end: Option<End>,
    /// A number in [`Side::owners`].
    pub(super) owner: u32,
    /// The selectors that they satisfy, of those that stand on this side; sorted.
    pub(super) selectors: Box<[u32]>,
    /// One of each family, and one without an address, as far as there are.
    examples: [Option<Party>; 3],
    /// How many addresses of each family.
    pub(super) weights: [Count; 2],
}

/// A party of each of two classes, of one family where there are such.
pub(super) fn examples(source: &Class, destination: &Class) -> (Party, Party) {
    let alike = source.examples.iter().zip(&destination.examples).find_map(|(from, to)| from.zip(*to));
    let some = |class: &Class| class.examples.iter().flatten().next().copied();
    let nobody = Party { endpoint: Endpoint::World, address: None };
    alike.unwrap_or((some(source).unwrap_or(nobody), some(destination).unwrap_or(nobody)))
}

/// Everybody, as sources and as destinations.
pub(super) struct Parties {
    pub(super) sources: Side,
    pub(super) destinations: Side,
    /// Stretches of addresses that policy or object tell apart.
    pub(super) stretches: usize,
}

/// Distinct lists of selectors.
#[derive(Default)]
struct Lists {
    known: HashMap<Box<[u32]>, u32, ahash::RandomState>,
}

impl Lists {
    fn number(&mut self, list: &[u32]) -> u32 {
        if let Some(number) = self.known.get(list) {
            return *number;
        }
        let number = self.known.len() as u32;
        self.known.insert(list.into(), number);
        number
    }
}

impl Side {
    fn new() -> Self {
        Self {
            classes: Vec::new(),
            members: Vec::new(),
            owners: Vec::new(),
            known: HashMap::default(),
            lists: Lists::default(),
        }
    }

    fn add(&mut self, end: Option<End>, owner: Owner, selectors: &[u32], party: Party, weight: Count) {
        let key = (end, owner, self.lists.number(selectors));
        let Self { classes, owners, known, .. } = self;
        let class = *known.entry(key).or_insert_with(|| {
            let number = owners.iter().position(|other| *other == owner).unwrap_or_else(|| {
                owners.push(owner);
                owners.len() - 1
            });
            classes.push(Class {
                end,
                owner: number as u32,
                selectors: selectors.into(),
                examples: [None; 3],
                weights: [Count::ZERO; 2],
            });
            classes.len() as u32 - 1
        });
        let class = &mut classes[class as usize];
        let family = party.address.map(Family::of);
        class.examples[family.map_or(2, |family| family as usize)].get_or_insert(party);
        if let Some(family) = family {
            class.weights[family as usize] += weight;
        }
    }

    fn finish(&mut self, selectors: usize) {
        self.members = vec![Vec::new(); selectors];
        for (number, class) in (0..).zip(&self.classes) {
            class.selectors.iter().for_each(|selector| self.members[*selector as usize].push(number));
        }
    }
}

/// What decides to which classes a party belongs, but for the identity.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Meaning {
    /// Of a workload: the number of the list of label selectors that it satisfies.
    labels: Option<u32>,
    is_world: bool,
    networks: u32,
}

/// Finds the classes of parties.
struct Sorter<'a, 'p> {
    classifier: &'a Classifier,
    source: &'a Source<'p>,
    /// By workload: a number of its satisfied label selectors.
    labels: Vec<u32>,
    label_lists: Vec<Vec<u32>>,
    /// By network: the selectors that name it.
    naming: HashMap<u32, Vec<u32>, ahash::RandomState>,
    any: Vec<u32>,
    world: Vec<u32>,
    sets: NetworkSets,
    /// By family: the networks of the lowest address, which is the unspecified one.
    unspecified_networks: [u32; 2],
    /// By meaning: the selectors satisfied as a source, and as a destination.
    satisfied: HashMap<Meaning, [Box<[u32]>; 2], ahash::RandomState>,
    sides: [Side; 2],
}

/// Sorts everybody into classes.
///
/// # Errors
/// When that is more work than allowed.
pub(super) fn sort(
    classifier: &Classifier,
    source: &Source<'_>,
    work: &mut Work,
) -> Result<Parties, Exhausted> {
    let (labels, label_lists) = labels::satisfied(source, work)?;
    let (mut any, mut world, mut naming) = (Vec::new(), Vec::new(), HashMap::default());
    for (number, selector) in (0..).zip(&source.selectors) {
        for alternative in &selector.alternatives {
            match alternative {
                Alternative::Any => any.push(number),
                Alternative::World => world.push(number),
                Alternative::Network(network) => {
                    let naming: &mut Vec<u32> = naming.entry(network.0).or_default();
                    naming.push(number);
                }
                Alternative::Labels(_) => {}
            }
        }
    }
    let mut sorter = Sorter {
        classifier,
        source,
        labels,
        label_lists,
        naming,
        any,
        world,
        sets: NetworkSets::new(),
        unspecified_networks: [0; 2],
        satisfied: HashMap::default(),
        sides: [Side::new(), Side::new()],
    };
    let stretches = sorter.with_address(work)?;
    sorter.without_address(work)?;
    let [mut sources, mut destinations] = sorter.sides;
    sources.finish(source.selectors.len());
    destinations.finish(source.selectors.len());
    Ok(Parties { sources, destinations, stretches })
}

impl Sorter<'_, '_> {
    /// Every address, with its owner.
    fn with_address(&mut self, work: &mut Work) -> Result<usize, Exhausted> {
        let mut count = 0;
        for family in Family::ALL {
            let meant = stretches(self.source, family, &mut self.sets, work)?;
            let compiled = match family {
                Family::Ipv4 => self.classifier.addresses.ipv4.stretches(),
                Family::Ipv6 => self.classifier.addresses.ipv6.stretches(),
            };
            let (mut meant, mut compiled) = (meant.into_iter().peekable(), compiled.into_iter().peekable());
            // Both lines begin at zero.
            let (mut at, mut is_over) = (0_u128, false);
            let (Some(mut stretch), Some((_, mut identity))) = (meant.next(), compiled.next()) else {
                continue;
            };
            self.unspecified_networks[family as usize] = stretch.networks;
            while !is_over {
                let ends = [meant.peek().map(|next| next.first), compiled.peek().map(|(first, _)| *first)];
                let end = ends.into_iter().flatten().min();
                let last = end.map_or(family.last(), |end| end - 1);
                let (begin, end_of_scope) = self.source.scope.addresses[family as usize];
                let (low, high) = (at.max(begin), last.min(end_of_scope));
                if low <= high {
                    let mut weight = Count::from(high - low);
                    weight += Count::from(1);
                    let party = Party { address: Some(family.address(low)), ..stretch.party };
                    self.add(party, stretch.networks, identity, weight, work)?;
                    count += 1;
                }
                match end {
                    Some(end) => {
                        at = end;
                        stretch = meant.next_if(|next| next.first == end).unwrap_or(stretch);
                        identity =
                            compiled.next_if(|(first, _)| *first == end).map_or(identity, |(_, it)| it);
                    }
                    None => is_over = true,
                }
            }
        }
        Ok(count)
    }

    /// Workloads without an address of their own, and those that never have one.
    fn without_address(&mut self, work: &mut Work) -> Result<(), Exhausted> {
        let unspecified: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        let policy = self.source.policy;
        let networks = self.unspecified_networks;
        let addresses = &self.classifier.addresses;
        for workload in 0..policy.workloads.len() as u32 {
            let endpoint = Endpoint::Workload(WorkloadId(workload));
            let known = addresses.workloads.get(workload as usize);
            let identities =
                [known.map(|known| known.unspecified_ipv4.0), known.map(|known| known.unspecified_ipv6.0)];
            for ((address, networks), identity) in unspecified.into_iter().zip(networks).zip(identities) {
                let party = Party { endpoint, address: Some(address) };
                self.add(party, networks, identity, Count::from(1), work)?;
            }
            let nowhere = Party { endpoint, address: None };
            self.add(nowhere, 0, known.map(|known| known.none.0), Count::ZERO, work)?;
        }
        let mut others =
            vec![(Endpoint::World, addresses.world), (Endpoint::Init, self.classifier.init_identity())];
        if !policy.segments.is_empty() {
            others.push((Endpoint::Gateway(SegmentId(0)), addresses.gateway));
        }
        for (endpoint, IdentityId(identity)) in others {
            self.add(Party { endpoint, address: None }, 0, Some(identity), Count::ZERO, work)?;
        }
        Ok(())
    }

    fn add(
        &mut self,
        party: Party,
        networks: u32,
        identity: Option<u32>,
        weight: Count,
        work: &mut Work,
    ) -> Result<(), Exhausted> {
        let meaning = Meaning {
            labels: match party.endpoint {
                Endpoint::Workload(id) => Some(self.labels[id.index()]),
                _ => None,
            },
            is_world: party.endpoint == Endpoint::World,
            networks,
        };
        work.spend(32)?;
        let is_init = party.endpoint == Endpoint::Init;
        if !is_init && !self.satisfied.contains_key(&meaning) {
            let satisfied = self.satisfy(meaning);
            work.spend(satisfied[0].len() + satisfied[1].len())?;
            self.satisfied.insert(meaning, satisfied);
        }
        let trie = &self.classifier.trie;
        let ends = [
            identity.and_then(|identity| trie.source_end(identity)),
            identity.and_then(|identity| trie.destination_end(identity)),
        ];
        for (at, (gate, end)) in [Gate::Egress, Gate::Ingress].into_iter().zip(ends).enumerate() {
            let owner = self.source.owner(gate, party);
            // No rule is asked about what is not described.
            let selectors: &[u32] = if is_init { &[] } else { &self.satisfied[&meaning][at] };
            self.sides[at].add(end, owner, selectors, party, weight);
        }
        Ok(())
    }

    /// The selectors that parties of this meaning satisfy, on each side.
    fn satisfy(&self, meaning: Meaning) -> [Box<[u32]>; 2] {
        let mut all = self.any.clone();
        if meaning.is_world {
            all.extend(&self.world);
        }
        if let Some(labels) = meaning.labels {
            all.extend(&self.label_lists[labels as usize]);
        }
        for network in &self.sets.sets[meaning.networks as usize] {
            all.extend(self.naming.get(&network.0).into_iter().flatten());
        }
        all.sort_unstable();
        all.dedup();
        [0, 1].map(|side| {
            let on_this_side = |selector: &&u32| self.source.stands_in[**selector as usize][side];
            all.iter().filter(on_this_side).copied().collect()
        })
    }
}
