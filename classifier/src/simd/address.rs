//! IPv4 address to interval.
//!
//! The addresses are cut into intervals, numbered in order; the number of boundaries that an address has reached is its
//! interval. Two forms: `rooted` where few boundaries share an upper half, `searched` where many do, or where there are so
//! few in all that a search stays in the first-level cache.

pub(super) mod rooted;
pub(super) mod searched;

use self::rooted::Rooted;
use self::searched::Searched;

/// A search among so few boundaries costs no more than a root.
const FEW: usize = 272;

/// Boundaries between intervals: above zero, in rising order.
type Boundaries = [u32];

#[derive(Clone, Debug)]
pub(super) enum Form {
    Rooted(Rooted),
    Searched(Searched),
}

/// The table.
#[derive(Clone, Debug)]
pub(crate) struct AddressTable {
    pub(super) form: Form,
    intervals: u32,
}

impl AddressTable {
    /// The table of intervals that begin at `firsts`: zero, and more in rising order.
    ///
    /// # Panics
    /// When they do not begin with zero or do not rise.
    pub(crate) fn build(firsts: &[u32]) -> Self {
        assert!(firsts.first() == Some(&0) && firsts.is_sorted_by(|left, right| left < right));
        let boundaries = &firsts[1..];
        let rooted = if boundaries.len() > FEW { Rooted::build(boundaries) } else { None };
        let form = rooted.map_or_else(|| Form::Searched(Searched::build(boundaries)), Form::Rooted);
        Self { form, intervals: firsts.len() as u32 }
    }

    /// How many intervals there are.
    pub(crate) fn intervals(&self) -> u32 {
        self.intervals
    }

    /// The interval of an address.
    #[inline(always)]
    pub(crate) fn get(&self, address: u32) -> u32 {
        match &self.form {
            Form::Rooted(table) => table.get(address),
            Form::Searched(table) => table.get(address),
        }
    }

    /// Bytes on the heap.
    pub(crate) fn memory(&self) -> usize {
        match &self.form {
            Form::Rooted(table) => table.memory(),
            Form::Searched(table) => table.memory(),
        }
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
        let searched = Searched::build(&firsts[1..]);
        let near = firsts.iter().flat_map(|first| [first.saturating_sub(1), *first, first.saturating_add(1)]);
        for address in near.chain(more.iter().copied()).chain([u32::MAX]) {
            let expected = firsts.partition_point(|first| *first <= address) as u32 - 1;
            assert_eq!(table.get(address), expected, "{address:#x} among {}", firsts.len());
            assert_eq!(searched.get(address), expected, "{address:#x} among {}", firsts.len());
        }
    }

    #[test]
    fn blocks_and_levels_are_filled_to_their_ends() {
        for length in [0, 1, 15, 16, 17, 33, 271, 272, 273, 289, 4_623, 4_624, 4_625, 10_000] {
            check((1..=length).map(|at| at * 7).collect(), &[]);
            check((1..=length).map(|at| at << 13).collect(), &[]);
            // One upper half is crowded.
            check((1..=length).map(|at| at << 13).chain(99..=200).collect(), &[]);
        }
        check(vec![1, u32::MAX], &[]);
    }

    #[test]
    fn the_form_follows_the_boundaries() {
        let vectors = |shift: u32| {
            let firsts: Vec<u32> = (0..1 << 12).map(|at| at << shift).collect();
            match AddressTable::build(&firsts).form {
                Form::Rooted(table) => table.vectors,
                Form::Searched(_) => 0,
            }
        };
        assert_eq!([13, 11, 10, 9].map(vectors), [1, 1, 2, 0]);
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
