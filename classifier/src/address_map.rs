//! Address to identity, for one family: single addresses by exact match, all others by the trie of stretches.
//!
//! A trie of a hundred thousand single addresses has two edges for each and is three loads deep, none of them cached. So
//! they stand in blocks of 64 addresses, found by exact match, in one line each: a bit says whether an address is a single
//! one, the bits before it which one of the block it is. Networks give out addresses one after the other, and
//! identities are numbered in their order (`addresses`), so most blocks count on from one identity, and a hundred
//! thousand addresses are tens of kilobytes; the identities of other blocks are listed. Where there are few
//! single addresses, the trie holds them too, and the table stays empty: it is then in the first cache as a whole, and addresses of
//! the world are not looked up twice.

mod stretches;

use std::hint::select_unpredictable;

use crate::address_trie::{self, AddressTrie};
use crate::perfect_table::{self, PerfectTable, Value};

/// From this many single addresses on, they stand in a table.
const MANY: usize = 1024;
/// Addresses of a block.
const BLOCK: u32 = 64;

/// The single addresses of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Hosts {
    /// A bit for each address of the block, the lower half first: whether it is one.
    taken: [u32; 2],
    /// With [`COUNTED`]: the identity of the first one, which those of the next ones count on from. Without: where theirs are
    /// listed.
    first: u32,
}

/// See [`Hosts`].
const COUNTED: u32 = 1 << 31;

impl Value for Hosts {
    const NONE: Self = Self { taken: [0; 2], first: 0 };

    /// A block without single addresses has none of its bits set, and so says by itself that it is not there.
    #[inline(always)]
    fn is_some(self) -> bool {
        true
    }
}

impl Hosts {
    #[inline(always)]
    fn bits(self) -> u64 {
        u64::from(self.taken[0]) | u64::from(self.taken[1]) << 32
    }
}

/// Identities by address.
#[derive(Clone, Debug)]
pub(crate) struct AddressMap<K> {
    /// By the number of the block.
    hosts: PerfectTable<K, Hosts>,
    /// The identities of blocks that do not count; one more than there are, so that it is never empty.
    listed: Box<[u32]>,
    trie: AddressTrie<K>,
}

/// The number of the block.
#[inline(always)]
fn block<K: address_trie::Key>(address: K) -> K {
    K::from_point(address.point() / u128::from(BLOCK))
}

impl<K: address_trie::Key + perfect_table::Key + Default> AddressMap<K> {
    /// Builds from stretches in order, the first of which begins at zero, and from single addresses in order, which
    /// hold whatever stretch they lie in.
    pub(crate) fn build(stretches: &[(u128, u32)], hosts: &[(u128, u32)]) -> Self {
        if hosts.len() >= MANY {
            let (blocks, listed) = blocks(hosts);
            // Addresses that no seed spreads are looked up in the trie.
            if let Ok(hosts) = PerfectTable::build("addresses", &blocks) {
                return Self { hosts, listed, trie: AddressTrie::build(&joined::<K, _>(stretches, &[])) };
            }
        }
        let trie = AddressTrie::build(&joined::<K, _>(stretches, hosts));
        Self { hosts: PerfectTable::default(), listed: Box::default(), trie }
    }

    /// [`AddressMap::get`] of the first `count` addresses, which wait together for what they read.
    #[inline(always)]
    pub(crate) fn identities<const N: usize>(
        &self,
        addresses: &[K; N],
        count: usize,
        identities: &mut [u32; N],
    ) {
        let each = || addresses.iter().take(count);
        if self.hosts.is_empty() {
            for (identity, address) in identities.iter_mut().zip(each()) {
                *identity = self.trie.get(*address);
            }
            return;
        }
        let (mut blocks, mut places) = ([K::default(); N], [0; N]);
        for (number, address) in blocks.iter_mut().zip(addresses) {
            *number = block(*address);
        }
        self.hosts.fetch(&blocks, count, &mut places, |_| ());
        for ((identity, address), (number, place)) in
            identities.iter_mut().zip(each()).zip(blocks.iter().zip(&places))
        {
            let hosts = self.hosts.get_at(*place, *number);
            *identity = self.single(hosts, *address).unwrap_or_else(|| self.trie.get(*address));
        }
    }

    /// The identity of an address.
    #[inline]
    pub(crate) fn get(&self, address: K) -> u32 {
        if !self.hosts.is_empty()
            && let Some(identity) = self.single(self.hosts.get(block(address)), address)
        {
            return identity;
        }
        self.trie.get(address)
    }

    /// The identity of an address of this block, if it is a single one.
    #[inline(always)]
    fn single(&self, hosts: Option<Hosts>, address: K) -> Option<u32> {
        let hosts = hosts?;
        let inside = address.point() as u32 % BLOCK;
        let before = hosts.bits() & ((1 << inside) - 1);
        let at = (hosts.first & !COUNTED) + before.count_ones();
        // Both ways are gone, so that the processor need not guess.
        let is_counted = hosts.first & COUNTED != 0;
        let listed = self.listed[select_unpredictable(is_counted, 0, at as usize)];
        (hosts.bits() >> inside & 1 == 1).then(|| select_unpredictable(is_counted, at, listed))
    }

    /// Bytes on the heap.
    pub(crate) fn memory(&self) -> usize {
        self.hosts.memory() + size_of_val(&*self.listed) + self.trie.memory()
    }

    /// Nodes and entries of the trie.
    pub(crate) fn size(&self) -> (usize, usize) {
        self.trie.size()
    }
}

/// Single addresses in order, by block; and the identities that do not count.
fn blocks<K: address_trie::Key>(hosts: &[(u128, u32)]) -> (Vec<(K, Hosts)>, Box<[u32]>) {
    let (mut blocks, mut listed) = (Vec::new(), Vec::new());
    let number = |address: u128| address / u128::from(BLOCK);
    for hosts in hosts.chunk_by(|(left, _), (right, _)| number(*left) == number(*right)) {
        let (address, first) = hosts[0];
        let bits = hosts.iter().fold(0_u64, |bits, (address, _)| bits | 1 << (*address as u32 % BLOCK));
        let first = if hosts.windows(2).all(|two| two[0].1 + 1 == two[1].1) {
            COUNTED | first
        } else {
            listed.extend(hosts.iter().map(|(_, identity)| *identity));
            (listed.len() - hosts.len()) as u32
        };
        let taken = [bits as u32, (bits >> 32) as u32];
        blocks.push((K::from_point(number(address)), Hosts { taken, first }));
    }
    listed.push(0);
    (blocks, listed.into_boxed_slice())
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
        // Far from each other, without gaps, with gaps; identities in order, and not.
        let kinds: [fn(u128) -> (u128, u32); 4] = [
            |at| (at * at * 3, 1000 + at as u32),
            |at| (77 + at, 1000 + at as u32),
            |at| (at * 3 / 2, 1000 + (at as u32 ^ 1)),
            |at| (at * 5, at as u32 % 9),
        ];
        for (count, kind) in [0_u128, 3, 5000].into_iter().flat_map(|count| kinds.map(|kind| (count, kind))) {
            let hosts: Vec<(u128, u32)> = (0..count).map(kind).collect();
            let stretches = [(0, 1), (100, 2), (1 << 20, 3)];
            let map = AddressMap::<u32>::build(&stretches, &hosts);
            let edges: std::collections::BTreeSet<u32> = map.edges().into_iter().collect();
            for address in
                hosts.iter().flat_map(|(at, _)| [at.saturating_sub(1), *at, at + 1]).chain([99, 1 << 20])
            {
                let host = hosts.binary_search_by_key(&address, |(at, _)| *at).ok().map(|at| hosts[at].1);
                let around = stretches.iter().rev().find(|(first, _)| *first <= address).unwrap().1;
                assert_eq!(map.get(address as u32), host.unwrap_or(around), "{address}");
                let mut identities = [0; 2];
                map.identities(&[address as u32, 5], 1, &mut identities);
                assert_eq!(identities, [host.unwrap_or(around), 0], "{address}");
                let changes = address > 0 && map.get(address as u32) != map.get(address as u32 - 1);
                assert!(!changes || edges.contains(&(address as u32)), "{address} is an edge");
            }
        }
    }

    #[test]
    fn addresses_that_collide_are_looked_up_in_the_trie() {
        // The blocks of these all fold to zero (see `perfect_table`).
        let meet = |high: u64| {
            let block = u128::from(high) << 64 | u128::from(high.wrapping_mul(0xd6e8_feb8_6659_fd93));
            block * u128::from(BLOCK)
        };
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
