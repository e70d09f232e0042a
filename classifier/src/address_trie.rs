//! Address to identity: a multibit trie over the stretches of one address family.
//!
//! A node covers one aligned block of addresses and cuts it into `2^bits` equal slots. Blocks are as small as
//! the boundaries inside them allow (path compression), and `bits` follows their number (adaptive stride), so
//! a trie has O(boundaries) entries, and a lookup visits few nodes: one for a flat policy, two to four for
//! nested ones, of IPv6 too. Addresses of a node's parent slot below and above its block have one value each.
//!
//! It holds stretches, not prefixes: most-specific-wins does not exist in a policy, each stretch already stands
//! for the full set of networks that contain it.

mod stretches;

use std::fmt;

/// What a trie is keyed by: `u32` for IPv4, `u128` for IPv6.
pub(crate) trait Key: Copy + Ord + fmt::Debug {
    /// The highest address.
    const MAX: Self;
    /// How long an address is.
    const BITS: u32;
    /// From the line on which the stretches were computed.
    fn from_point(point: u128) -> Self;
    /// To that line.
    fn point(self) -> u128;
    /// `(self - low) >> shift`, the number of a slot.
    fn slot(self, low: Self, shift: u8) -> usize;
}

macro_rules! key {
    ($($type:ty),*) => {$(
        impl Key for $type {
            const MAX: Self = <$type>::MAX;
            const BITS: u32 = <$type>::BITS;
            fn from_point(point: u128) -> Self {
                point as $type
            }
            fn point(self) -> u128 {
                self.into()
            }
            #[inline(always)]
            fn slot(self, low: Self, shift: u8) -> usize {
                ((self - low) >> shift) as usize
            }
        }
    )*};
}
key!(u32, u128);

/// A slot that holds a value, not a node.
const LEAF: u32 = 1 << 31;

#[derive(Clone, Copy, Debug)]
struct Node<K> {
    low: K,
    high: K,
    /// The value of what the parent's slot holds below `low`, and above `high`.
    below: u32,
    above: u32,
    first_entry: u32,
    shift: u8,
}

/// Values (below 2^31) by address.
#[derive(Clone, Debug)]
pub(crate) struct AddressTrie<K> {
    nodes: Box<[Node<K>]>,
    entries: Box<[u32]>,
    /// What a trie without boundaries says of every address.
    only: u32,
}

impl<K: Key> AddressTrie<K> {
    /// The root may be wide: there is one of it.
    const ROOT_BITS: u32 = 16;
    const NODE_BITS: u32 = 8;

    /// Builds from stretches in order, the first of which begins at zero.
    pub(crate) fn build(stretches: &[(u128, u32)]) -> Self {
        let mut building = Building { stretches, nodes: Vec::new(), entries: Vec::new() };
        // A boundary is where a stretch begins, but for the first.
        if stretches.len() > 1 {
            building.add_node(1, stretches.len(), Self::ROOT_BITS);
        }
        let Building { nodes, entries, .. } = building;
        let only = stretches.first().map_or(0, |(_, value)| *value);
        Self { nodes: nodes.into_boxed_slice(), entries: entries.into_boxed_slice(), only }
    }

    /// The value of the stretch that holds `key`.
    #[inline]
    pub(crate) fn get(&self, key: K) -> u32 {
        let Some(mut node) = self.nodes.first() else { return self.only };
        loop {
            if key < node.low {
                return node.below;
            }
            if key > node.high {
                return node.above;
            }
            let entry = self.entries[node.first_entry as usize + key.slot(node.low, node.shift)];
            if entry & LEAF != 0 {
                return entry & !LEAF;
            }
            node = &self.nodes[entry as usize];
        }
    }

    /// Bytes on the heap.
    pub(crate) fn memory(&self) -> usize {
        size_of_val(&*self.nodes) + size_of_val(&*self.entries)
    }

    /// Nodes and entries.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.nodes.len(), self.entries.len())
    }
}

struct Building<'a, K> {
    stretches: &'a [(u128, u32)],
    nodes: Vec<Node<K>>,
    entries: Vec<u32>,
}

impl<K: Key> Building<'_, K> {
    /// A node for the boundaries `from..to` (indices of the stretches that begin there; never empty). Depth is
    /// at most the bits of an address: a child's block is at most half its parent's.
    fn add_node(&mut self, from: usize, to: usize, most_bits: u32) -> u32 {
        let (first, last) = (self.stretches[from].0, self.stretches[to - 1].0);
        // The smallest aligned block that holds the last address before, and the first behind, every boundary.
        let block_bits = 128 - ((first - 1) ^ last).leading_zeros();
        let low = (first - 1).checked_shr(block_bits).unwrap_or(0).checked_shl(block_bits).unwrap_or(0);
        let high = low | 1_u128.checked_shl(block_bits).map_or(u128::MAX, |size| size - 1);
        let wanted = (to - from).ilog2() + 1;
        let bits = wanted.min(most_bits).min(block_bits);
        let shift = block_bits - bits;
        let id = self.nodes.len() as u32;
        let first_entry = self.entries.len() as u32;
        self.nodes.push(Node {
            low: K::from_point(low),
            high: K::from_point(high.min(K::MAX.point())),
            below: self.stretches[from - 1].1,
            above: self.stretches[to - 1].1,
            first_entry,
            shift: shift as u8,
        });
        self.entries.resize(self.entries.len() + (1 << bits), 0);
        // Boundaries at a slot's first address need no node: the slot lies behind them as a whole.
        let mut at = from;
        for slot in 0..1_usize << bits {
            let slot_low = low + ((slot as u128) << shift);
            let slot_high = slot_low + ((1_u128 << shift) - 1);
            while at < to && self.stretches[at].0 <= slot_low {
                at += 1;
            }
            let inner = at;
            while at < to && self.stretches[at].0 <= slot_high {
                at += 1;
            }
            self.entries[first_entry as usize + slot] = if inner == at {
                self.stretches[at - 1].1 | LEAF
            } else {
                self.add_node(inner, at, AddressTrie::<K>::NODE_BITS)
            };
        }
        id
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn linear(stretches: &[(u128, u32)], point: u128) -> u32 {
        stretches[stretches.partition_point(|(first, _)| *first <= point) - 1].1
    }

    fn check<K: Key>(stretches: &[(u128, u32)], extra: &[u128]) {
        let trie = AddressTrie::<K>::build(stretches);
        let near = stretches.iter().flat_map(|(first, _)| [first.saturating_sub(1), *first, first + 1]);
        for point in near.chain([0, K::MAX.point()]).chain(extra.iter().copied()) {
            let point = point.min(K::MAX.point());
            assert_eq!(trie.get(K::from_point(point)), linear(stretches, point), "{point:#x}");
        }
    }

    fn stretches(points: Vec<u128>) -> Vec<(u128, u32)> {
        let mut firsts = points;
        firsts.push(0);
        firsts.sort_unstable();
        firsts.dedup();
        firsts.into_iter().zip(0..).collect()
    }

    #[test]
    fn edges_of_the_address_space() {
        check::<u32>(&[(0, 7)], &[]);
        check::<u32>(&[(0, 7), (0xffff_ffff, 8)], &[]);
        check::<u32>(&[(0, 7), (1, 8), (0x8000_0000, 9)], &[]);
        check::<u128>(&[(0, 7), (u128::MAX - 1, 8)], &[]);
        check::<u128>(&[(0, 7), (1 << 127, 8)], &[]);
    }

    #[test]
    fn a_thousand_hosts_stay_small() {
        let hosts =
            (0..1000_u128).flat_map(|host| [0xfd00 << 112 | host << 16, (0xfd00 << 112 | host << 16) + 1]);
        let trie = AddressTrie::<u128>::build(&stretches(hosts.collect()));
        assert!(trie.memory() < 200_000, "{} bytes", trie.memory());
    }

    proptest! {
        #[test]
        fn equals_a_search_among_the_stretches(
            points in proptest::collection::vec(prop_oneof![any::<u32>(), 0..64_u32, any::<u32>().prop_map(|x| x << 16)], 0..300),
            extra in proptest::collection::vec(any::<u32>().prop_map(u128::from), 50),
        ) {
            check::<u32>(&stretches(points.iter().copied().map(u128::from).collect()), &extra);
        }

        #[test]
        fn equals_a_search_among_the_stretches_of_ipv6(
            points in proptest::collection::vec(
                prop_oneof![any::<u128>(), 0..64_u128, any::<u32>().prop_map(|x| 0xfd00 << 112 | u128::from(x))], 0..300),
            extra in proptest::collection::vec(any::<u128>(), 50),
        ) {
            let points = points.into_iter().map(|point| point.min(u128::MAX - 1)).collect();
            check::<u128>(&stretches(points), &extra);
        }
    }
}
