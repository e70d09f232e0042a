//! A switch without threads, devices or a clock: every workload of a policy at a port in memory, stepped by hand.

#![allow(dead_code)] // each test target uses its own part of it

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use septum::burst::{Burst, ETHERNET};
use septum::clock::{BurstTime, Tick};
use septum::conntrack::ConnectionTable;
use septum::counters::{PortCounters, WorkerCells};
use septum::delivery::{Plan, Queues, deliver};
use septum::directory::{gateway_mac, trunk_port, uplink_port};
use septum::drop_reason::DropReason;
use septum::pipeline::Forwarder;
use septum::port::{MemoryQueue, Offloads, PortId, PortQueue};
use septum::segmenter::Segmenter;
use septum::snapshot::{CompiledPolicy, Snapshot};
use septum::trunk::{Divider, Part};
use septum::wire::Headers;
use septum::wire::checksum::Sum;
use septum::wire::parse::parse;
use septum::wire::sketch;
use septum::wire::vnet_hdr::VnetHeader;
use septum_rules::date::Date;
use septum_rules::flow_key::FlowKey;
use septum_rules::identity::DomainId;
use septum_rules::load::load_text;
use septum_rules::mac::MacAddress;
use septum_rules::policy::Policy;
use septum_rules::proto::Layer4;
use septum_rules::workload::Workload;

/// The switch and the far ends of its ports.
pub(crate) struct Fabric {
    pub(crate) snapshot: Snapshot,
    ports: HashMap<Arc<str>, PortId>,
    hosts: Vec<MemoryQueue>,
    queues: Queues<MemoryQueue>,
    forwarder: Forwarder,
    burst: Burst,
    plan: Plan,
    segmenter: Segmenter,
    divider: Divider,
    pub(crate) now: Tick,
}

/// Frames that a port in memory holds.
const QUEUE: usize = 16;

impl Fabric {
    /// The switch of a policy, all ports with all offloads.
    pub(crate) fn new(text: &str) -> Self {
        Self::with_offloads(text, |_| Offloads::ALL)
    }

    /// The same, with the offloads of each workload's port.
    pub(crate) fn with_offloads(text: &str, offloads: impl Fn(&str) -> Offloads) -> Self {
        let compiled = compile(text);
        let uplinks = compiled.policy.uplinks.iter().map(|uplink| uplink_port(&uplink.name));
        let workloads = compiled.policy.workloads.iter().map(|workload| Arc::clone(&workload.name));
        let specs: Vec<_> =
            compiled.policy.workloads.iter().filter_map(|workload| workload.port.as_ref()).collect();
        let trunks: BTreeSet<_> =
            specs.iter().filter(|spec| spec.trunk.is_some()).map(|spec| trunk_port(spec)).collect();
        let names: Vec<Arc<str>> = workloads.chain(uplinks).chain(trunks).collect();
        let ports: HashMap<_, _> = names
            .iter()
            .cloned()
            .zip(0..)
            .map(|(name, slot)| (name, PortId { slot, generation: 0 }))
            .collect();
        let (mut queues, mut hosts) = (Queues::default(), Vec::new());
        for (name, slot) in names.iter().zip(0..) {
            let (switch_end, host_end) = MemoryQueue::pair(QUEUE, offloads(name));
            let id = compiled.policy.workload_named(name);
            let spec = id.and_then(|id| compiled.policy.workloads[id.index()].port.as_ref());
            // Who sits behind a trunk has no queue of its own.
            if spec.is_none_or(|spec| spec.trunk.is_none()) {
                queues.attach(PortId { slot, generation: 0 }, switch_end);
            }
            hosts.push(host_end);
        }
        let slots = ports.len().max(1);
        let snapshot = Snapshot::new(compiled, &ports, 1, 1, 1);
        queues.follow(&snapshot.directory);
        let forwarder = Forwarder::new(0, table(), Arc::new(WorkerCells::new(slots)), None);
        Self {
            snapshot,
            ports,
            hosts,
            queues,
            forwarder,
            burst: Burst::default(),
            plan: Plan::default(),
            segmenter: Segmenter::default(),
            divider: Divider::default(),
            now: Tick(1),
        }
    }

    /// Forgets all connections, and all frames on their way.
    pub(crate) fn forget(&mut self) {
        self.forwarder.table = table();
        for host in &self.hosts {
            host.discard();
        }
    }

    /// Forgets the ways between ends that the fast path knows, and nothing else.
    pub(crate) fn forget_ways(&mut self) {
        let Forwarder { table, cells, .. } = &self.forwarder;
        self.forwarder = Forwarder::new(0, Arc::clone(table), Arc::clone(cells), None);
    }

    /// Replaces the policy; the workloads must be the same.
    pub(crate) fn change(&mut self, text: &str) {
        let generation = self.snapshot.policy_generation + 1;
        let mut next = Snapshot::new(compile(text), &self.ports, 1, u64::from(generation), generation);
        next.directory.inherit(&self.snapshot.directory);
        self.snapshot = next;
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.snapshot.policy
    }

    pub(crate) fn workload(&self, name: &str) -> &Workload {
        let id = self.policy().workload_named(name).unwrap_or_else(|| panic!("no workload {name}"));
        &self.policy().workloads[id.index()]
    }

    pub(crate) fn mac(&self, name: &str) -> MacAddress {
        self.workload(name).mac.expect("the tests' workloads have MACs")
    }

    pub(crate) fn address(&self, name: &str, ipv4: bool) -> IpAddr {
        let addresses = &self.workload(name).addresses;
        *addresses.iter().find(|address| address.is_ipv4() == ipv4).expect("an address of the family")
    }

    /// The switch's MAC in a workload's segment.
    pub(crate) fn gateway_mac(&self, name: &str) -> MacAddress {
        gateway_mac(&self.policy().segments[self.workload(name).segment.index()].name)
    }

    /// The flow from one workload to another.
    pub(crate) fn flow(&self, from: &str, to: &str, ipv4: bool, layer4: Layer4) -> FlowKey {
        FlowKey {
            domain: DomainId::default(),
            source: self.address(from, ipv4),
            destination: self.address(to, ipv4),
            layer4,
        }
    }

    /// The opening frame of a flow as `from` would send it: to its neighbour, or to the gateway.
    pub(crate) fn opening(&self, from: &str, flow: &FlowKey) -> Vec<u8> {
        let own = self.workload(from);
        let neighbour = self.policy().workloads.iter().find(|other| {
            other.segment == own.segment && other.all_addresses().any(|address| address == flow.destination)
        });
        let next_hop = neighbour.and_then(|other| other.mac).unwrap_or_else(|| self.gateway_mac(from));
        with_header(&sketch::opening(flow, self.mac(from), next_hop))
    }

    /// Puts a frame (virtio header first) on a workload's port and lets the switch see it through.
    pub(crate) fn send(&mut self, from: &str, frame: &[u8]) {
        let port = self.ports[from];
        assert!(self.hosts[usize::from(port.slot)].inject(frame), "the port has no room");
        self.step(port);
    }

    /// The same for frames that come in one burst.
    pub(crate) fn send_all(&mut self, from: &str, frames: &[Vec<u8>]) {
        let port = self.ports[from];
        for frame in frames {
            assert!(self.hosts[usize::from(port.slot)].inject(frame), "the port has no room");
        }
        self.step(port);
    }

    /// Sends the opening packet of a flow between two workloads; says whether it arrived, or why not.
    pub(crate) fn try_flow(
        &mut self,
        from: &str,
        to: &str,
        ipv4: bool,
        layer4: Layer4,
    ) -> Result<(), DropReason> {
        let flow = self.flow(from, to, ipv4, layer4);
        let frame = self.opening(from, &flow);
        let arrived = self.outcome(from, &frame);
        if arrived.is_ok() {
            let frames = self.received(to);
            assert_eq!(frames.len(), 1, "{from} -> {to} {layer4}: one frame in, one out");
        }
        arrived
    }

    /// Sends a frame; gives its end.
    pub(crate) fn outcome(&mut self, from: &str, frame: &[u8]) -> Result<(), DropReason> {
        let before = self.counters(from);
        self.send(from, frame);
        let after = self.counters(from).since(&before);
        assert_eq!(after.received, 1);
        match after.drops().next() {
            Some((reason, 1)) => Err(reason),
            None => Ok(()),
            Some(more) => panic!("{more:?}"),
        }
    }

    /// Frames that arrived at a workload since it was last asked.
    pub(crate) fn received(&mut self, name: &str) -> Vec<Vec<u8>> {
        let host = &self.hosts[usize::from(self.ports[name].slot)];
        std::iter::from_fn(|| host.take()).collect()
    }

    /// Runs one burst from a port, and checks the balance.
    fn step(&mut self, port: PortId) {
        self.burst.clear();
        let queue = self.queues.get_mut(port).expect("the port is attached");
        queue.receive(&mut self.burst).expect("memory does not disappear");
        let time = BurstTime { tick: self.now, unix_ms: 0 };
        let Self { snapshot, queues, forwarder, burst, plan, segmenter, .. } = self;
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
        assert_eq!(self.total().imbalance(), None, "every frame has one end");
    }

    pub(crate) fn counters(&self, name: &str) -> PortCounters {
        PortCounters::read(&[Arc::clone(&self.forwarder.cells)], self.ports[name].slot)
    }

    pub(crate) fn total(&self) -> PortCounters {
        let mut total = PortCounters::default();
        for port in self.ports.values() {
            total += &PortCounters::read(&[Arc::clone(&self.forwarder.cells)], port.slot);
        }
        total
    }

    /// Live connections.
    pub(crate) fn connections(&self) -> usize {
        self.forwarder.table.count_live(self.now)
    }
}

/// The day for which policies are compiled.
pub(crate) fn today() -> Date {
    "2026-06-15".parse().unwrap()
}

fn table() -> Arc<ConnectionTable> {
    Arc::new(ConnectionTable::new(256))
}

/// Compiles a policy; each text once, since many switches are made of few texts.
fn compile(text: &str) -> CompiledPolicy {
    static COMPILED: LazyLock<Mutex<HashMap<String, CompiledPolicy>>> = LazyLock::new(Mutex::default);
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = compiled.get(text) {
        return known.clone();
    }
    let loaded = load_text("test.toml", text).unwrap_or_else(|error| panic!("{error}"));
    let new = CompiledPolicy::compile(loaded.policy.into(), today()).unwrap();
    compiled.insert(text.to_owned(), new.clone());
    new
}

/// An Ethernet frame behind an empty virtio header.
pub(crate) fn with_header(ethernet: &[u8]) -> Vec<u8> {
    [&[0; ETHERNET], ethernet].concat()
}

/// Makes length and checksum of a frame's IPv4 header right for what stands there now.
pub(crate) fn mend_ipv4(frame: &mut [u8]) {
    let packet = &mut frame[ETHERNET + 14..];
    let length = packet.len() as u16;
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet[10..12].fill(0);
    let checksum = Sum::default().add_bytes(&packet[..20]).checksum();
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
}

/// The headers of a frame that begins with its virtio header.
pub(crate) fn headers(frame: &[u8]) -> Headers {
    let vnet = VnetHeader::read(frame).expect("a virtio header");
    parse(&frame[ETHERNET..], &vnet).unwrap_or_else(|reason| panic!("{reason}"))
}
