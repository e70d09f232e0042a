//! A burst: up to 64 frames that one worker reads, judges and writes together.
//!
//! Every frame lies in a slot of its own: a 24-byte [`crate::wire::vnet_hdr::VnetHeader`], then the Ethernet
//! frame. Slots hold the largest super-frame that a kernel hands out, so nothing is ever spilled or chained.
//! The memory is allocated once, in huge pages where the kernel has them, and reused for the life of the worker.

use std::cell::RefCell;
use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use crate::sys::pages::Pages;
use crate::sys::prefetch::prefetch_at;
use crate::sys::uring::{Place, Ring};
use crate::wire::vnet_hdr::VnetHeader;

/// The most frames of one burst.
pub const BURST: usize = 64;

/// Bytes of one slot: 64 KiB of IP packet, its headers, tags and virtio header, rounded up so that
/// neighbouring slots do not share cache sets.
pub const SLOT: usize = 68 * 1024 + 192;

/// Stop reading a burst once this many bytes are in it: 64 super-frames would push each other out of the cache.
pub const BYTE_BUDGET: usize = 384 * 1024;

/// Up to [`BURST`] frames in their slots.
#[derive(Debug)]
pub struct Burst {
    /// Reads and writes the slots in one system call each, where it may be had; its thread's alone. Dropped before they are.
    ring: Option<Box<RefCell<Ring>>>,
    memory: Pages<u8>,
    lengths: [u32; BURST],
    count: usize,
    bytes: usize,
    /// Bytes of a frame in the burst before this one.
    typical: usize,
}

impl Default for Burst {
    fn default() -> Self {
        Self {
            ring: None,
            memory: Pages::zeroed(BURST * SLOT),
            lengths: [0; BURST],
            count: 0,
            bytes: 0,
            typical: 0,
        }
    }
}

impl Burst {
    /// From now on devices that can are read and written with io_uring. To be called by the thread that owns the burst. Gives
    /// whether the slots are registered with the kernel, which saves it some work a frame.
    ///
    /// # Errors
    /// Why io_uring is not to be had; nothing has changed then.
    pub fn start_ring(&mut self) -> io::Result<bool> {
        let mut ring = Ring::new()?;
        // Refused above the limit of locked memory: then the slots are ordinary memory to the kernel.
        let registered = ring.register(&mut self.memory).is_ok();
        self.ring = Some(Box::new(RefCell::new(ring)));
        Ok(registered)
    }

    /// From now on devices are read and written one by one; the ring holds none of them open any more.
    pub fn end_ring(&mut self) {
        self.ring = None;
    }

    /// Has the ring let go of a device, which it else holds open.
    pub fn forget(&mut self, place: &mut Place) {
        if let Some(ring) = &mut self.ring {
            ring.get_mut().forget(place);
        }
    }

    /// Reads up to `most` frames into the free slots in one system call. `None` where there is no ring. Gives how many came, and
    /// what the first read said that gave none. `place` is the device's own: see [`Burst::forget`].
    pub fn read_batch(
        &mut self,
        descriptor: BorrowedFd<'_>,
        place: &mut Place,
        most: usize,
    ) -> Option<(usize, Result<(), Errno>)> {
        // Out of the way: its results are its own memory.
        let mut ring = self.ring.take()?;
        let first = self.count;
        let most = most.min(BURST - first);
        let done = ring.get_mut().read(descriptor, place, &mut self.memory[first * SLOT..], SLOT, most);
        let mut end = Ok(());
        for (index, done) in done.iter().enumerate() {
            match done.result() {
                // It may have come between two reads: the one before it found nothing.
                Ok(length) => self.commit_slot(first + index, length),
                Err(error) => end = end.and(Err(error)),
            }
        }
        self.ring = Some(ring);
        Some((self.count - first, end))
    }

    /// Number of frames.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether another frame should be read into it.
    pub fn has_room(&self) -> bool {
        self.count < BURST && self.bytes < BYTE_BUDGET
    }

    /// How many of `wanted` frames should be read at once, so that they keep to the byte budget if they are as long as those that are
    /// in, or as the last burst's. `None` when no frame should be.
    pub fn room_for(&self, wanted: usize) -> Option<usize> {
        let fitting = (BYTE_BUDGET - self.bytes.min(BYTE_BUDGET)) / self.typical.max(1);
        self.has_room().then(|| wanted.min(BURST - self.count).min(fitting.max(1)))
    }

    /// Forgets all frames.
    pub fn clear(&mut self) {
        self.typical = self.bytes.checked_div(self.count).unwrap_or(self.typical);
        self.count = 0;
        self.bytes = 0;
    }

    /// The whole next free slot, to read a frame (virtio header first) into.
    ///
    /// # Panics
    /// When all slots are taken.
    pub fn next_slot(&mut self) -> &mut [u8] {
        &mut self.memory[self.count * SLOT..][..SLOT]
    }

    /// Takes the first `length` bytes of [`Burst::next_slot`] as a frame.
    ///
    /// # Panics
    /// When all slots are taken or `length` exceeds a slot.
    pub fn commit(&mut self, length: usize) {
        assert!(length <= SLOT, "a frame longer than its slot");
        self.lengths[self.count] = length as u32;
        self.count += 1;
        self.bytes += length;
    }

    /// The next `count` free slots, one behind the other, to read frames into; follow with [`Burst::commit_slot`].
    ///
    /// # Panics
    /// When there are not so many.
    pub fn next_slots(&mut self, count: usize) -> &mut [u8] {
        &mut self.memory[self.count * SLOT..][..count * SLOT]
    }

    /// Takes the first `length` bytes of the slot `index` as the next frame; it moves to the slots before it that hold none.
    ///
    /// # Panics
    /// When the slot is taken or `length` exceeds it.
    pub fn commit_slot(&mut self, index: usize, length: usize) {
        assert!(self.count <= index && index < BURST && length <= SLOT, "a frame that is not there");
        if index != self.count {
            self.memory.copy_within(index * SLOT..index * SLOT + length, self.count * SLOT);
        }
        self.commit(length);
    }

    /// Copies a frame (virtio header first) in. False when there is no room or it is longer than a slot.
    pub fn push(&mut self, frame: &[u8]) -> bool {
        if self.count == BURST || frame.len() > SLOT {
            return false;
        }
        self.next_slot()[..frame.len()].copy_from_slice(frame);
        self.commit(frame.len());
        true
    }

    /// The frame with its virtio header.
    ///
    /// # Panics
    /// When `index` is not below [`Burst::len`].
    pub fn frame(&self, index: usize) -> &[u8] {
        &self.memory[self.range(index)]
    }

    /// All frames, each with its virtio header. Some places ahead, a frame's first line is asked for, which has its headers up to the
    /// ports: every slot lies on a page of its own.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        const AHEAD: usize = 8;
        let (first, lengths) = (self.memory.as_ptr(), &self.lengths[..self.count]);
        self.memory.chunks_exact(SLOT).zip(lengths).enumerate().map(move |(index, (slot, length))| {
            prefetch_at(first.wrapping_add((index + AHEAD) % BURST * SLOT));
            &slot[..*length as usize]
        })
    }

    /// The frame with its virtio header.
    ///
    /// # Panics
    /// When `index` is not below [`Burst::len`].
    pub fn frame_mut(&mut self, index: usize) -> &mut [u8] {
        let range = self.range(index);
        &mut self.memory[range]
    }

    /// Makes the frame `length` bytes long, virtio header included (a tag removed, a reply written over a request).
    ///
    /// # Panics
    /// When `index` is not below [`Burst::len`] or `length` exceeds a slot.
    pub fn set_length(&mut self, index: usize, length: usize) {
        assert!(index < self.count && length <= SLOT);
        self.lengths[index] = length as u32;
    }

    /// The frame's whole slot, for writing a longer frame over it; follow with [`Burst::set_length`].
    ///
    /// # Panics
    /// When `index` is not below [`Burst::len`].
    pub fn slot_mut(&mut self, index: usize) -> &mut [u8] {
        assert!(index < self.count);
        &mut self.memory[index * SLOT..][..SLOT]
    }

    fn range(&self, index: usize) -> Range<usize> {
        assert!(index < self.count);
        index * SLOT..index * SLOT + self.lengths[index] as usize
    }

    /// Some frames of this burst, to hand to one port.
    pub fn frames<'a>(&'a self, indices: &'a [u8]) -> Frames<'a> {
        Frames { burst: self, indices }
    }
}

/// Frames of one burst on their way to one port, in the order in which they came in.
#[derive(Clone, Copy, Debug)]
pub struct Frames<'a> {
    burst: &'a Burst,
    indices: &'a [u8],
}

impl<'a> Frames<'a> {
    /// Number of frames.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// Writes all of them in one system call, and hands to `each` a frame's bytes and what its write said, in order. False where
    /// there is no ring; then nothing was written. `place` is the device's own: see [`Burst::forget`].
    pub fn write_batch(
        &self,
        descriptor: BorrowedFd<'_>,
        place: &mut Place,
        mut each: impl FnMut(usize, Result<usize, Errno>),
    ) -> bool {
        let Some(ring) = &self.burst.ring else { return false };
        let mut ring = ring.borrow_mut();
        let ranges = self.indices.iter().map(|index| self.burst.range(usize::from(*index)));
        let done = ring.write(descriptor, place, &self.burst.memory, ranges.clone());
        ranges.zip(done).for_each(|(range, done)| each(range.len(), done.result()));
        true
    }

    /// The frames, each with its virtio header.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone + '_ {
        self.indices.iter().map(|index| self.burst.frame(usize::from(*index)))
    }
}

/// Offset of the Ethernet header in every frame of a burst.
pub const ETHERNET: usize = VnetHeader::LENGTH;
