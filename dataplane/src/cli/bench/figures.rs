//! The figures: what is measured, with ordinary sockets of the two hosts.
//!
//! Every figure begins with a warm-up that is not counted: connections are opened, caches and queues filled.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};

use super::ends::{ECHO, Ends, STREAMS};
use super::report::Row;
use super::traffic::{Load, Sender, Size, sinks};

/// Before counting begins.
const WARM_UP: Duration = Duration::from_millis(200);
/// As long as not every flow has been sent, so that its connection is open.
const LONGEST_WARM_UP: Duration = Duration::from_secs(10);
/// Connections that are opened before they count: by then the table of them is spread over memory that the kernel has cleared.
pub(super) const OPENED_BEFORE: u64 = 2000;
/// What an answer may take before it counts as lost.
const PATIENCE: Duration = Duration::from_millis(500);
/// What a stream may take to open: a first segment that is lost is sent again after a second (RFC 6298 section 2.1).
const OPENING: Duration = Duration::from_secs(5);
/// Bytes of one write to a stream.
const CHUNK: usize = 256 * 1024;
/// Clients that open connections at the same time.
const OPENERS: usize = 4;
/// Bytes of a request and of its answer.
const MESSAGE: usize = 64;
/// Rates that the search for the lossless one tries.
const TRIALS: usize = 10;
/// Frames that may still be in the server's queue when a trial ends.
const SETTLE: Duration = Duration::from_millis(50);

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Figure {
    /// Frames a second, as fast as one sender can
    Frames,
    /// Gigabits a second of TCP
    Tcp,
    /// Round trips of small datagrams, percentiles
    RoundTrip,
    /// New TCP connections a second
    Connections,
    /// All ports at once: how long they take to come and go, what they cost idle, and whether they reach each other
    Ports,
    /// Resident memory of the process with all ports and rules, and many connections
    Memory,
    /// With --limit: frames of other kinds, or among fewer rules, against those of one connection
    Contrasts,
    /// What the switch takes while nothing is sent
    Idle,
}

impl Figure {
    /// What is measured unless it is said.
    pub(super) const USUAL: [Self; 4] = [Self::Frames, Self::Tcp, Self::RoundTrip, Self::Connections];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Frames => "frames",
            Self::Tcp => "tcp",
            Self::RoundTrip => "round-trip",
            Self::Connections => "connections",
            Self::Ports => "ports",
            Self::Memory => "memory",
            Self::Contrasts => "contrasts",
            Self::Idle => "idle",
        }
    }

    pub(super) fn doing(self) -> &'static str {
        match self {
            Self::Frames => "sending frames",
            Self::Tcp => "sending over TCP",
            Self::RoundTrip => "asking and answering",
            Self::Connections => "opening connections",
            Self::Ports => "bringing ports up and taking them down",
            Self::Memory => "opening connections for their memory",
            Self::Contrasts => "rotating over kinds of frames",
            Self::Idle => "sending nothing",
        }
    }
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) figure: Figure,
    pub(super) size: Size,
    pub(super) flows: u32,
    pub(super) streams: u16,
}

impl Plan {
    /// Measures for about `duration`.
    ///
    /// # Errors
    /// When a socket is refused, or nothing comes through.
    pub(super) fn measure(&self, ends: &Ends, duration: Duration, lossless: bool) -> io::Result<Row> {
        let mut row = Row::new(self.figure.name());
        match self.figure {
            Figure::Frames => {
                row.parameter("size", self.size);
                row.parameter("flows", self.flows);
                let _sinks = sinks(ends)?;
                let sender = Sender::new(ends, vec![Load::flows(ends, self.size, self.flows)])?;
                if lossless {
                    row.value("lossless_per_s", search(ends, &sender, duration)?);
                } else {
                    let (offered, delivered) = blast(ends, &sender, duration, None)?;
                    row.value("offered_per_s", offered / duration.as_secs_f64());
                    row.value("delivered_per_s", delivered / duration.as_secs_f64());
                }
            }
            Figure::Tcp => {
                row.parameter("streams", self.streams);
                row.value("gbit_per_s", tcp(ends, usize::from(self.streams), duration)?);
            }
            Figure::RoundTrip => {
                let mut times = round_trips(ends, duration)?;
                times.sort_unstable();
                for (name, share) in [("p50_us", 0.5), ("p90_us", 0.9), ("p99_us", 0.99), ("p999_us", 0.999)]
                {
                    row.value(name, percentile(&times, share) / 1000.0);
                }
                row.value("round_trips", times.len() as f64);
            }
            Figure::Connections => row.value("per_s", connections(ends, duration)?),
            Figure::Idle => thread::sleep(duration),
            // Of a switch of its own: [`super::many`], [`super::memory`], [`super::contrasts`].
            Figure::Ports | Figure::Memory | Figure::Contrasts => {}
        }
        Ok(row)
    }
}

/// Frames that were sent and that arrived, in `duration` after the warm-up.
fn blast(ends: &Ends, sender: &Sender, duration: Duration, rate: Option<f64>) -> io::Result<(f64, f64)> {
    sender.stop.store(false, Ordering::Relaxed);
    thread::scope(|scope| {
        let sending = scope.spawn(|| sender.run(rate));
        let counted = (|| {
            let (began, at_first) = (Instant::now(), ends.server.received()?);
            let mut is_warm = false;
            while began.elapsed() < WARM_UP || !is_warm && began.elapsed() < LONGEST_WARM_UP {
                thread::sleep(WARM_UP / 10);
                is_warm = sender.has_been_round(ends.server.received()? - at_first);
            }
            let before = (sender.sent.load(Ordering::Relaxed), ends.server.received()?);
            thread::sleep(duration);
            let after = (sender.sent.load(Ordering::Relaxed), ends.server.received()?);
            Ok(((after.0 - before.0) as f64, (after.1 - before.1) as f64))
        })();
        sender.stop.store(true, Ordering::Relaxed);
        sending.join().map_err(|_| io::Error::other("the sender panicked"))??;
        counted
    })
}

/// Frames a second, the most of which none is lost: by halving the interval.
fn search(ends: &Ends, sender: &Sender, duration: Duration) -> io::Result<f64> {
    let (_, delivered) = blast(ends, sender, duration, None)?;
    let (mut without_loss, mut with_loss) = (0.0, delivered / duration.as_secs_f64() * 1.2);
    for _ in 0..TRIALS {
        let rate = (without_loss + with_loss) / 2.0;
        if is_lossless(ends, sender, duration, rate)? {
            without_loss = rate;
        } else {
            with_loss = rate;
        }
    }
    Ok(without_loss)
}

/// Whether all frames of a trial arrive, and the sender kept its rate.
fn is_lossless(ends: &Ends, sender: &Sender, duration: Duration, rate: f64) -> io::Result<bool> {
    thread::sleep(SETTLE);
    let before = (sender.sent.load(Ordering::Relaxed), ends.server.received()?);
    let (sent_in_time, _) = blast(ends, sender, duration, Some(rate))?;
    thread::sleep(SETTLE);
    let sent = sender.sent.load(Ordering::Relaxed) - before.0;
    let received = ends.server.received()? - before.1;
    Ok(received >= sent && sent_in_time >= rate * duration.as_secs_f64() * 0.97)
}

/// Gigabits a second over some connections.
fn tcp(ends: &Ends, streams: usize, duration: Duration) -> io::Result<f64> {
    let listener = ends.server.inside(|| TcpListener::bind(ends.server.at(STREAMS)))?;
    let pairs: Vec<_> = (0..streams).map(|_| pair(ends, &listener)).collect::<io::Result<_>>()?;
    let (stop, received) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for (sender, receiver) in &pairs {
            scope.spawn(|| fill(sender, &stop));
            scope.spawn(|| drain(receiver, &received));
        }
        thread::sleep(WARM_UP);
        let (before, began) = (received.load(Ordering::Relaxed), Instant::now());
        thread::sleep(duration);
        let bytes = received.load(Ordering::Relaxed) - before;
        let took = began.elapsed();
        stop.store(true, Ordering::Relaxed);
        for (sender, receiver) in &pairs {
            // Either may have ended by itself; then there is nothing to wake.
            let _ = sender.shutdown(std::net::Shutdown::Both);
            let _ = receiver.shutdown(std::net::Shutdown::Both);
        }
        match bytes {
            0 => Err(io::Error::other("no bytes come through")),
            bytes => Ok(bytes as f64 * 8.0 / took.as_secs_f64() / 1e9),
        }
    })
}

/// A connection from the client to a listener of the server.
pub(super) fn pair(ends: &Ends, listener: &TcpListener) -> io::Result<(TcpStream, TcpStream)> {
    let to = listener.local_addr()?;
    let sender = ends.client.inside(|| open(ends.client.at(0), to, OPENING))?;
    Ok((sender, listener.accept()?.0))
}

/// Opens a connection.
fn open(from: SocketAddr, to: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let stream = TcpStream::from(socket);
    // SO_SNDTIMEO bounds connect(2) too (socket(7)).
    stream.set_write_timeout(Some(patience))?;
    bind(&stream, &from)?;
    connect(&stream, &to)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

pub(super) fn fill(mut stream: &TcpStream, stop: &AtomicBool) {
    let chunk = vec![0x5e; CHUNK];
    while !stop.load(Ordering::Relaxed) && stream.write_all(&chunk).is_ok() {}
}

pub(super) fn drain(mut stream: &TcpStream, received: &AtomicU64) {
    let mut buffer = vec![0; CHUNK];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        received.fetch_add(length as u64, Ordering::Relaxed);
    }
}

/// Nanoseconds of each round trip of one datagram after the other.
fn round_trips(ends: &Ends, duration: Duration) -> io::Result<Vec<u32>> {
    let began = Instant::now();
    let mut times = Vec::new();
    converse(
        ends,
        || began.elapsed() > WARM_UP + duration,
        |asked, took| {
            if asked - began > WARM_UP {
                times.push(nanoseconds(took));
            }
        },
    )?;
    if times.is_empty() { Err(io::Error::other("no answer comes back")) } else { Ok(times) }
}

/// Of what is sorted, that which a share of it does not exceed.
pub(super) fn percentile(sorted: &[u32], share: f64) -> f64 {
    let at = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
    sorted.get(at).map_or(f64::NAN, |time| f64::from(*time))
}

/// A time that fits: four seconds and more are as good as lost.
pub(super) fn nanoseconds(time: Duration) -> u32 {
    u32::try_from(time.as_nanos()).unwrap_or(u32::MAX)
}

/// Has the client ask the server, one datagram after the other, until it is over; hands on when each was asked, and how long its
/// answer took.
///
/// # Errors
/// When a socket is refused, or no answer comes at all.
pub(super) fn converse(
    ends: &Ends,
    is_over: impl Fn() -> bool,
    mut each: impl FnMut(Instant, Duration),
) -> io::Result<()> {
    let server = ends.server.inside(|| UdpSocket::bind(ends.server.at(ECHO)))?;
    server.set_read_timeout(Some(PATIENCE))?;
    let client = ends.client.inside(|| {
        let socket = UdpSocket::bind(ends.client.at(0))?;
        socket.connect(ends.server.at(ECHO))?;
        Ok(socket)
    })?;
    client.set_read_timeout(Some(PATIENCE))?;
    let stop = AtomicBool::new(false);
    let answers = thread::scope(|scope| {
        scope.spawn(|| {
            let mut message = [0; MESSAGE];
            while !stop.load(Ordering::Relaxed) {
                if let Ok((length, from)) = server.recv_from(&mut message) {
                    // A lost answer is what the client's patience is for.
                    let _ = server.send_to(&message[..length], from);
                }
            }
        });
        let (mut question, mut answers) = ([0_u8; MESSAGE], 0_u64);
        for number in 0_u64.. {
            if is_over() {
                break;
            }
            question[..8].copy_from_slice(&number.to_be_bytes());
            let mut answer = [0; MESSAGE];
            let asked = Instant::now();
            // Refused is as good as lost: nothing may be listening yet.
            let sent = client.send(&question);
            // Another one is the answer to a question that was given up.
            if sent.is_ok() && client.recv(&mut answer).is_ok() && answer == question {
                each(asked, asked.elapsed());
                answers += 1;
            }
        }
        stop.store(true, Ordering::Relaxed);
        answers
    });
    if answers == 0 { Err(io::Error::other("no answer comes back")) } else { Ok(()) }
}

/// Connections opened, and reset, a second.
fn connections(ends: &Ends, duration: Duration) -> io::Result<f64> {
    let opened = AtomicU64::new(0);
    let (count, took) = keep_opening(
        ends,
        PATIENCE,
        || _ = opened.fetch_add(1, Ordering::Relaxed),
        || {
            let warming = Instant::now();
            let is_warm = || opened.load(Ordering::Relaxed) >= OPENED_BEFORE;
            while warming.elapsed() < WARM_UP || !is_warm() && warming.elapsed() < LONGEST_WARM_UP {
                thread::sleep(WARM_UP / 10);
            }
            let (before, began) = (opened.load(Ordering::Relaxed), Instant::now());
            thread::sleep(duration);
            (opened.load(Ordering::Relaxed) - before, began.elapsed())
        },
    )?;
    match count {
        0 => Err(io::Error::other("no connection is opened")),
        count => Ok(count as f64 / took.as_secs_f64()),
    }
}

/// Has clients open connections, one after the other, each told to `opened`, while `meanwhile` runs. One that is not
/// there within `patience` is given up.
///
/// # Errors
/// When the server may not listen.
pub(super) fn keep_opening<T>(
    ends: &Ends,
    patience: Duration,
    opened: impl Fn() + Sync,
    meanwhile: impl FnOnce() -> T,
) -> io::Result<T> {
    let listener = ends.server.inside(|| TcpListener::bind(ends.server.at(ECHO)))?;
    sockopt::set_socket_timeout(&listener, sockopt::Timeout::Recv, Some(PATIENCE))?;
    let stop = AtomicBool::new(false);
    let (from, to) = (ends.client.at(0), ends.server.at(ECHO));
    Ok(thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                // One that was reset meanwhile, or none for a while: the next.
                let _ = listener.accept();
            }
        });
        for _ in 0..OPENERS {
            scope.spawn(|| {
                // A client's sockets belong to its namespace, and a thread is in one: all of them are opened there.
                let _ = ends.client.inside(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let Ok(stream) = open(from, to, patience) else { continue };
                        opened();
                        // Ended by a reset: nothing waits in TIME-WAIT, and ports do not run out.
                        let _ = sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
                    }
                    Ok(())
                });
            });
        }
        let result = meanwhile();
        stop.store(true, Ordering::Relaxed);
        result
    }))
}
