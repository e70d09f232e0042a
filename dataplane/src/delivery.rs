//! Delivery: handing frames over to egress ports, in batches, each counted to its end.

use crate::burst::{BURST, Burst, Frames};
use crate::counters::WorkerCells;
use crate::drop_reason::UndeliveredReason;
use crate::pipeline::End;
use crate::port::{Offloads, PortId, PortQueue, TransmitOutcome};
use crate::segmenter::Segmenter;
use crate::wire::segment::Unfinished;
use crate::wire::vnet_hdr::VnetHeader;

/// What is to be done with the frames of a burst.
#[derive(Debug)]
pub struct Plan {
    ends: [End; BURST],
    count: usize,
    /// One bit a frame that goes to one port.
    going: u64,
    /// (frame, port) of every copy of a frame that goes to several.
    copies: Vec<(u8, PortId)>,
}

impl Default for Plan {
    fn default() -> Self {
        // Room for a broadcast in every slot of a burst to a dozen members; grows once where segments are larger.
        Self { ends: [End::Copied; BURST], count: 0, going: 0, copies: Vec::with_capacity(BURST * 12) }
    }
}

impl Plan {
    /// Forgets the last burst.
    pub fn clear(&mut self) {
        self.count = 0;
        self.going = 0;
        self.copies.clear();
    }

    /// Takes down how the next frame of the burst ended.
    pub fn end(&mut self, end: End) {
        const { assert!(BURST <= 64, "one bit a frame") };
        self.ends[self.count] = end;
        self.going |= u64::from(!matches!(end, End::Dropped(_) | End::Copied)) << self.count;
        self.count += 1;
    }

    /// Takes down that a copy of frame `index` goes to `port`.
    pub fn copy(&mut self, index: usize, port: PortId) {
        self.copies.push((index as u8, port));
    }

    /// How the frames of the burst ended, in order.
    pub fn ends(&self) -> &[End] {
        &self.ends[..self.count]
    }
}

/// One worker's queues, by port slot.
#[derive(Debug)]
pub struct Queues<Q> {
    slots: Vec<Option<(PortId, Q)>>,
}

impl<Q> Default for Queues<Q> {
    fn default() -> Self {
        Self { slots: Vec::new() }
    }
}

impl<Q: PortQueue> Queues<Q> {
    /// Adds a port's queue; one that was in the slot is closed.
    pub fn attach(&mut self, port: PortId, queue: Q) {
        let slot = usize::from(port.slot);
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, || None);
        }
        self.slots[slot] = Some((port, queue));
    }

    /// Closes a port's queue.
    pub fn detach(&mut self, port: PortId) -> Option<Q> {
        let slot = self.slots.get_mut(usize::from(port.slot))?;
        if slot.as_ref().is_some_and(|(there, _)| *there == port) {
            slot.take().map(|(_, queue)| queue)
        } else {
            None
        }
    }

    /// A port's queue.
    pub fn get_mut(&mut self, port: PortId) -> Option<&mut Q> {
        let slot = self.slots.get_mut(usize::from(port.slot))?.as_mut();
        slot.filter(|(there, _)| *there == port).map(|(_, queue)| queue)
    }

    /// Takes all queues out.
    pub fn take(&mut self) -> impl Iterator<Item = Q> {
        self.slots.drain(..).flatten().map(|(_, queue)| queue)
    }

    /// All queues.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (PortId, &mut Q)> {
        self.slots.iter_mut().flatten().map(|(port, queue)| (*port, queue))
    }
}

/// Hands the frames of a burst that came in at `ingress` to the ports that the plan names.
pub fn deliver<Q: PortQueue>(
    plan: &Plan,
    burst: &Burst,
    ingress: PortId,
    queues: &mut Queues<Q>,
    segmenter: &mut Segmenter,
    cells: &WorkerCells,
) {
    // Those that still have to go.
    let mut pending = plan.going;
    let goes_to = |index: usize| match plan.ends()[index] {
        End::Forward(port) | End::Asked(_, port) => port,
        _ => ingress,
    };
    let mut batch = [0; BURST];
    while pending != 0 {
        let port = goes_to(pending.trailing_zeros() as usize);
        let (mut length, mut handed_over, mut rest) = (0, 0, pending);
        while rest != 0 {
            let index = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            if goes_to(index) == port {
                pending &= !(1 << index);
                batch[length] = index as u8;
                length += 1;
                handed_over += u64::from(matches!(plan.ends()[index], End::Forward(_)));
            }
        }
        let counted = cells.port(port.slot);
        counted.handed_over.add(handed_over);
        counted.originated.add(length as u64 - handed_over);
        transmit(burst, &batch[..length], port, queues, segmenter, cells);
    }
    for (index, port) in &plan.copies {
        cells.port(port.slot).handed_over.add(1);
        transmit(burst, &[*index], *port, queues, segmenter, cells);
    }
}

fn transmit<Q: PortQueue>(
    burst: &Burst,
    indices: &[u8],
    port: PortId,
    queues: &mut Queues<Q>,
    segmenter: &mut Segmenter,
    cells: &WorkerCells,
) {
    let mut outcome = TransmitOutcome::default();
    let mut extra_segments = 0;
    match queues.get_mut(port) {
        None => outcome.undelivered[UndeliveredReason::PortGone.index()] = indices.len() as u64,
        Some(queue) => {
            let offloads = queue.offloads();
            let frames = burst.frames(indices);
            if offloads == Offloads::ALL || frames.iter().all(|frame| is_whole_enough(frame, offloads)) {
                queue.transmit(frames, &mut outcome);
            } else {
                extra_segments = transmit_cut(frames, queue, offloads, segmenter, &mut outcome);
            }
        }
    }
    let cells = cells.port(port.slot);
    if extra_segments != 0 {
        cells.extra_segments.add(extra_segments);
    }
    cells.transmitted(&outcome);
}

/// Whether a port of these abilities takes the frame as it is.
fn is_whole_enough(frame: &[u8], offloads: Offloads) -> bool {
    VnetHeader::read(frame).is_some_and(|vnet| Unfinished::of(&vnet, offloads) == Unfinished::Nothing)
}

/// Transmits frame by frame what the port cannot take whole; gives the number of frames that this adds.
fn transmit_cut<Q: PortQueue>(
    frames: Frames<'_>,
    queue: &mut Q,
    offloads: Offloads,
    segmenter: &mut Segmenter,
    outcome: &mut TransmitOutcome,
) -> u64 {
    let mut extra = 0;
    for frame in frames.iter() {
        match segmenter.cut(frame, offloads, |segments| queue.transmit(segments, outcome)) {
            Ok(count) => extra += count - 1,
            Err(_) => outcome.lost(UndeliveredReason::PortTooBig),
        }
    }
    extra
}
