//! An exact-match cache of flows for a comparison: a bucket is one cache line of four flows, whose filters stand in the bits
//! that a tuple does not use. It is filled beforehand, and every packet hits.

use septum_classifier::filter::{FilterMatch, FiveTuple};

const WAYS: usize = 4;
/// Packets whose buckets are on their way at once.
const STAGE: usize = 64;
/// Ports and protocol; above them, what is known.
const LAYER4_BITS: u32 = 40;

#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Bucket([[u64; 2]; WAYS]);

pub(crate) struct FlowCache {
    buckets: Vec<Bucket>,
}

/// Addresses; ports and protocol.
#[inline(always)]
fn words(tuple: &FiveTuple<u32>) -> [u64; 2] {
    let addresses = u64::from(tuple.source) << 32 | u64::from(tuple.destination);
    let ports = u64::from(tuple.source_port) << 16 | u64::from(tuple.destination_port);
    [addresses, ports | u64::from(tuple.protocol) << 32]
}

/// Two multiplications: any spread will do.
#[inline(always)]
fn hash([addresses, layer4]: [u64; 2]) -> usize {
    let mixed = addresses ^ layer4.wrapping_mul(0xff51_afd7_ed55_8ccd);
    (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 29) as usize
}

impl FlowCache {
    /// A cache of twice as many places as flows, and what is known of each. Flows that find their bucket full are left out.
    pub(crate) fn new(flows: &[FiveTuple<u32>], matches: &[FilterMatch]) -> Self {
        let mut buckets = vec![Bucket::default(); (flows.len() * 2 / WAYS).next_power_of_two()];
        let mask = buckets.len() - 1;
        for (flow, found) in flows.iter().zip(matches) {
            let [addresses, layer4] = words(flow);
            let filter = found.filter().map_or(0, |filter| filter as u64 + 1);
            let bucket = &mut buckets[hash([addresses, layer4]) & mask].0;
            if let Some(free) = bucket.iter().position(|known| *known == [0; 2]) {
                bucket[free] = [addresses, layer4 | filter << LAYER4_BITS];
            }
        }
        Self { buckets }
    }

    /// What is known of each packet: zero, or one more than its filter.
    pub(crate) fn look_up(&self, packets: &[FiveTuple<u32>], found: &mut [u32]) {
        let mask = self.buckets.len() - 1;
        let mut keys = [([0; 2], 0); STAGE];
        for (packets, found) in packets.chunks(STAGE).zip(found.chunks_mut(STAGE)) {
            for (key, packet) in keys.iter_mut().zip(packets) {
                let words = words(packet);
                *key = (words, hash(words) & mask);
            }
            for (found, ([addresses, layer4], place)) in found.iter_mut().zip(&keys[..packets.len()]) {
                *found = self.buckets[*place].0.iter().fold(0, |found, known| {
                    let differs = known[0] ^ addresses | (known[1] ^ layer4) << (u64::BITS - LAYER4_BITS);
                    if differs == 0 { (known[1] >> LAYER4_BITS) as u32 } else { found }
                });
            }
        }
    }
}
