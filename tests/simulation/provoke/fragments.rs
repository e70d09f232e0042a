//! Parts of packets that do not fit together, or are too many.

use septum::drop_reason::DropReason::*;

use super::drafts::*;
use super::{Needs, Provocation, exchange, row};
use crate::hostile::Mint;
use crate::world::{NO_FRAGMENTS, STRICT, atlas};

pub(super) const FRAGMENTS: &[Provocation] = &[
    row(FragmentsRefused, "a fragment, where the policy refuses them", |mint| {
        vec![v4(mint).frame_of(Some((800, false)), &[0; 64])]
    })
    .when(Needs::Rules(NO_FRAGMENTS)),
    row(FragmentUntracked, "a later fragment whose first was never sent", |mint| {
        let mut draft = v4(mint);
        draft.identification = mint.random.next() as u32;
        vec![draft.frame_of(Some((800, false)), &[0; 64])]
    }),
    row(FragmentDuplicate, "the same fragment twice", |mint| {
        let draft = long_datagram(mint);
        let later = draft.frame_of(Some((64, true)), &[0; 64]);
        vec![draft.fragment(0, 64), later.clone(), later]
    })
    .by("lab-1"),
    row(FragmentOverlap, "a later fragment that reaches back into its first", |mint| {
        let draft = long_datagram(mint);
        vec![draft.fragment(0, 64), draft.frame_of(Some((32, true)), &[0; 64])]
    })
    .by("lab-1"),
    row(FragmentBeyondEnd, "a fragment behind the last one", |mint| {
        let draft = long_datagram(mint);
        let last = draft.frame_of(Some((128, false)), &[0; 64]);
        vec![draft.fragment(0, 64), last, draft.frame_of(Some((192, true)), &[0; 64])]
    })
    .by("lab-1"),
    row(FragmentQuota, "first fragments of more packets than one sender may have", |mint| {
        first_fragments(mint, 24)
    })
    .by("lab-1")
    .when(Needs::Rules(STRICT)),
    exchange(FragmentTableFull, "first fragments of more packets than there is room for", |mint| {
        // What one sends makes room for more of its own, and for nobody else's.
        let flood = |mint: &mut Mint<'_>| (mint.from, first_fragments(mint, 64));
        let floods = [flood(mint), flood(mint), flood(mint)];
        let own = std::mem::replace(&mut mint.from, atlas().host_named("lab-3"));
        let other = (mint.from, first_fragments(mint, 4));
        mint.from = own;
        floods.into_iter().chain([other]).collect()
    })
    .by("lab-1")
    .when(Needs::SmallTable)
    .seldom(2),
];
