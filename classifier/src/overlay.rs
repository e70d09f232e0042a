//! What has changed since an object's tables were compiled: few answers that come before theirs.
//!
//! Addresses that changed hands, identities that the tables do not know (each has a *twin* that they do, whose
//! programs it shares where it has none of its own), pairs of identities with programs of their own, and the verdicts
//! in which these end. It is made by [`crate::update`], and like the tables it never changes once it is published.
//!
//! Every part is kept in shares (`shared`), so that the next object costs what it changes and not what was changed
//! before. Cost of a lookup: without an overlay one branch that is never taken; with one, a hash lookup more for each
//! question, and for a pair that has its own program a search among the intervals of its ports.

mod pair_program;
mod pair_programs;
mod shared;

use std::net::IpAddr;
use std::sync::Arc;

use septum_rules::date::Date;
use septum_rules::identity::{IdentityId, IdentityKey, RuleId};
use septum_rules::proto::Layer4;
use septum_rules::verdict::{Decision, GateDecision};

pub(crate) use self::pair_program::{PairProgram, PairProgramBuild};
pub(crate) use self::pair_programs::PairPrograms;
pub(crate) use self::shared::{SharedList, SharedMap};
use crate::addresses::WithoutAddress;
use crate::{Classifier, GateEntry, VerdictEntry, VerdictId};

/// Changes to some tables.
#[derive(Clone, Debug)]
pub(crate) struct Overlay {
    /// Identities and verdicts of the tables; those of the overlay follow them.
    pub(crate) first_identity: u32,
    pub(crate) first_verdict: u32,
    pub(crate) addresses: SharedMap<IpAddr, u32>,
    /// By workload.
    pub(crate) workloads: SharedMap<u32, WithoutAddress>,
    /// Identities of the overlay: the twin, one of the tables', and the key.
    pub(crate) identities: SharedList<(u32, IdentityKey)>,
    pub(crate) pairs: PairPrograms,
    pub(crate) verdicts: SharedList<VerdictEntry>,
    /// Lists of audited rules, by the number that an entry of `verdicts` has for them; the first is empty.
    pub(crate) audited_rules: SharedList<Arc<[RuleId]>>,
    pub(crate) valid_until: Option<Date>,
    /// How many changes it holds.
    pub(crate) changes: u32,
}

impl Overlay {
    /// Nothing has changed yet.
    pub(crate) fn new(tables: &crate::Tables) -> Self {
        let mut audited_rules = SharedList::default();
        audited_rules.push(Arc::from([]));
        Self {
            first_identity: tables.trie.identities() as u32,
            first_verdict: tables.verdicts.entries().len() as u32,
            addresses: SharedMap::default(),
            workloads: SharedMap::default(),
            identities: SharedList::default(),
            pairs: PairPrograms::default(),
            verdicts: SharedList::default(),
            audited_rules,
            valid_until: tables.valid_until,
            changes: 0,
        }
    }

    /// The identity of the tables whose programs this one shares.
    pub(crate) fn twin(&self, identity: u32) -> u32 {
        match identity.checked_sub(self.first_identity) {
            None => identity,
            Some(at) => self.identities.get(at as usize).map_or(identity, |(twin, _)| *twin),
        }
    }

    /// Whether lookups say the same of two identities, whatever the other end.
    pub(crate) fn is_alike(&self, one: u32, other: u32) -> bool {
        self.twin(one) == self.twin(other) && self.pairs.is_alike(one, other)
    }

    /// What lookups between pairs with programs of their own read.
    #[cfg(test)]
    pub(crate) fn cells(&mut self) -> crate::cells::Tables<'_> {
        let mut tables = crate::cells::Tables::new();
        self.pairs.cells(&mut tables);
        tables.push(("verdicts", self.verdicts.iter_mut().flat_map(VerdictEntry::cells).collect()));
        let rules = self.audited_rules.iter_mut().flat_map(|rules| crate::cells::each(Arc::make_mut(rules)));
        tables.push(("audited rules", rules.collect()));
        tables.retain(|(_, cells)| !cells.is_empty());
        tables
    }

    /// Of an entry of `verdicts`.
    pub(crate) fn decision(&self, entry: &VerdictEntry) -> Decision {
        let gate = |gate: GateEntry| GateDecision {
            admits: gate.admits,
            decider: gate.decider,
            audited: gate.audited,
            audited_rules: self
                .audited_rules
                .get(gate.audited_rules as usize)
                .map_or_else(Vec::new, |rules| rules.to_vec()),
        };
        Decision { verdict: entry.verdict, egress: gate(entry.egress), ingress: gate(entry.ingress) }
    }

    /// Bytes on the heap, roughly: what hash tables leave free is not counted.
    pub(crate) fn memory(&self) -> usize {
        self.addresses.memory()
            + self.workloads.memory()
            + self.identities.memory()
            + self.pairs.memory()
            + self.verdicts.memory()
            + self.audited_rules.memory()
    }
}

/// Questions whose answer may stand in the overlay.
impl Classifier {
    /// [`Classifier::lookup`], where there is an overlay.
    #[cold]
    #[inline(never)]
    pub(crate) fn lookup_overlaid(
        &self,
        overlay: &Overlay,
        source: IdentityId,
        destination: IdentityId,
        layer4: Layer4,
    ) -> VerdictId {
        if let Some(program) = self.program_of_its_own(source, destination) {
            return VerdictId(program.verdict(layer4));
        }
        let program = self.trie.program(overlay.twin(source.0), overlay.twin(destination.0));
        VerdictId(self.trie.verdict(program, self.layer4.class(layer4)))
    }

    /// The program that the overlay has for a pair, and that a lookup follows then.
    pub(crate) fn program_of_its_own(
        &self,
        source: IdentityId,
        destination: IdentityId,
    ) -> Option<&PairProgram> {
        self.overlay.as_ref()?.pairs.get(source.0, destination.0)
    }

    /// An entry behind those of the tables.
    ///
    /// # Panics
    /// When the verdict is of another object.
    #[cold]
    #[inline(never)]
    pub(crate) fn overlaid_verdict(&self, verdict: VerdictId) -> &VerdictEntry {
        let overlay = self.overlay.as_ref().expect("a verdict of this object");
        let at = verdict.0 - overlay.first_verdict;
        overlay.verdicts.get(at as usize).expect("a verdict of this object")
    }

    /// How many changes it holds that were not compiled; see [`crate::update`].
    pub fn changes(&self) -> u32 {
        self.overlay.as_ref().map_or(0, |overlay| overlay.changes)
    }

    /// For questions that read the tables themselves.
    ///
    /// # Panics
    /// When there is an overlay, which they would not see.
    pub(crate) fn assert_plain(&self) {
        assert!(self.overlay.is_none(), "asked of a compiled object only: this one was updated since");
    }
}
