//! The questions of a frame's way: which filter matches. No allocation; cost as the essay in `filter` says.

use super::{FilterClassifier, FilterMatch, FiveTuple};
use crate::address_trie::AddressTrie;
use crate::simd::{self, AddressTable, SimdPath};

mod sealed {
    pub trait Sealed {}
    impl Sealed for u32 {}
    impl Sealed for u128 {}
}

/// The bits of an address: `u32` for IPv4, `u128` for IPv6.
pub trait AddressBits: sealed::Sealed + Copy {
    #[doc(hidden)]
    fn classify(classifier: &FilterClassifier, tuple: &FiveTuple<Self>) -> FilterMatch;
    #[doc(hidden)]
    fn classify_burst(
        classifier: &FilterClassifier,
        path: SimdPath,
        tuples: &[FiveTuple<Self>],
        matches: &mut [FilterMatch],
    );
}

/// Address to interval.
trait Intervals<A> {
    fn interval(&self, address: A) -> u32;
}

impl Intervals<u32> for AddressTable {
    #[inline(always)]
    fn interval(&self, address: u32) -> u32 {
        self.get(address)
    }
}

impl Intervals<u128> for AddressTrie<u128> {
    #[inline(always)]
    fn interval(&self, address: u128) -> u32 {
        self.get(address)
    }
}

impl<T> super::Family<T> {
    #[inline(always)]
    fn classify<A: Copy>(&self, tuple: &FiveTuple<A>) -> FilterMatch
    where
        T: Intervals<A>,
    {
        let tables = &self.tables;
        let source = self.sources.interval(tuple.source);
        let destination = self.destinations.interval(tuple.destination);
        let class = tables.services().class(tuple.protocol, tuple.source_port, tuple.destination_port);
        FilterMatch(tables.rank(source, destination, class))
    }
}

impl AddressBits for u32 {
    fn classify(classifier: &FilterClassifier, tuple: &FiveTuple<Self>) -> FilterMatch {
        classifier.ipv4.classify(tuple)
    }

    fn classify_burst(
        classifier: &FilterClassifier,
        path: SimdPath,
        tuples: &[FiveTuple<Self>],
        matches: &mut [FilterMatch],
    ) {
        let super::Family { sources, destinations, tables, .. } = &classifier.ipv4;
        simd::classify_ipv4(path, [sources, destinations], tables, tuples, matches);
    }
}

impl AddressBits for u128 {
    fn classify(classifier: &FilterClassifier, tuple: &FiveTuple<Self>) -> FilterMatch {
        classifier.ipv6.classify(tuple)
    }

    fn classify_burst(
        classifier: &FilterClassifier,
        _path: SimdPath,
        tuples: &[FiveTuple<Self>],
        matches: &mut [FilterMatch],
    ) {
        for (tuple, found) in tuples.iter().zip(matches) {
            *found = classifier.ipv6.classify(tuple);
        }
    }
}

impl FilterClassifier {
    /// The first filter that matches a packet.
    pub fn classify<A: AddressBits>(&self, tuple: &FiveTuple<A>) -> FilterMatch {
        A::classify(self, tuple)
    }

    /// [`FilterClassifier::classify`] for a burst: `matches[i]` for `tuples[i]`, as far as both reach. Takes the best
    /// instructions that this processor has; a burst of 64 packets or more uses them best.
    pub fn classify_burst<A: AddressBits>(&self, tuples: &[FiveTuple<A>], matches: &mut [FilterMatch]) {
        A::classify_burst(self, SimdPath::best(), tuples, matches);
    }

    /// [`FilterClassifier::classify_burst`] with the instructions of `path`, or the portable ones where the processor
    /// lacks them.
    pub fn classify_burst_with<A: AddressBits>(
        &self,
        path: SimdPath,
        tuples: &[FiveTuple<A>],
        matches: &mut [FilterMatch],
    ) {
        A::classify_burst(self, path, tuples, matches);
    }
}
