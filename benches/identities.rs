//! Identity mode: every workload an identity of its own, one to ten rules of several services from each to others. How long
//! a flow takes from its two addresses to its verdict, in bursts on one core, over pairs that a rule names and over
//! all pairs; sizes, and the seconds of one compile, go to standard error.
//!
//! `cargo bench -p septum-classifier --bench identities`; the largest policy takes 3 GB while it is made.

#[path = "support/pairs.rs"]
mod pairs;
#[path = "support/shapes.rs"]
#[allow(dead_code, reason = "shared with other benches, which use the rest")]
mod shapes;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use septum_classifier::{Classifier, VerdictId};
use septum_rules::flow_key::FlowKey;

use self::pairs::Pairs;

/// More than any cache has lines for.
const FLOWS: usize = 1 << 20;
const BURST: usize = 64;
/// Workloads and rules.
const SIZES: [(usize, usize); 4] =
    [(1_000, 1_000), (10_000, 10_000), (100_000, 100_000), (100_000, 1_000_000)];

fn classify(classifier: &Classifier, flows: &[FlowKey]) {
    let mut verdicts = [VerdictId::default(); BURST];
    for burst in flows.chunks(BURST) {
        classifier.classify_burst(burst, &mut verdicts);
        black_box(&verdicts);
    }
}

fn identities(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("identities");
    group.sampling_mode(SamplingMode::Flat).sample_size(15).measurement_time(Duration::from_secs(2));
    group.throughput(Throughput::Elements(FLOWS as u64));
    for (workloads, rules) in SIZES {
        let made = Pairs::new(workloads, rules);
        let begun = Instant::now();
        let classifier = Classifier::build(&made.policy, shapes::today()).expect("within limits");
        let seconds = begun.elapsed().as_secs_f64();
        eprintln!(
            "{workloads} workloads, {rules} rules of {} services: {seconds:.2} s, {}",
            made.services(),
            classifier.stats()
        );
        eprintln!("{} bytes: {:?}", classifier.memory_usage().total(), classifier.memory_usage());
        for ipv4 in [true, false] {
            let family = if ipv4 { "ipv4" } else { "ipv6" };
            for (over, flows) in
                [("pairs", made.flows_of_pairs(FLOWS, ipv4)), ("all", made.flows_of_all(FLOWS, ipv4))]
            {
                let id = BenchmarkId::new(format!("{workloads}x{rules}"), format!("{over}/{family}"));
                group.bench_function(id, |bencher| bencher.iter(|| classify(&classifier, &flows)));
            }
        }
    }
    group.finish();
}

criterion_group!(benches, identities);
criterion_main!(benches);
