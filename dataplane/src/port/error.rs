//! Why a port could not be opened, and what to do about it.

use std::io;

use crate::sys::namespace::NamespaceError;
use crate::sys::tun;

/// Why a port could not be opened. Which workload's it is, and where the file says so, the caller knows.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// Its network namespace.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// The name cannot be a device's.
    #[error("`{device}` cannot be the name of a device")]
    Name {
        /// The device.
        device: String,
    },
    /// The TUN driver's device file is not there, or no driver behind it.
    #[error("{} is not there", tun::DEVICE)]
    TunMissing(#[source] io::Error),
    /// The TUN driver's device file may not be opened.
    #[error("{} may not be opened", tun::DEVICE)]
    TunPermission(#[source] io::Error),
    /// The kernel's TUN driver is too old.
    #[error("the kernel's TUN driver lacks TAP devices with several queues and virtio headers")]
    TunIncapable,
    /// The device may not be made, taken or changed.
    #[error("not permitted to {step} `{device}`")]
    Permission {
        /// The device.
        device: String,
        /// What was tried.
        step: &'static str,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// There is no such device, and this kind of port makes none.
    #[error("there is no device `{device}`")]
    Missing {
        /// The device.
        device: String,
    },
    /// There is a device of this name that is no TAP.
    #[error("the device `{device}` exists and is {kind}, not a TAP device")]
    OtherKind {
        /// The device.
        device: String,
        /// What it is.
        kind: String,
    },
    /// There is a TAP of this name, made with other flags.
    #[error("the TAP device `{device}` exists and was made without {lacks}")]
    OtherFlags {
        /// The device.
        device: String,
        /// What it lacks, as ip-tuntap(8) calls it.
        lacks: &'static str,
    },
    /// The device exists, and another process holds its queues.
    #[error("the device `{device}` is held by another process")]
    Busy {
        /// The device.
        device: String,
    },
    /// A socket of that path is somebody's, or the path is another file's.
    #[error("`{path}` exists already")]
    SocketInUse {
        /// The path.
        path: String,
    },
    /// The process was not started with that descriptor.
    #[error("the switch was not started with a descriptor {number}")]
    NotInherited {
        /// Its number.
        number: i32,
    },
    /// The descriptor is of no kind that can be a port.
    #[error("the descriptor {number} is neither a TAP device's queue nor a Unix datagram socket")]
    OtherDescriptor {
        /// Its number.
        number: i32,
    },
    /// A device of this name exists where one is to be made.
    #[error("a device `{device}` exists already")]
    Exists {
        /// The device.
        device: String,
    },
    /// The device belongs to a bridge, a bond or a VRF device.
    #[error(
        "the device `{device}` belongs to a bridge, a bond or a VRF, which would take its frames past the switch"
    )]
    Enslaved {
        /// The device.
        device: String,
    },
    /// Somebody else's traffic control is on the device.
    #[error(
        "the device `{device}` has traffic control of its own on ingress, so the host cannot be kept from its frames"
    )]
    ForeignTrafficControl {
        /// The device.
        device: String,
    },
    /// The kernel cannot keep the host's stack from the device's frames.
    #[error("the kernel cannot keep the host from the frames of `{device}`")]
    Unshielded {
        /// The device.
        device: String,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// Another step failed.
    #[error("cannot {step} `{device}`")]
    Step {
        /// The device.
        device: String,
        /// What was tried.
        step: &'static str,
        /// The reason.
        #[source]
        source: io::Error,
    },
}

impl PortError {
    /// What to do about it.
    pub fn fix(&self) -> String {
        match self {
            Self::Namespace(NamespaceError::Missing { path }) => match path.file_name() {
                Some(name) if path.starts_with(crate::sys::namespace::NAMED) => {
                    format!("make it first: `ip netns add {}`", name.display())
                }
                _ => "give the path of a namespace that exists, as /proc/PID/ns/net".to_owned(),
            },
            Self::Namespace(NamespaceError::OtherKind { .. }) => {
                "give a network namespace: a name of `ip netns`, or a path as /proc/PID/ns/net".to_owned()
            }
            Self::Namespace(_) => "run as root, or inside a user namespace that owns it".to_owned(),
            Self::Name { .. } => {
                format!("use 1 to {} bytes without `/`, `:` or blanks, neither `.` nor `..`", tun::NAME)
            }
            Self::TunMissing(_) => {
                "load the driver (`modprobe tun`); in a container pass the device: `--device /dev/net/tun`".to_owned()
            }
            Self::TunPermission(_) => {
                "run as root, or let this user open it: `chmod 0666 /dev/net/tun` as root (the driver checks \
                 CAP_NET_ADMIN by itself)"
                    .to_owned()
            }
            Self::TunIncapable => "use Linux 4.20 or newer".to_owned(),
            Self::Permission { device, .. } => format!(
                "run as root or with CAP_NET_ADMIN and CAP_NET_RAW, or make the device beforehand for this user: \
                 `ip tuntap add {device} mode tap user USER multi_queue vnet_hdr`"
            ),
            Self::Missing { .. } => "start what makes it first, or name a device that exists".to_owned(),
            Self::OtherKind { .. } | Self::Exists { .. } => {
                "choose another name, or delete that device".to_owned()
            }
            Self::OtherFlags { device, .. } => format!(
                "make it anew: `ip tuntap del {device} mode tap`, then \
                 `ip tuntap add {device} mode tap multi_queue vnet_hdr`, or let the switch make it"
            ),
            Self::Busy { .. } => {
                "end the process that holds it; a VM whose hypervisor holds the TAP is joined with `packet = NAME`"
                    .to_owned()
            }
            Self::SocketInUse { .. } => {
                "end the process whose socket it is, or name a path where nothing is".to_owned()
            }
            Self::NotInherited { number } => {
                format!("have what starts the switch hand it over, open under that number (`... {number}<>FILE` in a shell)")
            }
            Self::OtherDescriptor { .. } => {
                "hand over a TAP queue made with IFF_TAP, IFF_NO_PI and IFF_VNET_HDR, or one end of a \
                 socketpair(AF_UNIX, SOCK_DGRAM)"
                    .to_owned()
            }
            Self::Enslaved { device } => format!("take it out: `ip link set {device} nomaster`"),
            Self::ForeignTrafficControl { device } => format!(
                "look at it (`tc filter show dev {device} ingress`), and delete it: `tc qdisc del dev {device} clsact`, \
                 or `ingress` where it is one"
            ),
            Self::Unshielded { .. } => {
                "use a kernel with CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF (modules `sch_ingress`, `cls_bpf`)"
                    .to_owned()
            }
            Self::Step { source, .. } => match source.raw_os_error() {
                Some(libc::EMFILE | libc::ENFILE) => "raise the limit of open files: `ulimit -n`",
                Some(libc::EOPNOTSUPP | libc::EAFNOSUPPORT) => {
                    "the kernel lacks this; IPv6 may be switched off (`sysctl net.ipv6.conf.all.disable_ipv6`)"
                }
                Some(libc::EADDRNOTAVAIL) => "give an address that one station may have, not a group's",
                Some(libc::E2BIG) => "run fewer workers: a device has at most 256 queues",
                Some(libc::EINVAL | libc::ERANGE) => "give a value that the device can take",
                _ => "the kernel refused it; its log (`dmesg`) may say why",
            }
            .to_owned(),
        }
    }

    /// Whether the policy's text is at fault, rather than the machine that it is run on.
    pub fn is_bad_input(&self) -> bool {
        matches!(self, Self::Name { .. })
    }

    /// For `map_err`: a step on a device failed.
    pub(super) fn step(device: &str, step: &'static str) -> impl FnOnce(io::Error) -> Self {
        let device = device.to_owned();
        move |source| match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::Permission { device, step, source },
            _ => Self::Step { device, step, source },
        }
    }
}
