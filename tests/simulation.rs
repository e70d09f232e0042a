//! The simulation: seeded hosts, honest and hostile, on a switch in memory; a checker with its own idea of everything.
//!
//! After every burst it asks: does the balance hold, was every frame that arrived somewhere admitted by the reference
//! evaluator or part of a connection that was, are the bytes those that were sent, and has no admitted connection been broken
//! without a change. A failure prints its seed and step, and what happened before between the same two ends.
//!
//! ```text
//! cargo test --release -p septum --test simulation -- --nocapture     SEPTUM_SEEDS=200 SEPTUM_FRAMES=10000000
//! SEPTUM_SEED=17 cargo test -p septum --test simulation simulation -- --nocapture     one seed again
//! ```

#[path = "simulation/checker.rs"]
mod checker;
#[path = "simulation/craft.rs"]
mod craft;
#[path = "simulation/hostile.rs"]
mod hostile;
#[path = "simulation/limits.rs"]
mod limits;
#[path = "simulation/model.rs"]
mod model;
#[path = "simulation/provoke.rs"]
mod provoke;
#[path = "simulation/random.rs"]
mod random;
#[path = "simulation/rig.rs"]
mod rig;
#[path = "simulation/run.rs"]
mod run;
#[path = "simulation/talk.rs"]
mod talk;
#[path = "simulation/transform.rs"]
mod transform;
#[path = "simulation/view.rs"]
mod view;
#[path = "simulation/world.rs"]
mod world;

use std::panic::catch_unwind;

use checker::Tally;
use septum::drop_reason::DropReason;

/// A number from the environment.
fn setting(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.replace('_', "").parse().unwrap_or_else(|_| panic!("{name}={text}: not a number")),
        Err(_) => otherwise,
    }
}

#[test]
fn simulation() {
    let one = std::env::var("SEPTUM_SEED").is_ok();
    let seeds = if one { 1 } else { setting("SEPTUM_SEEDS", 12) };
    let frames = setting("SEPTUM_FRAMES", 400_000) / if one { 200 } else { seeds }.max(1);
    let first = setting("SEPTUM_SEED", 1);
    let mut total = Tally::default();
    for seed in first..first + seeds {
        match catch_unwind(|| run::Run::new(seed).frames(frames)) {
            Ok(Ok(tally)) => total.add(&tally),
            Err(_) => {
                let (_, step, sent) = run::PROGRESS.get();
                panic!(
                    "found after {} frames, seed {seed}\nseed {seed} step {step}: a panic (see above)",
                    total.sent + sent
                )
            }
            Ok(Err(failure)) => {
                let found = total.sent + failure.frames;
                panic!("found after {found} frames, seed {}\n{}", failure.seed, failure.report)
            }
        }
    }
    println!("{}", table(&total, seeds));
}

/// Reasons of uplinks, which this world does not have: `tests/pipeline/uplinks.rs` provokes them.
const OF_UPLINKS: [DropReason; 5] = [
    DropReason::UplinkSpoof,
    DropReason::UplinkSource,
    DropReason::UplinkGroup,
    DropReason::UplinkTransit,
    DropReason::NextHopUnresolved,
];

/// Reasons of windows, shares and fragments whose generators need a policy of their own: `tests/pipeline/tracking.rs` provokes
/// them.
const OF_CONNECTIONS: [DropReason; 9] = [
    DropReason::FragmentDuplicate,
    DropReason::FragmentBeyondEnd,
    DropReason::FragmentQuota,
    DropReason::FragmentTableFull,
    DropReason::TcpOutOfWindow,
    DropReason::SctpNoConnection,
    DropReason::IcmpOutOfWindow,
    DropReason::ConnectionQuota,
    DropReason::HalfOpenQuota,
];

/// Each reason, provoked by its own generator on a switch that is good for it.
#[test]
fn every_reason_has_a_generator_that_provokes_it() {
    let mut wrong = Vec::new();
    let is_elsewhere = |reason| OF_UPLINKS.contains(&reason) || OF_CONNECTIONS.contains(&reason);
    for reason in DropReason::ALL.into_iter().filter(|reason| !is_elsewhere(*reason)) {
        match provoke::provocation_of(reason) {
            None => wrong.push(format!("{reason}: no row in tests/simulation/provoke.rs")),
            Some(provocation) => wrong.extend(run::provoke(provocation).err()),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn table(total: &Tally, seeds: u64) -> String {
    let share = |part: u64| format!("{:.1} %", part as f64 * 100.0 / total.sent as f64);
    let mut text = format!(
        "{} frames, {seeds} seeds: {} reached the gates, {} were forwarded; {} answers; {} frames arrived\n",
        total.sent,
        share(total.judged()),
        share(total.forwarded),
        total.replied,
        total.arrived
    );
    for reason in DropReason::ALL {
        text += &format!("{:>28} {:>10}\n", reason.name(), total.dropped[reason.index()]);
    }
    text
}
