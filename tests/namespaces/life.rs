//! From start to end: signals, counters, devices that disappear under a running switch.

use std::fs;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use rustix::process::{Pid, Signal};
use septum::sys::netlink::Netlink;

use crate::host::{Outcome, PATIENCE, SILENCE};
use crate::lab::Lab;
use crate::ping::{Heard, Ping};
use crate::running::{program, run_to_its_end};
use crate::trio::TRIO;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("life::signals_print_and_end", signals_print_and_end),
        Trial::test("life::a_process_names_its_namespace", a_process_names_its_namespace),
        Trial::test("life::kill_9_leaves_no_device", kill_9_leaves_no_device),
        Trial::test("life::a_device_that_disappears_is_one_event", a_device_that_disappears_is_one_event),
    ]
}

fn signals_print_and_end() -> Result<(), Failed> {
    let lab = Lab::new(TRIO)?;
    for signal in [Signal::INT, Signal::TERM] {
        let mut running = lab.start()?;
        let (a, b) = (lab.host("a"), lab.host("b"));
        for ipv4 in [true, false] {
            assert_eq!(a.ping(Ping::new(b.address(ipv4)))?, Heard::Reply);
        }
        let first = running.counters()?;
        assert_eq!(first.rules["a-to-b (egress)"], 4, "{first:#?}");
        assert_eq!(first.rules["a-to-b (ingress)"], 4, "{first:#?}");
        assert_eq!(first.connections, 2, "{first:#?}");
        assert!(first.ports["a"].forwarded >= 2 && first.ports["b"].transmitted >= 2, "{first:#?}");
        // Printing changes nothing, and the next numbers go on from there.
        assert_eq!(a.ping(Ping::new(b.address(true)))?, Heard::Reply);
        assert_eq!(running.counters()?.rules["a-to-b (egress)"], 6);
        let last = running.end(signal)?;
        assert_eq!(last.rules["a-to-b (egress)"], 6, "{last:#?}");
        assert_eq!(last.undelivered.len(), 0, "{last:#?}");
        lab.assert_empty()?;
    }
    Ok(())
}

/// `netns = "pid:N"`, as a container's first process.
fn a_process_names_its_namespace() -> Result<(), Failed> {
    let mut lab = Lab::new(TRIO)?;
    let (a, c) = (lab.host("a"), lab.host("c"));
    let mut holder = Holder(c.namespace.spawn(Command::new("sleep").arg("1000"))?);
    let process = holder.0.id();
    if !fs::read_link("/proc/self")?.ends_with(std::process::id().to_string()) {
        // This `/proc` numbers processes as another namespace does: the holder's number there is not known here.
        return Ok(());
    }
    lab.write(&TRIO.replacen("netns   = \"c\"", &format!("netns = \"pid:{process}\""), 1))?;
    let running = lab.start()?;
    assert_eq!(a.ping(Ping::new(c.address(true)))?, Heard::Reply);
    // Its end is not the device's: the switch holds what it opened.
    holder.0.kill()?;
    holder.0.wait()?;
    assert_eq!(a.ping(Ping::new(c.address(false)))?, Heard::Reply);
    running.end(Signal::TERM)?;

    let (status, said) = run_to_its_end(program().arg("run").arg(lab.policy()))?;
    assert_eq!(status, Some(3), "{said}");
    assert!(said.contains(&format!("/proc/{process}/ns/net")) && said.contains("fix:"), "{said}");
    lab.assert_empty()
}

/// A process that ends with the test.
struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn kill_9_leaves_no_device() -> Result<(), Failed> {
    let lab = Lab::new(TRIO)?;
    let running = lab.start()?;
    running.signal(Signal::KILL)?;
    // Dropping it waits for it.
    drop(running);
    lab.assert_empty()
}

fn a_device_that_disappears_is_one_event() -> Result<(), Failed> {
    let lab = Lab::new(TRIO)?;
    let mut running = lab.start()?;
    let (a, b, c) = (lab.host("a"), lab.host("b"), lab.host("c"));
    let _server = c.serve(&[80], &[])?;
    let mut live = a.connect(c.address(true), 80, PATIENCE)?;
    b.run(|| -> std::io::Result<()> {
        let mut netlink = Netlink::open()?;
        let link = netlink.link(&b.device)?;
        netlink.delete_link(link.index)
    })?;
    running.says("the port of `b` is gone")?;

    // The others do not notice, what is sent to it is accounted for, and nobody spins.
    assert_eq!(crate::host::tcp_echo(&mut live, 100_000)?, Outcome::Echoed);
    for ipv4 in [true, false] {
        assert_eq!(a.tcp(c.address(ipv4), 80, PATIENCE)?, Outcome::Echoed);
        assert_eq!(a.ping(Ping { patience: SILENCE, ..Ping::new(b.address(ipv4)) })?, Heard::Silence);
    }
    await_sleep(running.pid())?;

    assert!(!running.counters()?.ports.contains_key("b"));

    // Reading the policy again makes it anew.
    let said = running.reload_gladly()?;
    assert!(!said.contains("is gone"), "said more than once: {said}");
    for ipv4 in [true, false] {
        assert_eq!(a.ping(Ping::new(b.address(ipv4)))?, Heard::Reply);
    }
    assert_eq!(crate::host::tcp_echo(&mut live, 1000)?, Outcome::Echoed);
    let (_, said) = running.end_and_tell(Signal::TERM)?;
    assert!(!said.iter().any(|line| line.contains("is gone")), "said more than once: {said:?}");
    lab.assert_empty()
}

/// Waits until all threads of a process sleep and go on doing so; one that spins is found awake again and again.
fn await_sleep(process: Pid) -> Result<(), Failed> {
    const LOOKS: usize = 20;
    let deadline = Instant::now() + PATIENCE;
    let mut asleep = 0;
    while asleep < LOOKS {
        if Instant::now() > deadline {
            return Err("an idle switch does not come to rest".into());
        }
        let is_asleep = fs::read_dir(format!("/proc/{process}/task"))?.flatten().all(|task| {
            // proc_pid_stat(5): the second field is a name, in parentheses; the third is the state. A thread may end meanwhile.
            fs::read_to_string(task.path().join("stat"))
                .is_ok_and(|text| text.rsplit_once(") ").is_some_and(|(_, fields)| fields.starts_with('S')))
        });
        asleep = if is_asleep { asleep + 1 } else { 0 };
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
