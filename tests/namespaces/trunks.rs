//! A trunk between kernels: one TAP with VLAN devices on it, each a workload of its own.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use libtest_mimic::{Failed, Trial};
use rustix::process::Signal;
use septum::burst::{Burst, ETHERNET};
use septum::port::{Inside, Port, PortQueue, Substitute, TransmitOutcome};
use septum::sys::netlink::Netlink;
use septum_rules::source::Span;
use septum_rules::workload::{PortKind, PortSpec};

use crate::forge::Ends;
use crate::host::{Host, Outcome, PATIENCE, SILENCE, tcp_echo};
use crate::lab::Lab;
use crate::namespace::needs_tun;
use crate::ping::{Heard, Ping};

pub(crate) fn trials() -> Vec<Trial> {
    // The module is not loaded from within a user namespace.
    let has_devices = Path::new("/proc/net/vlan").exists();
    let has_ip = Command::new("ip").arg("-V").stdout(Stdio::null()).status().is_ok();
    if !has_devices || !has_ip {
        eprintln!(
            "skipped: a kernel's VLAN devices behind a trunk, as that needs ip(8) and `modprobe 8021q`"
        );
    }
    let between_kernels = [
        Trial::test("trunks::one_device_carries_two_workloads", one_device_carries_two_workloads),
        Trial::test("trunks::workloads_come_and_go_on_it", workloads_come_and_go_on_it),
    ];
    let mut trials: Vec<_> =
        between_kernels.into_iter().map(|trial| trial.with_ignored_flag(!has_devices || !has_ip)).collect();
    trials.push(needs_tun(Trial::test("trunks::tags_cross_a_tap", tags_cross_a_tap)));
    trials.push(needs_tun(Trial::test("trunks::the_device_goes_with_its_last_workload", the_device_goes)));
    trials
}

const POLICY: &str = r#"version = 1

[segment.red]
vlan    = 10
subnet  = ["10.1.0.0/24", "fd00:1::/64"]
gateway = ["10.1.0.1", "fd00:1::1"]

[segment.blue]
vlan    = 20
subnet  = ["10.2.0.0/24", "fd00:2::/64"]
gateway = ["10.2.0.1", "fd00:2::1"]

[workload.red-1]
tap     = "eth0"
netns   = "machine"
trunk   = true
segment = "red"
mac     = "02:00:0a:01:00:0b"
ip      = ["10.1.0.11", "fd00:1::b"]

[workload.blue-1]
tap     = "eth0"
netns   = "machine"
trunk   = true
segment = "blue"
mac     = "02:00:0a:02:00:0b"
ip      = ["10.2.0.11", "fd00:2::b"]

[workload.red-2]
tap     = "eth0"
netns   = "red-2"
segment = "red"
mac     = "02:00:0a:01:00:0c"
ip      = ["10.1.0.12", "fd00:1::c"]

[workload.blue-2]
tap     = "eth0"
netns   = "blue-2"
segment = "blue"
mac     = "02:00:0a:02:00:0c"
ip      = ["10.2.0.12", "fd00:2::c"]

[[rule]]
name  = "red"
from  = "segment=red"
to    = "segment=red"
allow = ["tcp/80", "udp/53", "icmp", "icmp6"]

[[rule]]
name  = "blue"
from  = "segment=blue"
to    = "segment=blue"
allow = ["tcp/80"]
"#;

/// Where a tag stands in a frame.
const TAG_AT: usize = ETHERNET + 12;

/// Makes a VLAN device as a guest would.
fn vlan(machine: &Host, id: u16, host: &Host) -> Result<(), Failed> {
    let (name, id) = (format!("v{id}"), id.to_string());
    let mac = host.mac.to_string();
    let mut commands = vec![
        vec!["link", "set", "eth0", "up"],
        vec!["link", "add", "link", "eth0", "name", &name, "address", &mac, "type", "vlan", "id", &id],
        vec!["link", "set", &name, "up"],
    ];
    let addresses: Vec<_> = host
        .addresses
        .iter()
        .map(|address| format!("{address}/{}", if address.is_ipv4() { 24 } else { 64 }))
        .collect();
    for address in &addresses {
        let mut add = vec!["address", "add", address, "dev", &name];
        if address.contains("::") {
            add.push("nodad");
        }
        commands.push(add);
    }
    for arguments in commands {
        let output = machine.run(|| Command::new("ip").args(&arguments).output())?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(format!("ip {}: {said}", arguments.join(" ")).into());
        }
    }
    Ok(())
}

fn one_device_carries_two_workloads() -> Result<(), Failed> {
    let lab = Lab::new(POLICY)?;
    let running = lab.start()?;
    let (red, blue) = (lab.host("red-1"), lab.host("blue-1"));
    let (red_2, blue_2) = (lab.host("red-2"), lab.host("blue-2"));
    vlan(&red, 10, &red)?;
    vlan(&red, 20, &blue)?;
    let _near = red.serve(&[80], &[])?;
    let (_red, _blue) = (red_2.serve(&[80], &[])?, blue_2.serve(&[80], &[])?);
    for ipv4 in [true, false] {
        // Out of the trunk and into it, each VLAN to its own; enough that super-frames cross with their tags.
        for (there, back) in [(&red_2, &red), (&blue_2, &blue)] {
            assert_eq!(red.tcp(there.address(ipv4), 80, PATIENCE)?, Outcome::Echoed);
            let mut stream = there.connect(back.address(ipv4), 80, PATIENCE)?;
            assert_eq!(tcp_echo(&mut stream, 60_000)?, Outcome::Echoed);
        }
        assert_eq!(red.ping(Ping::new(red_2.address(ipv4)))?, Heard::Reply);
        // Red reaches blue by no way, though both are one machine's.
        assert_eq!(red_2.tcp(blue.address(ipv4), 80, SILENCE)?, Outcome::Silence);
    }
    let summary = running.end(Signal::TERM)?;
    for reason in
        ["vlan-undeclared", "vlan-unexpected", "vlan-stacked", "spoof-mac", "spoof-ip", "offload-header"]
    {
        assert_eq!(summary.dropped(reason), 0, "{summary:#?}");
    }
    for name in ["red-1", "blue-1"] {
        assert!(summary.ports[name].forwarded > 0 && summary.ports[name].transmitted > 0, "{summary:#?}");
    }
    summary.assert_balance();
    lab.assert_empty()
}

/// The policy without one of its workloads.
fn without(policy: &str, workload: &str) -> String {
    let begin = policy.find(&format!("[workload.{workload}]")).expect("it is there");
    let length = policy[begin + 1..].find("\n[").expect("something follows") + 2;
    format!("{}{}", &policy[..begin], &policy[begin + length..])
}

fn workloads_come_and_go_on_it() -> Result<(), Failed> {
    let mut lab = Lab::new(POLICY)?;
    lab.write(&without(POLICY, "blue-1"))?;
    let mut running = lab.start()?;
    let (red, blue) = (lab.host("red-1"), lab.host("blue-1"));
    vlan(&red, 10, &red)?;
    vlan(&red, 20, &blue)?;
    let _near = red.serve(&[80], &[])?;
    let reaches = |from: &str, to: &Host, patience| lab.host(from).tcp(to.address(true), 80, patience);
    assert_eq!(reaches("red-2", &red, PATIENCE)?, Outcome::Echoed);
    assert_eq!(reaches("blue-2", &blue, SILENCE)?, Outcome::Silence);

    lab.write(POLICY)?;
    running.reload_gladly()?;
    let reaches = |from: &str, to: &Host, patience| lab.host(from).tcp(to.address(true), 80, patience);
    assert_eq!(reaches("blue-2", &blue, PATIENCE)?, Outcome::Echoed);
    assert_eq!(reaches("red-2", &red, PATIENCE)?, Outcome::Echoed);

    lab.write(&without(POLICY, "red-1"))?;
    running.reload_gladly()?;
    let reaches = |from: &str, to: &Host, patience| lab.host(from).tcp(to.address(true), 80, patience);
    assert_eq!(reaches("red-2", &red, SILENCE)?, Outcome::Silence);
    assert_eq!(reaches("blue-2", &blue, PATIENCE)?, Outcome::Echoed);

    // With its last workload the device goes.
    lab.write(&without(&without(POLICY, "red-1"), "blue-1"))?;
    running.reload_gladly()?;
    lab.assert_empty_namespace("machine")?;
    running.end(Signal::TERM)?.assert_balance();
    lab.assert_empty()
}

/// Frames with tags through the TAP itself, whether or not this kernel knows VLAN devices: what the machine sends by hand reaches
/// its VLAN, and what comes back has the tag again, and a checksum that is left to its kernel.
fn tags_cross_a_tap() -> Result<(), Failed> {
    let lab = Lab::new(POLICY)?;
    let running = lab.start()?;
    let (red, red_2) = (lab.host("red-1"), lab.host("red-2"));
    red.run(|| -> std::io::Result<()> {
        let mut netlink = Netlink::open()?;
        let link = netlink.link("eth0")?;
        netlink.set_up(link.index, true)
    })?;
    let spec = PortSpec {
        kind: PortKind::Packet,
        device: "eth0".into(),
        namespace: None,
        configure: false,
        persistent: false,
        owner: None,
        group: None,
        mtu: 1500,
        trunk: None,
        span: Span::default(),
    };
    let mut port = Port::open_in(&spec, &red.namespace, &Inside::default(), 1, Substitute::Never)?;
    let mut queue = port.take_queues().pop().ok_or("no queue")?;
    let _echo = red_2.serve(&[], &[53])?;
    for (id, hears) in [(None, false), (Some(10_u16), true), (Some(20), false), (Some(30), false)] {
        let ends = Ends { macs: (red.mac, red_2.mac), addresses: (red.address(true), red_2.address(true)) };
        let mut frame = vec![0; ETHERNET];
        frame.extend(ends.udp(40_000, 53, b"through a trunk"));
        let tag = id.map_or_else(Vec::new, |id| [[0x81, 0], id.to_be_bytes()].concat());
        frame.splice(TAG_AT..TAG_AT, tag.clone());
        let (mut burst, mut outcome) = (Burst::default(), TransmitOutcome::default());
        assert!(burst.push(&frame));
        queue.transmit(burst.frames(&[0]), &mut outcome);
        let deadline = Instant::now() + if hears { PATIENCE } else { SILENCE };
        let mut answer = None;
        while answer.is_none() && Instant::now() < deadline {
            burst.clear();
            queue.receive(&mut burst)?;
            let frames = (0..burst.len()).map(|index| burst.frame(index).to_vec());
            // Behind the tag: IPv4, and UDP from port 53.
            answer = frames.into_iter().find(|frame| {
                frame.get(TAG_AT + 4..TAG_AT + 6) == Some(&[8, 0])
                    && frame.get(TAG_AT + 6 + 20..TAG_AT + 6 + 22) == Some(&[0, 53])
            });
        }
        assert_eq!(answer.is_some(), hears, "id {id:?}");
        let Some(answer) = answer else { continue };
        assert_eq!(answer[TAG_AT..TAG_AT + 4], tag);
        assert!(answer.ends_with(b"through a trunk"), "{answer:02x?}");
    }
    let summary = running.end(Signal::TERM)?;
    // The machine's own kernel may speak too, without tags.
    assert!(summary.dropped("vlan-missing") > 0, "{summary:#?}");
    assert_eq!(summary.dropped("spoof-mac"), 1, "{summary:#?}");
    assert_eq!(summary.dropped("vlan-undeclared"), 1, "{summary:#?}");
    summary.assert_balance();
    drop((queue, port));
    lab.assert_empty()
}

/// The device is there as long as one of its workloads.
fn the_device_goes() -> Result<(), Failed> {
    let mut lab = Lab::new(POLICY)?;
    lab.write(&without(POLICY, "blue-1"))?;
    let mut running = lab.start()?;
    let is_there = |lab: &Lab| {
        let machine = lab.host("red-1");
        machine.run(|| -> std::io::Result<bool> { Ok(Netlink::open()?.link("eth0").is_ok()) })
    };
    for (policy, remains) in [
        (POLICY.to_owned(), true),
        (without(POLICY, "red-1"), true),
        (without(&without(POLICY, "red-1"), "blue-1"), false),
        (POLICY.to_owned(), true),
    ] {
        assert!(remains || is_there(&lab)?);
        lab.write(&policy)?;
        running.reload_gladly()?;
        if remains {
            assert!(is_there(&lab)?, "{policy}");
        } else {
            lab.assert_empty_namespace("machine")?;
        }
    }
    running.end(Signal::TERM)?.assert_balance();
    lab.assert_empty()
}
