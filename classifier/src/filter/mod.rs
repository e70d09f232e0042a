//! Raw filter sets: first match over 5-tuples, compiled.
//!
//! A [`FilterClassifier`] answers for a packet which is the first of a list of [`Filter`]s that matches it: two
//! address prefixes, two ranges of ports, a protocol. That is what access lists and ClassBench sets are; policies
//! are compiled by identity instead (`crate::Classifier`), over the same run-time tables.
//!
//! # Stages
//!
//! Compiling (`compile`), for each family alone:
//!
//! 1. `prefix_tree`: the prefixes of each side as a tree in preorder, so that those inside another are a range.
//! 2. `service_class`: protocol and ports cut into classes that the same services match.
//! 3. `split`: prefixes are wide or narrow; this divides the filters into four parts. One table of all pairs of
//!    prefixes would have cells for all intersections of "anything to this host" with "this host to anything".
//! 4. For each part, the cells (pairs of prefixes) that filters fill, and of each cell the list of its filters;
//!    `programs`: lists to cells, equal lists once.
//! 5. The tables of `crate::simd`: intervals of addresses to records, pairs to cells, rows of cells by wide prefix.
//!
//! Looking up, in bursts stage by stage:
//!
//! ```text
//! source, destination --- root, one vector -> interval, record: where boundaries are crowded, 1 to 5 levels of 17
//! protocol, ports ------- pages, cross ----> service class: 6 loads, all of them near; 4 where source ports do not matter
//! both records ---------- pair map, two rows, wide table -> up to four cells: a cache line each
//! cell, class ----------- the filter itself, or pattern and list -> rank
//! ```
//!
//! A small set is all wide: then the intervals name row and column of one table, and there is one cell.
//! Lookup costs the same whether a packet matches or not, and hardly knows how many filters there are.
//!
//! There is no cache of flows before it: beside these lookups it would not earn its place (`benches/filters.rs`, `flows`). Of
//! 1,000 flows a hit costs 0.4 to 1.1 times a lookup, of a million 1.1 to 4.8 times, and each miss is paid on top.
//!
//! # Limits
//!
//! [`FilterLimits`] bound what is written: the cross product of port ranges, the cells of nested prefixes, every
//! table. A set that exceeds them is refused.

mod compile;
mod five_tuple;
mod limits;
mod lookup;
mod prefix_tree;
mod programs;
mod service_class;
mod split;
mod stats;

use septum_rules::address::Prefix;
use septum_rules::import::classbench;
use septum_rules::port_range::PortRange;
use septum_rules::proto::{Protocol, Service};

pub use self::five_tuple::FiveTuple;
pub use self::limits::{FilterError, FilterLimits};
pub use self::lookup::AddressBits;
pub use self::stats::{FamilyStats, FilterMemory};
use crate::address_trie::AddressTrie;
use crate::simd::{AddressTable, NONE, Tables};

/// One filter: a packet matches when all five fields do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Filter {
    /// Source addresses.
    pub source: Prefix,
    /// Destination addresses, of the same family.
    pub destination: Prefix,
    /// Source ports.
    pub source_ports: PortRange,
    /// Destination ports.
    pub destination_ports: PortRange,
    /// The protocol; `None` is every one.
    pub protocol: Option<Protocol>,
}

impl Filter {
    /// Its layer-4 part.
    pub const fn service(&self) -> Service {
        Service { protocol: self.protocol, source: self.source_ports, destination: self.destination_ports }
    }
}

/// As the file says it: TCP flags are left out, and ports are compared whatever the protocol.
impl From<&classbench::Filter> for Filter {
    fn from(filter: &classbench::Filter) -> Self {
        let classbench::Filter { source, destination, source_ports, destination_ports, protocol, .. } =
            *filter;
        Self { source, destination, source_ports, destination_ports, protocol }
    }
}

/// Which filter matched: the first of those that do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct FilterMatch(pub(crate) u32);

impl FilterMatch {
    /// No filter matched.
    pub const NONE: Self = Self(NONE);

    /// The filter's index in the list that was compiled.
    #[inline]
    pub const fn filter(self) -> Option<usize> {
        if self.0 == NONE { None } else { Some(self.0 as usize) }
    }
}

impl Default for FilterMatch {
    fn default() -> Self {
        Self::NONE
    }
}

/// A compiled filter set. Immutable, `Send` and `Sync`.
#[derive(Clone)]
pub struct FilterClassifier {
    ipv4: Family<AddressTable>,
    ipv6: Family<AddressTrie<u128>>,
    filters: usize,
}

/// One family: how its addresses become intervals, and the tables behind.
#[derive(Clone)]
struct Family<T> {
    sources: T,
    destinations: T,
    tables: Tables,
    stats: FamilyStats,
}

impl FilterClassifier {
    /// Compiles filters; the first that matches a packet wins.
    ///
    /// # Errors
    /// [`FilterError`] when a limit is exceeded, or a filter's prefixes are of two families.
    pub fn build(filters: &[Filter], limits: &FilterLimits) -> Result<Self, FilterError> {
        let most = limits.filters.min(1 << 20);
        if filters.len() > most {
            return Err(FilterError::Filters { count: filters.len(), limit: most });
        }
        let (mut ipv4, mut ipv6) = (Vec::new(), Vec::new());
        for (index, filter) in filters.iter().enumerate() {
            let bounds = |prefix: Prefix| {
                (five_tuple::bits(prefix.network()), five_tuple::bits(prefix.last()), prefix.len())
            };
            let (source, destination) = (bounds(filter.source), bounds(filter.destination));
            let (rank, service) = (index as u32, filter.service());
            match (filter.source.is_ipv4(), filter.destination.is_ipv4()) {
                (true, true) => {
                    let narrow =
                        |(first, last, length): (u128, u128, u8)| (first as u32, last as u32, length);
                    let (source, destination) = (narrow(source), narrow(destination));
                    ipv4.push(compile::Item { source, destination, service, rank });
                }
                (false, false) => ipv6.push(compile::Item { source, destination, service, rank }),
                _ => {
                    return Err(FilterError::Families {
                        index,
                        source_prefix: filter.source,
                        destination_prefix: filter.destination,
                    });
                }
            }
        }
        let ipv4 = compile::compile(&ipv4, limits)?;
        let ipv6 = compile::compile(&ipv6, limits)?;
        let trie = |firsts: &[u128]| AddressTrie::build(&firsts.iter().copied().zip(0..).collect::<Vec<_>>());
        Ok(Self {
            ipv4: Family {
                sources: AddressTable::build(&ipv4.source_firsts),
                destinations: AddressTable::build(&ipv4.destination_firsts),
                stats: FamilyStats::of(&ipv4),
                tables: ipv4.tables,
            },
            ipv6: Family {
                sources: trie(&ipv6.source_firsts),
                destinations: trie(&ipv6.destination_firsts),
                stats: FamilyStats::of(&ipv6),
                tables: ipv6.tables,
            },
            filters: filters.len(),
        })
    }

    /// How many filters were compiled.
    pub fn len(&self) -> usize {
        self.filters
    }

    /// Whether there is no filter.
    pub fn is_empty(&self) -> bool {
        self.filters == 0
    }
}
