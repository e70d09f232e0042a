//! The run-time tables of classification, and the kernels that walk them a burst at a time.
//!
//! This is the crate's one module with `unsafe` code: vector loads have no bounds checks. They need none because
//! [`Tables`] are checked as a whole when they are made and never change: every index that any packet can lead to
//! lies inside its table. The portable kernel walks the same tables with checked indices.
//!
//! ```text
//! address --- AddressTable: root or search --> interval --> record: pair row, list row, wide number
//! ports, protocol --- ServiceTable ------> class
//! records of both sides -----------------> up to four cells: pair map, two list tables, the wide table
//! cell, class --- program: pattern, list -> rank; the lowest of the four wins
//! ```
//!
//! [`prefetch`], [`filled`] and [`widest()`] serve the tables of policies too, which are read without unsafe code.

mod address;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod dense;
#[cfg(target_arch = "x86_64")]
mod kernel;
mod memory;
mod portable;
mod tables;
mod widest;

pub(crate) use self::address::AddressTable;
pub(crate) use self::memory::{filled, prefetch};
pub(crate) use self::tables::{CellParts, NONE, PairEntry, PairMap, Parts, Record, ServiceParts, Tables};
#[cfg(test)]
pub(crate) use self::widest::compiled_for;
pub(crate) use self::widest::{Work, widest};

use crate::filter::{FilterMatch, FiveTuple};

/// Which instructions a burst is classified with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SimdPath {
    /// What every processor has.
    Portable,
    /// AVX2 (x86-64).
    Avx2,
    /// AVX-512 F, BW, DQ and VL (x86-64).
    Avx512,
}

impl SimdPath {
    /// All of them, the plainest first.
    pub const ALL: [Self; 3] = [Self::Portable, Self::Avx2, Self::Avx512];

    /// Whether this processor has the instructions.
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("popcnt")
                    && is_x86_feature_detected!("bmi1")
                    && is_x86_feature_detected!("bmi2")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 => false,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("popcnt")
                    && is_x86_feature_detected!("bmi1")
                    && is_x86_feature_detected!("bmi2")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx512 => false,
        }
    }

    /// The best one that this processor has.
    pub fn best() -> Self {
        Self::ALL.into_iter().rev().find(|path| path.is_available()).unwrap_or(Self::Portable)
    }

    /// Its name in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }
}

/// Classifies a burst of IPv4: the rank of the first filter for each packet, as far as both slices reach.
pub(crate) fn classify_ipv4(
    path: SimdPath,
    sides: [&AddressTable; 2],
    tables: &Tables,
    tuples: &[FiveTuple<u32>],
    matches: &mut [FilterMatch],
) {
    tables.check_intervals(sides);
    match path {
        #[cfg(target_arch = "x86_64")]
        SimdPath::Avx512 if path.is_available() => {
            // SAFETY: the processor has the instructions, and the intervals were checked.
            unsafe { avx512::classify(sides, tables, tuples, matches) }
        }
        #[cfg(target_arch = "x86_64")]
        SimdPath::Avx2 if path.is_available() => {
            // SAFETY: the processor has the instructions, and the intervals were checked.
            unsafe { avx2::classify(sides, tables, tuples, matches) }
        }
        _ => portable::classify(sides, tables, tuples, matches),
    }
}
