//! `septum bench --limit` where time counts: round trips and new connections, through the copy loop and the switch by turns.
//!
//! The hosts talk without pause; who carried what is told by when it happened. What was on its way when the turn changed, counts for
//! neither.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use super::ends::Ends;
use super::figures::{OPENED_BEFORE, converse, keep_opening, nanoseconds, percentile};
use super::limit::{Bench, Mover, Pace, QUICK, Turn, Turns, unsent};
use super::report::Row;
use crate::cli::failure::Failure;

/// A connection that the copy loop began is none to the switch, and its client waits until it gives up: that belongs to no turn.
const SLOW: Pace = Pace { settle: Duration::from_millis(40), turn: Duration::from_millis(160) };
/// After which it gives up.
const PATIENCE: Duration = Duration::from_millis(20);

/// Percentiles of round trips, and what the switch adds to the copy loop's.
pub(super) fn round_trips(bench: &mut Bench, ends: &Ends, rules: u32, cycles: u32) -> Result<Row, Failure> {
    let stop = AtomicBool::new(false);
    let (turns, told) = thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut told = Vec::new();
            converse(ends, || stop.load(Ordering::Relaxed), |asked, took| told.push((asked, took)))
                .map(|()| told)
        });
        let turns = bench.rotate(cycles, QUICK, || true);
        stop.store(true, Ordering::Relaxed);
        // The last question is still to be answered.
        while !asking.is_finished() {
            bench.turn(Mover::Switch, QUICK)?;
        }
        let told = asking.join().map_err(|_| unsent(std::io::Error::other("the client panicked")))?;
        Ok::<_, Failure>((turns?, told.map_err(unsent)?))
    })?;
    let mut times = [const { Vec::new() }; 3];
    for turn in &turns.cycles {
        for (own, turn) in times.iter_mut().zip(turn) {
            own.extend(within(&told, turn));
        }
    }
    let [before, mut switch, after] = times;
    let mut copy = [before.clone(), after.clone()].concat();
    let mut row = Row::new("limit-round-trip");
    row.parameter("rules", rules);
    copy.sort_unstable();
    switch.sort_unstable();
    for (share, of_copy, of_switch, added) in [
        (0.5, "copy_p50_us", "switch_p50_us", "added_p50_us"),
        (0.99, "copy_p99_us", "switch_p99_us", "added_p99_us"),
    ] {
        let [copied, switched] = [&copy, &switch].map(|times| percentile(times, share) / 1000.0);
        row.value(of_copy, copied);
        row.value(of_switch, switched);
        row.value(added, switched - copied);
    }
    let [before, after] = [before, after].map(|mut times| {
        times.sort_unstable();
        percentile(&times, 0.5) / 1000.0
    });
    row.value("placebo_p50_us", after - before);
    Ok(row)
}

/// What was asked and answered while the turn counted.
fn within(told: &[(Instant, Duration)], turn: &Turn) -> impl Iterator<Item = u32> {
    let (began, ended) = turn.span;
    let first = told.partition_point(|(asked, _)| *asked < began);
    told[first..]
        .iter()
        .take_while(move |(asked, _)| *asked < ended)
        .filter(move |(asked, took)| *asked + *took <= ended)
        .map(|(_, took)| nanoseconds(*took))
}

/// New connections of the switch to those of the copy loop.
pub(super) fn connections(bench: &mut Bench, ends: &Ends, rules: u32, cycles: u32) -> Result<Row, Failure> {
    let opened = Mutex::new(Vec::new());
    let note = || {
        if let Ok(mut opened) = opened.lock() {
            opened.push(Instant::now());
        }
    };
    let is_warm =
        || opened.lock().is_ok_and(|opened: MutexGuard<'_, Vec<_>>| opened.len() as u64 >= OPENED_BEFORE);
    let turns: Turns =
        keep_opening(ends, PATIENCE, note, || bench.rotate(cycles, SLOW, is_warm)).map_err(unsent)??;
    let mut opened = opened.into_inner().unwrap_or_default();
    opened.sort_unstable();
    let rate = |turn: &Turn| {
        let (began, ended) = turn.span;
        let before = |moment| opened.partition_point(|at| *at < moment);
        (before(ended) - before(began)) as f64 / (ended - began).as_secs_f64()
    };
    let mut row = Row::new("limit-connections");
    row.parameter("rules", rules);
    turns.tell_ratio(&mut row, rate);
    row.value(
        "copy_connections_per_s",
        super::limit::median(turns.cycles.iter().map(|[before, ..]| rate(before))),
    );
    row.value(
        "switch_connections_per_s",
        super::limit::median(turns.cycles.iter().map(|[_, switch, _]| rate(switch))),
    );
    Ok(row)
}
