//! Who reaches whom: a row for each source, a column for each destination, and in between what came through.

use septum_rules::identity::WorkloadId;

use crate::cli::demo::findings::Findings;
use crate::cli::demo::plan::{Attempt, Family};
use crate::cli::present::{Cell, Grid, Paint, Tone};

/// Draws the matrix. What went otherwise than promised stands out: `!` came through and must not, `✗` must and did not.
pub(super) fn matrix(findings: &Findings, paint: Paint) -> String {
    let ids: Vec<WorkloadId> = (0..findings.policy.workloads.len() as u32).map(WorkloadId).collect();
    let mut grid = Grid::new("from ╲ to", ids.iter().map(|id| findings.name(*id).to_owned()));
    for from in &ids {
        let cells = ids.iter().map(|to| if from == to { own() } else { cell(findings, *from, *to) });
        grid.row(findings.name(*from), cells.collect());
    }
    grid.draw(paint)
}

fn own() -> Cell {
    vec![("╲".to_owned(), Tone::Faint)]
}

/// One word a service that came through, or should have.
fn cell(findings: &Findings, from: WorkloadId, to: WorkloadId) -> Cell {
    let mut words = Cell::new();
    for attempt in &findings.plan.attempts {
        let tried: Vec<(Family, bool, bool)> = findings
            .probes()
            .filter(|(_, probe, _)| (probe.from, probe.to, probe.attempt) == (from, to, *attempt))
            .map(|(_, probe, outcome)| {
                let came = outcome.came_through();
                (probe.family(), came, probe.breaks_promise(came))
            })
            .collect();
        let came: Vec<Family> =
            tried.iter().filter(|(_, came, _)| *came).map(|(family, ..)| *family).collect();
        let broken = tried.iter().any(|(_, _, broken)| *broken);
        if came.is_empty() && !broken {
            continue;
        }
        let mark = match (broken, came.is_empty()) {
            (false, _) => "",
            (true, true) => "✗",
            (true, false) => "!",
        };
        // Where the families agree, as they should, neither needs a mention.
        let family = match came[..] {
            [only] if tried.len() > 1 => {
                if only == Family::V4 {
                    "₄"
                } else {
                    "₆"
                }
            }
            _ => "",
        };
        let tone = if broken { Tone::Bad } else { Tone::Good };
        words.push((format!("{mark}{}{family}", short(*attempt)), tone));
    }
    if words.is_empty() {
        words.push(("·".to_owned(), Tone::Faint));
    }
    words
}

/// A port is TCP's unless it says otherwise: the matrix has little room.
fn short(attempt: Attempt) -> String {
    match attempt {
        Attempt::Tcp(port) => port.to_string(),
        other => other.to_string(),
    }
}
