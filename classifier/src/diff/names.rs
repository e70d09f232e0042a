//! Sets of parties in the words of policies: label expressions, workloads, named networks.
//!
//! Labels and networks are the new policy's. A name is used only where it means exactly parties of the set, so what
//! is printed is the set, never roughly so. Cost of [`Names::new`]: label expressions times workloads, named networks
//! times stretches of the world, both bounded; of a set: about its members.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hashbrown::HashMap;
use septum_rules::address::Prefix;
use septum_rules::endpoint::Endpoint;
use septum_rules::policy::Policy;
use septum_rules::rule::Rule;
use septum_rules::selector::{Alternative, LabelExpression, Operator, Requirement, Selector};

use super::Difference;
use super::parties::{Fate, Member, PartySet};

/// Expressions times workloads, and networks times stretches, that are tried for names.
const MOST_TRIED: usize = 1 << 24;

/// Names parties of one [`Difference`].
#[derive(Debug)]
pub struct Names<'a> {
    before: &'a Policy,
    after: &'a Policy,
    /// How many members stay.
    staying: usize,
    /// By fate and owner: how many members it has over IPv4, over IPv6 and without an address.
    totals: HashMap<(Fate, Owner), Coverage, ahash::RandomState>,
    /// Workloads (of the new policy) that stay, by their index.
    workloads: Vec<u32>,
    gateways: usize,
    groups: Groups,
    world: World,
}

/// Who has an address, for naming it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Owner {
    /// By index in the new policy, or in the old one where the workload is removed.
    Workload(u32),
    /// By segment of the new policy.
    Gateway(u32),
    World,
    /// One before, another now.
    Changed,
}

type Coverage = [u32; 3];

impl<'a> Names<'a> {
    /// For a difference of these two policies.
    pub fn new(before: &'a Policy, after: &'a Policy, difference: &Difference) -> Self {
        let mut totals: HashMap<(Fate, Owner), Coverage, ahash::RandomState> = HashMap::default();
        for (fate, member) in &difference.everybody {
            totals.entry((*fate, owner(*fate, member))).or_default()[slot(member)] += 1;
        }
        let staying = totals.keys().filter(|(fate, _)| *fate == Fate::Stays);
        let mut workloads: Vec<u32> = staying
            .clone()
            .filter_map(|(_, owner)| match owner {
                Owner::Workload(id) => Some(*id),
                _ => None,
            })
            .collect();
        workloads.sort_unstable();
        let gateways = staying.filter(|(_, owner)| matches!(owner, Owner::Gateway(_))).count();
        let world = difference.everybody.iter().filter(|(fate, member)| owner(*fate, member) == Owner::World);
        let world: Vec<(IpAddr, IpAddr)> = world.filter_map(|(_, member)| member.addresses).collect();
        Self {
            before,
            after,
            staying: difference.everybody.iter().filter(|(fate, _)| *fate == Fate::Stays).count(),
            totals,
            groups: Groups::of(before, after, &workloads),
            workloads,
            gateways,
            world: World::of(after, world),
        }
    }

    /// The set, in as few names as are found.
    pub fn describe(&self, set: &PartySet) -> Vec<String> {
        if set.fate == Fate::Stays && set.members.len() == self.staying {
            return vec!["any".to_owned()];
        }
        let mut owners: BTreeMap<Owner, Vec<&Member>> = BTreeMap::new();
        for member in &set.members {
            owners.entry(owner(set.fate, member)).or_default().push(member);
        }
        // Workloads as a whole, over IPv4, over IPv6; then those with some of their addresses.
        let mut whole: [Vec<u32>; 3] = Default::default();
        let (mut parts, mut names) = (Vec::new(), Vec::new());
        let mut gateways = Vec::new();
        let mut has_whole_gateways = true;
        for (owner, members) in &owners {
            let total = self.totals.get(&(set.fate, *owner)).copied().unwrap_or_default();
            let mut covered = Coverage::default();
            members.iter().for_each(|member| covered[slot(member)] += 1);
            match *owner {
                Owner::Workload(id) if covered == total => whole[0].push(id),
                Owner::Workload(id) if covered == [total[0], 0, 0] => whole[1].push(id),
                Owner::Workload(id) if covered == [0, total[1], 0] => whole[2].push(id),
                Owner::Workload(id) => {
                    parts.push(format!("{} ({})", self.workload(set.fate, id), addresses(members)));
                }
                Owner::Gateway(segment) => {
                    let name = &self.after.segments[segment as usize].name;
                    let is_whole = covered == total;
                    has_whole_gateways &= is_whole;
                    let which = if is_whole { String::new() } else { format!(" ({})", addresses(members)) };
                    gateways.push(format!("gateway of {name}{which}"));
                }
                Owner::World => names.extend(self.world.describe(members)),
                Owner::Changed => names.extend(members.iter().map(|member| self.changed(member))),
            }
        }
        if has_whole_gateways && gateways.len() > 1 && gateways.len() == self.gateways {
            gateways = vec!["every gateway".to_owned()];
        }
        let mut described = Vec::new();
        for (ids, suffix) in whole.iter().zip(["", " over IPv4", " over IPv6"]) {
            let named = if set.fate == Fate::Stays {
                self.together(ids)
            } else {
                ids.iter().map(|id| self.workload(set.fate, *id).to_owned()).collect()
            };
            described.extend(named.into_iter().map(|name| name + suffix));
        }
        described.extend(parts);
        described.extend(gateways);
        described.extend(names);
        described
    }

    fn workload(&self, fate: Fate, id: u32) -> &str {
        let policy = if fate == Fate::Removed { self.before } else { self.after };
        &policy.workloads[id as usize].name
    }

    /// An address that passes from one to another.
    fn changed(&self, member: &Member) -> String {
        let name = |policy: &Policy, endpoint| match endpoint {
            Endpoint::Workload(id) => policy.workloads[id.index()].name.to_string(),
            Endpoint::Gateway(segment) => format!("gateway of {}", policy.segments[segment.index()].name),
            Endpoint::World | Endpoint::Init => "world".to_owned(),
        };
        let (was, is) = (name(self.before, member.before), name(self.after, member.after));
        format!("{} (was {was}, is {is})", addresses(&[member]))
    }

    /// Workloads that stay, by the expressions that mean them.
    fn together(&self, ids: &[u32]) -> Vec<String> {
        if ids.len() > 1 && ids == self.workloads {
            return vec!["every workload".to_owned()];
        }
        self.groups.cover(ids, |id| self.after.workloads[id as usize].name.to_string())
    }
}

fn owner(fate: Fate, member: &Member) -> Owner {
    match (fate, member.before, member.after) {
        (Fate::Removed, Endpoint::Workload(id), _)
        | (Fate::Stays | Fate::Added, _, Endpoint::Workload(id)) => Owner::Workload(id.0),
        (Fate::Stays, Endpoint::Gateway(_), Endpoint::Gateway(segment)) => Owner::Gateway(segment.0),
        (Fate::Stays, Endpoint::World, Endpoint::World) => Owner::World,
        _ => Owner::Changed,
    }
}

fn slot(member: &Member) -> usize {
    member.addresses.map_or(2, |(first, _)| usize::from(first.is_ipv6()))
}

fn addresses(members: &[&Member]) -> String {
    let ranges = joined(members.iter().filter_map(|member| member.addresses));
    ranges.into_iter().flat_map(written).collect::<Vec<_>>().join(", ")
}

/// Groups of workloads that have a name.
#[derive(Debug, Default)]
struct Groups {
    /// The name, and the workloads in order.
    groups: Vec<(String, Vec<u32>)>,
    /// By workload: the groups that hold it.
    of: HashMap<u32, Vec<usize>, ahash::RandomState>,
}

impl Groups {
    fn of(before: &Policy, after: &Policy, workloads: &[u32]) -> Self {
        let mut by_label: BTreeMap<(&str, &str), Vec<u32>> = BTreeMap::new();
        for id in workloads {
            let labels = &after.workloads[*id as usize].labels;
            for (key, value) in labels.iter().filter(|(key, _)| &***key != "name") {
                by_label.entry((key, value)).or_default().push(*id);
            }
        }
        let labelled = by_label.into_iter().map(|((key, value), ids)| (format!("{key}={value}"), ids));
        let mut groups: Vec<(String, Vec<u32>)> = labelled.collect();
        let selectors = |policy: &'_ Policy| -> BTreeSet<LabelExpression> {
            let mut expressions = BTreeSet::new();
            for rule in &policy.rules {
                selectors(rule).for_each(|selector| {
                    expressions.extend(selector.alternatives.iter().filter_map(
                        |alternative| match alternative {
                            Alternative::Labels(expression) => Some(expression.clone()),
                            _ => None,
                        },
                    ));
                });
            }
            expressions
        };
        let expressions = &selectors(before) | &selectors(after);
        if expressions.len().saturating_mul(workloads.len()) <= MOST_TRIED {
            for expression in expressions {
                let is_meant = |id: &u32| expression.matches(&after.workloads[*id as usize].labels);
                let ids = workloads.iter().copied().filter(is_meant).collect();
                groups.push((expression_text(&expression), ids));
            }
        }
        groups.retain(|(name, ids)| ids.len() > 1 && !name.is_empty());
        let mut of: HashMap<u32, Vec<usize>, ahash::RandomState> = HashMap::default();
        for (at, (_, ids)) in groups.iter().enumerate() {
            ids.iter().for_each(|id| of.entry(*id).or_default().push(at));
        }
        Self { groups, of }
    }

    /// Names that together mean exactly these workloads: the largest groups first, then each by its own name.
    fn cover(&self, ids: &[u32], name: impl Fn(u32) -> String) -> Vec<String> {
        let wanted: BTreeSet<u32> = ids.iter().copied().collect();
        let mut fits: HashMap<usize, bool, ahash::RandomState> = HashMap::default();
        let mut covered: BTreeSet<u32> = BTreeSet::new();
        let mut names = Vec::new();
        for id in ids {
            if covered.contains(id) {
                continue;
            }
            let groups = self.of.get(id).into_iter().flatten().copied();
            let fitting = groups.filter(|group| {
                *fits.entry(*group).or_insert_with(|| {
                    let members = &self.groups[*group].1;
                    members.len() <= wanted.len() && members.iter().all(|member| wanted.contains(member))
                })
            });
            // Of equal ones the first: plain labels come before expressions.
            let best = fitting.max_by_key(|group| (self.groups[*group].1.len(), std::cmp::Reverse(*group)));
            match best {
                Some(group) => {
                    covered.extend(&self.groups[group].1);
                    names.push(self.groups[group].0.clone());
                }
                None => names.push(name(*id)),
            }
        }
        names
    }
}

fn selectors(rule: &Rule) -> impl Iterator<Item = &Selector> {
    let holes = rule.except.iter().flat_map(|hole| [&hole.from, &hole.to]);
    [&rule.from, &rule.to].into_iter().chain(holes)
}

/// As policies write it.
fn expression_text(expression: &LabelExpression) -> String {
    let text = |Requirement { key, operator }: &Requirement| {
        let list = |values: &[std::sync::Arc<str>]| values.join(",");
        match operator {
            Operator::In(values) => match &**values {
                [value] => format!("{key}={value}"),
                values => format!("{key} in ({})", list(values)),
            },
            Operator::NotIn(values) => match &**values {
                [value] => format!("{key}!={value}"),
                values => format!("{key} notin ({})", list(values)),
            },
            Operator::Exists => key.to_string(),
            Operator::DoesNotExist => format!("!{key}"),
        }
    };
    expression.requirements.iter().map(text).collect::<Vec<_>>().join(",")
}

/// The addresses that are nobody's.
#[derive(Debug)]
struct World {
    ranges: Vec<(IpAddr, IpAddr)>,
    /// Names, and the ranges that they mean, in order.
    networks: Vec<(String, Vec<u32>)>,
}

impl World {
    fn of(policy: &Policy, mut ranges: Vec<(IpAddr, IpAddr)>) -> Self {
        ranges.sort_unstable();
        let meant = |is_meant: &dyn Fn(IpAddr) -> bool| -> Vec<u32> {
            (0..).zip(&ranges).filter(|(_, (first, _))| is_meant(*first)).map(|(at, _)| at).collect()
        };
        let mut networks = vec![
            ("world over IPv4".to_owned(), meant(&|address| address.is_ipv4())),
            ("world over IPv6".to_owned(), meant(&|address| address.is_ipv6())),
        ];
        if policy.networks.len().saturating_mul(ranges.len()) <= MOST_TRIED {
            networks.extend(policy.networks.iter().map(|network| {
                (format!("cidr:{}", network.name), meant(&|address| network.contains(address)))
            }));
        }
        networks.retain(|(_, meant)| !meant.is_empty());
        // A network is constant on each range, so it means all of it or nothing.
        networks.sort_by_key(|(_, meant)| std::cmp::Reverse(meant.len()));
        Self { ranges, networks }
    }

    fn describe(&self, members: &[&Member]) -> Vec<String> {
        let held: BTreeSet<u32> = members
            .iter()
            .filter_map(|member| self.ranges.binary_search(&member.addresses?).ok())
            .map(|at| at as u32)
            .collect();
        if held.len() == self.ranges.len() {
            return vec!["world".to_owned()];
        }
        let (mut names, left) = self.cover(&held);
        let left = joined(left.iter().map(|at| self.ranges[*at as usize]));
        let all: BTreeSet<u32> = (0..self.ranges.len() as u32).collect();
        let (others, unnamed) = self.cover(&(&all - &held));
        if unnamed.is_empty() && !others.is_empty() && others.len() < names.len() + left.len() {
            return vec![format!("world but {}", others.join(", "))];
        }
        names.extend(left.into_iter().flat_map(written));
        names
    }

    /// Networks that mean nothing else, and what they leave.
    fn cover(&self, held: &BTreeSet<u32>) -> (Vec<String>, BTreeSet<u32>) {
        let mut left = held.clone();
        let mut names = Vec::new();
        for (name, meant) in &self.networks {
            let fits = meant.len() <= held.len() && meant.iter().all(|at| held.contains(at));
            if fits && meant.iter().any(|at| left.contains(at)) {
                left.retain(|at| meant.binary_search(at).is_err());
                names.push(name.clone());
            }
        }
        (names, left)
    }
}

/// Ranges in order, those that touch as one.
fn joined(ranges: impl Iterator<Item = (IpAddr, IpAddr)>) -> Vec<(IpAddr, IpAddr)> {
    let mut ranges: Vec<(IpAddr, IpAddr)> = ranges.collect();
    ranges.sort_unstable();
    ranges.dedup_by(|next, kept| {
        let touches = match (kept.1, next.0) {
            (IpAddr::V4(last), IpAddr::V4(first)) => last.to_bits().checked_add(1) == Some(first.to_bits()),
            (IpAddr::V6(last), IpAddr::V6(first)) => last.to_bits().checked_add(1) == Some(first.to_bits()),
            _ => false,
        };
        if touches {
            kept.1 = next.1;
        }
        touches
    });
    ranges
}

/// A range as one address, as prefixes where few are it, else by its ends.
fn written((first, last): (IpAddr, IpAddr)) -> Vec<String> {
    let (first, last, bits) = match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => (first.to_bits().into(), last.to_bits().into(), 32),
        (IpAddr::V6(first), IpAddr::V6(last)) => (first.to_bits(), last.to_bits(), 128),
        _ => return vec![format!("{first}-{last}")],
    };
    let address = |point: u128| -> IpAddr {
        if bits == 32 { Ipv4Addr::from_bits(point as u32).into() } else { Ipv6Addr::from_bits(point).into() }
    };
    let mut prefixes = Vec::new();
    let mut next = Some(first);
    while let Some(at) = next.filter(|at| *at <= last) {
        // The largest aligned block that begins here and does not reach beyond the end.
        let aligned = at.trailing_zeros().min(bits);
        let size = (0..=aligned).rev().find(|size| {
            1_u128.checked_shl(*size).map_or(at == 0 && last == u128::MAX, |size| last - at >= size - 1)
        });
        let size = size.unwrap_or(0);
        prefixes.push(Prefix::containing(address(at), (bits - size) as u8));
        if prefixes.len() > 3 {
            return vec![format!("{}-{}", address(first), address(last))];
        }
        next = 1_u128.checked_shl(size).and_then(|size| at.checked_add(size));
    }
    let host = |prefix: &Prefix| prefix.network() == prefix.last();
    let text = |prefix: Prefix| if host(&prefix) { prefix.network().to_string() } else { prefix.to_string() };
    prefixes.into_iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_written_as_people_write_them() {
        let text = |first: &str, last: &str| {
            written((first.parse().expect("an address"), last.parse().expect("an address"))).join(" ")
        };
        assert_eq!(text("10.0.0.1", "10.0.0.1"), "10.0.0.1");
        assert_eq!(text("10.0.0.0", "10.255.255.255"), "10.0.0.0/8");
        assert_eq!(text("10.0.0.0", "10.0.0.2"), "10.0.0.0/31 10.0.0.2");
        assert_eq!(text("0.0.0.0", "255.255.255.255"), "0.0.0.0/0");
        assert_eq!(text("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), "::/0");
        assert_eq!(text("10.0.0.1", "10.0.0.254"), "10.0.0.1-10.0.0.254");
        assert_eq!(text("fd00::", "fd00::ffff"), "fd00::/112");
    }
}
