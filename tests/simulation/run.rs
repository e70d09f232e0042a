//! One run: a seed, a switch, its hosts, and everything that happens to them.

use std::cell::Cell;
use std::collections::VecDeque;

use septum::drop_reason::DropReason;
use septum::pipeline::End;
use septum::port::{Offloads, PortId};

use crate::checker::{Checker, Violation, name_at};
use crate::hostile::{Lure, Mint};
use crate::model::Moment;
use crate::random::Random;
use crate::rig::{Build, Outcome, Rig, SMALL_TABLE};
use crate::shots::{FIRST_CLIENT, Shot, remember};
use crate::story::Story;
use crate::talk::{Duty, Talk};
use crate::tally::Tally;
use crate::view::{Content, read};
use crate::world::{ENDING, atlas};

thread_local! {
    /// Seed, step and frames of the present run: what is known of one that panics.
    pub(crate) static PROGRESS: Cell<(u64, u64, u64)> = const { Cell::new((0, 0, 0)) };
}

/// A run that found something.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) seed: u64,
    pub(crate) frames: u64,
    pub(crate) report: String,
}

/// A run.
pub(crate) struct Run {
    seed: u64,
    pub(crate) random: Random,
    pub(crate) rig: Rig,
    checker: Checker,
    pub(crate) talks: Vec<Talk>,
    /// By host: sends what it likes.
    pub(crate) compromised: Vec<bool>,
    /// The port from which the last client spoke.
    pub(crate) client: u16,
    pub(crate) lures: Vec<Lure>,
    pub(crate) history: VecDeque<(usize, Vec<u8>)>,
    /// The frames for which a change of policy has ended connections, and who sent them.
    pub(crate) ghosts: VecDeque<(usize, Vec<u8>)>,
    story: Story,
    pub(crate) step: u64,
    stale_until: u64,
    pub(crate) lost: Option<usize>,
    unpublished: u64,
    /// Bursts that follow at once.
    pub(crate) pending: VecDeque<(usize, PortId, Vec<Vec<u8>>)>,
    /// Fragments on a long way: when they arrive, and from whom.
    pub(crate) late: VecDeque<(u64, usize, Vec<u8>)>,
}

impl Run {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let hosts = atlas().hosts.len();
        let shapes = [
            Offloads::ALL,
            Offloads::NONE,
            Offloads { tso4: false, tso6: false, uso: false, ..Offloads::ALL },
            Offloads { tunnel: false, ..Offloads::ALL },
            Offloads { uso: false, ..Offloads::ALL },
        ];
        let build = Build {
            workers: random.between(1, 3),
            connections: *random.pick(&[SMALL_TABLE, 1024, 4096, 4096]),
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
            client: FIRST_CLIENT,
            lures: Vec::new(),
            history: VecDeque::new(),
            ghosts: VecDeque::new(),
            story: Story::default(),
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
                let report =
                    format!("seed {} step {}: {why}\n{}", self.seed, self.step, self.story.of(self.step));
                return Err(Failure { seed: self.seed, frames: self.checker.tally.sent, report });
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
            15 if self.random.once_in(3) => self.haunting_shots(),
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
        let from = name_at(&self.rig, port);
        self.story.burst((self.step, self.rig.tick), (worker, &from), &frames, &outcome.ends);
        self.checker.judge(&self.rig, (worker, port), &frames, &outcome)?;
        self.answer_questions(&frames, &outcome.ends);
        self.consequences(worker, port, shots, &outcome)?;
        let total = self.rig.balance()?;
        if self.step.is_multiple_of(64) {
            self.compare(&total)?;
            self.checker.model.sweep(self.rig.tick);
        }
        Ok(())
    }

    /// Who is asked for behind an uplink answers now and then.
    fn answer_questions(&mut self, frames: &[&[u8]], ends: &[End]) {
        for (frame, end) in frames.iter().zip(ends) {
            if let End::Asked(_, port) = end
                && let Some(from) = self.rig.host_at(*port)
                && let Ok(Some(asked)) = read(frame).map(|view| view.ip().map(|packet| packet.destination))
                && self.random.once_in(2)
            {
                let mut mint = Mint { random: &mut self.random, from, lures: &[] };
                self.late.push_front((self.step, from, mint.here_is(asked)));
            }
        }
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
            self.rig.pass(seconds * 8);
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

    fn note(&mut self, what: String) {
        self.story.change((self.step, self.rig.tick), what);
    }

    pub(crate) fn port_of(&self, host: usize) -> Option<PortId> {
        self.rig.ports[host]
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
        let lags = self.rig.lags(worker);
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
                    if duty != Duty::Follow {
                        first_passed = false;
                    }
                    // A worker that lags does not know yet where a port has come back.
                    let is_unknown = matches!(
                        reason,
                        DropReason::Undescribed | DropReason::UnknownDestination | DropReason::NoRoute
                    );
                    let is_refused = matches!(reason, DropReason::DeniedEgress | DropReason::DeniedIngress);
                    if is_refused && talk.is_open && duty == Duty::Pass {
                        remember(&mut self.ghosts, 16, (talk.hosts[side], &shot.frame));
                    }
                    let excused = lags && is_unknown || is_excused(talk, *reason, duty, moment, first_passed);
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
