//! Broadcast and multicast: judged as one flow for each other member of the segment that listens, delivered to those admitted.
//!
//! It never leaves its segment. Nothing is remembered of it: an answer to it is a flow of its own.
//!
//! Who listens (RFC 4541): everybody to a broadcast, to `224.0.0.0/24` (section 2.1.2: hosts need not report these) and to `ff02::1` (which none
//! may report); to a solicited-node group whoever has an address of it, by the directory; to any other group who has reported so
//! ([`crate::memberships`]). Reports end here: other members never see them. [`crate::announcer`] asks for them.

use std::net::{IpAddr, Ipv6Addr};

use septum_classifier::VerdictId;
use septum_rules::identity::IdentityId;
use septum_rules::proto::Protocol;

use crate::burst::ETHERNET;
use crate::clock::Tick;
use crate::counters::Cell;
use crate::delivery::Plan;
use crate::directory::Member;
use crate::drop_reason::DropReason;
use crate::memberships::{Full, GroupKey};
use crate::pipeline::End;
use crate::responder::Asking;
use crate::routing;
use crate::snapshot::Snapshot;
use crate::wire::listener::Told;
use crate::wire::neighbour::{is_solicited_node, solicited_node};
use crate::wire::vnet_hdr::VnetHeader;
use crate::wire::{IpPacket, igmp, mld};

/// Plans a copy of the frame that `asking` holds for every member of the segment of its sender, `member`, that listens and that both gates admit, and counts
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
    let listeners = Listeners::of(ip.flow.destination);
    let members = &snapshot.directory.segment(member.segment).members;
    let others = members.iter().filter_map(|slot| snapshot.directory.member(*slot));
    for receiver in others.filter(|receiver| receiver.port != member.port) {
        // A member without an address of the family cannot listen to it.
        let Some((_, destination)) = receiver.first_of_family(ip.flow.destination.is_ipv4()) else {
            continue;
        };
        if !listeners.include(receiver, asking.now) {
            continue;
        }
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

/// Who listens to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listeners {
    Everybody,
    /// Whoever has an address of this solicited-node group.
    Owners(Ipv6Addr),
    /// Whoever has reported so.
    Reported(GroupKey),
}

impl Listeners {
    fn of(group: IpAddr) -> Self {
        match group {
            IpAddr::V4(v4) if !v4.is_multicast() || matches!(v4.octets(), [224, 0, 0, _]) => Self::Everybody,
            IpAddr::V6(Self::ALL_NODES) => Self::Everybody,
            IpAddr::V6(v6) if is_solicited_node(v6) => Self::Owners(v6),
            _ => Self::Reported(GroupKey::of(group)),
        }
    }

    const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

    fn include(self, member: &Member, now: Tick) -> bool {
        match self {
            Self::Everybody => true,
            Self::Owners(group) => member.sources.iter().any(
                |(address, _)| matches!(address, IpAddr::V6(address) if solicited_node(*address) == group),
            ),
            Self::Reported(key) => member.memberships.has(key, now),
        }
    }
}

impl Asking<'_> {
    /// Takes note of what a member reports of its groups.
    pub(crate) fn hear_listener(&self, member: &Member, ip: &IpPacket) -> End {
        match self.told(ip) {
            Ok(told) => note(member, told, self.now).err().unwrap_or(DropReason::Absorbed).into(),
            Err(reason) => reason.into(),
        }
    }

    fn told(&self, ip: &IpPacket) -> Result<Told<'_>, DropReason> {
        let slot = self.burst.frame(self.index);
        let message = slot[ETHERNET..].get(usize::from(ip.transport)..ip.end as usize).unwrap_or_default();
        if ip.flow.layer4.protocol != Protocol::IGMP {
            let vnet = VnetHeader::read(slot).unwrap_or_default();
            return mld::parse(message, ip, vnet.needs_checksum());
        }
        if ip.fragment.is_some() {
            return Err(DropReason::IgmpMalformed);
        }
        igmp::parse(message)
    }
}

/// Keeps what was told of the groups that a report decides about.
fn note(member: &Member, told: Told<'_>, now: Tick) -> Result<(), DropReason> {
    let one = |group, listens| {
        let Listeners::Reported(key) = Listeners::of(group) else { return Ok(()) };
        if listens {
            return member.memberships.join(key, now);
        }
        member.memberships.leave(key);
        Ok(())
    };
    let noted = match told {
        Told::Query => return Err(DropReason::RogueQuerier),
        Told::Other => Ok(()),
        Told::One(group, listens) => one(group, listens),
        // What is left first makes room for what comes.
        Told::Many(records) => {
            for (group, _) in records.clone().filter(|(_, listens)| *listens == Some(false)) {
                one(group, false).ok();
            }
            let joins = records.filter(|(_, listens)| *listens == Some(true));
            joins.map(|(group, _)| one(group, true)).fold(Ok(()), Result::and)
        }
    };
    noted.map_err(|Full| DropReason::MembershipQuota)
}
