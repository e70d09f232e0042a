//! Packets as two port tables tell them apart, and sets of them in the words of policies.

use std::collections::BTreeSet;
use std::fmt;

use septum_rules::port_range::PortRange;
use septum_rules::proto::{Layer4, Protocol, Service};

use super::Comparison;

/// All kinds of packet at layer 4.
#[derive(Clone, Debug)]
pub(super) struct Packets {
    groups: Vec<Group>,
    /// By cell: its class in the old object, and in the new one.
    pub(super) cells: Vec<(u32, u32)>,
}

/// Protocols that both objects treat alike, and whose packets have the same fields.
#[derive(Clone, Debug)]
struct Group {
    key: (u32, u32, Fields),
    protocols: Vec<Protocol>,
    /// Where the intervals of source ports begin; cells go source first.
    sources: Vec<u16>,
    destinations: Vec<u16>,
    first_cell: usize,
}

/// Which of the two fields of [`Layer4`] a protocol has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fields {
    Ports,
    IcmpType,
    None,
}

impl Packets {
    pub(super) fn of(comparison: &Comparison<'_>) -> Self {
        let (old, new) = (&comparison.before.classifier.layer4, &comparison.after.classifier.layer4);
        let mut packets = Self { groups: Vec::new(), cells: Vec::new() };
        for protocol in (0..=u8::MAX).map(Protocol) {
            let fields = match protocol {
                _ if protocol.has_ports() => Fields::Ports,
                // Each family has its own.
                _ if protocol.has_icmp_type() => Fields::IcmpType,
                _ => Fields::None,
            };
            let key = (old.group(protocol), new.group(protocol), fields);
            let known = packets.groups.iter_mut().find(|group| group.key == key);
            if let Some(group) = known.filter(|_| fields != Fields::IcmpType) {
                group.protocols.push(protocol);
                continue;
            }
            let edges = |side: usize| {
                let mut edges: BTreeSet<u16> = old.edges(protocol)[side].clone();
                edges.extend(&new.edges(protocol)[side]);
                edges.into_iter().collect()
            };
            let sources = if fields == Fields::Ports { edges(0) } else { vec![0] };
            let destinations = if fields == Fields::None { vec![0] } else { edges(1) };
            let first_cell = packets.cells.len();
            for source in &sources {
                for destination in &destinations {
                    let layer4 = Layer4 { protocol, source: *source, destination: *destination };
                    packets.cells.push((old.class(layer4), new.class(layer4)));
                }
            }
            packets.groups.push(Group { key, protocols: vec![protocol], sources, destinations, first_cell });
        }
        packets
    }

    /// The set of the packets of some cells, which are in order.
    pub(super) fn services(&self, cells: &[u32]) -> ServiceSet {
        let mut holds = vec![false; self.cells.len()];
        cells.iter().for_each(|cell| holds[*cell as usize] = true);
        let boxes = |wanted: bool| -> Vec<Service> {
            let mut services: Vec<Service> =
                self.groups.iter().flat_map(|group| group.services(&holds, wanted)).collect();
            services.sort_unstable();
            services
        };
        let samples = self.groups.iter().filter_map(|group| group.sample(&holds)).collect();
        // The protocols that no rule names are too many to list: then what is not in the set is listed.
        let rest = self.groups.iter().filter(|group| group.protocols.len() > 16);
        let has_rest = rest.clone().count() > 0 && rest.clone().all(|group| holds[group.first_cell]);
        if has_rest {
            ServiceSet { services: vec![Service::ANY], except: boxes(false), samples }
        } else {
            ServiceSet { services: boxes(true), except: Vec::new(), samples }
        }
    }
}

impl Group {
    /// The cells of this group that are held, or not, as few boxes.
    fn services(&self, holds: &[bool], wanted: bool) -> Vec<Service> {
        let width = self.destinations.len();
        // Source intervals that touch and hold the same are one.
        let mut rows: Vec<((u16, u16), Vec<PortRange>)> = Vec::new();
        for (at, source) in self.sources.iter().enumerate() {
            let first = self.first_cell + at * width;
            let runs = runs(&self.destinations, &holds[first..first + width], wanted);
            let last = self.sources.get(at + 1).map_or(u16::MAX, |next| next - 1);
            match rows.last_mut() {
                Some((range, known)) if *known == runs => range.1 = last,
                _ => rows.push(((*source, last), runs)),
            }
        }
        let boxes = rows.iter().flat_map(|((first, last), runs)| {
            let source = PortRange::new(*first, *last).unwrap_or(PortRange::ALL);
            runs.iter().map(move |destination| (source, *destination))
        });
        let boxes: Vec<(PortRange, PortRange)> = boxes.collect();
        let of = |protocol: &Protocol| {
            let protocol = Some(*protocol);
            boxes
                .iter()
                .map(|(source, destination)| Service { protocol, source: *source, destination: *destination })
                .collect::<Vec<_>>()
        };
        self.protocols.iter().flat_map(of).collect()
    }

    /// One packet that is held, as people expect to see them.
    fn sample(&self, holds: &[bool]) -> Option<Layer4> {
        // A port that clients send from (RFC 6335); the last interval that begins at or before it.
        const EPHEMERAL: u16 = 49_152;
        let width = self.destinations.len();
        let usual = self.sources.partition_point(|first| *first <= EPHEMERAL) - 1;
        let order = std::iter::once(usual).chain(0..self.sources.len());
        let mut held = order.flat_map(|source| (0..width).map(move |destination| (source, destination)));
        let (source, destination) =
            held.find(|(source, destination)| holds[self.first_cell + source * width + destination])?;
        // For experiments (RFC 3692), where no rule names it.
        let protocol =
            self.protocols.iter().find(|protocol| **protocol == Protocol(253)).unwrap_or(&self.protocols[0]);
        let first = self.destinations[destination];
        let last = self.destinations.get(destination + 1).map_or(u16::MAX, |next| next - 1);
        let has_ports = protocol.has_ports();
        Some(Layer4 {
            protocol: *protocol,
            source: if has_ports && source == usual { EPHEMERAL } else { self.sources[source] },
            // Port zero is none.
            destination: if has_ports { first.max(1).min(last) } else { first },
        })
    }
}

/// The intervals that are held, or not, joined where they touch.
fn runs(firsts: &[u16], holds: &[bool], wanted: bool) -> Vec<PortRange> {
    let mut runs: Vec<(u16, u16)> = Vec::new();
    for (at, first) in firsts.iter().enumerate().filter(|(at, _)| holds[*at] == wanted) {
        let last = firsts.get(at + 1).map_or(u16::MAX, |next| next - 1);
        match runs.last_mut() {
            Some((_, end)) if end.checked_add(1) == Some(*first) => *end = last,
            _ => runs.push((*first, last)),
        }
    }
    runs.into_iter().filter_map(|(first, last)| PortRange::new(first, last).ok()).collect()
}

/// A set of packets at layer 4: those of some services, but for those of others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceSet {
    /// A packet of one of these is in it,
    pub services: Vec<Service>,
    /// unless it is one of these.
    pub except: Vec<Service>,
    /// A packet of it for each group of protocols.
    pub(super) samples: Vec<Layer4>,
}

impl ServiceSet {
    /// Whether the packet is in it.
    pub fn contains(&self, layer4: Layer4) -> bool {
        let holds = |services: &[Service]| services.iter().any(|service| service.matches(layer4));
        holds(&self.services) && !holds(&self.except)
    }
}

/// Prints `tcp/80-90, udp` or `any but tcp/80`.
impl fmt::Display for ServiceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined =
            |services: &[Service]| services.iter().map(Service::to_string).collect::<Vec<_>>().join(", ");
        f.write_str(&joined(&self.services))?;
        if self.except.is_empty() { Ok(()) } else { write!(f, " but {}", joined(&self.except)) }
    }
}
