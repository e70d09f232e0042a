//! One burst, from the port that it came in on to the ports that it leaves by.
//!
//! ```text
//! parse -> guard -> where to -> connection or gates -> rewrite -> hand over
//! ```
//!
//! Every frame ends exactly once: forwarded, replied to, or dropped with one reason. Nothing here allocates, locks,
//! reads a clock or makes a system call; the time of the burst is a parameter.

use std::sync::Arc;

use septum_classifier::VerdictId;
use septum_rules::flow_key::FlowKey;
use septum_rules::identity::IdentityId;
use septum_rules::rule::DenyWith;

use crate::admission::{self, Candidate};
use crate::burst::{Burst, ETHERNET};
use crate::clock::BurstTime;
use crate::conntrack::ConnectionTable;
use crate::counters::{Cell, WorkerCells};
use crate::delivery::Plan;
use crate::drop_reason::DropReason;
use crate::flow_log::{Event, FlowLog, is_logged};
use crate::forwarding::{self, Destination};
use crate::group;
use crate::guard::{self, Source};
use crate::port::PortId;
use crate::responder::{self, AnswerBudgets, Asking};
use crate::routing;
use crate::snapshot::Snapshot;
use crate::wire::parse::parse;
use crate::wire::vnet_hdr::VnetHeader;
use crate::wire::{Content, IpPacket, icmp};

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
}

/// What is known of a frame at its end, for counters and log.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    flow: Option<FlowKey>,
    verdict: Option<VerdictId>,
    is_new: bool,
    /// The verdicts are counted already (a group packet has one for each receiver).
    is_counted: bool,
    egress: Option<u16>,
}

impl Forwarder {
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
        for index in 0..burst.len() {
            let length = burst.frame(index).len();
            let mut account = Account::default();
            let end = self.decide_one(burst, index, &at, plan, &mut account);
            plan.end(end);
            self.count(&at, length, end, &account);
        }
    }

    /// Decides about the frame that `asking` holds, of which only the place in the burst is known yet.
    fn decide_one(
        &mut self,
        burst: &mut Burst,
        index: usize,
        at: &At<'_>,
        plan: &mut Plan,
        account: &mut Account,
    ) -> End {
        if at.snapshot.is_stale(at.time) {
            return DropReason::PolicyStale.into();
        }
        // A slot that has a new owner says nothing of the old one's last frames.
        let member = at.snapshot.directory.member(at.ingress.slot).filter(|member| member.port == at.ingress);
        let Some(member) = member else { return DropReason::Undescribed.into() };
        let frame = burst.frame(index);
        let Some(vnet) = VnetHeader::read(frame) else { return DropReason::FrameSize.into() };
        // Borrowed: the headers are a hundred bytes, and moving them out of the result would copy them.
        let parsed = parse(&frame[ETHERNET..], &vnet);
        let headers = match &parsed {
            Ok(headers) => headers,
            Err(reason) => return End::Dropped(*reason),
        };
        if let Content::Ip(ip) = &headers.content {
            account.flow = Some(ip.flow);
        }
        let source = match guard::admit(member, headers) {
            Ok(source) => source,
            Err(reason) => return reason.into(),
        };
        let (directory, now) = (&at.snapshot.directory, at.time.tick);
        let mut asking = Asking { directory, member, headers, burst, index, answers: &mut self.answers, now };
        match &headers.content {
            Content::Arp(arp) => asking.arp(arp),
            Content::Ip(ip) if responder::is_absorbed(ip) => DropReason::Absorbed.into(),
            Content::Ip(ip) => match (ip.neighbour, source) {
                (Some(neighbour), _) => asking.solicitation(ip, &neighbour),
                (None, Source::Identity(source)) => {
                    let way = Way {
                        table: &self.table,
                        snapshot: at.snapshot,
                        hits: &at.snapshot.hits[self.worker],
                    };
                    way.decide_ip(ip, source, asking, plan, account)
                }
                // Whoever has no address yet may only talk to the switch, and that was dealt with.
                (None, Source::Unaddressed) => DropReason::Absorbed.into(),
            },
        }
    }

    /// Counts a frame's end, once, and logs it if it is to be logged.
    fn count(&mut self, at: &At<'_>, length: usize, end: End, account: &Account) {
        let At { snapshot, ingress, time } = *at;
        let cells = self.cells.port(ingress.slot);
        cells.received.add(1);
        cells.received_bytes.add(length.saturating_sub(ETHERNET) as u64);
        let reason = match end {
            End::Forward(_) | End::Copied => {
                cells.forwarded.add(1);
                None
            }
            End::Replied => {
                cells.replied.add(1);
                return;
            }
            End::Dropped(reason) | End::Rejected(reason) => {
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
            let event = Event {
                unix_ms: time.unix_ms,
                ingress: ingress.slot,
                egress: account.egress,
                flow: account.flow,
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
}

impl Way<'_> {
    /// Decides about an IP packet whose source is known to be its sender's.
    fn decide_ip(
        &self,
        ip: &IpPacket,
        source: IdentityId,
        mut asking: Asking<'_>,
        plan: &mut Plan,
        account: &mut Account,
    ) -> End {
        let snapshot = self.snapshot;
        let limiter = asking.member.limiter.as_deref();
        if let Some(limiter) = limiter
            && let Err(reason) = limiter.packet(asking.burst.frame(asking.index), ip, asking.now)
        {
            return reason.into();
        }
        let destination = match forwarding::resolve(&snapshot.directory, asking.member, asking.headers, ip) {
            Ok(destination) => destination,
            Err(reason) => return reason.into(),
        };
        let (identity, is_deliverable) = match destination {
            Destination::Group => {
                let (end, verdict) = group::copy(snapshot, self.hits, ip, source, &asking, plan);
                *account = Account { verdict, is_new: true, is_counted: true, ..*account };
                return end;
            }
            Destination::Gateway(_) if icmp::is_echo_request(ip.flow.layer4) && ip.fragment.is_none() => {
                return asking.echo();
            }
            Destination::Bridged { identity, port } | Destination::Routed { identity, port, .. } => {
                account.egress = Some(port.slot);
                (identity, true)
            }
            Destination::Gateway(identity) => (identity, false),
            Destination::Nowhere => (snapshot.classifier.identify(ip.flow.destination), false),
        };
        let frame = &asking.burst.frame(asking.index)[ETHERNET..];
        let candidate = Candidate { ip, source, destination: identity, frame, is_deliverable, limiter };
        match admission::admit(self.table, snapshot, &candidate, asking.now) {
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
