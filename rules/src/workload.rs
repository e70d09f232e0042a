//! Workloads: the named endpoints that policies speak of.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::identity::SegmentId;
use crate::mac::MacAddress;
use crate::segment::Labels;
use crate::source::Span;

/// A named endpoint at one location.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Its name, unique among workloads.
    pub name: Arc<str>,
    /// Its segment.
    pub segment: SegmentId,
    /// Its Ethernet address; an imported workload may lack one.
    pub mac: Option<MacAddress>,
    /// Its declared addresses, unique in the domain. The guard admits these as sources, and no others.
    pub addresses: Vec<IpAddr>,
    /// All its labels: inherited, its own, and the automatic `segment=` and `name=`.
    pub labels: Labels,
    /// Reachable from, and reaching, isolated members of its segment, as the rules say.
    pub promiscuous: bool,
    /// Which gates admit by default.
    pub open: OpenGates,
    /// Whether its gates record what they would refuse instead of refusing (its own, its segment's or the policy's mode).
    pub audit: bool,
    /// Where its frames come from; an imported workload may have none.
    pub port: Option<PortSpec>,
    /// Token buckets.
    pub limits: Limits,
    /// Where it is declared.
    pub span: Span,
}

/// Which gates of a workload admit when no rule decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpenGates {
    /// `open = ["ingress"]`
    pub ingress: bool,
    /// `open = ["egress"]`
    pub egress: bool,
}

/// Rate limits of one workload; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Packets per second that it may send.
    pub packets_per_s: Option<u64>,
    /// Bytes per second that it may send.
    pub bytes_per_s: Option<u64>,
    /// Connections per second that it may open.
    pub new_connections_per_s: Option<u64>,
}

/// The device through which a workload is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSpec {
    /// Which kind of device.
    pub kind: PortKind,
    /// The device's name (at most 15 bytes, `IFNAMSIZ` of linux/if.h); of a socket its own path, of a descriptor `fd:N`.
    pub device: Arc<str>,
    /// The network namespace that the device lives in; `None` is the switch's own.
    pub namespace: Option<Namespace>,
    /// Whether the switch gives the device its address, MAC, routes and sets it up. The default: yes in a
    /// namespace, no beside the switch, where another (a VM, a script) will take the device.
    pub configure: bool,
    /// The device stays when the switch ends (`TUNSETPERSIST`).
    pub persistent: bool,
    /// User id that may open the device (`TUNSETOWNER`).
    pub owner: Option<u32>,
    /// Group id that may open the device (`TUNSETGROUP`).
    pub group: Option<u32>,
    /// Layer-3 MTU in bytes; the segment's unless the workload says otherwise.
    pub mtu: u16,
    /// The 802.1Q id of the workload's frames, where the device is a trunk that carries several workloads.
    pub trunk: Option<u16>,
    /// Where the device is named.
    pub span: Span,
}

impl PortSpec {
    /// Whether both describe the same device, set up alike; where they are written does not matter.
    pub fn is_same_device(&self, other: &Self) -> bool {
        let nowhere = Span::default();
        Self { span: nowhere, ..self.clone() } == Self { span: nowhere, ..other.clone() }
    }
}

/// The kinds of device that a policy may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortKind {
    /// `tap = "NAME"`: a TAP device whose file descriptor the switch holds; created unless it exists.
    Tap,
    /// `packet = "NAME"`: an existing device, read and written through an AF_PACKET socket.
    Packet,
    /// `dgram = { local = "PATH", remote = "PATH" }`: a Unix datagram socket, each datagram an Ethernet frame, as QEMU's
    /// `-netdev dgram` has it.
    Datagram {
        /// Where the other side's socket is.
        remote: Arc<str>,
    },
    /// `fd = N`: a queue of a TAP device, or a Unix datagram socket, that the process was started with.
    Inherited {
        /// Its number.
        descriptor: i32,
    },
}

/// How a policy names a network namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Namespace {
    /// A name under `/run/netns` (ip-netns(8)).
    Name(Arc<str>),
    /// A path to a namespace file.
    Path(PathBuf),
    /// The network namespace of a process.
    Process(u32),
}

impl Workload {
    /// Every address under which the directory knows it: the declared ones, and the link-local address made from its MAC.
    pub fn all_addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let link_local = self.mac.map(|mac| IpAddr::V6(mac.link_local()));
        let undeclared = link_local.filter(|address| !self.addresses.contains(address));
        self.addresses.iter().copied().chain(undeclared)
    }
}
