//! Ports: where frames come from and go to.
//!
//! A port has one queue for each worker; a [`PortQueue`] is that queue, owned by that worker alone, so
//! receiving and transmitting take no lock. Frames carry their `virtio_net_hdr` on every kind of port; one
//! whose device knows none adds and removes it.

pub mod any;
pub mod datagram;
pub mod error;
mod inherited;
pub mod inside;
pub mod memory;
pub mod open;
pub mod packet;
mod shield;
pub mod tap;
pub mod veth;

use std::io;
use std::os::fd::BorrowedFd;

use crate::burst::{Burst, Frames};
use crate::drop_reason::UndeliveredReason;
use crate::sys::namespace::NetworkNamespace;
use crate::sys::netlink::Netlink;

pub use self::any::AnyQueue;
pub use self::error::PortError;
pub use self::inside::Inside;
pub use self::memory::MemoryQueue;
pub use self::open::{Device, Port, Substitute, close_all, open_all};

/// One worker's queue of one port.
pub trait PortQueue {
    /// Reads frames behind those already in `burst`, until it has no room or the device has no more. Never blocks.
    ///
    /// Worth a call about once a second even when the descriptor is not ready: a device behind AF_PACKET announces
    /// that it went down, and not that it was deleted then.
    ///
    /// # Errors
    /// [`PortGone`] when the device has disappeared; every later call says so too.
    fn receive(&mut self, burst: &mut Burst) -> Result<usize, PortGone>;

    /// Writes frames in order. Never blocks: what the device does not take now is undelivered. A frame whose
    /// offload the port lacks ([`PortQueue::offloads`]) is the caller's mistake.
    fn transmit(&mut self, frames: Frames<'_>, outcome: &mut TransmitOutcome);

    /// What a descriptor must be polled for; `None` for ports in memory, which are always ready.
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;

    /// What the far side takes unfinished.
    fn offloads(&self) -> Offloads;

    /// Parts with the burst that it was read into and written from: before it is closed, else its device stays open as long as the
    /// burst has its ring.
    fn leave(&mut self, _burst: &mut Burst) {}
}

/// The device behind a port has disappeared (deleted, or its namespace with it).
#[derive(Debug, thiserror::Error)]
#[error("the device has disappeared")]
pub struct PortGone(#[source] pub io::Error);

/// What became of the frames of a [`PortQueue::transmit`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransmitOutcome {
    /// Frames that the device took.
    pub transmitted: u64,
    /// Bytes of those, without virtio headers.
    pub bytes: u64,
    /// Frames that it did not take, by [`UndeliveredReason::index`].
    pub undelivered: [u64; UndeliveredReason::COUNT],
}

impl TransmitOutcome {
    /// Counts a frame of `length` bytes (virtio header included) that the device took.
    pub fn sent(&mut self, length: usize) {
        self.transmitted += 1;
        self.bytes += length.saturating_sub(crate::burst::ETHERNET) as u64;
    }

    /// Counts a frame that the device did not take.
    pub fn lost(&mut self, reason: UndeliveredReason) {
        self.undelivered[reason.index()] += 1;
    }
}

/// What a port's far side takes unfinished (linux/if_tun.h `TUN_F_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Frames whose transport checksum is still to be filled in.
    pub checksum: bool,
    /// TCP over IPv4 super-frames.
    pub tso4: bool,
    /// TCP over IPv6 super-frames.
    pub tso6: bool,
    /// UDP super-frames (`VIRTIO_NET_HDR_GSO_UDP_L4`), both families.
    pub uso: bool,
    /// Those super-frames that it takes, inside UDP tunnels too (Linux 6.17).
    pub tunnel: bool,
}

impl Offloads {
    /// Everything.
    pub const ALL: Self = Self { checksum: true, tso4: true, tso6: true, uso: true, tunnel: true };
    /// Nothing: every frame must be whole.
    pub const NONE: Self = Self { checksum: false, tso4: false, tso6: false, uso: false, tunnel: false };
}

/// A port's place in the switch, never reused for another port: the slot is, with the next generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId {
    /// Index into tables of ports.
    pub slot: u16,
    /// How many ports had this slot before.
    pub generation: u16,
}

/// A device that the switch made: deleted when this is dropped. Should the process die first, the kernel deletes
/// it with the last descriptor or namespace that it depends on.
#[derive(Debug)]
struct OwnedLink {
    netlink: Netlink,
    index: u32,
}

impl OwnedLink {
    /// Owns the device `index` of the namespace in which `netlink` was opened.
    fn new(netlink: Netlink, index: u32) -> Self {
        Self { netlink, index }
    }
}

impl Drop for OwnedLink {
    fn drop(&mut self) {
        // It may have gone already, with its queues or its namespace.
        let _ = self.netlink.delete_link(self.index);
    }
}

/// Runs `work` inside `namespace`; the caller stays where it is.
fn entered<T: Send>(
    namespace: &NetworkNamespace,
    work: impl FnOnce() -> Result<T, PortError> + Send,
) -> Result<T, PortError> {
    namespace.run(work)?
}
