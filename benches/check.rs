//! How long a policy takes to check, from its text: to load and lint, and with the compiling that `septum check` does
//! too. Sizes go to standard error.
//!
//! `cargo bench -p septum-classifier --bench check`. With `SEPTUM_WRITE=DIR` in the environment it writes the policies
//! into that folder instead, for `/usr/bin/time -v septum check`.

#[path = "support/shapes.rs"]
#[allow(dead_code, reason = "shared with other benches, which use the rest")]
mod shapes;

use std::path::Path;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use septum_classifier::Classifier;
use septum_rules::lint::lint;
use septum_rules::load::load_text;
use septum_rules::policy::Policy;

/// Rules and workloads.
const SIZES: [(usize, usize); 2] = [(1_000, 500), (100_000, 10_000)];

fn load(text: &str) -> Policy {
    load_text("bench.toml", text).expect("the policy is right").policy
}

fn check(criterion: &mut Criterion) {
    let folder = std::env::var_os("SEPTUM_WRITE");
    let mut group = criterion.benchmark_group("check");
    group.sample_size(10);
    for (rules, workloads) in SIZES {
        let text = shapes::services_text(workloads, rules);
        let name = format!("{rules}x{workloads}");
        if let Some(folder) = &folder {
            std::fs::write(Path::new(folder).join(format!("{name}.toml")), &text).expect("a writable folder");
            continue;
        }
        let linted = lint(&load(&text), shapes::today());
        let (warnings, complete) = (linted.warnings.items.len() + linted.warnings.omitted, linted.complete);
        eprintln!("{name}: {} bytes, {warnings} warnings, every lint: {complete}", text.len());
        group.bench_function(BenchmarkId::new("load", &name), |bencher| {
            bencher.iter(|| load(&text));
        });
        group.bench_function(BenchmarkId::new("load+lint", &name), |bencher| {
            bencher.iter(|| lint(&load(&text), shapes::today()));
        });
        group.bench_function(BenchmarkId::new("load+lint+compile", &name), |bencher| {
            bencher.iter(|| {
                let policy = load(&text);
                let linted = lint(&policy, shapes::today());
                (linted, Classifier::build(&policy, shapes::today()).expect("within limits"))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, check);
criterion_main!(benches);
