//! How a proof is told: to people in lines, to programs as one document.

use std::fmt::Write as _;

use septum_classifier::{Answer, Proof, Witness};
use septum_rules::date::Date;
use septum_rules::policy::Policy;
use septum_rules::rule::{DenyWith, LogMode};
use septum_rules::verdict::{Decider, GateDecision, Refusal, Verdict};
use serde_json::{Value, json};

use super::Outcome;
use crate::cli::promises::party_name;

/// For people.
pub(super) fn text(file: &str, policy: &Policy, outcome: &Outcome, budget: u64) -> String {
    let mut text = String::new();
    match outcome {
        Outcome::Proved(proof, certificate) => {
            let _ =
                writeln!(text, "{file}: proved: the compiled policy is what the file says, for every packet");
            coverage(&mut text, proof, budget);
            let _ = writeln!(text, "  source:      sha256:{}", certificate.source);
            let _ = writeln!(text, "  object:      sha256:{}", certificate.object);
            let _ = writeln!(text, "  certificate: sha256:{}", certificate.digest());
        }
        Outcome::Unproved(proof) => {
            let _ = writeln!(text, "{file}: unproved: {}", proof.unproved());
            coverage(&mut text, proof, budget);
        }
        Outcome::Mismatch(witness) => {
            let _ = writeln!(text, "{file}: the compiled policy differs from the file: a fault of septum");
            for line in witness_lines(policy, witness) {
                let _ = writeln!(text, "  {line}");
            }
        }
    }
    text
}

fn coverage(text: &mut String, proof: &Proof, budget: u64) {
    let Proof { stretches, source_classes, destination_classes, intervals, cells, .. } = proof;
    let pairs = match proof.pairs {
        0 => "the budget ended before they were told apart".to_owned(),
        pairs => format!("{} of {pairs}, {} of them distinct", proof.proved_pairs, proof.distinct_pairs),
    };
    let lines = [
        format!("addresses:   {stretches} stretches of IPv4 and IPv6"),
        format!("endpoints:   {source_classes} kinds of source, {destination_classes} of destination"),
        format!("services:    {cells} kinds of protocol and ports, of {intervals} intervals"),
        format!("pairs:       {pairs}"),
        format!("packets:     {}", proof.packets),
        format!("work:        {} of {budget} units", proof.work),
    ];
    for line in lines {
        let _ = writeln!(text, "  {line}");
    }
}

/// The packet, and both answers.
pub(super) fn witness_lines(policy: &Policy, witness: &Witness) -> Vec<String> {
    let Witness { source, destination, layer4, meant, compiled } = witness;
    let (from, to) = (party_name(policy, *source), party_name(policy, *destination));
    let mut packet = format!("packet:   {from} -> {to} {layer4}");
    if layer4.protocol.has_ports() {
        let _ = write!(packet, " from port {}", layer4.source);
    }
    let compiled = compiled.as_ref().map_or_else(|| "no answer".to_owned(), |answer| told(policy, answer));
    vec![packet, format!("meant:    {}", told(policy, meant)), format!("compiled: {compiled}")]
}

fn told(policy: &Policy, answer: &Answer) -> String {
    let gate = |gate: &GateDecision| {
        let verdict = if gate.admits { "allow" } else { "deny" };
        let mut told = format!("{verdict} by {}", decider(policy, gate.decider));
        if gate.audited {
            told.push_str(" (audited)");
        }
        for rule in &gate.audited_rules {
            let _ = write!(told, ", audited rule `{}`", policy.rules[rule.index()].name);
        }
        told
    };
    let mut told = format!(
        "{}; egress {}; ingress {}; log {}",
        verdict(answer.decision.verdict),
        gate(&answer.decision.egress),
        gate(&answer.decision.ingress),
        log(answer.log)
    );
    if let Some(deny_with) = answer.deny_with {
        let _ = write!(told, "; told by {}", deny_with_name(deny_with));
    }
    if answer.audited {
        told.push_str("; recorded by audit");
    }
    told
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "admitted",
        Verdict::Deny(Refusal::Egress) => "refused at the egress gate",
        Verdict::Deny(Refusal::Ingress) => "refused at the ingress gate",
        Verdict::Deny(Refusal::Isolation) => "refused by isolation",
        Verdict::Deny(Refusal::Undescribed) => "refused as undescribed",
        _ => "another verdict",
    }
}

fn decider(policy: &Policy, decider: Decider) -> String {
    match decider {
        Decider::Rule(rule) => match policy.rules.get(rule.index()) {
            Some(named) => format!("rule `{}` at {}", named.name, policy.rule_place(rule)),
            None => format!("rule number {}, which there is not", rule.0),
        },
        Decider::Default => "default".to_owned(),
        Decider::NoGate => "having no gate".to_owned(),
        Decider::Undescribed => "not being described".to_owned(),
    }
}

fn log(mode: LogMode) -> String {
    match mode {
        LogMode::None => "none".to_owned(),
        LogMode::New => "new".to_owned(),
        LogMode::All => "all".to_owned(),
        LogMode::Sample(one_in) => format!("1 in {one_in}"),
    }
}

const fn deny_with_name(deny_with: DenyWith) -> &'static str {
    match deny_with {
        DenyWith::Drop => "drop",
        DenyWith::Reject => "reject",
    }
}

/// For programs.
pub(super) fn json(
    file: &str,
    policy: &Policy,
    outcome: &Outcome,
    budget: u64,
    valid_until: Option<Date>,
) -> String {
    let (proof, certificate, witness) = match outcome {
        Outcome::Proved(proof, certificate) => (Some(proof), Some(certificate), None),
        Outcome::Unproved(proof) => (Some(proof), None, None),
        Outcome::Mismatch(witness) => (None, None, Some(witness)),
    };
    let covered = proof.map(|proof| {
        json!({
            "stretches": proof.stretches,
            "source_classes": proof.source_classes,
            "destination_classes": proof.destination_classes,
            "intervals": proof.intervals,
            "layer4_classes": proof.cells,
            "pairs": proof.pairs,
            "proved_pairs": proof.proved_pairs,
            "distinct_pairs": proof.distinct_pairs,
            "packets": proof.packets.to_string(),
            "work": proof.work,
        })
    });
    let unproved = match outcome {
        Outcome::Unproved(proof) => Value::from(proof.unproved()),
        _ => Value::Null,
    };
    let certificate = certificate.map(|certificate| {
        json!({
            "source": certificate.source.to_string(),
            "object": certificate.object.to_string(),
            "sha256": certificate.digest().to_string(),
        })
    });
    let witness = witness.map(|witness| {
        json!({
            "from": party_name(policy, witness.source),
            "to": party_name(policy, witness.destination),
            "protocol": witness.layer4.protocol.to_string(),
            "source": witness.layer4.source,
            "destination": witness.layer4.destination,
            "meant": told(policy, &witness.meant),
            "compiled": witness.compiled.as_ref().map(|answer| told(policy, answer)),
        })
    });
    let document = json!({
        "file": file,
        "proved": matches!(outcome, Outcome::Proved(..)),
        "unproved": unproved,
        "covered": covered,
        "budget": budget,
        "valid_until": valid_until.map(|day| day.to_string()),
        "certificate": certificate,
        "witness": witness,
    });
    format!("{document:#}\n")
}
