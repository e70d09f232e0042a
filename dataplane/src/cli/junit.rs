//! JUnit XML: what continuous integration systems read of tests.
//!
//! The common subset: one `testsuite`, a `testcase` each with `classname`, `name`, `file` and `line`, a `failure` where
//! it is broken. Written by hand because it is a dozen lines, all text escaped.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::failure::Failure;
use super::promises::Outcome;

/// Writes the outcome of testing `policy`.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn write(file: &Path, policy: &Path, outcomes: &[Outcome]) -> Result<(), Failure> {
    fs::write(file, document(&policy.display().to_string(), outcomes)).map_err(|error| {
        let reason = format_args!("the report `{}` cannot be written", file.display());
        Failure::because(Failure::INPUT, reason, &error).fix("name a file in a folder that you may write")
    })
}

fn document(policy: &str, outcomes: &[Outcome]) -> String {
    let failures = outcomes.iter().filter(|outcome| !outcome.is_kept()).count();
    let counts = format!("tests=\"{}\" failures=\"{failures}\" errors=\"0\"", outcomes.len());
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites {counts}>\n<testsuite name=\"{}\" {counts} skipped=\"0\">\n",
        escaped(policy)
    );
    for outcome in outcomes {
        let _ = write!(
            text,
            "<testcase classname=\"{}\" name=\"{}\" file=\"{}\" line=\"{}\"",
            outcome.kind.name(),
            escaped(&outcome.name),
            escaped(&outcome.place.file),
            outcome.place.line
        );
        if outcome.is_kept() {
            text.push_str("/>\n");
            continue;
        }
        let lines = outcome.tell().join("\n");
        let _ = writeln!(
            text,
            "><failure message=\"{}\">{}</failure></testcase>",
            escaped(&outcome.breaches[0]),
            escaped(&lines)
        );
    }
    text.push_str("</testsuite>\n</testsuites>\n");
    text
}

/// Text as XML may hold it; control characters, which XML 1.0 cannot say at all, become U+FFFD.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            control if control.is_control() || matches!(control, '\u{fffe}' | '\u{ffff}') => {
                escaped.push('\u{fffd}');
            }
            other => escaped.push(other),
        }
    }
    escaped
}
