//! Which prefixes of a set are *wide*.
//!
//! A cell stands for a pair of prefixes, and a filter fills the cells of all pairs inside its own. If a set
//! has filters with a wide source and a narrow destination, and the other way about, their intersections are
//! nearly all pairs. So filters are divided by whether each of their prefixes is wide, which is to hold more than a
//! threshold of the set's prefixes of that side; the four parts are compiled and looked up apart, and the
//! first filter of them wins.
//!
//! The thresholds are those with the least cost: cells to be written, weighed by what it takes to look into
//! each part. Cost: a pass over the filters, and one over the prefixes for each threshold.

use super::prefix_tree::PrefixTree;
use crate::address_trie::Key;

/// A prefix is wide when more prefixes than this lie in it: the candidates.
const THRESHOLDS: [u32; 9] = [0, 1, 4, 16, 64, 256, 1024, 4096, u32::MAX];
const BINS: usize = THRESHOLDS.len();
/// Looking into one part more costs a packet about as much as so many cells that it has to share the cache with.
const PART: u64 = 60_000;
/// A cell of the pair map takes as much room as so many of the other tables.
const PAIR: u64 = 4;
/// A wide table of so many cells alone is dense (`crate::simd`): looking into it costs least of all.
const DENSE: u64 = 1 << 19;
/// A cell costs about as much as so many filters in the lists of cells.
const LISTED: u64 = 64;

/// What was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Split {
    pub(super) source: u32,
    pub(super) destination: u32,
    /// At most so many cells are written.
    pub(super) applications: u64,
}

/// One side: its tree, and the node of each filter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Side<'a, K> {
    pub(super) tree: &'a PrefixTree<K>,
    pub(super) nodes: &'a [u32],
}

impl<K: Key> Side<'_, K> {
    pub(super) fn subtree_of(&self, filter: usize) -> u32 {
        self.tree.subtree(self.nodes[filter])
    }

    /// By node: how many nodes of its subtree are wide by `threshold`.
    fn wide_below(&self, threshold: u32) -> Vec<u32> {
        let mut before = Vec::with_capacity(self.tree.len() + 1);
        let mut count = 0;
        for node in 0..self.tree.len() as u32 {
            before.push(count);
            count += u32::from(self.tree.subtree(node) > threshold);
        }
        before.push(count);
        (0..self.tree.len()).map(|node| before[self.tree.end(node as u32) as usize] - before[node]).collect()
    }
}

/// The first threshold that `subtree` does not exceed: it is wide by all before.
fn bin(subtree: u32) -> usize {
    THRESHOLDS.iter().position(|threshold| subtree <= *threshold).unwrap_or(BINS - 1)
}

/// The division that costs least.
pub(super) fn choose<K: Key>(sources: Side<'_, K>, destinations: Side<'_, K>) -> Split {
    let filters = sources.nodes.len();
    let bins: Vec<(u8, u8)> = (0..filters)
        .map(|filter| (bin(sources.subtree_of(filter)) as u8, bin(destinations.subtree_of(filter)) as u8))
        .collect();
    let mut count = [[0_u64; BINS]; BINS];
    let mut narrow = [[0_u64; BINS]; BINS];
    for (filter, (source, destination)) in bins.iter().enumerate() {
        let (rows, columns) = (sources.subtree_of(filter), destinations.subtree_of(filter));
        count[*source as usize][*destination as usize] += 1;
        narrow[*source as usize][*destination as usize] += u64::from(rows) * u64::from(columns);
    }
    // By threshold, and bin of the other side: cells of filters that are wide on one side only.
    let one_sided = |wide: Side<'_, K>, other: Side<'_, K>, is_source: bool| {
        THRESHOLDS.map(|threshold| {
            let below = wide.wide_below(threshold);
            let mut cells = [0_u64; BINS];
            for (filter, (source, destination)) in bins.iter().enumerate() {
                let own = wide.nodes[filter];
                if wide.tree.subtree(own) > threshold {
                    let other_bin = if is_source { *destination } else { *source };
                    cells[other_bin as usize] +=
                        u64::from(below[own as usize]) * u64::from(other.subtree_of(filter));
                }
            }
            (cells, below)
        })
    };
    let wide_sources = one_sided(sources, destinations, true);
    let wide_destinations = one_sided(destinations, sources, false);

    let mut best: Option<(u64, Split)> = None;
    for (source_at, (by_destination, wide_rows)) in wide_sources.iter().enumerate() {
        for (destination_at, (by_source, wide_columns)) in wide_destinations.iter().enumerate() {
            let (source, destination) = (THRESHOLDS[source_at], THRESHOLDS[destination_at]);
            let (mut cells, mut parts) = ([0_u64; 4], [0_u64; 4]);
            for row in 0..BINS {
                for column in 0..BINS {
                    let part = usize::from(row > source_at) + 2 * usize::from(column > destination_at);
                    parts[part] += count[row][column];
                    if part == 0 {
                        cells[0] += narrow[row][column];
                    }
                }
            }
            cells[1] = by_destination[..=destination_at].iter().sum();
            cells[2] = by_source[..=source_at].iter().sum();
            let (rows, columns) = (u64::from(wide_rows[0]), u64::from(wide_columns[0]));
            let is_wide = |filter: &usize| {
                bins[*filter].0 as usize > source_at && bins[*filter].1 as usize > destination_at
            };
            let wide = (0..filters).filter(is_wide).map(|filter| {
                let below = |below: &[u32], nodes: &[u32]| u64::from(below[nodes[filter] as usize]);
                below(wide_rows, sources.nodes) * below(wide_columns, destinations.nodes)
            });
            cells[3] = wide.sum();
            // Rows of the list tables, and the wide table, are written whole.
            let table = if parts[3] > 0 { rows * columns } else { 0 };
            let written =
                PAIR * cells[0] + cells[1].max(parts[1] * rows) + cells[2].max(parts[2] * columns) + table;
            let applications = cells.iter().sum::<u64>();
            let looked_into = parts.iter().filter(|part| **part > 0).count() as u64;
            let is_dense = parts[3] == filters as u64 && table <= DENSE;
            let written = if is_dense { 0 } else { written };
            let cost = written + applications / LISTED + looked_into * PART.max(filters as u64);
            if best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, Split { source, destination, applications }));
            }
        }
    }
    best.map_or(Split { source: 0, destination: 0, applications: 0 }, |(_, split)| split)
}
