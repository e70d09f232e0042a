//! Diagnostics for programs: the same facts that people read, as JSON values.

use septum_rules::diagnostic::{Diagnostic, Diagnostics, Severity};
use septum_rules::source::Place;
use serde::Serialize;

/// A place in a file, lines and columns from one.
#[derive(Debug, Serialize)]
pub(super) struct PlaceRow {
    file: String,
    line: u32,
    column: u32,
}

impl From<Place> for PlaceRow {
    fn from(place: Place) -> Self {
        Self { file: place.file.to_string(), line: place.line, column: place.column }
    }
}

/// One thing that is wrong.
#[derive(Debug, Serialize)]
pub(super) struct DiagnosticRow {
    code: String,
    severity: &'static str,
    message: String,
    place: PlaceRow,
    help: Option<String>,
    related: Vec<RelatedRow>,
}

impl DiagnosticRow {
    pub(super) fn is_warning(&self) -> bool {
        self.severity == Severity::Warning.name()
    }
}

/// Another place that matters.
#[derive(Debug, Serialize)]
struct RelatedRow {
    message: String,
    place: PlaceRow,
}

/// All diagnostics of a report, in its order.
pub(super) fn rows(diagnostics: &Diagnostics) -> Vec<DiagnosticRow> {
    diagnostics.items.iter().map(|item| row(diagnostics, item)).collect()
}

fn row(diagnostics: &Diagnostics, item: &Diagnostic) -> DiagnosticRow {
    let place = |span| PlaceRow::from(diagnostics.sources.place(span));
    DiagnosticRow {
        code: item.code.to_string(),
        severity: item.severity.name(),
        message: item.message.clone(),
        place: place(item.span),
        help: item.help.clone(),
        related: item
            .related
            .iter()
            .map(|(span, message)| RelatedRow { message: message.clone(), place: place(*span) })
            .collect(),
    }
}
