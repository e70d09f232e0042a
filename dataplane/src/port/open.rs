//! A port as the control side sees it: opened from its description, its queues handed to the workers, cleaned up
//! when dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use septum_rules::workload::{PortKind, PortSpec};

use super::any::{AnyQueue, SendOnly};
use super::datagram::{self, SocketFile};
use super::error::PortError;
use super::inside::Inside;
use super::memory::MemoryQueue;
use super::shield::Shield;
use super::{Offloads, OwnedLink, PortQueue, entered, inherited, packet, tap, veth};
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
    _socket: Option<SocketFile>,
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
    /// A Unix datagram socket.
    Datagram,
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
        let name = Arc::clone(&spec.device);
        match &spec.kind {
            PortKind::Tap | PortKind::Packet if !is_device_name(&name) => {
                Err(PortError::Name { device: name.to_string() })
            }
            PortKind::Tap => Self::open_tap(spec, namespace, inside, queues, substitute),
            PortKind::Packet => {
                let (queues, shield) = entered(namespace, || packet::open(spec, queues))?;
                let port = Self::of(name, Device::Packet, of_packet(queues));
                Ok(Self { _shield: Some(shield), ..port })
            }
            PortKind::Datagram { remote } => {
                let (first, file) = datagram::open(spec, remote)?;
                let queues = of_one(AnyQueue::Datagram(first), queues, &name)?;
                Ok(Self { _socket: Some(file), ..Self::of(name, Device::Datagram, queues) })
            }
            PortKind::Inherited { descriptor } => {
                let (device, first) = inherited::open(*descriptor)?;
                let queues = of_one(first, queues, &name)?;
                Ok(Self::of(name, device, queues))
            }
        }
    }

    fn open_tap(
        spec: &PortSpec,
        namespace: &NetworkNamespace,
        inside: &Inside,
        queues: usize,
        substitute: Substitute,
    ) -> Result<Self, PortError> {
        let name = Arc::clone(&spec.device);
        let as_veth = || {
            let (queues, made) = veth::open(spec, namespace, inside, queues)?;
            let port = Self::of(Arc::clone(&name), Device::Veth, of_packet(queues));
            Ok(Self { _made: Some(made), ..port })
        };
        let substitute =
            if spec.configure && spec.namespace.is_some() { substitute } else { Substitute::Never };
        if substitute == Substitute::Always {
            return as_veth();
        }
        match entered(namespace, || tap::open(spec, inside, queues)) {
            Ok((queues, made)) => {
                let queues = queues.into_iter().map(AnyQueue::Tap).collect();
                Ok(Self { _made: made, ..Self::of(name, Device::Tap, queues) })
            }
            Err(PortError::TunPermission(_) | PortError::TunMissing(_))
                if substitute == Substitute::IfNeeded =>
            {
                as_veth()
            }
            Err(error) => Err(error),
        }
    }

    /// A port whose queues are in this process.
    pub fn memory(name: Arc<str>, queues: Vec<MemoryQueue>) -> Self {
        Self::of(name, Device::Memory, queues.into_iter().map(AnyQueue::Memory).collect())
    }

    fn of(name: Arc<str>, device: Device, queues: Vec<AnyQueue>) -> Self {
        let offloads = queues.first().map_or(Offloads::NONE, PortQueue::offloads);
        Self { name, device, offloads, queues, _made: None, _shield: None, _socket: None }
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

/// Opens the ports of all `items`, some at once: the kernel is waited for longer than it works. Gives them in order.
///
/// # Errors
/// What `open` said of the first that cannot be opened; then none is left open.
pub fn open_all<T: Sync, E: Send>(
    items: &[T],
    open: impl Fn(&T) -> Result<Port, E> + Sync,
) -> Result<Vec<Port>, E> {
    const AT_ONCE: usize = 8;
    let next = AtomicUsize::new(0);
    let some = || {
        let mut tried = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { return tried };
            // Those before it are in other hands already, so the first failure of all is among what is tried.
            let result = open(item).inspect_err(|_| next.store(items.len(), Ordering::Relaxed));
            tried.push((at, result));
        }
    };
    let mut tried: Vec<_> = thread::scope(|scope| {
        // All of them are started before the first is waited for.
        let threads: Vec<_> = (1..AT_ONCE.min(items.len())).map(|_| scope.spawn(some)).collect();
        let own = some();
        let others = threads.into_iter().map(|thread| match thread.join() {
            Ok(tried) => tried,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        others.chain([own]).flatten().collect()
    });
    tried.sort_unstable_by_key(|(at, _)| *at);
    tried.into_iter().map(|(_, result)| result).collect()
}

/// Closes many queues or ports. The kernel waits tens of milliseconds over each device that goes with one, and takes many at
/// once.
pub fn close_all<T: Send>(mut closing: Vec<T>) {
    const AT_ONCE: usize = 16;
    let share = closing.len().div_ceil(AT_ONCE);
    thread::scope(|scope| {
        while !closing.is_empty() {
            let some = closing.split_off(closing.len().saturating_sub(share));
            // Refused a thread, they are closed here.
            let _ = thread::Builder::new().spawn_scoped(scope, move || drop(some));
        }
    });
}

fn of_packet(queues: Vec<packet::PacketQueue>) -> Vec<AnyQueue> {
    queues.into_iter().map(AnyQueue::Packet).collect()
}

/// Queues for all workers from the only one that a device has: one of them reads it, all write. Ports take turns in who
/// that is.
fn of_one(first: AnyQueue, queues: usize, device: &str) -> Result<Vec<AnyQueue>, PortError> {
    static NEXT_READER: AtomicUsize = AtomicUsize::new(0);
    let queues = queues.max(1);
    let reader = NEXT_READER.fetch_add(1, Ordering::Relaxed) % queues;
    let step = PortError::step(device, "share");
    let writers = (1..queues).map(|_| Ok(AnyQueue::SendOnly(Box::new(SendOnly::beside(&first)?))));
    let mut all = writers.collect::<std::io::Result<Vec<_>>>().map_err(step)?;
    all.insert(reader, first);
    Ok(all)
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
