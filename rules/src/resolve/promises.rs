//! Tests and invariants: names to numbers. They may stand in the policy's files or in a file of their own.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::Names;
use super::topology::holders;
use crate::diagnostic::{Code, Diagnostic, Sink};
use crate::document::{
    CheckText, ClaimText, ExpectText, InvariantText, PacketText, PartyText, TestText, shortened,
};
use crate::identity::{RuleId, WorkloadId};
use crate::invariant::{Claim, Flows, Invariant};
use crate::policy::Policy;
use crate::port_range::PortRange;
use crate::proto::{Protocol, Service};
use crate::selector::LabelExpression;
use crate::source::Span;
use crate::test_case::{Check, PacketTest, TestCase, TestParty};

/// Parties that all tests and invariants together may name: a selector in a test stands for each workload it selects.
const MOST_PARTIES: usize = 4 << 20;

/// Resolves tests and invariants against a policy's names.
pub(super) struct Promises<'p> {
    policy: &'p Policy,
    names: &'p mut Names,
    holders: HashMap<IpAddr, Arc<str>>,
    selected: HashMap<LabelExpression, Vec<WorkloadId>>,
    budget: usize,
}

impl<'p> Promises<'p> {
    pub(super) fn new(policy: &'p Policy, names: &'p mut Names) -> Self {
        Self { policy, names, holders: holders(policy), selected: HashMap::new(), budget: MOST_PARTIES }
    }

    pub(super) fn test(&mut self, text: &TestText, sink: &mut Sink) -> Option<TestCase> {
        let check = match &text.check {
            CheckText::Reach { from, to, allow, deny, by } => {
                let (from, to) = (self.parties(from, sink), self.parties(to, sink));
                let allow = self.names.services.expand(allow, text.name.span, sink);
                let deny = self.names.services.expand(deny, text.name.span, sink);
                for service in allow.iter().filter(|service| deny.contains(service)) {
                    let message = format!("test `{}` both allows and denies {service}", text.name.value);
                    sink.report(Code::TestShape, text.name.span, message);
                }
                let by = match by {
                    Some(by) => Some(RuleId(self.names.rules.find(by, sink)?)),
                    None => None,
                };
                Check::Reach { from: from?, to: to?, allow, deny, by }
            }
            CheckText::Packet(packet, expect) => Check::Packet(self.packet(packet, expect, sink)?),
        };
        Some(TestCase { name: Arc::clone(&text.name.value), check, span: text.span })
    }

    pub(super) fn invariant(&mut self, text: &InvariantText, sink: &mut Sink) -> Option<Invariant> {
        let mut flows = |from, to, services: &Option<Vec<_>>, sink: &mut Sink| Flows {
            from: self.names.selector(from, sink),
            to: self.names.selector(to, sink),
            services: match services {
                Some(services) => self.names.services.expand(services, text.name.span, sink),
                None => vec![Service::ANY],
            },
        };
        let claim = match &text.claim {
            ClaimText::Never { from, to, services } => {
                Claim::Never(flows(from.as_ref(), to.as_ref(), services, sink))
            }
            ClaimText::Only { from, to, services } => {
                Claim::Only(flows(from.as_ref(), to.as_ref(), services, sink))
            }
            ClaimText::BlastRadius { of, at_most } => Claim::BlastRadius {
                of: self.names.selector(Some(of), sink),
                at_most: self.workloads(at_most, sink)?,
            },
        };
        Some(Invariant { name: Arc::clone(&text.name.value), claim, span: text.span })
    }

    /// Each party once, in the order of the file.
    pub(super) fn parties(&mut self, texts: &[PartyText], sink: &mut Sink) -> Option<Vec<TestParty>> {
        let mut parties = Vec::with_capacity(texts.len());
        for text in texts {
            match text {
                PartyText::Workload(name) => {
                    parties.extend(
                        self.names.workloads.find(name, sink).map(|id| TestParty::Workload(WorkloadId(id))),
                    );
                }
                PartyText::Address(address) => match self.holders.get(&address.value) {
                    Some(holder) => {
                        let message = format!("{} belongs to `{holder}`", address.value);
                        sink.push(
                            Diagnostic::new(Code::NotWorld, address.span, message)
                                .help(format!("write `{holder}` if the workload is meant")),
                        );
                    }
                    None => parties.push(TestParty::World(address.value)),
                },
                PartyText::Labels(expression) => {
                    let selected = self.select(&expression.value, expression.span, sink)?;
                    parties.extend(selected.iter().map(|id| TestParty::Workload(*id)));
                }
            }
        }
        (!parties.is_empty()).then_some(parties)
    }

    fn workloads(&mut self, texts: &[PartyText], sink: &mut Sink) -> Option<Vec<WorkloadId>> {
        let mut workloads = Vec::with_capacity(texts.len());
        for text in texts {
            match text {
                PartyText::Workload(name) => {
                    workloads.extend(self.names.workloads.find(name, sink).map(WorkloadId))
                }
                PartyText::Address(address) => {
                    let message = format!("{} is an address; `at_most` lists workloads", address.value);
                    sink.report(Code::UnknownWorkload, address.span, message);
                }
                PartyText::Labels(expression) => {
                    workloads.extend_from_slice(self.select(&expression.value, expression.span, sink)?);
                }
            }
        }
        workloads.sort_unstable();
        workloads.dedup();
        Some(workloads)
    }

    /// The workloads that an expression selects; none is an error.
    fn select(&mut self, expression: &LabelExpression, span: Span, sink: &mut Sink) -> Option<&[WorkloadId]> {
        if !self.selected.contains_key(expression) {
            let ids = (0..).map(WorkloadId).zip(&self.policy.workloads);
            let selected =
                ids.filter(|(_, workload)| expression.matches(&workload.labels)).map(|(id, _)| id).collect();
            self.selected.insert(expression.clone(), selected);
        }
        let selected: &[WorkloadId] = &self.selected[expression];
        if selected.is_empty() {
            sink.report(Code::NobodyNamed, span, "no workload has these labels");
            return None;
        }
        match self.budget.checked_sub(selected.len()) {
            Some(left) => self.budget = left,
            None => {
                let message = format!("tests name more than {MOST_PARTIES} parties");
                sink.report(Code::TooLarge, span, message);
                return None;
            }
        }
        Some(selected)
    }

    fn packet(&mut self, text: &PacketText, expect: &ExpectText, sink: &mut Sink) -> Option<PacketTest> {
        let workload = WorkloadId(self.names.workloads.find(&text.workload, sink)?);
        let destination = text.destination.value;
        let same_family = |address: &IpAddr| address.is_ipv4() == destination.is_ipv4();
        match &text.source {
            Some(source) if !same_family(&source.value) => {
                let message = format!("the packet goes from {} to {destination}", source.value);
                let help = "both addresses are of one family";
                sink.push(Diagnostic::new(Code::MixedFamilies, source.span, message).help(help));
            }
            None if !self.policy.workloads[workload.index()].addresses.iter().any(same_family) => {
                let family = if destination.is_ipv4() { "IPv4" } else { "IPv6" };
                let message = format!("`{}` has no {family} address to send from", text.workload.value);
                sink.push(
                    Diagnostic::new(Code::MissingKey, text.workload.span, message).help("add `src_ip`"),
                );
            }
            _ => {}
        }
        Some(PacketTest {
            workload,
            source_mac: text.source_mac,
            source: text.source.map(|source| source.value),
            destination,
            service: packet_service(text, sink)?,
            admitted: expect.admitted,
            reason: expect.reason.clone(),
        })
    }
}

/// What the packet carries: the protocol and what belongs to it, nothing else.
fn packet_service(text: &PacketText, sink: &mut Sink) -> Option<Service> {
    let protocol = packet_protocol(text, sink)?;
    let ports = [("sport", text.source_port), ("dport", text.destination_port)];
    let kind = [("type", text.icmp_type), ("code", text.icmp_code)];
    let foreign_port = ports.iter().find(|(_, port)| port.is_some() && !protocol.has_ports());
    let foreign_kind = kind.iter().find(|(_, octet)| octet.is_some() && !protocol.has_icmp_type());
    let foreign = foreign_port
        .and_then(|(key, port)| Some((key, port.as_ref()?.span)))
        .or_else(|| foreign_kind.and_then(|(key, octet)| Some((key, octet.as_ref()?.span))));
    if let Some((key, span)) = foreign {
        sink.report(Code::ConflictingKeys, span, format!("a packet of {protocol} has no `{key}`"));
        return None;
    }
    let lacks = |key: &str, sink: &mut Sink| {
        let message = format!("a packet of {protocol} needs `{key}`");
        sink.report(Code::MissingKey, text.protocol_span, message);
    };
    let destination = if protocol.has_ports() {
        let Some(port) = text.destination_port else {
            lacks("dport", sink);
            return None;
        };
        PortRange::single(port.value)
    } else if protocol.has_icmp_type() {
        let Some(icmp_type) = text.icmp_type else {
            lacks("type", sink);
            return None;
        };
        let code = text.icmp_code.map_or(0, |code| code.value);
        PortRange::single(u16::from_be_bytes([icmp_type.value, code]))
    } else {
        PortRange::ALL
    };
    let source = text.source_port.map_or(PortRange::ALL, |port| PortRange::single(port.value));
    Some(Service { protocol: Some(protocol), source, destination })
}

fn packet_protocol(text: &PacketText, sink: &mut Sink) -> Option<Protocol> {
    use crate::document::ServiceEntry;
    let message = match &text.protocol {
        ServiceEntry::Literal(Service {
            protocol: Some(protocol),
            source: PortRange::ALL,
            destination: PortRange::ALL,
        }) => return Some(*protocol),
        ServiceEntry::Literal(service) => format!("`{service}` is not a protocol alone"),
        ServiceEntry::Named(name) => format!("`{}` is not a protocol", shortened(&name.value)),
    };
    let help = "write a protocol as in `tcp`, ports as `sport` and `dport`, ICMP as `type` and `code`";
    sink.push(Diagnostic::new(Code::MalformedService, text.protocol_span, message).help(help));
    None
}
