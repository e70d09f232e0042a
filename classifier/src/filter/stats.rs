//! How large a compiled filter set is, in entries and in bytes, stage by stage.

use std::fmt;

use super::compile::Compiled;
use super::{Family, FilterClassifier};
use crate::address_trie::Key;

/// Sizes of one family in entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FamilyStats {
    /// Filters with two narrow prefixes, a wide source, a wide destination, two wide prefixes.
    pub filters: [usize; 4],
    /// A prefix that holds more than so many of the set's is wide: as source, as destination.
    pub thresholds: (u32, u32),
    /// Distinct services.
    pub services: usize,
    /// Classes of protocol and ports.
    pub service_classes: usize,
    /// Intervals of addresses with one record: as source, as destination.
    pub intervals: (usize, usize),
    /// Cells of the pair map.
    pub pairs: usize,
    /// Distinct lists of more than one filter.
    pub programs: usize,
}

impl FamilyStats {
    pub(super) fn of<K: Key>(compiled: &Compiled<K>) -> Self {
        Self {
            filters: compiled.parts,
            thresholds: (compiled.split.source, compiled.split.destination),
            services: compiled.services,
            service_classes: compiled.tables.class_count() as usize,
            intervals: compiled.tables.record_counts(),
            pairs: compiled.tables.pair_entries(),
            programs: compiled.tables.program_count() - 1,
        }
    }
}

impl fmt::Display for FamilyStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [narrow, source, destination, wide] = self.filters;
        write!(
            f,
            "{narrow} narrow, {source} of wide source, {destination} of wide destination, {wide} wide filters; \
             {} services in {} classes; {} source and {} destination intervals; {} pairs, {} programs",
            self.services,
            self.service_classes,
            self.intervals.0,
            self.intervals.1,
            self.pairs,
            self.programs
        )
    }
}

/// Sizes of a compiled filter set in bytes on the heap, both families.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilterMemory {
    /// Address to interval.
    pub addresses: usize,
    /// Interval to record.
    pub records: usize,
    /// Protocol and ports to class.
    pub services: usize,
    /// Pairs, rows and the wide table: records to cells.
    pub cells: usize,
    /// Cell and class to rank.
    pub programs: usize,
}

impl FilterMemory {
    /// All of it.
    pub const fn total(&self) -> usize {
        self.addresses + self.records + self.services + self.cells + self.programs
    }

    fn add<T>(&mut self, family: &Family<T>, addresses: impl Fn(&T) -> usize) {
        let [services, records, cells, programs] = family.tables.memory();
        self.addresses += addresses(&family.sources) + addresses(&family.destinations);
        self.records += records;
        self.services += services;
        self.cells += cells;
        self.programs += programs;
    }
}

impl FilterClassifier {
    /// Sizes in bytes.
    pub fn memory_usage(&self) -> FilterMemory {
        let mut memory = FilterMemory::default();
        memory.add(&self.ipv4, |table| table.memory());
        memory.add(&self.ipv6, |trie| trie.memory());
        memory
    }

    /// Sizes of the IPv4 part and the IPv6 part in entries.
    pub fn stats(&self) -> (FamilyStats, FamilyStats) {
        (self.ipv4.stats, self.ipv6.stats)
    }
}

/// The sizes: the tables themselves are too long to print.
impl fmt::Debug for FilterClassifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FilterClassifier")
            .field("filters", &self.filters)
            .field("stats", &self.stats())
            .field("memory", &self.memory_usage())
            .finish()
    }
}
