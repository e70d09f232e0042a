//! A sender of frames: UDP over IPv4, as many a second as the device takes, or as it is told.

use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg, sockopt};
use septum_rules::proto::Protocol;

use super::ends::{Ends, FRAMES};
use crate::sys::packet;
use crate::wire::ethernet::{EtherType, EthernetHeader};
use crate::wire::ipv4::Ipv4Header;

/// Frames of one system call.
const BATCH: usize = 64;
/// Bytes of the frame check sequence, which counts and which no host sees.
const CHECK_SEQUENCE: u16 = 4;
/// Ports of one source address in use.
const PORTS_OF_ADDRESS: u32 = 50_000;

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

/// The frames of some flows, and the socket that sends them.
#[derive(Debug)]
pub(super) struct Sender {
    socket: OwnedFd,
    frames: Vec<Vec<u8>>,
    /// In how many flows.
    flows: u64,
    /// Frames that the device took.
    pub(super) sent: AtomicU64,
    pub(super) stop: AtomicBool,
}

impl Sender {
    /// A sender at the client's device.
    ///
    /// # Errors
    /// When raw frames may not be sent there.
    pub(super) fn new(ends: &Ends, size: Size, flows: u32) -> io::Result<Self> {
        let socket = ends.client.inside(|| {
            let socket = packet::open()?;
            packet::bind_to_send(socket.as_fd(), ends.client.index)?;
            Ok(socket)
        })?;
        let _ = sockopt::set_socket_send_buffer_size(&socket, 1 << 20);
        let count = (flows as usize).next_multiple_of(IMIX.len()).max(BATCH);
        let frames = (0..count).map(|at| frame(ends, size.of(at), at as u32 % flows)).collect();
        let (sent, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        Ok(Self { socket, frames, flows: u64::from(flows), sent, stop })
    }

    /// Whether every flow has arrived once, so that those that follow open no connection. That they were sent is not enough: a
    /// device's queue holds a thousand, and a connection's first packet may meet memory that the kernel has yet to clear.
    pub(super) fn has_been_round(&self, arrived: u64) -> bool {
        arrived > self.flows + BATCH as u64
    }

    /// Sends until it is told to stop; `rate` frames a second where one is given.
    ///
    /// # Errors
    /// When the device has gone.
    pub(super) fn run(&self, rate: Option<f64>) -> io::Result<()> {
        let slices: Vec<[IoSlice<'_>; 1]> = self.frames.iter().map(|frame| [IoSlice::new(frame)]).collect();
        let (began, mut next, mut offered) = (Instant::now(), 0, 0_u64);
        while !self.stop.load(Ordering::Relaxed) {
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
            let batch = batch.min(slices.len() - next);
            let mut controls: [SendAncillaryBuffer<'_, '_, '_>; BATCH] =
                std::array::from_fn(|_| SendAncillaryBuffer::default());
            let mut messages: Vec<MMsgHdr<'_>> = slices[next..next + batch]
                .iter()
                .zip(&mut controls)
                .map(|(slice, control)| MMsgHdr::new(slice, control))
                .collect();
            match sendmmsg(&self.socket, &mut messages, SendFlags::DONTWAIT) {
                Ok(taken) => {
                    self.sent.fetch_add(taken as u64, Ordering::Relaxed);
                    offered += taken as u64;
                    next = (next + taken) % slices.len();
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
/// When the port is taken.
pub(super) fn sink(ends: &Ends) -> io::Result<UdpSocket> {
    let socket = ends.server.inside(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, FRAMES)))?;
    sockopt::set_socket_recv_buffer_size(&socket, 1)?;
    Ok(socket)
}

/// A frame of the client's flow of that number.
fn frame(ends: &Ends, size: u16, flow: u32) -> Vec<u8> {
    const UDP: usize = 8;
    let addresses = &ends.client.addresses;
    let source = addresses[(flow / PORTS_OF_ADDRESS) as usize % addresses.len()];
    let destination = ends.server.addresses[0];
    let port = 10_000 + (flow % PORTS_OF_ADDRESS) as u16;
    let length = usize::from(size - CHECK_SEQUENCE);
    let mut frame = vec![0; length];
    let header =
        EthernetHeader { destination: ends.server.mac, source: ends.client.mac, ethertype: EtherType::IPV4 };
    let network = header.emit(None, &mut frame);
    let payload = length - network - Ipv4Header::LENGTH;
    Ipv4Header::emit(&mut frame[network..], (source, destination), Protocol::UDP, 0, payload);
    let udp = &mut frame[network + Ipv4Header::LENGTH..][..UDP];
    udp[..2].copy_from_slice(&port.to_be_bytes());
    udp[2..4].copy_from_slice(&FRAMES.to_be_bytes());
    // Without a checksum (RFC 768): nobody reads the payload.
    udp[4..6].copy_from_slice(&(payload as u16).to_be_bytes());
    frame
}
