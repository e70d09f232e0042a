//! Memory: what the process holds with all ports, all rules, and as many connections as its table takes.
//!
//! All in one process, the hosts' side of the benchmark with it. The connections are of UDP; those of TCP touch 64 MiB more, the numbers of
//! both ends.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use super::limit::{unsent, while_sending};
use super::report::Row;
use super::stage::{Setting, Stage};
use super::traffic::{Load, Sender, Size, sinks};
use crate::cli::failure::Failure;

/// After which it is told with those that are open.
const LONGEST: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(100);

/// Brings everything up and opens so many connections.
pub(super) fn measure(setting: Setting, wanted: usize) -> Result<Row, Failure> {
    let mut row = Row::new("memory");
    row.parameter("ports", setting.ports);
    row.parameter("rules", setting.rules);
    row.parameter("workers", setting.workers);
    let stage = Stage::open(setting)?;
    row.value("idle_mib", resident());
    let sinks = sinks(stage.ends()).map_err(unsent)?;
    let load = Load::fresh(stage.ends(), Size::Bytes(64));
    let sender = Sender::new(stage.ends(), vec![load]).map_err(unsent)?;
    let began = Instant::now();
    let connections = while_sending(stage.ends(), &sender, |_| {
        let mut connections = 0;
        while connections < wanted && began.elapsed() < LONGEST {
            thread::sleep(LOOK);
            connections = stage.connections();
        }
        Ok(connections)
    })?;
    row.value("connections", connections as f64);
    row.value("resident_mib", resident());
    drop(sinks);
    stage.close();
    Ok(row)
}

/// Resident memory of this process, in MiB. Zero where `/proc` does not tell.
fn resident() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
    kib.unwrap_or_default() / 1024.0
}
