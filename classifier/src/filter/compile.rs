//! Filters of one family to run-time tables. The stages are those of the essay in `filter`.

use std::ops::Range;

use hashbrown::HashMap;
use septum_rules::proto::Service;

use super::FilterError;
use super::limits::FilterLimits;
use super::prefix_tree::{Numbering, PrefixTree};
use super::programs::Programs;
use super::service_class;
use super::split::{self, Side, Split};
use crate::address_trie::Key;
use crate::simd::{PairEntry, PairMap, Parts, Record, Tables};

/// A filter of one family, as the compiler sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item<K> {
    /// Lowest address, highest address, length.
    pub(super) source: (K, K, u8),
    pub(super) destination: (K, K, u8),
    pub(super) service: Service,
    /// Its place among all filters, of both families.
    pub(super) rank: u32,
}

/// A compiled family.
pub(super) struct Compiled<K> {
    pub(super) tables: Tables,
    /// Where each interval of source addresses begins.
    pub(super) source_firsts: Vec<K>,
    pub(super) destination_firsts: Vec<K>,
    pub(super) split: Split,
    /// Filters by part: both narrow, wide source, wide destination, both wide.
    pub(super) parts: [usize; 4],
    pub(super) services: usize,
}

/// Rows and columns of one part, and its filters, in order of rank.
struct Part<'a> {
    rows: &'a Numbering,
    columns: &'a Numbering,
    filters: &'a [u32],
}

impl Part<'_> {
    /// The cells of the part: `(row, column, cell)`, in that order.
    fn cells<K: Key>(
        &self,
        row_side: Side<'_, K>,
        column_side: Side<'_, K>,
        items: &[Item<K>],
        programs: &mut Programs<'_>,
        left: &mut u64,
        limits: &FilterLimits,
    ) -> Result<Vec<PairEntry>, FilterError> {
        let rows_of = |filter: u32| self.rows.below(row_side.tree, row_side.nodes[filter as usize]);
        let columns_of =
            |filter: u32| self.columns.below(column_side.tree, column_side.nodes[filter as usize]);
        for filter in self.filters {
            let cells = rows_of(*filter).len() as u64 * columns_of(*filter).len() as u64;
            *left = left.checked_sub(cells).ok_or(FilterError::Applications {
                applications: limits.applications + 1,
                limit: limits.applications,
            })?;
        }
        let (starts, filters) = self.by_row(rows_of);
        let mut lists: Vec<Vec<u32>> = vec![Vec::new(); self.columns.len() as usize + 1];
        let mut filled: Vec<u32> = Vec::new();
        let mut cells = Vec::new();
        for (row, of_row) in (0..).zip(starts.windows(2)) {
            for filter in &filters[of_row[0] as usize..of_row[1] as usize] {
                for column in columns_of(*filter) {
                    let list = &mut lists[column as usize];
                    if list.is_empty() {
                        filled.push(column);
                    }
                    list.push(items[*filter as usize].rank);
                }
            }
            filled.sort_unstable();
            // Neighbours often have one list: a filter holds the columns below its own.
            let mut before: Option<(u32, u32)> = None;
            for column in &filled {
                let list = &lists[*column as usize];
                let cell = match before {
                    Some((like, cell)) if lists[like as usize] == *list => cell,
                    _ => programs.cell(list)?,
                };
                before = Some((*column, cell));
                cells.push(PairEntry { row, column: *column, cell });
            }
            filled.drain(..).for_each(|column| lists[column as usize].clear());
        }
        Ok(cells)
    }

    /// The filters of each row behind those of the row before, and by row where they begin.
    fn by_row(&self, rows_of: impl Fn(u32) -> Range<u32>) -> (Vec<u32>, Vec<u32>) {
        let mut starts = vec![0; self.rows.len() as usize + 2];
        self.filters.iter().flat_map(|filter| rows_of(*filter)).for_each(|row| starts[row as usize + 1] += 1);
        for row in 1..starts.len() {
            starts[row] += starts[row - 1];
        }
        let mut next = starts.clone();
        let mut filters = vec![0; starts[starts.len() - 1] as usize];
        for filter in self.filters {
            for row in rows_of(*filter) {
                let next = &mut next[row as usize];
                filters[*next as usize] = *filter;
                *next += 1;
            }
        }
        (starts, filters)
    }
}

/// Rows of cells behind each other, equal rows once. By row number: where it begins.
fn list_rows(
    cells: &[PairEntry],
    rows: u32,
    width: usize,
    table: &mut Vec<u32>,
    limits: &FilterLimits,
) -> Result<Vec<u32>, FilterError> {
    let mut starts = vec![0; rows as usize + 1];
    let mut known: HashMap<Vec<u32>, u32, ahash::RandomState> = HashMap::default();
    for row in cells.chunk_by(|left, right| left.row == right.row) {
        let mut spread = vec![0; width];
        row.iter().for_each(|entry| spread[entry.column as usize] = entry.cell);
        let start = match known.get(&spread) {
            Some(start) => *start,
            None => {
                let start = table.len() as u32;
                table.extend_from_slice(&spread);
                if table.len() > limits.table_entries.min(Record::MOST_ROW as usize) {
                    return Err(FilterError::Table { table: "rows", limit: limits.table_entries });
                }
                known.insert(spread, start);
                start
            }
        };
        starts[row[0].row as usize] = start;
    }
    Ok(starts)
}

/// Compiles the filters of one family, in order of rank.
///
/// # Errors
/// [`FilterError`] when a limit is exceeded.
pub(super) fn compile<K: Key>(items: &[Item<K>], limits: &FilterLimits) -> Result<Compiled<K>, FilterError> {
    let (source_tree, source_nodes) = PrefixTree::build(items.iter().map(|item| item.source));
    let (destination_tree, destination_nodes) = PrefixTree::build(items.iter().map(|item| item.destination));
    let sources = Side { tree: &source_tree, nodes: &source_nodes };
    let destinations = Side { tree: &destination_tree, nodes: &destination_nodes };

    let mut service_ids: HashMap<Service, u32, ahash::RandomState> = HashMap::default();
    let mut services = Vec::new();
    let highest = items.iter().map(|item| item.rank as usize + 1).max().unwrap_or(0);
    let mut service_of = vec![0; highest];
    for item in items {
        service_of[item.rank as usize] = *service_ids.entry(item.service).or_insert_with(|| {
            services.push(item.service);
            services.len() as u32 - 1
        });
    }
    let classes = service_class::compile(&services, limits)?;

    let split = split::choose(sources, destinations);
    if split.applications > limits.applications {
        return Err(FilterError::Applications {
            applications: split.applications,
            limit: limits.applications,
        });
    }
    let mut parts: [Vec<u32>; 4] = Default::default();
    for filter in 0..items.len() {
        let wide_source = sources.subtree_of(filter) > split.source;
        let wide_destination = destinations.subtree_of(filter) > split.destination;
        parts[usize::from(wide_source) + 2 * usize::from(wide_destination)].push(filter as u32);
    }
    let [narrow, wide_source, wide_destination, wide] = &parts;
    let source_of =
        |filters: &'_ [u32]| filters.iter().map(|at| source_nodes[*at as usize]).collect::<Vec<_>>();
    let destination_of =
        |filters: &'_ [u32]| filters.iter().map(|at| destination_nodes[*at as usize]).collect::<Vec<_>>();
    let number_sources =
        |filters: &[&[u32]]| Numbering::new(&source_tree, filters.iter().flat_map(|part| source_of(part)));
    let number_destinations = |filters: &[&[u32]]| {
        Numbering::new(&destination_tree, filters.iter().flat_map(|part| destination_of(part)))
    };
    let pair_rows = number_sources(&[narrow]);
    let pair_columns = number_destinations(&[narrow]);
    let source_rows = number_sources(&[wide_destination]);
    let destination_rows = number_destinations(&[wide_source]);
    let wide_sources = number_sources(&[wide_source, wide]);
    let wide_destinations = number_destinations(&[wide_destination, wide]);
    if wide_sources.len().max(wide_destinations.len()) > Record::MOST_WIDE {
        return Err(FilterError::Table { table: "wide prefixes", limit: Record::MOST_WIDE as usize });
    }

    let mut programs = {
        let is_dense = wide.len() == items.len();
        Programs::new(&classes, &services, &service_of, limits, highest, is_dense)
    };
    let mut left = limits.applications;
    let pairs = Part { rows: &pair_rows, columns: &pair_columns, filters: narrow }.cells(
        sources,
        destinations,
        items,
        &mut programs,
        &mut left,
        limits,
    )?;
    let pairs: Vec<PairEntry> =
        pairs.into_iter().map(|entry| PairEntry { row: entry.row - 1, ..entry }).collect();
    let by_destination = Part { rows: &destination_rows, columns: &wide_sources, filters: wide_source }
        .cells(destinations, sources, items, &mut programs, &mut left, limits)?;
    let by_source = Part { rows: &source_rows, columns: &wide_destinations, filters: wide_destination }
        .cells(sources, destinations, items, &mut programs, &mut left, limits)?;
    let by_width = Part { rows: &wide_sources, columns: &wide_destinations, filters: wide }.cells(
        sources,
        destinations,
        items,
        &mut programs,
        &mut left,
        limits,
    )?;

    let (row_width, column_width) = (wide_sources.len() as usize + 1, wide_destinations.len() as usize + 1);
    // Row zero is "none".
    let mut rows = vec![0; row_width.max(column_width)];
    let source_starts = list_rows(&by_source, source_rows.len(), column_width, &mut rows, limits)?;
    let destination_starts =
        list_rows(&by_destination, destination_rows.len(), row_width, &mut rows, limits)?;
    if row_width * column_width > limits.table_entries {
        return Err(FilterError::Table { table: "wide prefixes", limit: limits.table_entries });
    }
    let mut wide_cells = vec![0; row_width * column_width];
    for entry in &by_width {
        wide_cells[entry.row as usize * column_width + entry.column as usize] = entry.cell;
    }
    let table_of_pairs = FilterError::Table { table: "pairs", limit: limits.table_entries };
    let (pairs, bases) = PairMap::build(&pairs, pair_rows.len() as usize, pair_columns.len() as usize)
        .ok_or(table_of_pairs)?;

    let source_record = |node: u32| {
        let base = pair_rows.innermost(node).checked_sub(1).map_or(0, |row| bases[row as usize]);
        Record::new(base, source_starts[source_rows.innermost(node) as usize], wide_sources.innermost(node))
    };
    let destination_record = |node: u32| {
        Record::new(
            pair_columns.innermost(node),
            destination_starts[destination_rows.innermost(node) as usize],
            wide_destinations.innermost(node),
        )
    };
    let (source_firsts, source_records) = intervals(&source_tree, source_record);
    let (destination_firsts, destination_records) = intervals(&destination_tree, destination_record);
    let cells = programs.finish(rows, wide_cells);
    let tables = Tables::new(Parts {
        services: classes.parts,
        pairs,
        cells,
        sources: source_records,
        destinations: destination_records,
    });
    Ok(Compiled {
        tables,
        source_firsts,
        destination_firsts,
        split,
        parts: parts.map(|part| part.len()),
        services: services.len(),
    })
}

/// Where the record of an address changes, and the records.
fn intervals<K: Key>(tree: &PrefixTree<K>, record: impl Fn(u32) -> Record) -> (Vec<K>, Vec<Record>) {
    let (mut firsts, mut records) = (Vec::new(), Vec::new());
    for (first, node) in tree.stretches() {
        let record = record(node);
        if records.last() != Some(&record) {
            firsts.push(first);
            records.push(record);
        }
    }
    (firsts, records)
}
