//! Exact match in one cache line: a table whose hash function is made for its keys, so that no two of them collide.
//!
//! It holds what is looked up with every packet and is far too much for the first caches: single addresses, pairs of
//! identities. A lookup reads one byte of a small table, which says how the keys of a group are spread, and one entry,
//! whether the key is there or not; it compares one key, and has nothing to guess (hash and displace: Belazzougui, Botelho
//! and Dietzfelbinger, "Hash, Displace, and Compress", 2009). A group has three keys on average and one of five
//! places is free, so that nearly every group is spread within its 256 tries.
//!
//! Keys that are close to each other, as the addresses of a network are, need no hash: they stand in their order, with a place for
//! each that there might be between them.
//!
//! A table is a function of its entries: the hash is fixed, and where it does badly (which nobody can bring about but
//! the policy's author) other seeds and more places are tried in a fixed order, then the build is refused. No byte of
//! it, not even a wrong one, leads a lookup out of it.
//!
//! Cost: building, a few tries for each group; memory, an entry and a quarter, and a third of a byte, for each key.

use crate::limits::BuildError;
use crate::simd::{filled, prefetch};

/// Keys of a group, on average.
const GROUP: usize = 3;
/// How many ways there are to spread a group.
const TRIES: usize = 256;

/// Keys in order have so many places each, at most.
const SPARSE: usize = 4;

/// What a table is keyed by.
pub(crate) trait Key: Copy + Ord {
    /// Folded to 64 bits, so that keys that are likely together are folded differently.
    fn folded(self) -> u64;

    /// How far it is behind `first`; where that is far, or it is before, some large number.
    fn behind(self, first: Self) -> u32;
}

macro_rules! behind {
    () => {
        #[inline(always)]
        fn behind(self, first: Self) -> u32 {
            let steps = self.wrapping_sub(first);
            if steps < u32::MAX as Self { steps as u32 } else { u32::MAX }
        }
    };
}

impl Key for u32 {
    #[inline(always)]
    fn folded(self) -> u64 {
        self.into()
    }

    behind!();
}

impl Key for u64 {
    #[inline(always)]
    fn folded(self) -> u64 {
        self
    }

    behind!();
}

impl Key for u128 {
    #[inline(always)]
    fn folded(self) -> u64 {
        (self as u64) ^ ((self >> 64) as u64).wrapping_mul(0xd6e8_feb8_6659_fd93)
    }

    behind!();
}

/// What a table holds.
pub(crate) trait Value: Copy {
    /// A value that nothing has: it marks free places.
    const NONE: Self;

    /// Whether it is another one.
    fn is_some(self) -> bool;
}

#[derive(Clone, Copy, Debug)]
struct Entry<K, V> {
    key: K,
    value: V,
}

/// Values by key.
#[derive(Clone, Debug)]
pub(crate) struct PerfectTable<K, V> {
    /// By group: how its keys are spread.
    spreads: Box<[u8]>,
    entries: Box<[Entry<K, V>]>,
    seed: u64,
    /// With no `spreads`: the first key, behind which the others stand in their order, with gaps.
    first: K,
    len: usize,
}

impl<K: Default, V> Default for PerfectTable<K, V> {
    fn default() -> Self {
        Self { spreads: Box::default(), entries: Box::default(), seed: 0, first: K::default(), len: 0 }
    }
}

impl<K: Key + Default, V: Value> PerfectTable<K, V> {
    /// A table of entries whose keys differ. `name` is for the error.
    ///
    /// # Errors
    /// [`BuildError::Table`] when no seed spreads them.
    pub(crate) fn build(name: &'static str, entries: &[(K, V)]) -> Result<Self, BuildError> {
        if entries.is_empty() {
            return Ok(Self::default());
        }
        if entries.len() >= 1 << 30 {
            return Err(BuildError::Table { table: name, limit: 1 << 30 });
        }
        if let Some(table) = Self::in_order(entries) {
            return Ok(table);
        }
        for attempt in 0..8 {
            let seed = (attempt as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let places = entries.len() + (entries.len() / 4).max(1) * (1 + attempt / 2);
            let hashes: Vec<u64> = entries.iter().map(|(key, _)| hash(*key, seed)).collect();
            if let Some(spreads) = spread(&hashes, places) {
                let mut placed = filled(Entry { key: K::default(), value: V::NONE }, places);
                for ((key, value), hash) in entries.iter().zip(&hashes) {
                    placed[place(*hash, spreads[group(*hash, spreads.len())], places)] =
                        Entry { key: *key, value: *value };
                }
                let len = entries.len();
                return Ok(Self { spreads, entries: placed, seed, first: K::default(), len });
            }
        }
        Err(BuildError::Table { table: name, limit: TRIES })
    }

    /// A table of keys that are close to each other.
    fn in_order(entries: &[(K, V)]) -> Option<Self> {
        let first = entries.iter().map(|(key, _)| *key).min()?;
        let last = entries.iter().map(|(key, _)| key.behind(first)).max()?;
        if last as usize / SPARSE >= entries.len() {
            return None;
        }
        let mut placed = filled(Entry { key: K::default(), value: V::NONE }, last as usize + 1);
        for (key, value) in entries {
            placed[key.behind(first) as usize] = Entry { key: *key, value: *value };
        }
        Some(Self { spreads: Box::default(), entries: placed, seed: 0, first, len: entries.len() })
    }

    /// Whether it holds nothing; then it must not be asked.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Where each of the first `count` keys is if it is there, for [`PerfectTable::get_at`]; their lines are on their way from
    /// now on. `meanwhile` is done once for each key.
    ///
    /// A processor forgets requests that come faster than memory answers, so there is work between them.
    #[inline(always)]
    pub(crate) fn fetch<const N: usize>(
        &self,
        keys: &[K; N],
        count: usize,
        places: &mut [u32; N],
        mut meanwhile: impl FnMut(usize),
    ) {
        if self.spreads.is_empty() {
            for (at, (found, key)) in places.iter_mut().zip(keys).enumerate().take(count) {
                *found = self.place(*key);
                prefetch(&self.entries[*found as usize]);
                meanwhile(at);
            }
            return;
        }
        // Loops of arithmetic alone, over all keys whatever `count` is, become vector instructions.
        let (mut hashes, mut groups) = ([0; N], [0; N]);
        for (hashed, key) in hashes.iter_mut().zip(keys) {
            *hashed = hash(*key, self.seed);
        }
        for (group_of, hash) in groups.iter_mut().zip(&hashes) {
            *group_of = group(*hash, self.spreads.len()) as u32;
        }
        for (at, (found, (hash, group))) in
            places.iter_mut().zip(hashes.iter().zip(&groups)).enumerate().take(count)
        {
            let place = place(*hash, self.spreads[*group as usize], self.entries.len());
            prefetch(&self.entries[place]);
            *found = place as u32;
            meanwhile(at);
        }
    }

    /// The value of a key, which is nowhere else.
    #[inline(always)]
    pub(crate) fn get_at(&self, place: u32, key: K) -> Option<V> {
        let entry = &self.entries[place as usize];
        (entry.key == key && entry.value.is_some()).then_some(entry.value)
    }

    /// The value of a key.
    #[inline(always)]
    pub(crate) fn get(&self, key: K) -> Option<V> {
        self.get_at(self.place(key), key)
    }

    /// All keys for which [`PerfectTable::get`] may find a value, in no order that means anything, some twice.
    pub(crate) fn keys(&self) -> impl Iterator<Item = K> {
        self.entries.iter().map(|entry| entry.key)
    }

    /// How many entries it holds.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes on the heap.
    pub(crate) fn memory(&self) -> usize {
        size_of_val(&*self.spreads) + size_of_val(&*self.entries)
    }

    #[inline(always)]
    fn place(&self, key: K) -> u32 {
        if self.spreads.is_empty() {
            return key.behind(self.first).min(self.entries.len() as u32 - 1);
        }
        let hash = hash(key, self.seed);
        place(hash, self.spreads[group(hash, self.spreads.len())], self.entries.len()) as u32
    }
}

/// The multipliers here are those of splitmix64.
#[inline(always)]
fn hash<K: Key>(key: K, seed: u64) -> u64 {
    let mixed = (key.folded() ^ seed).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 32)).wrapping_mul(0x94d0_49bb_1331_11eb)
}

#[inline(always)]
fn group(hash: u64, groups: usize) -> usize {
    scaled(hash, groups)
}

#[inline(always)]
fn place(hash: u64, spread: u8, places: usize) -> usize {
    // The highest bits are alike in a group: they become the lowest, and the others are multiplied into their place.
    let number = hash.rotate_left(24) ^ u64::from(spread);
    scaled(number.wrapping_mul(0xbf58_476d_1ce4_e5b9), places)
}

/// From the higher half of a number to one below `end`, which is below 2^32.
#[inline(always)]
fn scaled(number: u64, end: usize) -> usize {
    (((number >> 32) * end as u64) >> 32) as usize
}

/// How each group of these hashes is spread, the largest groups first; `None` if one finds no places that are free.
fn spread(hashes: &[u64], places: usize) -> Option<Box<[u8]>> {
    let groups = hashes.len().div_ceil(GROUP);
    let mut starts = vec![0_u32; groups + 1];
    for hash in hashes {
        starts[group(*hash, groups) + 1] += 1;
    }
    let most = starts.iter().max().copied().unwrap_or_default() as usize;
    let mut by_size = vec![Vec::new(); most + 1];
    for (group, size) in (0_u32..).zip(&starts[1..]) {
        by_size[*size as usize].push(group);
    }
    for group in 0..groups {
        starts[group + 1] += starts[group];
    }
    let mut next = starts.clone();
    let mut grouped = vec![0; hashes.len()];
    for hash in hashes {
        let next = &mut next[group(*hash, groups)];
        grouped[*next as usize] = *hash;
        *next += 1;
    }
    let mut spreads = vec![0; groups].into_boxed_slice();
    let mut taken = vec![0_u64; places.div_ceil(64)];
    let mut found = Vec::with_capacity(most);
    for group in by_size.iter().skip(1).rev().flatten() {
        let group = *group as usize;
        let members = &grouped[starts[group] as usize..starts[group + 1] as usize];
        spreads[group] =
            (0..=u8::MAX).find(|spread| take(members, *spread, places, &mut taken, &mut found))?;
    }
    Some(spreads)
}

/// Takes the places of a group that is spread like this, if all of them are free and differ.
fn take(members: &[u64], spread: u8, places: usize, taken: &mut [u64], found: &mut Vec<usize>) -> bool {
    found.clear();
    for hash in members {
        let place = place(*hash, spread, places);
        let (word, bit) = (&mut taken[place / 64], 1 << (place % 64));
        if *word & bit != 0 {
            found.iter().for_each(|place: &usize| taken[place / 64] &= !(1 << (place % 64)));
            return false;
        }
        *word |= bit;
        found.push(place);
    }
    true
}

#[cfg(test)]
impl<K: crate::cells::AsCell, V> PerfectTable<K, V> {
    pub(crate) fn cells<'t>(
        &'t mut self,
        name: &'static str,
        value: impl Fn(&'t mut V) -> Vec<crate::cells::Cell<'t>>,
        tables: &mut crate::cells::Tables<'t>,
    ) {
        use crate::cells::{Cell, each};
        if self.entries.is_empty() {
            return;
        }
        let entries = self
            .entries
            .iter_mut()
            .flat_map(|Entry { key, value: held }| std::iter::once(key.as_cell()).chain(value(held)));
        tables.push((name, entries.collect()));
        tables.push((name, each(&mut self.spreads)));
        tables.push((name, vec![Cell::Long(&mut self.seed), self.first.as_cell()]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Value for u32 {
        const NONE: Self = u32::MAX;

        fn is_some(self) -> bool {
            self != Self::NONE
        }
    }

    /// Zero among the keys: what free places look like.
    fn check<K: Key + Default + std::fmt::Debug>(key: impl Fn(u32) -> K) {
        for count in [1, 2, 3, 4, 5, 17, 100, 20_000_u32] {
            let entries: Vec<(K, u32)> = (0..count).map(|at| (key(at * 2), at)).collect();
            let table = PerfectTable::<K, u32>::build("test", &entries).unwrap();
            assert_eq!((table.len(), table.is_empty()), (count as usize, false));
            for (key, value) in &entries {
                assert_eq!(table.get(*key), Some(*value), "{key:?}");
            }
            for (some, short) in
                entries.chunks(8).flat_map(|some| [(some, some.len()), (some, some.len() / 2)])
            {
                let (mut keys, mut places) = ([K::default(); 8], [0; 8]);
                keys.iter_mut().zip(some).for_each(|(key, (known, _))| *key = *known);
                let mut met = 0;
                table.fetch(&keys, short, &mut places, |_| met += 1);
                assert_eq!(met, short);
                for ((key, value), place) in some.iter().zip(places).take(short) {
                    assert_eq!(table.get_at(place, *key), Some(*value), "{key:?}");
                }
            }
            assert!((0..count).all(|at| table.get(key(at * 2 + 1)).is_none()));
        }
        assert!(PerfectTable::<K, u32>::build("test", &[]).unwrap().is_empty());
        let others: Vec<(K, u32)> = (1..50).map(|at| (key(at), at)).collect();
        assert_eq!(PerfectTable::<K, u32>::build("test", &others).unwrap().get(K::default()), None);
    }

    #[test]
    fn every_key_is_found_and_no_other() {
        check::<u32>(|at| at);
        check::<u32>(|at| at.wrapping_mul(0x9e37_79b9));
        check::<u64>(|at| u64::from(at % 137) << 32 | u64::from(at / 137));
        check::<u128>(|at| u128::from(at) << 64 | u128::from(at % 3));
    }

    #[test]
    fn the_first_seed_spreads_what_policies_hold() {
        let pairs: Vec<(u64, u32)> = (0..200_000).map(|at| ((at % 997) << 32 | (at / 997 * 7), 0)).collect();
        assert_eq!(PerfectTable::build("pairs", &pairs).unwrap().seed, 0);
        let subnets: Vec<(u32, u32)> = (0..100_000).map(|at| (at / 200 * 0x1_0100 + at % 200, 0)).collect();
        assert_eq!(PerfectTable::build("addresses", &subnets).unwrap().seed, 0);
    }

    #[test]
    fn keys_that_all_meet_in_one_group_are_refused_in_bounded_time() {
        // `folded` sends all of these to the same number.
        let meet = |high: u64| {
            let low = high.wrapping_mul(0xd6e8_feb8_6659_fd93);
            u128::from(high) << 64 | u128::from(low)
        };
        let entries: Vec<(u128, u32)> = (0..1000).map(|at| (meet(u64::from(at)), at)).collect();
        let refused = PerfectTable::<u128, u32>::build("test", &entries).unwrap_err();
        assert!(matches!(refused, BuildError::Table { table: "test", .. }), "{refused}");
    }
}
