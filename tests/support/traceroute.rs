//! A probe as traceroute(8) sends it: a UDP datagram with few hops to live, and the ICMP error that answers it.

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvFlags, SocketFlags, SocketType, ipproto, recvfrom, socket_with, sockopt,
};

/// Who answered, with which ICMP type and code; nothing for silence.
pub(crate) type Hop = Option<(IpAddr, u8, u8)>;

/// Sends a probe from the calling thread's namespace to a UDP port where nobody listens.
pub(crate) fn probe(from: IpAddr, to: IpAddr, port: u16, hops: u8, patience: Duration) -> io::Result<Hop> {
    let ipv4 = to.is_ipv4();
    let (family, protocol) = match ipv4 {
        true => (AddressFamily::INET, ipproto::ICMP),
        false => (AddressFamily::INET6, ipproto::ICMPV6),
    };
    let errors = socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, Some(protocol))?;
    let socket = UdpSocket::bind((from, 0))?;
    match ipv4 {
        true => sockopt::set_ip_ttl(&socket, hops.into())?,
        false => sockopt::set_ipv6_unicast_hops(&socket, Some(hops))?,
    }
    let ours = socket.local_addr()?.port();
    socket.send_to(&[0; 32], (to, port))?;
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let limit = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        if poll(&mut [PollFd::new(&errors, PollFlags::IN)], Some(&limit))? == 0 {
            return Ok(None);
        }
        let mut buffer = [MaybeUninit::uninit(); 2048];
        let ((heard, _), _, from) = recvfrom(&errors, &mut buffer, RecvFlags::empty())?;
        let answers = quotes(heard, ipv4, [ours, port]);
        let from = from.and_then(|from| SocketAddr::try_from(from).ok()).map(|from| from.ip());
        if let (Some((icmp_type, code)), Some(from)) = (answers, from) {
            return Ok(Some((from, icmp_type, code)));
        }
    }
}

/// Type and code of an error that quotes a datagram with these ports. A raw IPv4 socket hears the IPv4 header too.
fn quotes(heard: &[u8], ipv4: bool, ports: [u16; 2]) -> Option<(u8, u8)> {
    let (message, quoted_header) = match ipv4 {
        true => (heard.get(usize::from(heard.first()? & 15) * 4..)?, 20),
        false => (heard, 40),
    };
    let quoted = message.get(8 + quoted_header..)?.first_chunk::<4>()?;
    let [high, low, to_high, to_low] = *quoted;
    let ours = [u16::from_be_bytes([high, low]), u16::from_be_bytes([to_high, to_low])] == ports;
    ours.then_some((message[0], message[1]))
}
