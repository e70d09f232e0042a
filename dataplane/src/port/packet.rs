//! An existing device, read and written through AF_PACKET sockets (packet(7)): the end of a veth pair, or the TAP
//! whose descriptor a hypervisor holds.
//!
//! Super-frames and unfinished checksums pass as on a TAP. Several queues share the device's flows as those of a TAP do
//! ([`crate::sys::steering`]), or by the kernel's hash, which is the same for both directions. Limits: the kernel drops what comes while a socket's
//! buffer is full, without telling; frames of protocols whose super-frames have no virtio description (SCTP) are
//! lost, those of GRE and IP in IP refused (`offload-header`). Those inside UDP tunnels are told by what they carry
//! ([`tunnel::describe`]), and cut before they go. One recvmmsg(2) or sendmmsg(2) for up to 64 frames.
//!
//! The device is raised and gets the MTU. The stack on this side hears nothing of it while the port is open
//! ([`super::shield`]), and says nothing: ARP and IPv6 are switched off there and stay so. Nothing else of it is
//! configured, as the workload is on its far side.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::sockopt;
use septum_rules::workload::PortSpec;

use super::error::PortError;
use super::inside::set_mtu;
use super::shield::Shield;
use super::{Offloads, PortGone, PortQueue, TransmitOutcome};
use crate::burst::{Burst, Frames, SLOT};
use crate::drop_reason::UndeliveredReason;
use crate::sys::netlink::{Link, Netlink};
use crate::sys::packet::{self, Received};
use crate::sys::steering::{self, Hook};
use crate::sys::sysctl::{self, Family};
use crate::wire::tunnel;

/// Bytes of frames that may wait in one socket, as the kernel accounts them: some forty super-frames. Without
/// privileges the kernel grants less (`net.core.rmem_max`).
const SOCKET_BUFFER: usize = 8 << 20;

/// Frames that are asked for at the least: what is not there costs little to ask for, and a call that says so is saved.
const LEAST: usize = 4;

/// Frames that the kernel could not describe, skipped in one call of receive before it lets others work.
const SKIPPED: usize = 64;

/// One queue of a device behind AF_PACKET.
#[derive(Debug)]
pub struct PacketQueue {
    socket: OwnedFd,
    /// Nobody but this switch could set it down: down is gone.
    private: bool,
    /// The device has been down. The kernel says so once, and not again when the device goes: from then on an
    /// empty read asks whether it still exists.
    was_down: bool,
    refusal_told: bool,
    /// Frames to ask for at once: as many as came last time, and some more.
    appetite: usize,
}

impl PacketQueue {
    fn open(
        link: &Link,
        fanout: Option<Option<u16>>,
        private: bool,
    ) -> Result<(Self, Option<u16>), PortError> {
        let socket = Self::socket(link)?;
        let step = || PortError::step(&link.name, "share the frames of");
        let program = fanout.and_then(|_| steering::program(Hook::Fanout));
        let joined = fanout.map(|group| packet::join_fanout(socket.as_fd(), group, program)).transpose();
        let (socket, group) = match (joined, fanout) {
            (Ok(group), _) => (socket, group),
            // Another socket, as this one may be in a group already that waits for its program.
            (Err(error), Some(None)) if program.is_some() => {
                steering::give_up(Hook::Fanout, &error);
                let socket = Self::socket(link)?;
                let group = packet::join_fanout(socket.as_fd(), None, None).map_err(step())?;
                (socket, Some(group))
            }
            (Err(error), _) => return Err(step()(error)),
        };
        Ok((Self { socket, private, was_down: false, refusal_told: false, appetite: LEAST }, group))
    }

    /// A socket that hears all frames of the device.
    fn socket(link: &Link) -> Result<OwnedFd, PortError> {
        let step = |step| PortError::step(&link.name, step);
        let socket = packet::open().map_err(step("open a packet socket for"))?;
        packet::configure(socket.as_fd()).map_err(step("set up the packet socket of"))?;
        // Refused without privileges over the machine, granted up to a limit then: smaller buffers lose sooner.
        if sockopt::set_socket_recv_buffer_size_force(&socket, SOCKET_BUFFER).is_err() {
            let _ = sockopt::set_socket_recv_buffer_size(&socket, SOCKET_BUFFER);
        }
        if sockopt::set_socket_send_buffer_size_force(&socket, SOCKET_BUFFER).is_err() {
            let _ = sockopt::set_socket_send_buffer_size(&socket, SOCKET_BUFFER);
        }
        packet::set_promiscuous(socket.as_fd(), link.index).map_err(step("hear all frames of"))?;
        packet::bind(socket.as_fd(), link.index).map_err(step("bind a packet socket to"))?;
        Ok(socket)
    }

    fn is_gone(&self) -> bool {
        self.was_down && (self.private || !packet::is_bound(self.socket.as_fd()).unwrap_or(false))
    }

    fn undelivered(&mut self, error: &std::io::Error) -> UndeliveredReason {
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => UndeliveredReason::QueueFull,
            Some(libc::ENETDOWN | libc::ENXIO | libc::ENODEV) => {
                self.was_down = true;
                if self.is_gone() { UndeliveredReason::PortGone } else { UndeliveredReason::PortDown }
            }
            Some(libc::EMSGSIZE) => UndeliveredReason::PortTooBig,
            _ => {
                if !std::mem::replace(&mut self.refusal_told, true) {
                    tracing::warn!(%error, "a device refused a frame; further ones are only counted");
                }
                UndeliveredReason::DeviceRefused
            }
        }
    }
}

impl PortQueue for PacketQueue {
    fn receive(&mut self, burst: &mut Burst) -> Result<usize, PortGone> {
        let before = burst.len();
        let mut skipped = 0;
        let mut received = [Received::TooLong; packet::BATCH];
        while skipped < SKIPPED
            && let Some(room) = burst.room_for(self.appetite)
        {
            let first = burst.len();
            let wanted = &mut received[..room];
            match packet::receive_batch(&self.socket, burst.next_slots(room), SLOT, wanted) {
                Ok(count) => {
                    for (index, received) in received[..count].iter().enumerate() {
                        match received {
                            Received::Frame(length) => {
                                burst.commit_slot(first + index, *length);
                                tunnel::describe(burst.frame_mut(burst.len() - 1));
                            }
                            Received::TooLong => skipped += 1,
                        }
                    }
                    self.appetite = if count == room { room * 4 } else { count.max(LEAST) };
                    if count < room {
                        break;
                    }
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => break,
                    Some(libc::EINTR) => {}
                    Some(libc::EINVAL) => skipped += 1,
                    Some(libc::ENETDOWN) => self.was_down = true,
                    _ if burst.len() > before => break,
                    _ => return Err(PortGone(error)),
                },
            }
        }
        if burst.len() == before && self.is_gone() {
            return Err(PortGone(std::io::Error::from_raw_os_error(libc::ENODEV)));
        }
        Ok(burst.len() - before)
    }

    fn transmit(&mut self, frames: Frames<'_>, outcome: &mut TransmitOutcome) {
        let mut rest = frames.iter();
        while rest.len() > 0 {
            match packet::transmit_batch(&self.socket, rest.clone()) {
                Ok(taken) => rest.by_ref().take(taken).for_each(|frame| outcome.sent(frame.len())),
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                Err(error) => {
                    rest.next();
                    outcome.lost(self.undelivered(&error));
                }
            }
        }
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }

    fn offloads(&self) -> Offloads {
        // The kernel segments and fills in checksums where the device itself does not. Of tunnels its header here cannot tell.
        Offloads { tunnel: false, ..Offloads::ALL }
    }
}

/// Opens the queues of a device that exists, in the calling thread's namespace: keeps the host's stack from
/// it, sets its MTU and raises it. When a step fails, the shield is gone again.
pub(super) fn open(spec: &PortSpec, queues: usize) -> Result<(Vec<PacketQueue>, Shield), PortError> {
    let device = &*spec.device;
    let step = |step| PortError::step(device, step);
    let mut netlink = Netlink::open().map_err(step("look for"))?;
    let link = netlink.link(device).map_err(|error| match error.raw_os_error() {
        Some(libc::ENODEV) => PortError::Missing { device: device.to_owned() },
        _ => step("look for")(error),
    })?;
    let mut shield = Shield::raise(netlink, &link)?;
    silence(shield.netlink(), &link)?;
    set_mtu(shield.netlink(), &link, spec.mtu)?;
    shield.netlink().set_up(link.index, true).map_err(step("raise"))?;
    Ok((queues_of(&link, queues, false)?, shield))
}

/// The queues of a device that is up.
pub(super) fn queues_of(link: &Link, queues: usize, private: bool) -> Result<Vec<PacketQueue>, PortError> {
    let mut group = None;
    (0..queues.max(1))
        .map(|_| {
            let (queue, joined) = PacketQueue::open(link, (queues > 1).then_some(group), private)?;
            group = joined;
            Ok(queue)
        })
        .collect()
}

/// Keeps this side's own stack from asking anything on the device.
pub(super) fn silence(netlink: &mut Netlink, link: &Link) -> Result<(), PortError> {
    netlink.set_arp(link.index, false).map_err(PortError::step(&link.name, "silence"))?;
    // Either is enough; both are refused where there is no IPv6 at all.
    sysctl::set(Family::Ipv6, &link.name, "disable_ipv6", 1);
    let _ = netlink.set_no_link_local(link.index);
    Ok(())
}
