//! `septum explain-code CODE`: what a diagnostic means, why it is one, and what to do.

use std::io::{self, Write};

use septum_rules::diagnostic::Code;

use super::failure::Failure;

/// `septum explain-code`
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The code that a diagnostic shows, as in S0101; without one, all codes are listed
    #[arg(value_name = "CODE")]
    code: Option<String>,
}

/// Explains a code.
///
/// # Errors
/// When there is no such code.
pub(super) fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let mut out = io::stdout().lock();
    let Some(wanted) = &arguments.code else {
        // A reader that has seen enough closes the pipe: no failure.
        let _ = Code::ALL.iter().try_for_each(|code| writeln!(out, "{code} {}", code.title()));
        return Ok(0);
    };
    let code: Code = wanted.parse().map_err(|error| {
        Failure::new(Failure::INPUT, error).fix("`septum explain-code` alone lists all codes")
    })?;
    let _ = writeln!(out, "{code} ({}): {}\n\n{}", code.severity().name(), code.title(), code.explanation());
    Ok(0)
}
