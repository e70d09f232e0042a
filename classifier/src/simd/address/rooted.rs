//! Intervals by root: the upper half of an address says where its boundaries stand, one comparison which of them it has reached.
//!
//! Boundaries are sorted, and of each only the lower half is kept, two bytes. A root counts for each upper half the boundaries
//! that lie before it, as 16 bits on top of the count of its group of 256: it shares the second-level cache with the rest of
//! a set. Those inside an upper half are compared at once, 32 a vector, two vectors at most; the few upper halves that hold
//! more are searched. Cost: three loads that do not depend on each other, and one or two vectors. For sets whose boundaries
//! are spread out.

use super::Boundaries;

/// Lower halves in one vector of 64 bytes.
pub(in crate::simd) const KEYS: usize = 32;
/// Vectors that are compared at once, at most.
pub(in crate::simd) const MOST_VECTORS: usize = 2;
/// One in so many boundaries may share its upper half with more than are compared at once: so many branches miss.
const CROWDED: usize = 16;
/// Groups of upper halves, and upper halves of a group.
const GROUP: usize = 256;

/// The table.
#[derive(Clone, Debug)]
pub(in crate::simd) struct Rooted {
    /// By group: how many boundaries lie before it.
    groups: Box<[u32; GROUP]>,
    /// By group and upper half in it, and behind the last one: how many boundaries of the group lie before it.
    roots: Box<[u16; GROUP * (GROUP + 1)]>,
    /// By boundary: its lower half; and as many more as the vectors that begin at any of them reach.
    pub(in crate::simd) keys: Box<[u16]>,
    /// So many vectors hold the boundaries of any one upper half, or are [`MOST_VECTORS`].
    pub(in crate::simd) vectors: usize,
}

impl Rooted {
    /// The table of boundaries in rising order; `None` where many share their upper halves with many.
    pub(super) fn build(boundaries: &Boundaries) -> Option<Self> {
        let (mut groups, mut roots) = (Vec::with_capacity(GROUP), Vec::with_capacity(GROUP * (GROUP + 1)));
        let (mut most, mut crowded) = (0, 0);
        for group in 0..GROUP as u32 {
            let before = boundaries.partition_point(|boundary| boundary >> 24 < group);
            let own = boundaries[before..].partition_point(|boundary| boundary >> 24 == group);
            let own = &boundaries[before..][..own];
            groups.push(before as u32);
            roots.push(0);
            let mut reached = 0;
            for half in 0..GROUP as u32 {
                let inside = own[reached..].partition_point(|boundary| boundary >> 16 & 0xff == half);
                most = most.max(inside);
                crowded += if inside > KEYS * MOST_VECTORS { inside } else { 0 };
                reached += inside;
                roots.push(u16::try_from(reached).ok()?);
            }
        }
        let vectors = most.div_ceil(KEYS).clamp(1, MOST_VECTORS);
        let keys = boundaries.iter().map(|boundary| *boundary as u16);
        let padding = [0; KEYS * MOST_VECTORS];
        let groups = groups.into_boxed_slice().try_into().ok()?;
        let roots = roots.into_boxed_slice().try_into().ok()?;
        (crowded * CROWDED <= boundaries.len()).then(|| Self {
            groups,
            roots,
            keys: keys.chain(padding).collect(),
            vectors,
        })
    }

    /// How many boundaries lie before the upper half of an address, and how many inside it.
    #[inline(always)]
    pub(in crate::simd) fn bounds(&self, address: u32) -> (u32, u32) {
        let group = address >> 24;
        let at = ((address >> 16) + group) as usize;
        let (start, end) = (u32::from(self.roots[at]), u32::from(self.roots[at + 1]));
        (self.groups[group as usize] + start, end - start)
    }

    /// The interval of an address, of which `bounds` are known.
    pub(in crate::simd) fn search(&self, address: u32, (start, count): (u32, u32)) -> u32 {
        let keys = &self.keys[start as usize..][..count as usize];
        start + keys.partition_point(|key| *key <= address as u16) as u32
    }

    /// The interval of an address.
    #[inline(always)]
    pub(super) fn get(&self, address: u32) -> u32 {
        self.search(address, self.bounds(address))
    }

    /// Bytes on the heap.
    pub(super) fn memory(&self) -> usize {
        size_of_val(&*self.groups) + size_of_val(&*self.roots) + size_of_val(&*self.keys)
    }
}
