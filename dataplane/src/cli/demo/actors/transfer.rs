//! How much gets through: one plain TCP connection, sent as fast as the two hosts can.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};

use crate::sys::namespace::NetworkNamespace;

/// Bytes of one write: large enough that system calls are not what is measured.
const CHUNK: usize = 256 * 1024;
/// What the connection may take to open, and the receiver to see its end.
const PATIENCE: Duration = Duration::from_secs(3);

/// What one transfer brought over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::cli::demo) struct Transfer {
    /// Bytes that the receiver read.
    pub(in crate::cli::demo) bytes: u64,
    /// From the first byte's departure to the last one's arrival.
    pub(in crate::cli::demo) took: Duration,
}

impl Transfer {
    pub(in crate::cli::demo) fn gigabits_per_second(self) -> f64 {
        self.bytes as f64 * 8.0 / self.took.as_secs_f64() / 1e9
    }
}

/// Sends for `duration` from `from` (in its namespace) to `to` (in its own).
///
/// # Errors
/// When the connection cannot be opened or breaks.
pub(in crate::cli::demo) fn transfer(
    from: (&NetworkNamespace, SocketAddr),
    to: (&NetworkNamespace, SocketAddr),
    duration: Duration,
) -> io::Result<Transfer> {
    let listener = inside(to.0, || TcpListener::bind(to.1))?;
    let sender = inside(from.0, || {
        let domain = if to.1.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = socket_with(domain, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        let stream = TcpStream::from(socket);
        stream.set_write_timeout(Some(PATIENCE))?;
        bind(&stream, &from.1)?;
        // SO_SNDTIMEO bounds connect(2) too (socket(7)).
        connect(&stream, &to.1)?;
        Ok(stream)
    })?;
    let (receiver, _) = listener.accept()?;
    receiver.set_read_timeout(Some(PATIENCE))?;
    std::thread::scope(|scope| {
        let began = Instant::now();
        let received = scope.spawn(move || drain(receiver));
        let sent = fill(sender, began, duration);
        let received = received.join().map_err(|_| io::Error::other("the receiver panicked"))?;
        sent?;
        let (bytes, ended) = received?;
        Ok(Transfer { bytes, took: ended - began })
    })
}

fn fill(mut stream: TcpStream, began: Instant, duration: Duration) -> io::Result<()> {
    let chunk = vec![0x5e; CHUNK];
    while began.elapsed() < duration {
        stream.write_all(&chunk)?;
    }
    Ok(())
}

fn drain(mut stream: TcpStream) -> io::Result<(u64, Instant)> {
    let mut buffer = vec![0; CHUNK];
    let mut bytes = 0;
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok((bytes, Instant::now())),
            length => bytes += length as u64,
        }
    }
}

fn inside<T: Send>(
    namespace: &NetworkNamespace,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    namespace.run(work).map_err(io::Error::other)?
}
