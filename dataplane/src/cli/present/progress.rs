//! Progress of a few steps, on standard error, so that standard output stays the report.

use std::io::{IsTerminal, Write, stderr};
use std::time::Instant;

use super::{Paint, Tone};

/// Steps, one line each: announced when it begins (on a terminal), told with its time when it is over.
#[derive(Debug)]
pub(crate) struct Progress {
    paint: Paint,
    terminal: bool,
    shown: bool,
}

impl Progress {
    /// Shown on a terminal; elsewhere only where `always` says so.
    pub(crate) fn new(always: bool) -> Self {
        let terminal = stderr().is_terminal();
        Self { paint: Paint::for_stream(&stderr()), terminal, shown: terminal || always }
    }

    /// Runs a step. `doing` announces it; the step's value is put into words by `done`.
    ///
    /// # Errors
    /// What the step gives; its line is withdrawn then.
    pub(crate) fn step<T, E>(
        &self,
        doing: &str,
        work: impl FnOnce() -> Result<T, E>,
        done: impl FnOnce(&T) -> String,
    ) -> Result<T, E> {
        if self.terminal {
            self.say(&format!("  {} {doing} ...", self.paint.text(Tone::Faint, "·")));
        }
        let began = Instant::now();
        let result = work();
        let clear = if self.terminal { "\r\x1b[2K" } else { "" };
        match &result {
            Ok(value) => {
                let took =
                    self.paint.text(Tone::Faint, format_args!("{:.1} s", began.elapsed().as_secs_f64()));
                self.say(&format!("{clear}  {} {}  {took}\n", self.paint.mark(true), done(value)));
            }
            Err(_) => self.say(clear),
        }
        result
    }

    fn say(&self, text: &str) {
        if self.shown {
            let mut stream = stderr().lock();
            // A reader that went away is no reason to stop working.
            let _ = stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
        }
    }
}
