//! `LabelSelector` and `LabelSelectorRequirement` (meta/v1), rewritten to the labels that imported pods carry:
//! `pod.KEY`, `ns.KEY`.
//!
//! An empty selector means everybody; an absent one is the caller's business, for what it means differs from field
//! to field. `NotIn` and `DoesNotExist` hold where the key is absent, as our own `notin` and `!key` do.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::diagnostic::{Code, Diagnostic, Sink};
use crate::document::decode::{Table, list, text, unknown_word};
use crate::document::shortened;
use crate::selector::{LabelExpression, Operator, Requirement};
use crate::source::Span;
use crate::syntax::Node;

/// The label that every namespace carries, set by the API server.
pub(super) const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Whose labels a selector reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    Pod,
    Namespace,
}

impl Whose {
    /// The key under which an imported pod carries the label.
    pub(super) fn key(self, key: &str) -> Arc<str> {
        match self {
            Self::Pod => format!("pod.{key}").into(),
            Self::Namespace => format!("ns.{key}").into(),
        }
    }
}

/// The requirement that a pod is in the namespace of that name.
pub(super) fn in_namespace(name: &str) -> Requirement {
    let key = Whose::Namespace.key(NAMESPACE_NAME);
    Requirement { key, operator: Operator::In(vec![Arc::from(name)]) }
}

/// What every imported pod fulfils.
pub(super) fn any_pod() -> Requirement {
    Requirement { key: Whose::Namespace.key(NAMESPACE_NAME), operator: Operator::Exists }
}

/// A `LabelSelector`. `None` where it is wrong, which has been reported.
pub(super) fn label_selector(node: Node<'_>, whose: Whose, sink: &mut Sink) -> Option<Vec<Requirement>> {
    let errors = sink.errors();
    let mut table = Table::open(node, sink)?;
    let mut requirements = Vec::new();
    if let Some(labels) = table.get("matchLabels", sink, Table::open) {
        for (key, node) in labels.into_named() {
            let Some(value) = text(node, sink) else { continue };
            if is_key(&key.name, key.span, sink) && is_value(&value.value, value.span, sink) {
                let operator = Operator::In(vec![Arc::from(&*value.value)]);
                requirements.push(Requirement { key: whose.key(&key.name), operator });
            }
        }
    }
    let expressions = table.get("matchExpressions", sink, |node, sink| {
        Some(list(node, sink, |node, sink| expression(node, whose, sink)).value)
    });
    requirements.extend(expressions.into_iter().flatten());
    table.close("a label selector", sink);
    (sink.errors() == errors).then_some(requirements)
}

fn expression(node: Node<'_>, whose: Whose, sink: &mut Sink) -> Option<Requirement> {
    const OPERATORS: [&str; 4] = ["In", "NotIn", "Exists", "DoesNotExist"];
    let span = node.span;
    let mut table = Table::open(node, sink)?;
    let key = table.require("key", "a requirement", sink).and_then(|node| text(node, sink));
    let operator = table.require("operator", "a requirement", sink).and_then(|node| text(node, sink));
    let values =
        table.get("values", sink, |node, sink| Some(list(node, sink, |node, sink| text(node, sink))));
    table.close("a requirement", sink);
    let (key, operator) = (key?, operator?);
    let values = values.map(|values| values.value).unwrap_or_default();
    let valid = is_key(&key.value, key.span, sink)
        & values.iter().all(|value| is_value(&value.value, value.span, sink));
    let lists = matches!(&*operator.value, "In" | "NotIn");
    if OPERATORS.contains(&&*operator.value) && lists == values.is_empty() {
        let message = match lists {
            true => format!("`{}` needs values", operator.value),
            false => format!("`{}` takes no values", operator.value),
        };
        sink.report(Code::InvalidManifest, span, message);
        return None;
    }
    let mut values: Vec<Arc<str>> = values.into_iter().map(|value| Arc::from(&*value.value)).collect();
    values.sort();
    values.dedup();
    let operator = match &*operator.value {
        "In" => Operator::In(values),
        "NotIn" => Operator::NotIn(values),
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        _ => {
            unknown_word(&operator, &OPERATORS, sink);
            return None;
        }
    };
    valid.then(|| Requirement { key: whose.key(&key.value), operator })
}

/// A label's key as Kubernetes takes it: letters, digits, `-`, `_`, `.`, with an optional prefix and `/`.
pub(super) fn is_key(key: &str, span: Span, sink: &mut Sink) -> bool {
    let (prefix, name) = key.split_once('/').unwrap_or(("a", key));
    let valid = is_word(prefix, 253) && is_word(name, 63) && !prefix.is_empty() && !name.is_empty();
    if !valid {
        let message = format!("`{}` is not the key of a label", shortened(key));
        sink.report(Code::InvalidManifest, span, message);
    }
    valid
}

/// A label's value as Kubernetes takes it.
pub(super) fn is_value(value: &str, span: Span, sink: &mut Sink) -> bool {
    let valid = is_word(value, 63);
    if !valid {
        let message = format!("`{}` is not the value of a label", shortened(value));
        sink.push(
            Diagnostic::new(Code::InvalidManifest, span, message)
                .help("at most 63 letters, digits, `-`, `_` and `.`"),
        );
    }
    valid
}

fn is_word(text: &str, longest: usize) -> bool {
    text.len() <= longest && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// The expression as a policy file writes it.
pub(super) fn written(expression: &LabelExpression) -> String {
    let mut text = String::new();
    for requirement in &expression.requirements {
        let key = &requirement.key;
        let comma = if text.is_empty() { "" } else { "," };
        // Writing to a string does not fail.
        let _ = match &requirement.operator {
            Operator::In(values) if values.len() == 1 => write!(text, "{comma}{key}={}", values[0]),
            Operator::NotIn(values) if values.len() == 1 => write!(text, "{comma}{key}!={}", values[0]),
            Operator::In(values) => write!(text, "{comma}{key} in ({})", values.join(",")),
            Operator::NotIn(values) => write!(text, "{comma}{key} notin ({})", values.join(",")),
            Operator::Exists => write!(text, "{comma}{key}"),
            Operator::DoesNotExist => write!(text, "{comma}!{key}"),
        };
    }
    text
}
