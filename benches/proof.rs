//! How long the proof of a compiled object takes, by size and breadth of selectors, on one thread and on two; what it covered goes to standard error, and
//! with it the seconds of one proof.
//!
//! `cargo bench -p septum-classifier --bench proof`; the largest policy takes 3 GB while it is made, and is proved once.

#[path = "support/pairs.rs"]
#[allow(dead_code, reason = "shared with other benches, which use the rest")]
mod pairs;
#[path = "support/processor_time.rs"]
mod processor_time;
#[path = "support/shapes.rs"]
#[allow(dead_code, reason = "shared with other benches, which use the rest")]
mod shapes;

use std::num::NonZeroUsize;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use septum_classifier::{Budget, Classifier};
use septum_rules::load::load_text;
use septum_rules::policy::Policy;

use self::pairs::Pairs;
use self::processor_time::processor_time;

fn prove(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("prove");
    group.sample_size(10);
    let build = |policy: &Policy| Classifier::build(policy, shapes::today()).expect("within limits");
    let told = |name: &str, classifier: &Classifier, policy: &Policy| {
        let begin = processor_time();
        let proof = classifier.prove(policy, Budget::default());
        eprintln!("{name}: {:.2} s, {proof:?}", (processor_time() - begin).as_secs_f64());
    };
    let mut bench = |name: &str, policy: &Policy| {
        let classifier = build(policy);
        told(name, &classifier, policy);
        for threads in [1, 2] {
            let threads = NonZeroUsize::new(threads).expect("some");
            let prove = || classifier.prove_on(threads, policy, Budget::default());
            group.bench_function(BenchmarkId::new(name, threads), |bencher| bencher.iter(prove));
        }
    };
    // 500 workloads and 1,000 rules, selectors of at most 3 % each, and of 25 %.
    bench("mesh/500x1000@3%", &shapes::mesh(500, 1_000, 3));
    bench("mesh/500x1000@25%", &shapes::mesh(500, 1_000, 25));
    for rules in [1_000, 10_000] {
        bench(&format!("world/{rules}"), &shapes::two_workloads(rules));
    }
    let services = load_text("bench.toml", &shapes::services_text(2_000, 10_000)).expect("a policy");
    bench("services/2000x10000", &services.policy);
    // Every workload its own identity, every rule from one to another.
    bench("identities/10000x100000", &Pairs::new(10_000, 100_000).policy);
    group.finish();
    let largest = Pairs::new(100_000, 1_000_000).policy;
    told("identities/100000x1000000", &build(&largest), &largest);
}

criterion_group!(benches, prove);
criterion_main!(benches);
