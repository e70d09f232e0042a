//! `septum test POLICY [TESTS...]`: does a policy keep what is promised of it?

use std::io::{self, Write};
use std::path::PathBuf;

use septum_rules::load::load_tests;

use super::failure::Failure;
use super::promises::{self, Outcome};
use super::{junit, policy_file};
use crate::snapshot::CompiledPolicy;

/// `septum test`
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The policy
    #[arg(value_name = "POLICY")]
    file: PathBuf,
    /// Files of `[[test]]`s and `[[invariant]]`s, judged against the policy besides its own
    #[arg(value_name = "TESTS")]
    tests: Vec<PathBuf>,
    /// Name what is kept, too
    #[arg(short, long)]
    verbose: bool,
    /// Write the outcome as JUnit XML, too
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// Tests a policy.
///
/// # Errors
/// When a file is no policy or holds no tests of it.
pub(super) fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let compiled = policy_file::compile(&arguments.file)?;
    let mut outcomes = promises::judge_own(&compiled)?;
    for file in &arguments.tests {
        let promised = load_tests(policy_file::input(file)?, &compiled.policy)?;
        outcomes.extend(promises::judge(
            &compiled,
            &promised.tests,
            &promised.invariants,
            &promised.sources,
        )?);
    }
    if let Some(file) = &arguments.junit {
        junit::write(file, &arguments.file, &outcomes)?;
    }
    for outcome in &outcomes {
        let state = if outcome.is_kept() { "ok    " } else { "BROKEN" };
        if arguments.verbose {
            // A reader that has seen enough closes the pipe: no failure.
            let _ = writeln!(
                io::stdout(),
                "{state} {} `{}` ({})",
                outcome.kind.name(),
                outcome.name,
                outcome.place
            );
        }
        tell(outcome);
    }
    let broken = outcomes.iter().filter(|outcome| !outcome.is_kept()).count();
    let _ = writeln!(io::stdout(), "{} passed, {broken} failed", outcomes.len() - broken);
    if outcomes.is_empty() {
        eprintln!("{}: note: the policy promises nothing", arguments.file.display());
    }
    Ok(if broken > 0 { Failure::BROKEN } else { 0 })
}

/// Judges all that a policy promises and tells on standard error what is broken; gives the number of the broken.
///
/// # Errors
/// When evaluator and compiled object disagree, which is a fault of this program.
pub(super) fn run_all(compiled: &CompiledPolicy) -> Result<usize, Failure> {
    let outcomes = promises::judge_own(compiled)?;
    outcomes.iter().for_each(tell);
    Ok(outcomes.iter().filter(|outcome| !outcome.is_kept()).count())
}

fn tell(outcome: &Outcome) {
    for line in outcome.tell() {
        eprintln!("{line}");
    }
}
