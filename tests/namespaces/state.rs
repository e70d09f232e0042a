//! What belongs to a connection passes, what pretends to does not; fragments follow the first of them.

use std::net::IpAddr;

use libtest_mimic::{Failed, Trial};
use rustix::process::Signal;

use crate::forge::Ends;
use crate::host::{Host, Outcome, PATIENCE, SILENCE};
use crate::lab::Lab;
use crate::ping::{Heard, Ping};
use crate::trio::TRIO;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("state::what_nobody_asked_for_does_not_pass", what_nobody_asked_for_does_not_pass),
        Trial::test("state::fragments_follow_the_first", fragments_follow_the_first),
        Trial::test("state::fragments_can_be_refused", fragments_can_be_refused),
    ]
}

/// From `b` to `a`: what an answer would look like, had `a` asked.
fn pretences(a: &Host, b: &Host) -> Vec<(&'static str, Vec<u8>)> {
    const SYN: u8 = 2;
    const RST: u8 = 4;
    const ACK: u8 = 16;
    let ends = |ipv4| Ends { macs: (b.mac, a.mac), addresses: (b.address(ipv4), a.address(ipv4)) };
    let quoted = |ipv4| {
        let asked = Ends { macs: (a.mac, b.mac), addresses: (a.address(ipv4), b.address(ipv4)) };
        asked.udp(40_000, 53, b"question").split_off(14)
    };
    vec![
        ("tcp-no-connection", ends(true).tcp(80, 40_000, ACK)),
        ("tcp-no-connection", ends(true).tcp(80, 40_000, SYN | ACK)),
        ("tcp-no-connection", ends(true).tcp(80, 40_000, RST | ACK)),
        ("reply-unsolicited", ends(true).icmp(0, 0, [0, 1, 0, 1], b"pong")),
        ("reply-unsolicited", ends(false).icmp(129, 0, [0, 1, 0, 1], b"pong")),
        // Port unreachable.
        ("icmp-no-connection", ends(true).icmp(3, 3, [0; 4], &quoted(true))),
        ("icmp-no-connection", ends(false).icmp(1, 4, [0; 4], &quoted(false))),
        // UDP has no mark of a reply: it opens a flow, and nothing lets `b` open one.
        ("denied-egress", ends(true).udp(53, 40_000, b"answer")),
        ("denied-egress", ends(false).udp(53, 40_000, b"answer")),
    ]
}

fn what_nobody_asked_for_does_not_pass() -> Result<(), Failed> {
    let lab = Lab::new(TRIO)?;
    let running = lab.start()?;
    let (a, b) = (lab.host("a"), lab.host("b"));
    let pretences = pretences(&a, &b);
    for (_, frame) in &pretences {
        b.send_raw(frame)?;
    }
    for (reason, _) in &pretences {
        lab.await_event(&[("from", "b"), ("to", "a"), ("reason", reason)])?;
    }
    // The same port, asked: the reply passes.
    let _server = b.serve(&[80], &[53])?;
    for ipv4 in [true, false] {
        assert_eq!(a.udp(b.address(ipv4), 53, PATIENCE)?, Outcome::Echoed);
        assert_eq!(a.tcp(b.address(ipv4), 80, PATIENCE)?, Outcome::Echoed);
        assert_eq!(a.ping(Ping::new(b.address(ipv4)))?, Heard::Reply);
        // And does not let `b` ask.
        assert_eq!(b.ping(Ping { patience: SILENCE, ..Ping::new(a.address(ipv4)) })?, Heard::Silence);
    }
    let summary = running.end(Signal::TERM)?;
    for (reason, count) in [("tcp-no-connection", 3), ("reply-unsolicited", 2), ("icmp-no-connection", 2)] {
        assert_eq!(summary.dropped(reason), count, "{reason}: {summary:#?}");
    }
    assert_eq!(summary.dropped("denied-egress"), 4, "{summary:#?}");
    lab.assert_empty()
}

/// Larger than any MTU, in both directions, inside a segment and through the gateway.
fn fragments_follow_the_first() -> Result<(), Failed> {
    let lab = Lab::new(TRIO)?;
    let running = lab.start()?;
    let (a, b, c) = (lab.host("a"), lab.host("b"), lab.host("c"));
    for host in [&b, &c] {
        let _server = host.serve(&[], &[53])?;
        for ipv4 in [true, false] {
            let address = host.address(ipv4);
            assert_eq!(a.ping(Ping { size: 8000, ..Ping::new(address) })?, Heard::Reply, "{address}");
            let socket = a.udp_socket(address, 53, PATIENCE)?;
            assert_eq!(crate::host::udp_echo(&socket, 20_000)?, Outcome::Echoed, "{address}");
            // All fragments of what the first is refused for.
            let refused = a.udp_socket(address, 54, SILENCE)?;
            assert_eq!(crate::host::udp_echo(&refused, 5000)?, Outcome::Silence, "{address}");
        }
    }
    let summary = running.end(Signal::TERM)?;
    // Four datagrams of four fragments each: one is judged, three have no first one.
    assert_eq!(summary.dropped("denied-egress"), 4, "{summary:#?}");
    assert_eq!(summary.dropped("fragment-untracked"), 12, "{summary:#?}");
    lab.assert_empty()
}

fn fragments_can_be_refused() -> Result<(), Failed> {
    let lab = Lab::new(&TRIO.replacen("version = 1\n", "version = 1\n[switch]\nfragments = \"drop\"\n", 1))?;
    let running = lab.start()?;
    let (a, c) = (lab.host("a"), lab.host("c"));
    for ipv4 in [true, false] {
        let address: IpAddr = c.address(ipv4);
        assert_eq!(a.ping(Ping { size: 1400, ..Ping::new(address) })?, Heard::Reply);
        let large = Ping { size: 4000, patience: SILENCE, ..Ping::new(address) };
        assert_eq!(a.ping(large)?, Heard::Silence);
    }
    lab.await_event(&[("from", "a"), ("to", "c"), ("reason", "fragments-refused")])?;
    let summary = running.end(Signal::TERM)?;
    assert_eq!(summary.dropped("fragments-refused"), 6, "{summary:#?}");
    lab.assert_empty()
}
