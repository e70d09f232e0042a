//! Echo requests from a raw socket (raw(7), RFC 792, RFC 4443), and what comes back: the reply, or who says why not.

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, recvfrom, sendto, socket_with,
    sockopt,
};

use crate::host::PATIENCE;

/// What an echo request met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The reply, with every byte that was sent.
    Reply,
    /// An ICMP error that quotes the request.
    Error { from: IpAddr, icmp_type: u8, code: u8 },
    /// Nothing, for as long as was waited.
    Silence,
}

/// An echo request to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ping {
    pub(crate) to: IpAddr,
    /// Bytes behind the ICMP header.
    pub(crate) size: usize,
    /// Time to live, or hop limit.
    pub(crate) hops: u8,
    pub(crate) patience: Duration,
}

impl Ping {
    pub(crate) fn new(to: IpAddr) -> Self {
        Self { to, size: 56, hops: 64, patience: PATIENCE }
    }

    /// Sends it from the calling thread's namespace and waits for what comes.
    pub(crate) fn send(self) -> io::Result<Heard> {
        let (socket, request) = (self.socket()?, self.request());
        sendto(&socket, &request, SendFlags::empty(), &SocketAddr::new(self.to, 0))?;
        let deadline = Instant::now() + self.patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let limit = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            if poll(&mut [PollFd::new(&socket, PollFlags::IN)], Some(&limit))? == 0 {
                return Ok(Heard::Silence);
            }
            let mut buffer = [MaybeUninit::uninit(); 65_536];
            let ((heard, _), _, from) = recvfrom(&socket, &mut buffer, RecvFlags::empty())?;
            let from = from.and_then(|from| SocketAddr::try_from(from).ok()).map(|from| from.ip());
            if let Some(heard) = from.and_then(|from| self.understand(from, heard, &request)) {
                return Ok(heard);
            }
        }
    }

    fn socket(self) -> io::Result<OwnedFd> {
        let (family, protocol) = match self.to {
            IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
            IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
        };
        let socket = socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, Some(protocol))?;
        match self.to {
            IpAddr::V4(_) => sockopt::set_ip_ttl(&socket, self.hops.into())?,
            IpAddr::V6(_) => sockopt::set_ipv6_unicast_hops(&socket, Some(self.hops))?,
        }
        Ok(socket)
    }

    fn types(self) -> (u8, u8) {
        if self.to.is_ipv4() { (8, 0) } else { (128, 129) }
    }

    /// Type, code, checksum, identifier, sequence number, data. The kernel fills in the checksum of ICMPv6.
    fn request(self) -> Vec<u8> {
        // Every raw socket of a namespace hears all replies: the identifier tells whose they are.
        static IDENTIFIER: AtomicU16 = AtomicU16::new(1);
        let [high, low] = IDENTIFIER.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let mut request = vec![self.types().0, 0, 0, 0, high, low, 0, 1];
        request.extend((0..self.size).map(|at| at as u8));
        if self.to.is_ipv4() {
            let checksum = pnet::packet::util::checksum(&request, 1);
            request[2..4].copy_from_slice(&checksum.to_be_bytes());
        }
        request
    }

    fn understand(self, from: IpAddr, heard: &[u8], request: &[u8]) -> Option<Heard> {
        // A raw IPv4 socket hears the IPv4 header too.
        let (message, ip_header) = match self.to {
            IpAddr::V4(_) => {
                let length = usize::from(heard.first()? & 15) * 4;
                (heard.get(length..)?, 20)
            }
            IpAddr::V6(_) => (heard, 40),
        };
        let (icmp_type, code) = (*message.first()?, *message.get(1)?);
        if icmp_type == self.types().1 && from == self.to {
            return (message.get(4..)? == &request[4..]).then_some(Heard::Reply);
        }
        let is_error = if self.to.is_ipv4() { matches!(icmp_type, 3 | 11 | 12) } else { icmp_type < 128 };
        let quoted = message.get(8 + ip_header..)?;
        let is_ours = quoted.first() == Some(&self.types().0) && quoted.get(4..8) == Some(&request[4..8]);
        (is_error && is_ours).then_some(Heard::Error { from, icmp_type, code })
    }
}
