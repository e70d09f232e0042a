//! How long a policy takes to compile, by number of rules and breadth of selectors; sizes go to standard error.
//!
//! `cargo bench -p septum-classifier --bench compile`

#[path = "support/shapes.rs"]
#[allow(dead_code, reason = "shared with other benches, which use the rest")]
mod shapes;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use septum_classifier::Classifier;
use septum_rules::policy::Policy;

fn compile(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("compile");
    group.sample_size(10);
    let mut bench = |name: &str, policy: &Policy| {
        let build = || Classifier::build(policy, shapes::today()).expect("within limits");
        let classifier = build();
        eprintln!("{name}: {}, {} bytes", classifier.stats(), classifier.memory_usage().total());
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter_batched(|| (), |()| build(), BatchSize::PerIteration);
        });
    };
    for rules in [10, 1_000, 10_000, 100_000] {
        bench(&format!("world/{rules}"), &shapes::two_workloads(rules));
    }
    for (workloads, rules, percent) in [(500, 1_000, 3), (500, 1_000, 25), (2_000, 2_000, 3)] {
        bench(&format!("mesh/{workloads}x{rules}@{percent}%"), &shapes::mesh(workloads, rules, percent));
    }
    group.finish();
}

criterion_group!(benches, compile);
criterion_main!(benches);
