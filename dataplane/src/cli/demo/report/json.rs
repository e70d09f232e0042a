//! The report for programs: one JSON document.
//!
//! Fields are only ever added. `ok` is what the exit status says.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::cli::demo::actors::Outcome;
use crate::cli::demo::attacks::{Fate, LIAR};
use crate::cli::demo::findings::{Carried, Findings, Lie, device_name};
use crate::cli::demo::plan::{Family, Probe};
use crate::counters::PortCounters;
use crate::drop_reason::UndeliveredReason;

/// The whole document.
pub(in crate::cli::demo) fn document(findings: &Findings) -> Value {
    let policy = findings.policy.sources.files().first().map_or("", |file| &*file.name);
    json!({
        "ok": findings.is_all_well(),
        "policy": policy,
        "devices": device_name(findings.devices),
        "seconds": findings.took.as_secs_f64(),
        "probes": findings.probes().map(|(at, probe, outcome)| one_probe(findings, at, probe, outcome)).collect::<Vec<_>>(),
        "promises": promises(findings),
        "frames": frames(findings),
        "throughput": throughput(findings),
        "accounting": accounting(findings),
    })
}

fn one_probe(findings: &Findings, at: usize, probe: &Probe, outcome: Outcome) -> Value {
    let promised = probe.promised.map(|promised| if promised.open { "allow" } else { "deny" });
    let why = if outcome.came_through() { None } else { findings.why(at) };
    json!({
        "from": findings.name(probe.from),
        "to": findings.name(probe.to),
        "service": probe.layer4().to_string(),
        "family": probe.family().name(),
        "promised": promised,
        "verdict": if outcome.came_through() { "allow" } else { "deny" },
        "kept": !probe.breaks_promise(outcome.came_through()),
        "socket": outcome.name(),
        "refusal": why.map(|why| json!({
            "reason": why.reason,
            "gate": why.gate(),
            "rule": why.gate().map(|_| why.rule.as_deref().unwrap_or("default")),
            "at": why.at,
        })),
    })
}

fn promises(findings: &Findings) -> Vec<Value> {
    let of = |number: usize| {
        move |probe: &Probe| probe.promised.is_some_and(|promised| promised.promise == number)
    };
    let promise = |(number, name): (usize, &Arc<str>)| {
        let attempts = findings.plan.probes.iter().filter(|probe| of(number)(probe)).count();
        let broken = findings.broken().filter(|(_, probe, _)| of(number)(probe)).count();
        json!({ "name": **name, "kept": broken == 0, "attempts": attempts, "broken": broken })
    };
    findings.plan.promises.iter().enumerate().map(promise).collect()
}

fn frames(findings: &Findings) -> Vec<Value> {
    let frame = |lie: &Lie| {
        let (expected, reason) = match lie.forgery.expected {
            Fate::Delivered(to) => (format!("delivered to {}", findings.name(to)), None),
            Fate::Dropped(reason) => ("dropped".to_owned(), Some(reason.name())),
        };
        let seen_at: Vec<&str> = lie.seen_at.iter().map(|id| findings.name(*id)).collect();
        json!({
            "name": lie.forgery.name,
            "from": LIAR,
            "expected": expected,
            "reason": reason,
            "counted": lie.counted,
            "seen_at": seen_at,
            "ok": lie.is_as_expected(),
        })
    };
    findings.lies.iter().map(frame).collect()
}

fn throughput(findings: &Findings) -> Vec<Value> {
    let one = |carried: &Carried| {
        let mut value = json!({
            "from": findings.name(carried.from),
            "to": findings.name(carried.to),
            "service": format!("tcp/{}", carried.port),
            "family": Family::of(carried.destination).name(),
        });
        match &carried.result {
            Ok(transfer) => {
                value["bytes"] = transfer.bytes.into();
                value["seconds"] = transfer.took.as_secs_f64().into();
                value["gbit_per_s"] = transfer.gigabits_per_second().into();
            }
            Err(error) => value["error"] = error.as_str().into(),
        }
        value
    };
    findings.transfers.iter().map(one).collect()
}

fn accounting(findings: &Findings) -> Value {
    let ports: Map<String, Value> =
        findings.ports.iter().map(|(name, counters)| (name.to_string(), counts(counters))).collect();
    json!({ "balanced": findings.is_balanced(), "total": counts(&findings.total()), "ports": ports })
}

fn counts(counters: &PortCounters) -> Value {
    let dropped: Map<String, Value> =
        counters.drops().map(|(reason, count)| (reason.name().to_owned(), count.into())).collect();
    let undelivered: Map<String, Value> = UndeliveredReason::ALL
        .into_iter()
        .map(|reason| (reason.name().to_owned(), counters.undelivered[reason.index()].into()))
        .filter(|(_, count): &(_, Value)| *count != 0)
        .collect();
    json!({
        "received": counters.received,
        "forwarded": counters.forwarded,
        "replied": counters.replied,
        "dropped": dropped,
        "handed_over": counters.handed_over,
        "originated": counters.originated,
        "extra_segments": counters.extra_segments,
        "transmitted": counters.transmitted,
        "undelivered": undelivered,
    })
}
