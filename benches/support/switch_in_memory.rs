//! A switch between two ports that keep no frame: the pipeline and delivery without a kernel.
//!
//! For benches only. A burst is made by copying 64 frames in, which stands for what a device's read would do.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use septum::burst::{BURST, Burst, ETHERNET, Frames};
use septum::clock::{BurstTime, Tick};
use septum::conntrack::ConnectionTable;
use septum::counters::WorkerCells;
use septum::delivery::{Plan, Queues, deliver};
use septum::pipeline::Forwarder;
use septum::port::{Offloads, PortGone, PortId, PortQueue, TransmitOutcome};
use septum::segmenter::Segmenter;
use septum::snapshot::{CompiledPolicy, Snapshot};
use septum::wire::sketch;
use septum_rules::flow_key::FlowKey;
use septum_rules::identity::DomainId;
use septum_rules::load::load_text;
use septum_rules::mac::MacAddress;
use septum_rules::proto::{Layer4, Protocol};

/// A device that takes every frame and keeps none.
pub(crate) struct Sink;

impl PortQueue for Sink {
    fn receive(&mut self, _: &mut Burst) -> Result<usize, PortGone> {
        Ok(0)
    }

    fn transmit(&mut self, frames: Frames<'_>, outcome: &mut TransmitOutcome) {
        frames.iter().for_each(|frame| outcome.sent(black_box(frame).len()));
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn offloads(&self) -> Offloads {
        Offloads::ALL
    }
}

/// Addresses of each workload.
const ADDRESSES: u32 = 32;

/// `count` rules over named networks, which do not decide, beside one that admits UDP and TCP from a to b.
fn policy(count: usize) -> String {
    let mut text = String::from(
        r#"
version = 1
[segment.lan]
subnet = ["10.77.0.0/16"]
[workload.a]
segment = "lan"
mac = "02:00:00:00:00:01"
ip = [A_ADDRESSES]
labels = { app = "a" }
[workload.b]
segment = "lan"
mac = "02:00:00:00:00:02"
ip = [B_ADDRESSES]
labels = { app = "b" }
[[rule]]
name = "measured"
from = "app=a"
to = "app=b"
allow = ["udp/9", "tcp/9"]
[cidr]
"#,
    );
    for (workload, last) in [("A", 1), ("B", 2)] {
        let addresses: Vec<String> = (0..ADDRESSES).map(|at| format!("\"10.77.{at}.{last}\"")).collect();
        text = text.replace(&format!("{workload}_ADDRESSES"), &addresses.join(", "));
    }
    let networks = (count / 20).max(1);
    for network in 0..networks {
        let _ = writeln!(text, "net{network} = [\"10.{}.{}.0/24\"]", 100 + network / 256, network % 256);
    }
    for rule in 0..count {
        let (network, port) = (rule % networks, 1000 + rule % 4000);
        let _ = writeln!(
            text,
            "[[rule]]\nname = \"r{rule}\"\nfrom = \"cidr:net{network}\"\nto = \"app=b\"\nallow = [\"tcp/{port}\"]"
        );
    }
    text
}

/// What the frames of a bench are.
#[derive(Clone, Copy)]
pub(crate) struct Traffic {
    /// Rules beside the one that decides.
    pub(crate) rules: usize,
    /// Flows in rotation.
    pub(crate) flows: u32,
    /// Pairs of ends that they are spread over, up to 1,024.
    pub(crate) pairs: u32,
    /// What becomes of them.
    pub(crate) kind: Kind,
}

/// What becomes of the frames.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// They belong to connections, but for each flow's first.
    Forward,
    /// No rule admits them.
    Refuse,
    /// Each opens a connection: the clock runs, and a flow comes again when its connection is forgotten.
    Open,
}

impl Traffic {
    /// Flows in which every frame opens a connection, at [`Traffic::BURSTS_A_TICK`]: 30 seconds are forgotten in
    /// between.
    pub(crate) const OPENING: u32 = 2 * 65_536;
    const BURSTS_A_TICK: u32 = 8;
}

/// The ports of the workloads a and b.
pub(crate) const A: PortId = PortId { slot: 0, generation: 0 };
pub(crate) const B: PortId = PortId { slot: 1, generation: 0 };

/// The policy of so many rules beside the one that decides, at these ports, for so many workers.
pub(crate) fn snapshot(rules: usize, workers: usize) -> Snapshot {
    let loaded = load_text("bench.toml", &policy(rules)).unwrap_or_else(|error| panic!("{error}"));
    let compiled = CompiledPolicy::compile(loaded.policy.into(), "2026-01-01".parse().unwrap()).unwrap();
    let ports = HashMap::from([(Arc::from("a"), A), (Arc::from("b"), B)]);
    Snapshot::new(compiled, &ports, workers, 1, 1)
}

/// The frame of 60 bytes that opens a flow from a's address of this number to b's.
pub(crate) fn frame(pair: u32, layer4: Layer4) -> Vec<u8> {
    let [source, destination] =
        [[10, 77, (pair % ADDRESSES) as u8, 1], [10, 77, (pair / ADDRESSES) as u8, 2]];
    let flow = FlowKey {
        domain: DomainId::default(),
        source: source.into(),
        destination: destination.into(),
        layer4,
    };
    let macs = [1, 2].map(|last| MacAddress([2, 0, 0, 0, 0, last]));
    let mut frame = vec![0; ETHERNET];
    frame.extend(sketch::opening(&flow, macs[0], macs[1]));
    frame.resize(ETHERNET + 60, 0);
    frame
}

/// What a worker has of its own.
pub(crate) struct Lane {
    pub(crate) forwarder: Forwarder,
    queues: Queues<Sink>,
    pub(crate) burst: Burst,
    plan: Plan,
    segmenter: Segmenter,
}

impl Lane {
    /// The worker of this number; the table is all workers'.
    pub(crate) fn new(worker: usize, table: Arc<ConnectionTable>) -> Self {
        let mut queues = Queues::default();
        queues.attach(A, Sink);
        queues.attach(B, Sink);
        Self {
            forwarder: Forwarder::new(worker, table, Arc::new(WorkerCells::new(2)), None),
            queues,
            burst: Burst::default(),
            plan: Plan::default(),
            segmenter: Segmenter::default(),
        }
    }

    /// Sees the frames of the burst through.
    pub(crate) fn forward(&mut self, snapshot: &Snapshot, ingress: PortId, tick: Tick) {
        let time = BurstTime { tick, unix_ms: 0 };
        self.forwarder.decide(snapshot, ingress, &mut self.burst, time, &mut self.plan);
        let cells = Arc::clone(&self.forwarder.cells);
        deliver(&self.plan, &self.burst, ingress, &mut self.queues, &mut self.segmenter, &cells);
    }
}

/// A switch with two ports and one worker, and the frames of some flows from the first port to the second.
pub(crate) struct SwitchInMemory {
    snapshot: Snapshot,
    lane: Lane,
    frames: Vec<Vec<u8>>,
    next: usize,
    bursts: u32,
    kind: Kind,
}

impl SwitchInMemory {
    /// A switch that has seen no frame yet.
    pub(crate) fn new(traffic: Traffic) -> Self {
        let port = if traffic.kind == Kind::Refuse { 10 } else { 9 };
        let frame = |flow: u32| {
            // Where one pair has no ports left, another's begin.
            let pair = flow % traffic.pairs + (flow >> 16);
            frame(pair, Layer4::ports(Protocol::UDP, flow as u16, port))
        };
        Self {
            snapshot: snapshot(traffic.rules, 1),
            lane: Lane::new(0, Arc::new(ConnectionTable::new(1 << 20))),
            frames: (0..traffic.flows).map(frame).collect(),
            next: 0,
            bursts: 0,
            kind: traffic.kind,
        }
    }

    /// Puts the next 64 frames in and sees them through. Copying them in is part of the figure, as reading them is of
    /// a device's.
    pub(crate) fn run(&mut self) {
        self.lane.burst.clear();
        for _ in 0..BURST {
            self.lane.burst.push(&self.frames[self.next]);
            self.next += 1;
            if self.next == self.frames.len() {
                self.next = 0;
            }
        }
        self.bursts += 1;
        let tick = if self.kind == Kind::Open { self.bursts / Traffic::BURSTS_A_TICK } else { 0 };
        self.lane.forward(&self.snapshot, A, Tick(1 + tick));
    }

    /// Holds the counters against the kind of traffic: a bench that measures something else than it says is worse than none.
    pub(crate) fn assert_kind(&self) {
        let cells = &self.lane.forwarder.cells;
        let (received, transmitted) =
            (cells.port(A.slot).received.get(), cells.port(B.slot).transmitted.get());
        let expected = if self.kind == Kind::Refuse { 0 } else { received };
        assert_eq!(transmitted, expected, "of {received}");
    }
}
