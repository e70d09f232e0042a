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

#[path = "support/captures.rs"]
mod captures;
#[path = "support/fixtures.rs"]
mod fixtures;

#[path = "simulation/answers.rs"]
mod answers;
#[path = "simulation/cases.rs"]
mod cases;
#[path = "simulation/checker.rs"]
mod checker;
#[path = "simulation/copies.rs"]
mod copies;
#[path = "simulation/craft.rs"]
mod craft;
#[path = "simulation/fuzzed.rs"]
mod fuzzed;
#[path = "simulation/hostile.rs"]
mod hostile;
#[path = "simulation/lies.rs"]
mod lies;
#[path = "simulation/limits.rs"]
mod limits;
#[path = "simulation/model.rs"]
mod model;
#[path = "simulation/neighbourly.rs"]
mod neighbourly;
#[path = "simulation/page.rs"]
mod page;
#[path = "simulation/provoke.rs"]
mod provoke;
#[path = "simulation/random.rs"]
mod random;
#[path = "simulation/rig.rs"]
mod rig;
#[path = "simulation/run.rs"]
mod run;
#[path = "simulation/shots.rs"]
mod shots;
#[path = "simulation/story.rs"]
mod story;
#[path = "simulation/talk.rs"]
mod talk;
#[path = "simulation/tally.rs"]
mod tally;
#[path = "simulation/transform.rs"]
mod transform;
#[path = "simulation/view.rs"]
mod view;
#[path = "simulation/world.rs"]
mod world;

use std::panic::catch_unwind;

use septum::drop_reason::DropReason;
use tally::Tally;

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
    println!("{}", total.table(seeds));
}

/// Each reason, provoked by its own generator on a switch that is good for it.
#[test]
fn every_reason_has_a_generator_that_provokes_it() {
    let mut wrong = Vec::new();
    for reason in DropReason::ALL {
        match provoke::provocation_of(reason) {
            None => wrong.push(format!("{reason}: no row in tests/simulation/provoke.rs")),
            Some(provocation) => wrong.extend(provoke::provoke(provocation).err()),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The fuzz targets' corpus is as good as a test: what a fuzzer found once stays found.
#[test]
fn the_corpus_of_every_fuzz_target_passes() {
    let corpus = page::root().join("fuzz/corpus");
    if page::is_blessing() {
        for (target, name, bytes) in fuzzed::seeds() {
            std::fs::create_dir_all(corpus.join(target)).expect("a directory");
            std::fs::write(corpus.join(target).join(name), bytes).expect("room for a seed");
        }
    }
    for (name, target) in fuzzed::TARGETS {
        let inputs = std::fs::read_dir(corpus.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut count = 0;
        for input in inputs.flatten() {
            let bytes = std::fs::read(input.path()).expect("a readable file");
            if catch_unwind(|| target(&bytes)).is_err() {
                panic!("{name}: {}", input.path().display());
            }
            count += 1;
        }
        assert!(count != 0, "{name} has no corpus");
    }
}

/// Captures of others as input, where they lie beside the repository.
#[test]
fn foreign_captures_are_parsed_alike_or_refused() {
    let mut files = Vec::new();
    for folder in ["tcpdump", "openvswitch"] {
        let Some(folder) = fixtures::fixtures(folder) else { return };
        captures_in(&folder, &mut files);
    }
    let mut frames = 0;
    for file in &files {
        let bytes = std::fs::read(file).expect("a readable file");
        for frame in captures::ethernet_frames(&bytes) {
            let frame = [&[0; craft::VNET], frame.as_slice()].concat();
            if frame.len() >= LONGEST {
                continue;
            }
            fuzzed::parser(&frame);
            fuzzed::segmentation(&frame);
            fuzzed::pipeline(&fuzzed::script(&[(0, frame)]));
            frames += 1;
        }
    }
    fixtures::say(&format!("{frames} frames of {} captures", files.len()));
}

/// What a script of the pipeline target can say.
const LONGEST: usize = 2048;

fn captures_in(folder: &std::path::Path, files: &mut Vec<std::path::PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        match path.extension().and_then(|extension| extension.to_str()) {
            _ if path.is_dir() => captures_in(&path, files),
            Some("pcap" | "cap" | "pcapng") => files.push(path),
            _ => {}
        }
    }
}
