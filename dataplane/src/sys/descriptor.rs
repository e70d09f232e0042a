//! Descriptors that the process was started with (systemd's `LISTEN_FDS`, a hypervisor's `fd=`, a shell's `5<>`).
//!
//! Everything that this program opens is closed on `exec`; what outlived one is open without that flag. So the number of a
//! descriptor of our own is never taken for one that was handed to us.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// A copy of an inherited descriptor; that itself stays open, so that it can be had again.
///
/// # Errors
/// `EBADF` when the process was started with none of that number.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: takes a number and touches no memory; one that is no descriptor is refused.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags < 0 || flags & libc::FD_CLOEXEC != 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: as above. The third argument is the least number of the copy.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: made just now, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn what_is_our_own_is_not_inherited() {
        let own = std::fs::File::open("/proc/self/stat").expect("there is /proc");
        let refused = inherited(own.as_raw_fd()).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EBADF));
        assert!(inherited(i32::MAX).is_err());
        // Whatever runs tests hands over its standard error.
        assert!(inherited(2).is_ok());
    }
}
