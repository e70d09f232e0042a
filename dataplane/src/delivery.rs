//! Delivery: handing frames over to egress ports, in batches, each counted to its end.

use crate::burst::{BURST, Burst, Frames};
use crate::counters::WorkerCells;
use crate::directory::Directory;
use crate::drop_reason::UndeliveredReason;
use crate::pipeline::End;
use crate::port::{Offloads, PortId, PortQueue, TransmitOutcome};
use crate::segmenter::{ALL, Segmenter};
use crate::trunk::with_tag;
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

    /// The same for one that goes to one port.
    #[inline(always)]
    pub fn forward(&mut self, port: PortId) {
        self.ends[self.count] = End::Forward(port);
        self.going |= 1 << self.count;
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
    /// Ports behind trunks, by slot: the trunk, and the id that its frames get there.
    behind: Vec<Option<(PortId, PortId, u16)>>,
    /// Frames with their tags.
    tagged: Burst,
}

impl<Q> Default for Queues<Q> {
    fn default() -> Self {
        Self { slots: Vec::new(), behind: Vec::new(), tagged: Burst::default() }
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

    /// Takes down which ports are behind which trunks.
    pub fn follow(&mut self, directory: &Directory) {
        self.behind.clear();
        for trunk in directory.trunks() {
            for (id, port) in &trunk.carried {
                let slot = usize::from(port.slot);
                if self.behind.len() <= slot {
                    self.behind.resize(slot + 1, None);
                }
                self.behind[slot] = Some((*port, trunk.port, *id));
            }
        }
    }

    /// Transmits frames at a port behind a trunk, each with its tag; gives the number of frames that segmentation adds, or `None`
    /// where there is no such port.
    fn transmit_tagged(
        &mut self,
        frames: Frames<'_>,
        port: PortId,
        segmenter: &mut Segmenter,
        outcome: &mut TransmitOutcome,
    ) -> Option<u64> {
        let (_, trunk, id) =
            (*self.behind.get(usize::from(port.slot))?).filter(|(there, ..)| *there == port)?;
        let slot = self.slots.get_mut(usize::from(trunk.slot))?.as_mut();
        let (_, queue) = slot.filter(|(there, _)| *there == trunk)?;
        self.tagged.clear();
        for frame in frames.iter() {
            match with_tag(frame, id, self.tagged.next_slot()) {
                Some(length) => self.tagged.commit(length),
                None => outcome.lost(UndeliveredReason::PortTooBig),
            }
        }
        Some(hand_over(self.tagged.frames(&ALL[..self.tagged.len()]), queue, segmenter, outcome))
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
    let frames = burst.frames(indices);
    let extra_segments = match queues.get_mut(port) {
        Some(queue) => hand_over(frames, queue, segmenter, &mut outcome),
        None => queues.transmit_tagged(frames, port, segmenter, &mut outcome).unwrap_or_else(|| {
            outcome.undelivered[UndeliveredReason::PortGone.index()] = indices.len() as u64;
            0
        }),
    };
    let cells = cells.port(port.slot);
    if extra_segments != 0 {
        cells.extra_segments.add(extra_segments);
    }
    cells.transmitted(&outcome);
}

/// Transmits frames at a queue, in the shape that it takes; gives the number of frames that this adds.
fn hand_over<Q: PortQueue>(
    frames: Frames<'_>,
    queue: &mut Q,
    segmenter: &mut Segmenter,
    outcome: &mut TransmitOutcome,
) -> u64 {
    let offloads = queue.offloads();
    if offloads == Offloads::ALL || frames.iter().all(|frame| is_whole_enough(frame, offloads)) {
        queue.transmit(frames, outcome);
        return 0;
    }
    transmit_cut(frames, queue, offloads, segmenter, outcome)
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
