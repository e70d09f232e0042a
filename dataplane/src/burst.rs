//! A burst: up to 64 frames that one worker reads, judges and writes together.
//!
//! Every frame lies in a slot of its own: a 12-byte [`crate::wire::vnet_hdr::VnetHeader`], then the Ethernet
//! frame. Slots hold the largest super-frame that a kernel hands out, so nothing is ever spilled or chained.
//! The memory is allocated once, in huge pages where the kernel has them, and reused for the life of the worker.

use std::ops::Range;

use crate::sys::pages::Pages;
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
    memory: Pages<u8>,
    lengths: [u32; BURST],
    count: usize,
    bytes: usize,
}

impl Default for Burst {
    fn default() -> Self {
        Self { memory: Pages::zeroed(BURST * SLOT), lengths: [0; BURST], count: 0, bytes: 0 }
    }
}

impl Burst {
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

    /// Forgets all frames.
    pub fn clear(&mut self) {
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

    /// The frames, each with its virtio header.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + '_ {
        self.indices.iter().map(|index| self.burst.frame(usize::from(*index)))
    }
}

/// Offset of the Ethernet header in every frame of a burst.
pub const ETHERNET: usize = VnetHeader::LENGTH;
