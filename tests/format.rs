//! `fmt` changes how a file looks: never what it means, never a comment, and never again what it formatted.

#[path = "support/edits.rs"]
mod edits;

use edits::{edited, edits};
use proptest::prelude::*;
use septum_rules::format::format;
use septum_rules::load::load_text;

const EVERYTHING: &str = include_str!("cases/diagnostics/right/everything.toml");

/// The policy without places, which do move.
fn meaning(text: &str) -> Option<String> {
    let policy = load_text("p.toml", text).ok()?.policy;
    let written = format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        policy.segments,
        policy.workloads,
        policy.networks,
        policy.services,
        policy.uplinks,
        policy.rules,
        policy.tests,
        policy.invariants,
        policy.settings
    );
    let mut parts = written.split("Span {");
    let first = parts.next().unwrap_or_default().to_owned();
    Some(parts.fold(first, |text, part| text + part.split_once('}').map_or(part, |(_, rest)| rest)))
}

fn comments(text: &str) -> Vec<String> {
    let mut comments: Vec<String> = text
        .lines()
        .filter_map(|line| line.split_once('#'))
        .map(|(_, comment)| comment.trim().to_owned())
        .collect();
    comments.sort();
    comments
}

#[test]
fn a_file_is_laid_out_one_way() {
    let text = "\n\n# about\nversion=1\ndefault = 'deny'   # closed\n\n\n\n\n[segment.dmz]   # outside\n  vlan=10\n    subnet=[\"10.0.0.0/24\",\"fd00::/64\"]# both\n\n\n  # who may leave\n  gateway =\"10.0.0.1\"\n[workload.a]\nsegment=\"dmz\"\nlabels={app=\"web\",env=\"prod\"}\nip = [\n  \"10.0.0.2\", # first\n  \"10.0.0.3\",\n]\nmac=\"02:00:00:00:00:01\"\n[[rule]]\nname=\"r\"\nallow=[\"any\"]\n# the end\n\n";
    let expected = "# about\nversion = 1\ndefault = 'deny'  # closed\n\n[segment.dmz]  # outside\nvlan   = 10\nsubnet = [\"10.0.0.0/24\", \"fd00::/64\"]  # both\n\n# who may leave\ngateway = \"10.0.0.1\"\n\n[workload.a]\nsegment = \"dmz\"\nlabels  = { app = \"web\", env = \"prod\" }\nip = [\n  \"10.0.0.2\", # first\n  \"10.0.0.3\",\n]\nmac = \"02:00:00:00:00:01\"\n\n[[rule]]\nname  = \"r\"\nallow = [\"any\"]\n# the end\n";
    assert_eq!(format(text).unwrap(), expected);
    assert_eq!(format(expected).unwrap(), expected);
    assert_eq!(format("").unwrap(), "");
    assert!(format("version =").is_err());
}

#[test]
fn everything_keeps_its_meaning() {
    let formatted = format(EVERYTHING).unwrap();
    assert_eq!(format(&formatted).unwrap(), formatted);
    assert_eq!(meaning(&formatted), meaning(EVERYTHING));
    assert_eq!(comments(&formatted), comments(EVERYTHING));
}

/// White space and comments, where TOML lets them stand.
fn noise() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "\n", "\n\n\n", "# a comment\n", "  # indented\n\n", "\n\t# tab\n", "#\n"])
        .prop_map(str::to_owned)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn noise_changes_nothing(
        noise in prop::collection::vec((noise(), prop::sample::select(vec!["", "  ", "\t"]), prop::sample::select(vec!["", " # why", "   #"])), 200),
    ) {
        let lines = EVERYTHING.lines().zip(noise.iter().cycle());
        let text: String = lines.map(|(line, (above, indent, behind))| format!("{above}{indent}{line}{behind}\n")).collect();
        let formatted = format(&text).unwrap();
        prop_assert_eq!(&format(&formatted).unwrap(), &formatted);
        prop_assert_eq!(meaning(&formatted), meaning(EVERYTHING));
        prop_assert_eq!(comments(&formatted), comments(&text));
    }

    #[test]
    fn any_toml_is_formatted_once(
        edits in edits("[\\[\\]{}=,.\"'\n #a-z0-9]{0,6}", 0..20, 0..5),
    ) {
        let text = String::from_utf8(edited(EVERYTHING, 0, &edits)).unwrap();
        if let Ok(formatted) = format(&text) {
            let again = format(&formatted);
            prop_assert_eq!(again.as_ref(), Ok(&formatted), "{}", text);
            prop_assert_eq!(meaning(&formatted), meaning(&text));
        }
    }
}
