//! `septum check FILE`: is it a policy, does it keep its own promises, and what should its author know?

use std::io::{self, Write};
use std::path::PathBuf;

use clap::ValueEnum;
use septum_rules::diagnostic::Diagnostics;
use septum_rules::lint::lint;
use serde::Serialize;

use super::diagnostic_rows::{DiagnosticRow, PlaceRow, rows};
use super::failure::Failure;
use super::policy_file;
use super::promises::{self, Outcome};
use crate::clock::today;
use crate::snapshot::CompiledPolicy;

/// `septum check`
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The policy
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Exit 1 if there are warnings
    #[arg(long)]
    deny_warnings: bool,
    /// How to report
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// How to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people: diagnostics on standard error, a summary on standard output
    Text,
    /// For programs: one document on standard output
    Json,
}

/// All that is reported.
#[derive(Debug, Default, Serialize)]
struct Report {
    file: String,
    /// Whether it is a policy.
    valid: bool,
    diagnostics: Vec<DiagnosticRow>,
    broken: Vec<BrokenRow>,
    counts: Counts,
}

/// A promise that the policy does not keep.
#[derive(Debug, Serialize)]
struct BrokenRow {
    kind: &'static str,
    name: String,
    place: PlaceRow,
    messages: Vec<String>,
}

/// What there is, by number.
#[derive(Debug, Default, Serialize)]
struct Counts {
    errors: usize,
    warnings: usize,
    /// Diagnostics that were counted, not listed.
    omitted: usize,
    segments: usize,
    workloads: usize,
    rules: usize,
    identities: usize,
    tests: usize,
    invariants: usize,
    broken: usize,
}

/// Checks a policy.
///
/// # Errors
/// When it is none.
pub(super) fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let file = arguments.file.display().to_string();
    let loaded = match policy_file::load(&arguments.file)? {
        Ok(loaded) => loaded,
        Err(diagnostics) if arguments.output == Output::Json => return refuse(file, &diagnostics),
        Err(diagnostics) => return Err(diagnostics.into()),
    };
    let linted = lint(&loaded.policy, today());
    let warnings = joined(loaded.warnings, linted.warnings);
    let compiled = CompiledPolicy::compile(loaded.policy.into(), today()).map_err(|error| {
        let reason = format_args!("`{file}` exceeds a limit of the compiled policy");
        Failure::because(Failure::INPUT, reason, &error)
    })?;
    let outcomes = promises::judge_own(&compiled)?;
    let report = report(file, &compiled, &warnings, &outcomes);
    match arguments.output {
        Output::Json => print(&report),
        Output::Text => {
            eprint!("{warnings}");
            if !linted.complete {
                eprintln!("{}: note: too large for every lint: not all rules were compared", report.file);
            }
            outcomes.iter().flat_map(Outcome::tell).for_each(|line| eprintln!("{line}"));
            summarise(&report);
        }
    }
    let denied = arguments.deny_warnings && report.counts.warnings > 0;
    Ok(if report.counts.broken > 0 || denied { Failure::BROKEN } else { 0 })
}

/// The report of what is no policy.
fn refuse(file: String, diagnostics: &Diagnostics) -> Result<u8, Failure> {
    let diagnostic_rows = rows(diagnostics);
    let warnings = diagnostic_rows.iter().filter(|row| row.is_warning()).count();
    let counts = Counts {
        errors: diagnostic_rows.len() - warnings,
        warnings,
        omitted: diagnostics.omitted,
        ..Counts::default()
    };
    print(&Report { file, diagnostics: diagnostic_rows, counts, ..Report::default() });
    Ok(Failure::INPUT)
}

/// Both, in the order of their places.
fn joined(mut some: Diagnostics, more: Diagnostics) -> Diagnostics {
    some.items.extend(more.items);
    some.items.sort_by_key(|item| item.span);
    some.omitted += more.omitted;
    some
}

fn report(file: String, compiled: &CompiledPolicy, warnings: &Diagnostics, outcomes: &[Outcome]) -> Report {
    let policy = &*compiled.policy;
    let broken: Vec<BrokenRow> = outcomes
        .iter()
        .filter(|outcome| !outcome.is_kept())
        .map(|outcome| BrokenRow {
            kind: outcome.kind.name(),
            name: outcome.name.to_string(),
            place: outcome.place.clone().into(),
            messages: outcome.breaches.clone(),
        })
        .collect();
    Report {
        file,
        valid: true,
        diagnostics: rows(warnings),
        counts: Counts {
            errors: 0,
            warnings: warnings.items.len() + warnings.omitted,
            omitted: warnings.omitted,
            segments: policy.segments.len(),
            workloads: policy.workloads.len(),
            rules: policy.rules.len(),
            identities: compiled.classifier.identity_count(),
            tests: policy.tests.len(),
            invariants: policy.invariants.len(),
            broken: broken.len(),
        },
        broken,
    }
}

fn print(report: &Report) {
    let mut out = io::stdout().lock();
    // A reader that has seen enough closes the pipe: no failure.
    let _ = serde_json::to_writer_pretty(&mut out, report);
    let _ = writeln!(out);
}

fn summarise(report: &Report) {
    let counts = &report.counts;
    let _ = writeln!(
        io::stdout(),
        "{}: {} in {}, {}, {}; {}, {}, {} broken; {}",
        report.file,
        counted(counts.workloads, "workload", "workloads"),
        counted(counts.segments, "segment", "segments"),
        counted(counts.rules, "rule", "rules"),
        counted(counts.identities, "identity", "identities"),
        counted(counts.tests, "test", "tests"),
        counted(counts.invariants, "invariant", "invariants"),
        counts.broken,
        counted(counts.warnings, "warning", "warnings"),
    );
}

fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
