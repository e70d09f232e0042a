//! What else kernels do with a network: trace routes, send datagrams of the largest size, look for duplicate addresses.

use std::fs;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};
use rustix::process::Signal;

use crate::host::{Host, Outcome, PATIENCE, udp_echo};
use crate::lab::Lab;
use crate::ping::{Heard, Ping};
use crate::traceroute::probe;
use crate::trio::{TRIO, trio_and};

pub(crate) fn trials() -> Vec<Trial> {
    let sctp =
        socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, Some(ipproto::SCTP));
    if let Err(error) = &sctp {
        eprintln!("skipped: SCTP between kernels, as this one has none: {error}");
    }
    let ip = Command::new("ip").arg("-V").stdout(Stdio::null()).status();
    if let Err(error) = &ip {
        eprintln!("skipped: duplicate address detection, as ip(8) does not start: {error}");
    }
    vec![
        Trial::test("stack::routes_are_traced_through_the_gateway", routes_are_traced),
        Trial::test("stack::datagrams_of_the_largest_size", datagrams_of_the_largest_size),
        Trial::test("stack::duplicate_address_detection_finds_none", duplicate_address_detection)
            .with_ignored_flag(ip.is_err()),
        Trial::test("stack::sctp_associations", sctp_associations).with_ignored_flag(sctp.is_err()),
    ]
}

/// The first hop is the gateway, the second the host itself, whose port is closed.
fn routes_are_traced() -> Result<(), Failed> {
    let traced =
        "[[rule]]\nname = \"trace\"\nfrom = \"name=a\"\nto = \"name=c\"\nallow = [\"udp/33434-33534\"]\n";
    let lab = Lab::new(&trio_and(traced))?;
    let running = lab.start()?;
    let (a, c) = (lab.host("a"), lab.host("c"));
    for ipv4 in [true, false] {
        let (from, to) = (a.address(ipv4), c.address(ipv4));
        let gateway: IpAddr = if ipv4 { "10.1.0.1" } else { "fd00:1::1" }.parse()?;
        let (exceeded, unreachable) = if ipv4 { ((11, 0), (3, 3)) } else { ((3, 0), (1, 4)) };
        for (hops, who, (icmp_type, code)) in [(1, gateway, exceeded), (2, to, unreachable)] {
            let port = 33_433 + u16::from(hops);
            let hop = a.run(|| probe(from, to, port, hops, PATIENCE))?;
            assert_eq!(hop, Some((who, icmp_type, code)), "hop {hops} to {to}");
        }
    }
    let summary = running.end(Signal::TERM)?;
    assert_eq!(summary.dropped("ttl-exceeded"), 2, "{summary:#?}");
    assert_eq!(summary.refused(), 2, "{summary:#?}");
    lab.assert_empty()
}

/// More than forty fragments each.
fn datagrams_of_the_largest_size() -> Result<(), Failed> {
    let lab = Lab::new(TRIO)?;
    let running = lab.start()?;
    let a = lab.host("a");
    for host in [lab.host("b"), lab.host("c")] {
        let _server = host.serve(&[], &[53])?;
        for ipv4 in [true, false] {
            let address = host.address(ipv4);
            assert_eq!(a.ping(Ping { size: 60_000, ..Ping::new(address) })?, Heard::Reply, "{address}");
            let socket = a.udp_socket(address, 53, PATIENCE)?;
            assert_eq!(udp_echo(&socket, 60_000)?, Outcome::Echoed, "{address}");
        }
    }
    let summary = running.end(Signal::TERM)?;
    assert_eq!(summary.refused(), 0, "{summary:#?}");
    lab.assert_empty()
}

fn ip(host: &Host, arguments: &[&str]) -> Result<(), Failed> {
    let status = host.run(|| Command::new("ip").args(arguments).status())?;
    if status.success() { Ok(()) } else { Err(format!("ip {arguments:?}: {status}").into()) }
}

/// RFC 4862 section 5.4: a host that asks for its own address hears nobody claim it, and uses it.
fn duplicate_address_detection() -> Result<(), Failed> {
    let lab = Lab::new(TRIO)?;
    let running = lab.start()?;
    let (a, b) = (lab.host("a"), lab.host("b"));
    ip(&a, &["-6", "addr", "del", "fd00:1::a/64", "dev", &a.device])?;
    ip(&a, &["-6", "addr", "add", "fd00:1::a/64", "dev", &a.device])?;
    // `if_inet6`: address, index, length, scope, flags, device. Flags: 0x40 tentative, 0x08 duplicate.
    let deadline = Instant::now() + 2 * PATIENCE;
    loop {
        let table = a.run(|| fs::read_to_string("/proc/thread-self/net/if_inet6"))?;
        let row = table.lines().find(|line| line.starts_with("fd00000100000000000000000000000a"));
        let flags = row.and_then(|row| row.split_whitespace().nth(4)).ok_or("the address is gone")?;
        let flags = u8::from_str_radix(flags, 16)?;
        assert_eq!(flags & 0x08, 0, "somebody claimed the address of `a`");
        if flags & 0x40 == 0 {
            break;
        }
        if Instant::now() > deadline {
            return Err("the address stays tentative".into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(a.ping(Ping::new(b.address(false)))?, Heard::Reply);
    running.end(Signal::TERM)?;
    lab.assert_empty()
}

/// One-to-one sockets (RFC 6458 section 4) are like those of TCP.
fn sctp_associations() -> Result<(), Failed> {
    use rustix::net::{RecvFlags, SendFlags, accept, bind, connect, listen, recv, send};
    use std::net::SocketAddr;
    let allowed = "[[rule]]\nname = \"sctp\"\nfrom = \"name=a\"\nto = \"name=c\"\nallow = [\"sctp/80\"]\n";
    let lab = Lab::new(&trio_and(allowed))?;
    let running = lab.start()?;
    let (a, c) = (lab.host("a"), lab.host("c"));
    for ipv4 in [true, false] {
        let family = if ipv4 { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = |host: &Host| {
            host.run(|| socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, Some(ipproto::SCTP)))
        };
        let (server, client) = (socket(&c)?, socket(&a)?);
        let to = SocketAddr::new(c.address(ipv4), 80);
        bind(&server, &to)?;
        listen(&server, 1)?;
        connect(&client, &to)?;
        let accepted = accept(&server)?;
        send(&client, b"hello", SendFlags::empty())?;
        let mut heard = [0; 16];
        let (_, length) = recv(&accepted, &mut heard, RecvFlags::empty())?;
        assert_eq!(&heard[..length], b"hello");
    }
    let summary = running.end(Signal::TERM)?;
    assert_eq!(summary.refused(), 0, "{summary:#?}");
    lab.assert_empty()
}
