//! A set of declared names: who has which number, and where it was declared first.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use crate::diagnostic::{Code, Diagnostic, Sink, did_you_mean};
use crate::document::{Name, shortened};
use crate::source::Span;

/// The names of one kind of thing.
#[derive(Debug)]
pub(super) struct Scope {
    what: &'static str,
    unknown: Code,
    names: HashMap<Arc<str>, (u32, Span)>,
}

impl Scope {
    /// An empty scope for things called `what`; an unknown one is reported as `unknown`.
    pub(super) fn new(what: &'static str, unknown: Code) -> Self {
        Self { what, unknown, names: HashMap::new() }
    }

    /// Gives the name the next number, or reports that it has one.
    pub(super) fn declare(&mut self, name: &Name, sink: &mut Sink) -> Option<u32> {
        let next =
            u32::try_from(self.names.len()).expect("a file of limited size declares fewer than 2^32 names");
        match self.names.entry(Arc::clone(&name.value)) {
            Entry::Vacant(entry) => Some(entry.insert((next, name.span)).0),
            Entry::Occupied(entry) => {
                let message = format!("the {} `{}` is declared twice", self.what, shortened(&name.value));
                sink.push(
                    Diagnostic::new(Code::DuplicateName, name.span, message)
                        .related(entry.get().1, "first declared here")
                        .help("give one of them another name"),
                );
                None
            }
        }
    }

    /// The number of that name, without a word if there is none.
    pub(super) fn get(&self, name: &str) -> Option<u32> {
        self.names.get(name).map(|(number, _)| *number)
    }

    /// The number of the name that `reference` names, or a report that there is none.
    pub(super) fn find(&self, reference: &Name, sink: &mut Sink) -> Option<u32> {
        let found = self.get(&reference.value);
        if found.is_none() {
            self.report_unknown(&reference.value, reference.span, sink);
        }
        found
    }

    fn report_unknown(&self, name: &str, span: Span, sink: &mut Sink) {
        if sink.is_full() {
            return sink.omit(1);
        }
        let message = format!("no {} is called `{}`", self.what, shortened(name));
        let help = did_you_mean(name, self.names.keys().map(|known| &**known)).or_else(|| self.few());
        sink.push(Diagnostic::new(self.unknown, span, message).help_maybe(help));
    }

    /// All names, where they are few enough to read.
    fn few(&self) -> Option<String> {
        let mut names: Vec<&str> = self.names.keys().map(|name| &**name).collect();
        names.sort_unstable();
        match names.len() {
            0 => Some(format!("the policy declares no {}", self.what)),
            1..=6 => Some(format!("the policy has {}", names.join(", "))),
            _ => None,
        }
    }
}
