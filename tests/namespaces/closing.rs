//! TCP as kernels end it: in every order, and ten thousand times. The switch must not refuse a single segment of it.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use rustix::net::sockopt::set_socket_linger;
use rustix::process::Signal;

use crate::host::{Host, Outcome, PATIENCE, tcp_echo};
use crate::lab::Lab;
use crate::trio::TRIO;

/// Connections that are opened, used once and closed.
const SHORT: usize = 10_000;

/// As many clients at a time.
const CLIENTS: usize = 8;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("closing::every_order_of_ending_passes", every_order_of_ending_passes),
        Trial::test("closing::a_reset_ends_both_ways", a_reset_ends_both_ways),
        Trial::test("closing::ten_thousand_short_connections", ten_thousand_short_connections),
    ]
}

/// Who says first that it has nothing more to send.
#[derive(Clone, Copy, Debug)]
enum First {
    Client,
    Server,
    /// Both, before either has heard the other.
    Both,
    /// The client, and the server goes on sending for a while.
    HalfClosed,
}

/// A connection, both ends in hand.
fn connection(
    client: &Host,
    server: &Host,
    listener: &TcpListener,
    to: SocketAddr,
) -> io::Result<[TcpStream; 2]> {
    let ours = client.connect(to.ip(), to.port(), PATIENCE)?;
    let (theirs, _) = server.run(|| listener.accept())?;
    theirs.set_read_timeout(Some(PATIENCE))?;
    Ok([ours, theirs])
}

fn listen(server: &Host, ipv4: bool) -> io::Result<(TcpListener, SocketAddr)> {
    let address = SocketAddr::new(server.address(ipv4), 80);
    Ok((server.run(|| TcpListener::bind(address))?, address))
}

/// Sends a little, and wants it at the other end.
fn say(from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
    let mut heard = [0; 5];
    from.write_all(b"hello")?;
    to.read_exact(&mut heard)?;
    if heard == *b"hello" { Ok(()) } else { Err(io::Error::other("other bytes")) }
}

/// The other end has nothing more to send.
fn hear_the_end(stream: &mut TcpStream) -> io::Result<()> {
    match stream.read(&mut [0; 16])? {
        0 => Ok(()),
        length => Err(io::Error::other(format!("{length} bytes behind the end"))),
    }
}

fn end(mut client: TcpStream, mut server: TcpStream, first: First) -> io::Result<()> {
    say(&mut client, &mut server)?;
    say(&mut server, &mut client)?;
    match first {
        First::Client => {
            client.shutdown(Shutdown::Write)?;
            hear_the_end(&mut server)?;
            server.shutdown(Shutdown::Write)?;
            hear_the_end(&mut client)
        }
        First::Server => {
            server.shutdown(Shutdown::Write)?;
            hear_the_end(&mut client)?;
            client.shutdown(Shutdown::Write)?;
            hear_the_end(&mut server)
        }
        First::Both => {
            client.shutdown(Shutdown::Write)?;
            server.shutdown(Shutdown::Write)?;
            hear_the_end(&mut client)?;
            hear_the_end(&mut server)
        }
        First::HalfClosed => {
            client.shutdown(Shutdown::Write)?;
            hear_the_end(&mut server)?;
            for _ in 0..3 {
                say(&mut server, &mut client)?;
                thread::sleep(Duration::from_millis(5));
            }
            server.shutdown(Shutdown::Write)?;
            hear_the_end(&mut client)
        }
    }
}

fn every_order_of_ending_passes() -> Result<(), Failed> {
    let lab = Lab::new(TRIO)?;
    let running = lab.start()?;
    let a = lab.host("a");
    // Inside a segment, and through the gateway.
    for server in [lab.host("b"), lab.host("c")] {
        for ipv4 in [true, false] {
            let (listener, to) = listen(&server, ipv4)?;
            for first in [First::Client, First::Server, First::Both, First::HalfClosed] {
                for _ in 0..25 {
                    let [ours, theirs] = connection(&a, &server, &listener, to)?;
                    end(ours, theirs, first).map_err(|error| format!("{to}, {first:?}: {error}"))?;
                }
            }
        }
    }
    let summary = running.end(Signal::TERM)?;
    assert_eq!(summary.refused(), 0, "{summary:#?}");
    lab.assert_empty()
}

/// The other end hears of it, and the same two ends can talk again at once.
fn a_reset_ends_both_ways() -> Result<(), Failed> {
    let lab = Lab::new(TRIO)?;
    let running = lab.start()?;
    let (a, b) = (lab.host("a"), lab.host("b"));
    for ipv4 in [true, false] {
        let (listener, to) = listen(&b, ipv4)?;
        for from_server in [false, true] {
            let [ours, theirs] = connection(&a, &b, &listener, to)?;
            let (mut ends, mut hears) = if from_server { (theirs, ours) } else { (ours, theirs) };
            say(&mut ends, &mut hears)?;
            set_socket_linger(&ends, Some(Duration::ZERO))?;
            drop(ends);
            let heard = hears.read(&mut [0; 16]).map_err(|error| error.kind());
            assert_eq!(heard, Err(io::ErrorKind::ConnectionReset), "{to}, server first: {from_server}");
        }
        let [mut ours, mut theirs] = connection(&a, &b, &listener, to)?;
        say(&mut ours, &mut theirs)?;
        say(&mut theirs, &mut ours)?;
    }
    let summary = running.end(Signal::TERM)?;
    assert_eq!(summary.refused(), 0, "{summary:#?}");
    lab.assert_empty()
}

fn ten_thousand_short_connections() -> Result<(), Failed> {
    let lab = Lab::new(TRIO)?;
    let running = lab.start()?;
    let (a, c) = (lab.host("a"), lab.host("c"));
    let _server = c.serve(&[80], &[])?;
    let talk = &|to: IpAddr, count: usize| -> io::Result<usize> {
        let mut echoed = 0;
        for _ in 0..count {
            let mut stream = a.connect(to, 80, 2 * PATIENCE)?;
            echoed += usize::from(tcp_echo(&mut stream, 100)? == Outcome::Echoed);
        }
        Ok(echoed)
    };
    let echoed = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let to = c.address(client % 2 == 0);
                scope.spawn(move || talk(to, SHORT / CLIENTS))
            })
            .collect();
        clients.into_iter().map(|client| client.join().expect("no panic")).sum::<io::Result<usize>>()
    })?;
    assert_eq!(echoed, SHORT);
    let summary = running.end(Signal::TERM)?;
    assert_eq!((summary.refused(), summary.ports["total"].undelivered), (0, 0), "{summary:#?}");
    lab.assert_empty()
}
