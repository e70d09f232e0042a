//! One burst, from the port that it came in on to the ports that it leaves by.
//!
//! ```text
//! survey:  parse -> guard -> where to -> where its connection would stand     (all frames of the burst)
//! decide:  connection or gates -> rewrite -> hand over                        (one frame after the other)
//! fast path: what survey and gates said before of the same two ends and the same connection is not asked again
//! ```
//!
//! Every frame ends exactly once: forwarded, replied to, or dropped with one reason. Nothing here allocates, locks,
//! reads a clock or makes a system call; the time of the burst is a parameter.

use std::sync::Arc;

use septum_classifier::VerdictId;
use septum_rules::identity::IdentityId;
use septum_rules::rule::DenyWith;

use crate::admission::{self, Candidate};
use crate::burst::{Burst, ETHERNET};
use crate::clock::BurstTime;
use crate::conntrack::{Connection, ConnectionTable};
use crate::counters::{Cell, WorkerCells};
use crate::delivery::Plan;
use crate::drop_reason::DropReason;
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
        let at = At { snapshot, ingress, time };
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
        for index in 0..burst.len() {
            let mut account = Account::default();
            let end = match (self.decide_common(burst, index, &at, &mut account), from) {
                (Some(end), _) => end,
                (None, Ok(from)) => {
                    if self.survey.common(index).is_some() {
                        self.survey.survey_one(burst, index, snapshot, from, &self.table);
                    }
                    self.decide_one(burst, index, &at, from, plan, &mut account)
                }
                (None, Err(reason)) => reason.into(),
            };
            plan.end(end);
            self.count(&at, index, end, &account);
        }
    }

    /// The fast path: a frame of the common kind that belongs to a connection of the present policy. `None` where the whole
    /// way is to be gone.
    #[inline]
    fn decide_common(
        &self,
        burst: &mut Burst,
        index: usize,
        at: &At<'_>,
        account: &mut Account,
    ) -> Option<End> {
        let Common { way, packet, connection } = self.survey.common(index)?;
        let admitted = admission::admit_known(&self.table, at.snapshot, connection, packet, at.time.tick)?;
        account.verdict = admitted.verdict;
        account.egress = Some(way.egress.slot);
        if way.is_routed {
            routing::route_common(at.snapshot, way, &mut burst.frame_mut(index)[ETHERNET..])?;
        }
        Some(End::Forward(way.egress))
    }

    /// Decides about one frame that was surveyed.
    fn decide_one(
        &mut self,
        burst: &mut Burst,
        index: usize,
        at: &At<'_>,
        from: Station<'_>,
        plan: &mut Plan,
        account: &mut Account,
    ) -> End {
        let Finding { headers, course } = self.survey.finding(index);
        let headers = match headers {
            Ok(headers) => headers,
            Err(reason) => return End::Dropped(*reason),
        };
        let (directory, now) = (&at.snapshot.directory, at.time.tick);
        let mut asking = Asking { directory, from, headers, burst, index, answers: &mut self.answers, now };
        match (course, &headers.content) {
            (Course::Refused(reason), _) => End::Dropped(*reason),
            (Course::Packet { source, destination, connection }, Content::Ip(ip)) => {
                let way = Way {
                    table: &self.table,
                    snapshot: at.snapshot,
                    hits: &at.snapshot.hits[self.worker],
                    source: *source,
                    connection,
                };
                way.decide_ip(ip, *destination, asking, plan, account)
            }
            (_, content) => {
                if let Station::Uplink(uplink) = from {
                    uplink::hear(uplink, headers, now);
                }
                asking.control(content)
            }
        }
    }

    /// Counts a frame's end, once, and logs it if it is to be logged.
    fn count(&mut self, at: &At<'_>, index: usize, end: End, account: &Account) {
        let At { snapshot, ingress, time } = *at;
        let cells = self.cells.port(ingress.slot);
        let reason = match end {
            End::Forward(_) | End::Copied => {
                cells.forwarded.add(1);
                None
            }
            End::Replied => {
                cells.replied.add(1);
                return;
            }
            End::Dropped(reason) | End::Rejected(reason) | End::Asked(reason, _) => {
                cells.dropped[reason.index()].add(1);
                Some(reason)
            }
        };
        if let Some(verdict) = account.verdict.filter(|_| !account.is_counted) {
            snapshot.hits[self.worker][verdict.index()].add(1);
        }
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
    ingress: PortId,
    time: BurstTime,
}

/// What deciding about an IP packet reads and counts in.
struct Way<'a> {
    table: &'a ConnectionTable,
    snapshot: &'a Snapshot,
    /// This worker's cells by verdict.
    hits: &'a [Cell],
    /// Who sent it.
    source: IdentityId,
    /// The connection that it would belong to.
    connection: &'a Connection,
}

impl Way<'_> {
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
        let (identity, is_deliverable) = match (destination, asking.from) {
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
                (identity, true)
            }
            (Destination::Uplink(uplink), _) => {
                let uplink = snapshot.directory.uplink(uplink);
                account.egress = uplink.map(|uplink| uplink.port.slot);
                (world(), uplink.is_some())
            }
            (Destination::Gateway(identity), _) => (identity, false),
            (Destination::Nowhere | Destination::Group, _) => (world(), false),
        };
        // The world has no share of its own: whoever is to be reached answers for what is opened to it.
        let owner = match asking.from {
            Station::Member(member) => member.port.slot,
            Station::Uplink(uplink) => account.egress.unwrap_or(uplink.port.slot),
        };
        let frame = &asking.burst.frame(asking.index)[ETHERNET..];
        let candidate = Candidate {
            ip,
            source,
            destination: identity,
            frame,
            connection,
            is_deliverable,
            limiter,
            uplink,
            owner,
        };
        match admission::admit(table, snapshot, &candidate, asking.now) {
            Ok(admitted) => {
                account.verdict = admitted.verdict;
                account.is_new = admitted.is_new;
                routing::dispatch(snapshot, ip, destination, &mut asking)
            }
            Err(refused) => {
                account.verdict = refused.verdict;
                account.is_new = true;
                match refused.verdict.map(|verdict| snapshot.classifier.verdict(verdict)) {
                    Some(entry) if !entry.verdict.is_allow() && entry.deny_with == DenyWith::Reject => {
                        asking.prohibit(ip, refused.reason)
                    }
                    _ => refused.reason.into(),
                }
            }
        }
    }
}
