//! One workload's attempts, all at once: non-blocking sockets and one poll(2) loop.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, connect, ipproto, recv, send,
    socket_with, sockopt,
};

use super::{NONCE, Nonce, Outcome, Try, ping};
use crate::cli::demo::plan::{Attempt, Family};

/// Tries all of `tries` from the calling thread's network namespace, and gives what became of each, in order.
/// Waits no longer than `patience`, and no longer than the last one takes.
///
/// # Errors
/// When a socket could not even try: that shows nothing about the network, so it must not pass for a refusal.
pub(in crate::cli::demo) fn try_all(tries: &[Try], patience: Duration) -> Result<Vec<Outcome>, Errno> {
    let began = Instant::now();
    let mut outcomes = vec![Outcome::Silence; tries.len()];
    let mut waiting = Vec::with_capacity(tries.len());
    for (at, attempt) in tries.iter().enumerate() {
        match Waiting::start(at, *attempt) {
            Ok(socket) => waiting.push(socket),
            Err(error) => outcomes[at] = rejected(error)?,
        }
    }
    while let Some(left) = patience.checked_sub(began.elapsed()).filter(|_| !waiting.is_empty()) {
        let ready = wait(&waiting, left);
        let mut still_waiting = Vec::with_capacity(waiting.len());
        for (index, mut socket) in waiting.into_iter().enumerate() {
            let step = if ready.contains(&index) { socket.advance() } else { Ok(Step::Wait) };
            match step {
                Ok(Step::Wait) => still_waiting.push(socket),
                Ok(Step::Echoed) => outcomes[socket.at] = Outcome::Answered,
                Err(error) => outcomes[socket.at] = rejected(error)?,
            }
        }
        waiting = still_waiting;
    }
    Ok(outcomes)
}

/// What the far end or the switch refused, as against what this host could not do.
fn rejected(error: Errno) -> Result<Outcome, Errno> {
    match error {
        Errno::CONNREFUSED | Errno::CONNRESET | Errno::PIPE | Errno::ACCESS | Errno::PERM => {}
        // No neighbour answers, or the segment has no gateway.
        Errno::HOSTUNREACH | Errno::NETUNREACH => {}
        error => return Err(error),
    }
    Ok(Outcome::Rejected(error))
}

/// The indices of the sockets that have something to say.
fn wait(waiting: &[Waiting], left: Duration) -> HashSet<usize> {
    let mut descriptors: Vec<PollFd<'_>> =
        waiting.iter().map(|socket| PollFd::new(&socket.descriptor, socket.interest())).collect();
    let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
    match poll(&mut descriptors, Some(&timeout)) {
        Ok(_) => {}
        Err(Errno::INTR) => return HashSet::new(),
        // Every one is asked then, and says itself what is wrong.
        Err(_) => return (0..waiting.len()).collect(),
    }
    let ready = descriptors.iter().enumerate().filter(|(_, descriptor)| !descriptor.revents().is_empty());
    ready.map(|(index, _)| index).collect()
}

struct Waiting {
    /// Index of the outcome.
    at: usize,
    descriptor: OwnedFd,
    attempt: Attempt,
    family: Family,
    nonce: Nonce,
    /// TCP's handshake is not over yet.
    connecting: bool,
    /// What of a TCP echo has come so far.
    received: Vec<u8>,
}

enum Step {
    Wait,
    Echoed,
}

impl Waiting {
    fn start(at: usize, attempt: Try) -> Result<Self, Errno> {
        let family = Family::of(attempt.destination);
        let domain = match family {
            Family::V4 => AddressFamily::INET,
            Family::V6 => AddressFamily::INET6,
        };
        let (kind, protocol, port) = match (attempt.attempt, family) {
            (Attempt::Tcp(port), _) => (SocketType::STREAM, None, port),
            (Attempt::Udp(port), _) => (SocketType::DGRAM, None, port),
            (Attempt::Ping, Family::V4) => (SocketType::RAW, Some(ipproto::ICMP), 0),
            (Attempt::Ping, Family::V6) => (SocketType::RAW, Some(ipproto::ICMPV6), 0),
        };
        let descriptor = socket_with(domain, kind, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, protocol)?;
        bind(&descriptor, &SocketAddr::new(attempt.source, 0))?;
        let mut this = Self {
            at,
            descriptor,
            attempt: attempt.attempt,
            family,
            nonce: attempt.nonce(),
            connecting: false,
            received: Vec::new(),
        };
        match connect(&this.descriptor, &SocketAddr::new(attempt.destination, port)) {
            Ok(()) => this.send()?,
            Err(Errno::INPROGRESS) => this.connecting = true,
            Err(error) => return Err(error),
        }
        Ok(this)
    }

    fn interest(&self) -> PollFlags {
        if self.connecting { PollFlags::OUT } else { PollFlags::IN }
    }

    fn send(&self) -> Result<(), Errno> {
        match self.attempt {
            Attempt::Tcp(_) | Attempt::Udp(_) => send(&self.descriptor, &self.nonce, SendFlags::NOSIGNAL)?,
            Attempt::Ping => {
                send(&self.descriptor, &ping::request(self.family, self.nonce), SendFlags::empty())?
            }
        };
        Ok(())
    }

    fn advance(&mut self) -> Result<Step, Errno> {
        if self.connecting {
            sockopt::socket_error(&self.descriptor)??;
            self.connecting = false;
            self.send()?;
            return Ok(Step::Wait);
        }
        let mut buffer = [0; 256];
        let received = match recv(&self.descriptor, &mut buffer, RecvFlags::empty()) {
            Ok((received, _)) => &buffer[..received],
            Err(Errno::AGAIN | Errno::INTR) => return Ok(Step::Wait),
            Err(error) => return Err(error),
        };
        let echoed = match self.attempt {
            Attempt::Tcp(_) => {
                if received.is_empty() {
                    return Err(Errno::CONNRESET);
                }
                self.received.extend_from_slice(received);
                self.received.len() >= NONCE && self.received == self.nonce
            }
            Attempt::Udp(_) => received == self.nonce,
            Attempt::Ping => ping::is_reply(self.family, received, self.nonce),
        };
        Ok(if echoed { Step::Echoed } else { Step::Wait })
    }
}
