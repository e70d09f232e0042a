//! Broadcast and multicast: judged as one flow for each other member of the segment, delivered to those admitted.
//!
//! It never leaves its segment. Nothing is remembered: an answer to it is a flow of its own.

use septum_classifier::VerdictId;
use septum_rules::identity::IdentityId;

use crate::counters::Cell;
use crate::delivery::Plan;
use crate::directory::Member;
use crate::drop_reason::DropReason;
use crate::pipeline::End;
use crate::responder::Asking;
use crate::routing;
use crate::snapshot::Snapshot;
use crate::wire::IpPacket;

/// Plans a copy of the frame that `asking` holds for every member of the segment of its sender, `member`, that both gates admit, and counts
/// each verdict in `hits`. Gives the one to name: of the first that was admitted, else of the first that was refused.
pub fn copy(
    snapshot: &Snapshot,
    hits: &[Cell],
    ip: &IpPacket,
    (member, source): (&Member, IdentityId),
    asking: &Asking<'_>,
    plan: &mut Plan,
) -> (End, Option<VerdictId>) {
    // A fragment carries no ports to judge, and fragments of one group packet are not followed.
    if ip.fragment.is_some() {
        return (DropReason::FragmentUntracked.into(), None);
    }
    let (mut admitted, mut refused) = (None, None);
    let members = &snapshot.directory.segment(member.segment).members;
    let others = members.iter().filter_map(|slot| snapshot.directory.member(*slot));
    for receiver in others.filter(|receiver| receiver.port != member.port) {
        // A member without an address of the family cannot listen to it.
        let Some((_, destination)) = receiver.first_of_family(ip.flow.destination.is_ipv4()) else {
            continue;
        };
        let verdict = snapshot.classifier.lookup(source, destination, ip.flow.layer4);
        hits[verdict.index()].add(1);
        if !snapshot.classifier.verdict(verdict).verdict.is_allow() {
            refused = refused.or(Some(verdict));
        } else if routing::fits(asking.burst.frame(asking.index), ip, receiver.mtu) {
            plan.copy(asking.index, receiver.port);
            admitted = admitted.or(Some(verdict));
        }
    }
    match admitted {
        Some(_) => (End::Copied, admitted),
        None => (DropReason::GroupNoReceiver.into(), refused),
    }
}
