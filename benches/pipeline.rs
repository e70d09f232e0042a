//! Bursts of 64 frames through the pipeline and out of it, without a kernel: what the switch itself costs a frame.
//!
//! `cargo bench --bench pipeline`. Rules beside those that decide, and flows in rotation, vary.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use septum::burst::{BURST, Burst, ETHERNET, Frames};
use septum::clock::{BurstTime, Tick};
use septum::conntrack::{ConnectionTable, Timeouts};
use septum::counters::WorkerCells;
use septum::delivery::{Plan, Queues, deliver};
use septum::pipeline::Forwarder;
use septum::port::{Offloads, PortGone, PortId, PortQueue, TransmitOutcome};
use septum::responder::AnswerBudgets;
use septum::segmenter::Segmenter;
use septum::snapshot::{CompiledPolicy, Snapshot};
use septum::wire::sketch;
use septum_rules::flow_key::FlowKey;
use septum_rules::identity::DomainId;
use septum_rules::load::load_text;
use septum_rules::mac::MacAddress;
use septum_rules::proto::{Layer4, Protocol};

/// A device that takes every frame and keeps none.
struct Sink;

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

/// `count` rules over named networks, which do not decide, beside one that admits udp from a to b.
fn policy(count: usize) -> String {
    let mut text = String::from(
        r#"
version = 1
[segment.lan]
subnet = ["10.77.0.0/16"]
[workload.a]
segment = "lan"
mac = "02:00:00:00:00:01"
ip = ["10.77.0.1"]
labels = { app = "a" }
[workload.b]
segment = "lan"
mac = "02:00:00:00:00:02"
ip = ["10.77.0.2"]
labels = { app = "b" }
[[rule]]
name = "measured"
from = "app=a"
to = "app=b"
allow = ["udp/9"]
[cidr]
"#,
    );
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

/// A switch with two ports, and the frames of some flows from the first to the second.
struct Bench {
    snapshot: Snapshot,
    forwarder: Forwarder,
    queues: Queues<Sink>,
    frames: Vec<Vec<u8>>,
    next: usize,
    burst: Burst,
    plan: Plan,
    segmenter: Segmenter,
}

const A: PortId = PortId { slot: 0, generation: 0 };
const B: PortId = PortId { slot: 1, generation: 0 };

impl Bench {
    fn new(rules: usize, flows: u32, port: u16) -> Self {
        let loaded = load_text("bench.toml", &policy(rules)).unwrap_or_else(|error| panic!("{error}"));
        let compiled = CompiledPolicy::compile(loaded.policy.into(), "2026-01-01".parse().unwrap()).unwrap();
        let ports = HashMap::from([(Arc::from("a"), A), (Arc::from("b"), B)]);
        let mut queues = Queues::default();
        queues.attach(A, Sink);
        queues.attach(B, Sink);
        let frame = |source_port: u32| {
            let flow = FlowKey {
                domain: DomainId::default(),
                source: "10.77.0.1".parse().unwrap(),
                destination: "10.77.0.2".parse().unwrap(),
                layer4: Layer4::ports(Protocol::UDP, source_port as u16, port),
            };
            let mut frame = vec![0; ETHERNET];
            frame.extend(sketch::opening(
                &flow,
                MacAddress([2, 0, 0, 0, 0, 1]),
                MacAddress([2, 0, 0, 0, 0, 2]),
            ));
            frame.resize(ETHERNET + 60, 0);
            frame
        };
        Self {
            snapshot: Snapshot::new(compiled, &ports, 1, 1, 1),
            forwarder: Forwarder {
                worker: 0,
                table: Arc::new(ConnectionTable::new(1 << 20, Timeouts::default())),
                cells: Arc::new(WorkerCells::new(2)),
                log: None,
                answers: AnswerBudgets::new(2),
                judged: 0,
            },
            queues,
            frames: (0..flows).map(frame).collect(),
            next: 0,
            burst: Burst::default(),
            plan: Plan::default(),
            segmenter: Segmenter::default(),
        }
    }

    /// Puts the next 64 frames in and sees them through. Copying them in is part of the figure, as reading them is of
    /// a device's.
    fn run(&mut self) {
        self.burst.clear();
        for _ in 0..BURST {
            self.burst.push(&self.frames[self.next]);
            self.next = (self.next + 1) % self.frames.len();
        }
        let time = BurstTime { tick: Tick(1), unix_ms: 0 };
        self.forwarder.decide(&self.snapshot, A, &mut self.burst, time, &mut self.plan);
        let cells = Arc::clone(&self.forwarder.cells);
        deliver(&self.plan, &self.burst, A, &mut self.queues, &mut self.segmenter, &cells);
    }
}

fn pipeline(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pipeline");
    group.throughput(Throughput::Elements(BURST as u64));
    for rules in [1, 100, 10_000] {
        for flows in [1, 1_000, 60_000] {
            let mut bench = Bench::new(rules, flows, 9);
            let name = BenchmarkId::new(format!("forward/{rules} rules"), format!("{flows} flows"));
            group.bench_function(name, |bencher| bencher.iter(|| bench.run()));
        }
        let mut bench = Bench::new(rules, 1_000, 10);
        group.bench_function(BenchmarkId::new("refuse", format!("{rules} rules")), |bencher| {
            bencher.iter(|| bench.run());
        });
    }
    group.finish();
}

criterion_group!(benches, pipeline);
criterion_main!(benches);
