//! Ethernet frames as Unix datagrams, as QEMU's `-netdev dgram` speaks them: a virtual machine without a TAP.
//!
//! The other side knows no virtio header, so every frame that comes is plain, and super-frames and unfinished checksums are
//! completed before they go ([`Offloads::NONE`]). Whoever may write to the socket speaks as the workload, so its file belongs to
//! the switch's user alone, or to the `owner` and `group` that the policy names.
//!
//! The remote path is looked up with every frame: the other side may come later, and come again. How many datagrams wait
//! there is its kernel's limit (`net.unix.max_dgram_qlen`); what it has no room for is undelivered. One recv(2) or sendto(2) a frame.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fchmod};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, bind, connect, recv, send,
    sendto, socket_with, sockopt,
};
use septum_rules::workload::PortSpec;

use super::error::PortError;
use super::{Offloads, PortGone, PortQueue, TransmitOutcome};
use crate::burst::{Burst, ETHERNET, Frames, SLOT};
use crate::drop_reason::UndeliveredReason;

/// Bytes that may wait on their way out, as the kernel accounts them.
const SOCKET_BUFFER: usize = 4 << 20;

/// A Unix datagram socket.
#[derive(Debug)]
pub struct DatagramQueue {
    socket: OwnedFd,
    /// Where frames go; `None` where the socket is connected.
    remote: Option<SocketAddrUnix>,
    refusal_told: bool,
}

impl DatagramQueue {
    /// A queue of a connected socket, one of a pair for example.
    pub fn connected(socket: OwnedFd) -> Self {
        Self { socket, remote: None, refusal_told: false }
    }

    /// The same socket by a descriptor of its own.
    ///
    /// # Errors
    /// When the process may open no more.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()?, remote: self.remote.clone(), refusal_told: false })
    }

    fn transmit_one(&mut self, frame: &[u8], outcome: &mut TransmitOutcome) {
        let ethernet = &frame[ETHERNET..];
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let sent = rustix::io::retry_on_intr(|| match &self.remote {
            Some(remote) => sendto(&self.socket, ethernet, flags, remote),
            None => send(&self.socket, ethernet, flags),
        });
        match sent {
            Ok(_) => outcome.sent(frame.len()),
            Err(error) => outcome.lost(self.undelivered(error)),
        }
    }

    fn undelivered(&mut self, error: Errno) -> UndeliveredReason {
        match error {
            Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM => UndeliveredReason::QueueFull,
            // Nobody is there, now.
            Errno::CONNREFUSED | Errno::NOENT | Errno::CONNRESET | Errno::NOTCONN | Errno::PIPE => {
                UndeliveredReason::PortDown
            }
            Errno::MSGSIZE => UndeliveredReason::PortTooBig,
            error => {
                if !std::mem::replace(&mut self.refusal_told, true) {
                    tracing::warn!(%error, "a socket refused a frame; further ones are only counted");
                }
                UndeliveredReason::DeviceRefused
            }
        }
    }
}

impl PortQueue for DatagramQueue {
    fn receive(&mut self, burst: &mut Burst) -> Result<usize, PortGone> {
        let before = burst.len();
        while burst.has_room() {
            let (header, frame) = burst.next_slot().split_at_mut(ETHERNET);
            match recv(&self.socket, frame, RecvFlags::DONTWAIT | RecvFlags::TRUNC) {
                Ok((_, length)) if length <= SLOT - ETHERNET => {
                    header.fill(0);
                    burst.commit(ETHERNET + length);
                }
                // Longer than any frame: lost.
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                // The other side has gone, and may come again.
                Err(Errno::CONNRESET | Errno::CONNREFUSED) => break,
                Err(_) if burst.len() > before => break,
                Err(error) => return Err(PortGone(error.into())),
            }
        }
        Ok(burst.len() - before)
    }

    fn transmit(&mut self, frames: Frames<'_>, outcome: &mut TransmitOutcome) {
        for frame in frames.iter() {
            self.transmit_one(frame, outcome);
        }
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }

    fn offloads(&self) -> Offloads {
        Offloads::NONE
    }
}

/// Makes the socket `spec.device`, whose frames go to `remote`.
pub(super) fn open(spec: &PortSpec, remote: &str) -> Result<(DatagramQueue, SocketFile), PortError> {
    let device = &*spec.device;
    let step = |step| PortError::step(device, step);
    let local = SocketAddrUnix::new(device).map_err(|error| step("name")(error.into()))?;
    let remote = SocketAddrUnix::new(remote).map_err(|error| step("name the other side of")(error.into()))?;
    let socket = socket().map_err(step("make"))?;
    // Before it has a name, and once more behind the process's mask.
    let mode = if spec.group.is_some() { 0o660 } else { 0o600 };
    fchmod(&socket, Mode::from_raw_mode(mode)).map_err(|error| step("set the mode of")(error.into()))?;
    let file =
        SocketFile::bind(&socket, &local, Path::new(device)).map_err(|error| match error.raw_os_error() {
            Some(libc::EADDRINUSE) => PortError::SocketInUse { path: device.to_owned() },
            _ => step("make")(error),
        })?;
    if spec.owner.is_some() || spec.group.is_some() {
        chown(device, spec.owner, spec.group).map_err(step("set the owner of"))?;
    }
    fs::set_permissions(device, Permissions::from_mode(mode)).map_err(step("set the mode of"))?;
    Ok((DatagramQueue { socket, remote: Some(remote), refusal_told: false }, file))
}

fn socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    // Granted up to `net.core.wmem_max`: less loses sooner.
    let _ = sockopt::set_socket_send_buffer_size(&socket, SOCKET_BUFFER);
    Ok(socket)
}

/// The name of a socket in the file system: removed when this is dropped, if it is still this socket's.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl SocketFile {
    /// Binds `socket` to `path`. A socket there that nobody has open any more is one that a killed process left behind, and gives way.
    fn bind(socket: &OwnedFd, address: &SocketAddrUnix, path: &Path) -> io::Result<Self> {
        match bind(socket, address) {
            Err(Errno::ADDRINUSE) if is_abandoned(address, path) => {
                fs::remove_file(path)?;
                bind(socket, address)?;
            }
            bound => bound?,
        }
        let identity = identity(path)?;
        Ok(Self { path: path.to_owned(), identity })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

fn is_abandoned(address: &SocketAddrUnix, path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    is_socket && socket().is_ok_and(|probe| connect(&probe, address) == Err(Errno::CONNREFUSED))
}
