//! One burst, from the port that it came in on to the ports that it leaves by.
//!
//! ```text
//! survey:  parse -> guard -> where to -> where its connection would stand     (all frames of the burst)
//! decide:  connection or gates -> rewrite -> hand over                        (one frame after the other)
//! fast path: what guard and directory said before of the same two ends is not asked again
//! ```
//!
//! Every frame ends exactly once: forwarded, replied to, or dropped with one reason. Nothing here allocates, locks,
//! reads a clock or makes a system call; the time of the burst is a parameter.

use std::sync::Arc;

use septum_classifier::VerdictId;
use septum_rules::identity::IdentityId;
use septum_rules::proto::Protocol;

use crate::admission::{self, Admission, Admitted, Candidate, Carried};
use crate::burst::{Burst, ETHERNET};
use crate::clock::BurstTime;
use crate::conntrack::{Connection, ConnectionTable, Packet};
use crate::counters::{Cell, WorkerCells};
use crate::delivery::Plan;
use crate::drop_reason::DropReason;
use crate::fast_path::Way;
use crate::flow_log::{Event, FlowLog, is_logged};
use crate::forwarding::Destination;
use crate::group;
use crate::port::PortId;
use crate::responder::{AnswerBudgets, Asking, Station};
use crate::routing;
use crate::snapshot::Snapshot;
use crate::survey::{Common, Course, Finding, Survey};
use crate::uplink;
use crate::wire::{Content, Headers, IpPacket, icmp};

/// How a frame ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Handed to this port.
    Forward(PortId),
    /// Handed to several ports; the plan has them.
    Copied,
    /// Answered: its slot now holds the switch's answer, for the port that it came from.
    Replied,
    /// Dropped.
    Dropped(DropReason),
    /// Dropped, and its slot now holds the ICMP error or the reset that says so, for the port that it came from.
    Rejected(DropReason),
    /// Dropped, and its slot now holds a question of the switch's own, for this port.
    Asked(DropReason, PortId),
}

impl From<DropReason> for End {
    fn from(reason: DropReason) -> Self {
        Self::Dropped(reason)
    }
}

/// What one worker needs to decide about frames.
#[derive(Debug)]
pub struct Forwarder {
    /// The worker's number: which row of hit counters is its own.
    pub worker: usize,
    /// The connections of all workers.
    pub table: Arc<ConnectionTable>,
    /// This worker's counters.
    pub cells: Arc<WorkerCells>,
    /// Where events go, if anybody wants them.
    pub log: Option<FlowLog>,
    /// How many answers each port may still have.
    pub answers: AnswerBudgets,
    /// Frames that the gates judged, for sampling.
    pub judged: u64,
    /// What the first look at the present burst has found.
    survey: Survey,
}

/// What is known of a frame at its end, for counters and log.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    verdict: Option<VerdictId>,
    is_new: bool,
    /// The verdicts are counted already (a group packet has one for each receiver).
    is_counted: bool,
    egress: Option<u16>,
}

impl Account {
    fn of(admitted: Admitted, egress: Option<u16>) -> Self {
        let Admitted { verdict, is_new } = admitted;
        Self { verdict, is_new, is_counted: false, egress }
    }

    /// That of a packet which continues its connection.
    fn continuing(verdict: Option<VerdictId>, egress: PortId) -> Self {
        Self { verdict, egress: Some(egress.slot), ..Self::default() }
    }
}

/// Sends an admitted frame of the common kind its way.
fn send(snapshot: &Snapshot, way: &Way, burst: &mut Burst, index: usize) -> End {
    match way.is_routed {
        true => route(snapshot, way, burst, index),
        false => End::Forward(way.egress),
    }
}

#[inline(never)]
fn route(snapshot: &Snapshot, way: &Way, burst: &mut Burst, index: usize) -> End {
    match routing::route_common(snapshot, way, &mut burst.frame_mut(index)[ETHERNET..]) {
        Ok(()) => End::Forward(way.egress),
        Err(reason) => reason.into(),
    }
}

impl Forwarder {
    /// The forwarder of a worker that has seen no frame yet.
    pub fn new(
        worker: usize,
        table: Arc<ConnectionTable>,
        cells: Arc<WorkerCells>,
        log: Option<FlowLog>,
    ) -> Self {
        let answers = AnswerBudgets::new(cells.slots());
        Self { worker, table, cells, log, answers, judged: 0, survey: Survey::default() }
    }

    /// Decides about every frame of a burst that came in at `ingress`, rewrites those that are routed or answered,
    /// and says in `plan` which port gets what.
    pub fn decide(
        &mut self,
        snapshot: &Snapshot,
        ingress: PortId,
        burst: &mut Burst,
        time: BurstTime,
        plan: &mut Plan,
    ) {
        plan.clear();
        self.table.sweep(time.tick);
        // A slot that has a new owner says nothing of the old one's last frames.
        let from = match Station::at(&snapshot.directory, ingress) {
            _ if snapshot.is_stale(time) => Err(DropReason::PolicyStale),
            None => Err(DropReason::Undescribed),
            Some(from) => Ok(from),
        };
        let bytes = match from {
            Ok(from) => self.survey.survey(burst, snapshot, from, &self.table),
            Err(reason) => self.survey.refuse(burst, reason),
        };
        let cells = self.cells.port(ingress.slot);
        cells.received.add(burst.len() as u64);
        cells.received_bytes.add(bytes);
        let at = At { snapshot, hits: &snapshot.hits[self.worker], ingress, time };
        let mut forwarded = 0;
        for index in 0..burst.len() {
            let (end, account) = match (self.survey.common(index), from) {
                (Some(common), Ok(from)) => {
                    let Common { way, layout, connection } = common;
                    let (protocol, now) = (connection.key.protocol(), time.tick);
                    // Two calls, since each is compiled for what it is given.
                    let admitted = match protocol {
                        Protocol::TCP => {
                            let packet = layout.packet(burst, index, protocol);
                            admission::continues(&self.table, snapshot, connection, &packet, now)
                        }
                        _ => admission::continues(&self.table, snapshot, connection, &Packet::Other, now),
                    };
                    match admitted {
                        // Seen to its end here: what nearly every frame takes makes no detour.
                        Some(verdict) if !way.is_routed => {
                            plan.forward(way.egress);
                            forwarded += 1;
                            if let Some(verdict) = verdict {
                                at.hits[verdict.index()].add(1);
                            }
                            if self.log.is_some() {
                                let account = Account::continuing(verdict, way.egress);
                                self.log_end(&at, index, None, account);
                            }
                            continue;
                        }
                        Some(verdict) => {
                            let account = Account::continuing(verdict, way.egress);
                            (route(snapshot, way, burst, index), account)
                        }
                        None => {
                            let (packet, common) = (layout.packet(burst, index, protocol), *common);
                            self.decide_common(burst, index, &at, from, &common, packet)
                        }
                    }
                }
                (_, Ok(from)) => self.decide_one(burst, index, &at, from, plan),
                (_, Err(reason)) => (reason.into(), Account::default()),
            };
            plan.end(end);
            forwarded += u64::from(matches!(end, End::Forward(_)));
            self.count(&at, index, end, account);
        }
        self.cells.port(ingress.slot).forwarded.add(forwarded);
    }

    /// Counts a frame of so many bytes that came in at `ingress` and is nobody's there, and logs it.
    pub fn refuse(
        &self,
        snapshot: &Snapshot,
        ingress: PortId,
        (bytes, reason): (u64, DropReason),
        time: BurstTime,
    ) {
        let cells = self.cells.port(ingress.slot);
        cells.received.add(1);
        cells.received_bytes.add(bytes);
        cells.dropped[reason.index()].add(1);
        if let Some(log) = &self.log {
            let event = Event {
                unix_ms: time.unix_ms,
                ingress: ingress.slot,
                egress: None,
                flow: None,
                reason: Some(reason),
                verdict: None,
                policy_generation: snapshot.policy_generation,
            };
            log.record(event, &self.cells.events_lost);
        }
    }

    /// Decides about a frame of the common kind that does not simply continue its connection.
    #[inline(never)]
    fn decide_common(
        &mut self,
        burst: &mut Burst,
        index: usize,
        at: &At<'_>,
        from: Station<'_>,
        Common { way, connection, .. }: &Common,
        packet: Packet,
    ) -> (End, Account) {
        let candidate = Candidate {
            source: way.source,
            destination: way.destination,
            layer4: connection.key.ports(connection.direction),
            connection,
            is_deliverable: true,
            limiter: None,
            owner: at.ingress.slot,
        };
        let admission =
            Admission { table: &self.table, snapshot: at.snapshot, candidate: &candidate, now: at.time.tick };
        let egress = Some(way.egress.slot);
        match admission.decide_whole(&packet) {
            Ok(admitted) => (send(at.snapshot, way, burst, index), Account::of(admitted, egress)),
            Err(refused) => {
                let end = match refused.is_rejected(at.snapshot) {
                    true => self.prohibit(burst, index, at, from, refused.reason),
                    false => refused.reason.into(),
                };
                (end, Account { verdict: refused.verdict, is_new: true, egress, ..Account::default() })
            }
        }
    }

    /// Tells the sender of a frame of the common kind that it is refused.
    #[cold]
    fn prohibit(
        &mut self,
        burst: &mut Burst,
        index: usize,
        at: &At<'_>,
        from: Station<'_>,
        reason: DropReason,
    ) -> End {
        self.survey.survey_one(burst, index, at.snapshot, from, &self.table);
        let Ok(headers) = &self.survey.finding(index).headers else { return reason.into() };
        let Content::Ip(ip) = &headers.content else { return reason.into() };
        let (directory, now) = (&at.snapshot.directory, at.time.tick);
        let mut asking = Asking { directory, from, headers, burst, index, answers: &mut self.answers, now };
        asking.prohibit(ip, reason)
    }

    /// Decides about a frame that takes the whole way.
    #[inline(never)]
    fn decide_one(
        &mut self,
        burst: &mut Burst,
        index: usize,
        at: &At<'_>,
        from: Station<'_>,
        plan: &mut Plan,
    ) -> (End, Account) {
        let mut account = Account::default();
        let Finding { headers, course } = self.survey.finding(index);
        let headers = match headers {
            Ok(headers) => headers,
            Err(reason) => return (End::Dropped(*reason), account),
        };
        let (directory, now) = (&at.snapshot.directory, at.time.tick);
        let mut asking = Asking { directory, from, headers, burst, index, answers: &mut self.answers, now };
        let end = match (course, &headers.content) {
            (Course::Refused(reason), _) => End::Dropped(*reason),
            (Course::Packet { source, destination, connection }, Content::Ip(ip)) => {
                let judging = Judging {
                    table: &self.table,
                    snapshot: at.snapshot,
                    hits: at.hits,
                    source: *source,
                    connection,
                };
                judging.decide_ip(ip, *destination, asking, plan, &mut account)
            }
            (_, content) => {
                if let Station::Uplink(uplink) = from {
                    uplink::hear(uplink, headers, now);
                }
                asking.control(content)
            }
        };
        (end, account)
    }

    /// Counts a frame's end, once, and logs it if it is to be logged. Those forwarded to one port are counted by the burst.
    fn count(&mut self, at: &At<'_>, index: usize, end: End, account: Account) {
        if let Some(verdict) = account.verdict.filter(|_| !account.is_counted) {
            at.hits[verdict.index()].add(1);
        }
        let cells = || self.cells.port(at.ingress.slot);
        let reason = match end {
            End::Forward(_) => None,
            End::Copied => {
                cells().forwarded.add(1);
                None
            }
            End::Replied => {
                cells().replied.add(1);
                return;
            }
            End::Dropped(reason) | End::Rejected(reason) | End::Asked(reason, _) => {
                cells().dropped[reason.index()].add(1);
                Some(reason)
            }
        };
        if self.log.is_some() {
            self.log_end(at, index, reason, account);
        }
    }

    /// Logs a frame's end, if it is to be logged.
    #[inline(never)]
    fn log_end(&mut self, at: &At<'_>, index: usize, reason: Option<DropReason>, account: Account) {
        let At { snapshot, ingress, time, .. } = *at;
        let Some(log) = &self.log else { return };
        self.judged += u64::from(account.is_new);
        let is_logged = match (account.verdict, reason) {
            (Some(verdict), _) => {
                is_logged(snapshot.classifier.verdict(verdict).log, account.is_new, self.judged)
            }
            (None, Some(reason)) => reason != DropReason::Absorbed,
            (None, None) => false,
        };
        if is_logged {
            let flow = match (self.survey.common(index), self.survey.finding(index).headers) {
                (Some(Common { connection, .. }), _) => Some(connection.key.flow(connection.direction)),
                (None, Ok(Headers { content: Content::Ip(ip), .. })) => Some(ip.flow),
                _ => None,
            };
            let event = Event {
                unix_ms: time.unix_ms,
                ingress: ingress.slot,
                egress: account.egress,
                flow,
                reason,
                verdict: account.verdict,
                policy_generation: snapshot.policy_generation,
            };
            log.record(event, &self.cells.events_lost);
        }
    }
}

/// What is the same for all frames of a burst.
struct At<'a> {
    snapshot: &'a Snapshot,
    /// This worker's cells by verdict.
    hits: &'a [Cell],
    ingress: PortId,
    time: BurstTime,
}

/// What deciding about an IP packet reads and counts in.
struct Judging<'a> {
    table: &'a ConnectionTable,
    snapshot: &'a Snapshot,
    /// This worker's cells by verdict.
    hits: &'a [Cell],
    /// Who sent it.
    source: IdentityId,
    /// The connection that it would belong to.
    connection: &'a Connection,
}

impl Judging<'_> {
    /// Decides about an IP packet whose source is known to be its sender's.
    fn decide_ip(
        &self,
        ip: &IpPacket,
        destination: Result<Destination, DropReason>,
        mut asking: Asking<'_>,
        plan: &mut Plan,
        account: &mut Account,
    ) -> End {
        let Self { table, snapshot, hits, source, connection } = *self;
        let (limiter, uplink) = match asking.from {
            Station::Member(member) => (member.limiter.as_deref(), None),
            Station::Uplink(uplink) => (None, Some(uplink.id)),
        };
        if let Some(limiter) = limiter
            && let Err(reason) = limiter.packet(asking.burst.frame(asking.index), ip, asking.now)
        {
            return reason.into();
        }
        let destination = match destination {
            Ok(destination) => destination,
            Err(reason) => return reason.into(),
        };
        let world = || snapshot.classifier.identify(ip.flow.destination);
        let identity = match (destination, asking.from) {
            (Destination::Group, Station::Member(member)) => {
                let (end, verdict) = group::copy(snapshot, hits, ip, (member, source), &asking, plan);
                *account = Account { verdict, is_new: true, is_counted: true, ..*account };
                return end;
            }
            (Destination::Gateway(_), _)
                if icmp::is_echo_request(ip.flow.layer4) && ip.fragment.is_none() =>
            {
                return asking.echo();
            }
            (Destination::Bridged { identity, port } | Destination::Routed { identity, port, .. }, _) => {
                account.egress = Some(port.slot);
                identity
            }
            (Destination::Uplink(uplink), _) => {
                account.egress = snapshot.directory.uplink(uplink).map(|uplink| uplink.port.slot);
                world()
            }
            (Destination::Gateway(identity), _) => identity,
            (Destination::Nowhere | Destination::Group, _) => world(),
        };
        // The world has no share of its own: whoever is to be reached answers for what is opened to it.
        let owner = match asking.from {
            Station::Member(member) => member.port.slot,
            Station::Uplink(uplink) => account.egress.unwrap_or(uplink.port.slot),
        };
        let frame = asking.burst.frame(asking.index);
        let candidate = Candidate {
            source,
            destination: identity,
            layer4: ip.flow.layer4,
            connection,
            is_deliverable: routing::arrives(snapshot, frame, ip, destination),
            limiter,
            owner,
        };
        let admission = Admission { table, snapshot, candidate: &candidate, now: asking.now };
        match admission.decide(&Carried { ip, frame: &frame[ETHERNET..], uplink }) {
            Ok(admitted) => {
                account.verdict = admitted.verdict;
                account.is_new = admitted.is_new;
                routing::dispatch(snapshot, ip, destination, &mut asking)
            }
            Err(refused) => {
                account.verdict = refused.verdict;
                account.is_new = true;
                match refused.is_rejected(snapshot) {
                    true => asking.prohibit(ip, refused.reason),
                    false => refused.reason.into(),
                }
            }
        }
    }
}
