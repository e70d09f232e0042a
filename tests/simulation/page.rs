//! The page of all reasons, `docs/drop-reasons.md`: written from the reasons themselves and from how each is provoked.

use std::fmt::Write as _;
use std::path::Path;

use septum::drop_reason::{DropReason, UndeliveredReason};

use crate::provoke::{Needs, PROVOCATIONS, Provocation, UNDELIVERED};
use crate::world::atlas;

/// The workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace")
}

/// Whether files that are written by tests are to be written now.
pub(crate) fn is_blessing() -> bool {
    std::env::var_os("SEPTUM_BLESS").is_some()
}

/// Reasons that need more than the simulation's policy has, what provokes them, and the test that does.
const ELSEWHERE: [(DropReason, &str, &str); 14] = [
    (DropReason::UplinkSpoof, "an address of this side, claimed from behind an uplink", UPLINKS),
    (DropReason::UplinkSource, "an address that lives behind no network of the uplink", UPLINKS),
    (DropReason::UplinkGroup, "a broadcast from behind an uplink", UPLINKS),
    (DropReason::UplinkTransit, "from behind an uplink to behind an uplink", UPLINKS),
    (DropReason::NextHopUnresolved, "the first packet to a next hop that was never asked for", UPLINKS),
    (DropReason::FragmentDuplicate, "the same fragment twice", TRACKING),
    (DropReason::FragmentBeyondEnd, "a fragment behind the last one", TRACKING),
    (DropReason::FragmentQuota, "first fragments of more packets than one sender may have", TRACKING),
    (DropReason::FragmentTableFull, "first fragments of more packets than there is room for", TRACKING),
    (DropReason::TcpOutOfWindow, "a segment far outside the receiver's window", TRACKING),
    (DropReason::SctpNoConnection, "SCTP data that belongs to no association", TRACKING),
    (DropReason::IcmpOutOfWindow, "an error that quotes a sequence number that was never sent", TRACKING),
    (DropReason::ConnectionQuota, "more connections than one sender's share", TRACKING),
    (DropReason::HalfOpenQuota, "more handshakes than one sender may leave open", TRACKING),
];

const UPLINKS: &str = "tests/pipeline/uplinks.rs";
/// Their unit tests; the pipeline gives each of these a reason of its own.
const TRACKING: &str = "dataplane/src/conntrack/table_tests.rs";

/// What provokes a reason in a test other than the simulation, and which test.
pub(crate) fn elsewhere(reason: DropReason) -> Option<(&'static str, &'static str)> {
    ELSEWHERE.iter().find(|(other, ..)| *other == reason).map(|(_, how, test)| (*how, *test))
}

/// The page as it should be.
fn page() -> String {
    let mut page = String::from(
        "# Why a frame is dropped\n\n\
         Every frame that comes in has one end: forwarded, answered, or dropped for one of these reasons, in the order in which the\n\
         switch asks. The event log and the counters use the same names; they are stable.\n\n\
         Each row has a test of its own: the generator of that reason (`tests/simulation/provoke.rs`) sends what the third column\n\
         says, on a switch of the simulation's policy, and the reason must be counted. The simulation sends the same frames among\n\
         millions of others. This page is written by the tests (`SEPTUM_BLESS=1 cargo test -p septum --test simulation page`) and\n\
         compared with them in every run.\n\n\
         | reason | what causes it | what the test sends | test |\n|---|---|---|---|\n",
    );
    for reason in DropReason::ALL {
        let (how, test) = match PROVOCATIONS.iter().find(|provocation| provocation.reason == reason) {
            Some(provocation) => (in_words(provocation), "simulation"),
            None => match elsewhere(reason) {
                Some((how, test)) => (how.to_owned(), test),
                None => (String::from("**no test**"), "**none**"),
            },
        };
        let _ =
            writeln!(page, "| `{reason}` | {} | {how} | {test} |", reason.describe().trim_end_matches('.'));
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

fn in_words(provocation: &Provocation) -> String {
    let when = match provocation.needs {
        Needs::Rules(rules) => format!(" (policy: {})", atlas().rules[rules].name),
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
    for (reason, _, file) in ELSEWHERE {
        assert!(root().join(file).exists(), "{reason}: there is no {file}");
    }
    for (reason, file, needle) in UNDELIVERED {
        let text = std::fs::read_to_string(root().join(file)).unwrap_or_default();
        assert!(text.contains(needle), "{reason}: {file} has no {needle}");
    }
}
