//! IPv4 address to interval: a direct table over the upper half of the address, and below it nodes of one
//! vector each that are searched by one comparison.
//!
//! The addresses are cut into intervals, numbered in order. A slot of the root covers 65,536 addresses: it holds
//! the number of the one interval that it lies in, or a node. A node has up to 14 boundaries among the lower
//! halves, sorted; how many of them an address has reached, added to the node's base, is its interval, or the
//! child that goes on. 32 bytes a node: never more than one cache line.

/// Boundaries of one node.
pub(super) const KEYS: usize = 14;
/// Of a root entry: the rest is an interval. Of a node's base: the rest is not a child.
pub(super) const LEAF: u32 = 1 << 31;

/// One node. `keys` hold boundary - 1, with the sign bit flipped so that a signed comparison orders them;
/// places without a boundary hold the greatest key, which no address exceeds.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(32))]
pub(super) struct Node {
    pub(super) keys: [i16; KEYS],
    /// With [`LEAF`] the interval before the first boundary, else the first child.
    pub(super) base: u32,
}

/// The lower half of an address, as keys have it.
#[inline(always)]
pub(super) fn key(address: u32) -> i16 {
    (address as u16 ^ 0x8000) as i16
}

/// The table.
#[derive(Clone, Debug)]
pub(crate) struct AddressTable {
    pub(super) root: Box<[u32]>,
    pub(super) nodes: Box<[Node]>,
    intervals: u32,
}

impl AddressTable {
    /// The table of intervals that begin at `firsts`: zero, and more in rising order.
    ///
    /// # Panics
    /// When they do not begin with zero or do not rise.
    pub(crate) fn build(firsts: &[u32]) -> Self {
        assert!(firsts.first() == Some(&0) && firsts.is_sorted_by(|left, right| left < right));
        let mut root = Vec::with_capacity(1 << 16);
        let mut nodes = Vec::new();
        // The interval that holds the slot's first address, and the next one.
        let mut at = 0;
        for slot in 0..1_u32 << 16 {
            while firsts.get(at + 1).is_some_and(|next| *next <= slot << 16) {
                at += 1;
            }
            let inside = firsts[at + 1..].iter().take_while(|first| **first >> 16 == slot).count();
            root.push(if inside == 0 {
                at as u32 | LEAF
            } else {
                let node = nodes.len();
                nodes.push(Node { keys: [i16::MAX; KEYS], base: 0 });
                fill(&mut nodes, node, &firsts[at + 1..at + 1 + inside], at as u32);
                node as u32
            });
            at += inside;
        }
        // Vector searches look into node 0 even where there is none to search.
        if nodes.is_empty() {
            nodes.push(Node { keys: [i16::MAX; KEYS], base: LEAF });
        }
        Self { root: root.into(), nodes: nodes.into(), intervals: firsts.len() as u32 }
    }

    /// How many intervals there are.
    pub(crate) fn intervals(&self) -> u32 {
        self.intervals
    }

    /// The interval of an address.
    #[inline(always)]
    pub(crate) fn get(&self, address: u32) -> u32 {
        let entry = self.root[(address >> 16) as usize];
        if entry & LEAF != 0 {
            return entry & !LEAF;
        }
        let key = key(address);
        let mut node = &self.nodes[entry as usize];
        loop {
            let reached = node.keys.iter().map(|boundary| u32::from(key > *boundary)).sum::<u32>();
            let next = node.base + reached;
            if next & LEAF != 0 {
                return next & !LEAF;
            }
            node = &self.nodes[next as usize];
        }
    }

    /// Bytes on the heap.
    pub(crate) fn memory(&self) -> usize {
        size_of_val(&*self.root) + size_of_val(&*self.nodes)
    }
}

/// Fills node `at` with the boundaries of the intervals behind `before`.
fn fill(nodes: &mut Vec<Node>, at: usize, boundaries: &[u32], before: u32) {
    let stored = |boundary: u32| key(boundary - 1);
    if boundaries.len() <= KEYS {
        for (key, boundary) in nodes[at].keys.iter_mut().zip(boundaries) {
            *key = stored(*boundary);
        }
        nodes[at].base = before | LEAF;
        return;
    }
    // Children as small as lets one level of them hold all.
    let mut most = KEYS;
    while (most + 1) * (KEYS + 1) - 1 < boundaries.len() {
        most = (most + 1) * (KEYS + 1) - 1;
    }
    let first_child = nodes.len();
    let children = boundaries.len() / (most + 1) + 1;
    nodes.resize(first_child + children, Node { keys: [i16::MAX; KEYS], base: 0 });
    nodes[at].base = first_child as u32;
    for child in 0..children {
        let from = child * (most + 1);
        let to = boundaries.len().min(from + most);
        if let Some(separator) = boundaries.get(to) {
            nodes[at].keys[child] = stored(*separator);
        }
        fill(nodes, first_child + child, &boundaries[from..to], before + from as u32);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn equals_a_search(
            mut firsts in proptest::collection::vec(
                prop_oneof![any::<u32>(), 0..2_000_u32, any::<u16>().prop_map(|x| 0xffff_0000 | u32::from(x)),
                    any::<u16>().prop_map(|x| u32::from(x) << 16)], 0..1_500),
            more in proptest::collection::vec(any::<u32>(), 100),
        ) {
            firsts.push(0);
            firsts.sort_unstable();
            firsts.dedup();
            let table = AddressTable::build(&firsts);
            let near = firsts.iter().flat_map(|first| [first.saturating_sub(1), *first, first.saturating_add(1)]);
            for address in near.chain(more).chain([u32::MAX]) {
                let expected = firsts.partition_point(|first| *first <= address) as u32 - 1;
                prop_assert_eq!(table.get(address), expected, "{:#x}", address);
            }
        }
    }
}
