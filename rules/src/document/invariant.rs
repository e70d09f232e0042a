//! `[[invariant]]`: what must hold for every packet.

use super::decode::{Table, list, some_list, title};
use super::party::{PartyText, party};
use super::selector::{SelectorText, selector};
use super::service::{ServiceEntry, service_entry};
use super::{Name, named_span, tables};
use crate::diagnostic::{Code, Diagnostic, Sink};
use crate::source::Span;
use crate::syntax::Node;

/// One `[[invariant]]`.
#[derive(Debug)]
pub(crate) struct InvariantText {
    pub(crate) name: Name,
    pub(crate) claim: ClaimText,
    pub(crate) span: Span,
}

/// What it claims.
#[derive(Debug)]
pub(crate) enum ClaimText {
    Never { from: Option<SelectorText>, to: Option<SelectorText>, services: Option<Vec<ServiceEntry>> },
    Only { from: Option<SelectorText>, to: Option<SelectorText>, services: Option<Vec<ServiceEntry>> },
    BlastRadius { of: SelectorText, at_most: Vec<PartyText> },
}

pub(super) fn invariants(node: Option<Node<'_>>, sink: &mut Sink) -> Vec<InvariantText> {
    tables(node, sink).into_iter().filter_map(|table| invariant(table, sink)).collect()
}

fn invariant(mut table: Table<'_>, sink: &mut Sink) -> Option<InvariantText> {
    let span = table.span;
    let name = table.require("name", "an invariant", sink).and_then(|node| title(node, "invariant", sink));
    let what = match &name {
        Some(name) => format!("invariant `{}`", name.value),
        None => "an invariant".to_owned(),
    };
    let mut chosen: Option<(&str, Span)> = None;
    let mut claim = None;
    for key in ["never", "only", "blast_radius"] {
        let Some(node) = table.take(key) else { continue };
        if let Some((first, first_span)) = chosen {
            sink.push(
                Diagnostic::new(
                    Code::InvariantShape,
                    node.span,
                    format!("{what} has both `{first}` and `{key}`"),
                )
                .related(first_span, "the other claim")
                .help("write two invariants"),
            );
            continue;
        }
        chosen = Some((key, node.span));
        claim = if key == "blast_radius" { blast_radius(node, sink) } else { flows(node, key, sink) };
    }
    if chosen.is_none() {
        let at = named_span(name.as_ref(), span);
        let message = format!("{what} says neither `never`, `only` nor `blast_radius`");
        let help = "add one of them, as in `never = { from = \"world\", to = \"app=db\" }`";
        sink.push(Diagnostic::new(Code::InvariantShape, at, message).help(help));
    }
    table.close(&what, sink);
    Some(InvariantText { name: name?, claim: claim?, span })
}

/// `{ from, to, services }` of `never` and `only`. One end at least is named: else the claim is about everything.
fn flows(node: Node<'_>, key: &str, sink: &mut Sink) -> Option<ClaimText> {
    let mut table = Table::open(node, sink)?;
    let what = format!("`{key}`");
    let named = table.span_of("from").is_some() || table.span_of("to").is_some();
    if !named {
        let message = format!("{what} names neither `from` nor `to`");
        sink.push(Diagnostic::new(Code::MissingKey, table.span, message).help("say whom it is about"));
    }
    let (from, to) = (table.get("from", sink, selector), table.get("to", sink, selector));
    let services = table.get("services", sink, |node, sink| {
        some_list(node, sink, "remove the key for every service", service_entry)
    });
    table.close(&what, sink);
    let services = services.map(|services| services.value);
    named.then_some(match key {
        "never" => ClaimText::Never { from, to, services },
        _ => ClaimText::Only { from, to, services },
    })
}

fn blast_radius(node: Node<'_>, sink: &mut Sink) -> Option<ClaimText> {
    let mut table = Table::open(node, sink)?;
    let what = "`blast_radius`";
    let of = table.require("of", what, sink).and_then(|node| selector(node, sink));
    // An empty list is a claim too: it reaches nobody.
    let at_most = table.require("at_most", what, sink).map(|node| list(node, sink, party).value);
    table.close(what, sink);
    Some(ClaimText::BlastRadius { of: of?, at_most: at_most? })
}
