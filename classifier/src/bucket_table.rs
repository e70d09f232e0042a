//! Exact match in one cache line: a hash table of buckets of 64 bytes.
//!
//! It holds what is looked up with every packet and is far too much for the first caches: single addresses, pairs of
//! classes. A bucket is filled from the front, and half of all places are free: a lookup, found or not, looks at one
//! line, seldom at the next one, never at more than [`REACH`]. Which place of a bucket holds a key is found without a
//! branch: guessed wrong, it would wait for memory every time.
//!
//! A table is a function of its entries: the hash is fixed, and where it does badly (which nobody can bring about but
//! the policy's author) other seeds and more buckets are tried in a fixed order, then the build is refused.

mod checked;

use crate::limits::BuildError;

/// Buckets at which a lookup looks at most.
const REACH: usize = 8;

/// What a table is keyed by.
pub(crate) trait Key: Copy + Eq {
    /// Folded to 64 bits, so that keys that are likely together are folded differently.
    fn folded(self) -> u64;
}

impl Key for u32 {
    fn folded(self) -> u64 {
        self.into()
    }
}

impl Key for u64 {
    fn folded(self) -> u64 {
        self
    }
}

impl Key for u128 {
    #[inline(always)]
    fn folded(self) -> u64 {
        (self as u64) ^ ((self >> 64) as u64).wrapping_mul(0xd6e8_feb8_6659_fd93)
    }
}

/// What a table holds.
pub(crate) trait Value: Copy + PartialEq {
    /// A value that nothing has: it marks free places.
    const NONE: Self;
}

#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Bucket<K, V, const N: usize> {
    keys: [K; N],
    values: [V; N],
}

/// Values by key, `N` of them to a bucket.
#[derive(Clone, Debug)]
pub(crate) struct BucketTable<K, V, const N: usize> {
    buckets: Box<[Bucket<K, V, N>]>,
    /// Buckets in which a key may be at home; `REACH` follow them.
    homes: usize,
    seed: u64,
    len: usize,
}

impl<K, V, const N: usize> Default for BucketTable<K, V, N> {
    fn default() -> Self {
        Self { buckets: Box::default(), homes: 0, seed: 0, len: 0 }
    }
}

impl<K: Key + Default, V: Value, const N: usize> BucketTable<K, V, N> {
    /// A table of entries whose keys differ. `name` is for the error.
    ///
    /// # Errors
    /// [`BuildError::Table`] when no seed spreads them.
    pub(crate) fn build(name: &'static str, entries: &[(K, V)]) -> Result<Self, BuildError> {
        const { assert!(size_of::<Bucket<K, V, N>>() == 64) };
        let fewest = (2 * entries.len()).div_ceil(N);
        for seed in 0..8 {
            let homes = fewest << (seed / 2);
            if let Some(buckets) = fill(entries, homes, seed) {
                return Ok(Self { buckets, homes, seed, len: entries.len() });
            }
        }
        Err(BuildError::Table { table: name, limit: REACH * N })
    }

    /// Whether it holds nothing; then it must not be asked.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// The value of a key.
    #[inline(always)]
    pub(crate) fn get(&self, key: K) -> Option<V> {
        let home = home(key, self.seed, self.homes);
        search(&self.buckets[home..home + REACH], key)
    }

    /// How many entries it holds.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes on the heap.
    pub(crate) fn memory(&self) -> usize {
        size_of_val(&*self.buckets)
    }
}

/// The value of a key in the buckets from its home on.
#[inline(always)]
fn search<K: Key, V: Value, const N: usize>(buckets: &[Bucket<K, V, N>], key: K) -> Option<V> {
    for bucket in buckets {
        let mut place = N;
        for (at, known) in bucket.keys.iter().enumerate() {
            // A free place may look like the key: taken ones stand before it.
            place = if *known == key && at < place { at } else { place };
        }
        if let Some(value) = bucket.values.get(place)
            && *value != V::NONE
        {
            return Some(*value);
        }
        // A bucket with a free place has sent nobody on.
        if bucket.values[N - 1] == V::NONE {
            break;
        }
    }
    None
}

/// The bucket in which a key is looked for first. The multipliers are those of splitmix64.
#[inline(always)]
fn home<K: Key>(key: K, seed: u64, homes: usize) -> usize {
    let mixed = (key.folded() ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((u128::from(mixed) * homes as u128) >> 64) as usize
}

/// The buckets, with room behind the last home for those that it sends on; `None` if some key finds no place.
fn fill<K: Key + Default, V: Value, const N: usize>(
    entries: &[(K, V)],
    homes: usize,
    seed: u64,
) -> Option<Box<[Bucket<K, V, N>]>> {
    if entries.is_empty() {
        return Some(Box::default());
    }
    let free = Bucket { keys: [K::default(); N], values: [V::NONE; N] };
    let mut buckets = vec![free; homes + REACH].into_boxed_slice();
    for (key, value) in entries {
        let home = home(*key, seed, homes);
        let bucket = buckets[home..home + REACH].iter_mut().find(|it| it.values[N - 1] == V::NONE)?;
        let place = bucket.values.iter().position(|known| *known == V::NONE)?;
        bucket.keys[place] = *key;
        bucket.values[place] = *value;
    }
    Some(buckets)
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Value for u32 {
        const NONE: Self = u32::MAX;
    }

    /// Zero among the keys: what free places look like.
    fn check<K: Key + Default + std::fmt::Debug, const N: usize>(key: impl Fn(u32) -> K) {
        for count in [1, 2, 3, 100, 20_000_u32] {
            let entries: Vec<(K, u32)> = (0..count).map(|at| (key(at * 2), at)).collect();
            let table = BucketTable::<K, u32, N>::build("test", &entries).unwrap();
            assert_eq!((table.len(), table.is_empty()), (count as usize, false));
            for (key, value) in &entries {
                assert_eq!(table.get(*key), Some(*value), "{key:?}");
            }
            assert!((0..count).all(|at| table.get(key(at * 2 + 1)).is_none()));
        }
        assert!(BucketTable::<K, u32, N>::build("test", &[]).unwrap().is_empty());
        let others: Vec<(K, u32)> = (1..50).map(|at| (key(at), at)).collect();
        assert_eq!(BucketTable::<K, u32, N>::build("test", &others).unwrap().get(K::default()), None);
    }

    #[test]
    fn every_key_is_found_and_no_other() {
        check::<u32, 8>(|at| at);
        check::<u64, 5>(|at| u64::from(at % 137) << 32 | u64::from(at / 137));
        check::<u128, 3>(|at| u128::from(at) << 64 | u128::from(at % 3));
    }

    #[test]
    fn keys_that_all_meet_in_one_bucket_are_refused_in_bounded_time() {
        // `folded` sends all of these to the same number.
        let meet = |high: u64| {
            let low = high.wrapping_mul(0xd6e8_feb8_6659_fd93);
            u128::from(high) << 64 | u128::from(low)
        };
        let entries: Vec<(u128, u32)> = (0..1000).map(|at| (meet(u64::from(at)), at)).collect();
        let refused = BucketTable::<u128, u32, 3>::build("test", &entries).unwrap_err();
        assert!(matches!(refused, BuildError::Table { table: "test", .. }), "{refused}");
    }
}
