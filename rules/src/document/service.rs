//! The grammar of services: `any`, `tcp`, `tcp/443`, `udp/8000-8080`, `tcp/443 from 1024-65535` (source ports),
//! `icmp/echo-request`, `icmp/3/4`, `gre`, `proto-99`, `99`, or the name of a `[service]`.
//!
//! [`Service`]'s `Display` writes what this reads.

use std::ops::Range;
use std::sync::Arc;

use super::decode::{Spanned, Text, is_word_character, quoted, shortened, text};
use crate::diagnostic::{Code, Diagnostic, Sink, did_you_mean};
use crate::port_range::PortRange;
use crate::proto::{Protocol, Service, icmp_type_names};
use crate::syntax::Node;

/// An entry of a list of services.
#[derive(Clone, Debug)]
pub(crate) enum ServiceEntry {
    /// A service spelled out.
    Literal(Service),
    /// The name of a `[service]`.
    Named(Spanned<Arc<str>>),
}

/// Whether `word` is a protocol, or `any`, and so cannot name a `[service]`.
pub(crate) fn is_reserved(word: &str) -> bool {
    word == "any" || protocol(word).is_some() || word.contains('/')
}

fn protocol(word: &str) -> Option<Protocol> {
    Protocol::by_name(word).or_else(|| {
        let digits = word.strip_prefix("proto-").unwrap_or(word);
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|_| plain).map(Protocol)
    })
}

/// Other projects' spellings of our names.
fn meant(word: &str) -> Option<&'static str> {
    Some(match word {
        "icmpv6" | "ipv6-icmp" | "icmp-v6" => "icmp6",
        "all" | "*" | "ip" => "any",
        _ => return None,
    })
}

/// What is wrong with a service, and where in its text.
struct Problem {
    at: Range<usize>,
    code: Code,
    message: String,
    help: Option<String>,
}

impl Problem {
    fn new(at: Range<usize>, message: String) -> Self {
        Self { at, code: Code::MalformedService, message, help: None }
    }
}

pub(crate) fn service_entry(node: Node<'_>, sink: &mut Sink) -> Option<ServiceEntry> {
    let text = text(node, sink)?;
    match parse(&text) {
        Ok(entry) => Some(entry),
        Err(problem) => {
            let span = text.part(problem.at);
            sink.push(Diagnostic::new(problem.code, span, problem.message).help_maybe(problem.help));
            None
        }
    }
}

fn parse(text: &Text<'_>) -> Result<ServiceEntry, Problem> {
    let whole: &str = &text.value;
    if whole == "any" {
        return Ok(ServiceEntry::Literal(Service::ANY));
    }
    let (head, source) = match whole.split_once(" from ") {
        Some((head, ports)) => (head.trim_end(), Some((whole.len() - ports.len(), ports))),
        None => (whole, None),
    };
    let (word, rest) = match head.split_once('/') {
        Some((word, rest)) => (word, Some((word.len() + 1, rest))),
        None => (head, None),
    };
    let Some(protocol) = protocol(word) else {
        return named(text, word, rest.is_some() || source.is_some());
    };
    let destination = match rest {
        Some((at, ports)) if protocol.has_ports() => port_range(at, ports)?,
        Some((at, kind)) if protocol.has_icmp_type() => icmp_kind(protocol, at, kind)?,
        Some((at, rest)) => {
            return Err(Problem::new(at..at + rest.len(), format!("{protocol} has no ports")));
        }
        None => PortRange::ALL,
    };
    let source = match source {
        Some((at, ports)) if protocol.has_ports() => port_range(at, ports.trim())?,
        Some((at, ports)) => {
            return Err(Problem::new(at..at + ports.len(), format!("{protocol} has no source ports")));
        }
        None => PortRange::ALL,
    };
    Ok(ServiceEntry::Literal(Service { protocol: Some(protocol), source, destination }))
}

/// A word that is no protocol: the name of a service, unless ports hang on it.
fn named(text: &Text<'_>, word: &str, has_ports: bool) -> Result<ServiceEntry, Problem> {
    let help = || {
        let protocols = Protocol::NAMES.iter().map(|(name, _)| *name);
        meant(word).map(|word| format!("write `{word}`")).or_else(|| did_you_mean(word, protocols))
    };
    if has_ports {
        let message = format!("`{}` is not a protocol", shortened(word));
        return Err(Problem { help: help(), ..Problem::new(0..word.len(), message) });
    }
    if word.is_empty() {
        let help = "write `any` for every service".to_owned();
        return Err(Problem { help: Some(help), ..Problem::new(0..0, "the service is empty".to_owned()) });
    }
    if let Some((at, character)) = word.char_indices().find(|(_, character)| !is_word_character(*character)) {
        let message = format!("a service holds no {}", quoted(character).trim_start_matches("a "));
        return Err(Problem::new(at..at + character.len_utf8(), message));
    }
    if let Some((head, tail)) = word.split_once(':').filter(|(head, _)| protocol(head).is_some()) {
        let message = format!("`{}` is not a service", shortened(word));
        return Err(Problem {
            help: Some(format!("write `{head}/{tail}`")),
            ..Problem::new(0..word.len(), message)
        });
    }
    let digits = word.strip_prefix("proto-").unwrap_or(word);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let message = format!("`{}` is not the number of a protocol (0 to 255)", shortened(digits));
        let help = "write a port with its protocol, as in `tcp/443`".to_owned();
        return Err(Problem { help: Some(help), ..Problem::new(0..word.len(), message) });
    }
    if let Some(meant) = meant(word) {
        let message = format!("`{word}` is not a protocol");
        return Err(Problem {
            help: Some(format!("write `{meant}`")),
            ..Problem::new(0..word.len(), message)
        });
    }
    Ok(ServiceEntry::Named(text.to_shared()))
}

fn port_range(at: usize, ports: &str) -> Result<PortRange, Problem> {
    if ports.is_empty() {
        return Err(Problem::new(at..at, "the port is missing".to_owned()));
    }
    ports.parse().map_err(|error: crate::port_range::PortRangeError| Problem {
        at: at..at + ports.len(),
        code: Code::MalformedService,
        message: error.to_string().replace(ports, &shortened(ports)),
        help: None,
    })
}

/// `TYPE` or `TYPE/CODE`, the type by name or number, as the range of `type << 8 | code`.
fn icmp_kind(protocol: Protocol, at: usize, kind: &str) -> Result<PortRange, Problem> {
    let (type_word, code_word) = match kind.split_once('/') {
        Some((kind, code)) => (kind, Some((at + kind.len() + 1, code))),
        None => (kind, None),
    };
    let names = icmp_type_names(protocol);
    let by_name = names.iter().find(|(name, _)| *name == type_word).map(|(_, number)| *number);
    let Some(icmp_type) = by_name.or_else(|| octet(type_word)) else {
        let message = format!("`{}` is not a type of {protocol} (a name, or 0 to 255)", shortened(type_word));
        let help = did_you_mean(type_word, names.iter().map(|(name, _)| *name));
        return Err(Problem { help, ..Problem::new(at..at + type_word.len(), message) });
    };
    let (first_code, last_code) = match code_word {
        None => (0, u8::MAX),
        Some((at, word)) => {
            let code = octet(word).ok_or_else(|| {
                Problem::new(at..at + word.len(), format!("`{}` is not a code (0 to 255)", shortened(word)))
            })?;
            (code, code)
        }
    };
    let bound = |code| u16::from_be_bytes([icmp_type, code]);
    Ok(PortRange::new(bound(first_code), bound(last_code)).expect("the first code is not above the last"))
}

fn octet(word: &str) -> Option<u8> {
    word.parse().ok().filter(|_| word.bytes().all(|byte| byte.is_ascii_digit()))
}
