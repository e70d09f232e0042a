//! An explained flow, for people and for programs.

use std::fmt::Write as _;

use septum_classifier::Explanation;
use septum_rules::endpoint::Party;
use septum_rules::identity::RuleId;
use septum_rules::oracle::{MissedField, NearestMiss};
use septum_rules::policy::Policy;
use septum_rules::proto::{Layer4, Service};
use septum_rules::rule::{Action, Rule};
use septum_rules::verdict::{Decider, Gate, GateDecision, Refusal, Verdict};
use serde_json::{Value, json};

use crate::cli::promises::{party_label, party_name};

/// An explained flow and the policy that explains it.
pub(super) struct Explained<'p> {
    policy: &'p Policy,
    explanation: Explanation,
    from: Party,
    to: Party,
    service: Service,
    layer4: Layer4,
}

impl<'p> Explained<'p> {
    pub(super) fn new(
        policy: &'p Policy,
        explanation: Explanation,
        from: Party,
        to: Party,
        service: Service,
        layer4: Layer4,
    ) -> Self {
        Self { policy, explanation, from, to, service, layer4 }
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let decision = &self.explanation.decision;
        let mut text = String::new();
        let outcome = match decision.verdict {
            Verdict::Allow => "allowed".to_owned(),
            Verdict::Deny(Refusal::Egress) => "refused at the egress gate".to_owned(),
            Verdict::Deny(Refusal::Ingress) => "refused at the ingress gate".to_owned(),
            Verdict::Deny(Refusal::Isolation) => {
                "refused: both are members of an isolated segment, whatever the rules say".to_owned()
            }
            Verdict::Deny(Refusal::Undescribed) | _ => "refused: one end is not described".to_owned(),
        };
        let (from, to) = (party_name(self.policy, self.from), party_name(self.policy, self.to));
        let _ = writeln!(text, "{from} -> {to} {}: {outcome}", self.service);
        self.gate_text(&mut text, Gate::Egress, &decision.egress);
        self.gate_text(&mut text, Gate::Ingress, &decision.ingress);
        if let Some(miss) = &self.explanation.nearest_miss {
            let _ = writeln!(
                text,
                "  nearest: {} would admit it at the {} gate, but for:",
                self.rule_text(miss.rule),
                miss.gate
            );
            for field in &miss.missed {
                let _ = writeln!(text, "    {field}: {}", self.missed(miss, *field));
            }
        }
        text
    }

    fn gate_text(&self, text: &mut String, gate: Gate, decision: &GateDecision) {
        let gate = format!("{gate}:");
        let word = word(decision.admits);
        let _ = match decision.decider {
            Decider::Rule(rule) => writeln!(text, "  {gate:8} {word:5}  by {}", self.rule_text(rule)),
            Decider::Default => writeln!(text, "  {gate:8} {word:5}  by default: no rule decides"),
            Decider::NoGate => writeln!(text, "  {gate:8} open   it is no workload, and has no gate"),
            Decider::Undescribed => writeln!(text, "  {gate:8} {word:5}  one end is not described"),
        };
        if let Some(why) = decision.rule().and_then(|rule| self.rule(rule).why.as_ref()) {
            let _ = writeln!(text, "           why: {why}");
        }
        if decision.audited && !decision.admits {
            let _ = writeln!(text, "           audited: the gate forwards what it refuses, and records it");
        }
        for rule in &decision.audited_rules {
            let action = self.rule(*rule).action;
            let _ = writeln!(text, "           audited: {} would {action}", self.rule_text(*rule));
        }
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let decision = &self.explanation.decision;
        let refused_by = decision.verdict.refusal().map(Refusal::name);
        let party = |party: Party| {
            let address = party.address.map(|address| address.to_string());
            json!({ "name": party_label(self.policy, party), "address": address })
        };
        json!({
            "from": party(self.from),
            "to": party(self.to),
            "service": self.service.to_string(),
            "verdict": word(decision.verdict.is_allow()),
            "refused_by": refused_by,
            "egress": self.gate_json(&decision.egress),
            "ingress": self.gate_json(&decision.ingress),
            "nearest_miss": self.explanation.nearest_miss.as_ref().map(|miss| self.miss_json(miss)),
        })
    }

    fn gate_json(&self, decision: &GateDecision) -> Value {
        let decider = match decision.decider {
            Decider::Rule(_) => "rule",
            Decider::Default => "default",
            Decider::NoGate => "no-gate",
            Decider::Undescribed => "undescribed",
        };
        let rule = decision.rule().map(|id| {
            let Rule { why, owner, ticket, .. } = self.rule(id);
            let mut rule = self.rule_json(id);
            rule["why"] = json!(why.as_deref());
            rule["owner"] = json!(owner.as_deref());
            rule["ticket"] = json!(ticket.as_deref());
            rule
        });
        let audited_rules: Vec<Value> =
            decision.audited_rules.iter().map(|rule| self.rule_json(*rule)).collect();
        json!({
            "verdict": word(decision.admits),
            "decided_by": decider,
            "rule": rule,
            "audited": decision.audited,
            "audited_rules": audited_rules,
        })
    }

    fn rule_json(&self, rule: RuleId) -> Value {
        let action = self.rule(rule).action.name();
        json!({ "name": *self.rule(rule).name, "action": action, "at": self.policy.rule_place(rule).to_string() })
    }

    fn miss_json(&self, miss: &NearestMiss) -> Value {
        let fields: Vec<Value> = miss
            .missed
            .iter()
            .map(|field| json!({ "field": field.to_string(), "because": self.missed(miss, *field) }))
            .collect();
        json!({ "gate": miss.gate.to_string(), "rule": self.rule_json(miss.rule), "missed": fields })
    }

    /// How a rule misses the flow in a field.
    fn missed(&self, miss: &NearestMiss, field: MissedField) -> String {
        let rule = self.rule(miss.rule);
        match field {
            MissedField::From => format!("it does not mean {}", party_name(self.policy, self.from)),
            MissedField::To => format!("it does not mean {}", party_name(self.policy, self.to)),
            MissedField::Service => {
                let services: Vec<String> = rule.services.iter().take(8).map(Service::to_string).collect();
                let more = if rule.services.len() > 8 { ", ..." } else { "" };
                format!("it is {}{more}; this is {}", services.join(", "), self.layer4)
            }
            MissedField::Except => "one of its exceptions holds the flow".to_owned(),
            MissedField::Expired => match rule.expires {
                Some(day) => format!("its last valid day was {day}"),
                None => "it has expired".to_owned(),
            },
            MissedField::Side => match miss.gate {
                Gate::Egress => "it stands at the ingress gate only".to_owned(),
                Gate::Ingress => "it stands at the egress gate only".to_owned(),
            },
            MissedField::Audit => "it is audited, and decides nothing".to_owned(),
            MissedField::Overruled(by) => {
                let verb = if self.rule(by).action == Action::Pass { "passes" } else { "refuses" };
                format!("{} comes first and {verb}", self.rule_text(by))
            }
        }
    }

    fn rule(&self, rule: RuleId) -> &'p Rule {
        &self.policy.rules[rule.index()]
    }

    fn rule_text(&self, rule: RuleId) -> String {
        format!("rule `{}` at {}", self.rule(rule).name, self.policy.rule_place(rule))
    }
}

fn word(admits: bool) -> &'static str {
    if admits { "allow" } else { "deny" }
}
