//! What a workload serves: an echo on every port, TCP and UDP, both families; one thread a workload.
//!
//! The server also keeps every nonce that reached it: bytes that arrive and are not answered came through all the
//! same, and a promise that they would not is broken.

use std::collections::HashSet;
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use super::{NONCE, Nonce, Try};
use crate::cli::demo::plan::Attempt;

/// How long an address may stay unusable after it was configured (duplicate address detection takes a second).
const ADDRESS_PATIENCE: Duration = Duration::from_secs(3);

/// All servers; they end when this is dropped.
#[derive(Debug, Default)]
pub(in crate::cli::demo) struct Servers {
    arrived: Arrived,
    running: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    /// The server ends when this end of the pipe is closed.
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone, Debug, Default)]
struct Arrived(Arc<Mutex<HashSet<Nonce>>>);

impl Servers {
    /// Whether the bytes of this try reached a server.
    pub(in crate::cli::demo) fn saw(&self, attempt: Try) -> bool {
        self.arrived.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&attempt.nonce())
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for running in &mut self.running {
            drop(running.stop.take());
        }
        for running in &mut self.running {
            if let Some(thread) = running.thread.take() {
                // A server that panicked has said so on standard error; there is nothing left to clean up.
                let _ = thread.join();
            }
        }
    }
}

/// Listens on every address and attempt in the calling thread's namespace, then serves from a thread of its own.
///
/// # Errors
/// When a socket cannot be had, for instance because an address is not configured.
pub(in crate::cli::demo) fn serve(
    servers: &mut Servers,
    addresses: &[IpAddr],
    attempts: &[Attempt],
) -> io::Result<()> {
    let mut listeners = Listeners { streams: Vec::new(), datagrams: Vec::new(), connections: Vec::new() };
    for address in addresses {
        for attempt in attempts {
            match attempt {
                Attempt::Tcp(port) => {
                    let listener = patiently(|| TcpListener::bind(SocketAddr::new(*address, *port)))?;
                    listener.set_nonblocking(true)?;
                    listeners.streams.push(listener);
                }
                Attempt::Udp(port) => {
                    let socket = patiently(|| UdpSocket::bind(SocketAddr::new(*address, *port)))?;
                    socket.set_nonblocking(true)?;
                    listeners.datagrams.push(socket);
                }
                // The kernel answers echo requests.
                Attempt::Ping => {}
            }
        }
    }
    let (stopped, stop) = io::pipe()?;
    let arrived = servers.arrived.clone();
    let thread = std::thread::Builder::new()
        .name("demo-server".into())
        .spawn(move || listeners.serve(&stopped, &arrived))?;
    servers.running.push(Running { stop: Some(stop), thread: Some(thread) });
    Ok(())
}

/// Binds, and waits for the address to become usable.
fn patiently<T>(bind: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let began = Instant::now();
    loop {
        match bind() {
            Err(error)
                if error.kind() == ErrorKind::AddrNotAvailable && began.elapsed() < ADDRESS_PATIENCE =>
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            bound => return bound,
        }
    }
}

struct Listeners {
    streams: Vec<TcpListener>,
    datagrams: Vec<UdpSocket>,
    connections: Vec<TcpStream>,
}

impl Listeners {
    fn serve(mut self, stopped: &PipeReader, arrived: &Arrived) {
        loop {
            let (mut descriptors, stop) = (self.descriptors(), PollFd::new(stopped, PollFlags::IN));
            descriptors.push(stop);
            if poll(&mut descriptors, None).is_err() {
                continue;
            }
            if descriptors.last().is_some_and(|stop| !stop.revents().is_empty()) {
                return;
            }
            self.answer(arrived);
        }
    }

    fn descriptors(&self) -> Vec<PollFd<'_>> {
        let streams = self.streams.iter().map(|listener| PollFd::new(listener, PollFlags::IN));
        let datagrams = self.datagrams.iter().map(|socket| PollFd::new(socket, PollFlags::IN));
        let connections = self.connections.iter().map(|connection| PollFd::new(connection, PollFlags::IN));
        streams.chain(datagrams).chain(connections).collect()
    }

    /// Everything that is ready; the sockets that are not say so by themselves.
    fn answer(&mut self, arrived: &Arrived) {
        let mut buffer = [0; 256];
        for listener in &self.streams {
            while let Ok((connection, _)) = listener.accept() {
                if connection.set_nonblocking(true).is_ok() {
                    self.connections.push(connection);
                }
            }
        }
        for socket in &self.datagrams {
            while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                arrived.note(&buffer[..length]);
                // A peer that has gone hears nothing, as with any server.
                let _ = socket.send_to(&buffer[..length], peer);
            }
        }
        self.connections.retain_mut(|connection| match connection.read(&mut buffer) {
            Ok(0) => false,
            Ok(length) => {
                arrived.note(&buffer[..length]);
                connection.write_all(&buffer[..length]).is_ok()
            }
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        });
    }
}

impl Arrived {
    fn note(&self, received: &[u8]) {
        if let Some(nonce) = received.first_chunk::<NONCE>() {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(*nonce);
        }
    }
}
