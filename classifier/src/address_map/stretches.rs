//! What a map says of every address, without the trust that its tables are well formed; for the proof and for diffs.

use super::{AddressMap, BLOCK, COUNTED, block, joined};
use crate::{address_trie, perfect_table};

impl<K: address_trie::Key + perfect_table::Key + Default> AddressMap<K> {
    /// [`AddressMap::get`] for all addresses: stretches in order, each from its first address to the next one's, and
    /// `None` where `get` would not come to an answer. Neighbours differ.
    pub(crate) fn stretches(&self) -> Vec<(u128, Option<u32>)> {
        let around = self.trie.stretches();
        if self.hosts.is_empty() {
            return around;
        }
        let last = block(K::MAX);
        let mut blocks: Vec<K> = self.hosts.keys().filter(|number| *number <= last).collect();
        blocks.sort_unstable();
        blocks.dedup();
        let length = u128::from(BLOCK);
        let addresses = blocks.into_iter().flat_map(|number| {
            let first = number.point() * length;
            first..=first + (length - 1)
        });
        // What no way leads to is the trie's.
        let found = addresses.filter_map(|address| Some((address, self.checked(K::from_point(address))?)));
        let found: Vec<(u128, Option<u32>)> = found.collect();
        joined::<K, _>(&around, &found)
    }

    /// What the table says of a single address; inside, `None` where it would not come to an answer.
    fn checked(&self, address: K) -> Option<Option<u32>> {
        let hosts = self.hosts.get(block(address))?;
        let inside = address.point() as u32 % BLOCK;
        let before = (hosts.bits() & ((1 << inside) - 1)).count_ones();
        (hosts.bits() >> inside & 1 == 1).then(|| match hosts.first & COUNTED {
            0 => self.listed.get((hosts.first + before) as usize).copied(),
            _ => Some((hosts.first & !COUNTED) + before),
        })
    }

    /// Every address at which [`AddressMap::get`] may change its answer.
    pub(crate) fn edges(&self) -> Vec<K> {
        let stretches = self.stretches().into_iter();
        stretches.filter(|(first, _)| *first > 0).map(|(first, _)| K::from_point(first)).collect()
    }
}

#[cfg(test)]
impl<K: address_trie::Key + crate::cells::AsCell> AddressMap<K> {
    pub(crate) fn cells<'t>(&'t mut self, tables: &mut crate::cells::Tables<'t>) {
        self.trie.cells(tables);
        let hosts = |super::Hosts { taken, first }: &'t mut super::Hosts| {
            let [low, high] = taken;
            [low, high, first].map(crate::cells::Cell::Word).into()
        };
        self.hosts.cells("blocks of single addresses", hosts, tables);
        tables.push(("single addresses", crate::cells::each(&mut self.listed)));
    }
}

#[cfg(test)]
impl<K: address_trie::Key + perfect_table::Key + Default> AddressMap<K> {
    /// [`AddressMap::get`], as far as it leads.
    pub(crate) fn step(&self, address: K) -> Option<u32> {
        if !self.hosts.is_empty()
            && let Some(identity) = self.checked(address)
        {
            return identity;
        }
        self.trie.step(address)
    }
}
