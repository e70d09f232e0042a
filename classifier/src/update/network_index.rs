//! For the proof: the named networks that hold an address, asked of their prefixes.
//!
//! No change names networks that no rule has named before, so it is made once. Cost: one hash lookup for each length that
//! a prefix of the address's family has, and the networks found.

use std::collections::BTreeSet;
use std::net::IpAddr;

use hashbrown::HashMap;
use septum_rules::address::Prefix;
use septum_rules::policy::Policy;
use septum_rules::selector::Alternative;

/// Networks by the prefixes that they include.
#[derive(Debug, Default)]
pub(super) struct NetworkIndex {
    /// Numbers of alternatives.
    by_prefix: HashMap<Prefix, Vec<u32>, ahash::RandomState>,
    /// Of IPv4 and of IPv6.
    lengths: [BTreeSet<u8>; 2],
}

impl NetworkIndex {
    pub(super) fn new(policy: &Policy, alternatives: &[Alternative]) -> Self {
        let mut index = Self::default();
        for (number, alternative) in (0..).zip(alternatives) {
            let Alternative::Network(network) = alternative else { continue };
            for prefix in &policy.networks[network.index()].include {
                index.by_prefix.entry(*prefix).or_default().push(number);
                index.lengths[usize::from(!prefix.is_ipv4())].insert(prefix.len());
            }
        }
        index
    }

    /// The alternatives that mean an address, by number.
    pub(super) fn containing(
        &self,
        policy: &Policy,
        alternatives: &[Alternative],
        address: IpAddr,
    ) -> Vec<u32> {
        let lengths = &self.lengths[usize::from(address.is_ipv6())];
        let prefixes = lengths.iter().map(|length| Prefix::containing(address, *length));
        let included = prefixes.filter_map(|prefix| self.by_prefix.get(&prefix)).flatten().copied();
        let contains = |number: &u32| match &alternatives[*number as usize] {
            Alternative::Network(network) => policy.networks[network.index()].contains(address),
            _ => false,
        };
        let mut numbers: Vec<u32> = included.filter(contains).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }
}
