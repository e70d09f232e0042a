//! A port that somebody else opened: a descriptor that the switch was started with, so that it needs no privileges of its own.
//!
//! It is a queue of a TAP device made with `IFF_VNET_HDR`, or a Unix datagram socket that is connected (one of a pair whose other
//! one a hypervisor has). The device's name, addresses and MTU are its maker's business.

use std::os::fd::OwnedFd;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::net::{AddressFamily, SocketType, sockopt};

use super::any::AnyQueue;
use super::datagram::DatagramQueue;
use super::error::PortError;
use super::open::Device;
use super::tap::TapQueue;
use crate::sys::{descriptor, tun};

/// The queue behind a descriptor, and what it is.
pub(super) fn open(number: i32) -> Result<(Device, AnyQueue), PortError> {
    let name = format!("fd:{number}");
    let step = |step| PortError::step(&name, step);
    let queue = descriptor::inherited(number).map_err(|_| PortError::NotInherited { number })?;
    if is_unix_datagram(&queue) {
        return Ok((Device::Datagram, AnyQueue::Datagram(DatagramQueue::connected(queue))));
    }
    let Ok((device, shape)) = tun::attached(&queue) else {
        return Err(PortError::OtherDescriptor { number });
    };
    if !shape.tap {
        let kind = "a TUN device (IP packets, no Ethernet)".to_owned();
        return Err(PortError::OtherKind { device, kind });
    }
    if !shape.header {
        return Err(PortError::OtherFlags { device, lacks: "vnet_hdr" });
    }
    let flags = fcntl_getfl(&queue).map_err(|error| step("look at")(error.into()))?;
    fcntl_setfl(&queue, flags | OFlags::NONBLOCK).map_err(|error| step("set up")(error.into()))?;
    tun::set_header(&queue).map_err(step("set the virtio header of"))?;
    let offloads = tun::set_offload(&queue).map_err(step("set the offloads of"))?;
    Ok((Device::Tap, AnyQueue::Tap(TapQueue::new(queue, offloads))))
}

fn is_unix_datagram(socket: &OwnedFd) -> bool {
    sockopt::socket_type(socket) == Ok(SocketType::DGRAM)
        && sockopt::socket_domain(socket) == Ok(AddressFamily::UNIX)
}
