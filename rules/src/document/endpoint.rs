//! `[segment.*]`, `[workload.*]` and `[uplink.*]`: who is there.

use std::net::IpAddr;
use std::sync::Arc;

use super::Name;
use super::decode::{
    Spanned, Table, boolean, integer, is_word_character, list, parsed, shortened, some_list, text, word,
};
use super::port::{PortText, device, mtu, port};
use super::settings::mode;
use crate::address::{Prefix, PrefixError};
use crate::diagnostic::{Code, Diagnostic, Sink};
use crate::mac::MacAddress;
use crate::segment::Labels;
use crate::syntax::{Node, Value};
use crate::workload::{Limits, OpenGates};

/// One `[segment.NAME]`.
#[derive(Debug)]
pub(crate) struct SegmentText {
    pub(crate) name: Name,
    pub(crate) vlan: Option<Spanned<u16>>,
    pub(crate) subnets: Vec<Spanned<Prefix>>,
    pub(crate) gateways: Vec<Spanned<IpAddr>>,
    pub(crate) dns: Vec<Spanned<IpAddr>>,
    pub(crate) isolated: bool,
    pub(crate) audit: Option<bool>,
    pub(crate) labels: Labels,
    pub(crate) mtu: Option<u16>,
}

/// One `[workload.NAME]`.
#[derive(Debug)]
pub(crate) struct WorkloadText {
    pub(crate) name: Name,
    pub(crate) segment: Option<Spanned<Arc<str>>>,
    pub(crate) mac: Option<Spanned<MacAddress>>,
    pub(crate) addresses: Vec<Spanned<IpAddr>>,
    pub(crate) labels: Labels,
    pub(crate) promiscuous: Option<Spanned<bool>>,
    pub(crate) open: OpenGates,
    pub(crate) audit: Option<bool>,
    pub(crate) port: Option<PortText>,
    pub(crate) limits: Limits,
}

/// One `[uplink.NAME]`.
#[derive(Debug)]
pub(crate) struct UplinkText {
    pub(crate) name: Name,
    pub(crate) device: Option<Spanned<Arc<str>>>,
    pub(crate) gateways: Vec<Spanned<IpAddr>>,
    pub(crate) networks: Vec<Spanned<Arc<str>>>,
    pub(crate) addresses: Vec<Spanned<(IpAddr, Prefix)>>,
    pub(crate) mac: Option<Spanned<MacAddress>>,
    pub(crate) mtu: Option<u16>,
    pub(crate) neighbours: Vec<(Spanned<IpAddr>, MacAddress)>,
}

pub(super) fn segment(name: Name, node: Node<'_>, sink: &mut Sink) -> SegmentText {
    let what = format!("segment `{}`", name.value);
    let mut segment = SegmentText {
        name,
        vlan: None,
        subnets: Vec::new(),
        gateways: Vec::new(),
        dns: Vec::new(),
        isolated: false,
        audit: None,
        labels: Labels::new(),
        mtu: None,
    };
    let Some(mut table) = Table::open(node, sink) else { return segment };
    let vlan = table.get("vlan", sink, |node, sink| integer(node, "a VLAN id", 1..=4094, sink));
    segment.vlan = vlan.map(|vlan| Spanned::new(vlan.value as u16, vlan.span));
    let subnets = |node, sink: &mut Sink| {
        some_list(node, sink, "remove the key for a segment without addresses", prefix)
    };
    segment.subnets = table.get("subnet", sink, subnets).map(|list| list.value).unwrap_or_default();
    segment.gateways =
        addresses(&mut table, "gateway", "remove the key for a segment without a way out", sink);
    segment.dns = addresses(&mut table, "dns", "remove the key for a segment without name servers", sink);
    segment.isolated = table.get("isolated", sink, boolean).is_some_and(|isolated| isolated.value);
    segment.audit = table.get("mode", sink, mode).map(|mode| mode.value);
    segment.labels = table.get("labels", sink, labels).unwrap_or_default();
    segment.mtu = mtu(&mut table, sink);
    table.close(&what, sink);
    segment
}

pub(super) fn workload(name: Name, node: Node<'_>, sink: &mut Sink) -> WorkloadText {
    let what = format!("workload `{}`", name.value);
    let mut workload = WorkloadText {
        name,
        segment: None,
        mac: None,
        addresses: Vec::new(),
        labels: Labels::new(),
        promiscuous: None,
        open: OpenGates::default(),
        audit: None,
        port: None,
        limits: Limits::default(),
    };
    let Some(mut table) = Table::open(node, sink) else { return workload };
    table.span = workload.name.span;
    workload.segment = table
        .require("segment", &what, sink)
        .and_then(|node| text(node, sink))
        .map(|segment| segment.to_shared());
    workload.mac = table.get("mac", sink, mac);
    workload.addresses =
        addresses(&mut table, "ip", "remove the key for a workload without an address", sink);
    workload.labels = table.get("labels", sink, labels).unwrap_or_default();
    workload.promiscuous = table.get("promiscuous", sink, boolean);
    workload.open = table.get("open", sink, open).unwrap_or_default();
    workload.audit = table.get("mode", sink, mode).map(|mode| mode.value);
    workload.limits = table.get("limit", sink, limits).unwrap_or_default();
    workload.port = port(&mut table, &what, sink);
    table.close(&what, sink);
    workload
}

pub(super) fn uplink(name: Name, node: Node<'_>, sink: &mut Sink) -> UplinkText {
    let what = format!("uplink `{}`", name.value);
    let mut uplink = UplinkText {
        name,
        device: None,
        gateways: Vec::new(),
        networks: Vec::new(),
        addresses: Vec::new(),
        mac: None,
        mtu: None,
        neighbours: Vec::new(),
    };
    let Some(mut table) = Table::open(node, sink) else { return uplink };
    table.span = uplink.name.span;
    uplink.device = table.require("device", &what, sink).and_then(|node| device(node, sink));
    uplink.gateways =
        addresses(&mut table, "gateway", "remove the key for an uplink without a next hop", sink);
    let names = |node, sink: &mut Sink| {
        some_list(node, sink, "name the networks whose addresses may come in", |node, sink| {
            Some(text(node, sink)?.to_shared())
        })
    };
    let networks = table.require("cidr", &what, sink).and_then(|node| names(node, sink));
    uplink.networks = networks.map(|networks| networks.value).unwrap_or_default();
    let own = |node, sink: &mut Sink| {
        some_list(node, sink, "remove the key for an uplink on which the switch has no address", own_address)
    };
    uplink.addresses = table.get("ip", sink, own).map(|list| list.value).unwrap_or_default();
    uplink.mac = table.get("mac", sink, mac);
    uplink.mtu = mtu(&mut table, sink);
    uplink.neighbours = table.get("neighbours", sink, neighbours).unwrap_or_default();
    table.close(&what, sink);
    uplink
}

/// An address with the length of its subnet's prefix.
fn own_address(node: Node<'_>, sink: &mut Sink) -> Option<Spanned<(IpAddr, Prefix)>> {
    let text = text(node, sink)?;
    let parts = text.value.split_once('/').and_then(|(address, length)| {
        let (address, length) = (address.parse::<IpAddr>().ok()?, length.parse::<u8>().ok()?);
        (length <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, length))
    });
    let Some((address, length)) = parts else {
        let message = format!("`{}` is not an address with its prefix length", shortened(&text.value));
        let help =
            "write both, as in `10.99.0.2/24`: addresses of that prefix are asked for their MAC directly";
        sink.push(Diagnostic::new(Code::MalformedAddress, text.span, message).help(help));
        return None;
    };
    Some(Spanned::new((address, Prefix::containing(address, length)), text.span))
}

/// MACs by address.
fn neighbours(node: Node<'_>, sink: &mut Sink) -> Option<Vec<(Spanned<IpAddr>, MacAddress)>> {
    let mut neighbours = Vec::new();
    for (key, node) in Table::open(node, sink)?.into_named() {
        let mac = mac(node, sink);
        let Ok(address) = key.name.parse::<IpAddr>() else {
            let message = format!("`{}` is not an IP address", shortened(&key.name));
            let help = "write `neighbours = { \"10.99.0.1\" = \"02:00:0a:63:00:01\" }`";
            sink.push(Diagnostic::new(Code::MalformedAddress, key.span, message).help(help));
            continue;
        };
        neighbours.extend(mac.map(|mac| (Spanned::new(address, key.span), mac.value)));
    }
    Some(neighbours)
}

fn addresses(
    table: &mut Table<'_>,
    key: &'static str,
    instead: &str,
    sink: &mut Sink,
) -> Vec<Spanned<IpAddr>> {
    let list = table.get(key, sink, |node, sink| some_list(node, sink, instead, address));
    list.map(|list| list.value).unwrap_or_default()
}

/// An address without a prefix length.
pub(super) fn address(node: Node<'_>, sink: &mut Sink) -> Option<Spanned<IpAddr>> {
    let text = text(node, sink)?;
    if let Ok(address) = text.value.parse() {
        return Some(Spanned::new(address, text.span));
    }
    let message = format!("`{}` is not an IP address", shortened(&text.value));
    let without_length = text.value.split('/').next().filter(|head| head.parse::<IpAddr>().is_ok());
    let help = without_length.map(|address| format!("write the address alone: `{address}`"));
    sink.push(Diagnostic::new(Code::MalformedAddress, text.span, message).help_maybe(help));
    None
}

/// A prefix, or an address alone.
pub(super) fn prefix(node: Node<'_>, sink: &mut Sink) -> Option<Spanned<Prefix>> {
    let text = text(node, sink)?;
    match text.value.parse::<Prefix>() {
        Ok(prefix) => Some(Spanned::new(prefix, text.span)),
        Err(error) => {
            let help = match &error {
                PrefixError::HostBits { meant, .. } => format!("write `{meant}`"),
                _ => "write a prefix as in `10.0.0.0/8` or `fd00::/8`".to_owned(),
            };
            let message = match &error {
                PrefixError::Address(given) => format!("`{}` is not an IP address", shortened(given)),
                PrefixError::Length { length, family, most } => {
                    format!("`/{}` is not a prefix length of {family} (0 to {most})", shortened(length))
                }
                PrefixError::HostBits { .. } => error.to_string(),
            };
            sink.push(Diagnostic::new(Code::MalformedPrefix, text.span, message).help(help));
            None
        }
    }
}

/// The address of a station.
pub(super) fn mac(node: Node<'_>, sink: &mut Sink) -> Option<Spanned<MacAddress>> {
    let mac: Spanned<MacAddress> = parsed(node, Code::MalformedMac, sink)?;
    if mac.value.is_station() {
        return Some(mac);
    }
    let why = if mac.value.is_group() { "a group address" } else { "no address" };
    let message = format!("`{}` is {why}, and no workload can have it", mac.value);
    let help = "a locally made address begins with `02`, as in `02:00:0a:0a:00:0b`";
    sink.push(Diagnostic::new(Code::NotAStation, mac.span, message).help(help));
    None
}

fn open(node: Node<'_>, sink: &mut Sink) -> Option<OpenGates> {
    let gates = list(node, sink, |node, sink| word(node, &[("ingress", true), ("egress", false)], sink));
    let has = |ingress: bool| gates.value.iter().any(|gate| gate.value == ingress);
    Some(OpenGates { ingress: has(true), egress: has(false) })
}

fn limits(node: Node<'_>, sink: &mut Sink) -> Option<Limits> {
    let mut table = Table::open(node, sink)?;
    let rate = |node: Node<'_>, sink: &mut Sink| {
        integer(node, "a limit per second", 1..=u64::from(u32::MAX) * 1000, sink).map(|rate| rate.value)
    };
    let limits = Limits {
        packets_per_s: table.get("packets_per_s", sink, rate),
        bytes_per_s: table.get("bytes_per_s", sink, rate),
        new_connections_per_s: table.get("new_connections_per_s", sink, rate),
    };
    table.close("`limit`", sink);
    Some(limits)
}

/// Labels as a file may set them.
fn labels(node: Node<'_>, sink: &mut Sink) -> Option<Labels> {
    let table = Table::open(node, sink)?;
    let mut labels = Labels::new();
    for (key, node) in table.into_named() {
        let name = &*key.name;
        if name == "name" || name == "segment" || name.starts_with("septum.") {
            let message = format!("the label `{}` is set automatically", shortened(name));
            sink.push(Diagnostic::new(Code::ReservedLabel, key.span, message).help("choose another key"));
            continue;
        }
        if name.is_empty() || !name.chars().all(is_word_character) || name.len() > 512 {
            let message = format!("`{}` cannot be a label's key: no selector could name it", shortened(name));
            sink.push(Diagnostic::new(Code::MalformedLabel, key.span, message).help(LABEL_HELP));
            continue;
        }
        if let Some(value) = label_value(node, sink) {
            labels.insert(Arc::from(name), value);
        }
    }
    Some(labels)
}

const LABEL_HELP: &str = "use letters, digits, `-`, `_`, `.` and `/`";

fn label_value(node: Node<'_>, sink: &mut Sink) -> Option<Arc<str>> {
    let fix = match &node.value {
        Value::String(value) if value.chars().all(is_word_character) && value.len() <= 512 => {
            return Some(Arc::from(&**value));
        }
        Value::String(value) => {
            let message =
                format!("`{}` cannot be a label's value: no selector could name it", shortened(value));
            sink.push(Diagnostic::new(Code::MalformedLabel, node.span, message).help(LABEL_HELP));
            return None;
        }
        Value::Integer(written, _) | Value::Float(written) => {
            format!("quote it: `\"{}\"`", shortened(written))
        }
        Value::Boolean(boolean) => format!("quote it: `\"{boolean}\"`"),
        Value::Table(_) => "a key with a dot in it stands in quotes: `\"pod.app\" = \"web\"`".to_owned(),
        _ => "write a string".to_owned(),
    };
    let message = format!("a label's value is a string, not {}", node.value.kind());
    sink.push(Diagnostic::new(Code::WrongType, node.span, message).help(fix));
    None
}
