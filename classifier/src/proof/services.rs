//! One packet for each kind that policy or object tell apart at layer 4.

use std::collections::BTreeSet;

use hashbrown::{HashMap, HashSet};
use septum_rules::port_range::PortRange;
use septum_rules::proto::{Layer4, Protocol, Service};

use super::source::Source;
use crate::Classifier;

/// A packet and all that is read of it.
pub(super) struct ProofPacket {
    pub(super) layer4: Layer4,
    /// In the object.
    pub(super) class: u32,
    /// The policy's service lists that hold it, in bits.
    held: Vec<u64>,
}

impl ProofPacket {
    pub(super) fn is_in(&self, list: usize) -> bool {
        self.held[list / 64] >> (list % 64) & 1 != 0
    }
}

pub(super) fn representatives(classifier: &Classifier, source: &Source<'_>) -> Vec<ProofPacket> {
    let mut known: HashSet<(u32, Vec<u64>), ahash::RandomState> = HashSet::default();
    let mut edges: HashMap<u32, [BTreeSet<u16>; 2], ahash::RandomState> = HashMap::default();
    let mut representatives = Vec::new();
    for protocol in (0..=u8::MAX).map(Protocol) {
        let speaks_of = |service: &&Service| service.protocol.is_none_or(|named| named == protocol);
        let services = || source.service_lists.iter().flat_map(|list| list.iter()).filter(speaks_of);
        let group = classifier.layer4.group(protocol);
        let [mut sources, mut destinations] =
            edges.entry(group).or_insert_with(|| classifier.layer4.edges(protocol)).clone();
        add_edges(&mut sources, services().map(|service| service.source));
        add_edges(&mut destinations, services().map(|service| service.destination));
        let lists: Vec<(usize, &[Service])> = source.service_lists.iter().copied().enumerate().collect();
        let lists: Vec<_> =
            lists.into_iter().filter(|(_, list)| list.iter().any(|it| speaks_of(&it))).collect();
        for source_port in sources {
            for destination in &destinations {
                let layer4 = Layer4 { protocol, source: source_port, destination: *destination };
                let mut held = vec![0; source.service_lists.len().div_ceil(64)];
                for (number, list) in &lists {
                    let holds = list.iter().any(|service| service.matches(layer4));
                    held[number / 64] |= u64::from(holds) << (number % 64);
                }
                let class = classifier.layer4.class(layer4);
                if known.insert((class, held.clone())) {
                    representatives.push(ProofPacket { layer4, class, held });
                }
            }
        }
    }
    representatives
}

fn add_edges(edges: &mut BTreeSet<u16>, ranges: impl Iterator<Item = PortRange>) {
    for range in ranges {
        edges.insert(range.first());
        edges.extend(range.last().checked_add(1));
    }
}
