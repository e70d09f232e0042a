//! Traces made from a set, the same for the same seed: packets of uniformly chosen filters, a Zipf choice among 65,536
//! of them, and packets that match nothing.

use std::net::IpAddr;

use septum_classifier::filter::{Filter, FiveTuple};
use septum_rules::address::Prefix;
use septum_rules::port_range::PortRange;

use crate::linear::Linear;

/// splitmix64 (Steele, Lea and Flood, 2014).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, count: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(count)) >> 64) as u64
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Every second time one of the ends.
    fn within(&mut self, first: u64, last: u64) -> u64 {
        match self.below(4) {
            0 => first,
            1 => last,
            _ => first + self.below(last - first + 1),
        }
    }

    fn port(&mut self, range: PortRange) -> u16 {
        self.within(range.first().into(), range.last().into()) as u16
    }

    fn address(&mut self, prefix: Prefix) -> u32 {
        let bits = |address| match address {
            IpAddr::V4(address) => u64::from(address.to_bits()),
            IpAddr::V6(_) => 0,
        };
        self.within(bits(prefix.network()), bits(prefix.last())) as u32
    }

    fn protocol(&mut self, filter: &Filter) -> u8 {
        filter.protocol.map_or_else(|| [6, 17, 1, 6][self.below(4) as usize], |protocol| protocol.0)
    }

    fn filter<'f>(&mut self, filters: &'f [Filter]) -> &'f Filter {
        &filters[self.below(filters.len() as u64) as usize]
    }
}

/// Packets and the filters that match them.
pub struct Trace {
    pub name: &'static str,
    pub packets: Vec<FiveTuple<u32>>,
    pub expected: Vec<Option<usize>>,
}

/// Packets inside uniformly chosen filters; an earlier filter may match them too.
pub fn uniform(filters: &[Filter], linear: &Linear, random: &mut Random, count: usize) -> Trace {
    let packets: Vec<FiveTuple<u32>> = (0..count)
        .map(|_| {
            let filter = random.filter(filters);
            FiveTuple {
                source: random.address(filter.source),
                destination: random.address(filter.destination),
                source_port: random.port(filter.source_ports),
                destination_port: random.port(filter.destination_ports),
                protocol: random.protocol(filter),
                reserved: [0; 3],
            }
        })
        .collect();
    let expected = linear.search_all(&packets);
    Trace { name: "uniform", packets, expected }
}

/// The first 65,536 flows of `uniform`, the n-th 1/n times as often as the first.
pub fn zipf(uniform: &Trace, random: &mut Random, count: usize) -> Trace {
    let flows = uniform.packets.len().min(1 << 16);
    let mut total = 0.0;
    let sums: Vec<f64> = (1..=flows)
        .map(|flow| {
            total += 1.0 / flow as f64;
            total
        })
        .collect();
    let (packets, expected) = (0..count)
        .map(|_| {
            let share = random.unit() * total;
            let flow = sums.partition_point(|sum| *sum < share).min(flows - 1);
            (uniform.packets[flow], uniform.expected[flow])
        })
        .unzip();
    Trace { name: "zipf", packets, expected }
}

/// Packets that no filter matches, or only a last one that matches all: half of them near misses, whose fields are of several
/// filters, half with addresses from anywhere. `None` when nearly every packet matches.
pub fn miss(filters: &[Filter], linear: &Linear, random: &mut Random, count: usize) -> Option<Trace> {
    // ClassBench's sets mostly end with a filter for the rest: who falls through to it is a miss.
    let any = |prefix: Prefix| prefix.len() == 0;
    let is_rest = |filter: &Filter| {
        any(filter.source)
            && any(filter.destination)
            && filter.source_ports == PortRange::ALL
            && filter.destination_ports == PortRange::ALL
            && filter.protocol.is_none()
    };
    let rest = filters.iter().position(is_rest);
    // Distinct misses are enough to search for; they are then repeated in random order.
    let distinct = count.min(1 << 16);
    let mut found = Vec::with_capacity(distinct);
    for _ in 0..16 {
        let candidates: Vec<FiveTuple<u32>> = (0..distinct / 2)
            .map(|at| {
                let near = at % 2 == 0;
                let (source, destination) =
                    (random.filter(filters).source, random.filter(filters).destination);
                let services = random.filter(filters);
                FiveTuple {
                    source: if near { random.address(source) } else { random.next() as u32 },
                    destination: if near { random.address(destination) } else { random.next() as u32 },
                    source_port: random.port(services.source_ports),
                    destination_port: random.port(services.destination_ports),
                    protocol: random.protocol(services),
                    reserved: [0; 3],
                }
            })
            .collect();
        let expected = linear.search_all(&candidates);
        let missed = candidates.into_iter().zip(expected).filter(|(_, expected)| *expected == rest);
        found.extend(missed.map(|(packet, _)| packet));
        if found.len() >= distinct {
            break;
        }
    }
    // Fewer would all stay in the nearest cache.
    if found.len() < distinct / 32 {
        return None;
    }
    let packets: Vec<FiveTuple<u32>> =
        (0..count).map(|_| found[random.below(found.len() as u64) as usize]).collect();
    let expected = vec![rest; packets.len()];
    Some(Trace { name: "miss", packets, expected })
}
