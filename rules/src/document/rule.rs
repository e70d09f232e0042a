//! `[[rule]]`: who may reach whom with what.

use std::sync::Arc;

use super::decode::{Spanned, Table, date, integer, list, some_list, text, title, word};
use super::selector::{SelectorText, selector};
use super::service::{ServiceEntry, service_entry};
use super::settings::deny_with;
use super::{Name, named_span, shortened, tables};
use crate::date::Date;
use crate::diagnostic::{Code, Diagnostic, Sink};
use crate::rule::{Action, DenyWith, LogMode, Rule, Tier};
use crate::source::Span;
use crate::syntax::{Node, Value};
use crate::verdict::Gate;

/// One `[[rule]]`. What could not be read is absent, and has been reported.
#[derive(Debug)]
pub(crate) struct RuleText {
    pub(crate) name: Option<Name>,
    pub(crate) tier: Tier,
    pub(crate) priority: u32,
    pub(crate) action: Option<Action>,
    pub(crate) side: Option<Gate>,
    pub(crate) from: Option<SelectorText>,
    pub(crate) to: Option<SelectorText>,
    pub(crate) services: Vec<ServiceEntry>,
    pub(crate) except: Vec<ExceptText>,
    pub(crate) expires: Option<Date>,
    pub(crate) audit: bool,
    pub(crate) log: LogMode,
    pub(crate) deny_with: Option<Spanned<DenyWith>>,
    pub(crate) owner: Option<Arc<str>>,
    pub(crate) why: Option<Arc<str>>,
    pub(crate) ticket: Option<Arc<str>>,
    pub(crate) span: Span,
}

/// One entry of `except`; what it leaves out is everything.
#[derive(Debug)]
pub(crate) struct ExceptText {
    pub(crate) from: Option<SelectorText>,
    pub(crate) to: Option<SelectorText>,
    pub(crate) services: Option<Vec<ServiceEntry>>,
    pub(crate) span: Span,
}

pub(super) fn rules(node: Option<Node<'_>>, sink: &mut Sink) -> Vec<RuleText> {
    tables(node, sink).into_iter().map(|table| rule(table, sink)).collect()
}

fn rule(mut table: Table<'_>, sink: &mut Sink) -> RuleText {
    let span = table.span;
    let name = table.require("name", "a rule", sink).and_then(|node| title(node, "rule", sink));
    let what = match &name {
        Some(name) => format!("rule `{}`", name.value),
        None => "a rule".to_owned(),
    };
    let tiers = Tier::ALL.map(|tier| (tier.name(), tier));
    let tier = table.get("tier", sink, |node, sink| word(node, &tiers, sink));
    let priority = table.get("priority", sink, |node, sink| {
        integer(node, "a priority (the lowest comes first)", 0..=u64::from(u32::MAX), sink)
    });
    let sides = [("egress", Gate::Egress), ("ingress", Gate::Ingress)];
    let (action, services) = action(&mut table, named_span(name.as_ref(), span), &what, sink);
    let rule = RuleText {
        tier: tier.map_or(Tier::default(), |tier| tier.value),
        priority: priority.map_or(Rule::DEFAULT_PRIORITY, |priority| priority.value as u32),
        action,
        side: table.get("side", sink, |node, sink| word(node, &sides, sink)).map(|side| side.value),
        from: table.get("from", sink, selector),
        to: table.get("to", sink, selector),
        services,
        except: table.get("except", sink, except).unwrap_or_default(),
        expires: table.get("expires", sink, date).map(|date| date.value),
        audit: table.get("mode", sink, rule_mode).unwrap_or(false),
        log: table.get("log", sink, log).unwrap_or_default(),
        deny_with: table.get("deny_with", sink, deny_with),
        owner: table.get("owner", sink, free_text),
        why: table.get("why", sink, free_text),
        ticket: table.get("ticket", sink, free_text),
        name,
        span,
    };
    table.close(&what, sink);
    rule
}

/// Exactly one of `allow`, `deny` and `pass`, with its services.
fn action(
    table: &mut Table<'_>,
    span: Span,
    what: &str,
    sink: &mut Sink,
) -> (Option<Action>, Vec<ServiceEntry>) {
    let mut chosen: Option<(Action, Span)> = None;
    let mut services = Vec::new();
    for (key, action) in [("allow", Action::Allow), ("deny", Action::Deny), ("pass", Action::Pass)] {
        let Some(node) = table.take(key) else { continue };
        if let Some((first, first_span)) = chosen {
            let message = format!("{what} has both `{first}` and `{action}`");
            sink.push(
                Diagnostic::new(Code::RuleAction, node.span, message)
                    .related(first_span, "the other action")
                    .help("write two rules"),
            );
            continue;
        }
        chosen = Some((action, node.span));
        let instead = "write `any` for every service";
        let list = some_list(node, sink, instead, service_entry);
        services = list.map(|list| list.value).unwrap_or_default();
    }
    if chosen.is_none() {
        sink.push(
            Diagnostic::new(
                Code::RuleAction,
                span,
                format!("{what} says neither `allow`, `deny` nor `pass`"),
            )
            .help("add one of them with its services, as in `allow = [\"tcp/443\"]`"),
        );
    }
    (chosen.map(|(action, _)| action), services)
}

fn except(node: Node<'_>, sink: &mut Sink) -> Option<Vec<ExceptText>> {
    let holes = list(node, sink, |node, sink| {
        let mut table = Table::open(node, sink)?;
        let span = table.span;
        let instead = "remove the key for every service";
        let hole = ExceptText {
            from: table.get("from", sink, selector),
            to: table.get("to", sink, selector),
            services: table
                .get("services", sink, |node, sink| some_list(node, sink, instead, service_entry))
                .map(|services| services.value),
            span,
        };
        table.close("an `except`", sink);
        Some(hole)
    });
    Some(holes.value)
}

/// Rules are enforced unless they say `audit`.
fn rule_mode(node: Node<'_>, sink: &mut Sink) -> Option<bool> {
    super::settings::mode(node, sink).map(|mode| mode.value)
}

fn free_text(node: Node<'_>, sink: &mut Sink) -> Option<Arc<str>> {
    Some(text(node, sink)?.to_shared().value)
}

/// `none`, `new`, `all`, or `sample=1/N`.
fn log(node: Node<'_>, sink: &mut Sink) -> Option<LogMode> {
    if let Value::String(written) = &node.value
        && let Some(sample) = written.strip_prefix("sample=")
    {
        let plain = |word: &&str| word.bytes().all(|byte| byte.is_ascii_digit());
        let every = sample.strip_prefix("1/").filter(plain).and_then(|every| every.parse().ok());
        if let Some(every) = every.filter(|every| *every > 0) {
            return Some(LogMode::Sample(every));
        }
        let message = format!("`{}` is not a rate of sampling", shortened(sample));
        let help = "write `sample=1/100` for one packet in a hundred";
        sink.push(Diagnostic::new(Code::UnknownWord, node.span, message).help(help));
        return None;
    }
    let words = [
        ("none", LogMode::None),
        ("new", LogMode::New),
        ("all", LogMode::All),
        ("sample=1/100", LogMode::Sample(100)),
    ];
    word(node, &words, sink).map(|log| log.value)
}
