//! A sender of frames: UDP over IPv4, as many a second as the device takes, or as it is told; of one load or, by turns, of several.

use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, UdpSocket};
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg, sockopt};
use septum_rules::proto::Protocol;

use super::ends::{Ends, FRAMES, PAIRS, REFUSED};
use crate::sys::packet;
use crate::wire::ethernet::{EtherType, EthernetHeader};
use crate::wire::ipv4::Ipv4Header;

/// Frames of one system call.
const BATCH: usize = 64;
/// Bytes of the frame check sequence, which counts and which no host sees.
const CHECK_SEQUENCE: u16 = 4;
/// Ports of one source address in use, and the first of them.
const PORTS_OF_ADDRESS: u32 = 50_000;
const FIRST_PORT: u16 = 10_000;

/// How long frames are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    /// All alike, frame check sequence included.
    Bytes(u16),
    /// Seven of 64, four of 594, one of 1518.
    Imix,
}

const IMIX: [u16; 12] = [64, 594, 64, 64, 594, 64, 1518, 64, 594, 64, 64, 594];

impl Size {
    fn of(self, at: usize) -> u16 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Imix => IMIX[at % IMIX.len()],
        }
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("imix", _) => Ok(Self::Imix),
            (_, Ok(bytes @ 64..=1518)) => Ok(Self::Bytes(bytes)),
            _ => Err("write a size from 64 to 1518, or `imix`".to_owned()),
        }
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{bytes}"),
            Self::Imix => f.write_str("imix"),
        }
    }
}

/// What is sent, over and over.
#[derive(Debug)]
pub(super) struct Load {
    frames: Vec<Vec<u8>>,
    /// In how many flows that come again soon.
    flows: u64,
    /// Source addresses of frames each of which is of a flow of its own; none where the frames stay as they are.
    fresh: Vec<Ipv4Addr>,
}

impl Load {
    /// Frames of so many flows, in rotation.
    pub(super) fn flows(ends: &Ends, size: Size, flows: u32) -> Self {
        let count = (flows as usize).next_multiple_of(IMIX.len()).max(BATCH);
        let flow = |at| {
            let flow = at as u32 % flows;
            let addresses = &ends.client.addresses;
            let source = addresses[(flow / PORTS_OF_ADDRESS) as usize % addresses.len()];
            let port = FIRST_PORT + (flow % PORTS_OF_ADDRESS) as u16;
            frame(ends, size.of(at), (source, port), (ends.server.addresses[0], FRAMES))
        };
        Self { frames: (0..count).map(flow).collect(), flows: u64::from(flows), fresh: Vec::new() }
    }

    /// Frames each of which is of a flow of its own, until after a million or more they begin again.
    pub(super) fn fresh(ends: &Ends, size: Size) -> Self {
        let fresh = ends.client.addresses.clone();
        Self { flows: 0, fresh, ..Self::flows(ends, size, 1) }
    }

    /// Frames of one flow to a port where no rule admits them.
    pub(super) fn refused(ends: &Ends, size: Size) -> Self {
        let ends_of = ((ends.client.addresses[0], FIRST_PORT), (ends.server.addresses[0], REFUSED));
        let frames = (0..BATCH).map(|at| frame(ends, size.of(at), ends_of.0, ends_of.1)).collect();
        Self { frames, flows: 0, fresh: Vec::new() }
    }

    /// Frames between so many pairs of addresses, each pair of a rule of its own.
    pub(super) fn pairs(ends: &Ends, size: Size, pairs: usize) -> Self {
        let (sources, destinations) = (&ends.client.addresses, &ends.server.addresses);
        let pair = |at: usize| {
            let destination = destinations[at / sources.len() % destinations.len()];
            frame(ends, size.of(at), (sources[at % sources.len()], FIRST_PORT), (destination, PAIRS))
        };
        let frames = (0..pairs.max(BATCH)).map(|at| pair(at % pairs)).collect();
        Self { frames, flows: pairs as u64, fresh: Vec::new() }
    }

    /// Makes frames of the next flows of these; `number` counts flows.
    fn renew(&self, frames: &mut [Vec<u8>], number: &mut u32) {
        for frame in frames {
            let (address, port) = (*number / PORTS_OF_ADDRESS, *number % PORTS_OF_ADDRESS);
            *number = number.wrapping_add(1);
            let source = self.fresh[address as usize % self.fresh.len()];
            if frame[SOURCE] != source.octets() {
                frame[SOURCE].copy_from_slice(&source.octets());
                Ipv4Header::write_checksum(&mut frame[NETWORK..TRANSPORT]);
            }
            frame[TRANSPORT..TRANSPORT + 2].copy_from_slice(&(FIRST_PORT + port as u16).to_be_bytes());
        }
    }
}

/// Offsets in an untagged frame of IPv4 without options.
const NETWORK: usize = EthernetHeader::LENGTH;
const TRANSPORT: usize = NETWORK + Ipv4Header::LENGTH;
const SOURCE: Range<usize> = NETWORK + 12..NETWORK + 16;

/// Loads of which one is sent, and the socket that sends it.
#[derive(Debug)]
pub(super) struct Sender {
    socket: OwnedFd,
    loads: Vec<Load>,
    /// Which of them.
    chosen: AtomicUsize,
    /// Frames that the device took.
    pub(super) sent: AtomicU64,
    pub(super) stop: AtomicBool,
}

impl Sender {
    /// A sender at the client's device. It begins with the first load.
    ///
    /// # Errors
    /// When raw frames may not be sent there.
    pub(super) fn new(ends: &Ends, loads: Vec<Load>) -> io::Result<Self> {
        let socket = ends.client.inside(|| {
            let socket = packet::open()?;
            packet::bind_to_send(socket.as_fd(), ends.client.index)?;
            Ok(socket)
        })?;
        let _ = sockopt::set_socket_send_buffer_size(&socket, 1 << 20);
        let (sent, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        Ok(Self { socket, loads, chosen: AtomicUsize::new(0), sent, stop })
    }

    /// From the next batch on sends the load of that number.
    pub(super) fn choose(&self, load: usize) {
        self.chosen.store(load, Ordering::Relaxed);
    }

    fn load(&self) -> &Load {
        &self.loads[self.chosen.load(Ordering::Relaxed)]
    }

    /// Whether every flow of the load has arrived once, so that those that follow open no connection. That they were sent is not
    /// enough: a device's queue holds a thousand, and a connection's first packet may meet memory that the kernel has yet to clear.
    pub(super) fn has_been_round(&self, arrived: u64) -> bool {
        let flows = self.load().flows;
        flows == 0 || arrived > flows + BATCH as u64
    }

    /// Sends until it is told to stop; `rate` frames a second where one is given.
    ///
    /// # Errors
    /// When the device has gone.
    pub(super) fn run(&self, rate: Option<f64>) -> io::Result<()> {
        let (began, mut next, mut offered) = (Instant::now(), 0, 0_u64);
        let (mut renewed, mut number) = (Vec::new(), 0);
        while !self.stop.load(Ordering::Relaxed) {
            let load = self.load();
            let frames = match load.fresh.is_empty() {
                true => &load.frames,
                false => {
                    if renewed.is_empty() {
                        renewed.clone_from(&load.frames);
                    }
                    load.renew(&mut renewed, &mut number);
                    &renewed
                }
            };
            next %= frames.len();
            let batch = match rate {
                None => BATCH,
                Some(rate) => {
                    let due = (began.elapsed().as_secs_f64() * rate) as u64;
                    match due.saturating_sub(offered) {
                        0 => {
                            std::thread::sleep(Duration::from_micros(20));
                            continue;
                        }
                        due => (due as usize).min(BATCH),
                    }
                }
            };
            let batch = batch.min(frames.len() - next);
            let slices: [[IoSlice<'_>; 1]; BATCH] = std::array::from_fn(|at| {
                let frame = frames.get(next + at).filter(|_| at < batch);
                [IoSlice::new(frame.map_or(&[], Vec::as_slice))]
            });
            let mut controls: [SendAncillaryBuffer<'_, '_, '_>; BATCH] =
                std::array::from_fn(|_| SendAncillaryBuffer::default());
            let mut messages: Vec<MMsgHdr<'_>> = slices[..batch]
                .iter()
                .zip(&mut controls)
                .map(|(slice, control)| MMsgHdr::new(slice, control))
                .collect();
            match sendmmsg(&self.socket, &mut messages, SendFlags::DONTWAIT) {
                Ok(taken) => {
                    self.sent.fetch_add(taken as u64, Ordering::Relaxed);
                    offered += taken as u64;
                    next += taken;
                }
                // The device is full: what it does not take is offered again.
                Err(Errno::AGAIN | Errno::NOBUFS | Errno::INTR) => std::thread::yield_now(),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Sockets of the server that take and lose what the frames carry: without them the server's stack would answer each.
///
/// # Errors
/// When a port is taken.
pub(super) fn sinks(ends: &Ends) -> io::Result<[UdpSocket; 2]> {
    let sink = |port| {
        let socket = ends.server.inside(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)))?;
        sockopt::set_socket_recv_buffer_size(&socket, 1)?;
        Ok::<_, io::Error>(socket)
    };
    Ok([sink(FRAMES)?, sink(PAIRS)?])
}

/// A frame from the client to the server: UDP between these addresses and ports.
fn frame(ends: &Ends, size: u16, source: (Ipv4Addr, u16), destination: (Ipv4Addr, u16)) -> Vec<u8> {
    const UDP: usize = 8;
    let length = usize::from(size - CHECK_SEQUENCE);
    let mut frame = vec![0; length];
    let header =
        EthernetHeader { destination: ends.server.mac, source: ends.client.mac, ethertype: EtherType::IPV4 };
    header.emit(None, &mut frame);
    let payload = length - TRANSPORT;
    Ipv4Header::emit(&mut frame[NETWORK..], (source.0, destination.0), Protocol::UDP, 0, payload);
    let udp = &mut frame[TRANSPORT..][..UDP];
    udp[..2].copy_from_slice(&source.1.to_be_bytes());
    udp[2..4].copy_from_slice(&destination.1.to_be_bytes());
    // Without a checksum (RFC 768): nobody reads the payload.
    udp[4..6].copy_from_slice(&(payload as u16).to_be_bytes());
    frame
}
