//! `[[test]]`, in both shapes: who reaches whom, and what becomes of a packet.

use std::net::IpAddr;
use std::sync::Arc;

use super::decode::{Spanned, Table, integer, parsed, some_list, text, title, word};
use super::party::{PartyText, party};
use super::service::{ServiceEntry, service_entry};
use super::{Name, endpoint, named_span, tables};
use crate::diagnostic::{Code, Diagnostic, Sink};
use crate::mac::MacAddress;
use crate::source::Span;
use crate::syntax::{Node, Value};

/// One `[[test]]`.
#[derive(Debug)]
pub(crate) struct TestText {
    pub(crate) name: Name,
    pub(crate) check: CheckText,
    pub(crate) span: Span,
}

/// Its two shapes.
#[derive(Debug)]
pub(crate) enum CheckText {
    Reach {
        from: Vec<PartyText>,
        to: Vec<PartyText>,
        allow: Vec<ServiceEntry>,
        deny: Vec<ServiceEntry>,
        by: Option<Spanned<Arc<str>>>,
    },
    Packet(Box<PacketText>, ExpectText),
}

/// `expect`.
#[derive(Debug)]
pub(crate) struct ExpectText {
    pub(crate) admitted: bool,
    pub(crate) reason: Option<Arc<str>>,
}

/// `packet`.
#[derive(Debug)]
pub(crate) struct PacketText {
    pub(crate) workload: Spanned<Arc<str>>,
    pub(crate) source_mac: Option<MacAddress>,
    pub(crate) source: Option<Spanned<IpAddr>>,
    pub(crate) destination: Spanned<IpAddr>,
    pub(crate) protocol: ServiceEntry,
    pub(crate) source_port: Option<Spanned<u16>>,
    pub(crate) destination_port: Option<Spanned<u16>>,
    pub(crate) icmp_type: Option<Spanned<u8>>,
    pub(crate) icmp_code: Option<Spanned<u8>>,
    pub(crate) protocol_span: Span,
}

pub(super) fn tests(node: Option<Node<'_>>, sink: &mut Sink) -> Vec<TestText> {
    tables(node, sink).into_iter().filter_map(|table| test(table, sink)).collect()
}

fn test(mut table: Table<'_>, sink: &mut Sink) -> Option<TestText> {
    let span = table.span;
    let name = table.require("name", "a test", sink).and_then(|node| title(node, "test", sink));
    let what = match &name {
        Some(name) => format!("test `{}`", name.value),
        None => "a test".to_owned(),
    };
    table.span = named_span(name.as_ref(), span);
    let (packet, expect) = (table.take("packet"), table.take("expect"));
    let check = match (packet, expect) {
        (None, None) => reach(&mut table, &what, sink),
        (Some(packet), Some(expect)) => {
            for key in ["from", "to", "allow", "deny", "by"] {
                if let Some(other) = table.take(key) {
                    let message = format!("{what} has both `packet` and `{key}`");
                    sink.push(Diagnostic::new(Code::TestShape, other.span, message).help("write two tests"));
                }
            }
            let outcome = self::expect(expect, sink);
            let packet = self::packet(packet, sink);
            outcome.zip(packet).map(|(outcome, packet)| CheckText::Packet(Box::new(packet), outcome))
        }
        (packet, expect) => {
            let missing = if packet.is_none() { "packet" } else { "expect" };
            let message = format!("{what} lacks `{missing}`");
            let at = packet.or(expect).map_or(span, |node| node.span);
            sink.report(Code::TestShape, at, message);
            return None;
        }
    };
    table.close(&what, sink);
    Some(TestText { name: name?, check: check?, span })
}

fn reach(table: &mut Table<'_>, what: &str, sink: &mut Sink) -> Option<CheckText> {
    let instead = "name a workload, an address or a selector";
    let parties = |node: Option<Node<'_>>, sink: &mut Sink| {
        node.and_then(|node| some_list(node, sink, instead, party)).map(|list| list.value)
    };
    let from = table.require("from", what, sink);
    let from = parties(from, sink);
    let to = table.require("to", what, sink);
    let to = parties(to, sink);
    let (allow, deny) = (table.take("allow"), table.take("deny"));
    if allow.is_none() && deny.is_none() {
        let message = format!("{what} says neither `allow` nor `deny`");
        let help = "list the services that must pass, or must not";
        sink.push(Diagnostic::new(Code::TestShape, table.span, message).help(help));
    }
    let services = |node: Option<Node<'_>>, sink: &mut Sink| {
        node.and_then(|node| some_list(node, sink, "remove the key, or list services", service_entry))
            .map(|list| list.value)
            .unwrap_or_default()
    };
    let by = table.get("by", sink, text).map(|by| by.to_shared());
    if let Some(by) = by.as_ref().filter(|_| allow.is_none()) {
        let message = format!("{what} has `by` but no `allow`");
        let help = "`by` names the rule that must decide what `allow` lists";
        sink.push(Diagnostic::new(Code::TestShape, by.span, message).help(help));
    }
    let (allow, deny) = (services(allow, sink), services(deny, sink));
    Some(CheckText::Reach { from: from?, to: to?, allow, deny, by })
}

fn expect(node: Node<'_>, sink: &mut Sink) -> Option<ExpectText> {
    let mut table = Table::open(node, sink)?;
    let admitted = table
        .require("verdict", "`expect`", sink)
        .and_then(|node| word(node, &[("allow", true), ("drop", false)], sink));
    let reason = table.get("reason", sink, text);
    if let (Some(Spanned { value: true, .. }), Some(reason)) = (&admitted, &reason) {
        let message = "a packet that is admitted has no `reason`";
        sink.push(Diagnostic::new(Code::TestShape, reason.span, message).help("remove `reason`"));
    }
    table.close("`expect`", sink);
    Some(ExpectText { admitted: admitted?.value, reason: reason.map(|reason| reason.to_shared().value) })
}

fn packet(node: Node<'_>, sink: &mut Sink) -> Option<PacketText> {
    let errors_before = sink.errors();
    let mut table = Table::open(node, sink)?;
    let what = "`packet`";
    let workload = table.require("in", what, sink).and_then(|node| text(node, sink));
    let destination = table.require("dst_ip", what, sink).and_then(|node| endpoint::address(node, sink));
    let protocol_node = table.require("proto", what, sink);
    let protocol_span = protocol_node.as_ref().map_or(table.span, |node| node.span);
    let protocol = protocol_node.and_then(|node| protocol_entry(node, sink));
    let port = |node: Node<'_>, sink: &mut Sink| {
        let port = integer(node, "a port", 0..=u64::from(u16::MAX), sink)?;
        Some(Spanned::new(port.value as u16, port.span))
    };
    let octet = |node: Node<'_>, sink: &mut Sink| {
        let octet = integer(node, "an ICMP type or code", 0..=u64::from(u8::MAX), sink)?;
        Some(Spanned::new(octet.value as u8, octet.span))
    };
    // A frame may well come with a MAC that no station can have: that is what such a test is for.
    let source_mac = table.get("src_mac", sink, |node, sink| parsed(node, Code::MalformedMac, sink));
    let source = table.get("src_ip", sink, endpoint::address);
    let (source_port, destination_port) = (table.get("sport", sink, port), table.get("dport", sink, port));
    let (icmp_type, icmp_code) = (table.get("type", sink, octet), table.get("code", sink, octet));
    table.close(what, sink);
    if sink.errors() > errors_before {
        // A port that does not fit must not be reported as one that is missing.
        return None;
    }
    Some(PacketText {
        workload: workload?.to_shared(),
        source_mac: source_mac.map(|mac: Spanned<MacAddress>| mac.value),
        source,
        destination: destination?,
        protocol: protocol?,
        source_port,
        destination_port,
        icmp_type,
        icmp_code,
        protocol_span,
    })
}

/// `proto` is a word as in services, or a bare number.
fn protocol_entry(node: Node<'_>, sink: &mut Sink) -> Option<ServiceEntry> {
    if let Value::Integer(..) = node.value {
        let number = integer(node, "a protocol", 0..=255, sink)?;
        let text = super::decode::Text { value: number.value.to_string().into(), span: number.span };
        return service_entry(Node { span: text.span, value: Value::String(text.value) }, sink);
    }
    service_entry(node, sink)
}
