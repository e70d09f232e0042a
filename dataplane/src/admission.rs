//! Admission: does this packet belong to a connection that was admitted, or do the gates admit it now?
//!
//! The order of the semantics page: a live connection's packets pass without a rule, if the present policy has
//! judged it; what opens a connection is judged by both gates and remembered; what neither belongs nor opens is refused.

mod error;
mod fragment;

use septum_classifier::VerdictId;
use septum_rules::flow_key::FlowKey;
use septum_rules::identity::IdentityId;
use septum_rules::policy::{Established, Fragments};
use septum_rules::proto::Layer4;
use septum_rules::rule::DenyWith;
use septum_rules::verdict::{Refusal, Verdict};

use crate::clock::Tick;
use crate::conntrack::{
    Connection, ConnectionKey, ConnectionTable, Direction, Entry, IcmpRole, Opening, Packet, Step, Unopened,
    icmp_role,
};
use crate::drop_reason::DropReason;
use crate::limiter::Limiter;
use crate::routes::UplinkId;
use crate::snapshot::Snapshot;
use crate::wire::{IpPacket, icmp};

/// A packet that the guard has admitted, between two ends that are known.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Who sent it.
    pub source: IdentityId,
    /// Whom it is for.
    pub destination: IdentityId,
    /// Its ports, or type and code.
    pub layer4: Layer4,
    /// The connection that it would belong to.
    pub connection: &'a Connection,
    /// It will be delivered, unless it is refused: what can never be answered is judged, and not remembered.
    pub is_deliverable: bool,
    /// What its sender may open, where that is limited.
    pub limiter: Option<&'a Limiter>,
    /// The port slot of the workload whose share of the table it takes, if it opens a connection.
    pub owner: u16,
}

impl Candidate<'_> {
    /// Takes one of the connections that the sender may open.
    fn take_connection(&self, verdict: VerdictId, now: Tick) -> Result<(), Refused> {
        let taken = self.limiter.map_or(Ok(()), |limiter| limiter.connection(now));
        taken.map_err(|reason| Refused { reason, verdict: Some(verdict) })
    }
}

/// The packet as it came in: what fragments and errors are judged by.
#[derive(Clone, Copy, Debug)]
pub struct Carried<'a> {
    /// The packet.
    pub ip: &'a IpPacket,
    /// The frame that holds it.
    pub frame: &'a [u8],
    /// The uplink that it came in by: the routers behind it may speak of what they carry.
    pub uplink: Option<UplinkId>,
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

/// Admits a packet of TCP or UDP that continues a connection which the present policy has judged, by a verdict if there is one.
/// `None`: ask [`Admission::decide_whole`], which says the same of such a packet.
#[inline(always)]
pub fn continues(
    table: &ConnectionTable,
    snapshot: &Snapshot,
    connection: &Connection,
    packet: &Packet,
    now: Tick,
) -> Option<Option<VerdictId>> {
    let Connection { key, hash, .. } = connection;
    match table.find_first(key, *hash, matches!(packet, Packet::Tcp(_)), now) {
        Some(entry) => goes_on(table, snapshot, connection, entry, packet, now),
        None => continues_elsewhere(table, snapshot, connection, packet, now),
    }
}

/// The same for a connection that does not stand where it prefers to, if there is one.
#[inline(never)]
fn continues_elsewhere(
    table: &ConnectionTable,
    snapshot: &Snapshot,
    connection: &Connection,
    packet: &Packet,
    now: Tick,
) -> Option<Option<VerdictId>> {
    let entry = table.find(&connection.key, connection.hash, now)?;
    goes_on(table, snapshot, connection, entry, packet, now)
}

#[inline(always)]
fn goes_on(
    table: &ConnectionTable,
    snapshot: &Snapshot,
    connection: &Connection,
    entry: Entry,
    packet: &Packet,
    now: Tick,
) -> Option<Option<VerdictId>> {
    match entry.step(packet, connection.direction) {
        Step::Continue(next) if entry.is_judged_by(snapshot.policy_generation) => {
            table.advance(&entry, connection.direction, packet, next, &snapshot.terms, now);
            Some(entry.verdict().map(VerdictId))
        }
        _ => None,
    }
}

/// A packet's way to its admission.
pub struct Admission<'a> {
    /// The connections.
    pub table: &'a ConnectionTable,
    /// The policy.
    pub snapshot: &'a Snapshot,
    /// Who asks.
    pub candidate: &'a Candidate<'a>,
    /// The moment of the burst.
    pub now: Tick,
}

impl Admission<'_> {
    /// Decides about any packet.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn decide(&self, carried: &Carried<'_>) -> Result<Admitted, Refused> {
        let Self { snapshot, candidate, .. } = *self;
        let Carried { ip, frame, .. } = *carried;
        if let Some(fragment) = &ip.fragment {
            if snapshot.policy.settings.switch.fragments == Fragments::Drop {
                return Err(DropReason::FragmentsRefused.into());
            }
            if fragment.offset != 0 {
                return self.later_fragment(ip, fragment);
            }
        }
        if icmp::is_error(ip.flow.layer4) {
            return self.error(carried);
        }
        let admitted = self.decide_whole(&Packet::read(frame, ip))?;
        if let Some(fragment) = ip.fragment.filter(|_| candidate.is_deliverable) {
            self.first_fragment(ip, &fragment, admitted).inspect_err(|_| self.close(admitted))?;
        }
        Ok(admitted)
    }

    /// Decides about one that has its transport header and is no ICMP error.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn decide_whole(&self, packet: &Packet) -> Result<Admitted, Refused> {
        let Self { table, snapshot, candidate, now } = *self;
        let Connection { key, hash, direction } = candidate.connection;
        let Some(entry) = table.find(key, *hash, now) else { return self.unknown(packet) };
        match entry.step(packet, *direction) {
            Step::Continue(next) => {
                let admitted = standing(table, snapshot, key, &entry)?;
                table.advance(&entry, *direction, packet, next, &snapshot.terms, now);
                Ok(admitted)
            }
            other => self.irregular(packet, entry, other),
        }
    }

    /// A packet that does not simply continue its connection.
    #[inline(never)]
    fn irregular(&self, packet: &Packet, entry: Entry, step: Step) -> Result<Admitted, Refused> {
        let Self { table, snapshot, candidate, now } = *self;
        match step {
            Step::OutOfWindow => {
                let admitted = standing(table, snapshot, &candidate.connection.key, &entry)?;
                match snapshot.terms.strict {
                    true => Err(DropReason::TcpOutOfWindow.into()),
                    false => Ok(admitted),
                }
            }
            // What will not arrive opens nothing, and so ends nothing.
            Step::Reopen if !candidate.is_deliverable => self.judged(),
            Step::Reopen => {
                let verdict = self.judge()?;
                candidate.take_connection(verdict, now)?;
                table.end(&entry);
                self.open(packet, verdict, candidate.connection.direction)
            }
            // The connection stands as it is; whoever asks anew must be allowed to.
            Step::Judge | Step::Continue(_) => self.judged(),
        }
    }

    /// A packet that belongs to no connection.
    #[inline(never)]
    fn unknown(&self, packet: &Packet) -> Result<Admitted, Refused> {
        let Self { candidate, now, .. } = *self;
        match icmp_role(candidate.layer4) {
            Some(IcmpRole::Reply(_)) => return Err(DropReason::ReplyUnsolicited.into()),
            // One-way messages: nothing answers them, so each is judged for itself.
            Some(IcmpRole::Other) => return self.judged(),
            _ => {}
        }
        if !packet.may_open() {
            return match packet {
                Packet::Tcp(_) => self.pick_up(packet),
                _ => Err(DropReason::SctpNoConnection.into()),
            };
        }
        let verdict = self.judge()?;
        if candidate.is_deliverable {
            candidate.take_connection(verdict, now)?;
        }
        self.open(packet, verdict, candidate.connection.direction)
    }

    /// Ends the connection that this packet has opened: the packet does not pass after all.
    #[cold]
    fn close(&self, admitted: Admitted) {
        let Self { table, candidate, now, .. } = *self;
        let Connection { key, hash, .. } = candidate.connection;
        let opened = table.find(key, *hash, now).filter(|entry| entry.state().phase().is_opening());
        if let Some(entry) = opened.filter(|_| admitted.is_new) {
            table.end(&entry);
        }
    }

    /// Asks both gates about the candidate.
    fn judge(&self) -> Result<VerdictId, Refused> {
        let Candidate { source, destination, layer4, .. } = *self.candidate;
        judge(self.snapshot, source, destination, layer4)
    }

    /// Passes if the gates admit it, and is not remembered.
    fn judged(&self) -> Result<Admitted, Refused> {
        Ok(Admitted { verdict: Some(self.judge()?), is_new: true })
    }

    /// TCP that belongs to nothing: refused, unless the switch has just started and the gates admit it, as an opening packet
    /// or as the reply to one.
    fn pick_up(&self, packet: &Packet) -> Result<Admitted, Refused> {
        let Self { table, snapshot, candidate, now } = *self;
        if !packet.may_be_taken_up() || !table.picks_up(&snapshot.terms, now) {
            return Err(DropReason::TcpNoConnection.into());
        }
        let (ports, direction) = (candidate.layer4, candidate.connection.direction);
        match self.judge() {
            Ok(verdict) => self.open(packet, verdict, direction),
            Err(refused) => {
                let reversed = Layer4 { source: ports.destination, destination: ports.source, ..ports };
                match judge(snapshot, candidate.destination, candidate.source, reversed) {
                    Ok(verdict) => self.open(packet, verdict, direction.reversed()),
                    Err(_) => Err(refused),
                }
            }
        }
    }

    /// Remembers a connection that the gates have admitted, and whose opening packet goes the way of `opener`.
    fn open(&self, packet: &Packet, verdict: VerdictId, opener: Direction) -> Result<Admitted, Refused> {
        let Self { table, snapshot, candidate, now } = *self;
        let admitted = Admitted { verdict: Some(verdict), is_new: true };
        if !candidate.is_deliverable {
            return Ok(admitted);
        }
        let Connection { key, hash, direction } = candidate.connection;
        let judged = (snapshot.policy_generation, verdict.0);
        let opening = Opening { packet, direction: *direction, opener, judged, owner: candidate.owner };
        let reason = match table.open(key, *hash, &opening, &snapshot.terms, now) {
            Ok(()) => return Ok(admitted),
            Err(Unopened::TableFull) => DropReason::ConnectionTableFull,
            Err(Unopened::Quota) => DropReason::ConnectionQuota,
            Err(Unopened::HalfOpenQuota) => DropReason::HalfOpenQuota,
        };
        Err(Refused { reason, verdict: Some(verdict) })
    }
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
#[inline]
fn standing(
    table: &ConnectionTable,
    snapshot: &Snapshot,
    key: &ConnectionKey,
    entry: &Entry,
) -> Result<Admitted, Refused> {
    if entry.is_judged_by(snapshot.policy_generation) {
        return Ok(Admitted { verdict: entry.verdict().map(VerdictId), is_new: false });
    }
    recheck(table, snapshot, key, *entry)
}

/// The same for one that another policy has judged.
#[inline(never)]
fn recheck(
    table: &ConnectionTable,
    snapshot: &Snapshot,
    key: &ConnectionKey,
    entry: Entry,
) -> Result<Admitted, Refused> {
    // For a burst, another worker may be ahead of this one; what the newer policy admitted is not for the older to end.
    let is_ahead = entry.is_judged_after(snapshot.policy_generation);
    if is_ahead || snapshot.established == Established::Keep {
        return Ok(Admitted { verdict: None, is_new: false });
    }
    // As its opening packet was, whichever side sends now.
    let opening = key.flow(entry.opened());
    let (source, destination) = (snapshot.identity(opening.source), snapshot.identity(opening.destination));
    let verdict = judge(snapshot, source, destination, opening.layer4).inspect_err(|_| table.end(&entry))?;
    table.rejudged(&entry, snapshot.policy_generation, verdict.0);
    Ok(Admitted { verdict: Some(verdict), is_new: false })
}

impl Refused {
    /// Whether the rule that refuses wants the sender to hear so.
    pub fn is_rejected(&self, snapshot: &Snapshot) -> bool {
        let entry = self.verdict.map(|verdict| snapshot.classifier.verdict(verdict));
        entry.is_some_and(|entry| !entry.verdict.is_allow() && entry.deny_with == DenyWith::Reject)
    }
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
