//! The simulation's parts, for the fuzz targets: the same checker, the same switch in memory.

#![allow(dead_code, unreachable_pub)] // each target uses its own part of the simulation

#[path = "../../tests/simulation/answers.rs"]
mod answers;
#[path = "../../tests/simulation/checker.rs"]
mod checker;
#[path = "../../tests/simulation/copies.rs"]
mod copies;
#[path = "../../tests/simulation/craft.rs"]
mod craft;
#[path = "../../tests/simulation/fuzzed.rs"]
mod fuzzed;
#[path = "../../tests/simulation/hostile.rs"]
mod hostile;
#[path = "../../tests/simulation/lies.rs"]
mod lies;
#[path = "../../tests/simulation/limits.rs"]
mod limits;
#[path = "../../tests/simulation/model.rs"]
mod model;
#[path = "../../tests/simulation/neighbourly.rs"]
mod neighbourly;
#[path = "../../tests/simulation/provoke.rs"]
mod provoke;
#[path = "../../tests/simulation/random.rs"]
mod random;
#[path = "../../tests/simulation/rig.rs"]
mod rig;
#[path = "../../tests/simulation/tally.rs"]
mod tally;
#[path = "../../tests/simulation/transform.rs"]
mod transform;
#[path = "../../tests/simulation/view.rs"]
mod view;
#[path = "../../tests/simulation/world.rs"]
mod world;

/// Runs one target on one input.
///
/// # Panics
/// When there is no such target, and when the switch does what it must not.
pub fn run(target: &str, bytes: &[u8]) {
    let (_, run) = fuzzed::TARGETS.iter().find(|(name, _)| *name == target).expect("a target of that name");
    run(bytes);
}
