//! ClassBench filter sets: the field's test data for packet classifiers.
//!
//! One filter a line, the first line winning (Taylor and Turner, "ClassBench: A Packet Classification Benchmark",
//! IEEE/ACM Transactions on Networking 15(3), 2007):
//! ```text
//! @SOURCE/LENGTH  DESTINATION/LENGTH  FROM : TO  FROM : TO  PROTOCOL/MASK  [FLAGS/MASK]
//! ```
//! TCP flags are read and kept, and are no part of a policy: the connection table judges them. Cost: linear.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::toml_text::{Quoted, comment};
use crate::address::Prefix;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Sink};
use crate::document::shortened;
use crate::load::Input;
use crate::port_range::PortRange;
use crate::proto::{Protocol, Service};
use crate::source::{FileId, Sources, Span};
use crate::syntax::decode_utf8;

/// One filter. Of two that match a packet, the one with the lower line goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Its line, from one.
    pub line: u32,
    /// Source addresses.
    pub source: Prefix,
    /// Destination addresses.
    pub destination: Prefix,
    /// Source ports.
    pub source_ports: PortRange,
    /// Destination ports.
    pub destination_ports: PortRange,
    /// The protocol; `None` is every one.
    pub protocol: Option<Protocol>,
    /// TCP flags and their mask, where the file has them.
    pub flags: Option<(u16, u16)>,
}

/// Reads a filter set. Empty lines are passed over.
///
/// # Errors
/// All lines that are no filter.
pub fn filters(input: Input) -> Result<Vec<Filter>, Diagnostics> {
    let mut sink = Sink::default();
    let (text, broken) = decode_utf8(input.bytes);
    let mut sources = Sources::default();
    let text: Arc<str> = Arc::from(text);
    let file = sources.add(input.name, Arc::clone(&text));
    if let Some((at, byte)) = broken {
        let message = format!("the byte 0x{byte:02x} is not UTF-8");
        sink.report(Code::InvalidUtf8, Span::new(file, at..at), message);
    }
    let mut filters = Vec::new();
    let mut start = 0;
    for (line, number) in text.split_inclusive('\n').zip(1..) {
        if !line.trim().is_empty() {
            filters.extend(filter(line.trim_end(), number, start, file, &mut sink));
        }
        start += line.len();
    }
    if sink.errors() > 0 { Err(sink.into_diagnostics(Arc::new(sources))) } else { Ok(filters) }
}

fn filter(line: &str, number: u32, start: usize, file: FileId, sink: &mut Sink) -> Option<Filter> {
    match Words::new(line).filter(number) {
        Ok(filter) => Some(filter),
        Err((word, expected)) => {
            let at = word.map_or(line.len(), |word| word.as_ptr() as usize - line.as_ptr() as usize);
            let span = Span::new(file, start + at..start + at + word.map_or(0, str::len));
            let message = match word {
                Some(word) => format!("expected {expected}, found `{}`", shortened(word)),
                None => format!("expected {expected}, found the end of the line"),
            };
            sink.push(Diagnostic::new(Code::MalformedFilter, span, message));
            None
        }
    }
}

/// The words of a line, left to right.
struct Words<'t> {
    words: std::str::SplitWhitespace<'t>,
}

/// The word that does not fit, and what was expected.
type Misfit<'t> = (Option<&'t str>, &'static str);

impl<'t> Words<'t> {
    fn new(line: &'t str) -> Self {
        Self { words: line.split_whitespace() }
    }

    fn read<T>(
        &mut self,
        expected: &'static str,
        parse: impl FnOnce(&'t str) -> Option<T>,
    ) -> Result<T, Misfit<'t>> {
        let word = self.words.next().ok_or((None, expected))?;
        parse(word).ok_or((Some(word), expected))
    }

    fn filter(&mut self, line: u32) -> Result<Filter, Misfit<'t>> {
        let source = self.read("`@ADDRESS/LENGTH`", |word| prefix(word.strip_prefix('@')?))?;
        let destination = self.read("`ADDRESS/LENGTH`", prefix)?;
        let source_ports = self.ports()?;
        let destination_ports = self.ports()?;
        let protocol = self.read("`PROTOCOL/MASK`, the mask 0x00 or 0xFF", |word| {
            let (protocol, mask) = word.split_once('/')?;
            match hexadecimal(mask)? {
                0x00 => Some(None),
                0xff => Some(Some(Protocol(u8::try_from(hexadecimal(protocol)?).ok()?))),
                _ => None,
            }
        })?;
        let flags = match self.words.next() {
            None => None,
            Some(word) => {
                let flags = word.split_once('/');
                let flags = flags.and_then(|(flags, mask)| Some((hexadecimal(flags)?, hexadecimal(mask)?)));
                Some(flags.ok_or((Some(word), "`FLAGS/MASK`"))?)
            }
        };
        match self.words.next() {
            Some(word) => Err((Some(word), "the end of the line")),
            None => {
                Ok(Filter { line, source, destination, source_ports, destination_ports, protocol, flags })
            }
        }
    }

    fn ports(&mut self) -> Result<PortRange, Misfit<'t>> {
        let first = self.read("a port", port)?;
        self.read("`:`", |word| (word == ":").then_some(()))?;
        let expected = "a port that is not below the first";
        self.read(expected, |word| PortRange::new(first, port(word)?).ok())
    }
}

/// An IPv4 prefix; the generators leave bits behind the length set.
fn prefix(word: &str) -> Option<Prefix> {
    let (address, length) = word.split_once('/')?;
    let address: Ipv4Addr = address.parse().ok()?;
    let length = port(length).filter(|length| *length <= 32)?;
    Some(Prefix::containing(address.into(), length as u8))
}

fn port(word: &str) -> Option<u16> {
    word.parse().ok().filter(|_| word.bytes().all(|byte| byte.is_ascii_digit()))
}

fn hexadecimal(word: &str) -> Option<u16> {
    let digits = word.strip_prefix("0x")?;
    u16::from_str_radix(digits, 16).ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

impl Filter {
    /// The services of a rule that matches what the filter matches. A filter with ports but without a protocol that has them
    /// means TCP, UDP and SCTP; with another protocol its ports mean nothing.
    pub fn services(&self) -> Vec<Service> {
        let ported = |protocol| Service {
            protocol: Some(protocol),
            source: self.source_ports,
            destination: self.destination_ports,
        };
        let all = self.source_ports == PortRange::ALL && self.destination_ports == PortRange::ALL;
        match self.protocol {
            None if all => vec![Service::ANY],
            None => [Protocol::TCP, Protocol::UDP, Protocol::SCTP].map(ported).to_vec(),
            Some(protocol) if protocol.has_ports() => vec![ported(protocol)],
            Some(protocol) => {
                vec![Service {
                    protocol: Some(protocol),
                    source: PortRange::ALL,
                    destination: PortRange::ALL,
                }]
            }
        }
    }
}

/// A policy of the filters: every prefix a named network, every filter an `allow` whose priority is its line.
///
/// There are no workloads and so no gates: it is for compilers and benches, and for `check`.
pub fn policy(filters: &[Filter], name: &str) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write_policy(&mut out, filters, name);
    out
}

fn write_policy(out: &mut String, filters: &[Filter], name: &str) -> std::fmt::Result {
    writeln!(out, "# Imported from ClassBench: {} filters of {}.", filters.len(), comment(name))?;
    writeln!(out, "# The first line that matches wins: priority = line. TCP flags are left out.")?;
    writeln!(out, "version = 1\n\n[cidr]")?;
    let prefixes: BTreeSet<Prefix> =
        filters.iter().flat_map(|filter| [filter.source, filter.destination]).collect();
    for prefix in prefixes {
        writeln!(out, "\"{prefix}\" = [\"{prefix}\"]")?;
    }
    for filter in filters {
        writeln!(out, "\n[[rule]]\nname     = \"line {}\"\npriority = {}", filter.line, filter.line)?;
        writeln!(out, "from     = \"cidr:{}\"\nto       = \"cidr:{}\"", filter.source, filter.destination)?;
        write!(out, "allow    = [")?;
        for (at, service) in filter.services().iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            write!(out, "{comma}{}", Quoted(&service.to_string()))?;
        }
        writeln!(out, "]")?;
    }
    Ok(())
}
