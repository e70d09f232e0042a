//! A veth pair in place of a TAP, where the TUN driver may not be opened.
//!
//! One end has the device's name in the workload's namespace and is configured like a TAP. The other lies in an
//! anonymous namespace that this port alone holds, where no stack speaks, and is read through AF_PACKET
//! ([`super::packet`]). When the switch ends, that namespace ends, and with it both ends: even `kill -9` leaves
//! nothing. About 10 ms to make.

use std::os::fd::AsFd;

use septum_rules::workload::PortSpec;

use super::error::PortError;
use super::inside::{Inside, set_mtu};
use super::packet::{PacketQueue, queues_of, silence};
use super::{OwnedLink, entered};
use crate::sys::namespace::NetworkNamespace;
use crate::sys::netlink::Netlink;
use crate::sys::sysctl::{self, Family};

/// The name of the switch's end; nobody but the switch sees it.
const NEAR: &str = "septum";

/// Makes the pair. When a step fails, nothing is left of it.
pub(super) fn open(
    spec: &PortSpec,
    workload: &NetworkNamespace,
    inside: &Inside,
    queues: usize,
) -> Result<(Vec<PacketQueue>, OwnedLink), PortError> {
    let device = &*spec.device;
    let near = NetworkNamespace::anonymous()?;
    // The switch's end is raised first: a device that comes up without a carrier drops what is sent until the
    // kernel's link watcher, up to a second later, has seen the carrier.
    let (owned, queues) = entered(&near, || {
        let step = |step| PortError::step(device, step);
        sysctl::set(Family::Ipv6, "default", "disable_ipv6", 1);
        let mut netlink = Netlink::open().map_err(step("make"))?;
        netlink.add_veth(NEAR, device, Some(workload.as_fd())).map_err(|error| {
            match error.raw_os_error() {
                Some(libc::EEXIST) => PortError::Exists { device: device.to_owned() },
                _ => step("make")(error),
            }
        })?;
        let link = netlink.link(NEAR).map_err(step("find the other end of"))?;
        let mut owned = OwnedLink::new(netlink, link.index);
        silence(&mut owned.netlink, &link)?;
        set_mtu(&mut owned.netlink, &link, spec.mtu)?;
        owned.netlink.set_up(link.index, true).map_err(step("raise the other end of"))?;
        Ok((owned, queues_of(&link, queues, true)?))
    })?;
    entered(workload, || {
        let mut netlink = Netlink::open().map_err(PortError::step(device, "find"))?;
        let link = netlink.link(device).map_err(PortError::step(device, "find"))?;
        inside.configure(&mut netlink, &link, spec.mtu)
    })?;
    Ok((queues, owned))
}
