//! Who reaches whom: the compiled object asked for every ordered pair of parties and every service asked for.
//!
//! Rows are made one at a time, so a million pairs cost no memory. A pair is asked with the addresses that the
//! parties were given; that no packet can have two addresses of different families is a question of routes,
//! which gates do not know.

use septum_rules::endpoint::{Endpoint, Party};
use septum_rules::identity::{IdentityId, WorkloadId};
use septum_rules::policy::Policy;
use septum_rules::proto::Layer4;

use crate::{Classifier, VerdictEntry, VerdictId};

/// One answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReachRow {
    /// The source.
    pub source: Party,
    /// The destination.
    pub destination: Party,
    /// The packet that was asked for.
    pub layer4: Layer4,
    /// The answer's number.
    pub verdict: VerdictId,
    /// The answer.
    pub entry: VerdictEntry,
}

/// A question about parties, answered row by row; see [`Classifier::reach`].
#[derive(Clone, Debug)]
pub struct Reachability<'c> {
    classifier: &'c Classifier,
    sources: Vec<(Party, IdentityId)>,
    destinations: Vec<(Party, IdentityId)>,
    layer4: Vec<Layer4>,
    /// Place of the next row: source, destination, service.
    next: (usize, usize, usize),
}

impl Classifier {
    /// Each source against each destination with each packet, in that order; rows of an endpoint with itself
    /// are left out.
    ///
    /// # Panics
    /// When a party is not the policy's.
    pub fn reach(
        &self,
        sources: impl IntoIterator<Item = Party>,
        destinations: impl IntoIterator<Item = Party>,
        layer4: impl IntoIterator<Item = Layer4>,
    ) -> Reachability<'_> {
        let identify = |party: Party| (party, self.identify_party(party));
        Reachability {
            classifier: self,
            sources: sources.into_iter().map(identify).collect(),
            destinations: destinations.into_iter().map(identify).collect(),
            layer4: layer4.into_iter().collect(),
            next: (0, 0, 0),
        }
    }

    /// Every workload of `policy` as a party: with its first declared address, or with none.
    pub fn workload_parties(policy: &Policy) -> impl Iterator<Item = Party> + '_ {
        policy.workloads.iter().zip(0..).map(|(workload, number)| Party {
            endpoint: Endpoint::Workload(WorkloadId(number)),
            address: workload.addresses.first().copied(),
        })
    }
}

impl Iterator for Reachability<'_> {
    type Item = ReachRow;

    fn next(&mut self) -> Option<ReachRow> {
        loop {
            let (at_source, at_destination, at_layer4) = self.next;
            let (source, source_identity) = *self.sources.get(at_source)?;
            let Some((destination, destination_identity)) = self.destinations.get(at_destination).copied()
            else {
                self.next = (at_source + 1, 0, 0);
                continue;
            };
            let layer4 = self.layer4.get(at_layer4).copied().filter(|_| !same(source, destination));
            let Some(layer4) = layer4 else {
                self.next = (at_source, at_destination + 1, 0);
                continue;
            };
            self.next.2 += 1;
            let verdict = self.classifier.lookup(source_identity, destination_identity, layer4);
            let entry = *self.classifier.verdict(verdict);
            return Some(ReachRow { source, destination, layer4, verdict, entry });
        }
    }
}

/// Whether both ends are the same: a workload, or one address.
fn same(source: Party, destination: Party) -> bool {
    match (source.endpoint, destination.endpoint) {
        (Endpoint::Workload(a), Endpoint::Workload(b)) => a == b,
        _ => source == destination,
    }
}
