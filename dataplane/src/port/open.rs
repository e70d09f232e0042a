//! A port as the control side sees it: opened from its description, its queues handed to the workers, cleaned up
//! when dropped.

use std::sync::Arc;

use septum_rules::workload::{PortKind, PortSpec};

use super::any::AnyQueue;
use super::error::PortError;
use super::inside::Inside;
use super::memory::MemoryQueue;
use super::shield::Shield;
use super::{Offloads, OwnedLink, PortQueue, entered, packet, tap, veth};
use crate::sys::namespace::NetworkNamespace;
use crate::sys::tun;

/// One port. Dropping it removes what was made for it (unless it is to persist); queues that workers still hold
/// say [`super::PortGone`] then.
#[derive(Debug)]
pub struct Port {
    name: Arc<str>,
    device: Device,
    offloads: Offloads,
    queues: Vec<AnyQueue>,
    _made: Option<OwnedLink>,
    _shield: Option<Shield>,
}

/// What a port turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// A TAP device.
    Tap,
    /// A veth pair in its place, because the TUN driver may not be opened.
    Veth,
    /// An existing device behind AF_PACKET.
    Packet,
    /// Nothing but memory.
    Memory,
}

/// Whether a veth pair serves `tap = "NAME"`. It can where the workload is in a namespace and the switch
/// configures the device; then the workload sees no difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Substitute {
    /// No: a TUN driver that may not be opened is an error.
    Never,
    /// Where the TUN driver may not be opened.
    IfNeeded,
    /// Wherever it can.
    Always,
}

impl Port {
    /// Opens the port with as many queues as there are workers, and configures the workload's side where the
    /// description says so. When a step fails, nothing that was made is left behind.
    ///
    /// # Errors
    /// Which step failed and why; [`PortError::fix`] says what to do.
    pub fn open(
        spec: &PortSpec,
        inside: &Inside,
        queues: usize,
        substitute: Substitute,
    ) -> Result<Self, PortError> {
        let namespace = match &spec.namespace {
            Some(namespace) => NetworkNamespace::open(namespace)?,
            None => NetworkNamespace::current()?,
        };
        Self::open_in(spec, &namespace, inside, queues, substitute)
    }

    /// The same in a namespace that the caller holds, whatever the description names (an anonymous one has no name).
    ///
    /// # Errors
    /// As [`Port::open`].
    pub fn open_in(
        spec: &PortSpec,
        namespace: &NetworkNamespace,
        inside: &Inside,
        queues: usize,
        substitute: Substitute,
    ) -> Result<Self, PortError> {
        if !is_device_name(&spec.device) {
            return Err(PortError::Name { device: spec.device.to_string() });
        }
        let of_packet = |queues: Vec<_>| queues.into_iter().map(AnyQueue::Packet).collect();
        let as_veth = || -> Result<_, PortError> {
            let (queues, made) = veth::open(spec, namespace, inside, queues)?;
            Ok((Device::Veth, of_packet(queues), Some(made)))
        };
        let substitute =
            if spec.configure && spec.namespace.is_some() { substitute } else { Substitute::Never };
        let (device, queues, made) = match (spec.kind, substitute) {
            (PortKind::Packet, _) => {
                let (queues, shield) = entered(namespace, || packet::open(spec, queues))?;
                let port = Self::of(Arc::clone(&spec.device), Device::Packet, of_packet(queues), None);
                return Ok(Self { _shield: Some(shield), ..port });
            }
            (PortKind::Tap, Substitute::Always) => as_veth()?,
            (PortKind::Tap, _) => match entered(namespace, || tap::open(spec, inside, queues)) {
                Ok((queues, made)) => (Device::Tap, queues.into_iter().map(AnyQueue::Tap).collect(), made),
                Err(PortError::TunPermission(_) | PortError::TunMissing(_))
                    if substitute == Substitute::IfNeeded =>
                {
                    as_veth()?
                }
                Err(error) => return Err(error),
            },
        };
        Ok(Self::of(Arc::clone(&spec.device), device, queues, made))
    }

    /// A port whose queues are in this process.
    pub fn memory(name: Arc<str>, queues: Vec<MemoryQueue>) -> Self {
        Self::of(name, Device::Memory, queues.into_iter().map(AnyQueue::Memory).collect(), None)
    }

    fn of(name: Arc<str>, device: Device, queues: Vec<AnyQueue>, made: Option<OwnedLink>) -> Self {
        let offloads = queues.first().map_or(Offloads::NONE, PortQueue::offloads);
        Self { name, device, offloads, queues, _made: made, _shield: None }
    }

    /// The name of its device.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What it turned out to be.
    pub fn device(&self) -> Device {
        self.device
    }

    /// What its far side takes unfinished.
    pub fn offloads(&self) -> Offloads {
        self.offloads
    }

    /// Hands out the queues, one a worker; later calls have none left.
    pub fn take_queues(&mut self) -> Vec<AnyQueue> {
        std::mem::take(&mut self.queues)
    }
}

/// What the kernel takes as a device's name, less `%`, which it would fill in with a number.
fn is_device_name(name: &str) -> bool {
    let forbidden = |byte: u8| matches!(byte, b'/' | b':' | b'%') || byte.is_ascii_whitespace() || byte == 0;
    (1..=tun::NAME).contains(&name.len()) && name != "." && name != ".." && !name.bytes().any(forbidden)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names_are_those_of_the_kernel() {
        assert!(is_device_name("tap-web1") && is_device_name("fifteen-bytes-x"));
        for name in ["", ".", "..", "a/b", "a:b", "a b", "tap%d", "sixteen-bytes-xx"] {
            assert!(!is_device_name(name), "{name}");
        }
    }
}
