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
    let admission = Admission { table, snapshot, candidate, now };
    if let Some(fragment) = &candidate.ip.fragment {
        if snapshot.policy.settings.switch.fragments == Fragments::Drop {
            return Err(DropReason::FragmentsRefused.into());
        }
        if fragment.offset != 0 {
            return admission.later_fragment(fragment);
        }
    }
    if icmp::is_error(candidate.ip.flow.layer4) {
        return admission.error();
    }
    let admitted = admission.whole()?;
    if let Some(fragment) = candidate.ip.fragment.filter(|_| candidate.is_deliverable) {
        admission.first_fragment(&fragment, admitted)?;
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
    packet: &Packet,
    now: Tick,
) -> Option<Admitted> {
    let Connection { key, hash, direction } = connection;
    let entry = table.find(key, *hash, now)?;
    match entry.step(packet, *direction) {
        Step::Continue(next) if entry.is_judged_by(snapshot.policy_generation) => {
            table.advance(&entry, *direction, packet, next, &snapshot.terms, now);
            Some(Admitted { verdict: entry.verdict().map(VerdictId), is_new: false })
        }
        _ => None,
    }
}

/// A packet's way to its admission.
struct Admission<'a> {
    table: &'a ConnectionTable,
    snapshot: &'a Snapshot,
    candidate: &'a Candidate<'a>,
    now: Tick,
}

impl Admission<'_> {
    /// A packet with its transport header.
    fn whole(&self) -> Result<Admitted, Refused> {
        let Self { table, snapshot, candidate, now } = *self;
        let flow = &candidate.ip.flow;
        let packet = Packet::read(candidate.frame, candidate.ip);
        let Connection { key, hash, direction } = *candidate.connection;
        let place = (&key, hash, direction);
        if let Some(entry) = table.find(&key, hash, now) {
            match entry.step(&packet, direction) {
                Step::Continue(next) => {
                    let admitted = standing(table, snapshot, &key, &entry)?;
                    table.advance(&entry, direction, &packet, next, &snapshot.terms, now);
                    return Ok(admitted);
                }
                Step::OutOfWindow => {
                    let admitted = standing(table, snapshot, &key, &entry)?;
                    return match snapshot.terms.strict {
                        true => Err(DropReason::TcpOutOfWindow.into()),
                        false => Ok(admitted),
                    };
                }
                // The connection stands as it is; whoever asks anew must be allowed to.
                Step::Judge => return self.judged(),
                Step::Reopen => {
                    let verdict = judge(snapshot, candidate.source, candidate.destination, flow.layer4)?;
                    candidate.take_connection(verdict, now)?;
                    table.end(&entry);
                    return self.open(place, &packet, verdict, direction);
                }
            }
        }
        match icmp_role(flow.layer4) {
            Some(IcmpRole::Reply(_)) => return Err(DropReason::ReplyUnsolicited.into()),
            // One-way messages: nothing answers them, so each is judged for itself.
            Some(IcmpRole::Other) => return self.judged(),
            _ => {}
        }
        if !packet.may_open() {
            return match packet {
                Packet::Tcp(_) => self.pick_up(place, &packet),
                _ => Err(DropReason::SctpNoConnection.into()),
            };
        }
        let verdict = judge(snapshot, candidate.source, candidate.destination, flow.layer4)?;
        if candidate.is_deliverable {
            candidate.take_connection(verdict, now)?;
        }
        self.open(place, &packet, verdict, direction)
    }

    /// Passes if the gates admit it, and is not remembered.
    fn judged(&self) -> Result<Admitted, Refused> {
        let Candidate { source, destination, ip, .. } = *self.candidate;
        let verdict = judge(self.snapshot, source, destination, ip.flow.layer4)?;
        Ok(Admitted { verdict: Some(verdict), is_new: true })
    }

    /// TCP that belongs to nothing: refused, unless the switch has just started and the gates admit it, as an opening packet
    /// or as the reply to one.
    fn pick_up(&self, place: (&ConnectionKey, u64, Direction), packet: &Packet) -> Result<Admitted, Refused> {
        let Self { table, snapshot, candidate, now } = *self;
        if !packet.may_be_taken_up() || !table.picks_up(&snapshot.terms, now) {
            return Err(DropReason::TcpNoConnection.into());
        }
        let (ports, direction) = (candidate.ip.flow.layer4, place.2);
        match judge(snapshot, candidate.source, candidate.destination, ports) {
            Ok(verdict) => self.open(place, packet, verdict, direction),
            Err(refused) => {
                let reversed = Layer4 { source: ports.destination, destination: ports.source, ..ports };
                match judge(snapshot, candidate.destination, candidate.source, reversed) {
                    Ok(verdict) => self.open(place, packet, verdict, direction.reversed()),
                    Err(_) => Err(refused),
                }
            }
        }
    }

    /// Remembers a connection that the gates have admitted, and whose opening packet goes the way of `opener`.
    fn open(
        &self,
        (key, hash, direction): (&ConnectionKey, u64, Direction),
        packet: &Packet,
        verdict: VerdictId,
        opener: Direction,
    ) -> Result<Admitted, Refused> {
        let admitted = Admitted { verdict: Some(verdict), is_new: true };
        if !self.candidate.is_deliverable {
            return Ok(admitted);
        }
        let judged = (self.snapshot.policy_generation, verdict.0);
        let opening = Opening { packet, direction, opener, judged, owner: self.candidate.owner };
        let reason = match self.table.open(key, hash, &opening, &self.snapshot.terms, self.now) {
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
