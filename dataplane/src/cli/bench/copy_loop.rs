//! The copy loop: what comes in at one port goes out at the other, unread. Nothing on a TAP can be faster.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use septum_rules::workload::{PortKind, PortSpec};
use signal_hook::consts::signal::{SIGINT, SIGTERM};

use crate::burst::{BURST, Burst};
use crate::cli::failure::Failure;
use crate::patience::{Patience, Wait};
use crate::port::{AnyQueue, Inside, Port, PortGone, PortQueue, Substitute, TransmitOutcome};
use crate::worker::Io;

/// The longest wait.
const LONGEST: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// All slots of a burst.
pub(super) static ALL: [u8; BURST] = {
    let mut all = [0; BURST];
    let mut index = 0;
    while index < BURST {
        all[index] = index as u8;
        index += 1;
    }
    all
};

/// Copies one burst a direction. Gives how many frames came in, and what became of those for the second port.
///
/// # Errors
/// When a device has gone.
pub(super) fn turn(
    queues: &mut [AnyQueue; 2],
    burst: &mut Burst,
    outcome: &mut TransmitOutcome,
) -> Result<usize, PortGone> {
    let mut came = 0;
    let [first, second] = queues;
    burst.clear();
    came += first.receive(burst)?;
    second.transmit(burst.frames(&ALL[..burst.len()]), outcome);
    burst.clear();
    came += second.receive(burst)?;
    first.transmit(burst.frames(&ALL[..burst.len()]), &mut TransmitOutcome::default());
    Ok(came)
}

/// Waits until a frame comes, or a moment has passed.
fn sleep(queues: &[AnyQueue; 2]) {
    let mut descriptors: Vec<PollFd<'_>> = queues
        .iter()
        .filter_map(|queue| Some(PollFd::from_borrowed_fd(queue.descriptor()?, PollFlags::IN)))
        .collect();
    // An interrupted wait is a short one.
    let _ = poll(&mut descriptors, Some(&LONGEST));
}

/// `septum bench --copy-loop`: makes two TAPs where the caller is, and copies until a signal.
///
/// # Errors
/// When the devices cannot be made, or go.
pub(super) fn run(first: &str, second: &str, io: Io, wait: Wait) -> Result<u8, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(|error| Failure::because(Failure::ENVIRONMENT, "signals cannot be served", &error))?;
    }
    let mut ports = Vec::new();
    for device in [first, second] {
        let spec = PortSpec {
            kind: PortKind::Tap,
            device: device.into(),
            namespace: None,
            configure: false,
            persistent: false,
            owner: None,
            group: None,
            mtu: 1500,
            trunk: None,
            span: septum_rules::source::Span::default(),
        };
        let port = Port::open(&spec, &Inside::default(), 1, Substitute::Never).map_err(|error| {
            let reason = format_args!("cannot make the TAP device {device}");
            Failure::because(Failure::ENVIRONMENT, reason, &error).fix(error.fix())
        })?;
        ports.push(port);
    }
    let mut queues = both(&mut ports)?;
    let mut burst = burst(io);
    let mut patience = Patience::new(wait);
    while !stop.load(Ordering::Relaxed) {
        let came = turn(&mut queues, &mut burst, &mut TransmitOutcome::default()).map_err(gone)?;
        patience.looked(came > 0);
        if patience.is_over() {
            patience.sleep(|| sleep(&queues));
        }
    }
    Ok(0)
}

/// A burst that is read and written as a worker's would be.
pub(super) fn burst(io: Io) -> Burst {
    let mut burst = Burst::default();
    if io == Io::Auto {
        // Where it is not to be had, frames go one by one, as a worker's do.
        let _ = burst.start_ring();
    }
    burst
}

/// The first queue of each of the first two ports.
pub(super) fn both(ports: &mut [Port]) -> Result<[AnyQueue; 2], Failure> {
    let mut queues = ports.iter_mut().flat_map(|port| port.take_queues().into_iter().take(1));
    match (queues.next(), queues.next()) {
        (Some(first), Some(second)) => Ok([first, second]),
        _ => Err(Failure::new(Failure::ENVIRONMENT, "a port has no queue")),
    }
}

pub(super) fn gone(error: PortGone) -> Failure {
    Failure::because(Failure::ENVIRONMENT, "a device went away while it was measured", &error)
}
