//! The TUN driver's calls (linux/if_tun.h), for TAP devices with virtio headers and several queues.
//!
//! One descriptor is one queue. The device belongs to the network namespace in which its first descriptor was
//! opened, and its descriptors hold that namespace.

use std::ffi::c_int;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::OFlags;
use rustix::ioctl::{Opcode, opcode};

use crate::port::Offloads;
use crate::wire::vnet_hdr::VnetHeader;

/// The driver's device.
pub const DEVICE: &str = "/dev/net/tun";

/// The longest device name in bytes (`IFNAMSIZ` of linux/if.h, less the final zero).
pub const NAME: usize = 15;

const IFF_TAP: u16 = 0x0002;
const IFF_MULTI_QUEUE: u16 = 0x0100;
const IFF_NO_PI: u16 = 0x1000;
const IFF_VNET_HDR: u16 = 0x4000;
const IFF_TUN_EXCL: u16 = 0x8000;

/// What the driver must know (`TUNGETFEATURES`).
const REQUIRED: u16 = IFF_TAP | IFF_MULTI_QUEUE | IFF_NO_PI | IFF_VNET_HDR;

const TUN_F_CSUM: usize = 0x01;
const TUN_F_TSO4: usize = 0x02;
const TUN_F_TSO6: usize = 0x04;
const TUN_F_TSO_ECN: usize = 0x08;
const TUN_F_USO4: usize = 0x20;
const TUN_F_USO6: usize = 0x40;
const TUN_F_UDP_TUNNEL_GSO: usize = 0x080;
const TUN_F_UDP_TUNNEL_GSO_CSUM: usize = 0x100;

const TUNSETIFF: Opcode = opcode::write::<c_int>(b'T', 202);
const TUNSETPERSIST: Opcode = opcode::write::<c_int>(b'T', 203);
const TUNSETOWNER: Opcode = opcode::write::<c_int>(b'T', 204);
const TUNSETGROUP: Opcode = opcode::write::<c_int>(b'T', 206);
const TUNGETFEATURES: Opcode = opcode::read::<c_int>(b'T', 207);
const TUNSETOFFLOAD: Opcode = opcode::write::<c_int>(b'T', 208);
const TUNGETIFF: Opcode = opcode::read::<c_int>(b'T', 210);
const TUNSETVNETHDRSZ: Opcode = opcode::write::<c_int>(b'T', 216);
const TUNSETVNETLE: Opcode = opcode::write::<c_int>(b'T', 220);
const TUNSETSTEERINGEBPF: Opcode = opcode::read::<c_int>(b'T', 224);

/// `struct ifreq` (linux/if.h) as the driver reads it.
#[repr(C)]
struct Request {
    name: [u8; NAME + 1],
    flags: u16,
    rest: [u8; 22],
}

impl Request {
    /// `None` when the name is empty, too long, or holds a zero.
    fn new(name: &str, flags: u16) -> Option<Self> {
        let usable = !name.is_empty() && name.len() <= NAME && !name.bytes().any(|byte| byte == 0);
        usable.then(|| {
            let mut request = Self { name: [0; NAME + 1], flags, rest: [0; 22] };
            request.name[..name.len()].copy_from_slice(name.as_bytes());
            request
        })
    }
}

/// Opens the driver: a descriptor that is no queue yet, bound to the calling thread's network namespace. It never
/// blocks.
///
/// # Errors
/// `ENOENT` without the device file, `EACCES` and `EPERM` without permission, `ENODEV` without the driver.
pub fn open() -> io::Result<OwnedFd> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlags::NONBLOCK.bits() as i32)
        .open(DEVICE)?;
    Ok(file.into())
}

/// Whether the kernel's driver knows all that the switch asks of a device.
///
/// # Errors
/// What the driver says.
pub fn is_capable(driver: impl AsFd) -> io::Result<bool> {
    let mut features: c_int = 0;
    // SAFETY: TUNGETFEATURES writes one int through the pointer.
    check(unsafe { libc::ioctl(raw(&driver), code(TUNGETFEATURES), &raw mut features) })?;
    Ok(features as u16 & REQUIRED == REQUIRED)
}

/// Makes `driver` a queue of the TAP device `name`, which is created unless it exists; `exclusive` demands that
/// it does not.
///
/// # Errors
/// `EINVAL` when the name is none, or the device is of another kind or without several queues; `EBUSY` when it
/// exists and must not, or another has it; `EPERM` without `CAP_NET_ADMIN` in the namespace.
pub fn attach(driver: impl AsFd, name: &str, exclusive: bool) -> io::Result<()> {
    let flags = REQUIRED | if exclusive { IFF_TUN_EXCL } else { 0 };
    let mut request = Request::new(name, flags).ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq`, whose size and layout `Request` has.
    check(unsafe { libc::ioctl(raw(&driver), code(TUNSETIFF), &raw mut request) })
}

/// What a queue carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Ethernet frames; else IP packets.
    pub tap: bool,
    /// A virtio header before each, and nothing else.
    pub header: bool,
}

/// The name of the device that a queue belongs to, and what it carries.
///
/// # Errors
/// `EBADFD` when the descriptor is no queue, or its device has disappeared; `ENOTTY` for most other files.
pub fn attached(queue: impl AsFd) -> io::Result<(String, Shape)> {
    let mut request = Request { name: [0; NAME + 1], flags: 0, rest: [0; 22] };
    // SAFETY: TUNGETIFF writes one `struct ifreq`, whose size and layout `Request` has.
    check(unsafe { libc::ioctl(raw(&queue), code(TUNGETIFF), &raw mut request) })?;
    let name = request.name.split(|byte| *byte == 0).next().unwrap_or_default();
    const HEADER: u16 = IFF_NO_PI | IFF_VNET_HDR;
    let shape = Shape { tap: request.flags & IFF_TAP != 0, header: request.flags & HEADER == HEADER };
    Ok((String::from_utf8_lossy(name).into_owned(), shape))
}

/// Sets the virtio header: 24 bytes, which every kernel takes, little-endian.
///
/// # Errors
/// What the driver says.
pub fn set_header(queue: impl AsFd) -> io::Result<()> {
    let length = VnetHeader::LENGTH as c_int;
    // SAFETY: TUNSETVNETHDRSZ reads one int through the pointer.
    check(unsafe { libc::ioctl(raw(&queue), code(TUNSETVNETHDRSZ), &raw const length) })?;
    let little_endian: c_int = 1;
    // SAFETY: TUNSETVNETLE reads one int through the pointer.
    check(unsafe { libc::ioctl(raw(&queue), code(TUNSETVNETLE), &raw const little_endian) })
}

/// Asks the kernel for unfinished frames, and gives those that it knows: checksums to fill in, TCP super-frames, UDP super-frames
/// (Linux 6.2), and both inside UDP tunnels (Linux 6.17). To be called after [`set_header`], which makes room for the last.
///
/// # Errors
/// What the driver says.
pub fn set_offload(queue: impl AsFd) -> io::Result<Offloads> {
    const TCP: usize = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
    const UDP: usize = TCP | TUN_F_USO4 | TUN_F_USO6;
    const TUNNEL: usize = UDP | TUN_F_UDP_TUNNEL_GSO | TUN_F_UDP_TUNNEL_GSO_CSUM;
    let offers = [
        (TUNNEL, Offloads::ALL),
        (UDP, Offloads { tunnel: false, ..Offloads::ALL }),
        (TCP, Offloads { tunnel: false, uso: false, ..Offloads::ALL }),
    ];
    let mut refusal = io::Error::from_raw_os_error(libc::EINVAL);
    for (flags, offloads) in offers {
        match set(&queue, IntegerRequest::Offload, flags) {
            Ok(()) => return Ok(offloads),
            Err(error) => refusal = error,
        }
        if refusal.raw_os_error() != Some(libc::EINVAL) {
            break;
        }
    }
    Err(refusal)
}

/// Has a program ([`super::steering`]) choose the queue of what comes in, for all queues of the device; without one, the kernel does.
///
/// # Errors
/// What the driver says (`EINVAL` before Linux 4.16).
pub fn set_steering(queue: impl AsFd, program: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let program = program.map_or(-1, |program| program.as_raw_fd());
    // SAFETY: TUNSETSTEERINGEBPF reads one int through the pointer.
    check(unsafe { libc::ioctl(raw(&queue), code(TUNSETSTEERINGEBPF), &raw const program) })
}

/// Whether the device outlives its queues.
///
/// # Errors
/// What the driver says.
pub fn set_persistent(queue: impl AsFd, persistent: bool) -> io::Result<()> {
    set(queue, IntegerRequest::Persist, usize::from(persistent))
}

/// Who may attach to the device without `CAP_NET_ADMIN`.
///
/// # Errors
/// `EINVAL` when the number is not mapped in the caller's user namespace.
pub fn set_owner(queue: impl AsFd, user: u32) -> io::Result<()> {
    set(queue, IntegerRequest::Owner, user as usize)
}

/// Which group may attach to the device without `CAP_NET_ADMIN`.
///
/// # Errors
/// `EINVAL` when the number is not mapped in the caller's user namespace.
pub fn set_group(queue: impl AsFd, group: u32) -> io::Result<()> {
    set(queue, IntegerRequest::Group, group as usize)
}

/// For the requests that take their argument as an integer.
fn set(queue: impl AsFd, request: IntegerRequest, value: usize) -> io::Result<()> {
    let opcode = match request {
        IntegerRequest::Persist => TUNSETPERSIST,
        IntegerRequest::Owner => TUNSETOWNER,
        IntegerRequest::Group => TUNSETGROUP,
        IntegerRequest::Offload => TUNSETOFFLOAD,
    };
    // SAFETY: these requests take their argument as an integer and touch no memory.
    check(unsafe { libc::ioctl(raw(&queue), code(opcode), value as libc::c_ulong) })
}

enum IntegerRequest {
    Persist,
    Owner,
    Group,
    Offload,
}

fn raw(descriptor: &impl AsFd) -> c_int {
    descriptor.as_fd().as_raw_fd()
}

/// The C libraries disagree on the type of a request's number.
fn code(opcode: Opcode) -> libc::Ioctl {
    opcode as libc::Ioctl
}

fn check(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
