//! `diff`: what a change of policy changes, its text, its document, its exit status.

use super::{PAIR, file, root, septum};

/// A policy beside another, and the paths of both.
fn two(old: &str, new: &str) -> (tempfile::TempDir, [String; 2]) {
    let (folder, path) = file("old.toml", old);
    std::fs::write(folder.path().join("new.toml"), new).expect("the folder is writable");
    let new = folder.path().join("new.toml");
    (folder, [path, new].map(|path| path.to_str().expect("UTF-8").to_owned()))
}

#[test]
fn equal_policies_differ_for_no_packet() {
    for example in super::examples() {
        let path = example.to_str().expect("UTF-8");
        let ran = septum(["diff", path, path, "--exit-code", "--rules"]);
        assert_eq!((ran.status, &*ran.stderr), (0, ""), "{path}");
        assert!(ran.stdout.contains("no difference for any packet"), "{}", ran.stdout);
    }
}

#[test]
fn a_changed_rule_is_told_with_its_rules_and_a_packet() {
    let (_folder, [old, new]) = two(PAIR, &PAIR.replace("tcp/80", "tcp/80-81"));
    let ran = septum(["diff", &old, &new]);
    assert_eq!((ran.status, &*ran.stderr), (0, ""));
    let expected = format!(
        "newly admitted: 1 region\n  left -> right  tcp/81\n    \
         before refused at the egress gate: both gates deny by default\n    \
         after  allowed: both gates allow by rule `left-to-right` at {new}:14:1\n    \
         packet left (10.1.0.1) -> right (10.1.0.2) tcp/81\n\n{old} -> {new}: 1 newly admitted (compared: "
    );
    assert!(ran.stdout.starts_with(&expected), "{}\n{expected}", ran.stdout);
    assert_eq!(septum(["diff", &old, &new, "--exit-code"]).status, 1);
    assert!(septum(["diff", &new, &old]).stdout.starts_with("newly refused: 1 region\n"));
}

#[test]
fn the_document_has_all_of_it() {
    let (_folder, [old, new]) = two(PAIR, &PAIR.replace("tcp/80", "tcp/81"));
    let document = septum(["diff", &old, &new, "-o", "json"]).json();
    assert_eq!(document["differs"], true);
    let regions = document["regions"].as_array().expect("an array");
    let told: Vec<[&str; 4]> = regions
        .iter()
        .map(|region| {
            let text = |value: &'static str| region[value].as_str().expect("text");
            [
                text("change"),
                region["services"][0].as_str().expect("text"),
                region["before"]["verdict"].as_str().expect("text"),
                region["after"]["verdict"].as_str().expect("text"),
            ]
        })
        .collect();
    assert_eq!(told, [["admitted", "tcp/81", "deny", "allow"], ["refused", "tcp/80", "allow", "deny"]]);
    let [admitted, refused] = &regions[..] else { panic!("{document}") };
    assert_eq!((&admitted["from"][0], &admitted["to"][0]), (&"left".into(), &"right".into()));
    assert_eq!(admitted["after"]["rule"], "left-to-right");
    assert_eq!(admitted["after"]["at"], format!("{new}:14:1"));
    assert_eq!(admitted["before"]["refused_by"], "egress");
    assert_eq!(refused["before"]["egress"]["rule"]["name"], "left-to-right");
    assert_eq!(refused["witness"]["from"]["address"], "10.1.0.1");
    assert_eq!(refused["witness"]["service"], "tcp/80");
}

#[test]
fn workloads_of_one_policy_are_named_and_their_regions_shown_where_asked_for() {
    let middle = "\n[workload.middle]\nsegment = \"lan\"\nip = [\"10.1.0.3\"]\nopen = [\"egress\"]\n";
    let (_folder, [old, new]) = two(PAIR, &format!("{PAIR}{middle}"));
    let ran = septum(["diff", &old, &new]);
    assert!(ran.stdout.starts_with("workloads added: middle\n  for packets"), "{}", ran.stdout);
    assert!(ran.stdout.contains("--workloads shows them"), "{}", ran.stdout);
    assert_eq!(septum(["diff", &old, &new, "--exit-code"]).status, 1);
    let shown = septum(["diff", &old, &new, "--workloads"]).stdout;
    assert!(shown.contains("-> middle  any"), "{shown}");
    let removed = septum(["diff", &new, &old]).stdout;
    assert!(removed.starts_with("workloads removed: middle\n"), "{removed}");
    let (_folder, [old, new]) = two(PAIR, &PAIR.replace("10.1.0.2", "10.1.0.9"));
    let moved = septum(["diff", &old, &new]).stdout;
    assert!(moved.starts_with("workload `right`: loses 10.1.0.2, gains 10.1.0.9\n"), "{moved}");
}

#[test]
fn other_rules_are_a_difference_where_asked_for() {
    let (_folder, [old, new]) = two(PAIR, &PAIR.replace("\"left-to-right\"", "\"renamed\""));
    assert_eq!(septum(["diff", &old, &new, "--exit-code"]).status, 0);
    let ran = septum(["diff", &old, &new, "--exit-code", "--rules"]);
    assert_eq!(ran.status, 1);
    assert!(ran.stdout.starts_with("the same, by other rules: 1 region\n"), "{}", ran.stdout);
    assert!(ran.stdout.contains("by rule `renamed`"), "{}", ran.stdout);
}

#[test]
fn bad_input_is_status_two() {
    let example = root().join("examples/two-namespaces.toml");
    let example = example.to_str().expect("UTF-8");
    let (_folder, [old, new]) = two(PAIR, "version = 2\n");
    assert_eq!(septum(["diff", &old, &new, "--exit-code"]).status, 2);
    assert_eq!(septum(["diff", example, "/nowhere/policy.toml"]).status, 2);
    let ran = septum(["diff", example, example, "--budget", "3"]);
    assert_eq!(ran.status, 2);
    assert!(ran.stderr.contains("of 3 steps") && ran.stderr.contains("fix: "), "{}", ran.stderr);
}
