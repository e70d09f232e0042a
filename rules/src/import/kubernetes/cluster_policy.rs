//! `ClusterNetworkPolicy` (v1alpha2), `AdminNetworkPolicy` and `BaselineAdminNetworkPolicy` (v1alpha1) of
//! policy.networking.k8s.io to rules of the tiers `admin` and `baseline`.
//!
//! Rules keep their order: priority = the policy's priority x 1000 + the rule's index. Both spellings of every field are
//! read, whatever the version says, for the drafts of v1alpha1 differ among themselves.

use super::peers::{Peering, cidr, selected_pods};
use super::ports::{PortEntry, admin_policy_port, cluster_policy_protocol};
use super::rules::{Peer, RuleDraft};
use super::{Head, Import};
use crate::diagnostic::{Code, Diagnostic, Sink};
use crate::document::decode::{Table, integer, list, text, word};
use crate::document::shortened;
use crate::rule::{Action, Tier};
use crate::selector::LabelExpression;
use crate::source::Span;
use crate::syntax::{Node, Value};
use crate::verdict::Gate;

/// Rules between two priorities.
const STEP: u32 = 1000;

/// A policy's place in the order, to find those that share one.
pub(super) type Order = (Tier, u32);

/// The rules of a cluster-wide policy.
pub(super) fn cluster_policy(head: Head<'_>, import: &mut Import) -> Option<(Order, Vec<RuleDraft>)> {
    let Head { name, kind, mut body, .. } = head;
    let sink = &mut import.sink;
    let _ = body.take("status");
    let spec = body.require("spec", &kind, sink).and_then(|node| Table::open(node, sink));
    body.close(&kind, sink);
    let mut spec = spec?;
    let tier = match &*kind {
        "AdminNetworkPolicy" => Tier::Admin,
        "BaselineAdminNetworkPolicy" => Tier::Baseline,
        _ => {
            let node = spec.require("tier", &kind, sink)?;
            word(node, &[("Admin", Tier::Admin), ("Baseline", Tier::Baseline)], sink)?.value
        }
    };
    let priority = if kind == "BaselineAdminNetworkPolicy" {
        0
    } else {
        let node = spec.require("priority", &kind, sink)?;
        integer(node, "a priority", 0..=1000, sink)?.value as u32
    };
    let subject = spec.require("subject", &kind, sink).and_then(|node| subject(node, sink));
    let gates = [(Gate::Ingress, "ingress", "from"), (Gate::Egress, "egress", "to")];
    let lists = gates.map(|(_, key, _)| {
        spec.get(key, sink, |node, sink| Some(list(node, sink, |node, _| Some(node)).value))
            .unwrap_or_default()
    });
    spec.close(&format!("the `spec` of {kind}"), sink);
    let subject = subject?;
    let mut drafts = Vec::new();
    for ((gate, key, peers_key), list) in gates.into_iter().zip(lists) {
        for (index, node) in list.into_iter().enumerate() {
            let at = format!("{key}[{index}]");
            let place = import.sources.place(node.span);
            if index >= STEP as usize {
                let message = format!("a policy has at most {STEP} rules in one direction");
                import.sink.report(Code::TooLarge, node.span, message);
                break;
            }
            let Some(entry) = rule(node, peers_key, import) else { continue };
            let title = entry.name.map(|name| format!(" {name}")).unwrap_or_default();
            drafts.push(RuleDraft {
                name: format!("{kind} {name} {at}{title}"),
                tier,
                priority: Some(priority * STEP + index as u32),
                gate,
                action: entry.action,
                subject: subject.clone(),
                peers: entry.peers,
                ports: entry.ports,
                why: format!("{kind} {name}, spec.{at} ({}:{})", place.file, place.line),
            });
        }
    }
    Some(((tier, priority), drafts))
}

/// `namespaces: SELECTOR`, or `pods: {namespaceSelector, podSelector}`.
fn subject(node: Node<'_>, sink: &mut Sink) -> Option<LabelExpression> {
    let span = node.span;
    let mut table = Table::open(node, sink)?;
    let found = pods_or_namespaces(&mut table, sink);
    table.close("a subject", sink);
    one(found, span, "a subject", sink)
}

/// What `namespaces` and `pods` of a subject or peer select, each where it is there.
fn pods_or_namespaces(table: &mut Table<'_>, sink: &mut Sink) -> Vec<Option<LabelExpression>> {
    let mut found = Vec::new();
    if let Some(node) = table.take("namespaces") {
        found.push(namespace_selector(node, sink).and_then(|node| selected_pods(Some(node), None, sink)));
    }
    if let Some(node) = table.take("pods") {
        found.push(Table::open(node, sink).and_then(|mut table| {
            let pods = table.take("podSelector");
            let namespaces = match table.take("namespaces") {
                Some(node) => Some(namespace_selector(node, sink)?),
                None => table.take("namespaceSelector"),
            };
            table.close("`pods`", sink);
            selected_pods(namespaces, pods, sink)
        }));
    }
    found
}

/// The selector itself, or the `{namespaceSelector: ...}` of the first drafts.
fn namespace_selector<'t>(node: Node<'t>, sink: &mut Sink) -> Option<Node<'t>> {
    let Value::Table(entries) = &node.value else { return Some(node) };
    if !entries.iter().any(|(key, _)| key.name == "namespaceSelector") {
        return Some(node);
    }
    let mut table = Table::open(node, sink)?;
    let selector = table.take("namespaceSelector");
    table.close("`namespaces`", sink);
    selector
}

fn one(
    found: Vec<Option<LabelExpression>>,
    span: Span,
    what: &str,
    sink: &mut Sink,
) -> Option<LabelExpression> {
    if found.len() != 1 {
        let message = format!("{what} says exactly one of `namespaces` and `pods`");
        sink.report(Code::InvalidManifest, span, message);
        return None;
    }
    found.into_iter().next().flatten()
}

struct Entry {
    name: Option<String>,
    action: Action,
    peers: super::rules::Peers,
    ports: Option<Vec<PortEntry>>,
}

/// One rule. `None` where nothing is left of it.
fn rule(node: Node<'_>, peers_key: &'static str, import: &mut Import) -> Option<Entry> {
    let errors = import.sink.errors();
    let sink = &mut import.sink;
    let mut table = Table::open(node, sink)?;
    let name = table.get("name", sink, text).and_then(|name| {
        let plain = name.value.len() <= 100 && !name.value.chars().any(char::is_control);
        if !plain {
            let message = format!("`{}` is not the name of a rule", shortened(&name.value));
            sink.report(Code::InvalidManifest, name.span, message);
        }
        (plain && !name.value.is_empty()).then(|| name.value.into_owned())
    });
    let actions =
        [("Accept", Action::Allow), ("Allow", Action::Allow), ("Deny", Action::Deny), ("Pass", Action::Pass)];
    let action = table.require("action", "a rule", sink).and_then(|node| word(node, &actions, sink));
    let peers = table.require(peers_key, "a rule", sink);
    let mut ports: Option<Vec<PortEntry>> = None;
    if let Some(node) = table.take("ports") {
        ports.get_or_insert_default().extend(list(node, sink, admin_policy_port).value);
    }
    if let Some(node) = table.take("protocols") {
        ports.get_or_insert_default().extend(list(node, sink, cluster_policy_protocol).value);
    }
    table.close("a rule", sink);
    let peers = peers?;
    let span = peers.span;
    let items = list(peers, sink, |node, _| Some(node)).value;
    if items.is_empty() {
        let message = format!("`{peers_key}` names nobody");
        sink.push(
            Diagnostic::new(Code::InvalidManifest, span, message).help("`namespaces: {}` is every pod"),
        );
    }
    let mut peering = Peering { any: false, peers: Vec::new() };
    for node in items {
        peer(node, &mut peering, import);
    }
    if import.sink.errors() > errors {
        return None;
    }
    let ports = ports.filter(|ports| !ports.is_empty());
    Some(Entry { name, action: action?.value, peers: peering.finish()?, ports })
}

fn peer(node: Node<'_>, peering: &mut Peering, import: &mut Import) -> Option<()> {
    let span = node.span;
    let sink = &mut import.sink;
    let mut table = Table::open(node, sink)?;
    let found = pods_or_namespaces(&mut table, sink);
    let networks = table.get("networks", sink, |node, sink| Some(list(node, sink, cidr).value));
    let beyond = ["nodes", "domainNames"].map(|key| table.take(key).map(|node| (key, node.span)));
    table.close("a peer", sink);
    let kinds = found.len()
        + usize::from(networks.is_some())
        + beyond.iter().filter(|beyond| beyond.is_some()).count();
    if kinds != 1 {
        sink.report(Code::InvalidManifest, span, "a peer says exactly one kind of peer");
        return None;
    }
    if let Some((key, span)) = beyond.into_iter().flatten().next() {
        let what = if key == "nodes" { "nodes are no workloads" } else { "names have no addresses" };
        import.unsupported(span, format!("`{key}` cannot be said: {what} of a policy"));
        return None;
    }
    for prefix in networks.unwrap_or_default() {
        peering.peers.push(Peer::Network(import.networks.name(prefix, Vec::new())));
    }
    peering.peers.extend(found.into_iter().flatten().map(Peer::Pods));
    Some(())
}
