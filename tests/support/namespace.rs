//! Tests that need network namespaces: all of them run in one sandbox, so that nothing touches this machine and
//! nothing is left of them, even when they are killed.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use septum::sys::sandbox;

/// The trial, or what counts as ignored where the TUN driver may not be opened.
pub(crate) fn needs_tun(trial: Trial) -> Trial {
    let available = septum::sys::tun::open().is_ok();
    trial.with_ignored_flag(!available)
}

/// Runs `trials` inside a sandbox, `at_once` so many or as many as the machine has CPUs. Where the kernel refuses a sandbox, says
/// why and counts them as ignored.
pub(crate) fn run_trials(trials: Vec<Trial>, at_once: Option<usize>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = at_once.or(arguments.test_threads);
    if arguments.list {
        return libtest_mimic::run(&arguments, trials).exit_code();
    }
    if let Err(error) = septum::sys::tun::open() {
        eprintln!(
            "skipped: the tests of TAP devices, as {} cannot be opened: {error}",
            septum::sys::tun::DEVICE
        );
    }
    let mut trials = Some(trials);
    let inside = || match libtest_mimic::run(&arguments, trials.take().unwrap_or_default()).has_failed() {
        true => 101,
        false => 0,
    };
    match sandbox::run(inside) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            let reason =
                std::error::Error::source(&error).map_or(String::new(), |source| format!(": {source}"));
            eprintln!("skipped: {error}{reason}\nto run these tests: {}", error.fix());
            let trials = trials.take().unwrap_or_default();
            let skipped = trials.into_iter().map(|trial| trial.with_ignored_flag(true)).collect();
            libtest_mimic::run(&arguments, skipped).exit_code()
        }
    }
}
