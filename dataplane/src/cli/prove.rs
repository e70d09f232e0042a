//! `septum prove FILE`: is the compiled policy what the file says, for every packet?
//!
//! And what `run` asks before a policy comes into force, with what is said when it does not.

mod format;

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::ValueEnum;
use septum_classifier::{Budget, Certificate, Proof, ProofError, Witness};
use septum_rules::policy::Policy;

use self::format::{json, text, witness_lines};
use super::failure::Failure;
use super::policy_file;
use crate::snapshot::CompiledPolicy;

/// `septum prove`
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The policy
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Units of work that the proof may take: each some ten nanoseconds
    #[arg(long, value_name = "UNITS", default_value_t = Budget::default().0)]
    budget: u64,
    /// How to report
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// How to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Text,
    /// For programs: one document
    Json,
}

/// How a proof went.
pub(super) enum Outcome {
    /// Equal for every packet.
    Proved(Proof, Certificate),
    /// The budget did not suffice.
    Unproved(Proof),
    /// They differ.
    Mismatch(Box<Witness>),
}

/// Proves.
///
/// # Errors
/// When the policy is none.
pub(super) fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let compiled = policy_file::compile(&arguments.file)?;
    let (policy, classifier) = (&*compiled.policy, &*compiled.classifier);
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let outcome = match classifier.prove_on(threads, policy, Budget(arguments.budget)) {
        Ok(proof) => Outcome::Proved(proof, classifier.certificate(policy)),
        Err(ProofError::Budget(covered)) => Outcome::Unproved(*covered),
        Err(ProofError::Mismatch(witness)) => Outcome::Mismatch(witness),
        Err(error @ ProofError::ValidUntil { .. }) => return Err(refusal(policy, &error)),
    };
    let file = arguments.file.display().to_string();
    let answer = match arguments.output {
        Output::Text => text(&file, policy, &outcome, arguments.budget),
        Output::Json => json(&file, policy, &outcome, arguments.budget, classifier.valid_until()),
    };
    // A reader that has seen enough closes the pipe: no failure.
    let _ = io::stdout().write_all(answer.as_bytes());
    Ok(if matches!(outcome, Outcome::Proved(..)) { 0 } else { Failure::BROKEN })
}

/// Proves a policy that is to come into force, as far as it demands that.
///
/// # Errors
/// When it is not to come into force.
pub(super) fn before_it_is_in_force(
    compiled: CompiledPolicy,
    budget: u64,
) -> Result<CompiledPolicy, Failure> {
    let policy = std::sync::Arc::clone(&compiled.policy);
    compiled.prove(Budget(budget)).map_err(|error| refusal(&policy, &error))
}

/// Why a policy does not come into force.
fn refusal(policy: &Policy, error: &ProofError) -> Failure {
    let fault = || {
        let reason = "the compiled policy differs from its meaning: a fault of septum, not of the policy";
        Failure::new(Failure::ENVIRONMENT, reason)
    };
    match error {
        ProofError::Mismatch(witness) => witness_lines(policy, witness)
            .into_iter()
            .fold(fault(), Failure::detail)
            .fix("please report it, with the policy"),
        ProofError::ValidUntil { .. } => fault().detail(error).fix("please report it, with the policy"),
        ProofError::Budget(_) => Failure::new(
            Failure::INPUT,
            format_args!("the policy is too large to be proved within the budget ({error})"),
        )
        .fix("narrow the broadest selectors, raise `--proof-budget`, or accept it with `proof = \"budget\"`"),
    }
}
