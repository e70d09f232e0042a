//! What is wrong with a policy, where, and how to put it right.
//!
//! A [`Diagnostic`] is data: a stable [`Code`], a message, the place, related places, a fix. [`Diagnostics`] adds
//! the texts they point into and prints them plainly, in the manner of rustc; a caller with a nicer printer reads
//! the fields. Nothing here reads files or prints by itself.
//!
//! A hostile file can be wrong in a million places: a [`Sink`] keeps the first [`Sink::MOST`] and counts the rest.

mod code;
mod render;
mod suggest;

use std::sync::Arc;

pub use code::{Code, UnknownCode};
pub(crate) use suggest::{did_you_mean, nearest, one_of};

use crate::source::{Place, Sources, Span};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The policy means something; probably not what its author wanted.
    Warning,
    /// There is no policy.
    Error,
}

impl Severity {
    /// `warning` or `error`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable across releases; explained by [`Code::explanation`].
    pub code: Code,
    /// The code's, unless a caller raised it.
    pub severity: Severity,
    /// One sentence without a full stop, which names the values at fault.
    pub message: String,
    /// Where.
    pub span: Span,
    /// What to say under the caret; may be empty.
    pub label: String,
    /// Other places that matter, each with what it is.
    pub related: Vec<(Span, String)>,
    /// What to write instead.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A diagnostic with the code's own severity, no label, no related place and no help.
    pub fn new(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: code.severity(),
            message: message.into(),
            span,
            label: String::new(),
            related: Vec::new(),
            help: None,
        }
    }

    /// Says something under the caret.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Points at another place.
    #[must_use]
    pub fn related(mut self, span: Span, what: impl Into<String>) -> Self {
        self.related.push((span, what.into()));
        self
    }

    /// Says what to write instead.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Says what to write instead, where there is something to say.
    #[must_use]
    pub fn help_maybe(mut self, help: Option<String>) -> Self {
        self.help = help.or(self.help);
        self
    }
}

/// Diagnostics and the texts that they point into. [`Display`](std::fmt::Display) prints them all.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    /// The texts.
    pub sources: Arc<Sources>,
    /// In the order of their places.
    pub items: Vec<Diagnostic>,
    /// How many more there were than a report holds.
    pub omitted: usize,
}

impl Diagnostics {
    /// Whether there is nothing to report.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Where `diagnostic` points.
    pub fn place(&self, diagnostic: &Diagnostic) -> Place {
        self.sources.place(diagnostic.span)
    }
}

impl std::error::Error for Diagnostics {}

/// Collects diagnostics, within bounds.
#[derive(Debug, Default)]
pub(crate) struct Sink {
    items: Vec<Diagnostic>,
    omitted: usize,
    errors: usize,
}

impl Sink {
    /// Nobody reads further; and a hostile file must not fill the memory.
    pub(crate) const MOST: usize = 200;

    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        self.errors += usize::from(diagnostic.severity == Severity::Error);
        if self.items.len() < Self::MOST {
            self.items.push(diagnostic);
        } else {
            self.omitted += 1;
        }
    }

    /// Whether another error would only be counted: no need to find its words.
    pub(crate) fn is_full(&self) -> bool {
        self.items.len() >= Self::MOST
    }

    /// Counts errors without their words.
    pub(crate) fn omit(&mut self, errors: usize) {
        self.errors += errors;
        self.omitted += errors;
    }

    /// Shorthand for a diagnostic with neither label nor help.
    pub(crate) fn report(&mut self, code: Code, span: Span, message: impl Into<String>) {
        self.push(Diagnostic::new(code, span, message));
    }

    /// The number of errors so far, omitted ones included.
    pub(crate) fn errors(&self) -> usize {
        self.errors
    }

    /// Hands over what was collected, in the order of places.
    pub(crate) fn into_diagnostics(mut self, sources: Arc<Sources>) -> Diagnostics {
        self.items.sort_by_key(|item| item.span);
        Diagnostics { sources, items: self.items, omitted: self.omitted }
    }
}
