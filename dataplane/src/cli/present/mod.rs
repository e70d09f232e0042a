//! How the command line looks: colour, boxes and progress.
//!
//! Colour is for terminals only, and not there either when `NO_COLOR` is set (no-color.org) or the terminal says
//! that it is dumb. Everything here is laid out in characters of one column; names in policies are such.

mod grid;
mod progress;

use std::fmt::Display;
use std::io::IsTerminal;

use owo_colors::OwoColorize;

pub(crate) use self::grid::{Cell, Grid};
pub(crate) use self::progress::Progress;

/// Columns that output is laid out for. Fixed, so that what is printed is the same everywhere and fits everywhere.
pub(crate) const COLUMNS: usize = 80;

/// What a piece of text is, which decides its colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Text.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// Not as it should be.
    Bad,
    /// There for those who look for it.
    Faint,
    /// A heading.
    Strong,
}

/// Whether to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Paint {
    colour: bool,
}

impl Paint {
    /// As `stream` and the environment allow.
    pub(crate) fn for_stream(stream: &impl IsTerminal) -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { colour: stream.is_terminal() && !set("NO_COLOR") && !dumb }
    }

    /// The text in its colour.
    pub(crate) fn text(self, tone: Tone, text: impl Display) -> String {
        if !self.colour {
            return text.to_string();
        }
        match tone {
            Tone::Plain => text.to_string(),
            Tone::Good => text.green().to_string(),
            Tone::Bad => text.red().bold().to_string(),
            Tone::Faint => text.dimmed().to_string(),
            Tone::Strong => text.bold().to_string(),
        }
    }

    /// A tick or a cross.
    pub(crate) fn mark(self, good: bool) -> String {
        if good { self.text(Tone::Good, "✓") } else { self.text(Tone::Bad, "✗") }
    }
}

/// A whole number with its thousands set apart.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at != 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        let printed = [0, 12, 999, 1_000, 1_234_567, 100_000].map(thousands);
        assert_eq!(printed, ["0", "12", "999", "1,000", "1,234,567", "100,000"]);
    }

    #[test]
    fn what_is_no_terminal_gets_no_colour() {
        let (reader, _writer) = std::io::pipe().unwrap();
        let paint = Paint::for_stream(&std::os::fd::OwnedFd::from(reader));
        assert_eq!(paint, Paint { colour: false });
        assert_eq!(paint.text(Tone::Bad, "no"), "no");
    }
}
