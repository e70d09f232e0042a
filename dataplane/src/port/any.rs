//! A queue of any kind of port, told apart by a match: a burst costs one predictable branch, no virtual call.

use std::os::fd::BorrowedFd;

use super::memory::MemoryQueue;
use super::packet::PacketQueue;
use super::tap::TapQueue;
use super::{Offloads, PortGone, PortQueue, TransmitOutcome};
use crate::burst::{Burst, Frames};

/// One worker's queue of a port of any kind.
#[derive(Debug)]
pub enum AnyQueue {
    /// Of a TAP device.
    Tap(TapQueue),
    /// Of a device read through AF_PACKET.
    Packet(PacketQueue),
    /// In this process.
    Memory(MemoryQueue),
}

impl PortQueue for AnyQueue {
    fn receive(&mut self, burst: &mut Burst) -> Result<usize, PortGone> {
        match self {
            Self::Tap(queue) => queue.receive(burst),
            Self::Packet(queue) => queue.receive(burst),
            Self::Memory(queue) => queue.receive(burst),
        }
    }

    fn transmit(&mut self, frames: Frames<'_>, outcome: &mut TransmitOutcome) {
        match self {
            Self::Tap(queue) => queue.transmit(frames, outcome),
            Self::Packet(queue) => queue.transmit(frames, outcome),
            Self::Memory(queue) => queue.transmit(frames, outcome),
        }
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Tap(queue) => queue.descriptor(),
            Self::Packet(queue) => queue.descriptor(),
            Self::Memory(queue) => queue.descriptor(),
        }
    }

    fn offloads(&self) -> Offloads {
        match self {
            Self::Tap(queue) => queue.offloads(),
            Self::Packet(queue) => queue.offloads(),
            Self::Memory(queue) => queue.offloads(),
        }
    }
}
