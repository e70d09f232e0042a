//! A worker: one thread that runs frames to completion over its own queue of every port.
//!
//! It waits for readable queues, drains each up to a burst, decides about the whole burst, hands everything over, and
//! goes on with the next. After work it looks a few more times before it blocks ([`crate::patience`]), so that a busy conversation
//! does not pay a wake-up a packet; an idle worker sleeps in the kernel and costs nothing.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Once};
use std::thread;

use crossbeam_channel::{Receiver, Sender};
use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::time::Timespec;

use crate::announcer::Announcer;
use crate::burst::Burst;
use crate::clock::{BurstTime, Tick};
use crate::delivery::{Plan, Queues, deliver};
use crate::drop_reason::DropReason;
use crate::patience::{Patience, Wait};
use crate::pipeline::{End, Forwarder};
use crate::port::{PortGone, PortId, PortQueue, close_all};
use crate::publish::Reader;
use crate::responder::Station;
use crate::segmenter::Segmenter;
use crate::trunk::{Divider, Part};
use crate::uplink;

/// How frames are read and written, at devices that can either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Io {
    /// With io_uring where the kernel lets it, else one by one.
    #[default]
    Auto,
    /// One by one: read(2), write(2).
    ReadWrite,
}

/// What a worker is told.
#[derive(Debug)]
pub enum Command<Q> {
    /// Serve this queue.
    Attach(PortId, Q),
    /// Close the queue of this port.
    Detach(PortId),
    /// Take the new snapshot now, even when no frame comes.
    Refresh,
    /// End.
    Stop,
}

/// What a worker tells.
#[derive(Debug)]
pub enum Report {
    /// A device has disappeared; its queue is closed and said so once.
    PortGone {
        /// Which port.
        port: PortId,
        /// Which worker met it.
        worker: usize,
        /// What the system said.
        error: PortGone,
    },
    /// A queue could not be waited for, and is not served.
    PortUnservable {
        /// Which port.
        port: PortId,
        /// What the system said.
        error: io::Error,
    },
}

/// Wakes a worker that sleeps.
#[derive(Clone, Debug)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    /// # Errors
    /// When the process may open no more descriptors.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    /// Wakes it. One that is awake notices too.
    pub fn wake(&self) {
        // It can only fail when 2^64 - 2 wake-ups are pending, and then one is.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    fn reset(&self) {
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

/// The thread's whole state.
#[derive(Debug)]
pub struct Worker<Q> {
    forwarder: Forwarder,
    snapshots: Reader,
    queues: Queues<Q>,
    commands: Receiver<Command<Q>>,
    reports: Sender<Report>,
    waker: Waker,
    epoll: OwnedFd,
    ready: Vec<PortId>,
    /// Ports without a descriptor: always worth a look.
    unpolled: Vec<PortId>,
    burst: Burst,
    plan: Plan,
    segmenter: Segmenter,
    divider: Divider,
    /// The snapshot whose trunks the queues follow.
    followed: u64,
    announcer: Announcer,
    /// The last burst's moment, and that of the last look at every queue while there was work.
    now: Tick,
    swept: Tick,
}

/// What the waker's events carry: no port has this number.
const WAKE: u64 = u64::MAX;

/// Every queue is looked at this often, whether or not others keep the worker busy: not every device that disappears makes its
/// descriptor readable, and who only listens is told things too.
const SWEEP: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
const SWEEP_TICKS: u32 = Tick::PER_SECOND;

/// Readable queues that one look may report; the others are reported by the next.
const EVENTS: usize = 64;

impl<Q: PortQueue + Send + 'static> Worker<Q> {
    /// A worker that serves no queue yet.
    ///
    /// # Errors
    /// When the process may open no more descriptors.
    pub fn new(
        forwarder: Forwarder,
        snapshots: Reader,
        commands: Receiver<Command<Q>>,
        reports: Sender<Report>,
        waker: Waker,
    ) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &waker.0, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN)?;
        Ok(Self {
            forwarder,
            snapshots,
            queues: Queues::default(),
            commands,
            reports,
            waker,
            epoll,
            ready: Vec::with_capacity(EVENTS),
            unpolled: Vec::new(),
            burst: Burst::default(),
            plan: Plan::default(),
            segmenter: Segmenter::default(),
            divider: Divider::default(),
            followed: 0,
            announcer: Announcer::default(),
            now: Tick::default(),
            swept: Tick::default(),
        })
    }

    /// Works until it is told to stop.
    pub fn run(mut self, io: Io, wait: Wait) {
        self.start(io);
        let mut patience = Patience::new(wait);
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            let is_told = if patience.is_over() && self.unpolled.is_empty() {
                patience.sleep(|| self.look(&mut events, SWEEP))
            } else {
                self.look(&mut events, Timespec::default())
            };
            if patience.is_sweep_due() {
                self.sweep();
            }
            if is_told && !self.obey() {
                self.burst.end_ring();
                return close_all(self.queues.take().collect());
            }
            let mut worked = false;
            // Out of the way: a port that fails is taken out of `ready`.
            let ready = std::mem::take(&mut self.ready);
            for port in &ready {
                worked |= self.serve(*port);
            }
            self.ready = ready;
            patience.looked(worked);
            if !worked && !self.unpolled.is_empty() {
                thread::yield_now();
            }
        }
    }

    /// Sets up how frames are read and written.
    fn start(&mut self, io: Io) {
        if io == Io::ReadWrite {
            return;
        }
        // What one worker lacks, most lack: it is said once.
        static SAID: Once = Once::new();
        match self.burst.start_ring() {
            Ok(true) => {}
            Ok(false) => SAID.call_once(|| {
                tracing::warn!(
                    "the limit of locked memory (ulimit -l) keeps slots from being registered with io_uring: a few percent slower"
                );
            }),
            Err(error) => SAID.call_once(|| {
                tracing::warn!(%error, "no io_uring: frames are read and written one by one");
            }),
        }
    }

    /// Finds the readable queues, and waits `longest` for one. True when a command waits.
    fn look(&mut self, events: &mut Vec<epoll::Event>, longest: Timespec) -> bool {
        self.ready.clear();
        self.ready.extend(&self.unpolled);
        events.clear();
        // An interrupted wait finds nothing, and the next one looks again.
        let _ = epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), Some(&longest));
        let is_overdue = self.now.since(self.swept) >= SWEEP_TICKS;
        if is_overdue {
            self.swept = self.now;
        }
        if is_overdue || (longest == SWEEP && events.is_empty()) {
            self.sweep();
        }
        let mut woken = false;
        for event in events {
            match event.data.u64() {
                WAKE => woken = true,
                port => self.ready.push(unpack(port)),
            }
        }
        woken
    }

    /// Has every queue looked at.
    fn sweep(&mut self) {
        self.ready.extend(self.queues.iter_mut().map(|(port, _)| port));
    }

    /// Does what it is told. False when that is to stop.
    fn obey(&mut self) -> bool {
        self.waker.reset();
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Attach(port, queue) => self.attach(port, queue),
                Command::Detach(port) => self.detach(port),
                Command::Refresh => {
                    let directory = &self.snapshots.current().directory;
                    // An uplink that is new asks for its gateways at once.
                    let uplinks = self.queues.iter_mut().map(|(port, _)| port);
                    self.ready.extend(uplinks.filter(|port| directory.uplink_at(*port).is_some()));
                }
                Command::Stop => return false,
            }
        }
        true
    }

    fn attach(&mut self, port: PortId, queue: Q) {
        match queue.descriptor() {
            None => self.unpolled.push(port),
            Some(descriptor) => {
                let data = epoll::EventData::new_u64(pack(port));
                if let Err(error) = epoll::add(&self.epoll, descriptor, data, epoll::EventFlags::IN) {
                    let _ = self.reports.send(Report::PortUnservable { port, error: error.into() });
                    return;
                }
            }
        }
        self.queues.attach(port, queue);
    }

    fn detach(&mut self, port: PortId) {
        self.unpolled.retain(|other| *other != port);
        self.ready.retain(|other| *other != port);
        let Some(mut queue) = self.queues.detach(port) else { return };
        queue.leave(&mut self.burst);
        if let Some(descriptor) = queue.descriptor() {
            // Closing does it too, unless the descriptor was duplicated.
            let _ = epoll::delete(&self.epoll, descriptor);
        }
        // A device that goes with its last queue holds up who closes that: not the other ports. Without a thread, all the same.
        let _ = thread::Builder::new().spawn(move || drop(queue));
    }

    /// Drains one burst from a port and sees every frame of it to its end. True when there was one.
    fn serve(&mut self, port: PortId) -> bool {
        let Some(queue) = self.queues.get_mut(port) else { return false };
        self.burst.clear();
        let received = queue.receive(&mut self.burst);
        let worked = !self.burst.is_empty();
        if worked {
            let snapshot = self.snapshots.current();
            let time = BurstTime::now();
            self.now = time.tick;
            if self.followed != snapshot.generation {
                self.followed = snapshot.generation;
                self.queues.follow(&snapshot.directory);
            }
            let Self { forwarder, plan, queues, segmenter, burst, .. } = self;
            let mut forward = |part: Part<'_>| match part {
                Part::Of(port, burst) => {
                    forwarder.decide(snapshot, port, burst, time, plan);
                    deliver(plan, burst, port, queues, segmenter, &forwarder.cells);
                }
                Part::Refused(bytes, reason) => forwarder.refuse(snapshot, port, (bytes, reason), time),
            };
            match snapshot.directory.trunk_at(port) {
                None => forward(Part::Of(port, burst)),
                Some(trunk) => self.divider.divide(trunk, burst, forward),
            }
        }
        self.speak(port);
        for at in 0.. {
            let trunk = self.snapshots.current().directory.trunk_at(port);
            let Some((_, carried)) = trunk.and_then(|trunk| trunk.carried.get(at)) else { break };
            let carried = *carried;
            self.speak(carried);
        }
        if let Err(error) = received {
            self.detach(port);
            let _ = self.reports.send(Report::PortGone { port, worker: self.forwarder.worker, error });
        }
        worked
    }

    /// Says what the switch has to say at a port without being asked: at an uplink, questions for gateways whose MAC is
    /// missing or about to be; at a workload's port what is due there.
    fn speak(&mut self, port: PortId) {
        let directory = &self.snapshots.current().directory;
        self.burst.clear();
        match Station::at(directory, port) {
            Some(Station::Uplink(uplink)) => uplink::ask_gateways(uplink, Tick::now(), &mut self.burst),
            Some(Station::Member(member)) if self.forwarder.worker == 0 => {
                self.announcer.announce(directory, member, Tick::now(), &mut self.burst);
            }
            _ => {}
        }
        if self.burst.is_empty() {
            return;
        }
        self.plan.clear();
        for _ in 0..self.burst.len() {
            self.plan.end(End::Asked(DropReason::NextHopUnresolved, port));
        }
        let cells = &self.forwarder.cells;
        deliver(&self.plan, &self.burst, port, &mut self.queues, &mut self.segmenter, cells);
    }
}

fn pack(port: PortId) -> u64 {
    u64::from(port.generation) << 16 | u64::from(port.slot)
}

fn unpack(data: u64) -> PortId {
    PortId { slot: data as u16, generation: (data >> 16) as u16 }
}
