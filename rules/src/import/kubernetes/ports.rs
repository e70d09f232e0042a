//! Ports of rules and of containers. A named port means a number of the destination, and may mean another one at
//! each pod: see [`super::rules`] for how that becomes a rule.

use crate::diagnostic::{Code, Diagnostic, Sink};
use crate::document::decode::{Table, integer, list, text};
use crate::document::shortened;
use crate::port_range::PortRange;
use crate::proto::{Protocol, Service};
use crate::source::Span;
use crate::syntax::{Node, Value};

/// One entry of a rule's list of ports.
#[derive(Clone, Debug)]
pub(super) enum PortEntry {
    /// Known everywhere.
    Service(Service),
    /// To be looked up at the destination.
    Named { name: String, protocols: Vec<Protocol>, span: Span },
}

/// A port that a container gives a name.
#[derive(Clone, Debug)]
pub(super) struct ContainerPort {
    pub(super) name: String,
    pub(super) protocol: Protocol,
    pub(super) number: u16,
}

const PROTOCOLS: [(&str, Protocol); 3] =
    [("TCP", Protocol::TCP), ("UDP", Protocol::UDP), ("SCTP", Protocol::SCTP)];

/// `TCP`, `UDP` or `SCTP`.
fn protocol(node: Node<'_>, sink: &mut Sink) -> Option<Protocol> {
    crate::document::decode::word(node, &PROTOCOLS, sink).map(|protocol| protocol.value)
}

fn number(node: Node<'_>, sink: &mut Sink) -> Option<u16> {
    integer(node, "a port", 1..=u64::from(u16::MAX), sink).map(|number| number.value as u16)
}

fn service(protocol: Protocol, destination: PortRange) -> PortEntry {
    PortEntry::Service(Service { protocol: Some(protocol), source: PortRange::ALL, destination })
}

fn range(first: u16, last: u16, span: Span, sink: &mut Sink) -> Option<PortRange> {
    let range = PortRange::new(first, last);
    if let Err(error) = &range {
        sink.report(Code::InvalidManifest, span, error.to_string());
    }
    range.ok()
}

/// The name of a port as IANA and Kubernetes take it: 1 to 15 of `a-z`, `0-9` and `-`, with a letter in it.
fn port_name(node: Node<'_>, sink: &mut Sink) -> Option<String> {
    let name = text(node, sink)?;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let valid = name.value.len() <= 15
        && name.value.bytes().all(plain)
        && name.value.bytes().any(|byte| byte.is_ascii_lowercase());
    if !valid {
        let message = format!("`{}` is not the name of a port", shortened(&name.value));
        let digits = name.value.bytes().all(|byte| byte.is_ascii_digit());
        let help = if digits {
            "write the number without quotes"
        } else {
            "1 to 15 of a-z, 0-9 and `-`, with a letter"
        };
        sink.push(Diagnostic::new(Code::InvalidManifest, name.span, message).help(help));
        return None;
    }
    Some(name.value.into_owned())
}

/// A `NetworkPolicyPort`.
pub(super) fn network_policy_port(node: Node<'_>, sink: &mut Sink) -> Option<PortEntry> {
    let span = node.span;
    let errors = sink.errors();
    let mut table = Table::open(node, sink)?;
    let protocol = table.get("protocol", sink, protocol).unwrap_or(Protocol::TCP);
    let port = table.take("port");
    let end = table.get("endPort", sink, |node, sink| Some((node.span, number(node, sink)?)));
    let entry = match port {
        Some(node) if matches!(node.value, Value::String(_)) => {
            let span = node.span;
            let name = port_name(node, sink);
            if let Some((end_span, _)) = end {
                sink.report(Code::InvalidManifest, end_span, "`endPort` needs a numeric `port`");
            }
            name.map(|name| PortEntry::Named { name, protocols: vec![protocol], span })
        }
        Some(node) => number(node, sink).and_then(|first| {
            let (span, last) = end.unwrap_or((span, first));
            Some(service(protocol, range(first, last, span, sink)?))
        }),
        None => {
            if let Some((end_span, _)) = end {
                sink.report(Code::InvalidManifest, end_span, "`endPort` needs a numeric `port`");
            }
            Some(service(protocol, PortRange::ALL))
        }
    };
    table.close("a port of a NetworkPolicy", sink);
    entry.filter(|_| sink.errors() == errors)
}

/// An entry of `ports` of policy.networking.k8s.io/v1alpha1: `portNumber`, `portRange` or `namedPort`.
pub(super) fn admin_policy_port(node: Node<'_>, sink: &mut Sink) -> Option<PortEntry> {
    let span = node.span;
    let errors = sink.errors();
    let mut table = Table::open(node, sink)?;
    let by_number = table.get("portNumber", sink, |node, sink| {
        let mut table = Table::open(node, sink)?;
        let protocol = table.get("protocol", sink, protocol).unwrap_or(Protocol::TCP);
        let port = table.require("port", "a port", sink).and_then(|node| number(node, sink));
        table.close("a port", sink);
        Some(service(protocol, PortRange::single(port?)))
    });
    let by_range = table.get("portRange", sink, |node, sink| {
        let mut table = Table::open(node, sink)?;
        let protocol = table.get("protocol", sink, protocol).unwrap_or(Protocol::TCP);
        let range = first_and_last(&mut table, span, sink);
        table.close("a range of ports", sink);
        Some(service(protocol, range?))
    });
    let by_name = table.get("namedPort", sink, |node, sink| named_for_all(node, sink));
    table.close("a port", sink);
    one_of([by_number, by_range, by_name], span, errors, sink)
}

/// An entry of `protocols` of policy.networking.k8s.io/v1alpha2: `tcp`, `udp`, `sctp` or `destinationNamedPort`.
pub(super) fn cluster_policy_protocol(node: Node<'_>, sink: &mut Sink) -> Option<PortEntry> {
    let span = node.span;
    let errors = sink.errors();
    let mut table = Table::open(node, sink)?;
    let by_protocol =
        [("tcp", Protocol::TCP), ("udp", Protocol::UDP), ("sctp", Protocol::SCTP)].map(|(key, protocol)| {
            table.get(key, sink, |node, sink| {
                let mut table = Table::open(node, sink)?;
                let range = match table.take("destinationPort") {
                    Some(node) => destination_port(node, sink),
                    None => Some(PortRange::ALL),
                };
                table.close("a protocol", sink);
                Some(service(protocol, range?))
            })
        });
    let by_name = table.get("destinationNamedPort", sink, |node, sink| named_for_all(node, sink));
    table.close("a protocol", sink);
    let [tcp, udp, sctp] = by_protocol;
    one_of([tcp, udp, sctp, by_name], span, errors, sink)
}

/// A name that means the port of that name whatever its protocol.
fn named_for_all(node: Node<'_>, sink: &mut Sink) -> Option<PortEntry> {
    let span = node.span;
    let name = port_name(node, sink)?;
    Some(PortEntry::Named { name, protocols: PROTOCOLS.map(|(_, protocol)| protocol).to_vec(), span })
}

fn destination_port(node: Node<'_>, sink: &mut Sink) -> Option<PortRange> {
    let span = node.span;
    let mut table = Table::open(node, sink)?;
    let single = table.get("number", sink, number).map(PortRange::single);
    let range = table.get("range", sink, |node, sink| {
        let mut table = Table::open(node, sink)?;
        let range = first_and_last(&mut table, span, sink);
        table.close("a range of ports", sink);
        range
    });
    table.close("a destination port", sink);
    if single.is_some() == range.is_some() {
        sink.report(
            Code::InvalidManifest,
            span,
            "a destination port says exactly one of `number` and `range`",
        );
        return None;
    }
    single.or(range)
}

fn first_and_last(table: &mut Table<'_>, span: Span, sink: &mut Sink) -> Option<PortRange> {
    let first = table.require("start", "a range of ports", sink).and_then(|node| number(node, sink));
    let last = table.require("end", "a range of ports", sink).and_then(|node| number(node, sink));
    range(first?, last?, span, sink)
}

fn one_of<const N: usize>(
    entries: [Option<PortEntry>; N],
    span: Span,
    errors: usize,
    sink: &mut Sink,
) -> Option<PortEntry> {
    if sink.errors() > errors {
        return None;
    }
    let mut entries = entries.into_iter().flatten();
    let entry = entries.next();
    if entry.is_none() || entries.next().is_some() {
        sink.report(Code::InvalidManifest, span, "an entry says exactly one kind of port");
        return None;
    }
    entry
}

/// The named ports of a pod's `containers`, or of those `initContainers` that keep running.
pub(super) fn container_ports(node: Node<'_>, only_sidecars: bool, sink: &mut Sink) -> Vec<ContainerPort> {
    let containers = list(node, sink, |node, sink| {
        let mut table = Table::open(node, sink)?;
        let restarts = table.get("restartPolicy", sink, text).is_some_and(|policy| policy.value == "Always");
        if only_sidecars && !restarts {
            return None;
        }
        table.get("ports", sink, |node, sink| Some(list(node, sink, container_port).value))
    });
    containers.value.into_iter().flatten().flatten().collect()
}

/// A port of a container; `Some(None)` where it has no name, and nobody can ask for it.
fn container_port(node: Node<'_>, sink: &mut Sink) -> Option<Option<ContainerPort>> {
    let mut table = Table::open(node, sink)?;
    let protocol = match table.take("protocol") {
        Some(node) => protocol(node, sink)?,
        None => Protocol::TCP,
    };
    let number = table.require("containerPort", "a port of a container", sink);
    let number = number.and_then(|node| self::number(node, sink))?;
    let name = match table.take("name") {
        Some(node) => port_name(node, sink)?,
        None => return Some(None),
    };
    Some(Some(ContainerPort { name, protocol, number }))
}
