//! Ports for tests: descriptions, a workload's sockets, and a wire between two ports.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use septum::burst::Burst;
use septum::port::{
    AnyQueue, Inside, Offloads, Port, PortError, PortGone, PortQueue, Substitute, TransmitOutcome,
};
use septum::segmenter::Segmenter;
use septum::sys::namespace::NetworkNamespace;
use septum::wire::vnet_hdr::VnetHeader;
use septum_rules::source::Span;
use septum_rules::workload::{Namespace, PortKind, PortSpec};

/// What must come comes within this, on a machine that is busy with others too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A TAP that the switch configures inside a namespace.
pub(crate) fn tap(device: &str) -> PortSpec {
    PortSpec {
        kind: PortKind::Tap,
        device: device.into(),
        // Any: these tests hand over the namespace itself.
        namespace: Some(Namespace::Name("anonymous".into())),
        configure: true,
        persistent: false,
        owner: None,
        group: None,
        mtu: 1500,
        trunk: None,
        span: Span::default(),
    }
}

/// A namespace with one port in it.
pub(crate) struct Host {
    pub(crate) namespace: NetworkNamespace,
    pub(crate) port: Port,
    pub(crate) addresses: [IpAddr; 2],
}

impl Host {
    /// Number `number` of 10.0.0.0/24 and fd00::/64, with a device `NAME`.
    pub(crate) fn new(number: u8, device: &str, substitute: Substitute) -> Result<Self, PortError> {
        let addresses = [
            format!("10.0.0.{number}").parse().expect("an address"),
            format!("fd00::{number:x}").parse().expect("an address"),
        ];
        let inside = Inside {
            mac: Some(format!("02:00:00:00:00:{number:02x}").parse().expect("a MAC")),
            addresses: vec![(addresses[0], 24), (addresses[1], 64)],
            routes: Vec::new(),
        };
        let namespace = NetworkNamespace::anonymous()?;
        let port = Port::open_in(&tap(device), &namespace, &inside, 2, substitute)?;
        Ok(Self { namespace, port, addresses })
    }

    pub(crate) fn udp(&self, address: IpAddr) -> UdpSocket {
        let socket = self.run(|| UdpSocket::bind((address, 0)).expect("the address is configured"));
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket
    }

    pub(crate) fn listen(&self, address: IpAddr) -> TcpListener {
        self.run(|| TcpListener::bind((address, 0)).expect("the address is configured"))
    }

    pub(crate) fn connect(&self, to: SocketAddr) -> std::io::Result<TcpStream> {
        self.run(|| TcpStream::connect_timeout(&to, PATIENCE))
    }

    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.namespace.run(work).expect("the namespace is ours")
    }
}

/// What a [`Wire`] carried.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Carried {
    pub(crate) frames: u64,
    pub(crate) super_frames: u64,
    /// Those of them inside UDP tunnels.
    pub(crate) in_tunnels: u64,
    pub(crate) unfinished_checksums: u64,
    pub(crate) undelivered: u64,
}

/// Copies every frame between two ports, one thread for all queues.
pub(crate) struct Wire {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Carried>>,
}

impl Wire {
    pub(crate) fn between(one: &mut Port, other: &mut Port) -> Self {
        let (one, other) = (one.take_queues(), other.take_queues());
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || carry([one, other], &stopped));
        Self { stop, thread: Some(thread) }
    }

    pub(crate) fn end(mut self) -> Carried {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok()).expect("the wire does not panic")
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn carry(mut sides: [Vec<AnyQueue>; 2], stopped: &AtomicBool) -> Carried {
    let mut burst = Burst::default();
    let mut carried = Carried::default();
    let mut segmenter = Segmenter::default();
    let all: Vec<u8> = (0..septum::burst::BURST as u8).collect();
    while !stopped.load(Ordering::Relaxed) {
        wait(sides.iter().flatten(), Duration::from_millis(20));
        for from in 0..2 {
            for queue in 0..sides[from].len() {
                burst.clear();
                let Ok(count) = sides[from][queue].receive(&mut burst) else { continue };
                for header in (0..count).filter_map(|index| VnetHeader::read(burst.frame(index))) {
                    carried.super_frames += u64::from(header.gso_type != 0);
                    carried.in_tunnels += u64::from(header.is_in_tunnel());
                    carried.unfinished_checksums += u64::from(header.needs_checksum());
                }
                let mut outcome = TransmitOutcome::default();
                let to = &mut sides[1 - from][queue];
                let offloads = to.offloads();
                if offloads == Offloads::ALL {
                    to.transmit(burst.frames(&all[..count]), &mut outcome);
                }
                for frame in (0..count).filter(|_| offloads != Offloads::ALL) {
                    let cut = segmenter
                        .cut(burst.frame(frame), offloads, |frames| to.transmit(frames, &mut outcome));
                    cut.expect("the kernel's frames are well formed");
                }
                carried.frames += outcome.transmitted;
                carried.undelivered += outcome.undelivered.iter().sum::<u64>();
            }
        }
    }
    carried
}

/// Waits until a queue is ready, or for `limit`.
pub(crate) fn wait<'a>(queues: impl Iterator<Item = &'a AnyQueue>, limit: Duration) {
    let mut ready: Vec<_> = queues
        .filter_map(PortQueue::descriptor)
        .map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN))
        .collect();
    let limit = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: limit.subsec_nanos().into() };
    let _ = poll(&mut ready, Some(&limit));
}

/// Receives until a frame is `wanted`; gives it with its virtio header. `None` when none comes.
pub(crate) fn receive_until(queues: &mut [AnyQueue], wanted: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
    let deadline = Instant::now() + PATIENCE;
    let mut burst = Burst::default();
    while Instant::now() < deadline {
        wait(queues.iter(), Duration::from_millis(50));
        for queue in &mut *queues {
            burst.clear();
            let count = queue.receive(&mut burst).ok()?;
            if let Some(index) = (0..count).find(|index| wanted(burst.frame(*index))) {
                return Some(burst.frame(index).to_vec());
            }
        }
    }
    None
}

/// Receives until the queue says that its device is gone. `None` when it never does.
pub(crate) fn await_gone(queue: &mut AnyQueue) -> Option<PortGone> {
    let deadline = Instant::now() + PATIENCE;
    let mut burst = Burst::default();
    while Instant::now() < deadline {
        burst.clear();
        match queue.receive(&mut burst) {
            Ok(_) => wait(std::iter::once(&*queue), Duration::from_millis(20)),
            Err(gone) => return Some(gone),
        }
    }
    None
}

/// Transmits one frame, virtio header first.
pub(crate) fn transmit(queue: &mut AnyQueue, frame: &[u8]) -> TransmitOutcome {
    let mut burst = Burst::default();
    assert!(burst.push(frame));
    let mut outcome = TransmitOutcome::default();
    queue.transmit(burst.frames(&[0]), &mut outcome);
    outcome
}
