//! Whom the entries of `from` and `to` name, as far as the kinds of policy agree about it.

use std::net::IpAddr;

use super::rules::{Peer, Peers};
use super::selector::{Whose, any_pod, label_selector};
use crate::address::Prefix;
use crate::diagnostic::{Code, Sink};
use crate::document::decode::text;
use crate::document::shortened;
use crate::selector::{LabelExpression, Operator, Requirement};
use crate::syntax::Node;

/// Peers as they are collected.
pub(super) struct Peering {
    /// No list was there, or an empty one.
    pub(super) any: bool,
    pub(super) peers: Vec<Peer>,
}

impl Default for Peering {
    fn default() -> Self {
        Self { any: true, peers: Vec::new() }
    }
}

impl Peering {
    /// `None` where a list was there and nothing is left of it: the rule must not come to mean everybody.
    pub(super) fn finish(self) -> Option<Peers> {
        match (self.any, self.peers.is_empty()) {
            (true, _) => Some(Peers::Any),
            (false, true) => None,
            (false, false) => Some(Peers::Some(self.peers)),
        }
    }
}

/// The pods that `podSelector` selects in the namespaces that `namespaceSelector` selects. Absent is everybody.
pub(super) fn selected_pods(
    namespaces: Option<Node<'_>>,
    pods: Option<Node<'_>>,
    sink: &mut Sink,
) -> Option<LabelExpression> {
    let mut requirements = Vec::new();
    for (node, whose) in [(namespaces, Whose::Namespace), (pods, Whose::Pod)] {
        if let Some(node) = node {
            requirements.extend(label_selector(node, whose, sink)?);
        }
    }
    // What holds where a key is absent would also hold of a workload that is no pod, once somebody adds one.
    let holds_of_others = |requirement: &Requirement| {
        matches!(requirement.operator, Operator::NotIn(_) | Operator::DoesNotExist)
    };
    if requirements.iter().all(holds_of_others) {
        requirements.insert(0, any_pod());
    }
    Some(LabelExpression { requirements })
}

/// A prefix. Bits behind its length are cleared, as Kubernetes does.
pub(super) fn cidr(node: Node<'_>, sink: &mut Sink) -> Option<Prefix> {
    let text = text(node, sink)?;
    let prefix = text.value.split_once('/').and_then(|(address, length)| {
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let digits = length.bytes().all(|byte| byte.is_ascii_digit());
        let length = length.parse::<u8>().ok().filter(|length| *length <= most && digits)?;
        Some(Prefix::containing(address, length))
    });
    if prefix.is_none() {
        let message = format!("`{}` is not a prefix such as `10.0.0.0/8`", shortened(&text.value));
        sink.report(Code::MalformedPrefix, text.span, message);
    }
    prefix
}
