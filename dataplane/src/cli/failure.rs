//! Why a verb could not do its work: the reason, its causes, a fix, and the exit status.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};

use septum_rules::diagnostic::Diagnostics;

/// A reason to stop.
#[derive(Debug)]
pub(super) struct Failure {
    status: u8,
    text: String,
}

impl Failure {
    /// A test or promise is broken.
    pub(super) const BROKEN: u8 = 1;
    /// The input is bad.
    pub(super) const INPUT: u8 = 2;
    /// The system refuses what is needed.
    pub(super) const ENVIRONMENT: u8 = 3;

    /// A reason without a cause.
    pub(super) fn new(status: u8, reason: impl fmt::Display) -> Self {
        Self { status, text: format!("error: {reason}") }
    }

    /// A reason with its causes, innermost last.
    pub(super) fn because(status: u8, reason: impl fmt::Display, cause: &(dyn Error + 'static)) -> Self {
        let mut failure = Self::new(status, reason);
        let mut cause = Some(cause);
        while let Some(error) = cause {
            let _ = write!(failure.text, "\n  because: {error}");
            cause = error.source();
        }
        failure
    }

    /// Adds a line of detail.
    #[must_use]
    pub(super) fn detail(mut self, detail: impl fmt::Display) -> Self {
        let _ = write!(self.text, "\n  {detail}");
        self
    }

    /// Adds what to do about it.
    #[must_use]
    pub(super) fn fix(mut self, fix: impl fmt::Display) -> Self {
        let _ = write!(self.text, "\n  fix: {fix}");
        self
    }

    /// Puts the place in a file before the reason.
    #[must_use]
    pub(super) fn at(mut self, place: impl fmt::Display) -> Self {
        self.text = format!("{place}: {}", self.text);
        self
    }

    /// Tells it on standard error; gives the exit status.
    pub(super) fn tell(&self) -> u8 {
        // With standard error gone, the status is all there is to say.
        let _ = writeln!(io::stderr(), "{}", self.text.trim_end());
        self.status
    }
}

impl From<Diagnostics> for Failure {
    fn from(diagnostics: Diagnostics) -> Self {
        Self { status: Self::INPUT, text: diagnostics.to_string() }
    }
}
