//! One run: a seed, a switch, its hosts, and everything that happens to them.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::net::IpAddr;

use septum::drop_reason::DropReason;
use septum::pipeline::End;
use septum::port::{Offloads, PortId};

use crate::checker::{Checker, Tally, Violation, hex, name_at};
use crate::hostile::{Lure, Mint};
use crate::model::Moment;
use crate::provoke::{Needs, PROVOCATIONS, Provocation, rules_for};
use crate::random::Random;
use crate::rig::{Build, Outcome, Rig};
use crate::talk::{Duty, Kind, Talk, Utterance};
use crate::view::{Content, View, read};
use crate::world::{ENDING, atlas};

/// The service that is open to one of two addresses of its client.
const VAULT: u16 = 9000;

/// Services of honest hosts: (from, to, kind, port).
const SERVICES: [(&str, &str, Kind, u16); 18] = [
    ("web-1", "api-1", Kind::Stream, 8080),
    ("web-2", "api-2", Kind::Stream, 8080),
    ("old-1", "api-2", Kind::Stream, 8080),
    ("api-1", "pay-1", Kind::Stream, 8443),
    ("api-2", "pay-1", Kind::Stream, 8443),
    ("pay-1", "db-1", Kind::Stream, 5432),
    ("ops-1", "web-1", Kind::Stream, 22),
    ("ops-1", "pay-1", Kind::Stream, 22),
    ("web-1", "proxy", Kind::Stream, 80),
    ("lab-1", "lab-2", Kind::Stream, 7),
    ("pay-1", "db-1", Kind::Datagrams, 5432),
    ("web-2", "ops-1", Kind::Datagrams, 514),
    ("old-1", "api-1", Kind::Datagrams, 53),
    ("lab-2", "lab-1", Kind::Datagrams, 7),
    ("web-2", "proxy", Kind::Datagrams, 53),
    ("api-2", "ops-1", Kind::Echo, 0),
    ("api-1", "db-1", Kind::Stream, VAULT),
    ("api-1", "db-1", Kind::Datagrams, VAULT),
];

thread_local! {
    /// Seed, step and frames of the present run: what is known of one that panics.
    pub(crate) static PROGRESS: Cell<(u64, u64, u64)> = const { Cell::new((0, 0, 0)) };
}

/// A frame on its way into the switch.
struct Shot {
    frame: Vec<u8>,
    /// The conversation that it belongs to, its side, and what must become of it.
    of: Option<(usize, usize, Duty)>,
}

/// What happened, for the trace of a failure.
struct Event {
    step: u64,
    tick: u32,
    what: What,
}

enum What {
    Change(String),
    Frame { worker: usize, from: String, frame: Vec<u8>, end: End },
}

/// A run.
pub(crate) struct Run {
    seed: u64,
    random: Random,
    rig: Rig,
    checker: Checker,
    talks: Vec<Talk>,
    /// By host: sends what it likes.
    compromised: Vec<bool>,
    lures: Vec<Lure>,
    history: VecDeque<(usize, Vec<u8>)>,
    events: VecDeque<Event>,
    step: u64,
    stale_until: u64,
    lost: Option<usize>,
    unpublished: u64,
    /// Bursts that follow at once.
    pending: VecDeque<(usize, PortId, Vec<Vec<u8>>)>,
    /// Fragments on a long way: when they arrive, and from whom.
    late: VecDeque<(u64, usize, Vec<u8>)>,
}

/// A run that found something.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) seed: u64,
    pub(crate) frames: u64,
    pub(crate) report: String,
}

impl Run {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let hosts = atlas().hosts.len();
        let shapes = [
            Offloads::ALL,
            Offloads::NONE,
            Offloads { tso4: false, tso6: false, uso: false, ..Offloads::ALL },
            Offloads { uso: false, ..Offloads::ALL },
        ];
        let build = Build {
            workers: random.between(1, 3),
            connections: *random.pick(&[64, 1024, 4096, 4096]),
            queue: if random.once_in(5) { 3 } else { 512 },
            offloads: (0..hosts).map(|_| *random.pick(&shapes)).collect(),
        };
        let compromised = (0..hosts).map(|_| random.once_in(3)).collect();
        let rig = Rig::new(build, seed);
        Self {
            seed,
            random,
            rig,
            checker: Checker::default(),
            talks: Vec::new(),
            compromised,
            lures: Vec::new(),
            history: VecDeque::new(),
            events: VecDeque::new(),
            step: 0,
            stale_until: 0,
            lost: None,
            unpublished: 0,
            pending: VecDeque::new(),
            late: VecDeque::new(),
        }
    }

    /// Sends at least so many frames.
    pub(crate) fn frames(mut self, count: u64) -> Result<Tally, Failure> {
        while self.checker.tally.sent < count {
            PROGRESS.set((self.seed, self.step, self.checker.tally.sent));
            self.step += 1;
            if let Err(why) = self.one_step() {
                return Err(self.failure(&why));
            }
        }
        Ok(self.checker.tally)
    }

    fn one_step(&mut self) -> Result<(), Violation> {
        if let Some((worker, port, frames)) = self.pending.pop_front() {
            let shots: Vec<_> = frames.into_iter().map(|frame| Shot { frame, of: None }).collect();
            return self.one_burst(worker, port, &shots);
        }
        if self.late.front().is_some_and(|(due, ..)| *due <= self.step)
            && let Some((_, host, frame)) = self.late.pop_front()
            && let Some(port) = self.rig.ports[host]
        {
            let worker = self.random.below(self.rig.workers());
            return self.one_burst(worker, port, &[Shot { frame, of: None }]);
        }
        self.happenings();
        let worker = self.random.below(self.rig.workers());
        if self.rig.lags(worker) && (self.step > self.unpublished + 40 || !self.random.once_in(4)) {
            self.rig.catch_up(worker);
        }
        let (port, shots) = match self.random.below(20) {
            0..=11 => self.honest_shots(),
            12..=14 => self.provoking_shots(worker),
            15 => self.replayed_shots(),
            _ => self.hostile_shots(),
        };
        self.one_burst(worker, port, &shots)
    }

    fn one_burst(&mut self, worker: usize, port: PortId, shots: &[Shot]) -> Result<(), Violation> {
        if shots.is_empty() {
            return Ok(());
        }
        let frames: Vec<&[u8]> = shots.iter().map(|shot| shot.frame.as_slice()).collect();
        let outcome = self.rig.burst(worker, port, &frames);
        self.note_frames(worker, port, &frames, &outcome.ends);
        self.checker.judge(&self.rig, (worker, port), &frames, &outcome)?;
        self.consequences(worker, port, shots, &outcome)?;
        let total = self.rig.balance()?;
        if self.step.is_multiple_of(64) {
            self.compare(&total)?;
            self.checker.model.sweep(self.rig.tick);
        }
        Ok(())
    }

    /// The switch's own counters must say what was seen.
    fn compare(&self, total: &septum::counters::PortCounters) -> Result<(), Violation> {
        let tally = &self.checker.tally;
        let counted = (total.received, total.forwarded, total.replied, total.transmitted);
        let seen = (tally.sent, tally.forwarded, tally.replied, tally.arrived);
        if counted != seen || total.dropped != tally.dropped {
            return Err(format!(
                "(received, forwarded, replied, transmitted): counted {counted:?}, seen {seen:?}"
            ));
        }
        Ok(())
    }

    /// Time, policies, ports.
    fn happenings(&mut self) {
        if self.random.once_in(40) {
            self.rig.tick += 1;
        }
        if self.random.once_in(4000) {
            let seconds = *self.random.pick(&[5, 12, 31, 61, 121, 200, 6 * 86_400]);
            self.rig.tick += seconds * 8;
            self.note(format!("{seconds} seconds pass"));
        }
        if self.random.once_in(700) {
            let rules = self.random.below(atlas().rules.len());
            self.rig.change(rules);
            self.unpublished = self.step;
            self.note(format!("the policy is now {:?}", atlas().rules[rules].name));
            if rules == ENDING && self.random.once_in(2) {
                self.stale_until = self.step + 30;
                self.rig.be_late(true);
                self.note("its day is over".into());
            }
        }
        if self.stale_until != 0 && self.step > self.stale_until {
            self.stale_until = 0;
            self.rig.be_late(false);
            self.note("the day begins again".into());
        }
        if self.random.once_in(1500) {
            self.unpublished = self.step;
            match self.lost.take() {
                None => {
                    let host = self.random.below(atlas().hosts.len());
                    self.rig.detach(host);
                    self.lost = Some(host);
                    self.talks.retain(|talk| !talk.hosts.contains(&host));
                    self.note(format!("{} loses its port", atlas().hosts[host].name));
                }
                Some(host) => {
                    self.rig.attach(host);
                    self.checker.new_allowance(host);
                    self.note(format!("{} has a port again", atlas().hosts[host].name));
                }
            }
        }
        let (now, random) = (self.rig.tick, &mut self.random);
        self.talks.retain(|talk| !talk.is_over && !talk.is_stale(now) && !random.once_in(20_000));
        while self.talks.len() < 24 {
            match self.begin_talk() {
                Some(talk) => self.talks.push(talk),
                None => break,
            }
        }
    }

    fn begin_talk(&mut self) -> Option<Talk> {
        let (from, to, kind, port) = *self.random.pick(&SERVICES);
        let hosts = [from, to].map(|name| atlas().host_named(name));
        let ipv4 = !self.random.once_in(2) || !atlas().has_way(hosts[0], hosts[1], false);
        if hosts.iter().any(|host| Some(*host) == self.lost) {
            return None;
        }
        let ipv4 = ipv4 || port == VAULT;
        let mut addresses = hosts.map(|host| atlas().hosts[host].address(ipv4).expect("there is a way"));
        if port == VAULT {
            addresses[0] = atlas().hosts[hosts[0]].addresses[1];
        }
        let mut talk = Talk::new(&mut self.random, kind, hosts, addresses, port);
        talk.is_clean = hosts.iter().all(|host| !self.compromised[*host]);
        talk.passed = self.rig.tick;
        self.lures.push(Lure {
            hosts,
            addresses,
            protocol: match (kind, ipv4) {
                (Kind::Stream, _) => crate::craft::TCP,
                (Kind::Datagrams, _) => crate::craft::UDP,
                (Kind::Echo, true) => crate::craft::ICMP,
                (Kind::Echo, false) => crate::craft::ICMPV6,
            },
            numbers: talk.numbers,
        });
        if self.lures.len() > 40 {
            self.lures.remove(0);
        }
        Some(talk)
    }

    fn port_of(&self, host: usize) -> Option<PortId> {
        self.rig.ports[host]
    }

    /// The next words of some conversations that are spoken at one port, through a network that loses, doubles and reorders.
    fn honest_shots(&mut self) -> (PortId, Vec<Shot>) {
        let mut shots: Vec<Shot> = Vec::new();
        let mut speaker = None;
        for _ in 0..6 {
            if self.talks.is_empty() {
                break;
            }
            let at = self.random.below(self.talks.len());
            let mut talk = self.talks[at].clone();
            let said = talk.next(&mut self.random);
            let Some(first) = said.first() else {
                self.talks[at] = talk;
                continue;
            };
            let host = talk.hosts[first.side];
            if *speaker.get_or_insert(host) != host {
                continue;
            }
            self.talks[at] = talk;
            self.on_the_wire(at, said, &mut shots);
            if shots.len() > 10 {
                break;
            }
        }
        let port = speaker.and_then(|host| self.port_of(host));
        (port.unwrap_or(self.rig.stray), if port.is_some() { shots } else { Vec::new() })
    }

    fn on_the_wire(&mut self, talk: usize, said: Vec<Utterance>, shots: &mut Vec<Shot>) {
        let begin = shots.len();
        let is_fragmented = said.iter().any(|utterance| utterance.duty == Duty::Follow);
        let is_late = is_fragmented && self.random.once_in(4);
        for Utterance { side, frame, duty } in said {
            if is_late && duty == Duty::Follow {
                self.late.push_back((self.step + 300, self.talks[talk].hosts[side], frame));
                continue;
            }
            if self.random.once_in(30) && !is_fragmented {
                continue;
            }
            if self.random.once_in(40) && !is_fragmented {
                shots.push(Shot { frame: frame.clone(), of: Some((talk, side, Duty::Nothing)) });
                let last = shots.len() - 1;
                shots[last].of = Some((talk, side, duty));
                shots.push(Shot { frame, of: Some((talk, side, Duty::Nothing)) });
                continue;
            }
            shots.push(Shot { frame, of: Some((talk, side, duty)) });
        }
        if shots.len() > begin + 1 && !is_fragmented && self.random.once_in(4) {
            let last = shots.len() - 1;
            shots.swap(begin, last);
        }
    }

    /// Some host that is compromised and attached.
    fn villain(&mut self) -> Option<usize> {
        let start = self.random.below(self.compromised.len());
        let hosts = (0..self.compromised.len()).map(|at| (start + at) % self.compromised.len());
        hosts.into_iter().find(|host| self.compromised[*host] && self.rig.ports[*host].is_some())
    }

    fn hostile_shots(&mut self) -> (PortId, Vec<Shot>) {
        let Some(from) = self.villain() else { return (self.rig.stray, Vec::new()) };
        let count = self.random.between(1, 8);
        let mut mint = Mint { random: &mut self.random, from, lures: &self.lures };
        let shots: Vec<_> = (0..count).map(|_| Shot { frame: mint.frame(), of: None }).collect();
        for shot in &shots {
            remember(&mut self.history, from, &shot.frame);
        }
        (self.port_of(from).expect("a villain is attached"), shots)
    }

    fn provoking_shots(&mut self, worker: usize) -> (PortId, Vec<Shot>) {
        let provocation = self.random.pick(PROVOCATIONS);
        let named = provocation.host.map(|name| atlas().host_named(name));
        let from = match named {
            Some(host) => Some(host),
            None => self.villain(),
        };
        let nothing = (self.rig.stray, Vec::new());
        let Some(from) = from else { return nothing };
        let Some(port) = self.port_of(from) else { return nothing };
        if provocation.rarity > 1 && !self.random.once_in(provocation.rarity) {
            return nothing;
        }
        let mut mint = Mint { random: &mut self.random, from, lures: &self.lures };
        let frames = (provocation.make)(&mut mint);
        let port = if provocation.needs == Needs::StrayPort { self.rig.stray } else { port };
        self.pending.extend((1..provocation.bursts).map(|_| (worker, port, frames.clone())));
        (port, frames.into_iter().map(|frame| Shot { frame, of: None }).collect())
    }

    /// Frames that were sent before, by the same host or by another.
    fn replayed_shots(&mut self) -> (PortId, Vec<Shot>) {
        let Some(from) = self.villain() else { return (self.rig.stray, Vec::new()) };
        let count = self.random.between(1, 4).min(self.history.len());
        let mut shots = Vec::new();
        for _ in 0..count {
            let at = self.random.below(self.history.len());
            let (_, frame) = &self.history[at];
            shots.push(Shot { frame: frame.clone(), of: None });
        }
        (self.port_of(from).expect("a villain is attached"), shots)
    }

    /// Conversations hear what arrived; what honest hosts may rely on must have.
    fn consequences(
        &mut self,
        worker: usize,
        port: PortId,
        shots: &[Shot],
        outcome: &Outcome,
    ) -> Result<(), Violation> {
        let (rules, newest) = self.rig.rules(worker);
        let moment = Moment { rules, newest, tick: self.rig.tick };
        let mut first_passed = false;
        for (shot, end) in shots.iter().zip(&outcome.ends) {
            let Some((at, side, duty)) = shot.of else { continue };
            let talk = &mut self.talks[at];
            match end {
                End::Forward(to) => {
                    if !matches!(duty, Duty::Follow) {
                        first_passed = true;
                    }
                    (talk.passed, talk.is_open) = (moment.tick, true);
                    // A slow port may have lost it, and so may the last mile.
                    let is_lost = self.rig.build.queue < 64 || self.rig.host_at(*to).is_none();
                    if is_lost && !arrived(outcome, *to, &shot.frame) || self.random.once_in(40) {
                        continue;
                    }
                    if let Ok(view) = read(&shot.frame)
                        && let Content::Ip(packet) = &view.content
                    {
                        talk.hear(side, packet, &shot.frame, &mut self.random)?;
                    }
                }
                End::Dropped(reason) | End::Rejected(reason) | End::Asked(reason, _) => {
                    if matches!(duty, Duty::Open) {
                        first_passed = false;
                    }
                    let excused = is_excused(talk, *reason, duty, moment, first_passed);
                    let who = &atlas().hosts[talk.hosts[side]].name;
                    if !matches!(duty, Duty::Nothing | Duty::Follow) {
                        talk.is_over |= !matches!(reason, DropReason::PolicyStale);
                    }
                    if !excused && talk.is_clean {
                        return Err(format!(
                            "a conversation was broken without a reason: {who} at {port:?} lost a frame to {reason} ({duty:?}, {:?}, open: {})",
                            talk.kind, talk.is_open
                        ));
                    }
                }
                End::Copied | End::Replied => {
                    return Err(format!("a frame of a conversation ended as {end:?}"));
                }
            }
        }
        Ok(())
    }

    fn note(&mut self, what: String) {
        self.events.push_back(Event { step: self.step, tick: self.rig.tick, what: What::Change(what) });
    }

    fn note_frames(&mut self, worker: usize, port: PortId, frames: &[&[u8]], ends: &[End]) {
        for (frame, end) in frames.iter().zip(ends) {
            if self.events.len() > 20_000 {
                self.events.pop_front();
            }
            let from = name_at(&self.rig, port);
            let what = What::Frame { worker, from, frame: frame.to_vec(), end: *end };
            self.events.push_back(Event { step: self.step, tick: self.rig.tick, what });
        }
    }

    /// The story of a failure: the burst, and what happened before between the same two ends.
    fn failure(&self, why: &str) -> Failure {
        let mut report = format!("seed {} step {}: {why}\n", self.seed, self.step);
        let (now, before): (Vec<_>, Vec<_>) = self.events.iter().partition(|event| event.step == self.step);
        let pairs: Vec<_> = now.iter().filter_map(|event| event.pair()).collect();
        let concerns = |event: &&&Event| match (&event.what, event.pair()) {
            (What::Change(_), _) => true,
            (_, Some((a, b))) => pairs.contains(&(a, b)) || pairs.contains(&(b, a)),
            (_, None) => false,
        };
        let before: Vec<_> = before.iter().filter(concerns).collect();
        for event in before.iter().rev().take(24).rev().map(|event| **event).chain(now.iter().copied()) {
            let _ = writeln!(report, "  {:>7} t{:<6} {}", event.step, event.tick, event.what);
        }
        Failure { seed: self.seed, frames: self.checker.tally.sent, report }
    }
}

impl Event {
    /// The two addresses of a frame that has them.
    fn pair(&self) -> Option<(IpAddr, IpAddr)> {
        let What::Frame { frame, .. } = &self.what else { return None };
        let view = read(frame).ok()?;
        view.ip().map(|packet| (packet.source, packet.destination))
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (worker, from, frame, end) = match self {
            Self::Change(what) => return f.write_str(what),
            Self::Frame { worker, from, frame, end } => (worker, from, frame, end),
        };
        write!(f, "worker {worker} {from}: ")?;
        match read(frame) {
            Ok(View { content: Content::Ip(packet), .. }) => {
                write!(f, "{} -> {} {}", packet.source, packet.destination, packet.layer4)?;
                if let Some(segment) = packet.tcp {
                    let numbers = (segment.sequence, segment.acknowledgement);
                    write!(f, " flags {:#04x} numbers {numbers:?} length {}", segment.flags, segment.length)?;
                }
                if let Some(part) = packet.fragment {
                    write!(f, " fragment {part:?}")?;
                }
            }
            Ok(View { content: Content::Arp(operation, _, sender, target), .. }) => {
                write!(f, "ARP {operation}, {sender} asks {target}")?;
            }
            Err(why) => write!(f, "({why})")?,
        }
        write!(f, " => {end:?} [{}]", hex(&frame[..frame.len().min(120)]))
    }
}

/// Runs one generator on a switch that has what it needs, until its reason is given.
pub(crate) fn provoke(provocation: &Provocation) -> Result<(), String> {
    let connections = if provocation.needs == Needs::SmallTable { 64 } else { 4096 };
    let mut rig = Rig::new(Build { connections, ..Build::plain() }, 1);
    if let Some(rules) = rules_for(provocation.needs) {
        rig.change(rules);
        rig.catch_up(0);
    }
    if provocation.needs == Needs::Stale {
        rig.be_late(true);
    }
    let mut checker = Checker::default();
    let mut random = Random::new(7);
    let from = atlas().host_named(provocation.host.unwrap_or("lab-1"));
    let port = if provocation.needs == Needs::StrayPort { Some(rig.stray) } else { rig.ports[from] };
    let port = port.expect("every host is attached");
    for _ in 0..40 {
        let frames = (provocation.make)(&mut Mint { random: &mut random, from, lures: &[] });
        let frames: Vec<_> = frames.iter().map(Vec::as_slice).collect();
        let outcome = rig.burst(0, port, &frames);
        checker.judge(&rig, (0, port), &frames, &outcome)?;
        rig.balance()?;
        if checker.tally.dropped[provocation.reason.index()] != 0 {
            return Ok(());
        }
    }
    let others = DropReason::ALL.into_iter().filter(|reason| checker.tally.dropped[reason.index()] != 0);
    let others: Vec<_> = others.map(DropReason::name).collect();
    Err(format!("{}: {} was dropped as {}", provocation.reason, provocation.how, others.join(", ")))
}

fn remember(history: &mut VecDeque<(usize, Vec<u8>)>, from: usize, frame: &[u8]) {
    if history.len() == 256 {
        history.pop_front();
    }
    history.push_back((from, frame.to_vec()));
}

/// Whether the frame, in some shape, is among what arrived at a port; asked of ports that may lose frames.
fn arrived(outcome: &Outcome, port: PortId, frame: &[u8]) -> bool {
    let tail = &frame[frame.len().saturating_sub(8)..];
    outcome
        .arrivals
        .iter()
        .filter(|(there, _)| *there == port)
        .any(|(_, frames)| frames.iter().any(|arrived| arrived.ends_with(tail)))
}

/// Whether a conversation must bear that its frame was refused.
fn is_excused(talk: &Talk, reason: DropReason, duty: Duty, moment: Moment, first_passed: bool) -> bool {
    let (source, destination, layer4) = talk.basis();
    let is_admitted = [moment.rules, moment.newest].into_iter().all(|rules| {
        let keeps = talk.is_open && duty != Duty::Open && atlas().rules[rules].keeps;
        keeps || atlas().admits(rules, source, destination, layer4)
    });
    match reason {
        DropReason::PolicyStale | DropReason::FragmentsRefused => true,
        DropReason::ConnectionTableFull | DropReason::ConnectionQuota | DropReason::HalfOpenQuota => {
            duty != Duty::Pass
        }
        DropReason::FragmentTableFull | DropReason::FragmentQuota => true,
        _ if !is_admitted => true,
        _ => match duty {
            Duty::Nothing => true,
            Duty::Follow => !first_passed,
            // Before its opening has passed nothing of it can be known.
            Duty::Pass => !talk.is_open,
            Duty::Open => false,
        },
    }
}
