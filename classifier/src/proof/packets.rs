//! What packets can be at layer 4, in *cells*: packets of a cell are told apart neither by the policy's services nor by
//! the object's tables.
//!
//! Protocols of which services and object say the same are a block. In a block, source and destination ports are cut
//! where a service begins or ends and where the object's table changes; a cell is one interval of each. Cells are
//! numbered block by block, source first, so a service is a run of cells for each interval of source ports.
//!
//! Covered are all values that the fields can hold, also those that no packet of a protocol carries.
//!
//! Cost: 131,072 ports for each group of protocols of the object, and the cells.

use hashbrown::HashMap;
use septum_rules::port_range::PortRange;
use septum_rules::proto::{Layer4, Protocol, Service};

use super::source::Source;
use super::work::{Exhausted, Work};
use crate::Classifier;
use crate::layer4::Side;

/// Protocols that are treated alike.
struct Block {
    /// The lowest.
    protocol: Protocol,
    /// Services name it.
    is_named: bool,
    /// First ports of the intervals.
    sources: Vec<u16>,
    destinations: Vec<u16>,
    first_cell: u32,
}

/// Cells one behind the other whose classes in the object, too, are one behind the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) first_cell: u32,
    pub(super) cells: u32,
    /// The class of the first; `None` where a lookup leaves its table.
    pub(super) first_class: Option<u32>,
}

/// All packets.
pub(super) struct Packets {
    blocks: Vec<Block>,
    pub(super) cells: u32,
    pub(super) runs: Vec<Run>,
    /// By service list: its cells, as disjoint half-open runs in order.
    pub(super) held: Vec<Vec<(u32, u32)>>,
    /// Intervals of ports, of all blocks.
    pub(super) intervals: usize,
}

/// A port's contribution to the class, by interval.
type Values = Vec<(u16, Option<u32>)>;

impl Packets {
    /// # Errors
    /// When that is more work than allowed.
    pub(super) fn sort(
        classifier: &Classifier,
        source: &Source<'_>,
        work: &mut Work,
    ) -> Result<Self, Exhausted> {
        let mut services: Vec<Service> =
            source.service_lists.iter().flat_map(|list| list.iter().copied()).collect();
        services.sort_unstable();
        services.dedup();
        work.spend(services.len() * 16)?;
        let mut packets =
            Self { blocks: Vec::new(), cells: 0, runs: Vec::new(), held: Vec::new(), intervals: 0 };
        let mut tables: HashMap<u32, [Values; 2], ahash::RandomState> = HashMap::default();
        let mut unnamed: Vec<u32> = Vec::new();
        for protocol in source.scope.protocols.clone().map(Protocol) {
            let group = classifier.layer4.group(protocol);
            let is_named = services.iter().any(|service| service.protocol == Some(protocol));
            if !is_named {
                if unnamed.contains(&group) {
                    continue;
                }
                unnamed.push(group);
            }
            if !tables.contains_key(&group) {
                work.spend(2 << 14)?;
                let sides = [Side::Source, Side::Destination];
                tables.insert(group, sides.map(|side| classifier.layer4.side(protocol, side)));
            }
            let relevant = || services.iter().filter(|it| it.protocol.is_none_or(|named| named == protocol));
            let [of_sources, of_destinations] = &tables[&group];
            let sources = cuts(of_sources, relevant().map(|service| service.source));
            let destinations = cuts(of_destinations, relevant().map(|service| service.destination));
            let [sources, destinations] = [sources, destinations].map(|mut firsts| {
                firsts.retain(|first| *first <= source.scope.last_port);
                firsts
            });
            work.spend(sources.len() * destinations.len() * 2)?;
            packets.intervals += sources.len() + destinations.len();
            let first_cell = packets.cells;
            let cells = u32::try_from(sources.len() * destinations.len()).map_err(|_| Exhausted)?;
            packets.cells = first_cell.checked_add(cells).ok_or(Exhausted)?;
            let classes = [by_interval(of_sources, &sources), by_interval(of_destinations, &destinations)];
            packets.add_runs(first_cell, &classes);
            packets.blocks.push(Block { protocol, is_named, sources, destinations, first_cell });
        }
        for list in &source.service_lists {
            let held = packets.holding(list);
            work.spend(held.len() * 4)?;
            packets.held.push(held);
        }
        Ok(packets)
    }

    /// The classes of a block's cells.
    fn add_runs(&mut self, first_cell: u32, [sources, destinations]: &[Vec<Option<u32>>; 2]) {
        let mut cell = first_cell;
        for source in sources {
            for destination in destinations {
                let class = source.zip(*destination).and_then(|(one, other)| one.checked_add(other));
                match self.runs.last_mut() {
                    Some(run) if continues(run, class) => run.cells += 1,
                    _ => self.runs.push(Run { first_cell: cell, cells: 1, first_class: class }),
                }
                cell += 1;
            }
        }
    }

    /// The cells of a list of services.
    fn holding(&self, services: &[Service]) -> Vec<(u32, u32)> {
        let mut held = Vec::new();
        for service in services {
            let spoken_of = self.blocks.iter().filter(|block| match service.protocol {
                None => true,
                Some(protocol) => block.is_named && block.protocol == protocol,
            });
            for block in spoken_of {
                let (source_from, source_to) = inside(&block.sources, service.source);
                let (from, to) = inside(&block.destinations, service.destination);
                for source in source_from..source_to {
                    let row = block.first_cell + source * block.destinations.len() as u32;
                    held.push((row + from, row + to));
                }
            }
        }
        joined(held)
    }

    /// The lowest packet of a cell.
    pub(super) fn example(&self, cell: u32) -> Layer4 {
        let behind = self.blocks.partition_point(|block| block.first_cell <= cell);
        let block = &self.blocks[behind - 1];
        let place = (cell - block.first_cell) as usize;
        let (source, destination) = (place / block.destinations.len(), place % block.destinations.len());
        Layer4 {
            protocol: block.protocol,
            source: block.sources[source],
            destination: block.destinations[destination],
        }
    }
}

fn continues(run: &Run, class: Option<u32>) -> bool {
    match (run.first_class, class) {
        (None, None) => true,
        (Some(first), Some(class)) => first.checked_add(run.cells) == Some(class),
        _ => false,
    }
}

/// Where intervals begin.
fn cuts(values: &Values, ranges: impl Iterator<Item = PortRange>) -> Vec<u16> {
    let mut firsts: Vec<u16> = values.iter().map(|(first, _)| *first).collect();
    for range in ranges {
        firsts.push(range.first());
        firsts.extend(range.last().checked_add(1));
    }
    firsts.sort_unstable();
    firsts.dedup();
    firsts
}

/// The value of each interval.
fn by_interval(values: &Values, firsts: &[u16]) -> Vec<Option<u32>> {
    let value = |first: &u16| values[values.partition_point(|(begin, _)| begin <= first) - 1].1;
    firsts.iter().map(value).collect()
}

/// The intervals of a range, whose ends are cuts.
fn inside(firsts: &[u16], range: PortRange) -> (u32, u32) {
    let from = firsts.partition_point(|first| *first < range.first());
    let to = firsts.partition_point(|first| *first <= range.last());
    (from as u32, to as u32)
}

/// Runs in order, those that meet joined.
fn joined(mut runs: Vec<(u32, u32)>) -> Vec<(u32, u32)> {
    runs.sort_unstable();
    let mut joined: Vec<(u32, u32)> = Vec::with_capacity(runs.len());
    for (from, to) in runs {
        match joined.last_mut() {
            Some((_, end)) if from <= *end => *end = to.max(*end),
            _ => joined.push((from, to)),
        }
    }
    joined
}
