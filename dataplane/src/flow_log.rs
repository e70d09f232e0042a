//! The flow log: what was decided about whom, and by which rule.
//!
//! A worker hands over small fixed-size events and never waits: a full queue loses the event and counts it. One
//! thread turns events into JSON lines, with the names and places of the policy that decided.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
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
    progress: Arc<Progress>,
    /// Only to count what waits.
    waiting: Receiver<Event>,
    thread: JoinHandle<()>,
    /// Closed when the thread has ended.
    ended: Receiver<()>,
}

/// What the writer did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Lines written.
    pub written: u64,
    /// Lines that the output did not take (a full disk, a closed pipe, a reader that stopped).
    pub failed: u64,
}

/// The thread's own counts, for others to read.
#[derive(Debug, Default)]
struct Progress {
    taken: Cell,
    written: Cell,
    failed: Cell,
}

/// An output that takes nothing for so long when all should end is given up.
const PATIENCE: Duration = Duration::from_secs(1);

/// Bytes of lines that are written together while more events wait.
const BATCH: usize = 64 * 1024;

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(output: Box<dyn Write + Send>, names: Arc<NameBook>) -> io::Result<Self> {
        let (queue, events) = bounded(QUEUE);
        let (alive, ended) = bounded(0);
        let (waiting, progress) = (events.clone(), Arc::new(Progress::default()));
        let counts = Arc::clone(&progress);
        let thread = thread::Builder::new().name("septum-events".to_owned()).spawn(move || {
            write_all(&events, output, &names, &counts);
            drop(alive);
        })?;
        Ok(Self { log: FlowLog { queue }, progress, waiting, thread, ended })
    }

    /// A worker's end.
    pub fn log(&self) -> FlowLog {
        self.log.clone()
    }

    /// What was written so far.
    pub fn written(&self) -> Written {
        self.progress.read()
    }

    /// Writes what is queued and ends; what an output that blocks does not take counts as failed, and its thread is
    /// left to the end of the process. Every [`FlowLog`] must be gone, else this waits for it.
    pub fn finish(self) -> Written {
        let Self { log, progress, waiting, thread, ended } = self;
        drop(log);
        let mut before = progress.read();
        while ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            let now = progress.read();
            if now == before {
                let in_hand = progress.taken.get() - now.written - now.failed;
                return Written { failed: now.failed + in_hand + waiting.len() as u64, ..now };
            }
            before = now;
        }
        // A writer that panicked has said so; what it counted still counts.
        let _ = thread.join();
        progress.read()
    }
}

impl Progress {
    fn read(&self) -> Written {
        Written { written: self.written.get(), failed: self.failed.get() }
    }
}

fn write_all(
    events: &Receiver<Event>,
    mut output: Box<dyn Write + Send>,
    names: &NameBook,
    counts: &Progress,
) {
    let mut lines = Vec::with_capacity(2 * BATCH);
    let (mut count, mut is_cut) = (0, false);
    while let Ok(event) = events.recv() {
        counts.taken.add(1);
        count += 1;
        // Memory takes everything.
        let _ = flow_record::write(&mut lines, &event, names.of(event.policy_generation).as_deref());
        if lines.len() < BATCH && !events.is_empty() {
            continue;
        }
        if is_cut {
            // The rest of a line that was refused halfway is gone: what comes next begins a line of its own.
            is_cut = put(&mut output, b"\n") == 0;
        }
        let taken = if is_cut { 0 } else { put(&mut output, &lines) };
        let whole = lines[..taken].iter().filter(|byte| **byte == b'\n').count() as u64;
        counts.written.add(whole);
        counts.failed.add(count - whole);
        is_cut |= lines[..taken].last().is_some_and(|byte| *byte != b'\n');
        lines.clear();
        count = 0;
    }
}

/// Writes until all is taken or something is refused; gives the number of bytes that were taken.
fn put(output: &mut impl Write, bytes: &[u8]) -> usize {
    let mut taken = 0;
    while taken < bytes.len() {
        match output.write(&bytes[taken..]) {
            Ok(0) => break,
            Ok(length) => taken += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    match output.flush() {
        Ok(()) => taken,
        Err(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: Event = Event {
        unix_ms: 1,
        ingress: 0,
        egress: None,
        flow: None,
        reason: Some(DropReason::SpoofMac),
        verdict: None,
        policy_generation: 0,
    };

    /// Takes some bytes, refuses once, and then takes all.
    struct Moody {
        patience: Option<usize>,
        taken: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Moody {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let room = match self.patience {
                Some(0) => {
                    self.patience = None;
                    return Err(io::ErrorKind::StorageFull.into());
                }
                Some(patience) => patience.min(bytes.len()),
                None => bytes.len(),
            };
            self.patience = self.patience.map(|patience| patience - room);
            self.taken.lock().unwrap().extend(&bytes[..room]);
            Ok(room)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_is_cut_spoils_no_other() {
        let taken = Arc::new(Mutex::new(Vec::new()));
        let output = Moody { patience: Some(10), taken: Arc::clone(&taken) };
        let writer = Writer::start(Box::new(output), Arc::default()).unwrap();
        let (log, lost) = (writer.log(), Cell::default());
        log.record(EVENT, &lost);
        while writer.written().failed == 0 {
            thread::yield_now();
        }
        log.record(EVENT, &lost);
        drop(log);
        assert_eq!(writer.finish(), Written { written: 1, failed: 1 });
        let text = String::from_utf8(taken.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines.len(), lines[0].len(), lost.get()), (2, 10, 0), "{text}");
        assert!(lines[1].starts_with('{') && lines[1].contains("spoof-mac"), "{text}");
    }
}
