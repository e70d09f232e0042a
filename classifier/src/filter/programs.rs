//! Lists of filters to cells: what is left to decide once both addresses are known.
//!
//! A list is first shortened: a filter whose service classes are all those of filters before it never matches. What is
//! left is one filter, written into the cell itself, or a *program*: a pattern (by service class, a
//! position) and a list (by position, a rank). Patterns know services, not ranks, and are shared by all lists of
//! that shape.

use septum_rules::proto::Service;

use super::FilterError;
use super::limits::FilterLimits;
use super::service_class::ServiceClasses;
use crate::intern::Interner;
use crate::simd::{CellParts, NONE, Tables};

pub(super) struct Programs<'a> {
    classes: &'a ServiceClasses,
    services: &'a [Service],
    /// By rank.
    service_of: &'a [u32],
    rank_bits: u32,
    /// Services that a cell of one filter can name.
    service_limit: u32,
    limit: usize,
    pattern_limit: usize,
    lists: Interner<u32>,
    list_pool: Vec<u32>,
    shapes: Interner<u32>,
    /// By shape.
    pattern_of: Vec<u32>,
    patterns: Vec<u8>,
    programs: Vec<[u32; 2]>,
    kept: Vec<u32>,
    shape: Vec<u32>,
    /// The classes of the filters kept, a bit each.
    taken: Vec<u64>,
}

/// Calls `write` for each class that some service of the shape has, last with the position of the first of them.
fn first_matches(classes: &ServiceClasses, shape: &[u32], mut write: impl FnMut(usize, usize)) {
    for (at, service) in shape.iter().enumerate().rev() {
        for (word, bits) in classes.members[*service as usize].iter().enumerate() {
            let mut bits = *bits;
            while bits != 0 {
                write(word * 64 + bits.trailing_zeros() as usize, at);
                bits &= bits - 1;
            }
        }
    }
}

impl<'a> Programs<'a> {
    /// `is_dense`: single filters are programs too, so that there is one kind of cell.
    pub(super) fn new(
        classes: &'a ServiceClasses,
        services: &'a [Service],
        service_of: &'a [u32],
        limits: &FilterLimits,
        filters: usize,
        is_dense: bool,
    ) -> Self {
        let rank_bits = filters.max(2).next_power_of_two().ilog2();
        let limit = limits.table_entries;
        Self {
            classes,
            services,
            service_of,
            rank_bits,
            service_limit: if is_dense { 0 } else { 1 << (31 - rank_bits) },
            limit,
            pattern_limit: limits.pattern_entries.min(1 << 31),
            lists: Interner::new("lists", limit),
            list_pool: vec![NONE],
            shapes: Interner::new("shapes", limit),
            pattern_of: Vec::new(),
            // Program zero: no class leads to a filter.
            patterns: vec![0; classes.count as usize],
            programs: vec![[0, 0]],
            kept: Vec::new(),
            shape: Vec::new(),
            taken: vec![0; classes.count.div_ceil(64) as usize],
        }
    }

    /// The cell of filters in order (ranks rise); not empty.
    ///
    /// # Errors
    /// When a table is full.
    pub(super) fn cell(&mut self, ranks: &[u32]) -> Result<u32, FilterError> {
        self.shorten(ranks);
        if let ([rank], [service]) = (&self.kept[..], &self.shape[..])
            && *service < self.service_limit
        {
            return Ok(Tables::SINGLE | service << self.rank_bits | rank);
        }
        let table = |table, limit| FilterError::Table { table, limit };
        let full = |_| table("lists", self.limit);
        let list = self.lists.intern(&self.kept).map_err(full)?;
        // Every list has one program, behind that of no filter.
        let program = list + 1;
        if (program as usize) < self.programs.len() {
            return Ok(program);
        }
        if self.shape.len() > usize::from(u8::MAX) {
            self.add_direct()?;
            return Ok(program);
        }
        let shape = self.shapes.intern(&self.shape).map_err(full)?;
        if shape as usize == self.pattern_of.len() {
            self.add_pattern()?;
        }
        let start = self.list_pool.len() as u32;
        self.list_pool.push(NONE);
        self.list_pool.extend_from_slice(&self.kept);
        if self.list_pool.len() > self.limit || program >= Tables::SINGLE {
            return Err(table("lists", self.limit));
        }
        self.programs.push([self.pattern_of[shape as usize], start]);
        Ok(program)
    }

    /// Keeps the filters that some class is left for, and their services.
    fn shorten(&mut self, ranks: &[u32]) {
        self.kept.clear();
        self.shape.clear();
        if let [rank] = ranks {
            self.kept.push(*rank);
            self.shape.push(self.service_of[*rank as usize]);
            return;
        }
        self.taken.fill(0);
        // No service has class zero.
        let mut left = self.classes.count - 1;
        for rank in ranks {
            let service = self.service_of[*rank as usize];
            let mut gained = 0;
            for (taken, own) in self.taken.iter_mut().zip(&self.classes.members[service as usize]) {
                let new = own & !*taken;
                if new != 0 {
                    gained += new.count_ones();
                    *taken |= own;
                }
            }
            if gained > 0 {
                self.kept.push(*rank);
                self.shape.push(service);
            }
            left -= gained;
            if left == 0 {
                break;
            }
        }
    }

    /// Writes the present shape down class by class.
    fn add_pattern(&mut self) -> Result<(), FilterError> {
        let start = self.patterns.len();
        if start + self.classes.count as usize > self.pattern_limit {
            return Err(FilterError::Table { table: "patterns", limit: self.pattern_limit });
        }
        self.patterns.resize(start + self.classes.count as usize, 0);
        let pattern = &mut self.patterns[start..];
        first_matches(self.classes, &self.shape, |class, at| pattern[class] = at as u8 + 1);
        self.pattern_of.push(start as u32);
        Ok(())
    }

    /// Writes the present list down class by class: it has more positions than a pattern can tell apart.
    fn add_direct(&mut self) -> Result<(), FilterError> {
        let start = self.list_pool.len();
        if start + self.classes.count as usize > self.limit {
            return Err(FilterError::Table { table: "lists", limit: self.limit });
        }
        self.list_pool.resize(start + self.classes.count as usize, NONE);
        let (ranks, kept) = (&mut self.list_pool[start..], &self.kept);
        first_matches(self.classes, &self.shape, |class, at| ranks[class] = kept[at]);
        self.programs.push([Tables::DIRECT, start as u32]);
        Ok(())
    }

    /// The tables, around the cells that lead to them.
    pub(super) fn finish(self, rows: Vec<u32>, wide: Vec<u32>) -> CellParts {
        let service_words = self.classes.count.div_ceil(32);
        let mut members = Vec::with_capacity(self.services.len() * service_words as usize);
        for service in &self.classes.members {
            let halves = service.iter().flat_map(|word| [*word as u32, (*word >> 32) as u32]);
            members.extend(halves.take(service_words as usize));
        }
        CellParts {
            rows,
            wide,
            programs: self.programs,
            patterns: self.patterns,
            lists: self.list_pool,
            members,
            service_bits: service_words * 32,
            rank_bits: self.rank_bits,
        }
    }
}
