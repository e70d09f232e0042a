//! A port in this process: two ends, each of which transmits what the other receives.
//!
//! For the simulation, tests and benches: no device, no system call, no clock. Each direction is a bounded ring
//! of buffers that are allocated beforehand and kept (one grows, once, for a frame above 2 KiB); a full ring
//! loses frames as a full device does. One uncontended lock a burst.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Offloads, PortGone, PortQueue, TransmitOutcome};
use crate::burst::{Burst, Frames, SLOT};
use crate::drop_reason::UndeliveredReason;

/// Bytes that every buffer of a ring holds from the start.
const BUFFER: usize = 2048;

/// One end of a port in memory. When the other end is dropped, this one's device has disappeared.
#[derive(Debug)]
pub struct MemoryQueue {
    inbound: Arc<Mutex<Ring>>,
    outbound: Arc<Mutex<Ring>>,
    offloads: Offloads,
}

impl MemoryQueue {
    /// Two connected ends with room for `capacity` frames a direction. `offloads` is what both say that their far
    /// side takes unfinished.
    pub fn pair(capacity: usize, offloads: Offloads) -> (Self, Self) {
        let ring = || Arc::new(Mutex::new(Ring::new(capacity)));
        let (there, back) = (ring(), ring());
        let near = Self { inbound: Arc::clone(&back), outbound: Arc::clone(&there), offloads };
        (near, Self { inbound: there, outbound: back, offloads })
    }

    /// The same with other offloads.
    pub fn with_offloads(self, offloads: Offloads) -> Self {
        Self { offloads, ..self }
    }

    /// Sends a frame (virtio header first) to the other end. False when that has no room, or no slot could hold it.
    pub fn inject(&self, frame: &[u8]) -> bool {
        frame.len() <= SLOT && lock(&self.outbound).push(frame)
    }

    /// The next frame (virtio header first) that the other end sent.
    pub fn take(&self) -> Option<Vec<u8>> {
        let mut frame = None;
        lock(&self.inbound).pop(|bytes| frame = Some(bytes.to_vec()));
        frame
    }

    /// Frames that the other end sent and nobody has taken.
    pub fn waiting(&self) -> usize {
        lock(&self.inbound).filled.len()
    }

    /// Forgets what the other end sent; gives how many frames that were.
    pub fn discard(&self) -> usize {
        let mut inbound = lock(&self.inbound);
        let mut count = 0;
        while inbound.pop(|_| ()) {
            count += 1;
        }
        count
    }

    fn is_alone(&self) -> bool {
        Arc::strong_count(&self.inbound) == 1
    }
}

impl PortQueue for MemoryQueue {
    fn receive(&mut self, burst: &mut Burst) -> Result<usize, PortGone> {
        let mut inbound = lock(&self.inbound);
        let before = burst.len();
        while burst.has_room()
            && inbound.pop(|frame| assert!(burst.push(frame), "a ring holds no longer frame"))
        {}
        let count = burst.len() - before;
        if count == 0 && inbound.filled.is_empty() && self.is_alone() {
            return Err(PortGone(io::ErrorKind::BrokenPipe.into()));
        }
        Ok(count)
    }

    fn transmit(&mut self, frames: Frames<'_>, outcome: &mut TransmitOutcome) {
        let alone = self.is_alone();
        let mut outbound = lock(&self.outbound);
        for frame in frames.iter() {
            if alone {
                outcome.lost(UndeliveredReason::PortGone);
            } else if outbound.push(frame) {
                outcome.sent(frame.len());
            } else {
                outcome.lost(UndeliveredReason::QueueFull);
            }
        }
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn offloads(&self) -> Offloads {
        self.offloads
    }
}

/// Frames in order, and the buffers that wait for frames.
#[derive(Debug)]
struct Ring {
    filled: VecDeque<Vec<u8>>,
    free: Vec<Vec<u8>>,
}

impl Ring {
    fn new(capacity: usize) -> Self {
        let free = (0..capacity).map(|_| Vec::with_capacity(BUFFER)).collect();
        Self { filled: VecDeque::with_capacity(capacity), free }
    }

    fn push(&mut self, frame: &[u8]) -> bool {
        let Some(mut buffer) = self.free.pop() else { return false };
        buffer.clear();
        buffer.extend_from_slice(frame);
        self.filled.push_back(buffer);
        true
    }

    fn pop(&mut self, use_frame: impl FnOnce(&[u8])) -> bool {
        let Some(buffer) = self.filled.pop_front() else { return false };
        use_frame(&buffer);
        self.free.push(buffer);
        true
    }
}

/// A panic elsewhere leaves a ring whole: every step of it moves one buffer.
fn lock(ring: &Mutex<Ring>) -> MutexGuard<'_, Ring> {
    ring.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::burst::ETHERNET;

    #[test]
    fn frames_pass_in_order_and_a_full_ring_loses_the_rest() {
        let (mut near, far) = MemoryQueue::pair(3, Offloads::ALL);
        let mut burst = Burst::default();
        for number in 0..5_u8 {
            assert_eq!(far.inject(&[number; 80]), number < 3);
        }
        assert_eq!(near.receive(&mut burst).unwrap(), 3);
        let mut outcome = TransmitOutcome::default();
        near.transmit(burst.frames(&[2, 0, 1, 1]), &mut outcome);
        assert_eq!((outcome.transmitted, outcome.bytes), (3, 3 * (80 - ETHERNET as u64)));
        assert_eq!(outcome.undelivered[UndeliveredReason::QueueFull.index()], 1);
        let order: Vec<u8> = std::iter::from_fn(|| far.take()).map(|frame| frame[0]).collect();
        assert_eq!(order, [2, 0, 1]);
    }

    #[test]
    fn a_burst_takes_no_more_than_it_has_room_for() {
        let (mut near, far) = MemoryQueue::pair(100, Offloads::NONE);
        let mut burst = Burst::default();
        for _ in 0..100 {
            assert!(far.inject(&[0; 74]));
        }
        assert_eq!(near.receive(&mut burst).unwrap(), crate::burst::BURST);
        assert_eq!(near.receive(&mut burst).unwrap(), 0);
        assert_eq!(near.waiting(), 100 - crate::burst::BURST);
        assert!(!far.inject(&vec![0; SLOT + 1]));
    }

    #[test]
    fn an_end_whose_other_is_dropped_delivers_what_came_and_is_gone() {
        let (mut near, far) = MemoryQueue::pair(4, Offloads::NONE);
        assert!(far.inject(&[0; 74]));
        drop(far);
        let mut burst = Burst::default();
        assert_eq!(near.receive(&mut burst).unwrap(), 1);
        assert!(near.receive(&mut burst).is_err());
        let mut outcome = TransmitOutcome::default();
        near.transmit(burst.frames(&[0]), &mut outcome);
        assert_eq!(outcome.undelivered[UndeliveredReason::PortGone.index()], 1);
    }
}
