//! The page of all reasons, `docs/drop-reasons.md`: written from the reasons themselves and from how each is provoked.

use std::fmt::Write as _;
use std::path::Path;

use septum::drop_reason::{DropReason, UndeliveredReason};

use crate::provoke::{Needs, Provocation, UNDELIVERED, provocation_of};
use crate::rig::SMALL_TABLE;
use crate::world::atlas;

/// The workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace")
}

/// Whether files that are written by tests are to be written now.
pub(crate) fn is_blessing() -> bool {
    std::env::var_os("SEPTUM_BLESS").is_some()
}

/// The page as it should be.
fn page() -> String {
    let mut page = String::from(
        "# Why a frame is dropped\n\n\
         Every frame that comes in has one end: forwarded, answered, or dropped for one of these reasons, in the order in which the\n\
         switch asks. The event log and the counters use the same names; they are stable.\n\n\
         Each row has a test of its own: the generator of that reason (`tests/simulation/provoke.rs`) sends what the third column\n\
         says, on a switch of the simulation's policy, and the reason must be counted. The simulation sends the same frames among\n\
         millions of others. The last column names the files of `tests/pipeline` that are about the reason, too. This page is written by the tests (`SEPTUM_BLESS=1 cargo test -p septum --test simulation page`) and\n\
         compared with them in every run.\n\n\
         | reason | what causes it | what the test sends | also in |\n|---|---|---|---|\n",
    );
    for reason in DropReason::ALL {
        let how = provocation_of(reason).map_or_else(|| "**no test**".to_owned(), in_words);
        let also = naming(reason).join(", ");
        let _ =
            writeln!(page, "| `{reason}` | {} | {how} | {also} |", reason.describe().trim_end_matches('.'));
    }
    page += "\n## Handed over, and not transmitted\n\nThe frame was forwarded; its egress port did not take it.\n\n\
             | reason | what causes it | test |\n|---|---|---|\n";
    for reason in UndeliveredReason::ALL {
        let test = UNDELIVERED
            .iter()
            .find(|(other, ..)| *other == reason)
            .map_or("a device's errno only", |(_, file, _)| file);
        let _ = writeln!(page, "| `{reason}` | {} | {test} |", reason.describe().trim_end_matches('.'));
    }
    page
}

/// The files of `tests/pipeline` that name a reason.
fn naming(reason: DropReason) -> Vec<String> {
    let name = format!("DropReason::{reason:?}");
    let is_named = |text: &str| {
        text.match_indices(&name).any(|(at, _)| !text[at + name.len()..].starts_with(char::is_alphanumeric))
    };
    let files = std::fs::read_dir(root().join("tests/pipeline")).expect("the folder of tests").flatten();
    let mut naming: Vec<_> = files
        .filter(|file| std::fs::read_to_string(file.path()).is_ok_and(|text| is_named(&text)))
        .map(|file| format!("`{}`", file.file_name().to_string_lossy()))
        .collect();
    naming.sort();
    naming
}

fn in_words(provocation: &Provocation) -> String {
    let when = match provocation.needs {
        Needs::Rules(rules) => format!(" (policy: {})", atlas().rules[rules].name),
        Needs::SmallTable => format!(" (a table of {SMALL_TABLE})"),
        _ => String::new(),
    };
    format!("{}{when}", provocation.how)
}

#[test]
fn the_page_of_reasons_is_what_the_tests_say() {
    let path = root().join("docs/drop-reasons.md");
    let page = page();
    if is_blessing() {
        std::fs::write(&path, &page).expect("the page can be written");
    }
    assert!(!page.contains("**no"), "a reason without a test:\n{page}");
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == page, "docs/drop-reasons.md is not what the tests say; SEPTUM_BLESS=1 writes it anew");
    for (reason, file, needle) in UNDELIVERED {
        let text = std::fs::read_to_string(root().join(file)).unwrap_or_default();
        assert!(text.contains(needle), "{reason}: {file} has no {needle}");
    }
}
