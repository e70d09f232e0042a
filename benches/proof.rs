//! How long the proof of a compiled object takes, by size and breadth of selectors; what it covered goes to standard error.
//!
//! `cargo bench -p septum-classifier --bench proof`

#[path = "support/shapes.rs"]
#[allow(dead_code, reason = "shared with other benches, which use the rest")]
mod shapes;

use criterion::{Criterion, criterion_group, criterion_main};
use septum_classifier::{Budget, Classifier};
use septum_rules::load::load_text;
use septum_rules::policy::Policy;

fn prove(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("prove");
    group.sample_size(10);
    let mut bench = |name: &str, policy: &Policy| {
        let classifier = Classifier::build(policy, shapes::today()).expect("within limits");
        let prove = || classifier.prove(policy, Budget::default());
        eprintln!("{name}: {:?}", prove());
        group.bench_function(name, |bencher| bencher.iter(prove));
    };
    // 500 workloads and 1,000 rules, selectors of at most 3 % each, and of 25 %.
    bench("mesh/500x1000@3%", &shapes::mesh(500, 1_000, 3));
    bench("mesh/500x1000@25%", &shapes::mesh(500, 1_000, 25));
    for rules in [1_000, 10_000] {
        bench(&format!("world/{rules}"), &shapes::two_workloads(rules));
    }
    let services = load_text("bench.toml", &shapes::services_text(2_000, 10_000)).expect("a policy");
    bench("services/2000x10000", &services.policy);
    group.finish();
}

criterion_group!(benches, prove);
criterion_main!(benches);
