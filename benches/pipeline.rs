//! Bursts of 64 frames through the pipeline and out of it, without a kernel: what the switch itself costs a frame.
//!
//! `cargo bench -p septum --bench pipeline`. Rules beside those that decide, and flows in rotation, vary.
//! `cargo bench -p septum --bench instructions` counts what does not vary with the machine's load.

#[path = "support/switch_in_memory.rs"]
mod switch_in_memory;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use septum::burst::BURST;
use switch_in_memory::{Kind, SwitchInMemory, Traffic};

fn pipeline(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pipeline");
    group.throughput(Throughput::Elements(BURST as u64));
    for rules in [1, 100, 10_000] {
        let kinds = [1, 1_000, 100_000].map(|flows| ("forward", Kind::Forward, flows, 1));
        let others = [
            ("pairs", Kind::Forward, 1_000, 1_000),
            ("refuse", Kind::Refuse, 1_000, 1),
            ("open", Kind::Open, Traffic::OPENING, 1),
        ];
        for (name, kind, flows, pairs) in kinds.into_iter().chain(others) {
            let mut switch = SwitchInMemory::new(Traffic { rules, flows, pairs, kind });
            let id = BenchmarkId::new(format!("{name}/{rules} rules"), format!("{flows} flows"));
            group.bench_function(id, |bencher| bencher.iter(|| switch.run()));
            switch.assert_kind();
        }
    }
    group.finish();
}

criterion_group!(benches, pipeline);
criterion_main!(benches);
