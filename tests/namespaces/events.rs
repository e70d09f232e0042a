//! The event log: a line a decision, all that is needed to understand it; and an output that fails blocks nobody.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::path::PathBuf;
use std::time::Instant;

use libtest_mimic::{Failed, Trial};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::forge::Ends;
use crate::host::{Host, Outcome, PATIENCE, SILENCE};
use crate::lab::{Lab, path_text};
use crate::ping::{Heard, Ping};
use crate::running::{Running, await_end, program};
use crate::summary::Summary;
use crate::trio::{TRIO, trio_and};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("events::a_line_says_all", a_line_says_all),
        Trial::test("events::standard_output_is_theirs_alone", standard_output_is_theirs_alone),
        Trial::test("events::a_full_disk_is_counted", a_full_disk_is_counted),
        Trial::test("events::a_reader_that_stops_blocks_nobody", a_reader_that_stops_blocks_nobody),
        Trial::test("events::a_reader_that_never_comes_can_be_given_up", a_reader_that_never_comes),
        Trial::test("events::a_reader_that_leaves_is_counted", a_reader_that_leaves_is_counted),
    ]
}

/// A datagram that `b` may not send to `a`.
fn refused(a: &Host, b: &Host) -> Vec<u8> {
    let ends = Ends { macs: (b.mac, a.mac), addresses: (b.address(true), a.address(true)) };
    ends.udp(4000, 9999, b"refused")
}

fn a_line_says_all() -> Result<(), Failed> {
    let quiet = "[[rule]]\nname = \"b-asks\"\nfrom = \"name=b\"\nto = \"name=c\"\ndeny = [\"udp/7\"]\n";
    let lab = Lab::new(&trio_and(quiet))?;
    let running = lab.start()?;
    let (a, b, c) = (lab.host("a"), lab.host("b"), lab.host("c"));
    assert_eq!(a.ping(Ping::new(c.address(false)))?, Heard::Reply);
    let mut sender = b.raw()?;
    for _ in 0..5 {
        sender.send_to(&refused(&a, &b), None).ok_or("no buffer")??;
    }
    let to_c = b.udp_socket(c.address(true), 7, PATIENCE)?;
    to_c.send(b"asked")?;

    let place = |rule: &str| -> Result<String, Failed> {
        let text = fs::read_to_string(lab.policy())?;
        let name = format!("\"{rule}\"");
        let before = &text[..text.find(&name).ok_or("no such rule")?];
        // The place of a rule is that of its table.
        let line = before[..before.rfind("[[rule]]").ok_or("no table")?].matches('\n').count() + 1;
        Ok(format!("{}:{line}:1", lab.policy().display()))
    };

    let passed = lab.await_event(&[("verdict", "forward"), ("from", "a"), ("to", "c")])?;
    let at = place("a-to-c")?;
    let gate = serde_json::json!({ "verdict": "allow", "rule": "a-to-c", "at": at });
    let expected = [
        ("source", Value::from("fd00:1::a")),
        ("destination", "fd00:2::c".into()),
        ("service", "icmp6/echo-request".into()),
        ("rule", "a-to-c".into()),
        ("at", at.clone().into()),
        ("egress", gate.clone()),
        ("ingress", gate),
    ];
    expected.iter().for_each(|(key, value)| assert_eq!(&passed[*key], value, "{key}: {passed}"));
    assert!(passed.get("reason").is_none() && passed["unix_ms"].is_u64(), "{passed}");

    let by_rule = lab.await_event(&[("from", "b"), ("to", "c"), ("reason", "denied-egress")])?;
    let expected = [
        ("verdict", Value::from("drop")),
        ("source", "10.1.0.11".into()),
        ("destination", "10.2.0.12".into()),
        ("service", "udp/7".into()),
        ("source_port", to_c.local_addr()?.port().into()),
        ("rule", "b-asks".into()),
        ("at", place("b-asks")?.into()),
    ];
    expected.iter().for_each(|(key, value)| assert_eq!(&by_rule[*key], value, "{key}: {by_rule}"));

    lab.await_event(&[("from", "b"), ("to", "a"), ("service", "udp/9999")])?;
    let summary = running.end(Signal::TERM)?;
    let events = lab.events()?;
    let by_default: Vec<&Value> = events.iter().filter(|event| event["service"] == "udp/9999").collect();
    assert_eq!(by_default.len(), 5, "a line for each refused packet");
    let gate = serde_json::json!({ "verdict": "deny", "rule": "default" });
    for event in by_default {
        assert_eq!((&event["egress"], &event["ingress"]), (&gate, &gate), "{event}");
        assert!(event.get("rule").is_none() && event.get("at").is_none(), "{event}");
    }
    // What was dropped is in the log, frame for frame; what is consumed is no refusal.
    let drops = events.iter().filter(|event| event["verdict"] == "drop").count() as u64;
    assert_eq!(drops, summary.ports["total"].dropped - summary.dropped("absorbed"), "{summary:#?}");
    assert_eq!(summary.events, [events.len() as u64, 0, 0], "{summary:#?}");
    let reasons: BTreeSet<&str> = events.iter().filter_map(|event| event["reason"].as_str()).collect();
    assert!(reasons.iter().all(|reason| summary.dropped.contains_key(*reason)), "{reasons:?}");
    lab.assert_empty()
}

/// With `--events -` standard output holds JSON lines and nothing else; the counters go to standard error.
fn standard_output_is_theirs_alone() -> Result<(), Failed> {
    let lab = Lab::new(TRIO)?;
    let mut running = Running::start(&lab.policy(), &["--events", "-"])?;
    let (a, b) = (lab.host("a"), lab.host("b"));
    assert_eq!(a.ping(Ping::new(b.address(true)))?, Heard::Reply);
    running.signal(Signal::USR1)?;
    running.says("balance: ")?;
    assert_eq!(a.ping(Ping::new(b.address(false)))?, Heard::Reply);
    let (output, said) = running.end_and_read(Signal::TERM)?;
    let lines: Vec<Value> = output.iter().map(|line| serde_json::from_str(line)).collect::<Result<_, _>>()?;
    let summary = Summary::parse(&said)?;
    summary.assert_balance();
    assert_eq!(lines.len() as u64, summary.events[0], "{summary:#?}");
    // What a stack says of itself before its port is described is refused, and may stand there too.
    let flows = lines.iter().filter(|line| line["reason"] != "undescribed").count();
    assert_eq!(flows, 2, "{lines:#?}");
    lab.assert_empty()
}

/// Every write to this device fails: no space left (full(4)).
fn a_full_disk_is_counted() -> Result<(), Failed> {
    let lab = Lab::new(TRIO)?;
    let running = Running::start(&lab.policy(), &["--events", "/dev/full"])?;
    let (a, b) = (lab.host("a"), lab.host("b"));
    for _ in 0..3 {
        assert_eq!(a.ping(Ping::new(b.address(true)))?, Heard::Reply);
    }
    let summary = running.end(Signal::TERM)?;
    let [written, lost, failed] = summary.events;
    assert!(written == 0 && lost == 0 && failed >= 3, "{summary:#?}");
    lab.assert_empty()
}

/// Enough to fill the pipe, the writer's buffer and its queue, where the switch gets half of it.
const FLOOD: usize = 60_000;

fn flood(a: &Host, b: &Host) -> Result<(), Failed> {
    let (frame, mut sender) = (refused(a, b), b.raw()?);
    for _ in 0..FLOOD {
        // A frame that finds the device's queue full is lost there, before the switch.
        let _ = sender.send_to(&frame, None);
    }
    Ok(())
}

fn make_pipe(lab: &Lab) -> Result<PathBuf, Failed> {
    let path = lab.path("pipe");
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    Ok(path)
}

/// Opening a pipe waits for its reader; a signal ends that, and there is no device yet that could be left behind.
fn a_reader_that_never_comes() -> Result<(), Failed> {
    let lab = Lab::new(TRIO)?;
    let mut child = program().arg("run").arg(lab.policy()).arg("--events").arg(make_pipe(&lab)?).spawn()?;
    std::thread::sleep(SILENCE);
    let has_ended = child.try_wait()?;
    // Not SIGINT: a shell that starts the tests in the background has it ignored.
    kill_process(Pid::from_child(&child), Signal::TERM)?;
    let ended = await_end(&mut child);
    // In case it has not.
    let _ = child.kill();
    let _ = child.wait();
    assert!(has_ended.is_none() && ended.is_ok_and(|status| !status.success()));
    lab.assert_empty()
}

/// A pipe with a name, opened at both ends.
fn pipe(lab: &Lab) -> Result<(Running, File), Failed> {
    let path = make_pipe(lab)?;
    // Read and write: it does not wait for the other end (fifo(7)).
    let reader = OpenOptions::new().read(true).write(true).open(&path)?;
    let running = Running::start(&lab.policy(), &["--events", path_text(&path)?])?;
    let reader = (OpenOptions::new().read(true).open(&path)?, drop(reader)).0;
    Ok((running, reader))
}

fn a_reader_that_stops_blocks_nobody() -> Result<(), Failed> {
    let lab = Lab::new(TRIO)?;
    let (mut running, _reader) = pipe(&lab)?;
    let (a, b, c) = (lab.host("a"), lab.host("b"), lab.host("c"));
    let _server = c.serve(&[80], &[])?;
    let deadline = Instant::now() + PATIENCE;
    while running.counters()?.events[1] == 0 {
        assert!(Instant::now() < deadline, "no event was lost");
        flood(&a, &b)?;
    }
    for ipv4 in [true, false] {
        assert_eq!(a.tcp(c.address(ipv4), 80, PATIENCE)?, Outcome::Echoed);
    }
    // Nor does it keep the switch from ending; no event is forgotten.
    let summary = running.end(Signal::TERM)?;
    let [written, lost, failed] = summary.events;
    assert!(lost > 0 && failed > 0, "{summary:#?}");
    let dropped = summary.ports["total"].dropped - summary.dropped("absorbed");
    // Besides the drops: the connections that `log = "new"` asks for.
    assert_eq!(written + lost + failed, dropped + 2, "{summary:#?}");
    lab.assert_empty()
}

fn a_reader_that_leaves_is_counted() -> Result<(), Failed> {
    let lab = Lab::new(TRIO)?;
    let (mut running, mut reader) = pipe(&lab)?;
    let (a, b) = (lab.host("a"), lab.host("b"));
    assert_eq!(a.ping(Ping::new(b.address(true)))?, Heard::Reply);
    let mut line = [0; 1];
    reader.read_exact(&mut line)?;
    drop(reader);
    // Another test's child holds the pipe, too, from its fork until its exec.
    let deadline = Instant::now() + PATIENCE;
    while running.counters()?.events[2] < 3 {
        assert!(Instant::now() < deadline, "nothing failed");
        assert_eq!(a.ping(Ping::new(b.address(true)))?, Heard::Reply);
    }
    let summary = running.end(Signal::TERM)?;
    let [written, lost, failed] = summary.events;
    assert!(written >= 1 && lost == 0 && failed >= 3, "{summary:#?}");
    lab.assert_empty()
}
