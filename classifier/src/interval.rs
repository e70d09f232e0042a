//! From overlapping sets of ranges to the stretches of a line on which the same sets hold.
//!
//! A *stretch* begins at its first point and ends where the next one begins; the first begins at zero, so the
//! line is covered without gaps. The sweep costs a sort of the edges and the size of every set it writes down.

use std::collections::BTreeSet;

use crate::intern::Interner;
use crate::limits::BuildError;

/// A closed range of points that belongs to a numbered set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) first: u128,
    pub(crate) last: u128,
    pub(crate) set: u32,
}

/// A stretch: where it begins, and the interned list of the sets that hold on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) first: u128,
    pub(crate) sets: u32,
}

/// The union of `include` without the union of `except`, as disjoint closed ranges in order.
pub(crate) fn difference(include: &[(u128, u128)], except: &[(u128, u128)]) -> Vec<(u128, u128)> {
    // An edge changes how many ranges of one kind cover the points from here on.
    let mut edges: Vec<(u128, bool, i64)> = Vec::with_capacity(2 * (include.len() + except.len()));
    for (ranges, is_except) in [(include, false), (except, true)] {
        for (first, last) in ranges {
            edges.push((*first, is_except, 1));
            edges.extend(last.checked_add(1).map(|behind| (behind, is_except, -1)));
        }
    }
    edges.sort_unstable();
    let mut covering = [0_i64; 2];
    let mut open: Option<u128> = None;
    let mut result = Vec::new();
    for group in edges.chunk_by(|a, b| a.0 == b.0) {
        for (_, is_except, change) in group {
            covering[usize::from(*is_except)] += change;
        }
        let holds = covering[0] > 0 && covering[1] == 0;
        match (open, holds) {
            (None, true) => open = Some(group[0].0),
            (Some(first), false) => {
                result.push((first, group[0].0 - 1));
                open = None;
            }
            _ => {}
        }
    }
    result.extend(open.map(|first| (first, u128::MAX)));
    result
}

/// Cuts the line into stretches. The ranges of one set must be disjoint.
///
/// # Errors
/// [`BuildError::Table`] when the lists outgrow `sets`; [`BuildError::SetEntries`] when writing them costs more
/// than `entries_limit`, equal ones included.
pub(crate) fn stretches(
    members: &[Member],
    sets: &mut Interner<u32>,
    entries_limit: usize,
) -> Result<Vec<Stretch>, BuildError> {
    // Leaving sorts before entering, so that a set whose ranges touch stays in.
    let mut edges: Vec<(u128, bool, u32)> = Vec::with_capacity(2 * members.len());
    for member in members {
        edges.push((member.first, true, member.set));
        edges.extend(member.last.checked_add(1).map(|behind| (behind, false, member.set)));
    }
    edges.sort_unstable();
    let mut result = Vec::new();
    if edges.first().is_none_or(|edge| edge.0 > 0) {
        result.push(Stretch { first: 0, sets: sets.intern(&[])? });
    }
    let mut active = BTreeSet::new();
    let mut written = 0_usize;
    let mut list = Vec::new();
    for group in edges.chunk_by(|a, b| a.0 == b.0) {
        for (_, enters, set) in group {
            if *enters {
                active.insert(*set);
            } else {
                active.remove(set);
            }
        }
        written += active.len();
        if written > entries_limit {
            return Err(BuildError::SetEntries { limit: entries_limit });
        }
        list.clear();
        list.extend(active.iter().copied());
        result.push(Stretch { first: group[0].0, sets: sets.intern(&list)? });
    }
    result.dedup_by(|next, kept| next.sets == kept.sets);
    Ok(result)
}

/// The list of sets that hold at `point`.
pub(crate) fn sets_at(stretches: &[Stretch], point: u128) -> u32 {
    let behind = stretches.partition_point(|stretch| stretch.first <= point);
    stretches[behind - 1].sets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_merges_what_touches_and_reaches_the_end_of_the_line() {
        assert_eq!(difference(&[(0, 9), (10, 19)], &[]), [(0, 19)]);
        assert_eq!(difference(&[(0, 99)], &[(10, 19), (15, 30)]), [(0, 9), (31, 99)]);
        assert_eq!(difference(&[(5, u128::MAX)], &[(7, 7)]), [(5, 6), (8, u128::MAX)]);
        assert_eq!(difference(&[(5, 6)], &[(0, u128::MAX)]), []);
        assert_eq!(difference(&[(1, 5), (3, 9)], &[]), [(1, 9)]);
    }

    #[test]
    fn stretches_cover_the_line_and_name_every_set_that_holds() {
        let mut sets = Interner::new("sets", 100);
        let members = [
            Member { first: 10, last: 19, set: 0 },
            Member { first: 15, last: u128::MAX, set: 1 },
            Member { first: 20, last: 24, set: 0 },
        ];
        let stretches = stretches(&members, &mut sets, 100).unwrap();
        let shown: Vec<(u128, &[u32])> =
            stretches.iter().map(|stretch| (stretch.first, sets.get(stretch.sets))).collect();
        assert_eq!(shown, [(0, &[][..]), (10, &[0]), (15, &[0, 1]), (25, &[1])]);
        assert_eq!(sets.get(sets_at(&stretches, 24)), [0, 1]);
        assert_eq!(sets.get(sets_at(&stretches, u128::MAX)), [1]);
    }

    #[test]
    fn the_cost_of_nesting_is_bounded() {
        let members: Vec<Member> =
            (0..100).map(|at| Member { first: u128::from(at), last: 1000, set: at }).collect();
        let result = stretches(&members, &mut Interner::new("sets", 100_000), 1000);
        assert_eq!(result, Err(BuildError::SetEntries { limit: 1000 }));
    }
}
