//! Admission: does this packet belong to a connection that was admitted, or do the gates admit it now?
//!
//! The order of the semantics page: a live connection's packets pass without a rule, if the present policy has
//! judged it; what opens a connection is judged by both gates and remembered; what neither belongs nor opens is refused.

use septum_classifier::VerdictId;
use septum_rules::flow_key::FlowKey;
use septum_rules::identity::IdentityId;
use septum_rules::policy::{Established, Fragments};
use septum_rules::proto::Layer4;
use septum_rules::verdict::{Refusal, Verdict};

use crate::clock::Tick;
use crate::conntrack::{
    Connection, ConnectionKey, ConnectionTable, Direction, Entry, Found, IcmpRole, NO_VERDICT, Packet,
    Unfollowed, icmp_role,
};
use crate::drop_reason::DropReason;
use crate::limiter::Limiter;
use crate::routes::UplinkId;
use crate::snapshot::Snapshot;
use crate::wire::quoted::{Quoted, quoted};
use crate::wire::{Fragment, IpPacket, icmp};

/// A packet that the guard has admitted and whose destination is known.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The packet.
    pub ip: &'a IpPacket,
    /// Who sent it.
    pub source: IdentityId,
    /// Whom it is for.
    pub destination: IdentityId,
    /// The frame that holds it.
    pub frame: &'a [u8],
    /// The connection that it would belong to.
    pub connection: &'a Connection,
    /// There is somebody to deliver it to: what can never be answered is judged, and not remembered.
    pub is_deliverable: bool,
    /// What its sender may open, where that is limited.
    pub limiter: Option<&'a Limiter>,
    /// The uplink that it came in by: the routers behind it may speak of what they carry.
    pub uplink: Option<UplinkId>,
}

impl Candidate<'_> {
    /// Takes one of the connections that the sender may open.
    fn take_connection(&self, verdict: VerdictId, now: Tick) -> Result<(), Refused> {
        let taken = self.limiter.map_or(Ok(()), |limiter| limiter.connection(now));
        taken.map_err(|reason| Refused { reason, verdict: Some(verdict) })
    }
}

/// The packet passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// What admitted it; none where an earlier policy did and the connection is kept.
    pub verdict: Option<VerdictId>,
    /// The gates were asked for this very packet.
    pub is_new: bool,
}

/// The packet does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub reason: DropReason,
    /// The gates' verdict, where they were asked.
    pub verdict: Option<VerdictId>,
}

impl From<DropReason> for Refused {
    fn from(reason: DropReason) -> Self {
        Self { reason, verdict: None }
    }
}

/// Decides about one packet.
///
/// # Errors
/// Why it is refused.
pub fn admit(
    table: &ConnectionTable,
    snapshot: &Snapshot,
    candidate: &Candidate<'_>,
    now: Tick,
) -> Result<Admitted, Refused> {
    let ip = candidate.ip;
    if let Some(fragment) = ip.fragment {
        if snapshot.policy.settings.switch.fragments == Fragments::Drop {
            return Err(DropReason::FragmentsRefused.into());
        }
        if fragment.offset != 0 {
            return admit_later_fragment(table, snapshot, ip, fragment, now);
        }
    }
    if icmp::is_error(ip.flow.layer4) {
        return admit_error(table, snapshot, candidate, now);
    }
    let admitted = admit_whole(table, snapshot, candidate, now)?;
    if let Some(fragment) = ip.fragment.filter(|_| candidate.is_deliverable) {
        follow_fragments(table, snapshot, ip, fragment, admitted, now)?;
    }
    Ok(admitted)
}

/// The same for a packet of TCP or UDP that is no fragment, if it belongs to a connection that the present policy has judged;
/// `None` where more is to be asked.
#[inline]
pub fn admit_known(
    table: &ConnectionTable,
    snapshot: &Snapshot,
    connection: &Connection,
    packet: Packet,
    now: Tick,
) -> Option<Admitted> {
    let Connection { key, hash, direction } = connection;
    match table.find(key, *hash, *direction, packet, now) {
        Found::Connection(entry) if entry.is_judged_by(snapshot.policy_generation) => {
            table.advance(&entry, *direction, packet, now);
            Some(Admitted { verdict: entry.verdict().map(VerdictId), is_new: false })
        }
        _ => None,
    }
}

fn admit_whole(
    table: &ConnectionTable,
    snapshot: &Snapshot,
    candidate: &Candidate<'_>,
    now: Tick,
) -> Result<Admitted, Refused> {
    let flow = &candidate.ip.flow;
    let packet = Packet { protocol: flow.layer4.protocol, tcp_flags: candidate.ip.tcp_flags };
    let Connection { key, hash, direction } = *candidate.connection;
    match table.find(&key, hash, direction, packet, now) {
        Found::Connection(entry) => {
            let admitted = standing(table, snapshot, &key, &entry)?;
            table.advance(&entry, direction, packet, now);
            return Ok(admitted);
        }
        Found::Reopens(entry) => {
            let verdict = judge(snapshot, candidate.source, candidate.destination, flow.layer4)?;
            candidate.take_connection(verdict, now)?;
            table.end(&entry);
            return open(table, snapshot, (&key, hash, direction), packet, verdict, now);
        }
        Found::None => {}
    }
    match icmp_role(flow.layer4) {
        Some(IcmpRole::Reply(_)) => return Err(DropReason::ReplyUnsolicited.into()),
        Some(IcmpRole::Other) => {
            // One-way messages: nothing answers them, so each is judged for itself.
            let verdict = judge(snapshot, candidate.source, candidate.destination, flow.layer4)?;
            return Ok(Admitted { verdict: Some(verdict), is_new: true });
        }
        _ => {}
    }
    if !packet.may_open() {
        return Err(DropReason::TcpNoConnection.into());
    }
    let verdict = judge(snapshot, candidate.source, candidate.destination, flow.layer4)?;
    if !candidate.is_deliverable {
        return Ok(Admitted { verdict: Some(verdict), is_new: true });
    }
    candidate.take_connection(verdict, now)?;
    open(table, snapshot, (&key, hash, direction), packet, verdict, now)
}

fn open(
    table: &ConnectionTable,
    snapshot: &Snapshot,
    (key, hash, direction): (&ConnectionKey, u64, Direction),
    packet: Packet,
    verdict: VerdictId,
    now: Tick,
) -> Result<Admitted, Refused> {
    table
        .open(key, hash, direction, packet, (snapshot.policy_generation, verdict.0), now)
        .map_err(|_| Refused { reason: DropReason::ConnectionTableFull, verdict: Some(verdict) })?;
    Ok(Admitted { verdict: Some(verdict), is_new: true })
}

/// Asks both gates.
fn judge(
    snapshot: &Snapshot,
    source: IdentityId,
    destination: IdentityId,
    layer4: Layer4,
) -> Result<VerdictId, Refused> {
    let verdict = snapshot.classifier.lookup(source, destination, layer4);
    match snapshot.classifier.verdict(verdict).verdict {
        Verdict::Allow => Ok(verdict),
        Verdict::Deny(refusal) => Err(Refused { reason: reason_of(refusal), verdict: Some(verdict) }),
        // A verdict that this forwarder does not know cannot be one that lets pass.
        _ => Err(Refused { reason: DropReason::DeniedIngress, verdict: Some(verdict) }),
    }
}

/// The drop reason of a refusal by the gates.
pub fn reason_of(refusal: Refusal) -> DropReason {
    match refusal {
        Refusal::Egress => DropReason::DeniedEgress,
        Refusal::Ingress => DropReason::DeniedIngress,
        Refusal::Isolation => DropReason::Isolation,
        Refusal::Undescribed => DropReason::Undescribed,
    }
}

/// Whether a live connection may go on under the present policy; one that may not is ended.
fn standing(
    table: &ConnectionTable,
    snapshot: &Snapshot,
    key: &ConnectionKey,
    entry: &Entry,
) -> Result<Admitted, Refused> {
    if entry.is_judged_by(snapshot.policy_generation) {
        return Ok(Admitted { verdict: entry.verdict().map(VerdictId), is_new: false });
    }
    // For a burst, another worker may be ahead of this one; what the newer policy admitted is not for the older to end.
    let is_ahead = entry.is_judged_after(snapshot.policy_generation);
    if is_ahead || snapshot.established == Established::Keep {
        return Ok(Admitted { verdict: None, is_new: false });
    }
    // As its opening packet was, whichever side sends now.
    let opening = key.flow(entry.opened());
    let (source, destination) = (snapshot.identity(opening.source), snapshot.identity(opening.destination));
    let verdict = judge(snapshot, source, destination, opening.layer4).inspect_err(|_| table.end(entry))?;
    table.rejudged(entry, snapshot.policy_generation, verdict.0);
    Ok(Admitted { verdict: Some(verdict), is_new: false })
}

/// An error passes if it quotes a live connection, the quoted packet was sent by the error's receiver, and the
/// error comes from the other end, or from the uplink behind which that lives. (Errors of the switch itself do not come in through a port.)
fn admit_error(
    table: &ConnectionTable,
    snapshot: &Snapshot,
    candidate: &Candidate<'_>,
    now: Tick,
) -> Result<Admitted, Refused> {
    let error = &candidate.ip.flow;
    let Some(Quoted { flow: quoted, echo_identifier, .. }) = quoted(candidate.frame, candidate.ip) else {
        return Err(DropReason::IcmpNoConnection.into());
    };
    let is_of_its_path = |uplink| snapshot.directory.routes().is_behind(quoted.destination, uplink);
    let may_speak = quoted.destination == error.source || candidate.uplink.is_some_and(is_of_its_path);
    if quoted.source != error.destination || !may_speak {
        return Err(DropReason::IcmpNoConnection.into());
    }
    let (key, _) = ConnectionKey::of(&quoted, echo_identifier);
    let entry = table.find_any(&key, table.hash(&key), now).ok_or(DropReason::IcmpNoConnection)?;
    standing(table, snapshot, &key, &entry)
}

/// Remembers the verdict of a first fragment for those that follow, and how far it reaches.
fn follow_fragments(
    table: &ConnectionTable,
    snapshot: &Snapshot,
    ip: &IpPacket,
    fragment: Fragment,
    admitted: Admitted,
    now: Tick,
) -> Result<(), Refused> {
    let key = ConnectionKey::of_fragments(&ip.flow, fragment.identification);
    let verdict = admitted.verdict.map_or(NO_VERDICT, |verdict| verdict.0);
    let judged = (snapshot.policy_generation, verdict);
    table.open_fragments(&key, table.hash(&key), fragment.length / 8, judged, now).map_err(|unfollowed| {
        match unfollowed {
            Unfollowed::Full => DropReason::ConnectionTableFull.into(),
            Unfollowed::Overlap => DropReason::FragmentOverlap.into(),
        }
    })
}

fn admit_later_fragment(
    table: &ConnectionTable,
    snapshot: &Snapshot,
    ip: &IpPacket,
    fragment: Fragment,
    now: Tick,
) -> Result<Admitted, Refused> {
    let key = ConnectionKey::of_fragments(&ip.flow, fragment.identification);
    let entry = table
        .find_any(&key, table.hash(&key), now)
        .filter(|entry| entry.is_judged_by(snapshot.policy_generation))
        .ok_or(DropReason::FragmentUntracked)?;
    if fragment.offset / 8 < entry.note() {
        return Err(DropReason::FragmentOverlap.into());
    }
    Ok(Admitted { verdict: entry.verdict().map(VerdictId), is_new: false })
}

impl Snapshot {
    /// Who an address is to the gates.
    pub fn identity(&self, address: std::net::IpAddr) -> IdentityId {
        self.directory
            .locate(address)
            .map_or_else(|| self.classifier.identify(address), |location| location.identity)
    }

    /// The flow's verdict, as the gates give it now.
    pub fn judge(&self, flow: &FlowKey) -> VerdictId {
        self.classifier.lookup(self.identity(flow.source), self.identity(flow.destination), flow.layer4)
    }
}
