//! From a change until lookups see it, the proof of what it touches included, by number of rules.
//!
//! Each iteration is a change and the one that takes it back; so halve what is printed. The updater compiles again when its overlay
//! is full, as a switch would: that is not part of the time. Times are the thread's on the processor.
//!
//! `cargo bench -p septum-classifier --bench update`

#[path = "support/processor_time.rs"]
mod processor_time;
#[path = "support/shapes.rs"]
#[allow(dead_code, reason = "shared with other benches, which use the rest")]
mod shapes;

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use septum_classifier::update::{Change, UpdateError, Updater};
use septum_rules::identity::{RuleId, WorkloadId};
use septum_rules::load::load_text;
use septum_rules::policy::Policy;
use septum_rules::port_range::PortRange;
use septum_rules::rule::Rule;
use septum_rules::selector::{Alternative, LabelExpression, Operator, Requirement, Selector};

use self::processor_time::processor_time;

/// Applies pairs of changes, timed; compiles, untimed, where there is no more room.
fn timed(
    updater: &mut Updater,
    iterations: u64,
    mut next: impl FnMut(&Policy, u64) -> [Change; 2],
) -> Duration {
    let mut total = Duration::ZERO;
    for at in 0..iterations {
        for change in next(updater.policy(), at) {
            let again = change.clone();
            let begin = processor_time();
            let outcome = updater.apply(change);
            let taken = processor_time() - begin;
            match outcome {
                Ok(_) => total += taken,
                Err(UpdateError::NeedsCompile(why)) => {
                    assert!(why.contains("since the last compile"), "{why}");
                    updater.compile().expect("within limits");
                    let begin = processor_time();
                    updater.apply(again).expect("there is room now");
                    total += processor_time() - begin;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    total
}

fn one_port(rule: &Rule, port: u16) -> Rule {
    let mut rule = rule.clone();
    rule.services[0].destination = PortRange::single(port);
    rule
}

fn named(name: &str) -> Selector {
    let operator = Operator::In(vec![name.into()]);
    let requirements = vec![Requirement { key: "name".into(), operator }];
    Selector { alternatives: vec![Alternative::Labels(LabelExpression { requirements })] }
}

fn update(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("update");
    group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    let services = |workloads, rules| {
        let text = shapes::services_text(workloads, rules);
        load_text("bench.toml", &text).unwrap_or_else(|error| panic!("{error}")).policy
    };
    let shapes: Vec<(&str, Policy)> = vec![
        ("services/1k rules", services(1_000, 1_000)),
        ("services/10k rules", services(10_000, 10_000)),
        ("services/100k rules", services(20_000, 100_000)),
        ("world/100k rules", shapes::two_workloads(100_000)),
        ("mesh/1k rules at 3%", shapes::mesh(500, 1_000, 3)),
    ];
    for (name, policy) in shapes {
        let begin = Instant::now();
        let mut updater = Updater::new(policy, shapes::today()).expect("within limits");
        eprintln!("{name}: compiled and indexed in {:?}", begin.elapsed());
        let count = updater.policy().rules.len();
        group.bench_function(BenchmarkId::new("rule changed and back", name), |bencher| {
            bencher.iter_custom(|iterations| {
                timed(&mut updater, iterations, |policy, at| {
                    let id = RuleId((shapes::mix(at as usize) % count) as u32);
                    let rule = &policy.rules[id.index()];
                    let other = one_port(rule, 60_000 + (at % 1000) as u16);
                    [Change::ReplaceRule(id, other), Change::ReplaceRule(id, rule.clone())]
                })
            });
        });
        let mut added = 0;
        group.bench_function(BenchmarkId::new("rule added and removed", name), |bencher| {
            bencher.iter_custom(|iterations| {
                timed(&mut updater, iterations, |policy, at| {
                    added += 1;
                    let rule = &policy.rules[shapes::mix(at as usize) % count];
                    let rule = Rule { name: format!("added{added}").into(), ..one_port(rule, 61_000) };
                    let id = RuleId(policy.rules.len() as u32);
                    [Change::AddRule(rule), Change::RemoveRule(id)]
                })
            });
        });
        group.bench_function(BenchmarkId::new("rule for one workload added and removed", name), |bencher| {
            bencher.iter_custom(|iterations| {
                timed(&mut updater, iterations, |policy, at| {
                    added += 1;
                    let workload = &policy.workloads[shapes::mix(at as usize) % policy.workloads.len()];
                    let mut rule = one_port(&policy.rules[shapes::mix(at as usize) % count], 61_000);
                    (rule.name, rule.to) = (format!("added{added}").into(), named(&workload.name));
                    let id = RuleId(policy.rules.len() as u32);
                    [Change::AddRule(rule), Change::RemoveRule(id)]
                })
            });
        });
        group.bench_function(BenchmarkId::new("address changed and back", name), |bencher| {
            bencher.iter_custom(|iterations| {
                timed(&mut updater, iterations, |policy, at| {
                    let id = WorkloadId((shapes::mix(at as usize) % policy.workloads.len()) as u32);
                    let before = policy.workloads[id.index()].addresses.clone();
                    let mut after = before.clone();
                    after[0] = format!("10.250.{}.{}", at / 250 % 250, at % 250).parse().expect("an address");
                    [Change::SetAddresses(id, after), Change::SetAddresses(id, before)]
                })
            });
        });
        // A compile amid the rules for one workload has told it apart from those that are added like it.
        updater.compile().expect("within limits");
        group.bench_function(BenchmarkId::new("workload added, then out of reach", name), |bencher| {
            bencher.iter_custom(|iterations| {
                timed(&mut updater, iterations, |policy, at| {
                    added += 1;
                    let mut workload =
                        policy.workloads[shapes::mix(at as usize) % policy.workloads.len()].clone();
                    let name: std::sync::Arc<str> = format!("added{added}").into();
                    workload.labels.insert("name".into(), std::sync::Arc::clone(&name));
                    (workload.name, workload.mac) = (name, None);
                    workload.addresses = vec![
                        format!("10.251.{}.{}", added / 250 % 250, added % 250).parse().expect("an address"),
                    ];
                    let id = WorkloadId(policy.workloads.len() as u32);
                    [Change::AddWorkload(workload), Change::SetAddresses(id, Vec::new())]
                })
            });
        });
    }
    group.finish();
}

criterion_group!(benches, update);
criterion_main!(benches);
