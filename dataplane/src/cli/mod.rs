//! The `septum` command: one file or folder a verb.
//!
//! A verb gives the exit status: 0 all is well, 1 a test or promise is broken, 2 bad input, 3 the system refuses
//! what is needed. What goes wrong is told on standard error: the place, the reason, a fix.

mod bench;
mod check;
mod demo;
mod diagnostic_rows;
mod diff;
mod explain;
mod explain_code;
mod failure;
mod fmt;
mod import;
mod junit;
mod policy_file;
mod present;
mod promises;
mod prove;
mod reach;
mod reload;
mod run;
mod schema;
mod summary;
mod test;

use clap::Subcommand;

/// What `septum` can do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Read a policy, say what is wrong with it, and run its tests
    Check(check::Arguments),
    /// Judge a policy by its tests and invariants, its own and those of other files
    Test(test::Arguments),
    /// Say who reaches whom with what, and by which rule
    Reach(reach::Arguments),
    /// Say what becomes of one flow, and why
    Explain(explain::Arguments),
    /// Say what a change of policy changes, for every packet
    Diff(diff::Arguments),
    /// Prove that the compiled policy is what the file says, for every packet
    Prove(prove::Arguments),
    /// Lay policy files out in one way, comments kept
    Fmt(fmt::Arguments),
    /// Print the shape of policy files as JSON Schema
    Schema,
    /// Say what the code of a diagnostic means
    ExplainCode(explain_code::Arguments),
    /// Show it: a three-tier shop in namespaces of its own, tried by real sockets and a liar
    Demo(demo::Arguments),
    /// Turn policies that exist elsewhere into a policy file
    Import(import::Arguments),
    /// Measure the switch in namespaces of its own: frames, TCP, round trips, connections
    Bench(bench::Arguments),
    /// Forward frames by a policy, until SIGINT or SIGTERM
    ///
    /// SIGHUP reads the policy again (one that fails changes nothing); SIGUSR1 prints the counters.
    Run(run::Arguments),
}

/// Runs a verb; gives the exit status.
pub fn run(verb: &Verb) -> u8 {
    let outcome = match verb {
        Verb::Check(arguments) => check::run(arguments),
        Verb::Test(arguments) => test::run(arguments),
        Verb::Reach(arguments) => reach::run(arguments),
        Verb::Explain(arguments) => explain::run(arguments),
        Verb::Diff(arguments) => diff::run(arguments),
        Verb::Prove(arguments) => prove::run(arguments),
        Verb::Fmt(arguments) => fmt::run(arguments),
        Verb::Schema => schema::run(),
        Verb::ExplainCode(arguments) => explain_code::run(arguments),
        Verb::Demo(arguments) => demo::run(arguments),
        Verb::Import(arguments) => import::run(arguments),
        Verb::Bench(arguments) => bench::run(arguments),
        Verb::Run(arguments) => run::run(arguments),
    };
    outcome.unwrap_or_else(|failure| failure.tell())
}
