//! How large a compiled filter set may become, and what is said when one would exceed it.

/// Bounds on one build. The defaults fit sets of a million filters of the usual shapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterLimits {
    /// Filters (at most 2^20).
    pub filters: usize,
    /// Combinations of a protocol, a piece of the source ports and one of the destination ports that are told
    /// apart. Bounds sets of overlapping port ranges.
    pub service_combinations: usize,
    /// How often a filter may be put into the list of a cell: the work of the compile, and what bounds nested
    /// prefixes.
    pub applications: u64,
    /// Entries of any one table but patterns (at most 2^24, offsets being 24 bits where they are packed).
    pub table_entries: usize,
    /// Bytes of all patterns: one for each service class, and list of services that some pair of prefixes has (at most
    /// 2^31). Bounds sets whose pairs have long lists, each another.
    pub pattern_entries: usize,
}

impl Default for FilterLimits {
    fn default() -> Self {
        Self {
            filters: 1 << 20,
            service_combinations: 1 << 20,
            applications: 1 << 24,
            table_entries: 1 << 24,
            pattern_entries: 1 << 26,
        }
    }
}

/// Why a filter set was not compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// More filters than allowed.
    #[error("{count} filters exceed the limit of {limit}")]
    Filters {
        /// How many there are.
        count: usize,
        /// [`FilterLimits::filters`].
        limit: usize,
    },
    /// A filter whose prefixes are of two families matches nothing, and was hardly meant.
    #[error("filter {index}: {source_prefix} and {destination_prefix} are of two families")]
    Families {
        /// The filter, from zero.
        index: usize,
        /// Its source.
        source_prefix: septum_rules::address::Prefix,
        /// Its destination.
        destination_prefix: septum_rules::address::Prefix,
    },
    /// Too many combinations of overlapping port ranges.
    #[error(
        "the cross product of port ranges exceeds the limit of combinations; use fewer distinct port ranges"
    )]
    Services,
    /// Prefixes nest too deeply on both sides.
    #[error(
        "{applications} cells would be written, above the limit of {limit}; nest fewer prefixes on both sides"
    )]
    Applications {
        /// How many, for the best grouping that was found.
        applications: u64,
        /// [`FilterLimits::applications`].
        limit: u64,
    },
    /// One of the tables would not fit.
    #[error("the table of {table} exceeds {limit} entries")]
    Table {
        /// Which table.
        table: &'static str,
        /// [`FilterLimits::table_entries`], [`FilterLimits::pattern_entries`], or what its offsets can name.
        limit: usize,
    },
}
