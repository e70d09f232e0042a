//! Everybody who can be an end of a flow, in classes that no selector of the policy tells apart.
//!
//! What holds for one member of a class holds for all, so a question about all flows becomes one about pairs of
//! classes. Who has no address in common with another family never meets it; who is isolated, or on an island
//! (a segment without a gateway), is told apart too.
//!
//! Cost: the matches between label expressions and workloads (found through an index of labels), and addresses
//! at the edges of named networks times the networks. Both count against the budget.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::Budget;
use crate::endpoint::{Endpoint, Party};
use crate::identity::{NetworkId, SegmentId, WorkloadId};
use crate::policy::Policy;
use crate::segment::Segment;
use crate::selector::{Alternative, LabelExpression, Operator, Selector};
use crate::workload::Workload;

/// A class's number.
pub(super) type ClassId = u32;

/// A class of parties.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Class {
    /// Whether its members have gates.
    pub(super) has_gate: bool,
    /// Whether they are `world`.
    is_world: bool,
    family: Option<Family>,
    /// Members of one isolated segment do not meet.
    isolated_in: Option<SegmentId>,
    /// Members of a segment without a gateway of this family meet nobody else.
    island: Option<SegmentId>,
    /// The alternatives that select them.
    selected_by: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Family {
    V4,
    V6,
}

impl Class {
    /// Whether a flow between members can exist and gates decide about it.
    pub(super) fn meets(&self, other: &Self) -> bool {
        let families = self.family.is_none() || other.family.is_none() || self.family == other.family;
        let isolated = self.isolated_in.is_some() && self.isolated_in == other.isolated_in;
        families && !isolated && (self.has_gate || other.has_gate)
    }

    /// Whether frames have a way between members that are both workloads.
    pub(super) fn has_path(&self, other: &Self) -> bool {
        !(self.has_gate && other.has_gate) || self.island == other.island
    }
}

/// All classes, and which selector means which.
pub(super) struct Classes<'p> {
    pub(super) classes: Vec<Class>,
    /// One member of each class.
    pub(super) members: Vec<Party>,
    /// The classes of each workload.
    pub(super) of_workload: Vec<Vec<ClassId>>,
    alternatives: HashMap<&'p Alternative, u32>,
    /// The classes that each alternative selects, in order.
    selected: Vec<Vec<ClassId>>,
}

impl<'p> Classes<'p> {
    /// The classes of a policy; `None` where the budget does not suffice.
    pub(super) fn new(policy: &'p Policy, budget: &mut Budget) -> Option<Self> {
        let alternatives = alternatives(policy);
        let edges = Edges::new(policy, &alternatives, budget)?;
        let labels = label_matches(policy, &alternatives, budget)?;
        let mut classes = Self {
            classes: Vec::new(),
            members: Vec::new(),
            of_workload: Vec::new(),
            alternatives,
            selected: Vec::new(),
        };
        let mut known: HashMap<Class, ClassId> = HashMap::new();
        for (at, workload) in policy.workloads.iter().enumerate() {
            let endpoint = Endpoint::Workload(WorkloadId(at as u32));
            let addresses: Vec<Option<IpAddr>> = match workload.all_addresses().map(Some).collect::<Vec<_>>()
            {
                none if none.is_empty() => vec![None],
                some => some,
            };
            let mut ids: Vec<ClassId> = addresses
                .into_iter()
                .map(|address| {
                    let class = workload_class(policy, workload, address, &labels[at], &edges);
                    classes.intern(class, Party { endpoint, address }, &mut known)
                })
                .collect();
            ids.sort_unstable();
            ids.dedup();
            classes.of_workload.push(ids);
        }
        let mut taken: BTreeSet<IpAddr> = policy.workloads.iter().flat_map(Workload::all_addresses).collect();
        for (at, segment) in policy.segments.iter().enumerate() {
            for gateway in &segment.gateways {
                taken.insert(*gateway);
                let party =
                    Party { endpoint: Endpoint::Gateway(SegmentId(at as u32)), address: Some(*gateway) };
                classes.intern(outsider(*gateway, false, &edges), party, &mut known);
            }
        }
        for address in edges.free_addresses(&taken) {
            let party = Party { endpoint: Endpoint::World, address: Some(address) };
            classes.intern(outsider(address, true, &edges), party, &mut known);
        }
        classes.index();
        Some(classes)
    }

    fn intern(&mut self, class: Class, member: Party, known: &mut HashMap<Class, ClassId>) -> ClassId {
        let next = self.classes.len() as ClassId;
        *known.entry(class).or_insert_with_key(|class| {
            self.classes.push(class.clone());
            self.members.push(member);
            next
        })
    }

    fn index(&mut self) {
        self.selected = vec![Vec::new(); self.alternatives.len()];
        for (id, class) in (0..).zip(&self.classes) {
            for alternative in &class.selected_by {
                self.selected[*alternative as usize].push(id);
            }
        }
    }

    /// The classes that a selector means, in order.
    pub(super) fn of(&self, selector: &Selector) -> Arc<[ClassId]> {
        let mut ids: Vec<ClassId> = Vec::new();
        for alternative in &selector.alternatives {
            match alternative {
                Alternative::Any => return (0..self.classes.len() as ClassId).collect(),
                Alternative::World => {
                    ids.extend((0..).zip(&self.classes).filter(|(_, class)| class.is_world).map(|(id, _)| id))
                }
                other => ids.extend_from_slice(&self.selected[self.alternatives[other] as usize]),
            }
        }
        ids.sort_unstable();
        ids.dedup();
        ids.into()
    }
}

/// The alternatives that tell parties apart, numbered.
fn alternatives(policy: &Policy) -> HashMap<&Alternative, u32> {
    let mut numbered = HashMap::new();
    for rule in &policy.rules {
        let holes = rule.except.iter().flat_map(|except| [&except.from, &except.to]);
        for selector in [&rule.from, &rule.to].into_iter().chain(holes) {
            for alternative in &selector.alternatives {
                if matches!(alternative, Alternative::Labels(_) | Alternative::Network(_)) {
                    let next = numbered.len() as u32;
                    numbered.entry(alternative).or_insert(next);
                }
            }
        }
    }
    numbered
}

/// For each workload, the label expressions that it fulfils, in order.
fn label_matches(
    policy: &Policy,
    alternatives: &HashMap<&Alternative, u32>,
    budget: &mut Budget,
) -> Option<Vec<Vec<u32>>> {
    let mut by_label: HashMap<(&str, &str), Vec<usize>> = HashMap::new();
    for (at, workload) in policy.workloads.iter().enumerate() {
        for (key, value) in &workload.labels {
            by_label.entry((key, value)).or_default().push(at);
        }
    }
    let everyone: Vec<usize> = (0..policy.workloads.len()).collect();
    let mut matches = vec![Vec::new(); policy.workloads.len()];
    for (alternative, id) in alternatives {
        let Alternative::Labels(expression) = alternative else { continue };
        let candidates = candidates(expression, &by_label).unwrap_or_else(|| everyone.clone());
        budget.spend(candidates.len() + 1)?;
        for at in candidates {
            if expression.matches(&policy.workloads[at].labels) {
                matches[at].push(*id);
            }
        }
    }
    matches.iter_mut().for_each(|ids| ids.sort_unstable());
    Some(matches)
}

/// The workloads among which those must be that fulfil the expression; `None`: all.
fn candidates(
    expression: &LabelExpression,
    by_label: &HashMap<(&str, &str), Vec<usize>>,
) -> Option<Vec<usize>> {
    let listed = expression.requirements.iter().filter_map(|requirement| match &requirement.operator {
        Operator::In(values) => {
            let key = &*requirement.key;
            Some(
                values
                    .iter()
                    .filter_map(|value| by_label.get(&(key, &**value)))
                    .flatten()
                    .copied()
                    .collect::<Vec<_>>(),
            )
        }
        _ => None,
    });
    listed.min_by_key(Vec::len)
}

fn workload_class(
    policy: &Policy,
    workload: &Workload,
    address: Option<IpAddr>,
    labels: &[u32],
    edges: &Edges,
) -> Class {
    let segment = &policy.segments[workload.segment.index()];
    let family = address.map(family);
    let mut selected_by = labels.to_vec();
    if let Some(address) = address {
        selected_by.extend_from_slice(edges.networks_of(address));
        selected_by.sort_unstable();
    }
    Class {
        has_gate: true,
        is_world: false,
        family,
        isolated_in: (segment.isolated && !workload.promiscuous).then_some(workload.segment),
        island: is_island(segment, family).then_some(workload.segment),
        selected_by,
    }
}

/// Whether the segment has addresses of the family but no gateway: what no file describes is not judged.
fn is_island(segment: &Segment, family: Option<Family>) -> bool {
    let Some(family) = family else { return false };
    let wanted = family == Family::V4;
    segment.subnets.iter().any(|subnet| subnet.is_ipv4() == wanted)
        && !segment.gateways.iter().any(|gateway| gateway.is_ipv4() == wanted)
}

fn outsider(address: IpAddr, is_world: bool, edges: &Edges) -> Class {
    Class {
        has_gate: false,
        is_world,
        family: Some(family(address)),
        isolated_in: None,
        island: None,
        selected_by: edges.networks_of(address).to_vec(),
    }
}

fn family(address: IpAddr) -> Family {
    if address.is_ipv4() { Family::V4 } else { Family::V6 }
}

/// The address space cut at the edges of the named networks: inside a piece, membership is the same.
struct Edges {
    /// First addresses of pieces, sorted.
    starts: Vec<IpAddr>,
    /// For each piece the alternatives `cidr:NAME` that hold it, in order.
    networks: Vec<Vec<u32>>,
}

impl Edges {
    fn new(policy: &Policy, alternatives: &HashMap<&Alternative, u32>, budget: &mut Budget) -> Option<Self> {
        let mut used: Vec<(NetworkId, u32)> = alternatives
            .iter()
            .filter_map(|(alternative, id)| match alternative {
                Alternative::Network(network) => Some((*network, *id)),
                _ => None,
            })
            .collect();
        used.sort_unstable_by_key(|(_, id)| *id);
        let mut starts =
            BTreeSet::from([IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)]);
        let mut prefixes = 0;
        for (network, _) in &used {
            let network = &policy.networks[network.index()];
            for prefix in network.include.iter().chain(&network.except) {
                prefixes += 1;
                starts.insert(prefix.network());
                starts.extend(successor(prefix.last()));
            }
        }
        budget.spend(starts.len().saturating_mul(prefixes))?;
        let starts: Vec<IpAddr> = starts.into_iter().collect();
        let holding = |address: &IpAddr| {
            let holds = |network: NetworkId| policy.networks[network.index()].contains(*address);
            used.iter().filter(|(network, _)| holds(*network)).map(|(_, id)| *id).collect()
        };
        let networks = starts.iter().map(holding).collect();
        Some(Self { starts, networks })
    }

    fn networks_of(&self, address: IpAddr) -> &[u32] {
        let piece = self.starts.partition_point(|start| *start <= address) - 1;
        &self.networks[piece]
    }

    /// An address of each piece that nobody has taken, where there is one.
    fn free_addresses<'a>(&'a self, taken: &'a BTreeSet<IpAddr>) -> impl Iterator<Item = IpAddr> + 'a {
        self.starts.iter().enumerate().filter_map(|(piece, start)| {
            let end = self.starts.get(piece + 1).filter(|end| end.is_ipv4() == start.is_ipv4());
            let mut free = *start;
            for address in taken.range(*start..) {
                if *address != free {
                    break;
                }
                free = successor(free)?;
            }
            end.is_none_or(|end| free < *end).then_some(free)
        })
    }
}

/// The next address of the family.
fn successor(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => v4.to_bits().checked_add(1).map(|bits| Ipv4Addr::from_bits(bits).into()),
        IpAddr::V6(v6) => v6.to_bits().checked_add(1).map(|bits| Ipv6Addr::from_bits(bits).into()),
    }
}
