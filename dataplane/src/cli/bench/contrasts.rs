//! `septum bench --limit --figure contrasts`: one kind of frames against another, by turns, through the same switch and ports.
//!
//! What a frame costs should not depend on how many flows, pairs and rules there are. So frames of one connection take turns with
//! those of many, with frames that each open a connection, with those of many pairs whose rules lie scattered in the policy, and
//! with refused ones; and the policy with one of few rules. Told is the ratio to the turns beside, as in [`super::limit`]; what is
//! refused is counted where it comes in.

use std::time::Duration;

use super::Arguments;
use super::ends::Ends;
use super::limit::{Bench, Mover, Pace, QUICK, Turn, Turns, median, unsent, while_sending};
use super::report::{Row, sentence};
use super::stage::{Setting, compiled};
use super::traffic::{Load, Sender, Size, sinks};
use crate::cli::failure::Failure;
use crate::cli::present::Progress;

/// What the device's queue still holds of the turn before is through by then.
const PACE: Pace = Pace { settle: Duration::from_millis(5), ..QUICK };
/// Pairs of ends.
const PAIRS: usize = 1000;
/// Rules of the smaller policy.
const FEW_RULES: u32 = 10;
/// Number of the load against which the others are held, and of the one that is.
const BASE: usize = 0;
const OTHER: usize = 1;

/// Measures all of them.
pub(super) fn measure(
    arguments: &Arguments,
    setting: Setting,
    progress: &Progress,
    ends: &Ends,
    bench: &mut Bench,
) -> Result<Vec<Row>, Failure> {
    let _sinks = sinks(ends).map_err(unsent)?;
    let size = Size::Bytes(64);
    let one = || Load::flows(ends, size, 1);
    let mut rows = Vec::new();
    let mut contrast = |name, (parameter, value), loads: [Load; 2], of: fn(&Turn) -> f64| {
        let mut row = Row::new(name);
        row.parameter(parameter, value);
        row.parameter("rules", setting.rules);
        let work = || loads_by_turns(row, arguments.cycles, ends, bench, loads, of);
        rows.push(progress.step("rotating over kinds of frames", work, sentence)?);
        Ok::<_, Failure>(())
    };
    for &flows in arguments.flows.iter().filter(|flows| **flows > 1) {
        let loads = [one(), Load::flows(ends, size, flows)];
        contrast("contrast-flows", ("flows", flows as usize), loads, |turn| turn.frames)?;
    }
    let alone = ("flows", 1);
    contrast("contrast-opening", alone, [one(), Load::fresh(ends, size)], |turn| turn.frames)?;
    let loads = [Load::pairs(ends, size, 1), Load::pairs(ends, size, PAIRS)];
    contrast("contrast-pairs", ("flows", PAIRS), loads, |turn| turn.frames)?;
    contrast("contrast-refused", alone, [one(), Load::refused(ends, size)], |turn| turn.received)?;
    if setting.rules > FEW_RULES {
        bench.set_other(compiled(Setting { rules: FEW_RULES, pairs: false, ..setting })?);
        let mut row = Row::new("contrast-rules");
        row.parameter("rules", setting.rules);
        let work = || policies_by_turns(row, arguments.cycles, ends, bench, one());
        rows.push(progress.step("rotating over policies", work, sentence)?);
    }
    Ok(rows)
}

/// The second load against the first.
fn loads_by_turns(
    mut row: Row,
    cycles: u32,
    ends: &Ends,
    bench: &mut Bench,
    loads: [Load; 2],
    of: fn(&Turn) -> f64,
) -> Result<Row, Failure> {
    let sender = Sender::new(ends, loads.into()).map_err(unsent)?;
    let turns = while_sending(ends, &sender, |arrived| {
        for load in [BASE, OTHER] {
            sender.choose(load);
            let before = arrived();
            bench.warm(Mover::Switch, PACE, || sender.has_been_round(arrived() - before))?;
        }
        bench.cycle(cycles, PACE, [Mover::Switch; 3], |is_other| {
            sender.choose(if is_other { OTHER } else { BASE });
        })
    })?;
    tell(&turns, &mut row, of);
    Ok(row)
}

/// The measured policy against the smaller one.
fn policies_by_turns(
    mut row: Row,
    cycles: u32,
    ends: &Ends,
    bench: &mut Bench,
    load: Load,
) -> Result<Row, Failure> {
    let sender = Sender::new(ends, vec![load]).map_err(unsent)?;
    let turns = while_sending(ends, &sender, |_| {
        for mover in [Mover::Other, Mover::Switch] {
            bench.warm(mover, PACE, || true)?;
        }
        bench.cycle(cycles, PACE, [Mover::Other, Mover::Switch, Mover::Other], |_| ())
    })?;
    tell(&turns, &mut row, |turn| turn.frames);
    Ok(row)
}

fn tell(turns: &Turns, row: &mut Row, of: fn(&Turn) -> f64) {
    let [bases, others] = [0, 1].map(|at| move || turns.cycles.iter().map(move |cycle| &cycle[at]));
    turns.tell_ratio(row, of);
    row.value("base_per_s", median(bases().map(of)));
    row.value("other_per_s", median(others().map(of)));
    row.value("base_own_ns_per_frame", median(bases().map(|turn| turn.own_ns)));
    row.value("own_ns_per_frame", median(others().map(|turn| turn.own_ns)));
}
