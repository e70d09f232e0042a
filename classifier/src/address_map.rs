//! Address to identity, for one family: single addresses by exact match, all others by the trie of stretches.
//!
//! A trie of a hundred thousand single addresses has two edges for each and is three loads deep, none of them cached; a
//! table finds each in one line. Where there are few, the trie holds them too, and the table stays empty: it is then
//! in the first cache as a whole, and addresses of the world are not looked up twice.

mod stretches;

use crate::address_trie::{self, AddressTrie};
use crate::perfect_table::{self, PerfectTable, Value};

/// From this many single addresses on, they stand in a table.
const MANY: usize = 1024;

/// The identity of a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Host(u32);

impl Value for Host {
    const NONE: Self = Self(u32::MAX);
}

/// Identities by address.
#[derive(Clone, Debug)]
pub(crate) struct AddressMap<K> {
    hosts: PerfectTable<K, Host>,
    trie: AddressTrie<K>,
}

impl<K: address_trie::Key + perfect_table::Key + Default> AddressMap<K> {
    /// Builds from stretches in order, the first of which begins at zero, and from single addresses in order, which
    /// hold whatever stretch they lie in.
    pub(crate) fn build(stretches: &[(u128, u32)], hosts: &[(u128, u32)]) -> Self {
        if hosts.len() >= MANY {
            let entries: Vec<(K, Host)> =
                hosts.iter().map(|(address, identity)| (K::from_point(*address), Host(*identity))).collect();
            // Addresses that no seed spreads are looked up in the trie.
            if let Ok(hosts) = PerfectTable::build("addresses", &entries) {
                return Self { hosts, trie: AddressTrie::build(&joined::<K, _>(stretches, &[])) };
            }
        }
        Self { hosts: PerfectTable::default(), trie: AddressTrie::build(&joined::<K, _>(stretches, hosts)) }
    }

    /// Where each of the first `count` addresses is looked for, for [`AddressMap::get_at`]; their lines are on their way from now
    /// on.
    #[inline(always)]
    pub(crate) fn fetch<const M: usize>(&self, addresses: &[K; M], count: usize, places: &mut [u32; M]) {
        if !self.hosts.is_empty() {
            self.hosts.fetch(addresses, count, places);
        }
    }

    /// [`AddressMap::get`] for an address that was fetched.
    #[inline(always)]
    pub(crate) fn get_at(&self, place: u32, address: K) -> u32 {
        if !self.hosts.is_empty()
            && let Some(Host(identity)) = self.hosts.get_at(place, address)
        {
            return identity;
        }
        self.trie.get(address)
    }

    /// The identity of an address.
    #[inline]
    pub(crate) fn get(&self, address: K) -> u32 {
        if !self.hosts.is_empty()
            && let Some(Host(identity)) = self.hosts.get(address)
        {
            return identity;
        }
        self.trie.get(address)
    }

    /// Bytes on the heap.
    pub(crate) fn memory(&self) -> usize {
        self.hosts.memory() + self.trie.memory()
    }

    /// Nodes and entries of the trie.
    pub(crate) fn size(&self) -> (usize, usize) {
        self.trie.size()
    }
}

/// The stretches, cut where single addresses lie in them.
fn joined<K: address_trie::Key, V: Copy + PartialEq>(
    stretches: &[(u128, V)],
    hosts: &[(u128, V)],
) -> Vec<(u128, V)> {
    let mut values: Vec<(u128, V)> = Vec::with_capacity(stretches.len() + 2 * hosts.len());
    let mut hosts = hosts.iter().copied().peekable();
    for (at, (first, around)) in stretches.iter().enumerate() {
        values.push((*first, *around));
        let end = stretches.get(at + 1).map(|(next, _)| *next);
        while let Some((address, identity)) =
            hosts.next_if(|(address, _)| end.is_none_or(|end| *address < end))
        {
            values.push((address, identity));
            if address < K::MAX.point() {
                values.push((address + 1, *around));
            }
        }
    }
    // Where several begin at one address, the last one said is meant.
    values.reverse();
    values.dedup_by_key(|(first, _)| *first);
    values.reverse();
    values.dedup_by_key(|(_, identity)| *identity);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_and_many_single_addresses_are_found_and_their_neighbours_are_not() {
        for count in [0_u128, 3, 5000] {
            let hosts: Vec<(u128, u32)> = (0..count).map(|at| (at * at * 3, 1000 + at as u32)).collect();
            let stretches = [(0, 1), (100, 2), (1 << 20, 3)];
            let map = AddressMap::<u32>::build(&stretches, &hosts);
            let edges: std::collections::BTreeSet<u32> = map.edges().into_iter().collect();
            for address in
                hosts.iter().flat_map(|(at, _)| [at.saturating_sub(1), *at, at + 1]).chain([99, 1 << 20])
            {
                let host = hosts.binary_search_by_key(&address, |(at, _)| *at).ok().map(|at| hosts[at].1);
                let around = stretches.iter().rev().find(|(first, _)| *first <= address).unwrap().1;
                assert_eq!(map.get(address as u32), host.unwrap_or(around), "{address}");
                let changes = address > 0 && map.get(address as u32) != map.get(address as u32 - 1);
                assert!(!changes || edges.contains(&(address as u32)), "{address} is an edge");
            }
        }
    }

    #[test]
    fn addresses_that_collide_are_looked_up_in_the_trie() {
        // These all fold to zero (see `perfect_table`).
        let meet = |high: u64| u128::from(high) << 64 | u128::from(high.wrapping_mul(0xd6e8_feb8_6659_fd93));
        let hosts: Vec<(u128, u32)> = (1..2000).map(|at| (meet(at), at as u32)).collect();
        let map = AddressMap::<u128>::build(&[(0, 7)], &hosts);
        assert!(map.size().0 > 0);
        assert!(
            hosts
                .iter()
                .all(|(address, identity)| map.get(*address) == *identity && map.get(address + 1) == 7)
        );
    }
}
