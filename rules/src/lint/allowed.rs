//! Which findings `[lint]` allows, and which of its entries were of use.
//!
//! Cost: a finding is looked up by its code, then by its place.

use std::collections::HashMap;

use crate::diagnostic::{Code, Diagnostic, Sink};
use crate::policy::Allow;
use crate::source::Span;

/// The entries, and whether each has allowed something yet.
pub(super) struct Allowed<'p> {
    entries: &'p [Allow],
    used: Vec<bool>,
    by_subject: HashMap<(Code, Option<Span>), Vec<usize>>,
}

impl<'p> Allowed<'p> {
    pub(super) fn new(entries: &'p [Allow]) -> Self {
        let mut by_subject: HashMap<_, Vec<usize>> = HashMap::new();
        for (at, entry) in entries.iter().enumerate() {
            by_subject.entry((entry.code, entry.about)).or_default().push(at);
        }
        Self { entries, used: vec![false; entries.len()], by_subject }
    }

    /// Whether a finding about what is declared at `span` is allowed.
    pub(super) fn covers(&mut self, code: Code, span: Span) -> bool {
        let mut covers = false;
        for subject in [Some(span), None] {
            for at in self.by_subject.get(&(code, subject)).into_iter().flatten() {
                self.used[*at] = true;
                covers = true;
            }
        }
        covers
    }

    /// Reports the entries that allowed nothing.
    pub(super) fn report_unused(&self, sink: &mut Sink) {
        for (entry, _) in self.entries.iter().zip(&self.used).filter(|(_, used)| !**used) {
            let about = if entry.about.is_some() { "what it names" } else { "this policy" };
            let message = format!("unused allow: there is no finding {} about {about}", entry.code);
            sink.push(Diagnostic::new(Code::UnusedAllow, entry.span, message).help("remove the entry"));
        }
    }
}
