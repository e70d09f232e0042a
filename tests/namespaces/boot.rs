//! A guest boots with its address and no configuration of its own: by real DHCP clients, and by the kernel alone.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use rustix::process::Signal;
use septum::sys::netlink::Netlink;

use crate::host::{Host, PATIENCE};
use crate::lab::Lab;
use crate::nobody::Programs;
use crate::ping::{Heard, Ping};
use crate::trio::TRIO;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        needs(
            "busybox",
            Trial::test("boot::udhcpc_gets_the_declared_address", udhcpc_gets_the_declared_address),
        ),
        needs(
            "dhclient",
            Trial::test("boot::dhclient_gets_the_declared_ipv6", dhclient_gets_the_declared_ipv6),
        ),
        Trial::test("boot::the_kernel_alone_makes_its_own_ipv6", the_kernel_alone_makes_its_own_ipv6),
    ]
}

/// The trial, or what counts as ignored where the program is not installed.
fn needs(program: &str, trial: Trial) -> Trial {
    let is_there = find(program).is_some();
    if !is_there {
        eprintln!("skipped: a test of DHCP, as `{program}` is not installed");
    }
    trial.with_ignored_flag(!is_there)
}

fn find(program: &str) -> Option<PathBuf> {
    ["/bin", "/usr/bin", "/sbin", "/usr/sbin"]
        .into_iter()
        .map(|folder| Path::new(folder).join(program))
        .find(|path| path.exists())
}

/// Takes from a host what the switch has set up there, as if it had just booted.
fn forget(host: &Host, ipv4: bool) -> Result<(), Failed> {
    let lengths = |address: &IpAddr| if address.is_ipv4() { 24 } else { 64 };
    host.run(|| -> std::io::Result<()> {
        let mut netlink = Netlink::open()?;
        let index = netlink.link(&host.device)?.index;
        for address in host.addresses.iter().filter(|address| address.is_ipv4() == ipv4) {
            netlink.delete_address(index, *address, lengths(address))?;
        }
        netlink.set_up(index, false)?;
        if !ipv4 {
            let conf = format!("/proc/sys/net/ipv6/conf/{}", host.device);
            fs::write(format!("{conf}/accept_ra"), "2")?;
            fs::write(format!("{conf}/router_solicitations"), "-1")?;
        }
        netlink.set_up(index, true)?;
        netlink.link(&host.device)?;
        Ok(())
    })?;
    Ok(())
}

/// A script that a client runs to set what it was granted, among its `programs`.
fn script(lab: &Lab, programs: &Programs, text: &str) -> Result<PathBuf, Failed> {
    let path = lab.path("script");
    fs::write(&path, text)?;
    Ok(programs.copy(&path)?)
}

/// Runs a client in a host until it has its lease.
fn run(host: &Host, command: &mut Command) -> Result<(), Failed> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = host.namespace.spawn(command)?;
    let deadline = Instant::now() + 3 * PATIENCE;
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            child.kill()?;
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{}\n{}", output.status, String::from_utf8_lossy(&output.stderr)).into())
}

/// Pings until it works: what was set up may take the kernel a moment to use.
fn reaches(host: &Host, to: IpAddr) -> Result<(), Failed> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match host.ping(Ping { patience: Duration::from_millis(500), ..Ping::new(to) }) {
            Ok(Heard::Reply) => return Ok(()),
            other if Instant::now() > deadline => return Err(format!("{to}: {other:?}").into()),
            // No route and no source address yet, among others.
            _ => thread::sleep(Duration::from_millis(100)),
        }
    }
}

fn udhcpc_gets_the_declared_address() -> Result<(), Failed> {
    let lab = Lab::new(TRIO)?;
    let running = lab.start()?;
    let (a, b, c) = (lab.host("a"), lab.host("b"), lab.host("c"));
    forget(&a, true)?;
    assert!(!matches!(a.ping(Ping::new(c.address(true))), Ok(Heard::Reply)), "it had forgotten all");
    let programs = Programs::new()?;
    let script = script(
        &lab,
        &programs,
        "#!/bin/sh\n[ \"$1\" = bound ] || exit 0\nset -e\n\
         busybox ip addr add \"$ip/$mask\" dev \"$interface\"\n\
         for gateway in $router; do busybox ip route add default via \"$gateway\" dev \"$interface\"; done\n",
    )?;
    let mut client = Command::new(find("busybox").ok_or("no busybox")?);
    client.args(["udhcpc", "-f", "-q", "-n", "-t", "5", "-T", "1", "-i", &a.device, "-s"]).arg(&script);
    run(&a, &mut client)?;
    reaches(&a, b.address(true))?;
    reaches(&a, c.address(true))?;
    let summary = running.end(Signal::TERM)?;
    assert_eq!(summary.dropped("dhcp-malformed"), 0, "{summary:#?}");
    lab.assert_empty()
}

fn dhclient_gets_the_declared_ipv6() -> Result<(), Failed> {
    let lab = Lab::new(TRIO)?;
    let running = lab.start()?;
    let (a, b, c) = (lab.host("a"), lab.host("b"), lab.host("c"));
    forget(&a, false)?;
    let programs = Programs::new()?;
    let script = script(
        &lab,
        &programs,
        "#!/bin/sh\nset -e\ncase \"$reason\" in BOUND6|REBIND6|RENEW6)\n\
         ip -6 addr replace \"$new_ip6_address/128\" dev \"$interface\";; esac\nexit 0\n",
    )?;
    let mut client = Command::new(find("dhclient").ok_or("no dhclient")?);
    client.args(["-6", "-1", "-v", "-cf", "/dev/null", "-lf"]).arg(lab.path("leases"));
    client.arg("-pf").arg(lab.path("pid")).arg("-sf").arg(&script).arg(&a.device);
    run(&a, &mut client)?;
    // The kernel has heard of the way out by a router advertisement.
    let outcome = reaches(&a, b.address(false)).and_then(|()| reaches(&a, c.address(false)));
    if let Ok(pid) = fs::read_to_string(lab.path("pid"))
        && let Some(pid) = pid.trim().parse().ok().and_then(rustix::process::Pid::from_raw)
    {
        // It stays to renew its lease.
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
    outcome?;
    let summary = running.end(Signal::TERM)?;
    assert_eq!(summary.dropped("dhcp6-malformed"), 0, "{summary:#?}");
    lab.assert_empty()
}

fn the_kernel_alone_makes_its_own_ipv6() -> Result<(), Failed> {
    // What a kernel makes of the prefix and the MAC 02:00:0a:01:00:0a.
    let lab = Lab::new(&TRIO.replace("\"fd00:1::a\"", "\"fd00:1::aff:fe01:a\""))?;
    let running = lab.start()?;
    let (a, c) = (lab.host("a"), lab.host("c"));
    forget(&a, false)?;
    reaches(&a, c.address(false))?;
    running.end(Signal::TERM)?.assert_balance();
    lab.assert_empty()
}
