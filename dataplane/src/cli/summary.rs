//! The counters, for people: what became of every frame.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use crate::counters::PortCounters;
use crate::drop_reason::UndeliveredReason;
use crate::standing::Standing;
use crate::switch::Counters;

/// Prints all counters on standard output; on standard error where that belongs to the event log.
pub(super) fn print(counters: &Counters, standing: Standing, to_stderr: bool) {
    let text = format(counters, standing);
    let _ = if to_stderr {
        io::stderr().write_all(text.as_bytes())
    } else {
        io::stdout().write_all(text.as_bytes())
    };
}

/// The counters as text.
fn format(counters: &Counters, standing: Standing) -> String {
    let mut text = String::new();
    let width = counters.ports.keys().map(|name| name.len()).chain([5]).max().unwrap_or(5);
    let _ = writeln!(
        text,
        "{:width$} {:>12} {:>12} {:>9} {:>12} {:>12} {:>11}",
        "port", "received", "forwarded", "replied", "dropped", "transmitted", "undelivered"
    );
    for (name, port) in &counters.ports {
        row(&mut text, width, name, port);
    }
    row(&mut text, width, "total", &counters.total);
    reasons(&mut text, "dropped", counters.total.drops().map(|(reason, count)| (reason.name(), count)));
    let undelivered = UndeliveredReason::ALL.into_iter().zip(counters.total.undelivered);
    let undelivered =
        undelivered.filter(|(_, count)| *count != 0).map(|(reason, count)| (reason.name(), count));
    reasons(&mut text, "undelivered", undelivered);
    for ((rule, gate), frames) in &counters.rules {
        let _ = writeln!(text, "rule {rule} ({gate}): {frames} frames");
    }
    let _ = writeln!(text, "connections: {}", counters.connections);
    if counters.events.written + counters.events.failed + counters.events_lost > 0 {
        let _ = writeln!(
            text,
            "events: {} written, {} lost, {} failed",
            counters.events.written, counters.events_lost, counters.events.failed
        );
    }
    let _ = writeln!(text, "policy: {standing}");
    balance(&mut text, counters);
    text
}

/// Says that the balance holds for every port and in total, or where it does not.
fn balance(text: &mut String, counters: &Counters) {
    let ports = counters.ports.iter().map(|(name, port)| (&**name, port)).chain([("total", &counters.total)]);
    let mut holds = true;
    for (name, imbalance) in ports.filter_map(|(name, port)| Some((name, port.imbalance()?))) {
        holds = false;
        let _ = writeln!(text, "balance: {name}: {imbalance} (frames may be on their way)");
    }
    if holds {
        let _ = writeln!(text, "balance: every frame has one end");
    }
}

fn row(text: &mut String, width: usize, name: &str, port: &PortCounters) {
    let _ = writeln!(
        text,
        "{name:width$} {:>12} {:>12} {:>9} {:>12} {:>12} {:>11}",
        port.received,
        port.forwarded,
        port.replied,
        port.dropped_total(),
        port.transmitted,
        port.undelivered_total(),
    );
}

fn reasons<'a>(text: &mut String, what: &str, reasons: impl Iterator<Item = (&'a str, u64)>) {
    for (reason, count) in reasons {
        let _ = writeln!(text, "{what} {reason}: {count}");
    }
}
