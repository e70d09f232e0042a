//! `test`: promises kept and broken, in the policy and beside it.

use std::fs;

use super::{PAIR, file, septum};

const BROKEN: &str = r#"
[[test]]
name  = "left reaches <right> & more"
from  = "left"
to    = "right"
allow = ["tcp/80", "tcp/81"]
"#;

#[test]
fn a_broken_test_names_the_flow_and_exits_1() {
    let (_folder, path) = file("policy.toml", &format!("{PAIR}{BROKEN}"));
    for verb in ["test", "check"] {
        let ran = septum([verb, path.to_str().unwrap()]);
        assert_eq!(ran.status, 1);
        let told = "left (10.1.0.1) -> right (10.1.0.2) tcp/81 should be allowed, and is refused by default";
        assert!(ran.stderr.contains(told), "{}", ran.stderr);
        assert!(!ran.stderr.contains("tcp/80 "), "{}", ran.stderr);
    }
}

#[test]
fn tests_may_stand_in_a_file_of_their_own() {
    let (_folder, policy) = file("policy.toml", PAIR);
    let kept = BROKEN.replace(", \"tcp/81\"", "");
    let (_kept, kept) = file("kept.toml", &kept);
    let (_broken, broken) = file("broken.toml", BROKEN);
    let (policy, kept, broken) = (policy.to_str().unwrap(), kept.to_str().unwrap(), broken.to_str().unwrap());
    let ran = septum(["test", "-v", policy, kept]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("ok     test `left reaches <right> & more`"), "{}", ran.stdout);
    assert!(ran.stdout.ends_with("1 passed, 0 failed\n"), "{}", ran.stdout);
    let ran = septum(["test", policy, kept, broken]);
    assert_eq!(ran.status, 1);
    assert!(ran.stderr.starts_with(&format!("{broken}:2:")), "{}", ran.stderr);
    assert!(ran.stdout.ends_with("1 passed, 1 failed\n"), "{}", ran.stdout);
}

#[test]
fn a_test_that_names_nobody_is_bad_input() {
    let (_folder, policy) = file("policy.toml", PAIR);
    let (_tests, tests) = file("tests.toml", &BROKEN.replace("\"right\"", "\"app=nobody\""));
    let ran = septum(["test", policy.to_str().unwrap(), tests.to_str().unwrap()]);
    assert_eq!(ran.status, 2);
    assert!(ran.stderr.contains("error[S0309]"), "{}", ran.stderr);
}

#[test]
fn junit_holds_every_test_and_what_broke_it() {
    let kept = BROKEN.replace(", \"tcp/81\"", "").replace("& more", "only");
    let (folder, policy) = file("policy.toml", &format!("{PAIR}{BROKEN}{kept}"));
    let report = folder.path().join("report.xml");
    let ran = septum(["test", policy.to_str().unwrap(), "--junit", report.to_str().unwrap()]);
    assert_eq!(ran.status, 1);
    let report = fs::read_to_string(report).unwrap();
    assert!(report.contains("tests=\"2\" failures=\"1\" errors=\"0\""), "{report}");
    assert!(report.contains("name=\"left reaches &lt;right&gt; &amp; more\""), "{report}");
    assert_eq!(report.matches("<failure message=").count(), 1);
    assert_eq!(report.matches("<testcase ").count(), 2);
}

const INVARIANTS: &str = r#"
[[invariant]]
name  = "nobody reaches right by TCP"
never = { to = "name=right", services = ["tcp"] }

[[invariant]]
name  = "right opens nothing"
never = { from = "name=right", to = "any" }

[[invariant]]
name = "left reaches right at most"
blast_radius = { of = "name=left", at_most = ["right"] }
"#;

#[test]
fn invariants_fail_with_a_witness_also_before_forwarding() {
    let (_folder, path) = file("policy.toml", &format!("{PAIR}{INVARIANTS}"));
    let path = path.to_str().unwrap();
    let witness = format!(
        "{path}:20:1: invariant `nobody reaches right by TCP` is broken: left (10.1.0.1) -> right (10.1.0.2) tcp/80 is admitted by rule `left-to-right` at {path}:14:1"
    );
    for verb in ["test", "check"] {
        let ran = septum([verb, path]);
        assert_eq!(ran.status, 1);
        assert_eq!(ran.stderr.trim_end(), witness);
    }
    assert!(septum(["test", path]).stdout.ends_with("2 passed, 1 failed\n"));
    let ran = septum(["run", path]);
    assert_eq!(ran.status, 2, "a policy that breaks its own promises never forwards");
}

#[test]
fn an_invariant_about_an_island_holds() {
    let text = format!("{PAIR}{INVARIANTS}").replace("\"tcp/80\"", "\"udp/80\"");
    let (_folder, path) = file("policy.toml", &text);
    let ran = septum(["test", "-v", path.to_str().unwrap()]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("ok     invariant `left reaches right at most`"), "{}", ran.stdout);
}
