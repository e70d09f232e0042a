//! Why what did not come through was refused: by decider, with the pairs that it kept apart.

use std::collections::{BTreeMap, BTreeSet};

use septum_rules::identity::WorkloadId;

use super::text::lines_of;
use crate::cli::demo::findings::Findings;
use crate::cli::demo::why::Why;
use crate::cli::present::{Paint, Tone};

/// Destinations by source.
type Pairs = BTreeMap<WorkloadId, BTreeSet<WorkloadId>>;

/// A line for each decider, and below it who was kept from whom.
pub(super) fn refusals(findings: &Findings, paint: Paint) -> String {
    let mut deciders: BTreeMap<Option<Why>, (usize, Pairs)> = BTreeMap::new();
    for (at, probe, outcome) in findings.probes() {
        if !outcome.came_through() {
            let (count, pairs) = deciders.entry(findings.why(at)).or_default();
            *count += 1;
            pairs.entry(probe.from).or_default().insert(probe.to);
        }
    }
    let mut deciders: Vec<_> = deciders.into_iter().collect();
    deciders.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
    let mut out = String::new();
    for (why, (count, pairs)) in deciders {
        let place = why.as_ref().and_then(|why| why.at.as_deref()).unwrap_or_default();
        let line = format!("  {count:>5}  {:<34} {}", decider(why.as_ref()), paint.text(Tone::Faint, place));
        out += line.trim_end();
        out.push('\n');
        for line in lines_of(&who_from_whom(findings, &pairs), "") {
            out += &format!("         {}\n", paint.text(Tone::Faint, line));
        }
    }
    out
}

/// Gate and rule, or the reason where no gate was asked.
pub(super) fn decider(why: Option<&Why>) -> String {
    let Some(why) = why else { return "no word of it in the flow log".to_owned() };
    match (why.gate(), &why.rule) {
        (Some(gate), Some(rule)) => format!("{gate} gate, rule `{rule}`"),
        (Some(gate), None) => format!("{gate} gate, default"),
        (None, _) => why.reason.clone(),
    }
}

/// "web-1 web-2 → pay-1 db-1": sources with the same destinations stand together.
fn who_from_whom(findings: &Findings, pairs: &Pairs) -> Vec<String> {
    let mut groups: Vec<(&BTreeSet<WorkloadId>, Vec<&str>)> = Vec::new();
    for (from, to) in pairs {
        match groups.iter_mut().find(|(same, _)| *same == to) {
            Some((_, sources)) => sources.push(findings.name(*from)),
            None => groups.push((to, vec![findings.name(*from)])),
        }
    }
    let names = |ids: &BTreeSet<WorkloadId>| {
        if ids.len() + 1 == findings.policy.workloads.len() {
            return "all others".to_owned();
        }
        ids.iter().map(|id| findings.name(*id)).collect::<Vec<_>>().join(" ")
    };
    groups.iter().map(|(to, sources)| format!("{} → {}", sources.join(" "), names(to))).collect()
}
