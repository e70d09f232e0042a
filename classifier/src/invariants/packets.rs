//! The packets of some services, one for each class, and whether two identities let one pass.

use hashbrown::{HashMap, HashSet};
use septum_rules::identity::IdentityId;
use septum_rules::proto::{Layer4, Protocol, Service};

use super::parties::Family;
use crate::rule_trie::Program;
use crate::{Classifier, VerdictId};

/// Packets of some services.
pub(super) struct Packets<'c> {
    classifier: &'c Classifier,
    /// One of each class, and of each family that can carry it.
    packets: Vec<(u32, Layer4)>,
    /// By program and family: the first that is admitted.
    answers: HashMap<(Program, Option<Family>), Option<Admitted>, ahash::RandomState>,
}

/// A packet and the verdict that lets it pass.
type Admitted = (Layer4, VerdictId);

impl<'c> Packets<'c> {
    pub(super) fn new(classifier: &'c Classifier, services: &[Service]) -> Self {
        let mut known: HashSet<_, ahash::RandomState> = HashSet::default();
        let all = services.iter().flat_map(|service| classifier.parts(*service));
        let classed = all.map(|(_, layer4)| (classifier.layer4.class(layer4), layer4));
        let packets = classed.filter(|(class, layer4)| known.insert((*class, only_in(layer4.protocol))));
        Self { classifier, packets: packets.collect(), answers: HashMap::default() }
    }

    /// A packet that passes between two identities, in this family or, where none is given, in any.
    pub(super) fn admitted(
        &mut self,
        source: IdentityId,
        destination: IdentityId,
        family: Option<Family>,
    ) -> Option<Admitted> {
        let Self { classifier, packets, answers } = self;
        let program = classifier.trie.program(source.0, destination.0);
        *answers.entry((program, family)).or_insert_with(|| {
            let carried = packets.iter().filter(|(_, layer4)| {
                family.is_none() || only_in(layer4.protocol).is_none_or(|only| Some(only) == family)
            });
            let mut verdicts =
                carried.map(|(class, layer4)| (*layer4, VerdictId(classifier.trie.verdict(program, *class))));
            verdicts.find(|(_, verdict)| classifier.verdict(*verdict).verdict.is_allow())
        })
    }
}

/// The family to which a protocol belongs; `None` is both.
fn only_in(protocol: Protocol) -> Option<Family> {
    match protocol {
        Protocol::ICMP => Some(Family::Ipv4),
        Protocol::ICMPV6 => Some(Family::Ipv6),
        _ => None,
    }
}
