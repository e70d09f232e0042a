//! One event as one line of JSON: names, both gates, the deciding rule and its place in the file.

use std::io::{self, Write};
use std::sync::Arc;

use septum_rules::policy::Policy;
use septum_rules::verdict::{Decider, GateDecision};
use serde::Serialize;

use crate::flow_log::Event;
use crate::snapshot::CompiledPolicy;

/// What numbers in events mean, for one policy generation.
#[derive(Debug)]
pub struct Names {
    /// Which generation.
    pub policy_generation: u32,
    /// The policy and its verdict table.
    pub compiled: CompiledPolicy,
    /// Port names by slot.
    pub ports: Vec<Option<Arc<str>>>,
}

/// A line of the flow log.
#[derive(Debug, Serialize)]
struct Record<'a> {
    unix_ms: u64,
    verdict: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    from: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'a str>,
    #[serde(flatten)]
    flow: Option<Flow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    egress: Option<GateRecord<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ingress: Option<GateRecord<'a>>,
    policy: u32,
}

#[derive(Debug, Serialize)]
struct Flow {
    source: std::net::IpAddr,
    destination: std::net::IpAddr,
    service: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_port: Option<u16>,
}

/// One gate's part of a line.
#[derive(Debug, Serialize)]
pub struct GateRecord<'a> {
    /// `allow` or `deny`: what the gate decided.
    pub verdict: &'static str,
    /// The deciding rule, `default`, or `no gate`.
    pub rule: &'a str,
    /// The rule's `file:line:column`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// The workload is audited: a refusal is on record only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub audited: bool,
    /// Audited rules that matched and decided nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub audited_rules: Vec<&'a str>,
}

impl<'a> GateRecord<'a> {
    /// What one gate decided, with names.
    pub fn new(policy: &'a Policy, gate: &GateDecision) -> Self {
        let name = |rule: septum_rules::identity::RuleId| &*policy.rules[rule.index()].name;
        let rule = match gate.decider {
            Decider::Rule(rule) => name(rule),
            Decider::Default => "default",
            Decider::NoGate => "no gate",
            Decider::Undescribed => "undescribed",
        };
        Self {
            verdict: if gate.admits { "allow" } else { "deny" },
            rule,
            at: gate.rule().map(|rule| policy.rule_place(rule).to_string()),
            audited: gate.audited,
            audited_rules: gate.audited_rules.iter().map(|rule| name(*rule)).collect(),
        }
    }
}

/// Writes one line. `names` is missing only for policies that were replaced many times over.
///
/// # Errors
/// When the output refuses.
pub fn write(output: &mut impl Write, event: &Event, names: Option<&Names>) -> io::Result<()> {
    let name = |slot: u16| names.and_then(|names| names.ports.get(usize::from(slot))?.as_deref());
    let policy = names.map(|names| &*names.compiled.policy);
    let decision =
        names.zip(event.verdict).map(|(names, verdict)| names.compiled.classifier.decision(verdict));
    let gates = policy.zip(decision.as_ref());
    let rule = gates.and_then(|(policy, decision)| Some((policy, decision.rule()?)));
    let record = Record {
        unix_ms: event.unix_ms,
        verdict: if event.reason.is_some() { "drop" } else { "forward" },
        reason: event.reason.map(|reason| reason.name()),
        from: name(event.ingress),
        to: event.egress.and_then(name),
        flow: event.flow.map(|flow| Flow {
            source: flow.source,
            destination: flow.destination,
            service: flow.layer4.to_string(),
            source_port: flow.layer4.protocol.has_ports().then_some(flow.layer4.source),
        }),
        rule: rule.map(|(policy, rule)| &*policy.rules[rule.index()].name),
        at: rule.map(|(policy, rule)| policy.rule_place(rule).to_string()),
        egress: gates.map(|(policy, decision)| GateRecord::new(policy, &decision.egress)),
        ingress: gates.map(|(policy, decision)| GateRecord::new(policy, &decision.ingress)),
        policy: event.policy_generation,
    };
    serde_json::to_writer(&mut *output, &record)?;
    output.write_all(b"\n")
}
