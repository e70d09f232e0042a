//! IPv4 address to interval: a search among sorted boundaries, sixteen at a time.
//!
//! The addresses are cut into intervals, numbered in order; the number of boundaries that an address has reached
//! is its interval. The boundaries stand in blocks of sixteen, one cache line each, and above them stand levels of
//! separators, sixteen a block and so seventeen children: a static B+ tree without pointers (Khuong and Morin, "Array
//! Layouts for Comparison-Based Searching", 2017, compare such layouts). Four bytes a boundary: what a thousand
//! prefixes need stays in the first-level cache. Cost: one comparison of sixteen a level; three levels up to
//! 4,624 boundaries, four up to 78,608, five up to 1.3 million.

/// Boundaries of one block.
pub(super) const KEYS: usize = 16;
/// Blocks below one block.
const CHILDREN: usize = KEYS + 1;
/// Levels of the largest table.
pub(super) const MOST_LEVELS: usize = 8;

/// Boundary - 1, with the sign bit flipped so that a signed comparison orders them; places without a boundary
/// hold the greatest key, which no address exceeds.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Block(pub(super) [i32; KEYS]);

/// An address as keys have it.
#[inline(always)]
pub(super) fn key(address: u32) -> i32 {
    (address ^ 1 << 31) as i32
}

/// The table.
#[derive(Clone, Debug)]
pub(crate) struct AddressTable {
    /// All levels, the topmost first: it is one block.
    pub(super) blocks: Box<[Block]>,
    /// Where each level begins.
    pub(super) levels: Box<[u32]>,
    intervals: u32,
}

impl AddressTable {
    /// The table of intervals that begin at `firsts`: zero, and more in rising order.
    ///
    /// # Panics
    /// When they do not begin with zero or do not rise.
    pub(crate) fn build(firsts: &[u32]) -> Self {
        assert!(firsts.first() == Some(&0) && firsts.is_sorted_by(|left, right| left < right));
        let keys: Vec<i32> = firsts[1..].iter().map(|first| key(first - 1)).collect();
        let padded = |keys: &mut dyn Iterator<Item = i32>| {
            Block(std::array::from_fn(|_| keys.next().unwrap_or(i32::MAX)))
        };
        // From the lowest level up; the least key of each block is what separates it from the one before.
        let mut levels = vec![keys.chunks(KEYS).map(|keys| padded(&mut keys.iter().copied())).collect()];
        if keys.is_empty() {
            levels = vec![vec![padded(&mut std::iter::empty())]];
        }
        let mut least: Vec<i32> = keys.chunks(KEYS).map(|keys| keys[0]).collect();
        while levels.last().is_some_and(|level| level.len() > 1) {
            let above = least.chunks(CHILDREN).map(|least| padded(&mut least[1..].iter().copied()));
            levels.push(above.collect());
            least = least.chunks(CHILDREN).map(|least| least[0]).collect();
        }
        levels.reverse();
        let starts = levels.iter().scan(0, |start, level| {
            *start += level.len() as u32;
            Some(*start - level.len() as u32)
        });
        let levels_start: Box<[u32]> = starts.collect();
        assert!(levels_start.len() <= MOST_LEVELS);
        Self { blocks: levels.concat().into(), levels: levels_start, intervals: firsts.len() as u32 }
    }

    /// How many intervals there are.
    pub(crate) fn intervals(&self) -> u32 {
        self.intervals
    }

    /// The interval of an address.
    #[inline(always)]
    pub(crate) fn get(&self, address: u32) -> u32 {
        let key = key(address);
        let mut block = 0;
        let mut reached = 0;
        for start in &self.levels {
            block = block * CHILDREN as u32 + reached;
            let keys = &self.blocks[(start + block) as usize].0;
            reached = keys.iter().map(|boundary| u32::from(key > *boundary)).sum();
        }
        block * KEYS as u32 + reached
    }

    /// Bytes on the heap.
    pub(crate) fn memory(&self) -> usize {
        size_of_val(&*self.blocks) + size_of_val(&*self.levels)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(mut firsts: Vec<u32>, more: &[u32]) {
        firsts.push(0);
        firsts.sort_unstable();
        firsts.dedup();
        let table = AddressTable::build(&firsts);
        let near = firsts.iter().flat_map(|first| [first.saturating_sub(1), *first, first.saturating_add(1)]);
        for address in near.chain(more.iter().copied()).chain([u32::MAX]) {
            let expected = firsts.partition_point(|first| *first <= address) as u32 - 1;
            assert_eq!(table.get(address), expected, "{address:#x} among {}", firsts.len());
        }
    }

    #[test]
    fn blocks_and_levels_are_filled_to_their_ends() {
        for length in [0, 1, 15, 16, 17, 33, 271, 272, 273, 289, 4_623, 4_624, 4_625, 10_000] {
            check((1..=length).map(|at| at * 7).collect(), &[]);
        }
        check(vec![1, u32::MAX], &[]);
    }

    proptest! {
        #[test]
        fn equals_a_search(
            firsts in proptest::collection::vec(
                prop_oneof![any::<u32>(), 0..2_000_u32, any::<u16>().prop_map(|x| 0xffff_0000 | u32::from(x)),
                    any::<u16>().prop_map(|x| u32::from(x) << 16)], 0..1_500),
            more in proptest::collection::vec(any::<u32>(), 100),
        ) {
            check(firsts, &more);
        }
    }
}
