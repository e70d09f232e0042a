//! `septum demo`: the whole of it, shown in a few seconds, with no file, no root and no set-up.
//!
//! In a process tree and namespaces of its own it brings up a three-tier shop, lets real sockets try every pair and
//! service over both families ([`actors`]), lets a compromised web server lie in raw frames ([`attacks`]), moves
//! bytes between two allowed workloads, and holds what came through against promises that were written by hand
//! ([`plan`], `promises.toml`). Why something was refused is what the switch's own flow log says ([`why`]).
//!
//! Exit status: 0 when everything is as promised, 1 when not, 2 for a bad policy, 3 where the system refuses what
//! the demo needs. Nothing is left behind, on `kill -9` neither ([`crate::sys::sandbox`]).

mod actors;
mod attacks;
mod findings;
mod plan;
mod play;
mod report;
mod stage;
#[cfg(test)]
mod tests;
mod why;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::ValueEnum;
use septum_rules::load::{Input, load_tests, load_text};
use septum_rules::policy::Policy;

use self::findings::Findings;
use self::plan::Plan;
use self::stage::Stage;
use self::why::Refusals;
use super::failure::Failure;
use super::policy_file;
use super::present::{Paint, Progress};
use crate::clock::today;
use crate::sys::sandbox;

/// The first example is the demo's policy: what is shown is what one can run.
const POLICY: &str = include_str!("../../../../examples/three-tier.toml");
const POLICY_NAME: &str = "examples/three-tier.toml";
const PROMISES: &str = include_str!("promises.toml");

/// Every pair is tried with every service, so the work grows with the square.
const MOST_WORKLOADS: usize = 12;

/// `septum demo`
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Hold this policy against the promises, instead of the built-in one
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Print the built-in policy: edit it, and give it back with --policy
    #[arg(long, conflicts_with_all = ["policy", "output"])]
    print_policy: bool,
    /// How to report
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Text,
    /// One JSON document
    Json,
}

/// Shows it.
///
/// Must be called while the process has one thread: it forks into namespaces of its own.
///
/// # Errors
/// When the policy is none, or the system refuses the namespaces.
pub(super) fn run(arguments: &Arguments) -> Result<u8, Failure> {
    if arguments.print_policy {
        io::stdout().write_all(POLICY.as_bytes()).map_err(|error| unwritten(&error))?;
        return Ok(0);
    }
    let policy = match &arguments.policy {
        Some(path) => policy_file::read(path)?.policy,
        None => load_text(POLICY_NAME, POLICY)?.policy,
    };
    let plan = plan_for(&policy)?;
    let perform = || perform(policy, plan, arguments.output).unwrap_or_else(|failure| failure.tell());
    sandbox::run(perform).map_err(|error| {
        let reason = "the demo needs a process tree and network of its own";
        Failure::because(Failure::ENVIRONMENT, reason, &error).fix(error.fix())
    })
}

/// Reads the promises and makes the plan: all that can be wrong with the input, before anything is made.
fn plan_for(policy: &Policy) -> Result<Plan, Failure> {
    let workloads = policy.workloads.len();
    if workloads > MOST_WORKLOADS {
        let reason = format_args!(
            "the policy has {workloads} workloads; the demo tries every pair of at most {MOST_WORKLOADS}"
        );
        return Err(Failure::new(Failure::INPUT, reason).fix("leave some out; `septum run` takes them all"));
    }
    let promises = load_tests(Input::new("promises.toml", PROMISES), policy).map_err(|diagnostics| {
        // The promises are ours and right: it is the policy that lacks somebody, and its author has not seen the promises.
        let missing: BTreeSet<&str> = diagnostics.items.iter().map(|item| item.message.as_str()).collect();
        let missing = missing.into_iter().collect::<Vec<_>>().join(", ");
        Failure::new(Failure::INPUT, format_args!("the promises do not fit this policy: {missing}"))
            .fix("start from the policy that `septum demo --print-policy` prints")
    })?;
    Ok(Plan::new(policy, &promises.tests))
}

fn unwritten(error: &io::Error) -> Failure {
    Failure::because(Failure::ENVIRONMENT, "the output cannot be written", error)
}

/// The demo itself, inside the sandbox.
fn perform(policy: Policy, plan: Plan, output: Output) -> Result<u8, Failure> {
    let began = Instant::now();
    let today = today();
    let progress = Progress::new(output == Output::Text);
    let policy = Arc::new(policy);

    let bring_up = || Stage::open(Arc::clone(&policy), &plan, today);
    let mut stage = progress.step("bringing up the shop", bring_up, |stage| {
        let (workloads, segments) = (policy.workloads.len(), policy.segments.len());
        let devices = findings::device_name(stage.device_kind());
        format!("{workloads} workloads in {segments} segments, joined by {devices}")
    })?;
    let devices = stage.device_kind();
    let outcomes = progress.step(
        "trying every pair and service",
        || {
            play::probes(&stage, &plan).map_err(|error| {
                Failure::because(Failure::ENVIRONMENT, "not every pair and service can be tried", &error)
                    .fix("raise the limits of open files and processes: `ulimit -n`, `ulimit -u`")
            })
        },
        |outcomes| format!("{} attempts by real sockets, over IPv4 and IPv6", outcomes.len()),
    )?;
    let lies = progress.step(
        "sending raw frames from a compromised host",
        || {
            play::lies(&stage)
                .map_err(|error| Failure::because(Failure::ENVIRONMENT, "raw frames cannot be sent", &error))
        },
        |lies| format!("{} raw frames from {}, which was broken into", lies.len(), attacks::LIAR),
    )?;
    // They listen on the ports that the transfers are going to use.
    stage.servers = actors::Servers::default();
    let transfers = progress.step(
        "moving bytes between two allowed workloads",
        || Ok::<_, Failure>(play::transfers(&stage, &plan, &outcomes)),
        |transfers| format!("{} TCP transfers between allowed workloads", transfers.len()),
    )?;

    let log = stage.log.clone();
    let counters = stage.stop();
    let refusals = Refusals::read(&log);
    let whys = plan.probes.iter().map(|probe| refusals.of(probe).cloned()).collect();
    let findings = Findings {
        policy,
        plan,
        devices,
        outcomes,
        whys,
        lies,
        transfers,
        ports: counters.ports.into_iter().collect(),
        took: began.elapsed(),
        today,
    };
    match report(&findings, output) {
        // Whoever reads has seen enough (`| head`); the status still says how it went.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        written => written.map_err(|error| unwritten(&error))?,
    }
    Ok(u8::from(!findings.is_all_well()))
}

fn report(findings: &Findings, output: Output) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match output {
        Output::Text => {
            stdout.write_all(report::text(findings, Paint::for_stream(&io::stdout())).as_bytes())?
        }
        Output::Json => {
            serde_json::to_writer_pretty(&mut stdout, &report::document(findings))?;
            stdout.write_all(b"\n")?;
        }
    }
    stdout.flush()
}
