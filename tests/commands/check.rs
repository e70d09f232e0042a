//! `check` and `explain-code`.

use std::ffi::OsStr;

use super::{PAIR, examples, file, septum};

#[test]
fn examples_have_neither_errors_nor_warnings() {
    for example in examples() {
        let ran = septum([OsStr::new("check"), OsStr::new("--deny-warnings"), example.as_os_str()]);
        assert_eq!((ran.status, &*ran.stderr), (0, ""), "{}", example.display());
    }
}

#[test]
fn warnings_are_told_and_fail_only_when_denied() {
    let text = format!("{PAIR}[service]\nunused = [\"tcp/1\"]\n");
    let (_folder, path) = file("policy.toml", &text);
    let ran = septum([OsStr::new("check"), path.as_os_str()]);
    assert_eq!(ran.status, 0);
    let place = format!("{}:20:1: warning[S0919]", path.display());
    assert!(ran.stderr.starts_with(&place), "{}", ran.stderr);
    let ran = septum([OsStr::new("check"), path.as_os_str(), OsStr::new("--deny-warnings")]);
    assert_eq!(ran.status, 1);
}

#[test]
fn json_says_what_the_text_says() {
    let text = format!("{PAIR}[service]\nunused = [\"tcp/1\"]\n");
    let (_folder, path) = file("policy.toml", &text);
    let ran = septum(["check", "-o", "json", path.to_str().unwrap()]);
    assert_eq!((ran.status, &*ran.stderr), (0, ""));
    let document = ran.json();
    assert_eq!(document["file"], path.to_str().unwrap());
    assert_eq!(document["valid"], true);
    let diagnostic = &document["diagnostics"][0];
    assert_eq!(diagnostic["code"], "S0919");
    assert_eq!(diagnostic["severity"], "warning");
    assert_eq!(diagnostic["place"]["file"], path.to_str().unwrap());
    assert_eq!((&diagnostic["place"]["line"], &diagnostic["place"]["column"]), (&20.into(), &1.into()));
    assert_eq!(document["counts"]["warnings"], 1);
    assert_eq!(document["counts"]["workloads"], 2);
}

#[test]
fn json_tells_of_errors_too() {
    let text = PAIR.replace("[workload.right]", "[workload.right]\nsubnet = 1").replace("name=left", "name=");
    let text = format!("{text}[workload.left]\nsegment = \"lan\"\n");
    let (_folder, path) = file("policy.toml", &text);
    let ran = septum(["check", "-o", "json", path.to_str().unwrap()]);
    assert_eq!((ran.status, &*ran.stderr), (2, ""));
    let document = ran.json();
    assert_eq!(document["valid"], false);
    assert_eq!(document["diagnostics"][0]["code"], "S0103");
    assert_eq!(document["diagnostics"][0]["related"][0]["place"]["line"], 6);
    assert_eq!(document["counts"]["errors"], 1);
}

#[test]
fn what_is_not_there_is_bad_input() {
    let ran = septum(["check", "no-such-file.toml"]);
    assert_eq!(ran.status, 2);
    assert!(ran.stderr.contains("cannot read `no-such-file.toml`") && ran.stderr.contains("fix:"));
}

#[test]
fn codes_are_explained() {
    let ran = septum(["explain-code", "S0201"]);
    assert_eq!(ran.status, 0);
    assert!(ran.stdout.starts_with("S0201 (error): a key that the policy language does not know\n\n"));
    assert_eq!(septum(["explain-code", "S9999"]).status, 2);
    assert!(septum(["explain-code"]).stdout.lines().count() > 60);
}
