//! Making frames fit a port that cannot take them whole: checksums filled in, super-frames segmented, into a
//! burst of the worker's own, so that the frame itself stays whole for other ports.

use crate::burst::{BURST, Burst, ETHERNET, Frames};
use crate::drop_reason::DropReason;
use crate::port::Offloads;
use crate::wire::checksum::fill_partial;
use crate::wire::segment::{Segments, Unfinished};
use crate::wire::vnet_hdr::VnetHeader;

/// All slots of a burst, in order.
pub(crate) static ALL: [u8; BURST] = {
    let mut all = [0; BURST];
    let mut index = 0;
    while index < BURST {
        all[index] = index as u8;
        index += 1;
    }
    all
};

/// A worker's scratch memory for frames that are cut.
#[derive(Debug, Default)]
pub struct Segmenter {
    scratch: Burst,
}

impl Segmenter {
    /// Hands to `sink` what a port with `offloads` gets instead of `frame`, in order and in batches, and gives the
    /// number of frames.
    ///
    /// # Errors
    /// When the frame is not what its virtio header says; then `sink` got nothing.
    pub fn cut(
        &mut self,
        frame: &[u8],
        offloads: Offloads,
        mut sink: impl FnMut(Frames<'_>),
    ) -> Result<u64, DropReason> {
        let mut vnet = VnetHeader::read(frame).ok_or(DropReason::FrameSize)?;
        self.scratch.clear();
        if Unfinished::of(&vnet, offloads) != Unfinished::Segmentation {
            self.scratch.push(frame);
            let copy = self.scratch.frame_mut(0);
            if Unfinished::of(&vnet, offloads) == Unfinished::Checksum {
                fill_partial(&mut copy[ETHERNET..], &mut vnet);
                vnet.write(copy);
            }
            sink(self.scratch.frames(&ALL[..1]));
            return Ok(1);
        }
        let mut segments = Segments::new(frame, offloads.checksum)?;
        let count = segments.count() as u64;
        loop {
            let written = segments.next_into(self.scratch.next_slot());
            if let Some(length) = written {
                self.scratch.commit(length);
            }
            if !self.scratch.has_room() || (written.is_none() && !self.scratch.is_empty()) {
                sink(self.scratch.frames(&ALL[..self.scratch.len()]));
                self.scratch.clear();
            }
            if written.is_none() {
                return Ok(count);
            }
        }
    }
}
