//! Broadcast and multicast: judged as one flow for each other member of the segment, delivered to those admitted.
//!
//! It never leaves its segment. Nothing is remembered: an answer to it is a flow of its own.

use septum_rules::identity::IdentityId;

use crate::delivery::Plan;
use crate::directory::Member;
use crate::drop_reason::DropReason;
use crate::pipeline::End;
use crate::snapshot::Snapshot;
use crate::wire::IpPacket;

/// Plans a copy of frame `index` for every member of the sender's segment that both gates admit.
pub fn copy(
    snapshot: &Snapshot,
    member: &Member,
    ip: &IpPacket,
    source: IdentityId,
    index: usize,
    plan: &mut Plan,
) -> End {
    let ipv4 = ip.flow.destination.is_ipv4();
    let mut receivers = 0;
    // A fragment carries no ports to judge, and fragments of one group packet are not followed.
    if ip.fragment.is_some() {
        return DropReason::FragmentUntracked.into();
    }
    for slot in &snapshot.directory.segment(member.segment).members {
        let Some(receiver) = snapshot.directory.member(*slot).filter(|receiver| receiver.port != member.port)
        else {
            continue;
        };
        // A member without an address of the family cannot listen to it.
        let Some((_, destination)) = receiver.first_of_family(ipv4) else { continue };
        let verdict = snapshot.classifier.lookup(source, destination, ip.flow.layer4);
        if snapshot.classifier.verdict(verdict).verdict.is_allow() {
            plan.copy(index, receiver.port);
            receivers += 1;
        }
    }
    if receivers == 0 { DropReason::GroupNoReceiver.into() } else { End::Copied }
}
