//! The switch: workers, ports and the policy that they forward by, from start to stop.
//!
//! Owned by one control thread. Nothing here is on a frame's way: it publishes snapshots, hands queues to workers,
//! reads counters and hears what workers report.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{self, Write};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, unbounded};
use septum_rules::policy::Policy;
use septum_rules::verdict::Gate;

use crate::clock::Tick;
use crate::conntrack::ConnectionTable;
use crate::counters::{PortCounters, WorkerCells};
use crate::flow_log::{NameBook, Writer, Written};
use crate::flow_record::Names;
use crate::patience::Wait;
use crate::pipeline::Forwarder;
use crate::port::{PortId, PortQueue};
use crate::publish::{Publisher, Reader};
use crate::snapshot::{CompiledPolicy, Snapshot};
use crate::worker::{Command, Io, Report, Waker, Worker};

/// How a switch is set up.
pub struct Options {
    /// Forwarding threads; each port brings one queue for each.
    pub workers: usize,
    /// Connections that the table holds at the most.
    pub connections: usize,
    /// Ports that it holds at the most.
    pub ports: usize,
    /// Where the flow log goes.
    pub events: Option<Box<dyn Write + Send>>,
    /// How frames are read and written.
    pub io: Io,
    /// How workers wait for them.
    pub wait: Wait,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            workers: 1,
            connections: 1 << 18,
            ports: 1024,
            events: None,
            io: Io::default(),
            wait: Wait::default(),
        }
    }
}

/// A port's queues, on their way to the workers.
#[derive(Debug)]
pub struct NewPort<Q> {
    /// The workload that sits there.
    pub workload: Arc<str>,
    /// One queue for each worker; none where it sits behind a trunk, whose port brings them.
    pub queues: Vec<Q>,
}

/// Why a switch cannot start or take a port.
#[derive(Debug, thiserror::Error)]
pub enum SwitchError {
    /// A thread or a descriptor is not to be had.
    #[error("the system has no resources for another worker")]
    Worker(#[source] io::Error),
    /// All port slots are taken.
    #[error("the switch has no room for the port of `{workload}`: it holds {most} ports")]
    NoPortSlot {
        /// Whose port.
        workload: Arc<str>,
        /// How many there are.
        most: usize,
    },
    /// Fewer queues than workers.
    #[error("the port of `{workload}` has {queues} queues for {workers} workers")]
    Queues {
        /// Whose port.
        workload: Arc<str>,
        /// What it has.
        queues: usize,
        /// What it needs.
        workers: usize,
    },
}

/// A running switch.
pub struct Switch<Q> {
    workers: Vec<WorkerHandle<Q>>,
    table: Arc<ConnectionTable>,
    publisher: Publisher,
    compiled: CompiledPolicy,
    policy_generation: u32,
    slots: Slots,
    rule_hits: BTreeMap<(Arc<str>, Gate), u64>,
    names: Arc<NameBook>,
    log: Option<Writer>,
    reports: Receiver<Report>,
}

struct WorkerHandle<Q> {
    commands: Sender<Command<Q>>,
    waker: Waker,
    cells: Arc<WorkerCells>,
    /// Taken when it is joined.
    thread: Option<JoinHandle<()>>,
}

impl<Q> WorkerHandle<Q> {
    fn tell(&self, command: Command<Q>) {
        // A worker that is gone needs no telling.
        let _ = self.commands.send(command);
    }
}

impl<Q> AsRef<WorkerCells> for WorkerHandle<Q> {
    fn as_ref(&self) -> &WorkerCells {
        &self.cells
    }
}

/// Which port sits in which slot.
#[derive(Debug)]
struct Slots {
    by_workload: HashMap<Arc<str>, PortId>,
    /// Slots to take next; those given back come last, so that a late frame rarely meets a new owner.
    free: VecDeque<PortId>,
    /// What was counted in a slot before its present owner came.
    before: HashMap<u16, PortCounters>,
    most: usize,
}

impl Slots {
    fn new(most: usize) -> Self {
        let most = most.clamp(1, usize::from(u16::MAX));
        let free = (0..most as u16).map(|slot| PortId { slot, generation: 0 }).collect();
        Self { by_workload: HashMap::new(), free, before: HashMap::new(), most }
    }

    fn take(&mut self, workload: &Arc<str>) -> Result<PortId, SwitchError> {
        let no_room = SwitchError::NoPortSlot { workload: Arc::clone(workload), most: self.most };
        let port = self.free.pop_front().ok_or(no_room)?;
        self.by_workload.insert(Arc::clone(workload), port);
        Ok(port)
    }

    fn give_back(&mut self, workload: &str, counted: PortCounters) -> Option<PortId> {
        let port = self.by_workload.remove(workload)?;
        self.before.insert(port.slot, counted);
        self.free.push_back(PortId { generation: port.generation.wrapping_add(1), ..port });
        Some(port)
    }

    fn names(&self) -> Vec<Option<Arc<str>>> {
        let mut names = vec![None; self.most];
        for (workload, port) in &self.by_workload {
            names[usize::from(port.slot)] = Some(Arc::clone(workload));
        }
        names
    }
}

/// Everything that was counted, at the moment of reading.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// By workload.
    pub ports: BTreeMap<Arc<str>, PortCounters>,
    /// The sum over all ports, those that are gone included.
    pub total: PortCounters,
    /// Frames that each rule decided, by name and gate; under all policies so far.
    pub rules: BTreeMap<(Arc<str>, Gate), u64>,
    /// Live connections.
    pub connections: usize,
    /// Events that the log's queue had no room for.
    pub events_lost: u64,
    /// What the log's writer did.
    pub events: Written,
}

impl<Q: PortQueue + Send + 'static> Switch<Q> {
    /// Starts the workers, with the ports attached before the first frame is read.
    ///
    /// # Errors
    /// When threads or descriptors run out, or a port brings too few queues. Nothing is left running.
    pub fn start(
        compiled: CompiledPolicy,
        ports: Vec<NewPort<Q>>,
        options: Options,
    ) -> Result<Self, SwitchError> {
        let names = Arc::new(NameBook::default());
        let log = options.events.map(|output| Writer::start(output, Arc::clone(&names))).transpose();
        let log = log.map_err(SwitchError::Worker)?;
        let table = Arc::new(ConnectionTable::new(options.connections).started_at(Tick::now()));
        let first = Snapshot::new(compiled.clone(), &HashMap::new(), options.workers, 0, 0);
        let publisher = Publisher::new(first);
        let (report, reports) = unbounded();
        let mut switch = Self {
            workers: Vec::new(),
            table,
            publisher,
            compiled,
            policy_generation: 0,
            slots: Slots::new(options.ports),
            rule_hits: BTreeMap::new(),
            names,
            log,
            reports,
        };
        for number in 0..options.workers {
            let handle = switch
                .start_worker(number, (options.io, options.wait), report.clone())
                .map_err(SwitchError::Worker)?;
            switch.workers.push(handle);
        }
        let compiled = switch.compiled.clone();
        switch.change(compiled, ports, &[])?;
        Ok(switch)
    }

    fn start_worker(
        &self,
        number: usize,
        (io, wait): (Io, Wait),
        reports: Sender<Report>,
    ) -> io::Result<WorkerHandle<Q>> {
        let (commands, received) = unbounded();
        let (waker, cells) = (Waker::new()?, Arc::new(WorkerCells::new(self.slots.most)));
        let log = self.log.as_ref().map(Writer::log);
        let forwarder = Forwarder::new(number, Arc::clone(&self.table), Arc::clone(&cells), log);
        let snapshots = Reader::new(Arc::clone(self.publisher.slot()));
        let worker = Worker::new(forwarder, snapshots, received, reports, waker.clone())?;
        let thread =
            thread::Builder::new().name(format!("septum-{number}")).spawn(move || worker.run(io, wait))?;
        Ok(WorkerHandle { commands, waker, cells, thread: Some(thread) })
    }

    /// Changes policy and ports in one step: all workers forward by the old snapshot or by the new one.
    ///
    /// `detach` names workloads whose ports go. Ports of workloads that the policy does not describe stay attached, and
    /// everything to and from them is refused.
    ///
    /// # Errors
    /// When there is no room for a port, or it brings too few queues; then nothing has changed.
    pub fn change(
        &mut self,
        compiled: CompiledPolicy,
        attach: Vec<NewPort<Q>>,
        detach: &[Arc<str>],
    ) -> Result<(), SwitchError> {
        self.check_room(&compiled.policy, &attach)?;
        let gone: Vec<PortId> = detach.iter().filter_map(|workload| self.give_back(workload)).collect();
        for port in attach {
            let id = self.slots.take(&port.workload)?;
            for (worker, queue) in self.workers.iter().zip(port.queues) {
                worker.tell(Command::Attach(id, queue));
            }
        }
        self.workers.iter().for_each(|worker| worker.waker.wake());
        self.publish(compiled);
        for worker in &self.workers {
            gone.iter().for_each(|port| worker.tell(Command::Detach(*port)));
            worker.tell(Command::Refresh);
            worker.waker.wake();
        }
        Ok(())
    }

    fn check_room(&self, policy: &Policy, attach: &[NewPort<Q>]) -> Result<(), SwitchError> {
        for (at, port) in attach.iter().enumerate() {
            let id = || policy.workload_named(&port.workload);
            let is_behind_trunk = || policy.workloads[id()?.index()].port.as_ref()?.trunk;
            if !(port.queues.is_empty() && is_behind_trunk().is_some())
                && port.queues.len() < self.workers.len()
            {
                return Err(SwitchError::Queues {
                    workload: Arc::clone(&port.workload),
                    queues: port.queues.len(),
                    workers: self.workers.len(),
                });
            }
            if at >= self.slots.free.len() {
                return Err(SwitchError::NoPortSlot {
                    workload: Arc::clone(&port.workload),
                    most: self.slots.most,
                });
            }
        }
        Ok(())
    }

    fn give_back(&mut self, workload: &Arc<str>) -> Option<PortId> {
        let port = *self.slots.by_workload.get(workload)?;
        let counted = PortCounters::read(&self.workers, port.slot);
        self.slots.give_back(workload, counted)
    }

    fn publish(&mut self, compiled: CompiledPolicy) {
        let is_other_policy = !Arc::ptr_eq(&compiled.classifier, &self.compiled.classifier);
        self.policy_generation += u32::from(is_other_policy);
        self.compiled = compiled.clone();
        let generation = self.publisher.slot().load().generation + 1;
        let workers = self.workers.len();
        if self.log.is_some() {
            let (policy_generation, ports) = (self.policy_generation, self.slots.names());
            self.names.add(Names { policy_generation, compiled: compiled.clone(), ports });
        }
        let mut next =
            Snapshot::new(compiled, &self.slots.by_workload, workers, generation, self.policy_generation);
        next.directory.inherit(&self.publisher.slot().load().directory);
        self.publisher.publish(next);
        self.publisher.collect(|snapshot| snapshot.add_rule_hits(&mut self.rule_hits));
    }

    /// The policy that is published.
    pub fn compiled(&self) -> &CompiledPolicy {
        &self.compiled
    }

    /// What workers report.
    pub fn reports(&self) -> &Receiver<Report> {
        &self.reports
    }

    /// The workload at a port, as long as it is attached.
    pub fn workload_at(&self, port: PortId) -> Option<&Arc<str>> {
        self.slots.by_workload.iter().find(|(_, there)| **there == port).map(|(workload, _)| workload)
    }

    /// Everything that was counted so far. While frames are on their way the balance need not hold.
    pub fn counters(&self) -> Counters {
        let mut counters = Counters { rules: self.rule_hits.clone(), ..Counters::default() };
        for slot in 0..self.slots.most as u16 {
            counters.total += &PortCounters::read(&self.workers, slot);
        }
        for (workload, port) in &self.slots.by_workload {
            let now = PortCounters::read(&self.workers, port.slot);
            let own = match self.slots.before.get(&port.slot) {
                Some(before) => now.since(before),
                None => now,
            };
            counters.ports.insert(Arc::clone(workload), own);
        }
        for snapshot in self.publisher.retired() {
            snapshot.add_rule_hits(&mut counters.rules);
        }
        self.publisher.slot().load().add_rule_hits(&mut counters.rules);
        counters.connections = self.table.count_live(Tick::now());
        counters.events = self.log.as_ref().map(Writer::written).unwrap_or_default();
        counters.events_lost = self.workers.iter().map(|worker| worker.cells.events_lost.get()).sum();
        counters
    }

    /// Stops the workers, closes all queues, writes what is left of the log, and says what was counted in the end.
    pub fn stop(mut self) -> Counters {
        self.halt();
        let mut counters = self.counters();
        if let Some(log) = self.log.take() {
            counters.events = log.finish();
        }
        counters
    }
}

impl<Q> Switch<Q> {
    fn halt(&mut self) {
        for worker in &self.workers {
            worker.tell(Command::Stop);
            worker.waker.wake();
        }
        for thread in self.workers.iter_mut().filter_map(|worker| worker.thread.take()) {
            // A worker that panicked has said so; what it counted still counts.
            let _ = thread.join();
        }
    }
}

impl<Q> Drop for Switch<Q> {
    fn drop(&mut self) {
        self.halt();
    }
}
