//! `[lint]`: findings of the lint that the policy's authors accept, each with a reason.

use std::sync::Arc;

use super::decode::{Spanned, Table, shortened, text};
use super::{Name, tables};
use crate::diagnostic::{Code, Diagnostic, Sink, did_you_mean};
use crate::source::Span;
use crate::syntax::Node;

/// One entry of `allow`.
#[derive(Debug)]
pub(crate) struct AllowText {
    pub(crate) code: Code,
    /// What the finding is about; everything where nothing is named.
    pub(crate) about: Option<AboutText>,
    pub(crate) reason: Arc<str>,
    pub(crate) span: Span,
}

/// The one thing to which an entry is narrowed.
#[derive(Debug)]
pub(crate) enum AboutText {
    Rule(Name),
    Workload(Name),
    Service(Name),
    Network(Name),
}

/// The entries of a file's `[lint]`.
pub(super) fn allows(node: Option<Node<'_>>, sink: &mut Sink) -> Vec<AllowText> {
    let Some(mut table) = node.and_then(|node| Table::open(node, sink)) else { return Vec::new() };
    let entries = tables(table.take("allow"), sink);
    table.close("`[lint]`", sink);
    entries.into_iter().filter_map(|entry| allow(entry, sink)).collect()
}

fn allow(mut table: Table<'_>, sink: &mut Sink) -> Option<AllowText> {
    const WHAT: &str = "an entry of `allow`";
    type Kind = fn(Name) -> AboutText;
    let span = table.span;
    let code = table.require("code", WHAT, sink).and_then(|node| lint_code(node, sink));
    let reason = table.require("reason", WHAT, sink).and_then(|node| reason(node, sink));
    let kinds: [(&'static str, Kind); 4] = [
        ("rule", AboutText::Rule),
        ("workload", AboutText::Workload),
        ("service", AboutText::Service),
        ("network", AboutText::Network),
    ];
    let mut first: Option<(&str, Span)> = None;
    let mut about = Some(None);
    for (key, kind) in kinds {
        let Some(node) = table.take(key) else { continue };
        if let Some((other, place)) = first {
            let message = format!("{WHAT} has both `{other}` and `{key}`");
            let conflict = Diagnostic::new(Code::ConflictingKeys, node.span, message);
            sink.push(conflict.related(place, "the other name").help("write two entries"));
            continue;
        }
        first = Some((key, node.span));
        about = text(node, sink).map(|name| Some(kind(name.to_shared())));
    }
    table.close(WHAT, sink);
    // An entry whose name was refused must not become one about everything.
    Some(AllowText { code: code?, about: about?, reason: reason?, span })
}

fn lint_code(node: Node<'_>, sink: &mut Sink) -> Option<Code> {
    let text = text(node, sink)?;
    let known = Code::ALL.iter().find(|code| code.to_string() == text.value);
    let problem = match known {
        Some(code) if code.is_lint() => return Some(*code),
        Some(code) => Diagnostic::new(
            Code::UnknownWord,
            text.span,
            format!("`{code}` ({}) is no finding of the lint, and cannot be allowed", code.title()),
        ),
        None => {
            let lints: Vec<String> =
                Code::ALL.iter().filter(|code| code.is_lint()).map(Code::to_string).collect();
            let message = format!("`{}` is no code of a lint", shortened(&text.value));
            Diagnostic::new(Code::UnknownWord, text.span, message)
                .help("write the code that the finding shows, as in `S0910`")
                .help_maybe(did_you_mean(&text.value, lints.iter().map(String::as_str)))
        }
    };
    sink.push(problem);
    None
}

fn reason(node: Node<'_>, sink: &mut Sink) -> Option<Arc<str>> {
    let Spanned { value, span } = text(node, sink)?.to_shared();
    if value.trim().is_empty() {
        let problem = Diagnostic::new(Code::MissingKey, span, "the `reason` is empty");
        sink.push(problem.help("say why the finding is accepted"));
        return None;
    }
    Some(value)
}
