//! A queue of any kind of port, told apart by a match: a burst costs one predictable branch, no virtual call.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

use super::datagram::DatagramQueue;
use super::memory::MemoryQueue;
use super::packet::PacketQueue;
use super::tap::TapQueue;
use super::{Offloads, PortGone, PortQueue, TransmitOutcome};
use crate::burst::{Burst, Frames};

/// A second way out to a queue that another worker reads: were it read by several, frames of one flow would pass each other.
#[derive(Debug)]
pub struct SendOnly {
    queue: AnyQueue,
    /// An event that never comes.
    never: OwnedFd,
}

impl SendOnly {
    /// A way out beside `queue`.
    ///
    /// # Errors
    /// When the process may open no more descriptors; `Unsupported` for devices that bring a queue for every worker.
    pub(super) fn beside(queue: &AnyQueue) -> io::Result<Self> {
        let queue = match queue {
            AnyQueue::Tap(queue) => AnyQueue::Tap(queue.try_clone()?),
            AnyQueue::Datagram(queue) => AnyQueue::Datagram(queue.try_clone()?),
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(Self { queue, never: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? })
    }
}

/// One worker's queue of a port of any kind.
#[derive(Debug)]
pub enum AnyQueue {
    /// Of a TAP device.
    Tap(TapQueue),
    /// Of a device read through AF_PACKET.
    Packet(PacketQueue),
    /// Of a Unix datagram socket.
    Datagram(DatagramQueue),
    /// Of a device with fewer queues than there are workers.
    SendOnly(Box<SendOnly>),
    /// In this process.
    Memory(MemoryQueue),
}

impl PortQueue for AnyQueue {
    fn receive(&mut self, burst: &mut Burst) -> Result<usize, PortGone> {
        match self {
            Self::Tap(queue) => queue.receive(burst),
            Self::Packet(queue) => queue.receive(burst),
            Self::Datagram(queue) => queue.receive(burst),
            Self::SendOnly(_) => Ok(0),
            Self::Memory(queue) => queue.receive(burst),
        }
    }

    fn transmit(&mut self, frames: Frames<'_>, outcome: &mut TransmitOutcome) {
        match self {
            Self::Tap(queue) => queue.transmit(frames, outcome),
            Self::Packet(queue) => queue.transmit(frames, outcome),
            Self::Datagram(queue) => queue.transmit(frames, outcome),
            Self::SendOnly(other) => other.queue.transmit(frames, outcome),
            Self::Memory(queue) => queue.transmit(frames, outcome),
        }
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Tap(queue) => queue.descriptor(),
            Self::Packet(queue) => queue.descriptor(),
            Self::Datagram(queue) => queue.descriptor(),
            Self::SendOnly(other) => Some(other.never.as_fd()),
            Self::Memory(queue) => queue.descriptor(),
        }
    }

    fn offloads(&self) -> Offloads {
        match self {
            Self::Tap(queue) => queue.offloads(),
            Self::Packet(queue) => queue.offloads(),
            Self::Datagram(queue) => queue.offloads(),
            Self::SendOnly(other) => other.queue.offloads(),
            Self::Memory(queue) => queue.offloads(),
        }
    }

    fn leave(&mut self, burst: &mut Burst) {
        match self {
            Self::Tap(queue) => queue.leave(burst),
            Self::SendOnly(other) => other.queue.leave(burst),
            Self::Packet(_) | Self::Datagram(_) | Self::Memory(_) => {}
        }
    }
}
