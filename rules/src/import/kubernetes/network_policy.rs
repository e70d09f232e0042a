//! `NetworkPolicy` (networking.k8s.io/v1) to rules of the tier `app`.
//!
//! A policy's allows are one-sided; that a pod is isolated in a direction is a one-sided `deny` of everything, behind all
//! of them. What is absent and what is empty differ: no `from` (or an empty one) is everybody, an empty
//! `podSelector` every pod, no `policyTypes` means `Ingress`, and `Egress` if there are egress rules.

use super::peers::{Peering, cidr, selected_pods};
use super::rules::{Peer, Peers, RuleDraft};
use super::selector::{Whose, in_namespace, label_selector};
use super::{Head, Import};
use crate::diagnostic::{Code, Diagnostic, Sink};
use crate::document::decode::{Table, list, text, unknown_word};
use crate::rule::{Action, Tier};
use crate::selector::LabelExpression;
use crate::syntax::Node;
use crate::verdict::Gate;

/// The priority of isolation: behind every allow.
const LAST: u32 = u32::MAX;

/// One direction of a policy: what its keys are called.
#[derive(Clone, Copy)]
struct Direction {
    gate: Gate,
    policy_type: &'static str,
    rules: &'static str,
    peers: &'static str,
}

const DIRECTIONS: [Direction; 2] = [
    Direction { gate: Gate::Ingress, policy_type: "Ingress", rules: "ingress", peers: "from" },
    Direction { gate: Gate::Egress, policy_type: "Egress", rules: "egress", peers: "to" },
];

/// The rules of a `NetworkPolicy`.
pub(super) fn network_policy(head: Head<'_>, import: &mut Import) -> Vec<RuleDraft> {
    let Head { namespace, name, span, mut body, .. } = head;
    let who = format!("{namespace}/{name}");
    let object = format!("NetworkPolicy {who}");
    let place = import.sources.place(span);
    let _ = body.take("status");
    let spec = body.get("spec", &mut import.sink, Table::open);
    body.close("a NetworkPolicy", &mut import.sink);
    let mut spec = spec.unwrap_or_else(|| Table::empty(span));
    let mut subject = LabelExpression { requirements: vec![in_namespace(&namespace)] };
    if let Some(node) = spec.take("podSelector") {
        let Some(requirements) = label_selector(node, Whose::Pod, &mut import.sink) else {
            return Vec::new();
        };
        subject.requirements.extend(requirements);
    }
    let lists = DIRECTIONS.map(|direction| {
        let list = spec.get(direction.rules, &mut import.sink, |node, sink| {
            let span = node.span;
            Some((span, list(node, sink, |node, _| Some(node)).value))
        });
        list.unwrap_or((span, Vec::new()))
    });
    let types = spec.get("policyTypes", &mut import.sink, policy_types).unwrap_or_default();
    spec.close("the `spec` of a NetworkPolicy", &mut import.sink);
    let mut drafts = Vec::new();
    for (direction, (list_span, list)) in DIRECTIONS.into_iter().zip(lists) {
        let isolates = match types.is_empty() {
            true => direction.gate == Gate::Ingress || !list.is_empty(),
            false => types.contains(&direction.gate),
        };
        if !isolates {
            if !list.is_empty() {
                let message = format!(
                    "`{}` has no effect: `policyTypes` does not name `{}`",
                    direction.rules, direction.policy_type
                );
                import.sink.report(Code::ImportRemark, list_span, message);
            }
            continue;
        }
        for (index, node) in list.into_iter().enumerate() {
            let at = format!("{}[{index}]", direction.rules);
            let place = import.sources.place(node.span);
            let Some((peers, ports)) = rule(node, direction, &namespace, import) else { continue };
            drafts.push(RuleDraft {
                name: format!("{who} {at}"),
                tier: Tier::App,
                priority: None,
                gate: direction.gate,
                action: Action::Allow,
                subject: subject.clone(),
                peers,
                ports,
                why: format!("{object}, spec.{at} ({}:{})", place.file, place.line),
            });
        }
        drafts.push(RuleDraft {
            name: format!("{who} isolates {}", direction.gate),
            tier: Tier::App,
            priority: Some(LAST),
            gate: direction.gate,
            action: Action::Deny,
            subject: subject.clone(),
            peers: Peers::Any,
            ports: None,
            why: format!("{object} ({}:{}): nothing but what is allowed", place.file, place.line),
        });
    }
    drafts
}

fn policy_types(node: Node<'_>, sink: &mut Sink) -> Option<Vec<Gate>> {
    let types = list(node, sink, |node, sink| {
        let word = text(node, sink)?;
        let found = DIRECTIONS.iter().find(|direction| direction.policy_type == word.value);
        if found.is_none() {
            unknown_word(&word, &["Ingress", "Egress"], sink);
        }
        found.map(|direction| direction.gate)
    });
    Some(types.value)
}

/// Peers and ports of a rule. `None` where nothing is left of it.
fn rule(
    node: Node<'_>,
    direction: Direction,
    namespace: &str,
    import: &mut Import,
) -> Option<(Peers, Option<Vec<super::ports::PortEntry>>)> {
    let errors = import.sink.errors();
    let mut table = Table::open(node, &mut import.sink)?;
    let peers = table.take(direction.peers);
    let ports = table.get("ports", &mut import.sink, |node, sink| {
        Some(list(node, sink, super::ports::network_policy_port).value)
    });
    table.close("a rule of a NetworkPolicy", &mut import.sink);
    let mut peering = Peering::default();
    let items = peers.map(|node| list(node, &mut import.sink, |node, _| Some(node)).value);
    for node in items.unwrap_or_default() {
        peering.any = false;
        peer(node, namespace, &mut peering, import);
    }
    if import.sink.errors() > errors {
        return None;
    }
    Some((peering.finish()?, ports.filter(|ports| !ports.is_empty())))
}

fn peer(node: Node<'_>, namespace: &str, peering: &mut Peering, import: &mut Import) -> Option<()> {
    let span = node.span;
    let sink = &mut import.sink;
    let mut table = Table::open(node, sink)?;
    let block = table.take("ipBlock");
    let (pods, namespaces) = (table.take("podSelector"), table.take("namespaceSelector"));
    table.close("a peer", sink);
    match (block, pods, namespaces) {
        (None, None, None) => {
            sink.push(
                Diagnostic::new(Code::InvalidManifest, span, "the peer names nobody").help(
                    "leave out the list for everybody; `podSelector: {}` is every pod of the namespace",
                ),
            );
            return None;
        }
        (None, pods, namespaces) => {
            let expression = match namespaces {
                Some(namespaces) => selected_pods(Some(namespaces), pods, sink)?,
                None => {
                    let mut requirements = vec![in_namespace(namespace)];
                    requirements.extend(label_selector(pods?, Whose::Pod, sink)?);
                    LabelExpression { requirements }
                }
            };
            peering.peers.push(Peer::Pods(expression));
        }
        (Some(block), None, None) => {
            let mut table = Table::open(block, sink)?;
            let include = table.require("cidr", "an ipBlock", sink).and_then(|node| cidr(node, sink));
            let except = table.get("except", sink, |node, sink| {
                Some(list(node, sink, |node, sink| Some((node.span, cidr(node, sink)?))).value)
            });
            table.close("an ipBlock", sink);
            let include = include?;
            let mut taken_out = Vec::new();
            for (span, prefix) in except.unwrap_or_default() {
                if !include.covers(prefix) || include == prefix {
                    let message = format!("`{prefix}` is no part of `{include}`");
                    sink.report(Code::InvalidManifest, span, message);
                }
                taken_out.push(prefix);
            }
            peering.peers.push(Peer::Network(import.networks.name(include, taken_out)));
        }
        (Some(block), ..) => {
            let message = "`ipBlock` stands alone: no selector beside it";
            sink.report(Code::InvalidManifest, block.span, message);
            return None;
        }
    }
    Some(())
}
