//! What a map says of every address, without the trust that its tables are well formed; for the proof and for diffs.

use super::{AddressMap, Host, joined};
use crate::{address_trie, perfect_table};

impl<K: address_trie::Key + perfect_table::Key + Default> AddressMap<K> {
    /// [`AddressMap::get`] for all addresses: stretches in order, each from its first address to the next one's, and
    /// `None` where `get` would not come to an answer. Neighbours differ.
    pub(crate) fn stretches(&self) -> Vec<(u128, Option<u32>)> {
        let around = self.trie.stretches();
        if self.hosts.is_empty() {
            return around;
        }
        let mut keys: Vec<K> = self.hosts.keys().collect();
        keys.sort_unstable();
        keys.dedup();
        // What no way leads to is the trie's.
        let found = keys.into_iter().filter_map(|key| {
            let Host(identity) = self.hosts.get(key)?;
            Some((key.point(), Some(identity)))
        });
        let found: Vec<(u128, Option<u32>)> = found.collect();
        joined::<K, _>(&around, &found)
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
        self.hosts.cells(
            "single addresses",
            |Host(identity)| vec![crate::cells::Cell::Word(identity)],
            tables,
        );
    }
}

#[cfg(test)]
impl<K: address_trie::Key + perfect_table::Key + Default> AddressMap<K> {
    /// [`AddressMap::get`], as far as it leads.
    pub(crate) fn step(&self, address: K) -> Option<u32> {
        if !self.hosts.is_empty()
            && let Some(Host(identity)) = self.hosts.get(address)
        {
            return Some(identity);
        }
        self.trie.step(address)
    }
}
