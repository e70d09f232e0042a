//! Single pairs of classes to their programs: a hash table whose bucket is one cache line.
//!
//! It holds the pairs that narrow rules name (see `split`); a pair that is not in it is the matrix's. A bucket has four
//! keys and their programs. Half of all places are free, so a lookup, found or not, looks at one line, and at the next
//! one for about one pair in twenty; never at more than [`REACH`].
//!
//! The table is a function of its pairs: the hash is fixed, and where it does badly (nobody can make it so without
//! writing the policy) another seed and more buckets are tried in a fixed order, then the build is refused.

mod checked;

use crate::limits::BuildError;
use crate::rule_trie::Program;

/// Pairs of one bucket: a cache line of 64 bytes.
const BUCKET: usize = 4;
/// Buckets at which a lookup looks at most.
const REACH: usize = 8;
/// No pair of classes, whose numbers have at most 30 bits.
const FREE: u64 = u64::MAX;

#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Bucket {
    /// Source class, then destination class; filled from the front.
    keys: [u64; BUCKET],
    programs: [Program; BUCKET],
}

/// The finished table.
#[derive(Clone, Debug)]
pub(crate) struct PairTable {
    buckets: Box<[Bucket]>,
    /// Buckets in which a pair may be at home; `REACH` follow them.
    homes: usize,
    seed: u64,
    pairs: usize,
}

/// A pair of classes as the table knows it.
pub(crate) fn key(source: u32, destination: u32) -> u64 {
    u64::from(source) << 32 | u64::from(destination)
}

impl PairTable {
    /// A table of pairs that differ, by key.
    ///
    /// # Errors
    /// [`BuildError::Table`] when no seed spreads them.
    pub(crate) fn build(pairs: &[(u64, Program)]) -> Result<Self, BuildError> {
        let fewest = pairs.len().div_ceil(BUCKET / 2);
        for seed in 0..8 {
            let homes = fewest << (seed / 2);
            if let Some(buckets) = fill(pairs, homes, seed) {
                return Ok(Self { buckets, homes, seed, pairs: pairs.len() });
            }
        }
        Err(BuildError::Table { table: "pairs in a bucket", limit: REACH * BUCKET })
    }

    /// Whether it holds nothing: a policy without narrow rules.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// The program of a pair, if it is here. The table is not empty.
    #[inline(always)]
    pub(crate) fn get(&self, key: u64) -> Option<Program> {
        let home = home(key, self.seed, self.homes);
        for bucket in &self.buckets[home..home + REACH] {
            for (known, program) in bucket.keys.iter().zip(&bucket.programs) {
                if *known == key {
                    return Some(*program);
                }
            }
            // A bucket with a free place has sent nobody on.
            if bucket.keys[BUCKET - 1] == FREE {
                break;
            }
        }
        None
    }

    /// How many pairs it holds.
    pub(crate) fn len(&self) -> usize {
        self.pairs
    }

    /// Bytes on the heap.
    pub(crate) fn memory(&self) -> usize {
        size_of_val(&*self.buckets)
    }
}

/// The bucket in which a pair is looked for first. The multiplier is that of splitmix64's second round.
#[inline(always)]
fn home(key: u64, seed: u64, homes: usize) -> usize {
    let mixed = (key ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((u128::from(mixed) * homes as u128) >> 64) as usize
}

/// The buckets, with room behind the last home for those that it sends on; `None` if some pair finds no place.
fn fill(pairs: &[(u64, Program)], homes: usize, seed: u64) -> Option<Box<[Bucket]>> {
    if pairs.is_empty() {
        return Some(Box::default());
    }
    let free = Bucket { keys: [FREE; BUCKET], programs: [Program::default(); BUCKET] };
    let mut buckets = vec![free; homes + REACH].into_boxed_slice();
    for (key, program) in pairs {
        let home = home(*key, seed, homes);
        let bucket = buckets[home..home + REACH].iter_mut().find(|bucket| bucket.keys[BUCKET - 1] == FREE)?;
        let place = bucket.keys.iter().position(|known| *known == FREE)?;
        bucket.keys[place] = *key;
        bucket.programs[place] = *program;
    }
    Some(buckets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_is_found_and_no_other() {
        for count in [1, 2, 3, 100, 20_000_u32] {
            let program = |number: u32| Program { pattern: number, list: number + 1 };
            let pair = |at: u32| key(at % 137, at / 137 * 3);
            let pairs: Vec<(u64, Program)> = (0..count).map(|at| (pair(at), program(at))).collect();
            let table = PairTable::build(&pairs).unwrap();
            assert_eq!((table.len(), table.is_empty()), (count as usize, false));
            for (at, (known, expected)) in (0..).zip(&pairs) {
                assert_eq!(table.get(*known), Some(*expected));
                assert_eq!(table.get(key(at % 137, at / 137 * 3 + 1)), None);
            }
        }
        assert!(PairTable::build(&[]).unwrap().is_empty());
    }
}
