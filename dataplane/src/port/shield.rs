//! The host's own stack kept from a device that the switch reads through AF_PACKET.
//!
//! A packet socket is a tap: without more, the stack receives every frame too, and a workload would reach the
//! host's listeners, or what the host forwards to, past guard and gates.

use super::error::PortError;
use crate::sys::netlink::{Link, Netlink};

/// Every frame that comes in through the device is discarded behind the packet sockets. Dropped, the device is as
/// before; after `kill -9` the host stays shielded, and the next shield takes over.
#[derive(Debug)]
pub(super) struct Shield {
    netlink: Netlink,
    index: u32,
    /// The device was down when the switch came: as such it is left, so the host never hears the workload.
    lower: bool,
}

impl Shield {
    /// Shields the host from `link`, in the namespace in which `netlink` was opened.
    pub(super) fn raise(mut netlink: Netlink, link: &Link) -> Result<Self, PortError> {
        let device = || link.name.clone();
        if link.master.is_some() {
            return Err(PortError::Enslaved { device: device() });
        }
        netlink.add_ingress_discard(link.index).map_err(|source| match source.raw_os_error() {
            Some(libc::EEXIST) => PortError::ForeignTrafficControl { device: device() },
            Some(libc::EPERM | libc::EACCES) => {
                PortError::Permission { device: device(), step: "shield the host from", source }
            }
            _ => PortError::Unshielded { device: device(), source },
        })?;
        Ok(Self { netlink, index: link.index, lower: !link.up })
    }

    /// The connection to the device's namespace.
    pub(super) fn netlink(&mut self) -> &mut Netlink {
        &mut self.netlink
    }
}

impl Drop for Shield {
    fn drop(&mut self) {
        // The device may have gone already.
        if self.lower && self.netlink.set_up(self.index, false).is_err() {
            return;
        }
        let _ = self.netlink.delete_ingress_discard(self.index);
    }
}
