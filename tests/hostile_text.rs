//! Whatever bytes come as a policy, reading them ends, in a policy or in diagnostics that print; never in a panic.

#[path = "support/edits.rs"]
mod edits;

use edits::{edited, edits};
use proptest::prelude::*;
use septum_rules::load::{Input, NoIncludes, load, load_tests, load_text};

/// One of everything, so that mutations reach every decoder.
const EVERYTHING: &str = include_str!("cases/diagnostics/right/everything.toml");

fn read(bytes: Vec<u8>) {
    match load(Input { name: "p.toml".to_owned(), bytes: bytes.clone() }, &mut NoIncludes) {
        Ok(loaded) => {
            assert!(loaded.policy.workloads.iter().all(|workload| {
                workload.segment.index() < loaded.policy.segments.len()
                    && workload.labels.contains_key("segment")
            }));
            assert!(loaded.policy.rules.iter().all(|rule| {
                !rule.services.is_empty()
                    && !rule.from.alternatives.is_empty()
                    && !rule.to.alternatives.is_empty()
            }));
            let _ = loaded.warnings.to_string();
        }
        Err(diagnostics) => {
            assert!(!diagnostics.is_empty());
            let printed = diagnostics.to_string();
            assert!(
                !printed.chars().any(|character| character.is_control() && character != '\n'),
                "{printed:?}"
            );
        }
    }
    let base = load_text("base.toml", EVERYTHING).map_err(|error| error.to_string()).unwrap().policy;
    if let Err(diagnostics) = load_tests(Input { name: "t.toml".to_owned(), bytes }, &base) {
        let _ = diagnostics.to_string();
    }
}

/// The same policy in JSON.
fn everything_in_json() -> String {
    json(&toml::Value::Table(EVERYTHING.parse().expect("TOML")))
}

fn json(value: &toml::Value) -> String {
    match value {
        toml::Value::Table(table) => {
            let entries: Vec<String> =
                table.iter().map(|(key, value)| format!("{key:?}: {}", json(value))).collect();
            format!("{{{}}}", entries.join(",\n"))
        }
        toml::Value::Array(items) => {
            format!("[{}]", items.iter().map(json).collect::<Vec<_>>().join(", "))
        }
        toml::Value::Datetime(date) => format!("\"{date}\""),
        // Nothing in the policy needs an escape that Rust and JSON write differently.
        toml::Value::String(text) => format!("{text:?}"),
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::Float(number) => number.to_string(),
        toml::Value::Boolean(boolean) => boolean.to_string(),
    }
}

#[test]
fn everything_may_be_said_in_json() {
    let [toml, json] = [EVERYTHING.to_owned(), everything_in_json()]
        .map(|text| load_text("policy", &text).unwrap_or_else(|error| panic!("{error}")).policy);
    assert_eq!(toml.rules.len(), json.rules.len());
    assert_eq!(toml.workloads.len(), json.workloads.len());
    assert_eq!(toml.tests.len() + toml.invariants.len(), json.tests.len() + json.invariants.len());
    assert_eq!(toml.settings, json.settings);
    for (one, other) in toml.rules.iter().zip(&json.rules) {
        assert_eq!((&one.name, one.expires, &one.services), (&other.name, other.expires, &other.services));
    }
}

/// What is put into the text: pieces of the grammar, at their limits and past them.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::sample::select(vec![
            "",
            "=",
            "[",
            "]",
            "[[",
            "]]",
            "{",
            "}",
            ",",
            "\"",
            "'",
            "\"\"\"",
            "\n",
            "\r",
            "\t",
            "#",
            ".",
            "\\",
            "\\u0000",
            "!",
            "(",
            ")",
            " in ",
            " notin (",
            "any",
            "world",
            "cidr:",
            "cidr:corp",
            "tcp/",
            "/",
            "-",
            "from ",
            "proto-",
            "0",
            "-1",
            "99999999999999999999",
            "1e400",
            "nan",
            "2027-02-31",
            "07:00:00",
            "true",
            "é",
            "\u{202e}",
            "\u{0}",
            "a.b.c",
            "rule",
            "[[rule]]\n",
            "[[test]]\n",
            "[workload.x]\n",
            "name = \"x\"\n",
            "10.0.0.0/8",
            "::",
            "fe80::1",
            "02:00:00:00:00:01",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..8),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        read(bytes);
    }

    #[test]
    fn random_pieces(pieces in prop::collection::vec(piece(), 0..60)) {
        read([b"version = 1\n".to_vec(), pieces.concat()].concat());
    }

    #[test]
    fn a_right_policy_with_wrong_pieces(
        edits in edits(piece(), 0..12, 1..6),
    ) {
        read(edited(EVERYTHING, 0, &edits));
    }

    #[test]
    fn random_pieces_of_json(pieces in prop::collection::vec(piece(), 0..60)) {
        read([b"{\"version\": 1".to_vec(), pieces.concat()].concat());
    }

    #[test]
    fn a_right_policy_in_json_with_wrong_pieces(
        edits in edits(piece(), 0..12, 1..6),
    ) {
        // The first byte is what makes it JSON.
        read(edited(&everything_in_json(), 1, &edits));
    }

    #[test]
    fn lines_in_any_order(order in Just(EVERYTHING.lines().collect::<Vec<_>>()).prop_shuffle()) {
        read(order.join("\n").into_bytes());
    }
}
