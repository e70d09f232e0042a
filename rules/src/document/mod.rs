//! What policy files say, as they say it: every table decoded and spanned, names still names.
//!
//! A [`Document`] may be collected from several files (`include`); each adds to it. What is wrong inside one table is
//! reported here; what is wrong between tables is [`crate::resolve`]'s business. A table that is wrong in
//! part stays in the document under its name, so that one error does not make a dozen unknown names.

pub(crate) mod decode;
mod endpoint;
mod invariant;
mod lint;
mod party;
mod port;
mod rule;
mod selector;
mod service;
mod settings;
mod test_case;

use std::sync::Arc;

pub(crate) use decode::shortened;
use decode::{Spanned, Table, check_name, some_list, text};
pub(crate) use endpoint::{SegmentText, UplinkText, WorkloadText};
pub(crate) use invariant::{ClaimText, InvariantText};
pub(crate) use lint::{AboutText, AllowText};
pub(crate) use party::{PartyText, party};
pub(crate) use port::PortText;
pub(crate) use rule::{ExceptText, RuleText};
pub(crate) use selector::{AlternativeText, SelectorText};
pub(crate) use service::{ServiceEntry, is_reserved as is_reserved_service, service_entry};
pub(crate) use settings::SettingsText;
pub(crate) use test_case::{CheckText, ExpectText, PacketText, TestText};

use crate::address::Prefix;
use crate::diagnostic::{Code, Diagnostic, Sink};
use crate::source::Span;
use crate::syntax::{Node, Value};

/// All that a set of files says.
#[derive(Debug, Default)]
pub(crate) struct Document {
    pub(crate) settings: SettingsText,
    pub(crate) segments: Vec<SegmentText>,
    pub(crate) workloads: Vec<WorkloadText>,
    pub(crate) uplinks: Vec<UplinkText>,
    pub(crate) services: Vec<ServiceText>,
    pub(crate) networks: Vec<NetworkText>,
    pub(crate) rules: Vec<RuleText>,
    pub(crate) tests: Vec<TestText>,
    pub(crate) invariants: Vec<InvariantText>,
    pub(crate) allows: Vec<AllowText>,
}

/// A name and where it is declared.
pub(crate) type Name = Spanned<Arc<str>>;

/// `NAME = [...]` of `[service]`.
#[derive(Debug)]
pub(crate) struct ServiceText {
    pub(crate) name: Name,
    pub(crate) entries: Vec<ServiceEntry>,
}

/// `NAME = ...` of `[cidr]`, in either shape.
#[derive(Debug)]
pub(crate) struct NetworkText {
    pub(crate) name: Name,
    pub(crate) include: Vec<Prefix>,
    pub(crate) except: Vec<Prefix>,
}

/// Which kind of file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// The file that was named: it must say its `version`.
    Main,
    /// A file that another includes.
    Included,
    /// `[[test]]` and `[[invariant]]` only, judged against another policy.
    Tests,
}

impl Document {
    /// Adds what a file says, and gives what it includes.
    pub(crate) fn add(&mut self, root: Node<'_>, kind: FileKind, sink: &mut Sink) -> Vec<Spanned<Arc<str>>> {
        let Some(mut table) = Table::open(root, sink) else { return Vec::new() };
        version(&mut table, kind, sink);
        self.tests.extend(test_case::tests(table.take("test"), sink));
        self.invariants.extend(invariant::invariants(table.take("invariant"), sink));
        if kind == FileKind::Tests {
            refuse_other_tables(table, sink);
            return Vec::new();
        }
        let include = table.get("include", sink, |node, sink| {
            some_list(node, sink, "remove the key to include nothing", |node, sink| {
                Some(text(node, sink)?.to_shared())
            })
        });
        self.settings.add(&mut table, sink);
        self.segments.extend(named(table.take("segment"), "segment", sink, endpoint::segment));
        self.workloads.extend(named(table.take("workload"), "workload", sink, endpoint::workload));
        self.uplinks.extend(named(table.take("uplink"), "uplink", sink, endpoint::uplink));
        self.services.extend(named(table.take("service"), "service", sink, service_text));
        self.networks.extend(named(table.take("cidr"), "network", sink, network));
        self.rules.extend(rule::rules(table.take("rule"), sink));
        self.allows.extend(lint::allows(table.take("lint"), sink));
        table.close("a policy", sink);
        include.map(|include| include.value).unwrap_or_default()
    }
}

fn version(table: &mut Table<'_>, kind: FileKind, sink: &mut Sink) {
    let Some(node) = table.take("version") else {
        if kind == FileKind::Main {
            let diagnostic = Diagnostic::new(Code::MissingKey, table.span, "the policy lacks `version`");
            sink.push(diagnostic.help("begin the file with `version = 1`"));
        }
        return;
    };
    match &node.value {
        Value::Integer(_, Some(1)) => {}
        Value::Integer(written, _) => {
            let message = format!("version {} of the policy language is not known", shortened(written));
            sink.push(
                Diagnostic::new(Code::UnsupportedVersion, node.span, message).help("write `version = 1`"),
            );
        }
        other => {
            let message = format!("expected an integer, found {}", other.kind());
            sink.push(Diagnostic::new(Code::WrongType, node.span, message).help("write `version = 1`"));
        }
    }
}

fn refuse_other_tables(table: Table<'_>, sink: &mut Sink) {
    for (key, _) in table.into_named() {
        let message = format!("a file of tests cannot declare `{}`", shortened(&key.name));
        let help =
            "it holds `[[test]]` and `[[invariant]]`; the rest is the policy's that it is judged against";
        sink.push(Diagnostic::new(Code::NotInTests, key.span, message).help(help));
    }
}

/// The entries of a table whose keys are names. An entry whose name is refused is left out.
fn named<'t, T>(
    node: Option<Node<'t>>,
    what: &str,
    sink: &mut Sink,
    decode: impl Fn(Name, Node<'t>, &mut Sink) -> T,
) -> Vec<T> {
    let Some(table) = node.and_then(|node| Table::open(node, sink)) else { return Vec::new() };
    let mut entries = Vec::new();
    for (key, node) in table.into_named() {
        if check_name(&key.name, key.span, what, sink) {
            entries.push(decode(Spanned::new(Arc::from(&*key.name), key.span), node, sink));
        }
    }
    entries
}

/// The tables of `[[...]]`, each opened.
fn tables<'t>(node: Option<Node<'t>>, sink: &mut Sink) -> Vec<Table<'t>> {
    let Some(node) = node else { return Vec::new() };
    let span = node.span;
    match node.value {
        Value::Array(items) => items.into_iter().filter_map(|item| Table::open(item, sink)).collect(),
        value @ Value::Table(_) => {
            sink.push(
                Diagnostic::new(Code::WrongType, span, "expected a list of tables, found a table")
                    .help("write the name in double brackets, as in `[[rule]]`"),
            );
            drop(value);
            Vec::new()
        }
        other => {
            sink.report(Code::WrongType, span, format!("expected a list of tables, found {}", other.kind()));
            Vec::new()
        }
    }
}

fn service_text(name: Name, node: Node<'_>, sink: &mut Sink) -> ServiceText {
    if is_reserved_service(&name.value) {
        let message =
            format!("`{}` means something in every list of services, so it cannot name one", name.value);
        sink.push(Diagnostic::new(Code::ReservedName, name.span, message).help("choose another name"));
    }
    let entries = some_list(node, sink, "remove the service, or list what it is", service::service_entry);
    ServiceText { name, entries: entries.map(|entries| entries.value).unwrap_or_default() }
}

fn network(name: Name, node: Node<'_>, sink: &mut Sink) -> NetworkText {
    let instead = "list prefixes, as in `[\"10.0.0.0/8\"]`";
    let (include, except) = if matches!(node.value, Value::Table(_)) {
        let Some(mut table) = Table::open(node, sink) else { unreachable!("the value is a table") };
        table.span = name.span;
        let what = format!("network `{}`", name.value);
        let include = table
            .require("in", &what, sink)
            .and_then(|node| some_list(node, sink, instead, endpoint::prefix))
            .map(|list| list.value);
        let except =
            table.get("except", sink, |node, sink| Some(decode::list(node, sink, endpoint::prefix).value));
        table.close(&what, sink);
        (include, except)
    } else {
        (some_list(node, sink, instead, endpoint::prefix).map(|list| list.value), None)
    };
    let bare = |list: Option<Vec<Spanned<Prefix>>>| {
        list.unwrap_or_default().into_iter().map(|prefix| prefix.value).collect()
    };
    NetworkText { name, include: bare(include), except: bare(except) }
}

/// The span to name for something that a table lacks: its name where it has one.
fn named_span(name: Option<&Name>, table: Span) -> Span {
    name.map_or(table, |name| name.span)
}
