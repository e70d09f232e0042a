//! What a frame costs each of N workers, as N grows: measured where the processors are there, counted beyond.
//!
//! `cargo bench -p septum --bench scaling`. The whole pipeline on ports without a kernel, with 10,000 rules, connection
//! tracking and guard; snapshot and connection table are all workers'. `docs/benchmarks/scaling.md` says what the tables mean.

#[path = "support/processor_time.rs"]
mod processor_time;
#[path = "support/switch_in_memory.rs"]
#[allow(dead_code, reason = "shared with other benches, which use the rest")]
mod switch_in_memory;
#[path = "support/traffic_of_workers.rs"]
mod traffic_of_workers;

use std::collections::HashSet;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use processor_time::processor_time;
use septum::burst::BURST;
use septum::clock::Tick;
use septum::conntrack::ConnectionTable;
use septum::snapshot::Snapshot;
use septum::sys::cpu;
use traffic_of_workers::{Case, Worker, workers};

const RULES: usize = 10_000;
const WORKERS: [usize; 7] = [1, 2, 4, 8, 16, 32, MOST];
const MOST: usize = 64;
/// Of each figure, by turns; the least is told, as what else the machine does only adds to it.
const ROUNDS: usize = 5;
/// Connections of each worker.
const FLOWS: usize = 512;
/// Frames of each worker in a round.
const FRAMES: usize = 1 << 18;
/// Connections that all workers together open in a round: a workload's share of the table.
const OPENED: usize = 1 << 17;
/// Later than any connection of these lives.
const LATER: u32 = 1_000 * Tick::PER_SECOND;
/// Of each of two workers, to one counter.
const ADDITIONS: u64 = 1 << 22;
/// Places in [`Case::ALL`].
const TCP_OWN: usize = 2;
const TCP_CROSSED: usize = 3;

fn main() {
    let processors = cpu::available().expect("the processors of this process");
    let snapshot = switch_in_memory::snapshot(RULES, MOST);
    let mut measured = vec![Vec::new(); Case::ALL.len() * WORKERS.len()];
    for round in 0..ROUNDS {
        eprintln!("round {} of {ROUNDS}", round + 1);
        for (at, (_, case)) in Case::ALL.iter().enumerate() {
            for (number, count) in WORKERS.iter().enumerate() {
                measured[at * WORKERS.len() + number].push(measure(*case, *count, &snapshot, &processors));
            }
        }
    }
    let measured: Vec<f64> = measured.into_iter().map(least).collect();
    println!(
        "ns a frame, of each worker ({} processors; more workers than that take turns)\n",
        processors.len()
    );
    table(&WORKERS.map(|count| count.to_string()), |at| {
        measured[at * WORKERS.len()..][..WORKERS.len()].iter().map(|ns| format!("{ns:.1}")).collect()
    });
    println!(
        "\nmillions of frames a second, all workers together: measured up to {} workers\n",
        processors.len()
    );
    table(&["1", "2"].map(str::to_owned), |at| {
        (0..2)
            .map(|number| {
                format!("{:.1}", WORKERS[number] as f64 * 1e3 / measured[at * WORKERS.len() + number])
            })
            .collect()
    });
    let moved: Vec<[f64; 2]> =
        Case::ALL.iter().map(|(_, case)| [2, 16].map(|count| moved(*case, count))).collect();
    println!(
        "\nlines of the connection table that another worker had written, or wrote, since: for each frame\n"
    );
    table(&["2 workers", "16 workers"].map(str::to_owned), |at| {
        moved[at].map(|lines| format!("{lines:.3}")).to_vec()
    });
    if processors.len() < 2 {
        return println!("\none processor: what moves between two is not measured, and nothing is modelled");
    }
    let at_two = |case: usize| measured[case * WORKERS.len() + 1];
    let line =
        ((at_two(TCP_CROSSED) - at_two(TCP_OWN)) / (moved[TCP_CROSSED][0] - moved[TCP_OWN][0])).max(0.0);
    // The round in which both were at it all the time.
    let additions = 1e3 / (0..ROUNDS).map(|_| addition(&processors)).fold(0.0, f64::max);
    println!(
        "\na line that moves costs a frame {line:.0} ns: what TCP costs two workers more, crossed than own"
    );
    println!("two workers add {additions:.0} million times a second to one counter, both together\n");
    println!("modelled from that, millions of frames a second, all workers together\n");
    table(&WORKERS.map(|count| count.to_string()), |at| {
        let is_opening = Case::ALL[at].1 == Case::Opening;
        let rate = |count: usize| match (count, is_opening) {
            (1, _) => 1e3 / measured[at * WORKERS.len()],
            (_, false) => count as f64 * 1e3 / (measured[at * WORKERS.len()] + moved[at][1] * line),
            // A counter that all write is in one place at a time.
            (_, true) => (count as f64 * 1e3 / at_two(at)).min(additions),
        };
        WORKERS.iter().map(|count| format!("{:.1}", rate(*count))).collect()
    });
}

fn table(heads: &[String], row: impl Fn(usize) -> Vec<String>) {
    println!("| | {} |\n|---{}|", heads.join(" | "), "|---:".repeat(heads.len()));
    for (at, (name, _)) in Case::ALL.iter().enumerate() {
        println!("| {name} | {} |", row(at).join(" | "));
    }
}

fn least(values: Vec<f64>) -> f64 {
    values.into_iter().fold(f64::INFINITY, f64::min)
}

/// Nanoseconds of processor time a frame: the mean of the workers', who run side by side.
fn measure(case: Case, count: usize, snapshot: &Snapshot, processors: &[usize]) -> f64 {
    let table = Arc::new(ConnectionTable::new(1 << 20));
    let flows = if case == Case::Opening { OPENED / count } else { FLOWS };
    let mut all = workers(case, count, flows, (&table, snapshot), |_, _| ());
    if case == Case::Opening {
        // Once before, so that the pages are there; then all of it is forgotten.
        all.iter_mut().for_each(|worker| (0..flows / BURST).for_each(|_| worker.run(snapshot, 0, Tick(1))));
        (0..LATER).for_each(|_| table.sweep(Tick(LATER)));
        assert_eq!(table.count(), 0, "all are forgotten");
    }
    let start = Barrier::new(count);
    let run = |number: usize, worker: &mut Worker| {
        cpu::pin(processors[number % processors.len()]).expect("a processor of this process");
        let (directions, bursts, tick) = match case {
            Case::Opening => (1, worker.flows() / BURST, Tick(LATER)),
            _ => (2, FRAMES / BURST, Tick(1)),
        };
        start.wait();
        let before = processor_time();
        (0..bursts).for_each(|burst| worker.run(snapshot, burst % directions, tick));
        let spent = processor_time() - before;
        worker.assert_all_forwarded();
        spent.as_nanos() as f64 / (bursts * BURST) as f64
    };
    let spent: Vec<f64> = thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> = all
            .iter_mut()
            .enumerate()
            .map(|(number, worker)| scope.spawn(move || run(number, worker)))
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("it has said why")).collect()
    });
    spent.iter().sum::<f64>() / count as f64
}

/// Of the table's cache lines: who has a valid copy.
struct Lines {
    words: Vec<[u64; 8]>,
    holders: Vec<HashSet<usize>>,
}

impl Lines {
    fn of(table: &ConnectionTable) -> Self {
        let words: Vec<_> = table.lines().collect();
        Self { holders: vec![HashSet::new(); words.len()], words }
    }

    /// The lines that were written since the last look.
    fn written(&mut self, table: &ConnectionTable) -> Vec<usize> {
        let mut written = Vec::new();
        for (at, (known, line)) in self.words.iter_mut().zip(table.lines()).enumerate() {
            if *known != line {
                *known = line;
                written.push(at);
            }
        }
        written
    }
}

/// Lines that must come from another worker's cache, or leave it, for each frame: exact for workers that take turns, a
/// burst each, with a burst's worth of connections.
fn moved(case: Case, count: usize) -> f64 {
    const TURNS: usize = 8;
    let snapshot: Snapshot = switch_in_memory::snapshot(1, count);
    let is_opening = case == Case::Opening;
    let flows = if is_opening { TURNS * BURST } else { BURST };
    let table = Arc::new(ConnectionTable::seeded(1, 16 * flows * count));
    let mut lines = Lines::of(&table);
    // By owner: the lines of each flow.
    let mut of_flow = vec![Vec::new(); count];
    let mut all = workers(case, count, flows, (&table, &snapshot), |owner, _| {
        if !is_opening {
            of_flow[owner].push(lines.written(&table));
        }
    });
    let (mut moved, mut frames) = (0, 0);
    for turn in 0..TURNS {
        for direction in 0..if is_opening { 1 } else { 2 } {
            for (number, worker) in all.iter_mut().enumerate() {
                worker.run(&snapshot, direction, Tick(1));
                let is_reply = direction == 1 && matches!(case, Case::Crossed(_));
                let owner = if is_reply { (number + count - 1) % count } else { number };
                let written = lines.written(&table);
                let read = of_flow[owner].iter().filter(|_| !is_opening).flatten();
                let touched: HashSet<usize> = read.chain(&written).copied().collect();
                // The first turn fetches what set-up has written.
                let counts = turn > 0 || is_opening;
                frames += usize::from(counts) * BURST;
                for line in touched {
                    let holders = &mut lines.holders[line];
                    let is_written = written.contains(&line);
                    let is_others = if is_written {
                        holders.iter().any(|it| *it != number)
                    } else {
                        !holders.contains(&number)
                    };
                    moved += usize::from(counts && is_others);
                    if is_written {
                        holders.clear();
                    }
                    holders.insert(number);
                }
            }
        }
    }
    all.iter().for_each(Worker::assert_all_forwarded);
    moved as f64 / frames as f64
}

/// Nanoseconds between two additions to a counter to which two processors add, whoever does them.
fn addition(processors: &[usize]) -> f64 {
    let (counter, start) = (AtomicU64::new(0), Barrier::new(2));
    let add = |processor: usize| {
        cpu::pin(processor).expect("a processor of this process");
        start.wait();
        let before = processor_time();
        for _ in 0..ADDITIONS {
            black_box(counter.fetch_add(1, Ordering::Relaxed));
        }
        (processor_time() - before).as_nanos() as f64 / ADDITIONS as f64
    };
    let spent: f64 = thread::scope(|scope| {
        let add = &add;
        let threads = [0, 1].map(|at| scope.spawn(move || add(processors[at])));
        threads.into_iter().map(|thread| thread.join().expect("it cannot fail")).sum()
    });
    // Both add at once: the mean of the two, halved.
    spent / 4.0
}
