//! Raw filter sets: what a packet costs in bursts of 256, by family of sets and size; packets of random filters (uniform),
//! 1,024 flows of them by Zipf, and packets that match none but a last filter for the rest; and compiling. Behind these,
//! what a hit in a cache of flows costs beside the lookup that it saves.
//!
//! Made sets always; ClassBench's where they are at hand (SEPTUM_FIXTURES or ../shared/fixtures).
//!
//! `cargo bench -p septum-classifier --bench filters`

#[path = "../tests/support/filter_sets.rs"]
#[allow(dead_code, reason = "shared with the tests, which use the rest")]
mod filter_sets;
#[path = "support/flow_cache.rs"]
mod flow_cache;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use filter_sets::{Random, filter_ipv4, fixtures, packet};
use flow_cache::FlowCache;
use septum_classifier::SimdPath;
use septum_classifier::filter::{Filter, FilterClassifier, FilterLimits, FilterMatch, FiveTuple};

const PACKETS: usize = 1 << 15;
const BURST: usize = 256;

/// Hosts that reach services of other hosts, and wide exceptions.
fn made(count: usize) -> Vec<Filter> {
    let mut random = Random::new(count as u64);
    let mut octet = move || random.below(256);
    (0..count)
        .map(|at| {
            let port = 1 + (at % 200) as u16;
            let source = format!("10.{}.{}.{}/32", octet() % 16, octet(), octet());
            let destination = format!("10.{}.{}.0/24", octet() % 16, octet());
            let (source, destination) = match at % 10 {
                0 => ("0.0.0.0/0", destination.as_str()),
                1 => (source.as_str(), "0.0.0.0/0"),
                _ => (source.as_str(), destination.as_str()),
            };
            filter_ipv4(source, destination, [(0, u16::MAX), (port, port)], Some(6))
        })
        .collect()
}

fn traces(filters: &[Filter], classifier: &FilterClassifier) -> [(&'static str, Vec<FiveTuple<u32>>); 3] {
    let mut random = Random::new(5);
    let uniform: Vec<_> = (0..PACKETS).map(|_| packet(filters, &mut random, false)).collect();
    let zipf = (0..PACKETS)
        .map(|_| {
            // 1,024 flows; the n-th 1/n times as often as the first: e to a uniform power, nearly.
            let flow = f64::exp(random.below(1 << 32) as f64 / f64::from(u32::MAX) * f64::ln(1024.0));
            uniform[flow as usize - 1]
        })
        .collect();
    let rest = filters.len() - 1;
    let mut miss: Vec<FiveTuple<u32>> = Vec::new();
    for _ in 0..PACKETS * 16 {
        let stray = packet(filters, &mut random, true);
        if classifier.classify(&stray).filter().is_none_or(|filter| filter == rest) {
            miss.push(stray);
        }
    }
    miss.truncate(PACKETS);
    [("uniform", uniform), ("zipf", zipf), ("miss", miss)]
}

fn filters(criterion: &mut Criterion) {
    let mut sets: Vec<(String, Vec<Filter>)> =
        [1_000, 10_000, 100_000].map(|count| (format!("made_{count}"), made(count))).into();
    match fixtures() {
        Some(more) => sets.extend(more),
        None => println!("skipped: no ClassBench sets (SEPTUM_FIXTURES or ../shared/fixtures)"),
    }
    for (name, filters) in &sets {
        let classifier = FilterClassifier::build(filters, &FilterLimits::default()).expect("within limits");
        let mut group = criterion.benchmark_group("filters");
        for (trace, packets) in traces(filters, &classifier) {
            group.throughput(Throughput::Elements(packets.len() as u64));
            for path in SimdPath::ALL.into_iter().filter(|path| path.is_available()) {
                let id = BenchmarkId::new(format!("{trace}/{}", path.name()), name);
                group.bench_function(id, |bencher| {
                    let mut matches = [FilterMatch::NONE; BURST];
                    bencher.iter(|| {
                        for burst in packets.chunks(BURST) {
                            classifier.classify_burst_with(path, burst, &mut matches);
                            black_box(&matches);
                        }
                    });
                });
            }
        }
        group.throughput(Throughput::Elements(filters.len() as u64));
        group.sample_size(10);
        group.bench_function(BenchmarkId::new("compile", name), |bencher| {
            bencher.iter(|| FilterClassifier::build(black_box(filters), &FilterLimits::default()));
        });
        group.finish();
    }
}

/// Packets of so many flows, each as likely as the others: a cache that has them all, and the lookup.
fn flows(criterion: &mut Criterion) {
    let mut sets: Vec<(String, Vec<Filter>)> =
        [1_000, 10_000, 100_000].map(|count| (format!("made_{count}"), made(count))).into();
    sets.extend(fixtures().into_iter().flatten());
    let mut group = criterion.benchmark_group("flows");
    for (name, filters) in &sets {
        let classifier = FilterClassifier::build(filters, &FilterLimits::default()).expect("within limits");
        for count in [1 << 10, 1 << 16, 1 << 20] {
            let mut random = Random::new(9);
            let flows: Vec<_> = (0..count).map(|_| packet(filters, &mut random, false)).collect();
            let mut matches = vec![FilterMatch::NONE; count];
            classifier.classify_burst(&flows, &mut matches);
            let cache = FlowCache::new(&flows, &matches);
            // So many that all flows are met before one of them is met again.
            let packets: Vec<_> =
                (0..count.max(PACKETS)).map(|_| flows[random.below(count as u64) as usize]).collect();
            group.throughput(Throughput::Elements(packets.len() as u64));
            group.bench_function(BenchmarkId::new(format!("hit/{count}"), name), |bencher| {
                let mut found = [0; BURST];
                bencher.iter(|| {
                    for burst in packets.chunks(BURST) {
                        cache.look_up(burst, &mut found);
                        black_box(&found);
                    }
                });
            });
            group.bench_function(BenchmarkId::new(format!("lookup/{count}"), name), |bencher| {
                let mut matches = [FilterMatch::NONE; BURST];
                bencher.iter(|| {
                    for burst in packets.chunks(BURST) {
                        classifier.classify_burst(burst, &mut matches);
                        black_box(&matches);
                    }
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, filters, flows);
criterion_main!(benches);
