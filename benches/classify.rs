//! How long a packet takes to find its verdict, by number of rules: single lookups, bursts of 64, addresses to
//! identities. Flows are scattered over 8,192 different ones, uniformly.
//!
//! `cargo bench -p septum-classifier --bench classify`

#[path = "support/shapes.rs"]
#[allow(dead_code, reason = "shared with other benches, which use the rest")]
mod shapes;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use septum_classifier::{Classifier, VerdictId};
use septum_rules::identity::IdentityId;
use septum_rules::policy::Policy;
use septum_rules::proto::Layer4;

const FLOWS: usize = 8192;
const BURST: usize = 64;

type Flow = (IdentityId, IdentityId, Layer4);

/// Flows between any two identities.
fn flows(classifier: &Classifier) -> Vec<Flow> {
    let identity = |at| IdentityId((shapes::mix(at) % classifier.identity_count()) as u32);
    (0..FLOWS).map(|at| (identity(at), identity(at + FLOWS), shapes::packet(at))).collect()
}

fn policies() -> Vec<(String, Policy)> {
    let two = [10, 1_000, 10_000].map(|rules| (format!("world/{rules}"), shapes::two_workloads(rules)));
    let mesh = [(500, 1_000, 3), (500, 1_000, 25)].map(|(workloads, rules, percent)| {
        (format!("mesh/{workloads}x{rules}@{percent}%"), shapes::mesh(workloads, rules, percent))
    });
    two.into_iter().chain(mesh).collect()
}

fn classify(criterion: &mut Criterion) {
    for (name, policy) in policies() {
        let classifier = Classifier::build(&policy, shapes::today()).expect("within limits");
        let flows = flows(&classifier);
        let mut single = criterion.benchmark_group("lookup");
        single.throughput(Throughput::Elements(FLOWS as u64));
        single.bench_function(BenchmarkId::new("single", &name), |bencher| {
            bencher.iter(|| {
                for (source, destination, layer4) in &flows {
                    black_box(classifier.lookup(*source, *destination, *layer4));
                }
            });
        });
        single.bench_function(BenchmarkId::new("burst", &name), |bencher| {
            let mut verdicts = [VerdictId::default(); BURST];
            bencher.iter(|| {
                for burst in flows.chunks(BURST) {
                    classifier.lookup_burst(burst, &mut verdicts);
                    black_box(&verdicts);
                }
            });
        });
        single.finish();

        let addresses = shapes::addresses(&policy, FLOWS);
        let mut identify = criterion.benchmark_group("identify");
        identify.throughput(Throughput::Elements(FLOWS as u64));
        identify.bench_function(&name, |bencher| {
            bencher.iter(|| {
                for address in &addresses {
                    black_box(classifier.identify(*address));
                }
            });
        });
        identify.finish();
    }
}

criterion_group!(benches, classify);
criterion_main!(benches);
