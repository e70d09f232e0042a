//! `septum bench --limit`: the switch against a loop that only copies, in one process, by turns over the same two ports.
//!
//! Whole runs on a shared machine differ by more than switching costs. So both take turns of some 22 ms: the copy loop, the
//! switch, and the copy loop again; each turn of the switch is held against the turns beside it, and the median of all these
//! ratios is told, with that of the copy loop against itself (the placebo), which would be 1 on a machine without noise.
//! Both use the same queues, the same bursts, and wait alike.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::Arguments;
use super::contrasts;
use super::conversations;
use super::copy_loop;
use super::ends::{Ends, STREAMS};
use super::figures::{Figure, drain, fill, pair};
use super::report::Row;
use super::stage::{Hosts, Setting};
use super::traffic::{Load, Sender, sinks};
use crate::burst::Burst;
use crate::cli::failure::Failure;
use crate::cli::present::Progress;
use crate::clock::BurstTime;
use crate::conntrack::ConnectionTable;
use crate::counters::WorkerCells;
use crate::delivery::{Plan, Queues, deliver};
use crate::pipeline::Forwarder;
use crate::port::{AnyQueue, PortGone, PortId, PortQueue, Substitute, TransmitOutcome};
use crate::segmenter::Segmenter;
use crate::snapshot::{CompiledPolicy, Snapshot};
use crate::worker::Io;

/// How long each takes its turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// The first moment, which still belongs to the turn before.
    pub(super) settle: Duration,
    /// What counts.
    pub(super) turn: Duration,
}

/// Of what one turn leaves nothing behind for the next.
pub(super) const QUICK: Pace = Pace { settle: Duration::from_millis(2), turn: Duration::from_millis(22) };
/// Looks without work before the processor is offered to others: as many as a worker's to begin with.
const IDLE_LOOKS: u32 = 24;
/// Turns before counting begins: at least, and until every flow has its connection.
const LEAST_WARMING: u32 = 4;
const MOST_WARMING: u32 = 500;
const CONNECTIONS: usize = 1 << 20;

/// Who moves the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mover {
    Copy,
    Switch,
    /// The switch by another policy.
    Other,
}

/// Who moves the frames in the three turns of a cycle.
const AGAINST_COPY: [Mover; 3] = [Mover::Copy, Mover::Switch, Mover::Copy];

/// What one turn brought to the second port, a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    pub(super) frames: f64,
    bytes: f64,
    /// Frames that came in at the first port.
    pub(super) received: f64,
    /// Nanoseconds of own work a frame; no number for the copy loop.
    pub(super) own_ns: f64,
    /// When what counts began and ended.
    pub(super) span: (Instant, Instant),
}

/// Measures the frames and the TCP that are chosen.
pub(super) fn measure(
    arguments: &Arguments,
    setting: Setting,
    progress: &Progress,
) -> Result<Vec<Row>, Failure> {
    let pairs = arguments.figure.contains(&Figure::Contrasts);
    let setting = Setting { workers: 1, pairs, ..setting };
    let hosts = || Hosts::open(setting, Substitute::IfNeeded);
    let mut hosts = progress.step("bringing up the ports", hosts, |_| "two ports, by turns".to_owned())?;
    let mut bench = Bench::new(&mut hosts, setting.io)?;
    let mut rows = Vec::new();
    for &figure in &arguments.figure {
        match figure {
            Figure::Frames => {
                for &size in &arguments.size {
                    for &flows in &arguments.flows {
                        let _sinks = sinks(&hosts.ends).map_err(unsent)?;
                        let load = Load::flows(&hosts.ends, size, flows);
                        let sender = Sender::new(&hosts.ends, vec![load]).map_err(unsent)?;
                        let work = || {
                            let mut row = Row::new("limit-frames");
                            row.parameter("size", size);
                            row.parameter("flows", flows);
                            row.parameter("rules", setting.rules);
                            let turns = while_sending(&hosts.ends, &sender, |arrived| {
                                bench.rotate(arguments.cycles, QUICK, || sender.has_been_round(arrived()))
                            });
                            turns?.tell(&mut row, |turn| turn.frames);
                            Ok::<_, Failure>(row)
                        };
                        rows.push(progress.step("rotating over frames", work, super::report::sentence)?);
                    }
                }
            }
            Figure::Tcp => rows.push(progress.step(
                "rotating over TCP",
                || bench.tcp(&hosts, setting, arguments.cycles),
                super::report::sentence,
            )?),
            Figure::RoundTrip => rows.push(progress.step(
                "rotating over round trips",
                || conversations::round_trips(&mut bench, &hosts.ends, setting.rules, arguments.cycles),
                super::report::sentence,
            )?),
            Figure::Connections => rows.push(progress.step(
                "rotating over connections",
                || conversations::connections(&mut bench, &hosts.ends, setting.rules, arguments.cycles),
                super::report::sentence,
            )?),
            Figure::Contrasts => {
                rows.extend(contrasts::measure(arguments, setting, progress, &hosts.ends, &mut bench)?);
            }
            Figure::Ports | Figure::Memory | Figure::Idle => {}
        }
    }
    Ok(rows)
}

/// Does `work` while the sender sends. It can ask how many frames have arrived since it began.
pub(super) fn while_sending<T>(
    ends: &Ends,
    sender: &Sender,
    work: impl FnOnce(&dyn Fn() -> u64) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let at_first = ends.server.received().map_err(unsent)?;
    let arrived = || ends.server.received().map_or(0, |now| now - at_first);
    thread::scope(|scope| {
        let sending = scope.spawn(|| sender.run(None));
        let done = work(&arrived);
        sender.stop.store(true, Ordering::Relaxed);
        match sending.join() {
            Ok(Ok(())) => done,
            Ok(Err(error)) => Err(unsent(error)),
            Err(_) => Err(unsent(std::io::Error::other("the sender panicked"))),
        }
    })
}

pub(super) fn unsent(error: std::io::Error) -> Failure {
    Failure::because(Failure::ENVIRONMENT, "the traffic cannot be made", &error)
}

/// The two ways to move frames, over one pair of queues.
pub(super) struct Bench {
    queues: Queues<AnyQueue>,
    /// By the measured policy, and by another one where there is one.
    sides: Vec<Side>,
    burst: Burst,
    plan: Plan,
    segmenter: Segmenter,
    /// Spent on deciding, and about how many frames.
    own: (Duration, u64),
    /// Frames from the first port.
    received: usize,
}

/// A switch, but for its queues.
struct Side {
    snapshot: Snapshot,
    forwarder: Forwarder,
}

impl Side {
    fn new(compiled: CompiledPolicy) -> Self {
        let names = compiled.policy.workloads.iter().map(|workload| Arc::clone(&workload.name));
        let slots = (0..).map(|slot| PortId { slot, generation: 0 });
        let ports = names.zip(slots).collect::<std::collections::HashMap<_, _>>();
        let cells = Arc::new(WorkerCells::new(ports.len()));
        Self {
            snapshot: Snapshot::new(compiled, &ports, 1, 1, 1),
            forwarder: Forwarder::new(0, Arc::new(ConnectionTable::new(CONNECTIONS)), cells, None),
        }
    }
}

const PORTS: [PortId; 2] = [PortId { slot: 0, generation: 0 }, PortId { slot: 1, generation: 0 }];

impl Bench {
    fn new(hosts: &mut Hosts, io: Io) -> Result<Self, Failure> {
        let mut queues = Queues::default();
        for (port, queue) in PORTS.into_iter().zip(copy_loop::both(&mut hosts.ports)?) {
            queues.attach(port, queue);
        }
        Ok(Self {
            queues,
            sides: vec![Side::new(hosts.compiled.clone())],
            burst: copy_loop::burst(io),
            plan: Plan::default(),
            segmenter: Segmenter::default(),
            own: (Duration::ZERO, 0),
            received: 0,
        })
    }

    /// From now on [`Mover::Other`] forwards by this policy.
    pub(super) fn set_other(&mut self, compiled: CompiledPolicy) {
        self.sides.truncate(1);
        self.sides.push(Side::new(compiled));
    }

    /// All turns of the switch against the copy loop.
    pub(super) fn rotate(
        &mut self,
        cycles: u32,
        pace: Pace,
        is_warm: impl Fn() -> bool,
    ) -> Result<Turns, Failure> {
        self.warm(Mover::Switch, pace, is_warm)?;
        self.cycle(cycles, pace, AGAINST_COPY, |_| ())
    }

    /// Turns that do not count: until connections, caches and queues are warm.
    pub(super) fn warm(
        &mut self,
        mover: Mover,
        pace: Pace,
        is_warm: impl Fn() -> bool,
    ) -> Result<(), Failure> {
        for turn in 0..MOST_WARMING {
            self.turn(mover, pace)?;
            if turn >= LEAST_WARMING && is_warm() {
                break;
            }
        }
        Ok(())
    }

    /// All turns of these movers; each begins with `change`, which is told whether it is the one in the middle.
    pub(super) fn cycle(
        &mut self,
        cycles: u32,
        pace: Pace,
        movers: [Mover; 3],
        change: impl Fn(bool),
    ) -> Result<Turns, Failure> {
        let mut turns = Turns::default();
        for _ in 0..cycles {
            let mut take = |at: usize| {
                change(at == 1);
                self.turn(movers[at], pace)
            };
            turns.cycles.push([take(0)?, take(1)?, take(2)?]);
        }
        Ok(turns)
    }

    /// One turn of one of the two.
    pub(super) fn turn(&mut self, mover: Mover, pace: Pace) -> Result<Turn, Failure> {
        let mut outcome = TransmitOutcome::default();
        self.work(mover, pace.settle, &mut outcome).map_err(copy_loop::gone)?;
        let before = outcome;
        self.own = (Duration::ZERO, 0);
        self.received = 0;
        let began = Instant::now();
        self.work(mover, pace.turn, &mut outcome).map_err(copy_loop::gone)?;
        let ended = Instant::now();
        let took = (ended - began).as_secs_f64();
        Ok(Turn {
            frames: (outcome.transmitted - before.transmitted) as f64 / took,
            bytes: (outcome.bytes - before.bytes) as f64 / took,
            received: self.received as f64 / took,
            own_ns: self.own.0.as_nanos() as f64 / self.own.1 as f64,
            span: (began, ended),
        })
    }

    fn work(
        &mut self,
        mover: Mover,
        duration: Duration,
        outcome: &mut TransmitOutcome,
    ) -> Result<(), PortGone> {
        let began = Instant::now();
        let mut idle = 0;
        while began.elapsed() < duration {
            let mut came = 0;
            for (at, port) in PORTS.into_iter().enumerate() {
                let of_port = match mover {
                    Mover::Copy => self.copy(at, outcome)?,
                    Mover::Switch => self.switch(0, port, outcome)?,
                    Mover::Other => self.switch(1, port, outcome)?,
                };
                self.received += if at == 0 { of_port } else { 0 };
                came += of_port;
            }
            idle = if came == 0 { idle + 1 } else { 0 };
            if idle > IDLE_LOOKS {
                // Not a wait for frames: that would be the other's work at the next turn.
                thread::yield_now();
            }
        }
        Ok(())
    }

    /// A burst of one port to the other one.
    fn copy(&mut self, at: usize, outcome: &mut TransmitOutcome) -> Result<usize, PortGone> {
        self.burst.clear();
        let Some(queue) = self.queues.get_mut(PORTS[at]) else { return Ok(0) };
        let came = queue.receive(&mut self.burst)?;
        let mut back = TransmitOutcome::default();
        let outcome = if at == 0 { outcome } else { &mut back };
        if let Some(queue) = self.queues.get_mut(PORTS[1 - at]) {
            queue.transmit(self.burst.frames(&copy_loop::ALL[..self.burst.len()]), outcome);
        }
        Ok(came)
    }

    /// A burst of one port through the switch.
    fn switch(
        &mut self,
        side: usize,
        port: PortId,
        outcome: &mut TransmitOutcome,
    ) -> Result<usize, PortGone> {
        self.burst.clear();
        let (Some(side), Some(queue)) = (self.sides.get_mut(side), self.queues.get_mut(port)) else {
            return Ok(0);
        };
        let Side { snapshot, forwarder } = side;
        let came = queue.receive(&mut self.burst)?;
        if came == 0 {
            return Ok(0);
        }
        let second = PORTS[1].slot;
        let cells = Arc::clone(&forwarder.cells);
        let before = (cells.port(second).transmitted.get(), cells.port(second).transmitted_bytes.get());
        let time = BurstTime::now();
        let began = Instant::now();
        forwarder.decide(snapshot, port, &mut self.burst, time, &mut self.plan);
        self.own = (self.own.0 + began.elapsed(), self.own.1 + came as u64);
        deliver(&self.plan, &self.burst, port, &mut self.queues, &mut self.segmenter, &cells);
        outcome.transmitted += cells.port(second).transmitted.get() - before.0;
        outcome.bytes += cells.port(second).transmitted_bytes.get() - before.1;
        Ok(came)
    }

    /// The same over one TCP connection from the first host to the second.
    fn tcp(&mut self, hosts: &Hosts, setting: Setting, cycles: u32) -> Result<Row, Failure> {
        let mut row = Row::new("limit-tcp");
        row.parameter("streams", 1);
        row.parameter("rules", setting.rules);
        let ends = &hosts.ends;
        let listener = ends.server.inside(|| TcpListener::bind(ends.server.at(STREAMS))).map_err(unsent)?;
        let (stop, received) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            // The handshake needs the switch, which is this thread.
            let opening = scope.spawn(|| pair(ends, &listener));
            while !opening.is_finished() {
                self.turn(Mover::Switch, QUICK)?;
            }
            let opened = opening.join().map_err(|_| unsent(std::io::Error::other("the client panicked")))?;
            let (sender, receiver) = opened.map_err(unsent)?;
            let turns = thread::scope(|scope| {
                scope.spawn(|| fill(&sender, &stop));
                scope.spawn(|| drain(&receiver, &received));
                let turns = self.rotate(cycles, QUICK, || true);
                stop.store(true, Ordering::Relaxed);
                // Either may have ended by itself; then there is nothing to wake.
                let _ = sender.shutdown(std::net::Shutdown::Both);
                let _ = receiver.shutdown(std::net::Shutdown::Both);
                turns
            })?;
            turns.tell(&mut row, |turn| turn.bytes);
            Ok(row)
        })
    }
}

/// What all turns brought: copy loop, switch, copy loop; or what else took turns.
#[derive(Debug, Default)]
pub(super) struct Turns {
    pub(super) cycles: Vec<[Turn; 3]>,
}

impl Turns {
    fn tell(&self, row: &mut Row, of: impl Fn(&Turn) -> f64) {
        self.tell_ratio(row, &of);
        row.value("copy_per_s", median(self.cycles.iter().map(|[before, ..]| before.frames)));
        row.value("switch_per_s", median(self.cycles.iter().map(|[_, switch, _]| switch.frames)));
        row.value("own_ns_per_frame", median(self.cycles.iter().map(|[_, switch, _]| switch.own_ns)));
    }

    /// The median of what each turn in the middle brought to what those beside it did.
    pub(super) fn tell_ratio(&self, row: &mut Row, of: impl Fn(&Turn) -> f64) {
        let ratio = |[before, switch, after]: &[Turn; 3]| 2.0 * of(switch) / (of(before) + of(after));
        row.value("ratio", median(self.cycles.iter().map(ratio)));
        row.value("placebo", median(self.cycles.iter().map(|[before, _, after]| of(after) / of(before))));
    }
}

/// The middle one of what is a number.
pub(super) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_held_against_those_beside_it() {
        let now = Instant::now();
        let turn = |frames| Turn { frames, bytes: 0.0, received: frames, own_ns: 30.0, span: (now, now) };
        let turns = Turns {
            cycles: vec![
                [turn(100.0), turn(95.0), turn(100.0)],
                [turn(50.0), turn(57.0), turn(70.0)],
                [turn(0.0), turn(1.0), turn(0.0)],
            ],
        };
        let mut row = Row::new("limit-frames");
        turns.tell(&mut row, |turn| turn.frames);
        let value = |name| row.values.iter().find(|(own, _)| *own == name).unwrap().1;
        assert!((value("ratio") - 0.95).abs() < 1e-9);
        assert!((value("placebo") - 1.4).abs() < 1e-9);
        assert_eq!(median([].into_iter()), 0.0);
    }
}
