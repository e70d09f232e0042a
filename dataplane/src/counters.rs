//! Counters: what became of every frame.
//!
//! Each worker counts in cells of its own, so counting is a load, an add and a store without a lock prefix;
//! readers add the workers up. The cells never overlap: a frame is counted once where it came in and once at
//! each port that it was handed to, and the two equations of [`PortCounters::imbalance`] hold at every moment of rest.

use std::fmt;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

use crate::drop_reason::{DropReason, UndeliveredReason};
use crate::port::TransmitOutcome;

/// One number that one worker writes and anyone reads.
#[derive(Debug, Default)]
pub struct Cell(AtomicU64);

impl Cell {
    /// Adds; only the owning worker may. Not a read-modify-write instruction: there is one writer.
    pub fn add(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    /// The number.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one worker counted at one port.
#[derive(Debug)]
pub struct PortCells {
    /// Frames that came in.
    pub received: Cell,
    /// Their bytes, without virtio headers.
    pub received_bytes: Cell,
    /// Of those: handed to one egress port or more.
    pub forwarded: Cell,
    /// Of those: answered by the switch.
    pub replied: Cell,
    /// Of those: dropped, by reason.
    pub dropped: [Cell; DropReason::COUNT],
    /// Frames handed over by ingress ports.
    pub handed_over: Cell,
    /// Frames made by the switch for this port.
    pub originated: Cell,
    /// Frames more than were handed over, because super-frames were segmented.
    pub extra_segments: Cell,
    /// Frames that the device took.
    pub transmitted: Cell,
    /// Their bytes, without virtio headers.
    pub transmitted_bytes: Cell,
    /// Frames that the device did not take, by reason.
    pub undelivered: [Cell; UndeliveredReason::COUNT],
}

impl Default for PortCells {
    fn default() -> Self {
        Self {
            received: Cell::default(),
            received_bytes: Cell::default(),
            forwarded: Cell::default(),
            replied: Cell::default(),
            dropped: std::array::from_fn(|_| Cell::default()),
            handed_over: Cell::default(),
            originated: Cell::default(),
            extra_segments: Cell::default(),
            transmitted: Cell::default(),
            transmitted_bytes: Cell::default(),
            undelivered: std::array::from_fn(|_| Cell::default()),
        }
    }
}

impl PortCells {
    /// Counts what a device made of the frames that it was given.
    pub fn transmitted(&self, outcome: &TransmitOutcome) {
        self.transmitted.add(outcome.transmitted);
        self.transmitted_bytes.add(outcome.bytes);
        for (cell, lost) in self.undelivered.iter().zip(outcome.undelivered) {
            if lost != 0 {
                cell.add(lost);
            }
        }
    }
}

/// The cells of one worker, a row a port slot. Padded, so that two workers never share a cache line.
#[derive(Debug)]
pub struct WorkerCells {
    ports: Box<[CachePadded<PortCells>]>,
    /// Events that found the log's queue full.
    pub events_lost: CachePadded<Cell>,
}

impl WorkerCells {
    /// Cells for `slots` ports.
    pub fn new(slots: usize) -> Self {
        Self {
            ports: (0..slots).map(|_| CachePadded::default()).collect(),
            events_lost: CachePadded::default(),
        }
    }

    /// How many port slots there are.
    pub fn slots(&self) -> usize {
        self.ports.len()
    }

    /// The row of a port slot.
    ///
    /// # Panics
    /// When there is no such slot.
    pub fn port(&self, slot: u16) -> &PortCells {
        &self.ports[usize::from(slot)]
    }
}

/// What all workers counted at one port, at the moment of reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortCounters {
    /// See [`PortCells::received`], and so on.
    pub received: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Received and handed to an egress port or more.
    pub forwarded: u64,
    /// Received and answered.
    pub replied: u64,
    /// Received and dropped, by [`DropReason::index`].
    pub dropped: [u64; DropReason::COUNT],
    /// Handed over by ingress ports.
    pub handed_over: u64,
    /// Made by the switch.
    pub originated: u64,
    /// Added by segmentation.
    pub extra_segments: u64,
    /// Taken by the device.
    pub transmitted: u64,
    /// Bytes taken by the device.
    pub transmitted_bytes: u64,
    /// Not taken, by [`UndeliveredReason::index`].
    pub undelivered: [u64; UndeliveredReason::COUNT],
}

impl Default for PortCounters {
    fn default() -> Self {
        Self {
            received: 0,
            received_bytes: 0,
            forwarded: 0,
            replied: 0,
            dropped: [0; DropReason::COUNT],
            handed_over: 0,
            originated: 0,
            extra_segments: 0,
            transmitted: 0,
            transmitted_bytes: 0,
            undelivered: [0; UndeliveredReason::COUNT],
        }
    }
}

impl PortCounters {
    /// The sum over workers for one slot.
    pub fn read(workers: &[impl AsRef<WorkerCells>], slot: u16) -> Self {
        let mut total = Self::default();
        for cells in workers.iter().map(|worker| worker.as_ref().port(slot)) {
            total += &Self {
                received: cells.received.get(),
                received_bytes: cells.received_bytes.get(),
                forwarded: cells.forwarded.get(),
                replied: cells.replied.get(),
                dropped: std::array::from_fn(|at| cells.dropped[at].get()),
                handed_over: cells.handed_over.get(),
                originated: cells.originated.get(),
                extra_segments: cells.extra_segments.get(),
                transmitted: cells.transmitted.get(),
                transmitted_bytes: cells.transmitted_bytes.get(),
                undelivered: std::array::from_fn(|at| cells.undelivered[at].get()),
            };
        }
        total
    }

    /// What was counted after `earlier` was read.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            received: self.received - earlier.received,
            received_bytes: self.received_bytes - earlier.received_bytes,
            forwarded: self.forwarded - earlier.forwarded,
            replied: self.replied - earlier.replied,
            dropped: std::array::from_fn(|at| self.dropped[at] - earlier.dropped[at]),
            handed_over: self.handed_over - earlier.handed_over,
            originated: self.originated - earlier.originated,
            extra_segments: self.extra_segments - earlier.extra_segments,
            transmitted: self.transmitted - earlier.transmitted,
            transmitted_bytes: self.transmitted_bytes - earlier.transmitted_bytes,
            undelivered: std::array::from_fn(|at| self.undelivered[at] - earlier.undelivered[at]),
        }
    }

    /// All drops.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// All frames that the device did not take.
    pub fn undelivered_total(&self) -> u64 {
        self.undelivered.iter().sum()
    }

    /// The drops that happened, with their reasons.
    pub fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL
            .into_iter()
            .map(|reason| (reason, self.dropped[reason.index()]))
            .filter(|(_, count)| *count != 0)
    }

    /// Whether the two equations of the balance hold; the difference where one does not.
    ///
    /// Only at rest: between counting a frame in and counting it out they do not.
    pub fn imbalance(&self) -> Option<Imbalance> {
        let ingress_ends = self.forwarded + self.replied + self.dropped_total();
        let egress_begins = self.handed_over + self.originated + self.extra_segments;
        let egress_ends = self.transmitted + self.undelivered_total();
        (self.received != ingress_ends || egress_begins != egress_ends).then_some(Imbalance {
            received: self.received,
            ingress_ends,
            egress_begins,
            egress_ends,
        })
    }
}

impl AddAssign<&Self> for PortCounters {
    fn add_assign(&mut self, other: &Self) {
        self.received += other.received;
        self.received_bytes += other.received_bytes;
        self.forwarded += other.forwarded;
        self.replied += other.replied;
        self.handed_over += other.handed_over;
        self.originated += other.originated;
        self.extra_segments += other.extra_segments;
        self.transmitted += other.transmitted;
        self.transmitted_bytes += other.transmitted_bytes;
        for (mine, theirs) in self.dropped.iter_mut().zip(other.dropped) {
            *mine += theirs;
        }
        for (mine, theirs) in self.undelivered.iter_mut().zip(other.undelivered) {
            *mine += theirs;
        }
    }
}

/// The balance does not hold: a frame ended twice, or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imbalance {
    /// Frames that came in.
    pub received: u64,
    /// Ends of frames that came in.
    pub ingress_ends: u64,
    /// Frames for this port.
    pub egress_begins: u64,
    /// Ends of frames for this port.
    pub egress_ends: u64,
}

impl fmt::Display for Imbalance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ingress {} received, {} ended; egress {} begun, {} ended",
            self.received, self.ingress_ends, self.egress_begins, self.egress_ends
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_frame_that_ends_twice_is_an_imbalance() {
        let worker = Arc::new(WorkerCells::new(1));
        let cells = worker.port(0);
        cells.received.add(2);
        cells.forwarded.add(1);
        cells.dropped[DropReason::SpoofIp.index()].add(1);
        let workers = [Arc::clone(&worker)];
        assert_eq!(PortCounters::read(&workers, 0).imbalance(), None);
        cells.replied.add(1);
        let counters = PortCounters::read(&workers, 0);
        assert_eq!(counters.imbalance().map(|imbalance| imbalance.ingress_ends), Some(3));
        assert_eq!(counters.drops().collect::<Vec<_>>(), [(DropReason::SpoofIp, 1)]);
    }
}
