//! Multicast between kernels that join and leave as sockets tell them: IGMP and MLD as Linux speaks them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use rustix::process::Signal;

use crate::host::{Host, PATIENCE, SILENCE};
use crate::lab::Lab;
use crate::running::Running;
use crate::summary::Summary;
use crate::trio::trio_and;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("groups::who_joins_hears_ipv4", || who_joins_hears("239.1.2.3".parse()?, 9000)),
        Trial::test("groups::who_joins_hears_ipv6", || who_joins_hears("ff15::1:2:3".parse()?, 9000)),
        Trial::test("groups::mdns_passes_by_a_rule_ipv4", || who_joins_hears("224.0.0.251".parse()?, 5353)),
        Trial::test("groups::mdns_passes_by_a_rule_ipv6", || who_joins_hears("ff02::fb".parse()?, 5353)),
    ]
}

/// A fourth, beside `a` and `b`, that joins nothing; and what `a` may say to everybody.
const MORE: &str = r#"
[workload.d]
tap     = "eth0"
netns   = "d"
segment = "near"
mac     = "02:00:0a:01:00:0d"
ip      = ["10.1.0.13", "fd00:1::d"]

[[rule]]
name  = "groups"
from  = "name=a"
allow = ["udp/9000", "udp/5353"]
"#;

/// Datagrams sent to the group, where each is to be counted.
const MANY: u64 = 50;

/// A socket of a host that hears a group.
struct Listener {
    socket: UdpSocket,
    group: IpAddr,
    near: Ipv4Addr,
}

impl Listener {
    fn join(host: &Host, group: IpAddr, port: u16) -> io::Result<Self> {
        let IpAddr::V4(near) = host.address(true) else { unreachable!("IPv4") };
        let any: IpAddr =
            if group.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = host.run(|| UdpSocket::bind((any, port)))?;
        match group {
            IpAddr::V4(group) => socket.join_multicast_v4(&group, &near)?,
            IpAddr::V6(group) => socket.join_multicast_v6(&group, 0)?,
        }
        Ok(Self { socket, group, near })
    }

    fn leave(&self) -> io::Result<()> {
        match self.group {
            IpAddr::V4(group) => self.socket.leave_multicast_v4(&group, &self.near),
            IpAddr::V6(group) => self.socket.leave_multicast_v6(&group, 0),
        }
    }

    fn hears(&self) -> bool {
        self.hears_within(SILENCE)
    }

    fn hears_within(&self, patience: Duration) -> bool {
        let limited = self.socket.set_read_timeout(Some(patience));
        limited.is_ok() && self.socket.recv(&mut [0; 64]).is_ok()
    }
}

/// `b` joins, `d` beside it and `c` in another segment do not, or cannot be reached; `a` speaks.
fn who_joins_hears(group: IpAddr, port: u16) -> Result<(), Failed> {
    let lab = Lab::new(&trio_and(MORE))?;
    let mut running = lab.start()?;
    let (a, b, c) = (lab.host("a"), lab.host("b"), lab.host("c"));
    let any: IpAddr = if group.is_ipv4() { a.address(true) } else { Ipv6Addr::UNSPECIFIED.into() };
    let speaker = a.run(|| UdpSocket::bind((any, 0)))?;
    let speak = || speaker.send_to(b"hello", SocketAddr::new(group, port));
    let listener = Listener::join(&b, group, port)?;
    let elsewhere = Listener::join(&c, group, port)?;

    until("the member hears the group", || Ok(speak().is_ok() && listener.hears()))?;
    while listener.hears() {}
    let before = running.counters()?;
    for _ in 0..MANY {
        speak()?;
        if !listener.hears_within(PATIENCE) {
            return Err("a member missed what was said to its group".into());
        }
    }
    // A frame is heard before it is counted.
    // Groups of the link are everybody's whom the gates admit; `d` asked for none.
    let is_of_the_link = group == IpAddr::from([224, 0, 0, 251]);
    let carried = |after: &Summary, name| after.ports[name].transmitted - before.ports[name].transmitted;
    let mut after = running.counters()?;
    until("all of it is counted", || {
        after = running.counters()?;
        Ok(carried(&after, "b") >= MANY && (!is_of_the_link || carried(&after, "d") >= MANY))
    })?;
    assert!(is_of_the_link || carried(&after, "d") < MANY / 2, "{after:#?}");
    assert!(carried(&after, "c") < MANY / 2 && !elsewhere.hears(), "{after:#?}");

    if !is_of_the_link {
        listener.leave()?;
        until("a leave ends it", || {
            let before = refused(&mut running)?;
            speak()?;
            std::thread::sleep(Duration::from_millis(50));
            Ok(refused(&mut running)? > before)
        })?;
    }
    let summary = running.end(Signal::TERM)?;
    for reason in ["igmp-malformed", "mld-malformed", "membership-quota", "rogue-querier"] {
        assert_eq!(summary.dropped(reason), 0, "{summary:#?}");
    }
    summary.assert_balance();
    lab.assert_empty()
}

fn refused(running: &mut Running) -> Result<u64, Failed> {
    Ok(running.counters()?.dropped("group-no-receiver"))
}

fn until(what: &str, mut is_so: impl FnMut() -> Result<bool, Failed>) -> Result<(), Failed> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so()? {
        if Instant::now() > deadline {
            return Err(format!("in vain: {what}").into());
        }
    }
    Ok(())
}
