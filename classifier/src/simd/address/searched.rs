//! Intervals by search: sorted boundaries in a static B+ tree.
//!
//! The boundaries stand in blocks of sixteen, one cache line each, and above them stand levels of separators,
//! sixteen a block and so seventeen children, without pointers (Khuong and Morin, "Array Layouts for Comparison-Based
//! Searching", 2017, compare such layouts). Four bytes a boundary: what a few hundred prefixes need stays in the
//! first-level cache. Cost: one comparison of sixteen a level; two levels up to 272 boundaries, three up to 4,624,
//! four up to 78,608, five up to 1.3 million.

/// Boundaries of one block.
pub(in crate::simd) const KEYS: usize = 16;
/// Blocks below one block.
const CHILDREN: usize = KEYS + 1;
/// Levels of the largest table: there are 22 million boundaries at most.
pub(in crate::simd) const MOST_LEVELS: usize = 6;

/// Boundary - 1, with the sign bit flipped so that a signed comparison orders them; places without a boundary
/// hold the greatest key, which no address exceeds.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(in crate::simd) struct Block(pub(in crate::simd) [i32; KEYS]);

/// An address as keys have it.
#[inline(always)]
pub(in crate::simd) fn key(address: u32) -> i32 {
    (address ^ 1 << 31) as i32
}

/// The tree.
#[derive(Clone, Debug)]
pub(in crate::simd) struct Searched {
    /// All levels, the topmost first: it is one block.
    pub(in crate::simd) blocks: Box<[Block]>,
    /// Where each level begins.
    pub(in crate::simd) levels: Box<[u32]>,
}

impl Searched {
    /// The tree of boundaries above zero, in rising order.
    pub(super) fn build(boundaries: &[u32]) -> Self {
        let keys: Vec<i32> = boundaries.iter().map(|boundary| key(boundary - 1)).collect();
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
        let starts: Box<[u32]> = starts.collect();
        assert!(starts.len() <= MOST_LEVELS);
        Self { blocks: levels.concat().into(), levels: starts }
    }

    /// The interval of an address.
    #[inline(always)]
    pub(super) fn get(&self, address: u32) -> u32 {
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
    pub(super) fn memory(&self) -> usize {
        size_of_val(&*self.blocks) + size_of_val(&*self.levels)
    }
}
