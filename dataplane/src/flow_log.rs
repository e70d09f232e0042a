//! The flow log: what was decided about whom, and by which rule.
//!
//! A worker hands over small fixed-size events and never waits: a full queue loses the event and counts it. One
//! thread turns events into JSON lines, with the names and places of the policy that decided.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};
use septum_classifier::VerdictId;
use septum_rules::flow_key::FlowKey;
use septum_rules::rule::LogMode;

use crate::counters::Cell;
use crate::drop_reason::DropReason;
use crate::flow_record::{self, Names};

/// Events that may wait for the writer.
const QUEUE: usize = 16 * 1024;

/// What happened to one frame.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// Milliseconds since 1970.
    pub unix_ms: u64,
    /// Slot of the ingress port.
    pub ingress: u16,
    /// Slot of the egress port, where it has one.
    pub egress: Option<u16>,
    /// The flow, where the frame held together.
    pub flow: Option<FlowKey>,
    /// Why it was dropped; none where it was forwarded.
    pub reason: Option<DropReason>,
    /// The gates' verdict, where they were asked.
    pub verdict: Option<VerdictId>,
    /// Which policy decided.
    pub policy_generation: u32,
}

/// A worker's end.
#[derive(Clone, Debug)]
pub struct FlowLog {
    queue: Sender<Event>,
}

impl FlowLog {
    /// Hands an event over, or counts it as lost.
    pub fn record(&self, event: Event, lost: &Cell) {
        if self.queue.try_send(event).is_err() {
            lost.add(1);
        }
    }
}

/// Whether a decision goes to the log. `sequence` counts what was judged, for sampling.
pub fn is_logged(mode: LogMode, is_new: bool, sequence: u64) -> bool {
    match mode {
        LogMode::None => false,
        LogMode::New => is_new,
        LogMode::All => true,
        LogMode::Sample(every) => is_new && sequence.is_multiple_of(u64::from(every.max(1))),
    }
}

/// The policies of whose decisions events may still speak, newest last.
#[derive(Debug, Default)]
pub struct NameBook {
    recent: Mutex<VecDeque<Arc<Names>>>,
}

impl NameBook {
    /// Policies that are remembered: events of one that is older than this are written without names.
    const KEPT: usize = 8;

    /// Adds the names of a newly published policy.
    pub fn add(&self, names: Names) {
        let mut recent = self.recent.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if recent.len() == Self::KEPT {
            recent.pop_front();
        }
        recent.push_back(Arc::new(names));
    }

    /// The names of one generation.
    pub fn of(&self, policy_generation: u32) -> Option<Arc<Names>> {
        let recent = self.recent.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        recent.iter().rev().find(|names| names.policy_generation == policy_generation).cloned()
    }
}

/// The thread that writes.
#[derive(Debug)]
pub struct Writer {
    log: FlowLog,
    thread: JoinHandle<Written>,
}

/// What the writer did in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Lines written.
    pub written: u64,
    /// Lines that the output refused (a full disk, a closed pipe).
    pub failed: u64,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(output: Box<dyn Write + Send>, names: Arc<NameBook>) -> io::Result<Self> {
        let (queue, events) = bounded(QUEUE);
        let thread = thread::Builder::new()
            .name("septum-events".to_owned())
            .spawn(move || write_all(events, output, &names))?;
        Ok(Self { log: FlowLog { queue }, thread })
    }

    /// A worker's end.
    pub fn log(&self) -> FlowLog {
        self.log.clone()
    }

    /// Writes what is queued and ends. Every [`FlowLog`] must be gone, else this waits for it.
    pub fn finish(self) -> Written {
        drop(self.log);
        self.thread.join().unwrap_or_default()
    }
}

fn write_all(events: Receiver<Event>, output: Box<dyn Write + Send>, names: &NameBook) -> Written {
    let mut output = io::BufWriter::new(output);
    let mut written = Written::default();
    let mut unflushed = 0;
    while let Ok(event) = events.recv() {
        let names = names.of(event.policy_generation);
        match flow_record::write(&mut output, &event, names.as_deref()) {
            Ok(()) => unflushed += 1,
            Err(_) => written.failed += 1,
        }
        if events.is_empty() {
            match output.flush() {
                Ok(()) => written.written += unflushed,
                Err(_) => written.failed += unflushed,
            }
            unflushed = 0;
        }
    }
    written
}
