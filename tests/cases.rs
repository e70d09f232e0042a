//! Every file of `tests/cases/verdicts` is a policy with `[[test]]`s in its own words. The reference evaluator and
//! the compiled object must both keep them; `pipeline.rs` sends them as frames.

use std::path::Path;

use septum_classifier::Classifier;
use septum_rules::date::Date;
use septum_rules::endpoint::Party;
use septum_rules::load::load_text;
use septum_rules::oracle::Oracle;
use septum_rules::policy::Policy;
use septum_rules::proto::Layer4;
use septum_rules::verdict::Decision;
use septum_rules::verify::verify;

fn today() -> Date {
    "2026-06-15".parse().expect("a date")
}

/// Asks an engine every question of every case; gives their number.
fn keep_promises<E: Fn(Party, Party, Layer4) -> Decision>(engine: impl Fn(&'static Policy) -> E) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/verdicts");
    let mut asked = 0;
    for entry in std::fs::read_dir(&folder).expect("the cases are there") {
        let path = entry.expect("a folder that can be read").path();
        let text = std::fs::read_to_string(&path).expect("a case is text");
        let loaded = load_text(&path.display().to_string(), &text).unwrap_or_else(|error| panic!("{error}"));
        assert!(!loaded.policy.tests.is_empty(), "{} promises nothing", path.display());
        // Engines borrow their policy; a dozen of them may live as long as the test.
        let policy: &'static Policy = Box::leak(Box::new(loaded.policy));
        let engine = engine(policy);
        let decide = |from, to, layer4| {
            asked += 1;
            engine(from, to, layer4)
        };
        verify(policy, &policy.tests, decide, |broken| {
            panic!("{}: `{}`: {broken:?}", path.display(), policy.tests[broken.test].name)
        });
    }
    asked
}

#[test]
fn the_reference_evaluator_keeps_every_promise() {
    let asked = keep_promises(|policy| {
        let oracle = Oracle::new(policy, today());
        move |from, to, layer4| oracle.decide(from, to, layer4)
    });
    assert!(asked > 300, "only {asked} questions were asked");
}

#[test]
fn the_compiled_object_keeps_every_promise() {
    keep_promises(|policy| {
        let classifier = Classifier::build(policy, today()).expect("cases are within limits");
        move |from, to, layer4| classifier.decide(from, to, layer4)
    });
}
