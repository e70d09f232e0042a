//! The switch under test: workers without threads, ports in memory, a clock that is turned by hand.
//!
//! Workers share one table of connections and take new snapshots when they are told, so that every interleaving of
//! bursts and policy changes can be played, and played again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use septum::burst::Burst;
use septum::clock::{BurstTime, Tick};
use septum::conntrack::ConnectionTable;
use septum::counters::{PortCounters, WorkerCells};
use septum::delivery::{Plan, Queues, deliver};
use septum::pipeline::{End, Forwarder};
use septum::port::{MemoryQueue, Offloads, PortId};
use septum::segmenter::Segmenter;
use septum::snapshot::Snapshot;
use septum::trunk::{Divider, Part};

use crate::craft::{NETWORK, VNET, move_offsets, with_tag};
use crate::world::{PLAIN, atlas};

/// 2026-06-15 12:00 UTC.
const NOON_MS: u64 = 1_781_524_800_000;

const DAY_MS: u64 = 86_400_000;

/// Connections in a table that is soon full.
pub(crate) const SMALL_TABLE: usize = 64;

/// How one run's switch is built.
#[derive(Clone, Debug)]
pub(crate) struct Build {
    pub(crate) workers: usize,
    /// Entries of the connection table.
    pub(crate) connections: usize,
    /// Frames that a port holds before it refuses more.
    pub(crate) queue: usize,
    /// By host.
    pub(crate) offloads: Vec<Offloads>,
}

impl Build {
    pub(crate) fn plain() -> Self {
        let hosts = atlas().hosts.len();
        Self { workers: 1, connections: 4096, queue: 128, offloads: vec![Offloads::ALL; hosts] }
    }
}

struct Worker {
    forwarder: Forwarder,
    queues: Queues<MemoryQueue>,
    /// The far ends, by slot.
    far: Vec<Option<(PortId, MemoryQueue)>>,
    snapshot: Arc<Snapshot>,
    /// The policy of that snapshot.
    rules: usize,
}

/// The switch and the far ends of its ports.
pub(crate) struct Rig {
    pub(crate) build: Build,
    workers: Vec<Worker>,
    newest: (Arc<Snapshot>, usize),
    policy_generation: u32,
    /// Where each host is attached; `None` while it is not.
    pub(crate) ports: Vec<Option<PortId>>,
    /// A port that no policy describes.
    pub(crate) stray: PortId,
    /// A trunk: the frames of the workload that sits behind it cross its queue, with their tags. What is nobody's comes in by this id.
    pub(crate) trunk: PortId,
    free: VecDeque<PortId>,
    slots: usize,
    burst: Burst,
    plan: Plan,
    segmenter: Segmenter,
    divider: Divider,
    pub(crate) tick: u32,
    unix_ms: u64,
    /// The policies' last day is over.
    pub(crate) is_late: bool,
}

/// What one burst came to.
pub(crate) struct Outcome {
    /// Of each frame.
    pub(crate) ends: Vec<End>,
    /// Frames that left the switch, by port.
    pub(crate) arrivals: Vec<(PortId, Vec<Vec<u8>>)>,
}

impl Rig {
    pub(crate) fn new(build: Build, seed: u64) -> Self {
        let hosts = atlas().hosts.len();
        let slots = hosts + 4;
        let port = |slot: usize| PortId { slot: slot as u16, generation: 0 };
        let ports: Vec<_> = (0..hosts).map(|slot| Some(port(slot))).collect();
        let snapshot = Arc::new(snapshot_of(PLAIN, &ports, build.workers, 1, 1));
        let table = Arc::new(ConnectionTable::seeded(seed, build.connections));
        let worker = |number| Worker {
            forwarder: Forwarder::new(number, Arc::clone(&table), Arc::new(WorkerCells::new(slots)), None),
            queues: Queues::default(),
            far: std::iter::repeat_with(|| None).take(slots).collect(),
            snapshot: Arc::clone(&snapshot),
            rules: PLAIN,
        };
        let mut rig = Self {
            workers: (0..build.workers).map(worker).collect(),
            newest: (snapshot, PLAIN),
            policy_generation: 1,
            stray: port(hosts),
            trunk: port(hosts + 3),
            free: [port(hosts + 1), port(hosts + 2)].into(),
            slots,
            burst: Burst::default(),
            plan: Plan::default(),
            segmenter: Segmenter::default(),
            divider: Divider::default(),
            tick: 1,
            unix_ms: NOON_MS,
            is_late: false,
            ports,
            build,
        };
        for host in 0..hosts {
            rig.plug(host, port(host));
        }
        rig.plug_in(rig.stray, Offloads::ALL);
        for worker in 0..rig.workers.len() {
            rig.catch_up(worker);
        }
        rig
    }

    /// As new: no connections, the first policy, the first moment. The counters go on.
    pub(crate) fn renew(&mut self, seed: u64) {
        let table = Arc::new(ConnectionTable::seeded(seed, self.build.connections));
        self.pass(1_000_000);
        self.change(PLAIN);
        for worker in 0..self.workers.len() {
            self.workers[worker].forwarder.table = Arc::clone(&table);
            self.catch_up(worker);
        }
    }

    /// Lets time pass. Memberships that run out end meanwhile: the switch looks after them every few minutes.
    pub(crate) fn pass(&mut self, ticks: u32) {
        const SOON: u32 = 300 * Tick::PER_SECOND;
        for part in [ticks.min(SOON), ticks.saturating_sub(SOON)] {
            self.tick = self.tick.wrapping_add(part);
            for slot in 0..self.slots as u16 {
                if let Some(member) = self.newest.0.directory.member(slot) {
                    member.memberships.expire(Tick(self.tick));
                }
            }
        }
    }

    /// Gives a host's port a queue: one of its own, or, behind a trunk, the trunk's.
    fn plug(&mut self, host: usize, port: PortId) {
        let port = if atlas().hosts[host].id.is_some() { self.trunk } else { port };
        self.plug_in(port, self.build.offloads[host]);
    }

    fn plug_in(&mut self, port: PortId, offloads: Offloads) {
        for worker in &mut self.workers {
            let (near, far) = MemoryQueue::pair(self.build.queue, offloads);
            worker.queues.attach(port, near);
            worker.far[usize::from(port.slot)] = Some((port, far));
        }
    }

    /// Which host is at a port.
    pub(crate) fn host_at(&self, port: PortId) -> Option<usize> {
        self.ports.iter().position(|there| *there == Some(port))
    }

    /// The number of workers.
    pub(crate) fn workers(&self) -> usize {
        self.workers.len()
    }

    /// The policy by which a worker forwards, and the one that was published last.
    pub(crate) fn rules(&self, worker: usize) -> (usize, usize) {
        (self.workers[worker].rules, self.newest.1)
    }

    /// Whether a worker is still to take the newest snapshot.
    pub(crate) fn lags(&self, worker: usize) -> bool {
        !Arc::ptr_eq(&self.workers[worker].snapshot, &self.newest.0)
    }

    /// Lets a worker take the newest snapshot.
    pub(crate) fn catch_up(&mut self, worker: usize) {
        let worker = &mut self.workers[worker];
        worker.snapshot = Arc::clone(&self.newest.0);
        worker.rules = self.newest.1;
        worker.queues.follow(&worker.snapshot.directory);
    }

    /// Publishes a policy; no worker has it yet.
    pub(crate) fn change(&mut self, rules: usize) {
        self.policy_generation += 1;
        self.publish(rules);
    }

    fn publish(&mut self, rules: usize) {
        let generation = self.newest.0.generation + 1;
        let workers = self.workers.len();
        let mut next = snapshot_of(rules, &self.ports, workers, generation, self.policy_generation);
        next.directory.inherit(&self.newest.0.directory);
        self.newest = (Arc::new(next), rules);
    }

    /// Turns the calendar to a day behind every policy's last, or back.
    pub(crate) fn be_late(&mut self, is_late: bool) {
        self.unix_ms = if is_late { NOON_MS + 2 * DAY_MS } else { NOON_MS };
        self.is_late = is_late;
    }

    /// Takes a host's port away.
    pub(crate) fn detach(&mut self, host: usize) {
        let Some(port) = self.ports[host].take() else { return };
        for worker in &mut self.workers {
            worker.queues.detach(port);
            worker.far[usize::from(port.slot)] = None;
        }
        self.free.push_back(PortId { generation: port.generation.wrapping_add(1), ..port });
        self.publish_ports(host);
    }

    /// Gives a host a port again: the one that is free for longest.
    pub(crate) fn attach(&mut self, host: usize) {
        let port = self.free.pop_front().expect("a host that was detached has left its slot");
        self.ports[host] = Some(port);
        self.plug(host, port);
        self.publish_ports(host);
    }

    fn publish_ports(&mut self, host: usize) {
        self.publish(self.newest.1);
        // Who sits behind a trunk is known by what workers say of it: let all say the same.
        if atlas().hosts[host].id.is_some() {
            (0..self.workers.len()).for_each(|worker| self.catch_up(worker));
        }
    }

    /// Lets a worker decide about frames that came in at `ingress`, and deliver them.
    pub(crate) fn burst(&mut self, worker: usize, ingress: PortId, frames: &[&[u8]]) -> Outcome {
        let id = self.host_at(ingress).and_then(|host| atlas().hosts[host].id);
        let trunk = self.trunk;
        let worker = &mut self.workers[worker];
        self.burst.clear();
        for frame in frames {
            let frame = id.map_or_else(|| frame.to_vec(), |id| on_trunk(frame, id));
            assert!(self.burst.push(&frame), "a burst has room for what a step sends");
        }
        let time = BurstTime { tick: Tick(self.tick), unix_ms: self.unix_ms };
        let Worker { forwarder, queues, snapshot, .. } = worker;
        let (plan, segmenter) = (&mut self.plan, &mut self.segmenter);
        let (mut ends, mut nobodys, mut somebodys) = (Vec::new(), Vec::new(), VecDeque::new());
        let mut forward = |part: Part<'_>| match part {
            Part::Of(port, burst) => {
                if id.is_some() {
                    somebodys.extend((0..burst.len()).map(|at| burst.frame(at)[VNET..].to_vec()));
                }
                forwarder.decide(snapshot, port, burst, time, plan);
                deliver(plan, burst, port, queues, segmenter, &forwarder.cells);
                ends.extend_from_slice(plan.ends());
            }
            Part::Refused(bytes, reason) => {
                forwarder.refuse(snapshot, trunk, (bytes, reason), time);
                nobodys.push(End::Dropped(reason));
            }
        };
        match snapshot.directory.trunk_at(if id.is_some() { trunk } else { ingress }) {
            None => forward(Part::Of(ingress, &mut self.burst)),
            Some(trunk) => self.divider.divide(trunk, &self.burst, forward),
        }
        // What is nobody's was refused first, wherever it stood among the others.
        let (mut ends, mut nobodys) = (ends.into_iter(), nobodys.into_iter());
        let end = |frame: &&[u8]| {
            let is_somebodys = somebodys.front().is_some_and(|first| frame.get(VNET..) == Some(first));
            somebodys.drain(..usize::from(is_somebodys));
            let refused = if is_somebodys { None } else { nobodys.next() };
            refused.or_else(|| ends.next())
        };
        let ends = frames.iter().filter_map(end).collect();
        let carried = snapshot.directory.trunk_at(trunk).and_then(|trunk| trunk.carried.first());
        let arrived = |far: &Option<(PortId, MemoryQueue)>| {
            let (port, queue) = far.as_ref()?;
            let frames = std::iter::from_fn(|| queue.take());
            let (port, frames): (_, Vec<_>) = match carried.filter(|_| *port == trunk) {
                Some((id, behind)) => (*behind, frames.map(|frame| off_trunk(frame, *id)).collect()),
                None => (*port, frames.collect()),
            };
            (!frames.is_empty()).then_some((port, frames))
        };
        Outcome { ends, arrivals: worker.far.iter().filter_map(arrived).collect() }
    }

    /// What all workers counted at all slots; the balance of each is checked on the way.
    pub(crate) fn balance(&self) -> Result<PortCounters, String> {
        let cells: Vec<_> = self.workers.iter().map(|worker| Arc::clone(&worker.forwarder.cells)).collect();
        let mut total = PortCounters::default();
        for slot in 0..self.slots as u16 {
            let counters = PortCounters::read(&cells, slot);
            if let Some(imbalance) = counters.imbalance() {
                return Err(format!("the balance of slot {slot} does not hold: {imbalance}"));
            }
            total += &counters;
        }
        Ok(total)
    }
}

/// A frame as the workload behind a trunk sends it: with its tag, and some priority, where it has an EtherType.
fn on_trunk(frame: &[u8], id: u16) -> Vec<u8> {
    match frame.len() >= NETWORK {
        true => with_tag(frame.to_vec(), 0x8100, id | (frame.len() as u16) << 13),
        false => frame.to_vec(),
    }
}

/// A frame as that workload hears it; one that has not its tag stays as it is, which nobody will have sent.
fn off_trunk(mut frame: Vec<u8>, id: u16) -> Vec<u8> {
    let place = NETWORK - 2..NETWORK + 2;
    if frame.get(place.clone()) == Some(&[&[0x81, 0x00], &id.to_be_bytes()[..]].concat()) {
        frame.drain(place);
        move_offsets(&mut frame, |offset| offset.wrapping_sub(4));
    }
    frame
}

fn snapshot_of(
    rules: usize,
    ports: &[Option<PortId>],
    workers: usize,
    generation: u64,
    policy_generation: u32,
) -> Snapshot {
    let names: HashMap<Arc<str>, PortId> = atlas()
        .hosts
        .iter()
        .zip(ports)
        .filter_map(|(host, port)| Some((Arc::from(host.name.as_str()), (*port)?)))
        .chain([(Arc::from("trunk=old"), PortId { slot: ports.len() as u16 + 3, generation: 0 })])
        .collect();
    let compiled = atlas().rules[rules].compiled.clone();
    Snapshot::new(compiled, &names, workers, generation, policy_generation)
}
