//! Servers that send back what they get, TCP and UDP, over both families, for as long as they are held.

use std::io::{self, Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Echo servers on some ports of one host.
#[derive(Debug)]
pub(crate) struct EchoServers {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl EchoServers {
    /// Starts them in the calling thread's namespace. The unspecified IPv6 address serves IPv4 too (ipv6(7)).
    pub(crate) fn start(tcp: &[u16], udp: &[u16]) -> io::Result<Self> {
        let any = Ipv6Addr::UNSPECIFIED;
        let listeners =
            tcp.iter().map(|port| TcpListener::bind((any, *port))).collect::<io::Result<Vec<_>>>()?;
        let sockets = udp.iter().map(|port| UdpSocket::bind((any, *port))).collect::<io::Result<Vec<_>>>()?;
        listeners.iter().try_for_each(|listener| listener.set_nonblocking(true))?;
        sockets.iter().try_for_each(|socket| socket.set_nonblocking(true))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || serve(&listeners, &sockets, &stopped));
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for EchoServers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(listeners: &[TcpListener], sockets: &[UdpSocket], stopped: &AtomicBool) {
    let mut buffer = vec![0; 65_536];
    while !stopped.load(Ordering::Relaxed) {
        let mut ready: Vec<_> =
            listeners.iter().map(|listener| PollFd::new(listener, PollFlags::IN)).collect();
        ready.extend(sockets.iter().map(|socket| PollFd::new(socket, PollFlags::IN)));
        let _ = poll(&mut ready, Some(&Timespec { tv_sec: 0, tv_nsec: 20_000_000 }));
        for listener in listeners {
            while let Ok((stream, _)) = listener.accept() {
                thread::spawn(move || echo(stream));
            }
        }
        for socket in sockets {
            while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(&buffer[..length], peer);
            }
        }
    }
}

/// Ends with its peer, or when that has been silent for long: then the connection was cut.
fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.set_write_timeout(Some(Duration::from_secs(20)))?;
    let mut buffer = vec![0; 65_536];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            length => stream.write_all(&buffer[..length])?,
        }
    }
}
