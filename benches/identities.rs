//! Identity mode: every workload an identity of its own, one to ten rules of two to nine services from each to others. How long
//! a flow takes to its verdict, in bursts on one core: from its two addresses (`ipv4`, `ipv6`) and from its two identities
//! (`known`, as where a switch has them from port and directory). Flows go over pairs that a rule names, uniformly
//! (`pairs`) and by Zipf (`zipf`), and over all pairs, which hardly any rule names (`all`). Sizes, and the seconds of one
//! compile, go to standard error.
//!
//! Times are the thread's on the processor, so that other work beside it counts less.
//!
//! `cargo bench -p septum-classifier --bench identities`; the largest policy takes 3 GB while it is made.

#[path = "support/pairs.rs"]
mod pairs;
#[path = "support/processor_time.rs"]
mod processor_time;
#[path = "support/shapes.rs"]
#[allow(dead_code, reason = "shared with other benches, which use the rest")]
mod shapes;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use septum_classifier::{Classifier, VerdictId};
use septum_rules::flow_key::FlowKey;
use septum_rules::identity::IdentityId;
use septum_rules::proto::Layer4;

use self::pairs::{Over, Pairs};
use self::processor_time::processor_time;

/// More than any cache has lines for.
const FLOWS: usize = 1 << 20;
const BURST: usize = 64;
/// Workloads and rules.
const SIZES: [(usize, usize); 4] =
    [(1_000, 1_000), (10_000, 10_000), (100_000, 100_000), (100_000, 1_000_000)];

/// The processor's time for so many times a pass over all flows, burst by burst.
fn timed<F>(iterations: u64, flows: &[F], decide: impl Fn(&[F], &mut [VerdictId])) -> Duration {
    let mut verdicts = [VerdictId::default(); BURST];
    let begin = processor_time();
    for _ in 0..iterations {
        for burst in flows.chunks(BURST) {
            decide(burst, &mut verdicts);
            black_box(&verdicts);
        }
    }
    processor_time() - begin
}

/// The same flows between identities.
fn identified(classifier: &Classifier, flows: &[FlowKey]) -> Vec<(IdentityId, IdentityId, Layer4)> {
    let known = |flow: &FlowKey| {
        (classifier.identify(flow.source), classifier.identify(flow.destination), flow.layer4)
    };
    flows.iter().map(known).collect()
}

fn identities(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("identities");
    group.sampling_mode(SamplingMode::Flat).sample_size(15).measurement_time(Duration::from_secs(1));
    group.warm_up_time(Duration::from_millis(300)).throughput(Throughput::Elements(FLOWS as u64));
    for (workloads, rules) in SIZES {
        let made = Pairs::new(workloads, rules);
        let (begun, processor) = (Instant::now(), processor_time());
        let classifier = Classifier::build(&made.policy, shapes::today()).expect("within limits");
        eprintln!(
            "{workloads} workloads, {rules} rules of {} services: {:.2} s ({:.2} s of this thread), {}",
            made.services(),
            begun.elapsed().as_secs_f64(),
            (processor_time() - processor).as_secs_f64(),
            classifier.stats()
        );
        eprintln!("{} bytes: {:?}", classifier.memory_usage().total(), classifier.memory_usage());
        for over in Over::ALL {
            let name = |from: &str| {
                BenchmarkId::new(format!("{workloads}x{rules}"), format!("{}/{from}", over.name()))
            };
            for (family, ipv4) in [("ipv4", true), ("ipv6", false)] {
                let flows = made.flows(over, FLOWS, ipv4);
                group.bench_function(name(family), |bencher| {
                    bencher.iter_custom(|iterations| {
                        timed(iterations, &flows, |burst, verdicts| {
                            classifier.classify_burst(burst, verdicts)
                        })
                    });
                });
            }
            let flows = identified(&classifier, &made.flows(over, FLOWS, true));
            group.bench_function(name("known"), |bencher| {
                bencher.iter_custom(|iterations| {
                    timed(iterations, &flows, |burst, verdicts| classifier.lookup_burst(burst, verdicts))
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, identities);
criterion_main!(benches);
