//! Publishing snapshots: one writer, many readers that never wait.
//!
//! A worker keeps an `Arc` of the snapshot that it works by and compares one number a burst; only when it has
//! changed does it take the new one. What it lets go of is never its to destroy: the publisher keeps every
//! snapshot until no worker holds it, and frees it on its own thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use arc_swap::ArcSwap;

use crate::snapshot::Snapshot;

/// Where the current snapshot is to be found.
#[derive(Debug)]
pub struct Slot {
    generation: AtomicU64,
    current: ArcSwap<Snapshot>,
}

impl Slot {
    /// The current snapshot.
    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }
}

/// A worker's own handle on the current snapshot.
#[derive(Debug)]
pub struct Reader {
    slot: Arc<Slot>,
    generation: u64,
    held: Arc<Snapshot>,
}

impl Reader {
    /// A handle that holds the current snapshot.
    pub fn new(slot: Arc<Slot>) -> Self {
        let held = slot.load();
        Self { generation: held.generation, held, slot }
    }

    /// The current snapshot. Cost when nothing changed: one load and a comparison.
    pub fn current(&mut self) -> &Arc<Snapshot> {
        if self.slot.generation.load(Ordering::Acquire) != self.generation {
            self.held = self.slot.load();
            self.generation = self.held.generation;
        }
        &self.held
    }
}

/// The one that replaces snapshots, and frees them.
#[derive(Debug)]
pub struct Publisher {
    slot: Arc<Slot>,
    retired: Vec<Arc<Snapshot>>,
}

impl Publisher {
    /// Publishes the first snapshot.
    pub fn new(first: Snapshot) -> Self {
        let generation = AtomicU64::new(first.generation);
        Self {
            slot: Arc::new(Slot { generation, current: ArcSwap::from_pointee(first) }),
            retired: Vec::new(),
        }
    }

    /// For readers.
    pub fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    /// Replaces the current snapshot.
    ///
    /// # Panics
    /// When its generation is not above the current one's.
    pub fn publish(&mut self, next: Snapshot) {
        let generation = next.generation;
        let previous = self.slot.current.swap(Arc::new(next));
        assert!(generation > previous.generation, "generations only rise");
        self.slot.generation.store(generation, Ordering::Release);
        self.retired.push(previous);
    }

    /// Hands every snapshot that nobody reads any more to `bury`, and frees it.
    pub fn collect(&mut self, mut bury: impl FnMut(&Snapshot)) {
        self.retired.retain(|snapshot| {
            let unused = Arc::strong_count(snapshot) == 1;
            // What its last reader counted before it let go is to be seen.
            fence(Ordering::Acquire);
            if unused {
                bury(snapshot);
            }
            !unused
        });
    }

    /// The snapshots that were replaced and are still read by somebody.
    pub fn retired(&self) -> &[Arc<Snapshot>] {
        &self.retired
    }
}
