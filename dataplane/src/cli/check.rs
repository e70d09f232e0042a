//! `septum check FILE`: is it a policy, does it keep its own promises, and what should its author know?

use std::path::PathBuf;

use super::failure::Failure;
use super::{policy_file, test};
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
}

/// Checks a policy.
///
/// # Errors
/// When it is none.
pub(super) fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let file = arguments.file.display();
    let loaded = policy_file::read(&arguments.file)?;
    eprint!("{}", loaded.warnings);
    let compiled = CompiledPolicy::compile(loaded.policy.into(), today()).map_err(|error| {
        Failure::because(
            Failure::INPUT,
            format_args!("`{file}` exceeds a limit of the compiled policy"),
            &error,
        )
    })?;
    let policy = &*compiled.policy;
    for workload in policy.workloads.iter().filter(|workload| workload.open.ingress || workload.open.egress) {
        let place = policy.sources.place(workload.span);
        eprintln!("{place}: note: a gate of `{}` is open when no rule decides", workload.name);
    }
    if policy.settings.default_allow {
        eprintln!("{file}: note: gates are open when no rule decides (`default = \"allow\"`)");
    }
    let broken = test::run_all(&compiled)?;
    println!(
        "{file}: {} workloads in {} segments, {} rules, {} identities; {} tests, {broken} broken",
        policy.workloads.len(),
        policy.segments.len(),
        policy.rules.len(),
        compiled.classifier.identity_count(),
        policy.tests.len(),
    );
    let denied = arguments.deny_warnings && !loaded.warnings.is_empty();
    Ok(if broken > 0 || denied { Failure::BROKEN } else { 0 })
}
