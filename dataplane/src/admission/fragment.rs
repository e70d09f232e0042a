//! Fragments: the first is judged as a packet, those that follow share its fate.

use septum_classifier::VerdictId;

use super::{Admission, Admitted, Refused};
use crate::conntrack::{ConnectionKey, NO_VERDICT, Unfollowed};
use crate::drop_reason::DropReason;
use crate::wire::{Fragment, IpPacket};

impl From<Unfollowed> for Refused {
    fn from(unfollowed: Unfollowed) -> Self {
        let reason = match unfollowed {
            Unfollowed::Untracked => DropReason::FragmentUntracked,
            Unfollowed::Duplicate => DropReason::FragmentDuplicate,
            Unfollowed::Overlap => DropReason::FragmentOverlap,
            Unfollowed::BeyondEnd => DropReason::FragmentBeyondEnd,
            Unfollowed::Quota => DropReason::FragmentQuota,
            Unfollowed::Full => DropReason::FragmentTableFull,
        };
        reason.into()
    }
}

impl Admission<'_> {
    /// Remembers the verdict of a first fragment for those that follow.
    pub(super) fn first_fragment(
        &self,
        ip: &IpPacket,
        fragment: &Fragment,
        admitted: Admitted,
    ) -> Result<(), Refused> {
        let Self { table, snapshot, candidate, now } = *self;
        let key = ConnectionKey::of_fragments(&ip.flow, fragment.identification);
        let verdict = admitted.verdict.map_or(NO_VERDICT, |verdict| verdict.0);
        let judged = (snapshot.policy_generation, verdict);
        let (hash, owner) = (table.hash(&key), candidate.owner);
        table.fragments().open(&key, hash, fragment, judged, owner, &snapshot.terms, now)?;
        Ok(())
    }

    /// A fragment without the header that is judged.
    pub(super) fn later_fragment(&self, ip: &IpPacket, fragment: &Fragment) -> Result<Admitted, Refused> {
        let Self { table, snapshot, now, .. } = *self;
        let key = ConnectionKey::of_fragments(&ip.flow, fragment.identification);
        let generation = snapshot.policy_generation;
        let verdict = table.fragments().follow(&key, table.hash(&key), fragment, generation, now)?;
        Ok(Admitted { verdict: verdict.map(VerdictId), is_new: false })
    }
}
