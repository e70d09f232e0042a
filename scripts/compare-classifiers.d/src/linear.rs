//! The definition, fast enough for a million packets: linear search over columns of fields, on all cores.

use std::net::IpAddr;

use septum_classifier::filter::{Filter, FiveTuple};

/// Filters compared at once.
const BLOCK: usize = 64;
const FIELDS: usize = 5;

/// Where the range of a field begins, for the filters of a block, and how much farther it goes.
#[derive(Clone)]
struct Ranges {
    firsts: [u32; BLOCK],
    widths: [u32; BLOCK],
}

/// The five ranges of all filters, in blocks.
pub struct Linear {
    blocks: Vec<[Ranges; FIELDS]>,
    filters: usize,
}

impl Linear {
    pub fn new(filters: &[Filter]) -> Self {
        let bits = |address| match address {
            IpAddr::V4(address) => address.to_bits(),
            // The sets are IPv4; `peer` says so where they are not.
            IpAddr::V6(_) => 0,
        };
        let none = Ranges { firsts: [0; BLOCK], widths: [0; BLOCK] };
        let blocks = filters.len().div_ceil(BLOCK);
        let mut linear =
            Self { blocks: vec![[(); FIELDS].map(|()| none.clone()); blocks], filters: filters.len() };
        for (at, filter) in filters.iter().enumerate() {
            let ranges = [
                (bits(filter.source.network()), bits(filter.source.last())),
                (bits(filter.destination.network()), bits(filter.destination.last())),
                (filter.source_ports.first().into(), filter.source_ports.last().into()),
                (filter.destination_ports.first().into(), filter.destination_ports.last().into()),
                filter.protocol.map_or((0, 255), |protocol| (protocol.0.into(), protocol.0.into())),
            ];
            for (field, (first, last)) in linear.blocks[at / BLOCK].iter_mut().zip(ranges) {
                field.firsts[at % BLOCK] = first;
                field.widths[at % BLOCK] = last - first;
            }
        }
        linear
    }

    /// The first filter that matches.
    fn search(&self, tuple: &FiveTuple<u32>) -> Option<usize> {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has AVX-512.
            return unsafe { self.search_with_avx512(tuple) };
        } else if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2.
            return unsafe { self.search_with_avx2(tuple) };
        }
        self.search_in_blocks(tuple)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    fn search_with_avx512(&self, tuple: &FiveTuple<u32>) -> Option<usize> {
        self.search_in_blocks(tuple)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn search_with_avx2(&self, tuple: &FiveTuple<u32>) -> Option<usize> {
        self.search_in_blocks(tuple)
    }

    // Loops, not iterators with closures: these would not be compiled for the vectors of the callers.
    #[inline(always)]
    fn search_in_blocks(&self, tuple: &FiveTuple<u32>) -> Option<usize> {
        let ports = [tuple.source_port.into(), tuple.destination_port.into()];
        let packet = [tuple.source, tuple.destination, ports[0], ports[1], tuple.protocol.into()];
        let mut start = 0;
        for block in &self.blocks {
            let mut any = 0_u32;
            for lane in 0..BLOCK {
                let mut inside = 1_u32;
                for field in 0..2 {
                    let ahead = packet[field].wrapping_sub(block[field].firsts[lane]);
                    inside &= (ahead <= block[field].widths[lane]) as u32;
                }
                any |= inside;
            }
            if any != 0 {
                for lane in 0..BLOCK.min(self.filters - start) {
                    let mut is_match = true;
                    for field in 0..FIELDS {
                        let ahead = packet[field].wrapping_sub(block[field].firsts[lane]);
                        is_match &= ahead <= block[field].widths[lane];
                    }
                    if is_match {
                        return Some(start + lane);
                    }
                }
            }
            start += BLOCK;
        }
        None
    }

    /// The first filter for each packet.
    pub fn search_all(&self, tuples: &[FiveTuple<u32>]) -> Vec<Option<usize>> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let share = tuples.len().div_ceil(cores).max(1);
        std::thread::scope(|scope| {
            let threads: Vec<_> = tuples
                .chunks(share)
                .map(|share| scope.spawn(|| share.iter().map(|tuple| self.search(tuple)).collect::<Vec<_>>()))
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("the search does not panic")).collect()
        })
    }
}
