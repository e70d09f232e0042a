//! The gateway as a router: it answers pings, lets errors pass, and says why a packet goes no further.

use std::net::IpAddr;
use std::time::Instant;

use libtest_mimic::{Failed, Trial};
use rustix::process::Signal;

use crate::host::{Outcome, PATIENCE, SILENCE, tcp_echo, udp_echo};
use crate::lab::Lab;
use crate::ping::{Heard, Ping};
use crate::trio::{TRIO, trio_and};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("routes::the_gateway_answers_and_says_why_not", the_gateway_answers_and_says_why_not),
        Trial::test("routes::a_narrow_segment_is_told_of", a_narrow_segment_is_told_of),
    ]
}

const GATEWAYS: [(&str, &str); 2] = [("10.1.0.1", "10.2.0.1"), ("fd00:1::1", "fd00:2::1")];

fn the_gateway_answers_and_says_why_not() -> Result<(), Failed> {
    let to_world = "[[rule]]\nname = \"out\"\nfrom = \"name=a\"\nto = \"world\"\nallow = [\"ping\"]\n";
    let lab = Lab::new(&trio_and(to_world))?;
    let running = lab.start()?;
    let (a, b, c) = (lab.host("a"), lab.host("b"), lab.host("c"));
    for (near, far) in GATEWAYS {
        let (near, far): (IpAddr, IpAddr) = (near.parse()?, far.parse()?);
        let ipv4 = near.is_ipv4();
        assert_eq!(a.ping(Ping::new(near))?, Heard::Reply, "{near}");
        assert_eq!(a.ping(Ping { size: 1400, ..Ping::new(far) })?, Heard::Reply, "{far}");

        // RFC 792 type 11, RFC 4443 type 3: time exceeded. Inside a segment nothing is counted down.
        let icmp_type = if ipv4 { 11 } else { 3 };
        let last_hop = Ping { hops: 1, ..Ping::new(c.address(ipv4)) };
        assert_eq!(a.ping(last_hop)?, Heard::Error { from: near, icmp_type, code: 0 });
        assert_eq!(a.ping(Ping { hops: 1, ..Ping::new(b.address(ipv4)) })?, Heard::Reply);

        // Nobody has the address: no route (code 0) outside, address unreachable on a segment. An address in a
        // segment belongs to the world until somebody holds it.
        let (outside, vacant) = if ipv4 { ("192.0.2.1", "10.2.0.99") } else { ("2001:db8::1", "fd00:2::99") };
        let icmp_type = if ipv4 { 3 } else { 1 };
        let heard = a.ping(Ping::new(outside.parse()?))?;
        assert_eq!(heard, Heard::Error { from: near, icmp_type, code: 0 });
        let heard = a.ping(Ping::new(vacant.parse()?))?;
        let code = if ipv4 { 1 } else { 3 };
        assert_eq!(heard, Heard::Error { from: near, icmp_type, code });
        // Who may not go there learns nothing.
        let curious = Ping { patience: SILENCE, ..Ping::new(outside.parse()?) };
        assert_eq!(c.ping(curious)?, Heard::Silence);

        // Nobody listens there: the other end's own errors come back, near and far.
        for host in [&b, &c] {
            assert_eq!(a.tcp(host.address(ipv4), 80, PATIENCE)?, Outcome::Refused);
            assert_eq!(a.udp(host.address(ipv4), 53, PATIENCE)?, Outcome::Refused);
        }
    }
    let summary = running.end(Signal::INT)?;
    assert_eq!(summary.dropped("ttl-exceeded"), 2, "{summary:#?}");
    assert_eq!(summary.dropped("no-route"), 4, "{summary:#?}");
    lab.assert_empty()
}

/// Path MTU discovery (RFC 1191, RFC 8201) over the gateway, so that large transfers find their way.
fn a_narrow_segment_is_told_of() -> Result<(), Failed> {
    let narrow =
        TRIO.replacen("tap     = \"eth0\"\nnetns   = \"c\"", "tap = \"eth0\"\nmtu = 1300\nnetns = \"c\"", 1);
    let lab = Lab::new(&narrow)?;
    let running = lab.start()?;
    let (a, c) = (lab.host("a"), lab.host("c"));
    let _server = c.serve(&[80], &[53])?;
    for ipv4 in [true, false] {
        let mut stream = a.connect(c.address(ipv4), 80, PATIENCE)?;
        assert_eq!(tcp_echo(&mut stream, 200_000)?, Outcome::Echoed);
        // The first datagram is refused and answered; what the stack has learned makes the next ones fit.
        let deadline = Instant::now() + PATIENCE;
        loop {
            let socket = a.udp_socket(c.address(ipv4), 53, SILENCE)?;
            match udp_echo(&socket, 1400) {
                Ok(Outcome::Echoed) => break,
                // "Message too long", where the answer comes while it waits.
                outcome => assert!(Instant::now() < deadline, "IPv4: {ipv4}, {outcome:?}"),
            }
        }
    }
    let summary = running.end(Signal::INT)?;
    assert!(summary.dropped("too-big") >= 2, "{summary:#?}");
    lab.assert_empty()
}
