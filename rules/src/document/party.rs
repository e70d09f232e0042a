//! Whom a test or invariant names: a workload, an address of the world, or all workloads that a label expression selects.

use std::net::IpAddr;

use super::Name;
use super::decode::{Spanned, text};
use super::selector::{AlternativeText, alternative_of};
use crate::diagnostic::{Code, Diagnostic, Sink};
use crate::selector::LabelExpression;
use crate::syntax::Node;

/// A party as written. The kinds cannot be mistaken: names hold no selector syntax.
#[derive(Debug)]
pub(crate) enum PartyText {
    Workload(Name),
    Address(Spanned<IpAddr>),
    Labels(Spanned<LabelExpression>),
}

pub(crate) fn party(node: Node<'_>, sink: &mut Sink) -> Option<PartyText> {
    let text = text(node, sink)?;
    let written = text.value.trim();
    if let Ok(address) = written.parse() {
        return Some(PartyText::Address(Spanned::new(address, text.span)));
    }
    if matches!(written, "any" | "world") || written.starts_with("cidr:") {
        let message = format!("`{written}` is nobody in particular");
        let help = "name a workload, a label expression as in `app=web`, or an address";
        sink.push(Diagnostic::new(Code::MalformedSelector, text.span, message).help(help));
        return None;
    }
    let is_expression = written.is_empty() || written.contains(['=', '!', '(', ',', ' ', '<', '>']);
    if !is_expression {
        return Some(PartyText::Workload(text.to_shared()));
    }
    match alternative_of(&text, sink)? {
        AlternativeText::Labels(expression) => Some(PartyText::Labels(Spanned::new(expression, text.span))),
        AlternativeText::Any | AlternativeText::World | AlternativeText::Network(_) => None,
    }
}
