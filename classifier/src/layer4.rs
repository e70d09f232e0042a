//! Protocol and ports to a *layer-4 class*: packets of one class are told apart by no service of the policy.
//!
//! Protocols with the same services form a group (all that no rule names form one). In a group, the edges of
//! the services cut the source ports and the destination ports into intervals; a class is one pair of
//! intervals, numbered source first, so that a service is a run of classes for each source interval it spans.
//! Policies rarely look at source ports, and then it is a single run.
//!
//! At run time a class is the sum of two table values. Each table is 256 pages of 256 ports, equal pages
//! stored once: a policy with a handful of ports stays in the first-level cache. Cost: six loads in two
//! independent chains; no branch.

mod sides;

use std::collections::BTreeSet;

use hashbrown::HashMap;
use septum_rules::port_range::{PortRange, edges};
use septum_rules::proto::{Layer4, Protocol, Service};

use crate::intern::Interner;
use crate::limits::{BuildError, Limits};

pub(crate) use self::sides::Side;

const PAGE: usize = 256;

/// The run-time table.
#[derive(Clone, Debug)]
pub(crate) struct Layer4Classes {
    /// Protocol to where its group's pages begin in `pages`.
    groups: Box<[u32; 256]>,
    /// For each group: 256 pages of source ports, 256 of destination ports; each the start of a page in `values`.
    pages: Box<[u32]>,
    values: Box<[u32]>,
    count: u32,
}

impl Layer4Classes {
    /// The class of a packet; below [`Layer4Classes::count`].
    #[inline(always)]
    pub(crate) fn class(&self, layer4: Layer4) -> u32 {
        let [source_page, source_port] = layer4.source.to_be_bytes();
        let [destination_page, destination_port] = layer4.destination.to_be_bytes();
        let group = self.groups[usize::from(layer4.protocol.0)] as usize;
        let source = self.pages[group + usize::from(source_page)] as usize;
        let destination = self.pages[group + PAGE + usize::from(destination_page)] as usize;
        self.values[source + usize::from(source_port)]
            + self.values[destination + usize::from(destination_port)]
    }

    /// The group of a protocol: those of one group have the same classes.
    pub(crate) fn group(&self, protocol: Protocol) -> u32 {
        self.groups[usize::from(protocol.0)]
    }

    /// The source and destination ports at which the class of a packet of this protocol may change, zero included.
    pub(crate) fn edges(&self, protocol: Protocol) -> [BTreeSet<u16>; 2] {
        let class = |source, destination| self.class(Layer4 { protocol, source, destination });
        let changes = |class: &dyn Fn(u16) -> u32| {
            let mut edges = BTreeSet::from([0]);
            edges.extend((1..=u16::MAX).filter(|port| class(*port) != class(port - 1)));
            edges
        };
        // A class is a sum: where one side changes does not hang on the other.
        [changes(&|port| class(port, 0)), changes(&|port| class(0, port))]
    }

    /// How many classes there are.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Bytes on the heap.
    pub(crate) fn memory(&self) -> usize {
        size_of_val(&*self.groups) + size_of_val(&*self.pages) + size_of_val(&*self.values)
    }
}

/// The classes while compiling: also which of them a list of services holds, and a packet of each.
#[derive(Debug)]
pub(crate) struct Layer4Build {
    pub(crate) classes: Layer4Classes,
    /// By service list: the classes it holds, as disjoint half-open runs in order.
    pub(crate) runs: Vec<Vec<(u32, u32)>>,
    /// By class: one packet of it, the lowest.
    pub(crate) representatives: Vec<Layer4>,
}

/// A group of protocols: its intervals by their first port, and its first class.
struct Group {
    sources: Vec<u16>,
    destinations: Vec<u16>,
    first_class: u32,
}

impl Group {
    /// The intervals that a range of ports covers; its ends are edges.
    fn cover(firsts: &[u16], range: PortRange) -> (u32, u32) {
        let from = firsts.partition_point(|first| *first < range.first());
        let to = firsts.partition_point(|first| *first <= range.last());
        (from as u32, to as u32)
    }
}

/// Compiles the classes of all service lists.
///
/// # Errors
/// [`BuildError::Layer4Classes`] when the cross product of port intervals is too large.
pub(crate) fn compile(lists: &Interner<Service>, limits: &Limits) -> Result<Layer4Build, BuildError> {
    let mut services: Vec<Service> =
        (0..lists.len() as u32).flat_map(|list| lists.get(list).iter().copied()).collect();
    services.sort_unstable();
    services.dedup();

    // Which distinct services speak of each protocol; `None` speaks of every one.
    let mut groups: Vec<Group> = Vec::new();
    let mut group_of = [0_u32; 256];
    let mut unnamed = None;
    let mut representatives = Vec::new();
    for (number, group) in group_of.iter_mut().enumerate() {
        let protocol = Protocol(number as u8);
        let named = services.iter().any(|service| service.protocol == Some(protocol));
        if let (false, Some(known)) = (named, unnamed) {
            *group = known;
            continue;
        }
        let relevant = || services.iter().filter(|service| service.protocol.is_none_or(|it| it == protocol));
        let sources = edges(relevant().map(|service| service.source));
        let destinations = edges(relevant().map(|service| service.destination));
        let first_class = representatives.len();
        let classes = first_class as u64 + sources.len() as u64 * destinations.len() as u64;
        if classes > limits.layer4_classes as u64 {
            return Err(BuildError::Layer4Classes { classes, limit: limits.layer4_classes });
        }
        for source in &sources {
            representatives.extend(
                destinations.iter().map(|destination| Layer4::ports(protocol, *source, *destination)),
            );
        }
        *group = groups.len() as u32;
        if !named {
            unnamed = Some(*group);
        }
        groups.push(Group { sources, destinations, first_class: first_class as u32 });
    }

    let classes = tables(&groups, &group_of, representatives.len() as u32);
    let runs = (0..lists.len() as u32).map(|list| runs(lists.get(list), &groups, &group_of)).collect();
    Ok(Layer4Build { classes, runs, representatives })
}

fn tables(groups: &[Group], group_of: &[u32; 256], count: u32) -> Layer4Classes {
    let mut pages = Vec::with_capacity(groups.len() * 2 * PAGE);
    let mut values: Vec<u32> = Vec::new();
    let mut known: HashMap<[u32; PAGE], u32, ahash::RandomState> = HashMap::default();
    let mut add_side = |firsts: &[u16], base: u32, stride: u32| {
        let mut interval = 0;
        // Most pages lie in one interval, the same as the page before.
        let mut plain: Option<(usize, u32)> = None;
        for first_port in (0..=u16::MAX).step_by(PAGE) {
            let last_port = first_port + (PAGE - 1) as u16;
            let is_plain = firsts.get(interval + 1).is_none_or(|next| *next > last_port);
            if let Some((of, start)) = plain
                && is_plain
                && of == interval
            {
                pages.push(start);
                continue;
            }
            let page: [u32; PAGE] = std::array::from_fn(|at| {
                let port = first_port + at as u16;
                while firsts.get(interval + 1).is_some_and(|next| *next <= port) {
                    interval += 1;
                }
                base + interval as u32 * stride
            });
            let start = *known.entry(page).or_insert_with(|| {
                values.extend_from_slice(&page);
                (values.len() - PAGE) as u32
            });
            if is_plain {
                plain = Some((interval, start));
            }
            pages.push(start);
        }
    };
    for group in groups {
        add_side(&group.sources, 0, group.destinations.len() as u32);
        add_side(&group.destinations, group.first_class, 1);
    }
    Layer4Classes {
        groups: Box::new(group_of.map(|group| group * 2 * PAGE as u32)),
        pages: pages.into_boxed_slice(),
        values: values.into_boxed_slice(),
        count,
    }
}

/// The classes of a list of services, as disjoint runs in order.
fn runs(services: &[Service], groups: &[Group], group_of: &[u32; 256]) -> Vec<(u32, u32)> {
    let mut runs = Vec::new();
    for service in services {
        let mut add = |group: &Group| {
            let (source_from, source_to) = Group::cover(&group.sources, service.source);
            let (from, to) = Group::cover(&group.destinations, service.destination);
            for source in source_from..source_to {
                let row = group.first_class + source * group.destinations.len() as u32;
                runs.push((row + from, row + to));
            }
        };
        match service.protocol {
            Some(protocol) => add(&groups[group_of[usize::from(protocol.0)] as usize]),
            None => groups.iter().for_each(add),
        }
    }
    union(runs)
}

/// Joins runs that overlap or touch.
pub(crate) fn union(mut runs: Vec<(u32, u32)>) -> Vec<(u32, u32)> {
    runs.sort_unstable();
    runs.dedup_by(|next, kept| {
        let joins = next.0 <= kept.1;
        if joins {
            kept.1 = kept.1.max(next.1);
        }
        joins
    });
    runs
}

/// `runs` without `holes`, both disjoint and in order.
pub(crate) fn subtract(runs: &[(u32, u32)], holes: &[(u32, u32)]) -> Vec<(u32, u32)> {
    let mut left = Vec::new();
    for (from, to) in runs {
        let mut from = *from;
        let first = holes.partition_point(|(_, hole_to)| *hole_to <= from);
        for (hole_from, hole_to) in holes[first..].iter().take_while(|(hole_from, _)| hole_from < to) {
            if *hole_from > from {
                left.push((from, *hole_from));
            }
            from = *hole_to;
        }
        if from < *to {
            left.push((from, *to));
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn service() -> impl Strategy<Value = Service> {
        let protocol = prop_oneof![Just(None), Just(Some(Protocol::TCP)), Just(Some(Protocol::UDP))];
        let range = || {
            prop_oneof![
                3 => Just(PortRange::ALL),
                2 => any::<u16>().prop_map(PortRange::single),
                2 => (any::<u16>(), any::<u16>()).prop_map(|(a, b)| PortRange::new(a.min(b), a.max(b)).unwrap()),
            ]
        };
        (protocol, range(), range()).prop_map(|(protocol, source, destination)| Service {
            protocol,
            source,
            destination,
        })
    }

    proptest! {
        #[test]
        fn a_list_holds_a_packet_exactly_if_one_of_its_runs_holds_its_class(
            lists in proptest::collection::vec(proptest::collection::vec(service(), 0..4), 1..6),
            packets in proptest::collection::vec((prop_oneof![Just(6_u8), Just(17), any::<u8>()], any::<u16>(), any::<u16>()), 40),
        ) {
            let mut interner = Interner::new("services", 1000);
            let ids: Vec<u32> = lists.iter().map(|list| interner.intern(list).unwrap()).collect();
            let build = compile(&interner, &Limits::default()).unwrap();
            let edges = lists.iter().flatten().flat_map(|service| {
                let ends = |range: PortRange| [range.first(), range.last(), range.last().wrapping_add(1)];
                ends(service.source).into_iter().flat_map(move |source| {
                    ends(service.destination).map(|destination| (6_u8, source, destination))
                })
            });
            for (protocol, source, destination) in packets.iter().copied().chain(edges) {
                let packet = Layer4::ports(Protocol(protocol), source, destination);
                let class = build.classes.class(packet);
                for (list, id) in lists.iter().zip(&ids) {
                    let expected = list.iter().any(|service| service.matches(packet));
                    let held = build.runs[*id as usize].iter().any(|(from, to)| (*from..*to).contains(&class));
                    prop_assert_eq!(held, expected, "{} in class {}", packet, class);
                }
            }
            for (class, representative) in build.representatives.iter().enumerate() {
                prop_assert_eq!(build.classes.class(*representative), class as u32);
            }
        }
    }

    #[test]
    fn holes_cut_runs() {
        assert_eq!(subtract(&[(0, 10), (20, 30)], &[(0, 2), (4, 5), (8, 25)]), [(2, 4), (5, 8), (25, 30)]);
        assert_eq!(subtract(&[(0, 10)], &[(0, 10)]), []);
        assert_eq!(union(vec![(5, 7), (0, 2), (2, 5), (9, 10)]), [(0, 7), (9, 10)]);
    }

    #[test]
    fn a_cross_product_of_ports_is_refused_by_its_limit() {
        let ports = |at: u16| PortRange::single(at * 3);
        let services: Vec<Service> = (1..2000)
            .map(|at| Service { protocol: Some(Protocol::TCP), source: ports(at), destination: ports(at) })
            .collect();
        let mut lists = Interner::new("services", 10_000);
        lists.intern(&services).unwrap();
        let error = compile(&lists, &Limits::default()).unwrap_err();
        assert!(matches!(error, BuildError::Layer4Classes { classes: 15_000_000.., .. }), "{error}");
    }
}
