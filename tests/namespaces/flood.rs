//! A flood of SYNs at full speed: it costs its sender its share of half-open connections, and nobody else anything.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use libtest_mimic::{Failed, Trial};
use rustix::process::{Pid, Signal};

use crate::forge::Ends;
use crate::host::{Host, Outcome, PATIENCE, tcp_echo};
use crate::lab::Lab;
use crate::running::Running;
use crate::trio::trio_and;

pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test("flood::of_syns_costs_nobody_else_anything", of_syns_costs_nobody_else_anything)]
}

/// `b` may open connections, too: a thousand that are not complete.
const MORE: &str = r#"
[conntrack]
half_open_per_workload = 1000

[[rule]]
name  = "b-to-c"
from  = "name=b"
to    = "name=c"
allow = ["echo"]
"#;

/// SYNs that are sent at the least.
const FLOOD: usize = 100_000;

/// Connections that somebody else opens meanwhile.
const CONNECTIONS: usize = 300;

/// Kilobytes that the switch may use more under the flood: its table for 262,144 connections, twice as many places of 96 bytes,
/// is there from the start, and touched now.
const GROWTH: u64 = 64 * 1024;

/// Sends SYNs from every port in turn until told to stop; gives how many.
fn flood(
    from: &Host,
    router: septum_rules::mac::MacAddress,
    to: &Host,
    stop: &AtomicBool,
) -> Result<usize, Failed> {
    const SYN: u8 = 2;
    const SOURCE_PORT: usize = 14 + 20;
    const CHECKSUM: usize = SOURCE_PORT + 16;
    let ends = Ends { macs: (from.mac, router), addresses: (from.address(true), to.address(true)) };
    let mut frame = ends.tcp(1, 80, SYN);
    // Its receiver does not answer what is damaged, so no handshake ever completes, or is reset.
    frame[CHECKSUM] ^= 0xff;
    let (mut sender, mut sent) = (from.raw()?, 0);
    while sent < FLOOD || !stop.load(Ordering::Relaxed) {
        let port = (sent % 60_000 + 1024) as u16;
        frame[SOURCE_PORT..SOURCE_PORT + 2].copy_from_slice(&port.to_be_bytes());
        // A frame that finds the device's queue full is lost there, before the switch.
        let _ = sender.send_to(&frame, None);
        sent += 1;
    }
    Ok(sent)
}

/// Resident memory of a process, in kilobytes (proc_pid_status(5)).
fn resident(process: Pid) -> Result<u64, Failed> {
    let status = fs::read_to_string(format!("/proc/{}/status", process.as_raw_nonzero()))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse()?)
}

fn of_syns_costs_nobody_else_anything() -> Result<(), Failed> {
    let lab = Lab::new(&trio_and(MORE))?;
    let running = Running::start(&lab.policy(), &[])?;
    let (a, b, c) = (lab.host("a"), lab.host("b"), lab.host("c"));
    let _server = c.serve(&[80], &[])?;
    let mut established = a.connect(c.address(true), 80, PATIENCE)?;
    assert_eq!(tcp_echo(&mut established, 5000)?, Outcome::Echoed);
    let router = septum::directory::gateway_mac("near");
    let before = resident(running.pid())?;
    let stop = AtomicBool::new(false);
    let (sent, echoed) = thread::scope(|scope| {
        let flooding = scope.spawn(|| flood(&b, router, &c, &stop).map_err(|failed| format!("{failed:?}")));
        let mut talk = || -> std::io::Result<usize> {
            let mut echoed = 0;
            for number in 0..CONNECTIONS {
                let new = a.tcp(c.address(number % 2 == 0), 80, 4 * PATIENCE)?;
                let old = tcp_echo(&mut established, 1000)?;
                echoed += usize::from([new, old] == [Outcome::Echoed; 2]);
            }
            Ok(echoed)
        };
        let echoed = talk();
        stop.store(true, Ordering::Relaxed);
        (flooding.join().expect("no panic"), echoed)
    });
    let (sent, growth) = (sent?, resident(running.pid())?.saturating_sub(before));
    assert_eq!(echoed?, CONNECTIONS, "of {sent} SYNs' victims");
    assert!(growth < GROWTH, "{growth} KiB more after {sent} SYNs");
    let summary = running.end(Signal::TERM)?;
    let refused = summary.dropped("half-open-quota");
    assert!(refused > 0 && refused == summary.refused(), "{summary:#?}");
    lab.assert_empty()
}
