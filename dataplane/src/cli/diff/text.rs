//! A difference for people.

use std::fmt::Write as _;
use std::net::IpAddr;

use septum_classifier::diff::{Change, ChangedRegion, DecidedBy, GateJudgement};
use septum_rules::endpoint::Party;
use septum_rules::identity::RuleId;
use septum_rules::policy::Policy;
use septum_rules::verdict::{Refusal, Verdict};

use super::{Told, Version, word};
use crate::cli::present::{Paint, Tone, thousands};
use crate::cli::promises::party_name;

/// Names of one end that are written before the rest is only counted.
const MOST_NAMES: usize = 6;

impl Told<'_> {
    pub(super) fn text(&self, paint: Paint, show_workloads: bool) -> String {
        let mut text = String::new();
        let shown: Vec<&ChangedRegion> =
            self.regions(true).chain(self.regions(false).filter(|_| show_workloads)).collect();
        for (change, heading) in HEADINGS {
            let regions: Vec<&&ChangedRegion> =
                shown.iter().filter(|region| region.change() == change).collect();
            if regions.is_empty() {
                continue;
            }
            let heading = format!("{heading}: {}", counted(regions.len(), "region"));
            let _ = writeln!(text, "{}", paint.text(Tone::Strong, heading));
            for region in regions {
                self.region(&mut text, paint, region);
            }
            text.push('\n');
        }
        self.workload_changes(&mut text, show_workloads);
        self.summary(&mut text);
        text
    }

    fn region(&self, text: &mut String, paint: Paint, region: &ChangedRegion) {
        let (from, to) = (self.names.describe(&region.from), self.names.describe(&region.to));
        let services = shortened(&region.services.services, "services");
        let except = match &*region.services.except {
            [] => String::new(),
            except => format!(" but {}", shortened(except, "services")),
        };
        let _ = writeln!(
            text,
            "  {} -> {}  {services}{except}",
            shortened(&from, "others"),
            shortened(&to, "others")
        );
        let [before, after] = self.versions(region);
        for (name, version, other) in [("before", before, after), ("after", after, before)] {
            let line = told(version, other);
            let tone = if version.judgement.verdict.is_allow() { Tone::Good } else { Tone::Bad };
            let outcome = paint.text(tone, line.0);
            let _ =
                writeln!(text, "    {} {outcome}{}", paint.text(Tone::Faint, format!("{name:6}")), line.1);
        }
        let witness = &region.witness;
        let packet = format!(
            "{} -> {} {}",
            self.party(witness.source),
            self.party(witness.destination),
            witness.layer4
        );
        let _ = writeln!(text, "    {} {packet}", paint.text(Tone::Faint, "packet"));
    }

    /// Who it is; where that changed, both.
    fn party(&self, [before, after]: [Party; 2]) -> String {
        let (was, is) = (party_name(&self.before.policy, before), party_name(&self.after.policy, after));
        if was == is { is } else { format!("{is}, before: {was},") }
    }

    fn workload_changes(&self, text: &mut String, are_shown: bool) {
        let changes = &self.workloads;
        for (word, names) in [("added", &changes.added), ("removed", &changes.removed)] {
            if !names.is_empty() {
                let names = shortened(names, "others");
                let _ = writeln!(text, "workloads {word}: {names}");
            }
        }
        for (name, before, after) in &changes.moved {
            let list = |some: &[IpAddr], other: &[IpAddr]| {
                let only: Vec<&IpAddr> = some.iter().filter(|address| !other.contains(address)).collect();
                if only.is_empty() { "nothing".to_owned() } else { shortened(&only, "others") }
            };
            let _ = writeln!(
                text,
                "workload `{name}`: loses {}, gains {}",
                list(before, after),
                list(after, before)
            );
        }
        let hidden = self.regions(false).count();
        if hidden > 0 && !are_shown {
            let _ = writeln!(
                text,
                "  for packets from or to their addresses, {}; --workloads shows them",
                if hidden == 1 { "1 region differs".to_owned() } else { format!("{hidden} regions differ") }
            );
        }
        if !changes.is_empty() {
            text.push('\n');
        }
    }

    fn summary(&self, text: &mut String) {
        let [old, new] = &self.files;
        let difference = self.difference;
        let compared = format!(
            "compared: {} pairs of kinds of parties, {} kinds of packets each",
            thousands(difference.pairs),
            thousands(difference.packets as u64)
        );
        if difference.is_empty() {
            let _ = writeln!(text, "{old} -> {new}: no difference for any packet ({compared})");
            return;
        }
        let count = |change| self.regions(true).filter(|region| region.change() == change).count();
        let counts: Vec<String> = HEADINGS
            .into_iter()
            .map(|(change, heading)| (count(change), heading))
            .filter(|(count, _)| *count > 0)
            .map(|(count, heading)| format!("{count} {heading}"))
            .collect();
        let counts =
            if counts.is_empty() { "only addresses that change hands".to_owned() } else { counts.join(", ") };
        let _ = writeln!(text, "{old} -> {new}: {counts} ({compared})");
    }
}

const HEADINGS: [(Change, &str); 4] = [
    (Change::Admitted, "newly admitted"),
    (Change::Refused, "newly refused"),
    (Change::Gates, "the same in the end, by other gates"),
    (Change::Rules, "the same, by other rules"),
];

/// The outcome, and what decides it.
fn told(version: Version<'_>, other: Version<'_>) -> (&'static str, String) {
    let judgement = version.judgement;
    let outcome = match judgement.verdict {
        Verdict::Allow => "allowed",
        Verdict::Deny(Refusal::Egress) => "refused at the egress gate",
        Verdict::Deny(Refusal::Ingress) => "refused at the ingress gate",
        Verdict::Deny(Refusal::Isolation) => "refused: both are members of an isolated segment",
        Verdict::Deny(Refusal::Undescribed) | _ => "refused: one end is not described",
    };
    let gate = |gate: GateJudgement| {
        let by = gate.decided_by.map(|by| decided_by(version.policy, by))?;
        Some(format!("{} {by}", word(gate.admits)))
    };
    let (egress, ingress) = (gate(judgement.egress), gate(judgement.ingress));
    let gates = match (egress, ingress) {
        (Some(egress), Some(ingress)) if egress == ingress => format!(": both gates {egress}"),
        (Some(egress), Some(ingress)) => format!(": egress {egress}; ingress {ingress}"),
        (Some(egress), None) => format!(": egress {egress}"),
        (None, Some(ingress)) => format!(": ingress {ingress}"),
        // Neither gate changes its mind: what is above the rules did.
        (None, None) => String::new(),
    };
    let is_audited = judgement.verdict.is_allow()
        && !(judgement.egress.admits && judgement.ingress.admits)
        && judgement.verdict != other.judgement.verdict;
    let audited = if is_audited { "; audited: a gate forwards what it refuses" } else { "" };
    (outcome, format!("{gates}{audited}"))
}

fn decided_by(policy: &Policy, by: DecidedBy) -> String {
    match by {
        DecidedBy::Rule(rule) => {
            let rule = RuleId(rule);
            format!("by rule `{}` at {}", policy.rules[rule.index()].name, policy.rule_place(rule))
        }
        DecidedBy::Default => "by default".to_owned(),
        DecidedBy::NoGate => "for want of a gate".to_owned(),
        DecidedBy::Undescribed => "what is not described".to_owned(),
    }
}

/// A list for one line.
fn shortened(items: &[impl ToString], rest: &str) -> String {
    let mut shown: Vec<String> = items.iter().take(MOST_NAMES).map(ToString::to_string).collect();
    match items.len().saturating_sub(MOST_NAMES) {
        0 => shown.join(", "),
        // A line that says "and 1 others" is no shorter than one that names it.
        1 => {
            shown.extend(items.last().map(ToString::to_string));
            shown.join(", ")
        }
        more => format!("{} and {more} {rest}", shown.join(", ")),
    }
}

fn counted(number: usize, one: &str) -> String {
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}
