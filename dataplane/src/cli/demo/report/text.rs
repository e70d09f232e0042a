//! The report for people.

use std::fmt::Write;

use super::matrix::matrix;
use super::refusals::{decider, refusals};
use crate::cli::demo::actors::Outcome;
use crate::cli::demo::attacks::{Fate, LIAR};
use crate::cli::demo::findings::{Findings, device_name};
use crate::cli::demo::plan::{Family, Probe};
use crate::cli::present::{COLUMNS, Paint, Tone, thousands};
use crate::port::Device;

/// What lines of words are indented by, at the most.
const INDENTATION: usize = 9;
/// Broken pairs that are told one by one; the rest are counted.
const TOLD: usize = 12;

/// The whole report. Ends with the verdict, which is what the eye looks for.
pub(in crate::cli::demo) fn text(findings: &Findings, paint: Paint) -> String {
    let mut out = String::from("\n");
    // Writing to a string does not fail.
    let _ = write(findings, paint, &mut out);
    out
}

fn write(findings: &Findings, paint: Paint, out: &mut String) -> std::fmt::Result {
    let tried = findings.outcomes.len();
    let through = findings.outcomes.iter().filter(|outcome| outcome.came_through()).count();
    heading(
        paint,
        out,
        "Who reaches whom",
        "TCP ports, udp/PORT and ping that came through, in both families",
    )?;
    out.push_str(&matrix(findings, paint));
    writeln!(out, "  {through} of {tried} attempts came through; the switch refused the rest.\n")?;

    heading(paint, out, "Why the rest was refused", "as the switch's flow log says")?;
    writeln!(out, "{}", refusals(findings, paint))?;
    promises(findings, paint, out)?;
    lies(findings, paint, out)?;
    transfers(findings, paint, out)?;
    accounting(findings, paint, out)?;
    verdict(findings, paint, out)
}

fn heading(paint: Paint, out: &mut String, title: &str, note: &str) -> std::fmt::Result {
    writeln!(out, "{}  {}", paint.text(Tone::Strong, title), paint.text(Tone::Faint, note))
}

fn promises(findings: &Findings, paint: Paint, out: &mut String) -> std::fmt::Result {
    heading(paint, out, "Promises", "written by hand, tried by real sockets")?;
    let broken: Vec<Breach<'_>> = breaches(findings);
    let mut told = 0;
    for (number, name) in findings.plan.promises.iter().enumerate() {
        let of_this = |probe: &Probe| probe.promised.is_some_and(|promised| promised.promise == number);
        let all = findings.plan.probes.iter().filter(|probe| of_this(probe)).count();
        let wrong: Vec<&Breach<'_>> = broken.iter().filter(|breach| of_this(breach.probe)).collect();
        let kept = all - wrong.iter().map(|breach| breach.families.len()).sum::<usize>();
        writeln!(out, "  {} {:>7}  {name}", paint.mark(wrong.is_empty()), format!("{kept}/{all}"))?;
        for breach in wrong {
            told += 1;
            if told <= TOLD {
                writeln!(out, "             {}", paint.text(Tone::Bad, breach.sentence(findings)))?;
                for line in &breach.reasons {
                    writeln!(out, "               {line}")?;
                }
            }
        }
    }
    if told > TOLD {
        writeln!(out, "             ... and {} more (-o json has them all)", told - TOLD)?;
    }
    out.push('\n');
    Ok(())
}

/// A broken promise of one pair and service; both families together where the same happened to both.
struct Breach<'f> {
    probe: &'f Probe,
    outcome: Outcome,
    families: Vec<&'static str>,
    reasons: Vec<String>,
}

fn breaches(findings: &Findings) -> Vec<Breach<'_>> {
    let mut breaches: Vec<Breach<'_>> = Vec::new();
    for (at, probe, outcome) in findings.broken() {
        let reasons = reasons(findings, at, probe, outcome);
        let family = probe.family().name();
        match breaches.last_mut() {
            Some(last) if last.is_of(probe) && last.reasons == reasons => last.families.push(family),
            _ => breaches.push(Breach { probe, outcome, families: vec![family], reasons }),
        }
    }
    breaches
}

impl Breach<'_> {
    fn is_of(&self, probe: &Probe) -> bool {
        (self.probe.from, self.probe.to, self.probe.attempt) == (probe.from, probe.to, probe.attempt)
    }

    fn sentence(&self, findings: &Findings) -> String {
        let came = self.outcome.came_through();
        let what = if came { "came through, promised refused" } else { "refused, promised open" };
        let Probe { from, to, attempt, .. } = self.probe;
        let families = self.families.join(" and ");
        format!("{} → {} {attempt} over {families}: {what}", findings.name(*from), findings.name(*to))
    }
}

/// Whose doing it was.
fn reasons(findings: &Findings, at: usize, probe: &Probe, outcome: Outcome) -> Vec<String> {
    if outcome.came_through() {
        let rules = findings.admitting_rules(probe);
        return if rules.is_empty() {
            Vec::new()
        } else {
            vec![format!("let in by {}", rules.join(" and "))]
        };
    }
    let why = findings.why(at);
    let place = why.as_ref().and_then(|why| why.at.as_ref()).map(|place| format!(" ({place})"));
    let mut lines = vec![format!("{}{}", decider(why.as_ref()), place.unwrap_or_default())];
    if why.is_none() {
        lines.push(format!("what the socket saw: {outcome}"));
    }
    lines.extend(findings.nearest_rule(probe));
    lines
}

fn lies(findings: &Findings, paint: Paint, out: &mut String) -> std::fmt::Result {
    if findings.lies.is_empty() {
        return Ok(());
    }
    heading(
        paint,
        out,
        &format!("Raw frames from {LIAR}, which was broken into"),
        "looked for at every other workload",
    )?;
    for lie in &findings.lies {
        let fate = match (&lie.seen_at[..], lie.forgery.expected) {
            ([], Fate::Dropped(reason)) if lie.counted => reason.name().to_owned(),
            ([], Fate::Dropped(reason)) => format!("came out nowhere, but was not counted as {reason}"),
            ([], Fate::Delivered(_)) => "came out nowhere".to_owned(),
            (seen, _) => {
                let names: Vec<&str> = seen.iter().map(|id| findings.name(*id)).collect();
                format!("arrived at {}", names.join(", "))
            }
        };
        let good = lie.is_as_expected();
        let tone = if good { Tone::Plain } else { Tone::Bad };
        writeln!(out, "  {} {:<38} {}", paint.mark(good), lie.forgery.name, paint.text(tone, fate))?;
    }
    out.push('\n');
    Ok(())
}

fn transfers(findings: &Findings, paint: Paint, out: &mut String) -> std::fmt::Result {
    if findings.transfers.is_empty() {
        return Ok(());
    }
    heading(
        paint,
        out,
        "Throughput",
        "one TCP connection between two allowed workloads, through the same rules",
    )?;
    for carried in &findings.transfers {
        let pair = format!(
            "{} → {} tcp/{} over {}",
            findings.name(carried.from),
            findings.name(carried.to),
            carried.port,
            Family::of(carried.destination).name(),
        );
        match &carried.result {
            Ok(transfer) => {
                let rate = format!("{:.1} Gbit/s", transfer.gigabits_per_second());
                let how =
                    format!("{:.2} GB in {:.1} s", transfer.bytes as f64 / 1e9, transfer.took.as_secs_f64());
                writeln!(out, "  {pair:<38}   {rate:>12}   {}", paint.text(Tone::Faint, how))?;
            }
            Err(error) => writeln!(out, "  {pair:<38}   {}", paint.text(Tone::Bad, error))?,
        }
    }
    out.push('\n');
    Ok(())
}

fn accounting(findings: &Findings, paint: Paint, out: &mut String) -> std::fmt::Result {
    let total = findings.total();
    heading(paint, out, "Accounting", "every frame has one end, at every port")?;
    let row = |out: &mut String, left: &str, left_count: u64, right: [(&str, u64); 3]| {
        let terms: Vec<String> =
            right.iter().map(|(name, count)| format!("{} {name}", thousands(*count))).collect();
        writeln!(out, "  {} {left} = {}", thousands(left_count), terms.join(" + "))
    };
    row(
        out,
        "received",
        total.received,
        [("forwarded", total.forwarded), ("replied", total.replied), ("dropped", total.dropped_total())],
    )?;
    let drops: Vec<String> =
        total.drops().map(|(reason, count)| format!("{} {reason}", thousands(count))).collect();
    for line in lines_of(&drops, "dropped: ") {
        writeln!(out, "      {}", paint.text(Tone::Faint, line.trim_end()))?;
    }
    let begun = total.handed_over + total.originated + total.extra_segments;
    writeln!(
        out,
        "  {} handed over + {} originated + {} extra segments = {} transmitted + {} undelivered",
        thousands(total.handed_over),
        thousands(total.originated),
        thousands(total.extra_segments),
        thousands(total.transmitted),
        thousands(total.undelivered_total()),
    )?;
    if findings.is_balanced() {
        writeln!(
            out,
            "  {} balanced: {} frames in, {} out, none unaccounted for\n",
            paint.mark(true),
            thousands(total.received),
            thousands(begun)
        )
    } else {
        for (port, imbalance) in
            findings.ports.iter().filter_map(|(name, counters)| Some((name, counters.imbalance()?)))
        {
            writeln!(out, "  {} {port}: {imbalance}", paint.mark(false))?;
        }
        out.push('\n');
        Ok(())
    }
}

/// Words joined by commas, in lines that fit behind an indentation.
pub(super) fn lines_of(words: &[String], first: &str) -> Vec<String> {
    let width = |text: &str| text.chars().count();
    let mut lines = vec![first.to_owned()];
    for (at, word) in words.iter().enumerate() {
        let word = if at + 1 == words.len() { word.clone() } else { format!("{word},") };
        match lines.last_mut() {
            Some(last) if at == 0 => last.push_str(&word),
            Some(last) if width(last) + 1 + width(&word) <= COLUMNS - INDENTATION => {
                last.push(' ');
                last.push_str(&word);
            }
            _ => lines.push(format!("{}{word}", " ".repeat(width(first)))),
        }
    }
    lines
}

fn verdict(findings: &Findings, paint: Paint, out: &mut String) -> std::fmt::Result {
    let promised = findings.plan.probes.iter().filter(|probe| probe.promised.is_some()).count();
    let lies = findings.lies.iter().filter(|lie| !lie.is_as_expected()).count();
    let failed = findings.transfers.iter().filter(|carried| carried.result.is_err()).count();
    let mut wrong = Vec::new();
    match findings.broken().count() {
        0 => {}
        broken => wrong.push(format!("{broken} of {promised} attempts broke a promise")),
    }
    let mut note = |count: usize, one: &str, many: &str| match count {
        0 => {}
        1 => wrong.push(format!("1 {one}")),
        count => wrong.push(format!("{count} {many}")),
    };
    note(lies, "raw frame went astray", "raw frames went astray");
    note(failed, "transfer failed", "transfers failed");
    if !findings.is_balanced() {
        wrong.push("the counters do not balance".to_owned());
    }
    if findings.devices == Device::Veth {
        writeln!(
            out,
            "  Joined by veth pairs instead of TAP devices: this user may not open /dev/net/tun.\n"
        )?;
    }
    let said = if wrong.is_empty() {
        paint.text(Tone::Good, format_args!("Every promise kept: {promised} attempts, IPv4 and IPv6."))
    } else {
        paint.text(Tone::Bad, format_args!("Not as promised: {}.", wrong.join(", ")))
    };
    let took = format!("{:.1} s, {}", findings.took.as_secs_f64(), device_name(findings.devices));
    writeln!(out, "{} {said}  {}", paint.mark(wrong.is_empty()), paint.text(Tone::Faint, took))
}
