//! A difference for programs.

use septum_classifier::diff::{Change, ChangedRegion, DecidedBy, Fate, GateJudgement};
use septum_rules::endpoint::Party;
use septum_rules::identity::RuleId;
use septum_rules::policy::Policy;
use septum_rules::proto::Service;
use septum_rules::verdict::Refusal;
use serde_json::{Value, json};

use super::{Told, Version, word};
use crate::cli::promises::party_label;

impl Told<'_> {
    pub(super) fn json(&self) -> Value {
        let difference = self.difference;
        let regions: Vec<Value> = difference.regions.iter().map(|region| self.region_json(region)).collect();
        let moved = self.workloads.moved.iter().map(|(name, before, after)| {
            let list = |addresses: &[std::net::IpAddr]| -> Vec<String> {
                addresses.iter().map(ToString::to_string).collect()
            };
            json!({ "name": **name, "before": list(before), "after": list(after) })
        });
        let names = |names: &[std::sync::Arc<str>]| -> Vec<String> {
            names.iter().map(ToString::to_string).collect()
        };
        json!({
            "old": self.files[0],
            "new": self.files[1],
            "differs": !difference.is_empty() || !self.workloads.is_empty(),
            "regions": regions,
            "workloads": {
                "added": names(&self.workloads.added),
                "removed": names(&self.workloads.removed),
                "moved": moved.collect::<Vec<Value>>(),
            },
            "compared": {
                "kinds": difference.kinds,
                "pairs": difference.pairs,
                "packets": difference.packets,
            },
        })
    }

    fn region_json(&self, region: &ChangedRegion) -> Value {
        let change = match region.change() {
            Change::Admitted => "admitted",
            Change::Refused => "refused",
            Change::Gates => "gates",
            Change::Rules => "rules",
        };
        let parties = match region.fate() {
            Fate::Stays => "stay",
            Fate::Moved => "moved",
            Fate::Added => "added",
            Fate::Removed => "removed",
        };
        let list =
            |services: &[Service]| -> Vec<String> { services.iter().map(Service::to_string).collect() };
        let [before, after] = self.versions(region);
        let layer4 = region.witness.layer4;
        json!({
            "change": change,
            "parties": parties,
            "from": self.names.describe(&region.from),
            "to": self.names.describe(&region.to),
            "services": list(&region.services.services),
            "except": list(&region.services.except),
            "before": version_json(before),
            "after": version_json(after),
            "witness": {
                "from": self.party_json(region.witness.source),
                "to": self.party_json(region.witness.destination),
                "service": layer4.to_string(),
                "source_port": layer4.protocol.has_ports().then_some(layer4.source),
            },
        })
    }

    fn party_json(&self, [before, after]: [Party; 2]) -> Value {
        json!({
            "before": party_label(&self.before.policy, before),
            "after": party_label(&self.after.policy, after),
            "address": after.address.map(|address| address.to_string()),
        })
    }
}

fn version_json(version: Version<'_>) -> Value {
    let judgement = version.judgement;
    json!({
        "verdict": word(judgement.verdict.is_allow()),
        "refused_by": judgement.verdict.refusal().map(Refusal::name),
        "rule": version.rule.map(|rule| &*version.policy.rules[rule.index()].name),
        "at": version.rule.map(|rule| version.policy.rule_place(rule).to_string()),
        "egress": gate_json(version.policy, judgement.egress),
        "ingress": gate_json(version.policy, judgement.ingress),
    })
}

fn gate_json(policy: &Policy, gate: GateJudgement) -> Value {
    let (decided_by, rule) = match gate.decided_by {
        Some(DecidedBy::Rule(rule)) => (Some("rule"), Some(RuleId(rule))),
        Some(DecidedBy::Default) => (Some("default"), None),
        Some(DecidedBy::NoGate) => (Some("no-gate"), None),
        Some(DecidedBy::Undescribed) => (Some("undescribed"), None),
        None => (None, None),
    };
    let rule = rule.map(|id| {
        let rule = &policy.rules[id.index()];
        json!({ "name": *rule.name, "action": rule.action.name(), "at": policy.rule_place(id).to_string() })
    });
    json!({ "verdict": word(gate.admits), "decided_by": decided_by, "rule": rule })
}
