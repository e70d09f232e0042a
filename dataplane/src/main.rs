//! The `septum` command.

use std::io;
use std::process::ExitCode;

use clap::Parser;
use septum::cli::{self, Verb};

/// A userspace virtual switch for microsegmentation.
///
/// Joins VMs, containers and network namespaces, and lets a frame pass only where the policy of both workloads says so.
///
/// Exit status: 0 all is well; 1 a test or promise is broken; 2 bad input; 3 the system refuses what is needed.
#[derive(Debug, Parser)]
#[command(name = "septum", version, max_term_width = 100)]
struct Command {
    #[command(subcommand)]
    verb: Verb,
}

fn main() -> ExitCode {
    // What the library notices beside its results, such as the first frame that a device refuses.
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(io::stderr)
        .without_time()
        .with_target(false)
        .init();
    ExitCode::from(cli::run(&Command::parse().verb))
}
