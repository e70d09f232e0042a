//! What a trie says of every address, found by going every way that a lookup can go.
//!
//! For the proof: nothing is taken to be well formed. A way that leaves its table, or comes back to where it was, is
//! no answer. Cost: nodes and entries, whatever they hold.

use super::{AddressTrie, Key, LEAF, Node};

/// More nodes than a way can have: each node of a built trie covers at most half of what is above it.
const DEPTH: usize = 256;

impl<K: Key> AddressTrie<K> {
    /// [`AddressTrie::get`] for all addresses: stretches in order, each from its first address to the next one's, and
    /// `None` where `get` would not come to an answer. Neighbours differ.
    pub(crate) fn stretches(&self) -> Vec<(u128, Option<u32>)> {
        let mut ways = Ways { trie: self, path: Vec::new(), found: Vec::new() };
        if self.nodes.is_empty() {
            ways.found.push((0, Some(self.only)));
        } else {
            ways.enter(0, 0, K::MAX.point());
        }
        ways.found
    }
}

struct Ways<'t, K> {
    trie: &'t AddressTrie<K>,
    /// The nodes above.
    path: Vec<usize>,
    found: Vec<(u128, Option<u32>)>,
}

impl<K: Key> Ways<'_, K> {
    /// All addresses from `low` to `high` come to the node of that number.
    fn enter(&mut self, number: usize, low: u128, high: u128) {
        let trie = self.trie;
        let Some(node) = trie.nodes.get(number) else { return self.say(low, None) };
        if self.path.contains(&number) || self.path.len() == DEPTH {
            return self.say(low, None);
        }
        // As a lookup asks: below first, then above.
        let (node_low, node_high) = (node.low.point(), node.high.point());
        if low < node_low {
            self.say(low, Some(node.below));
        }
        let inside = (low.max(node_low), high.min(node_high));
        if inside.0 <= inside.1 {
            self.path.push(number);
            self.slots(node, inside.0, inside.1);
            self.path.pop();
        }
        if high > node_high && high >= node_low {
            self.say(low.max(node_low).max(node_high + 1), Some(node.above));
        }
    }

    fn slots(&mut self, node: &Node<K>, low: u128, high: u128) {
        let (begin, shift) = (node.low.point(), node.shift);
        if u32::from(shift) >= K::BITS {
            return self.say(low, None);
        }
        for slot in (low - begin) >> shift..=(high - begin) >> shift {
            let slot_low = begin + (slot << shift);
            let slot_high = slot_low.saturating_add((1 << shift) - 1);
            let entry =
                usize::try_from(slot).ok().and_then(|slot| slot.checked_add(node.first_entry as usize));
            match entry.and_then(|entry| self.trie.entries.get(entry)) {
                // Nor has any slot behind it.
                None => return self.say(slot_low.max(low), None),
                Some(entry) if entry & LEAF != 0 => self.say(slot_low.max(low), Some(entry & !LEAF)),
                Some(entry) => self.enter(*entry as usize, slot_low.max(low), slot_high.min(high)),
            }
        }
    }

    fn say(&mut self, first: u128, value: Option<u32>) {
        if self.found.last().is_none_or(|(_, last)| *last != value) {
            self.found.push((first, value));
        }
    }
}

#[cfg(test)]
impl<K: Key + crate::cells::AsCell> AddressTrie<K> {
    pub(crate) fn cells<'t>(&'t mut self, tables: &mut crate::cells::Tables<'t>) {
        use crate::cells::{AsCell, Cell};
        let nodes = self.nodes.iter_mut().flat_map(|node| {
            let Node { low, high, below, above, first_entry, shift } = node;
            let ends = [low.as_cell(), high.as_cell()];
            ends.into_iter()
                .chain([below, above, first_entry].map(AsCell::as_cell))
                .chain([Cell::Byte(shift)])
        });
        tables.push(("nodes of addresses", nodes.collect()));
        tables.push(("slots of addresses", crate::cells::each(&mut self.entries)));
        tables.push(("every address", vec![Cell::Word(&mut self.only)]));
    }
}

#[cfg(test)]
impl<K: Key> AddressTrie<K> {
    /// [`AddressTrie::get`], as far as it leads: `None` where it leaves a table, or goes on for too long.
    pub(crate) fn step(&self, key: K) -> Option<u32> {
        let Some(mut node) = self.nodes.first() else { return Some(self.only) };
        for _ in 0..DEPTH {
            if key < node.low {
                return Some(node.below);
            }
            if key > node.high {
                return Some(node.above);
            }
            let slot = (key.point() - node.low.point()).checked_shr(node.shift.into())?;
            if u32::from(node.shift) >= K::BITS {
                return None;
            }
            let entry = usize::try_from(slot).ok()?.checked_add(node.first_entry as usize)?;
            let entry = *self.entries.get(entry)?;
            if entry & LEAF != 0 {
                return Some(entry & !LEAF);
            }
            node = self.nodes.get(entry as usize)?;
        }
        None
    }
}
