//! Policies in JSON: the same policy, under the same rules, with places in the text.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{examples, file, septum};

/// What a TOML policy says, in JSON. Dates become strings.
pub(super) fn from_toml(text: &str) -> Value {
    let mut document: Value = toml::from_str(text).expect("TOML");
    dates_to_strings(&mut document);
    document
}

fn dates_to_strings(value: &mut Value) {
    match value {
        Value::Object(entries) => {
            if let Some(date) = entries.get("$__toml_private_datetime").cloned() {
                *value = date;
                return;
            }
            entries.values_mut().for_each(dates_to_strings);
        }
        Value::Array(items) => items.iter_mut().for_each(dates_to_strings),
        _ => {}
    }
}

/// The answers of `reach`, places aside.
fn reach(path: &Path) -> Vec<Value> {
    let ran = septum(["reach", path.to_str().unwrap(), "-o", "json"]);
    assert_eq!((ran.status, &*ran.stderr), (0, ""));
    let mut rows = ran.json().as_array().expect("an array").clone();
    rows.iter_mut().for_each(|row| row["at"] = Value::Null);
    // Objects have no order, so workloads come in another.
    rows.sort_by_key(Value::to_string);
    rows
}

#[test]
fn examples_in_json_mean_the_same() {
    for example in examples() {
        let document = from_toml(&fs::read_to_string(&example).unwrap());
        // Whatever its name: a file that begins with `{` is JSON.
        for name in ["policy.json", "policy.conf"] {
            let (_folder, path) = file(name, &serde_json::to_string_pretty(&document).unwrap());
            let ran = septum(["check", "--deny-warnings", path.to_str().unwrap()]);
            assert_eq!((ran.status, &*ran.stderr), (0, ""), "{}", example.display());
            assert_eq!(reach(&path), reach(&example), "{}", example.display());
        }
    }
}

#[test]
fn mistakes_are_told_with_their_places() {
    let text = r#"{
  "version": 1,
  "segment": { "lan": { "subnett": "10.0.0.0/8" } },
  "workload": { "a": { "segment": "lam" } },
  "rule": [{ "name": "r", "from": "app=web or x", "allow": ["tcp/80"], "expires": "2026-02-30" }]
}
"#;
    let (_folder, path) = file("policy.json", text);
    let ran = septum(["check", "-o", "json", path.to_str().unwrap()]);
    assert_eq!(ran.status, 2);
    let document = ran.json();
    let found: Vec<String> = document["diagnostics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            format!("{}:{} {}", it["place"]["line"], it["place"]["column"], it["code"].as_str().unwrap())
        })
        .collect();
    assert_eq!(found, ["3:25 S0201", "4:35 S0301", "5:44 S0401", "5:83 S0211"]);
}

#[test]
fn what_is_no_json_is_told_with_its_place() {
    let deep = format!("{{\"version\": 1, \"x\": {}", "[".repeat(100_000));
    for (text, told) in [
        ("{", "1:2: error[S0102]: expected a key in quotes, found the end of the file"),
        ("{\"version\": 1,}", "1:14: error[S0102]: a comma before the end of a list"),
        ("{\"version\": 1} x", "1:16: error[S0102]: expected the end of the file, found `x`"),
        ("{\"version\": 01}", "1:13: error[S0102]: not a number as JSON has it"),
        ("{\"version\": 1 // one\n}", "1:15: error[S0102]: expected `,` or `}`, found `/`"),
        ("{\"version\": 1, \"version\": 1}", "1:16: error[S0103]: `version` is written twice"),
        ("{\"version\": null}", "1:13: error[S0202]: `null` says nothing here"),
        ("{\"default\": \"de", "1:13: error[S0102]: the string does not end"),
        ("{\"default\": \"\\ud800\"}", "1:14: error[S0102]: `\\u` names no character"),
        ("{\"default\": \"a\nb\"}", "1:15: error[S0102]: a control character in a string"),
        ("{\"version\": nul}", "1:13: error[S0102]: expected a value, found `n`"),
        ("[]", "1:1: error[S0202]: a policy is an object, not a list"),
        ("", "1:1: error[S0102]: expected a value, found the end of the file"),
        (&deep, "error[S0104]: values are nested more than 80 deep"),
    ] {
        let (_folder, path) = file("policy.json", text);
        let ran = septum(["check", path.to_str().unwrap()]);
        assert_eq!(ran.status, 2, "{text:.40}");
        assert!(ran.stderr.contains(told), "{text:.40}: {}", ran.stderr);
    }
}

#[test]
fn escapes_mean_what_json_says() {
    let document = json!({
        "version": 1,
        "segment": { "lan": {} },
        "workload": { "ñ": { "segment": "lan" }, "b": { "segment": "lan" } },
        "rule": [{ "name": "tab\u{1F980}", "from": "name=ñ", "to": "name=b", "allow": "tcp/80" }],
    });
    let text = document.to_string().replace('ñ', "\\u00f1").replace('\u{1F980}', "\\ud83e\\udd80");
    let (_folder, path) = file("policy.json", &text);
    let ran = septum(["reach", path.to_str().unwrap(), "--from", "ñ", "-o", "json"]);
    assert_eq!(ran.json()[0]["rule"], "tab\u{1F980}", "{}", ran.stderr);
}
