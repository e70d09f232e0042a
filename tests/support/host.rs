//! A host for tests: a network namespace with the kernel's own stack, and sockets in it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use libtest_mimic::Failed;
use pnet::datalink::{self, Channel, Config, DataLinkSender};
use septum::sys::namespace::NetworkNamespace;
use septum_rules::mac::MacAddress;

use crate::echo::EchoServers;
use crate::ping::{Heard, Ping};

/// What is answered comes within this, on a machine that is busy with others too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How long a test listens to what must stay silent.
pub(crate) const SILENCE: Duration = Duration::from_millis(400);

/// A workload as it sees itself.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) namespace: NetworkNamespace,
    /// Its device's name.
    pub(crate) device: String,
    pub(crate) mac: MacAddress,
    pub(crate) addresses: Vec<IpAddr>,
}

/// What became of an attempt to talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Every byte came back.
    Echoed,
    /// Somebody said no: a reset, an ICMP error.
    Refused,
    /// Nobody said anything.
    Silence,
}

impl Host {
    /// Its address of a family.
    pub(crate) fn address(&self, ipv4: bool) -> IpAddr {
        *self.addresses.iter().find(|address| address.is_ipv4() == ipv4).expect("an address of each family")
    }

    /// Runs `work` in the host's namespace.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.namespace.run(work).expect("the namespace is ours")
    }

    /// Starts echo servers.
    pub(crate) fn serve(&self, tcp: &[u16], udp: &[u16]) -> io::Result<EchoServers> {
        self.run(|| EchoServers::start(tcp, udp))
    }

    /// Opens a TCP connection.
    pub(crate) fn connect(&self, to: IpAddr, port: u16, patience: Duration) -> io::Result<TcpStream> {
        let stream = self.run(|| TcpStream::connect_timeout(&SocketAddr::new(to, port), patience))?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Opens a connection, and sends as much as takes several segments there and back.
    pub(crate) fn tcp(&self, to: IpAddr, port: u16, patience: Duration) -> io::Result<Outcome> {
        match self.connect(to, port, patience) {
            Ok(mut stream) => tcp_echo(&mut stream, 5000),
            Err(error) => outcome_of(error),
        }
    }

    /// A UDP socket that talks to one other.
    pub(crate) fn udp_socket(&self, to: IpAddr, port: u16, patience: Duration) -> io::Result<UdpSocket> {
        let socket = self.run(|| UdpSocket::bind((self.address(to.is_ipv4()), 0)))?;
        socket.set_read_timeout(Some(patience))?;
        socket.connect((to, port))?;
        Ok(socket)
    }

    /// Sends a datagram there and back.
    pub(crate) fn udp(&self, to: IpAddr, port: u16, patience: Duration) -> io::Result<Outcome> {
        udp_echo(&self.udp_socket(to, port, patience)?, 1000)
    }

    /// Sends an echo request.
    pub(crate) fn ping(&self, ping: Ping) -> io::Result<Heard> {
        self.run(|| ping.send())
    }

    /// Sends frames as they are, whatever the stack thinks of them.
    pub(crate) fn raw(&self) -> Result<Box<dyn DataLinkSender>, Failed> {
        self.run(|| {
            let found = datalink::interfaces().into_iter().find(|interface| interface.name == self.device);
            match datalink::channel(&found.ok_or("no such device")?, Config::default())? {
                Channel::Ethernet(sender, _) => Ok(sender),
                _ => Err("not an Ethernet channel".into()),
            }
        })
    }

    /// Sends one frame.
    pub(crate) fn send_raw(&self, frame: &[u8]) -> Result<(), Failed> {
        self.raw()?.send_to(frame, None).ok_or("no buffer")??;
        Ok(())
    }
}

/// Sends bytes over an open connection, and wants them back.
pub(crate) fn tcp_echo(stream: &mut TcpStream, length: usize) -> io::Result<Outcome> {
    let sent: Vec<u8> = (0..length).map(|at| (at * 31 + 7) as u8).collect();
    let mut received = vec![0; length];
    match stream.write_all(&sent).and_then(|()| stream.read_exact(&mut received)) {
        Ok(()) if received == sent => Ok(Outcome::Echoed),
        Ok(()) => Err(io::Error::other("what came back is not what was sent")),
        Err(error) => outcome_of(error),
    }
}

/// Sends a datagram over a connected socket, and wants it back.
pub(crate) fn udp_echo(socket: &UdpSocket, length: usize) -> io::Result<Outcome> {
    let sent: Vec<u8> = (0..length).map(|at| (at * 31 + 7) as u8).collect();
    let mut received = vec![0; 65_536];
    match socket.send(&sent).and_then(|_| socket.recv(&mut received)) {
        Ok(count) if received[..count] == sent => Ok(Outcome::Echoed),
        Ok(_) => Err(io::Error::other("what came back is not what was sent")),
        Err(error) => outcome_of(error),
    }
}

fn outcome_of(error: io::Error) -> io::Result<Outcome> {
    match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Ok(Outcome::Silence),
        ErrorKind::ConnectionRefused
        | ErrorKind::ConnectionReset
        | ErrorKind::HostUnreachable
        // ICMPv6 "administratively prohibited" (linux `icmpv6_err_convert`).
        | ErrorKind::PermissionDenied
        | ErrorKind::NetworkUnreachable => Ok(Outcome::Refused),
        _ => Err(error),
    }
}
