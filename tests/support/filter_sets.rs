//! Filter sets to test and measure with, packets for them, and the linear search that defines what they mean.

use std::path::PathBuf;

use septum_classifier::filter::{Filter, FiveTuple};
use septum_rules::address::Prefix;
use septum_rules::import::classbench;
use septum_rules::load::Input;
use septum_rules::port_range::PortRange;
use septum_rules::proto::Protocol;

/// splitmix64 (Steele, Lea and Flood, 2014): the same packets wherever a test runs.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `count`.
    pub(crate) fn below(&mut self, count: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(count)) >> 64) as u64
    }

    /// A number in the range, both ends included: every second time one of the ends.
    pub(crate) fn within(&mut self, first: u64, last: u64) -> u64 {
        match self.below(4) {
            0 => first,
            1 => last,
            _ => first + self.below(last - first + 1),
        }
    }
}

/// A filter of IPv4, from texts.
pub(crate) fn filter_ipv4(
    source: &str,
    destination: &str,
    ports: [(u16, u16); 2],
    protocol: Option<u8>,
) -> Filter {
    let range = |(first, last)| PortRange::new(first, last).unwrap();
    Filter {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        source_ports: range(ports[0]),
        destination_ports: range(ports[1]),
        protocol: protocol.map(Protocol),
    }
}

/// The ClassBench sets of up to 10,000 filters, with their names; `None` when they are not at hand.
pub(crate) fn fixtures() -> Option<Vec<(String, Vec<Filter>)>> {
    let root = std::env::var_os("SEPTUM_FIXTURES").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/fixtures"),
        PathBuf::from,
    );
    let mut sets = Vec::new();
    for entry in std::fs::read_dir(root.join("classbench/1k-10k")).ok()? {
        let path = entry.ok()?.path();
        let name = path.file_name()?.to_string_lossy().into_owned();
        if name.ends_with("k") {
            let read = classbench::filters(Input::new(name.clone(), std::fs::read(&path).ok()?));
            sets.push((name, read.unwrap().iter().map(Filter::from).collect()));
        }
    }
    sets.sort_by(|left: &(String, _), right| left.0.cmp(&right.0));
    Some(sets)
}

fn bits(prefix: Prefix) -> (u64, u64) {
    let bits = |address| match address {
        std::net::IpAddr::V4(address) => u64::from(address.to_bits()),
        std::net::IpAddr::V6(_) => panic!("an IPv4 filter"),
    };
    (bits(prefix.network()), bits(prefix.last()))
}

/// A packet of a random filter, or with `stray` one whose fields are of several filters or of none.
pub(crate) fn packet(filters: &[Filter], random: &mut Random, stray: bool) -> FiveTuple<u32> {
    let first = random.below(filters.len() as u64) as usize;
    let mut pick = |at: usize| match stray {
        false => filters[at],
        true => filters[random.below(filters.len() as u64) as usize],
    };
    let (source, destination, ports, protocol) = (pick(first), pick(first), pick(first), pick(first));
    let mut address = |prefix: Prefix| {
        let (first, last) = bits(prefix);
        if stray && random.below(3) == 0 { random.next() as u32 } else { random.within(first, last) as u32 }
    };
    let (source, destination) = (address(source.source), address(destination.destination));
    let mut port = |range: PortRange| random.within(range.first().into(), range.last().into()) as u16;
    FiveTuple {
        source,
        destination,
        source_port: port(ports.source_ports),
        destination_port: port(ports.destination_ports),
        protocol: protocol.protocol.map_or_else(|| [6, 17, 1, 0][random.below(4) as usize], |it| it.0),
        reserved: [0; 3],
    }
}

/// The definition: the first filter of all whose five fields match.
pub(crate) fn linear(filters: &[Filter], packet: &FiveTuple<u32>) -> Option<usize> {
    filters.iter().position(|filter| {
        let (source, destination) = (bits(filter.source), bits(filter.destination));
        (source.0..=source.1).contains(&packet.source.into())
            && (destination.0..=destination.1).contains(&packet.destination.into())
            && filter.source_ports.contains(packet.source_port)
            && filter.destination_ports.contains(packet.destination_port)
            && filter.protocol.is_none_or(|protocol| protocol.0 == packet.protocol)
    })
}
