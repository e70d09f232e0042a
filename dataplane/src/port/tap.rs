//! TAP devices: the switch holds the queues, a workload the network device (linux/if_tun.h).
//!
//! A device is made inside its workload's namespace (about 1 ms), or an existing one is adopted when it is a TAP
//! with several queues that nobody holds. Frames carry the 24-byte virtio header; super-frames and unfinished
//! checksums come and go whole. One descriptor a worker; both directions of a flow come to the same one's ([`crate::sys::steering`]).
//!
//! The queues hold the namespace: one that loses its name and its processes lives on until the switch lets go of
//! the device. A device beside the switch (`configure = false`) is left down and keeps its own MAC: who takes it
//! (a bridge, a script) raises it, and a VM's MAC is the guest's. One read(2) or write(2) a frame; where frames come in numbers and
//! the burst has an io_uring, one system call for all of them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use septum_rules::workload::PortSpec;

use super::error::PortError;
use super::inside::{Inside, set_mtu};
use super::{Offloads, OwnedLink, PortGone, PortQueue, TransmitOutcome};
use crate::burst::{BURST, Burst, Frames};
use crate::drop_reason::UndeliveredReason;
use crate::sys::netlink::{Link, Netlink};
use crate::sys::steering::{self, Hook};
use crate::sys::tun;
use crate::sys::uring::Place;

/// One queue of a TAP device.
#[derive(Debug)]
pub struct TapQueue {
    descriptor: OwnedFd,
    offloads: Offloads,
    refusal_told: bool,
    /// Frames to ask for at once: as many as came last time, and some more.
    appetite: usize,
    /// The driver takes operations that do not wait through io_uring.
    takes_batches: bool,
    /// Where the burst's ring has it.
    place: Place,
    /// The device outlives the switch, and is not to keep the steering program.
    unsteers: bool,
}

/// From so many frames on, one system call for all is cheaper than one each.
const BATCH: usize = 4;

impl TapQueue {
    /// A queue from a descriptor that somebody else attached: not blocking, with the 24-byte header, little-endian.
    pub fn new(descriptor: OwnedFd, offloads: Offloads) -> Self {
        Self {
            descriptor,
            offloads,
            refusal_told: false,
            appetite: 1,
            takes_batches: true,
            place: Place::default(),
            unsteers: false,
        }
    }

    /// The same queue by a descriptor of its own.
    ///
    /// # Errors
    /// When the process may open no more.
    pub(super) fn try_clone(&self) -> std::io::Result<Self> {
        Ok(Self::new(self.descriptor.try_clone()?, self.offloads))
    }

    /// Reads many frames at once, if many are to be expected. `None` where they are to be read one by one.
    fn receive_batch(&mut self, burst: &mut Burst) -> Option<(usize, Result<(), Errno>)> {
        if !self.takes_batches || self.appetite < BATCH {
            return None;
        }
        // Super-frames fill the byte budget long before the slots.
        let room = burst.room_for(self.appetite)?;
        let (count, end) = burst.read_batch(self.descriptor.as_fd(), &mut self.place, room)?;
        self.appetite = if count == room { room * 4 } else { count + 1 };
        if end == Err(Errno::OPNOTSUPP) {
            self.takes_batches = false;
            return (count > 0).then_some((count, Ok(())));
        }
        Some((count, end))
    }

    /// Writes many frames at once. False where they are to be written one by one.
    fn transmit_batch(&mut self, frames: Frames<'_>, outcome: &mut TransmitOutcome) -> bool {
        let mut refused = [Ok(()); BURST];
        let mut at = 0;
        let is_written = frames.write_batch(self.descriptor.as_fd(), &mut self.place, |length, written| {
            match written {
                Ok(_) => outcome.sent(length),
                Err(error) => refused[at] = Err(error),
            }
            at += 1;
        });
        if !is_written {
            return false;
        }
        for (frame, refusal) in frames.iter().zip(refused) {
            match refusal {
                Ok(()) => {}
                Err(Errno::OPNOTSUPP | Errno::INTR) => {
                    self.takes_batches &= refusal != Err(Errno::OPNOTSUPP);
                    self.transmit_one(frame, outcome);
                }
                Err(error) => outcome.lost(self.undelivered(error)),
            }
        }
        true
    }

    fn transmit_one(&mut self, frame: &[u8], outcome: &mut TransmitOutcome) {
        match rustix::io::retry_on_intr(|| rustix::io::write(&self.descriptor, frame)) {
            Ok(_) => outcome.sent(frame.len()),
            Err(error) => outcome.lost(self.undelivered(error)),
        }
    }

    fn undelivered(&mut self, error: Errno) -> UndeliveredReason {
        match error {
            Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM => UndeliveredReason::QueueFull,
            Errno::IO => UndeliveredReason::PortDown,
            error if is_gone(error) => UndeliveredReason::PortGone,
            error => {
                if !std::mem::replace(&mut self.refusal_told, true) {
                    tracing::warn!(%error, "a TAP device refused a frame; further ones are only counted");
                }
                UndeliveredReason::DeviceRefused
            }
        }
    }
}

impl Drop for TapQueue {
    fn drop(&mut self) {
        if self.unsteers {
            // A device that has gone meanwhile has nothing to lose.
            let _ = tun::set_steering(&self.descriptor, None);
        }
    }
}

impl PortQueue for TapQueue {
    fn receive(&mut self, burst: &mut Burst) -> Result<usize, PortGone> {
        let before = burst.len();
        match self.receive_batch(burst) {
            Some((0, Err(error))) if error != Errno::AGAIN && error != Errno::INTR => {
                return Err(PortGone(error.into()));
            }
            Some((count, _)) => return Ok(count),
            None => {}
        }
        while burst.has_room() {
            match rustix::io::read(&self.descriptor, burst.next_slot()) {
                Ok(length) => burst.commit(length),
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                // The kernel says it again at the next call; what was read is judged first.
                Err(_) if burst.len() > before => break,
                Err(error) => return Err(PortGone(error.into())),
            }
        }
        self.appetite = (burst.len() - before) * 2;
        Ok(burst.len() - before)
    }

    fn transmit(&mut self, frames: Frames<'_>, outcome: &mut TransmitOutcome) {
        if frames.len() >= BATCH && self.takes_batches && self.transmit_batch(frames, outcome) {
            return;
        }
        for frame in frames.iter() {
            self.transmit_one(frame, outcome);
        }
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.descriptor.as_fd())
    }

    fn offloads(&self) -> Offloads {
        self.offloads
    }

    fn leave(&mut self, burst: &mut Burst) {
        burst.forget(&mut self.place);
    }
}

/// `EBADFD`: the device was deleted, the queue is attached to nothing.
fn is_gone(error: Errno) -> bool {
    matches!(error, Errno::BADFD | Errno::BADF | Errno::NODEV | Errno::NXIO)
}

/// Makes or adopts the device in the calling thread's namespace. When a step fails, nothing is left of what was
/// made, and an adopted device has what it had.
pub(super) fn open(
    spec: &PortSpec,
    inside: &Inside,
    queues: usize,
) -> Result<(Vec<TapQueue>, Option<OwnedLink>), PortError> {
    let device = &*spec.device;
    let step = |step| PortError::step(device, step);
    let mut netlink = Netlink::open().map_err(step("look for"))?;
    let existing = match netlink.link(device) {
        Ok(link) => Some(link),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => None,
        Err(error) => return Err(step("look for")(error)),
    };
    if let Some(link) = &existing {
        adoptable(link)?;
    }

    // Without EXCL on the first, a device that another process makes just now would be taken over.
    let attached = (0..queues.max(1))
        .map(|queue| attach(device, existing.is_none() && queue == 0))
        .collect::<Result<Vec<_>, _>>()?;
    let mut offloads = Offloads::ALL;
    for queue in &attached {
        tun::set_header(queue).map_err(step("set the virtio header of"))?;
        // The device's, whichever queue is asked.
        offloads = tun::set_offload(queue).map_err(step("set the offloads of"))?;
    }
    let mut attached: Vec<_> =
        attached.into_iter().map(|descriptor| TapQueue::new(descriptor, offloads)).collect();
    let outlives = existing.is_some() || spec.persistent;
    if queues > 1
        && let Some(program) = steering::program(Hook::Tap)
    {
        match tun::set_steering(&attached[0].descriptor, Some(program)) {
            Ok(()) => attached[0].unsteers = outlives,
            Err(error) => steering::give_up(Hook::Tap, &error),
        }
    }
    let first = &attached[0].descriptor;
    if let Some(user) = spec.owner {
        tun::set_owner(first, user).map_err(step("set the owner of"))?;
    }
    if let Some(group) = spec.group {
        tun::set_group(first, group).map_err(step("set the group of"))?;
    }

    let link = match &existing {
        Some(link) => link.clone(),
        None => {
            let link = netlink.link(device).map_err(step("find"))?;
            // Only slower without.
            let _ = netlink.set_no_queueing(link.index);
            link
        }
    };
    if spec.configure {
        inside.configure(&mut netlink, &link, spec.mtu)?;
    } else {
        set_mtu(&mut netlink, &link, spec.mtu)?;
    }
    // Last: up to here a device that was made goes with its descriptors.
    if spec.persistent {
        tun::set_persistent(first, true).map_err(step("keep"))?;
    }

    Ok((attached, (!outlives).then(|| OwnedLink::new(netlink, link.index))))
}

fn adoptable(link: &Link) -> Result<(), PortError> {
    let device = || link.name.clone();
    let lacks = |lacks| Err(PortError::OtherFlags { device: device(), lacks });
    match &link.tun {
        None => {
            let kind = link.kind.as_ref().map_or("hardware".to_owned(), |kind| format!("of kind `{kind}`"));
            Err(PortError::OtherKind { device: device(), kind })
        }
        Some(tun) if !tun.tap => Err(PortError::OtherKind {
            device: device(),
            kind: "a TUN device (IP packets, no Ethernet)".into(),
        }),
        Some(tun) if !tun.multi_queue => lacks("multi_queue"),
        Some(tun) if tun.queues > 0 => Err(PortError::Busy { device: device() }),
        Some(tun) if !tun.header => lacks("vnet_hdr"),
        Some(_) => Ok(()),
    }
}

fn attach(device: &str, exclusive: bool) -> Result<OwnedFd, PortError> {
    let driver = tun::open().map_err(|error| match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => PortError::TunMissing(error),
        Some(libc::EACCES | libc::EPERM) => PortError::TunPermission(error),
        _ => PortError::step(device, "open the TUN driver for")(error),
    })?;
    if !tun::is_capable(&driver).map_err(PortError::step(device, "ask the TUN driver about"))? {
        return Err(PortError::TunIncapable);
    }
    match tun::attach(&driver, device, exclusive) {
        Ok(()) => Ok(driver),
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
            Err(PortError::Busy { device: device.to_owned() })
        }
        Err(error) => Err(PortError::step(device, "attach to")(error)),
    }
}
