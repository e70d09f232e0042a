//! How large a compiled object may become, and what is said when a policy would exceed it.
//!
//! Every table has its own limit, checked while it grows, so an adversarial policy costs bounded time and
//! memory: it is refused with the name of the limit, never half compiled.

/// Bounds on one build. The defaults fit the largest policies that were measured with room to spare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Distinct identities.
    pub identities: usize,
    /// Entries of all sets that are written down while compiling: the named networks of each stretch of
    /// addresses, the selectors of each identity. Bounds deep nesting of prefixes.
    pub set_entries: usize,
    /// Classes of (protocol, source port, destination port). Bounds the cross product of port ranges.
    pub layer4_classes: usize,
    /// How often a rule may be put into the list of a pair of identity classes: the work of the compile.
    pub rule_applications: u64,
    /// Pairs of identity classes that wide rules tell apart: cells of the matrix.
    pub matrix_cells: u64,
    /// Pairs of identity classes that narrow rules give a program of their own.
    pub pairs: usize,
    /// Entries of any one table of the compiled object (at most 2^32 - 2, offsets being `u32`).
    pub table_entries: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            identities: 1 << 20,
            set_entries: 1 << 26,
            layer4_classes: 1 << 20,
            rule_applications: 1 << 30,
            matrix_cells: 1 << 28,
            pairs: 1 << 23,
            table_entries: 1 << 28,
        }
    }
}

/// Why a policy was not compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// More distinct identities than allowed.
    #[error("the policy tells more than {limit} identities apart; let selectors share labels or networks")]
    Identities {
        /// [`Limits::identities`].
        limit: usize,
    },
    /// Too deeply nested networks, or too many selectors that match the same endpoints.
    #[error(
        "the networks and selectors of all identities exceed {limit} entries; nest fewer networks in each other"
    )]
    SetEntries {
        /// [`Limits::set_entries`].
        limit: usize,
    },
    /// Too many combinations of source and destination port ranges.
    #[error("{classes} classes of protocol and ports exceed {limit}; use fewer distinct source port ranges")]
    Layer4Classes {
        /// How many the policy needs.
        classes: u64,
        /// [`Limits::layer4_classes`].
        limit: usize,
    },
    /// Too many rules that match too many pairs.
    #[error("rules apply to pairs of identities more than {limit} times; narrow the broadest selectors")]
    RuleApplications {
        /// [`Limits::rule_applications`].
        limit: u64,
    },
    /// Rules that name many tell too many kinds of endpoint apart.
    #[error(
        "broad selectors tell {cells} pairs of identities apart, more than {limit}; let them share labels or networks"
    )]
    Matrix {
        /// How many the policy needs.
        cells: u64,
        /// [`Limits::matrix_cells`].
        limit: u64,
    },
    /// Too many pairs of identities with a program of their own.
    #[error(
        "rules give more than {limit} pairs of identities a program of their own; name groups, not single workloads"
    )]
    Pairs {
        /// [`Limits::pairs`].
        limit: usize,
    },
    /// More outcomes for one pair of identities than a pattern can number.
    #[error("one pair of identities has more than {limit} different outcomes")]
    Outcomes {
        /// The most that a pattern's `u16` positions can tell apart.
        limit: usize,
    },
    /// One of the tables would not fit.
    #[error("the table of {table} exceeds {limit} entries; let rules share selectors and services")]
    Table {
        /// Which table.
        table: &'static str,
        /// [`Limits::table_entries`].
        limit: usize,
    },
    /// No hash function that was tried keeps the entries of a table apart; see `perfect_table`.
    #[error(
        "the {entries} {table} meet in one place whichever of {tries} hash functions is tried; a workload more or less numbers them anew"
    )]
    Collisions {
        /// What is in it.
        table: &'static str,
        /// How many.
        entries: usize,
        /// Hash functions that were tried.
        tries: usize,
    },
    /// A rule names a network, or a workload a segment, that the policy does not have.
    #[error("the policy is not resolved: {what} {index} does not exist")]
    Unresolved {
        /// `network` or `segment`.
        what: &'static str,
        /// The index that is out of range.
        index: usize,
    },
}
