//! Questions on the path of frames: who has an address, what becomes of a flow.
//!
//! Units: one packet or one burst. Cost: see the essay in `lib.rs`; nothing here allocates, locks or branches on
//! the number of rules.

mod burst;

use std::net::IpAddr;

use septum_rules::endpoint::{Endpoint, Party};
use septum_rules::flow_key::FlowKey;
use septum_rules::identity::IdentityId;
use septum_rules::proto::Layer4;
use septum_rules::verdict::Decision;

use self::burst::Burst;
use crate::identities::IdentitySet;
use crate::simd::widest;
use crate::{Classifier, VerdictEntry, VerdictId};

impl Classifier {
    /// The identity of an address: its workload's, its gateway's, or the world's at that address.
    #[inline]
    pub fn identify(&self, address: IpAddr) -> IdentityId {
        if let Some(overlay) = &self.overlay
            && let Some(identity) = overlay.addresses.get(&address)
        {
            return IdentityId(*identity);
        }
        IdentityId(self.addresses.get(address))
    }

    /// The identity of what is attached but not described. All to and from it is refused.
    pub const fn init_identity(&self) -> IdentityId {
        IdentityId(IdentitySet::INIT)
    }

    /// The identity of one end of a flow, as the reference evaluator names ends.
    ///
    /// A workload speaks from one of its own addresses, from the unspecified address, or from none (an
    /// imported one); the guard lets nothing else happen, so any other address is taken to be its owner's.
    ///
    /// # Panics
    /// When the workload is not the policy's.
    pub fn identify_party(&self, party: Party) -> IdentityId {
        match (party.endpoint, party.address) {
            (Endpoint::Init, _) => self.init_identity(),
            (Endpoint::Workload(workload), address) => {
                let overlaid = self.overlay.as_ref().and_then(|overlay| overlay.workloads.get(&workload.0));
                let without = overlaid.copied().unwrap_or_else(|| self.addresses.workloads[workload.index()]);
                match address {
                    None => without.none,
                    Some(IpAddr::V4(address)) if address.is_unspecified() => without.unspecified_ipv4,
                    Some(IpAddr::V6(address)) if address.is_unspecified() => without.unspecified_ipv6,
                    Some(address) => self.identify(address),
                }
            }
            (_, Some(address)) => self.identify(address),
            (Endpoint::Gateway(_), None) => self.addresses.gateway,
            (Endpoint::World, None) => self.addresses.world,
        }
    }

    /// What becomes of the packet that opens a flow.
    ///
    /// # Panics
    /// Never for identities that came from this object.
    #[inline]
    pub fn lookup(&self, source: IdentityId, destination: IdentityId, layer4: Layer4) -> VerdictId {
        if let Some(overlay) = &self.overlay {
            return self.lookup_overlaid(overlay, source, destination, layer4);
        }
        let class = self.layer4.class(layer4);
        let program = self.trie.program(source.0, destination.0);
        VerdictId(self.trie.verdict(program, class))
    }

    /// [`Classifier::lookup`] for a burst: `verdicts[i]` for `flows[i]`, as far as both reach.
    ///
    /// Goes stage by stage over up to 64 flows, each of which asks for the memory that the next one reads, so that all
    /// flows wait for it together.
    ///
    /// # Panics
    /// Never for identities that came from this object.
    pub fn lookup_burst(&self, flows: &[(IdentityId, IdentityId, Layer4)], verdicts: &mut [VerdictId]) {
        if let Some(overlay) = &self.overlay {
            for (verdict, (source, destination, layer4)) in verdicts.iter_mut().zip(flows) {
                *verdict = self.lookup_overlaid(overlay, *source, *destination, *layer4);
            }
            return;
        }
        widest(Burst { classifier: self, flows, verdicts });
    }

    /// What becomes of flows as they stand on the wire: [`Classifier::identify`] for both ends of each, then
    /// [`Classifier::lookup`], in stages as [`Classifier::lookup_burst`] goes.
    pub fn classify_burst(&self, flows: &[FlowKey], verdicts: &mut [VerdictId]) {
        if self.overlay.is_some() {
            for (verdict, flow) in verdicts.iter_mut().zip(flows) {
                *verdict =
                    self.lookup(self.identify(flow.source), self.identify(flow.destination), flow.layer4);
            }
            return;
        }
        widest(Burst { classifier: self, flows, verdicts });
    }

    /// What stands behind a verdict's number.
    ///
    /// # Panics
    /// Never for a verdict that came from this object.
    #[inline]
    pub fn verdict(&self, verdict: VerdictId) -> &VerdictEntry {
        match self.verdicts.entries().get(verdict.index()) {
            Some(entry) => entry,
            None => self.overlaid_verdict(verdict),
        }
    }

    /// The number of verdicts; their ids run from zero below it.
    pub fn verdict_count(&self) -> usize {
        let overlaid = self.overlay.as_ref().map_or(0, |overlay| overlay.verdicts.len());
        self.verdicts.entries().len() + overlaid
    }

    /// A verdict in full: both gates, with the audited rules that matched. Allocates.
    ///
    /// # Panics
    /// Never for a verdict that came from this object.
    pub fn decision(&self, verdict: VerdictId) -> Decision {
        match &self.overlay {
            Some(overlay) if verdict.0 >= overlay.first_verdict => overlay.decision(self.verdict(verdict)),
            _ => self.verdicts.decision(verdict),
        }
    }

    /// What becomes of the packet that opens this flow, in the reference evaluator's words. Allocates.
    ///
    /// # Panics
    /// When a workload is not the policy's.
    pub fn decide(&self, source: Party, destination: Party, layer4: Layer4) -> Decision {
        let (source, destination) = (self.identify_party(source), self.identify_party(destination));
        self.decision(self.lookup(source, destination, layer4))
    }
}
