//! The keys of a workload that say through which device, socket or descriptor it is reached.

use std::path::PathBuf;
use std::sync::Arc;

use super::decode::{Spanned, Table, boolean, integer, quoted, shortened, text};
use crate::diagnostic::{Code, Diagnostic, Sink};
use crate::source::Span;
use crate::syntax::{Node, Value};
use crate::workload::{Namespace, PortKind};

/// Bytes of a device's name without the closing zero (`IFNAMSIZ` of linux/if.h).
const LONGEST_DEVICE: usize = 15;
/// Bytes of a socket's path without the closing zero (unix(7)).
const LONGEST_SOCKET: usize = 107;
/// IPv4 asks for 68 (RFC 791); a TUN device takes up to 65,535 bytes less its Ethernet header (`tun_net_init`).
const MTU: std::ops::RangeInclusive<u64> = 68..=65_521;
/// What a process may be started with beside its standard streams.
const DESCRIPTOR: std::ops::RangeInclusive<u64> = 3..=i32::MAX as u64;

/// A workload's device.
#[derive(Debug)]
pub(crate) struct PortText {
    pub(crate) kind: PortKind,
    /// Its name; of a socket its own path, of a descriptor `fd:N`.
    pub(crate) device: Spanned<Arc<str>>,
    pub(crate) namespace: Option<Namespace>,
    pub(crate) configure: Option<bool>,
    pub(crate) persistent: bool,
    pub(crate) owner: Option<u32>,
    pub(crate) group: Option<u32>,
    pub(crate) mtu: Option<u16>,
    /// Where it says that the device is a trunk.
    pub(crate) trunk: Option<Span>,
}

/// The keys that name a device, of which a workload has one.
const NAMING: [&str; 4] = ["tap", "packet", "dgram", "fd"];
/// The keys that say more about it.
const ABOUT: [&str; 7] = ["netns", "configure", "persist", "owner", "group", "mtu", "trunk"];

/// The keys that describe a workload's device. Without a device, the others have nothing to speak of.
pub(super) fn port(table: &mut Table<'_>, what: &str, sink: &mut Sink) -> Option<PortText> {
    let mut named = NAMING.into_iter().filter_map(|key| Some((key, table.take(key)?)));
    let first = named.next();
    let others: Vec<_> = named.collect();
    let about: Vec<_> = ABOUT.into_iter().filter_map(|key| Some((table.span_of(key)?, key))).collect();
    let mut device = None;
    if let Some((key, node)) = first {
        for (other, beside) in others {
            let message = format!("{what} has both `{key}` and `{other}`");
            sink.push(Diagnostic::new(Code::ConflictingKeys, beside.span, message).related(node.span, "the other device").help(
                "keep `tap` for a device that the switch makes, `packet` for one that exists, `dgram` for a socket, `fd` for a \
                 descriptor that the switch is started with",
            ));
        }
        let meaningless: &[&str] = match key {
            "dgram" => &["netns", "configure", "persist"],
            "fd" => &["netns", "configure", "persist", "owner", "group"],
            _ => &[],
        };
        for (span, about) in about.iter().filter(|(_, about)| meaningless.contains(about)) {
            let message = format!("`{about}` says nothing beside `{key}`");
            sink.push(Diagnostic::new(Code::ConflictingKeys, *span, message).help("remove it"));
        }
        device = match key {
            "dgram" => datagram(node, sink),
            "fd" => inherited(node, sink),
            _ => {
                let kind = if key == "tap" { PortKind::Tap } else { PortKind::Packet };
                self::device(node, sink).map(|device| (kind, device))
            }
        };
    } else if let Some((span, key)) = about.first() {
        sink.push(
            Diagnostic::new(Code::MissingKey, *span, format!("{what} has `{key}` but no device"))
                .help("add `tap = \"NAME\"` or `packet = \"NAME\"`"),
        );
    }
    let namespace = table.get("netns", sink, namespace);
    let configure = table.get("configure", sink, boolean).map(|configure| configure.value);
    let persistent = table.get("persist", sink, boolean).is_some_and(|persist| persist.value);
    let owner = table.get("owner", sink, id);
    let group = table.get("group", sink, id);
    let mtu = mtu(table, sink);
    let trunk = table.get("trunk", sink, boolean).filter(|trunk| trunk.value).map(|trunk| trunk.span);
    let (kind, device) = device?;
    Some(PortText { kind, device, namespace, configure, persistent, owner, group, mtu, trunk })
}

/// The id of a user or group.
fn id(node: Node<'_>, sink: &mut Sink) -> Option<u32> {
    if matches!(node.value, Value::String(_)) {
        let message = "expected a numeric id, found a string";
        let help = "`id -u NAME` and `getent group NAME` print the number";
        sink.push(Diagnostic::new(Code::WrongType, node.span, message).help(help));
        return None;
    }
    integer(node, "an id", 0..=u64::from(u32::MAX - 1), sink).map(|id| id.value as u32)
}

pub(super) fn mtu(table: &mut Table<'_>, sink: &mut Sink) -> Option<u16> {
    table.get("mtu", sink, |node, sink| integer(node, "an MTU", MTU, sink)).map(|mtu| mtu.value as u16)
}

/// `{ local = "PATH", remote = "PATH" }`
fn datagram(node: Node<'_>, sink: &mut Sink) -> Option<(PortKind, Spanned<Arc<str>>)> {
    let mut table = Table::open(node, sink)?;
    let mut path = |key| table.require(key, "`dgram`", sink).and_then(|node| socket(node, sink));
    let (local, remote) = (path("local"), path("remote"));
    table.close("`dgram`", sink);
    let (local, remote) = (local?, remote?);
    if local.value == remote.value {
        let message = "both sides of a socket have one path";
        let help = "`local` is the switch's own socket, `remote` the other side's";
        sink.push(Diagnostic::new(Code::MalformedSocket, remote.span, message).help(help));
        return None;
    }
    Some((PortKind::Datagram { remote: remote.value }, local))
}

/// The path of a socket.
fn socket(node: Node<'_>, sink: &mut Sink) -> Option<Spanned<Arc<str>>> {
    let text = text(node, sink)?;
    let path = &*text.value;
    let problem = if !path.starts_with('/') {
        format!("`{}` is no absolute path", shortened(path))
    } else if path.ends_with('/') {
        format!("`{}` is the path of a folder", shortened(path))
    } else if path.len() > LONGEST_SOCKET {
        format!("the path of a socket has at most {LONGEST_SOCKET} bytes, this has {}", path.len())
    } else if let Some(character) = path.chars().find(|character| character.is_control()) {
        format!("the path of a socket holds {}", quoted(character))
    } else {
        return Some(text.to_shared());
    };
    let help = "write it as in `/run/septum/vm-1.sock`";
    sink.push(Diagnostic::new(Code::MalformedSocket, text.span, problem).help(help));
    None
}

/// The number of a descriptor.
fn inherited(node: Node<'_>, sink: &mut Sink) -> Option<(PortKind, Spanned<Arc<str>>)> {
    let number = integer(node, "the number of a descriptor", DESCRIPTOR, sink)?;
    let name = Spanned::new(format!("fd:{}", number.value).into(), number.span);
    Some((PortKind::Inherited { descriptor: number.value as i32 }, name))
}

/// The name of a device.
pub(super) fn device(node: Node<'_>, sink: &mut Sink) -> Option<Spanned<Arc<str>>> {
    let text = text(node, sink)?;
    let name = &*text.value;
    let refused =
        |character: &char| character.is_whitespace() || character.is_control() || "/:%".contains(*character);
    let problem = if name.is_empty() {
        "is empty".to_owned()
    } else if name.len() > LONGEST_DEVICE {
        format!("`{}` has {} bytes; the kernel takes at most {LONGEST_DEVICE}", shortened(name), name.len())
    } else if let Some(character) = name.chars().find(refused) {
        format!("holds {}", quoted(character))
    } else if name == "." || name == ".." {
        format!("cannot be `{name}`")
    } else {
        return Some(text.to_shared());
    };
    sink.report(Code::MalformedDevice, text.span, format!("the name of a device {problem}"));
    None
}

/// A name, an absolute path, or `pid:1234`.
fn namespace(node: Node<'_>, sink: &mut Sink) -> Option<Namespace> {
    let text = text(node, sink)?;
    let written = &*text.value;
    let problem = if written.is_empty() {
        "a network namespace is a name, an absolute path or `pid:1234`; this is empty".to_owned()
    } else if written.chars().any(char::is_control) {
        "a network namespace holds no control characters".to_owned()
    } else if written.starts_with('/') {
        return Some(Namespace::Path(PathBuf::from(written)));
    } else if let Some(number) = written.strip_prefix("pid:") {
        match number.parse::<u32>() {
            Ok(process) if (1..=i32::MAX as u32).contains(&process) => {
                return Some(Namespace::Process(process));
            }
            _ => format!("`{}` is not the number of a process", shortened(number)),
        }
    } else if written.contains('/') || written == "." || written == ".." {
        format!("`{}` is neither a name nor an absolute path", shortened(written))
    } else if written.len() > 255 {
        "the name of a network namespace has at most 255 bytes".to_owned()
    } else {
        return Some(Namespace::Name(Arc::from(written)));
    };
    let help = "write a name under /run/netns, an absolute path, or `pid:1234`";
    sink.push(Diagnostic::new(Code::MalformedNamespace, text.span, problem).help(help));
    None
}
