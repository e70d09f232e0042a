//! Waiting for signals and passing them on (signal(7), sigwaitinfo(2), sigqueue(3)).
//!
//! For the two small processes around a [`super::sandbox`]; the switch itself takes its signals through
//! `signal-hook`. A [`Blocked`] set holds the signals back from their handlers until it is waited for.

use std::io;
use std::mem::MaybeUninit;

use rustix::process::Pid;

/// Signals that the calling thread holds back, to take them with [`Blocked::wait`]. Dropping it restores what
/// was held back before.
#[derive(Debug)]
pub struct Blocked {
    set: Set,
    before: Set,
}

/// A signal that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Its number (`SIGINT` ...).
    pub signal: i32,
    /// Where it came from.
    pub origin: Origin,
}

/// Who sent a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The kernel, as when a key is pressed in the terminal: the whole foreground process group has it.
    Kernel,
    /// [`queue`]: passed on by a process that knows what it does.
    Queued,
    /// Another process.
    Process,
}

impl Blocked {
    /// Holds `signals` back.
    ///
    /// # Errors
    /// When a number is no signal.
    pub fn new(signals: &[i32]) -> io::Result<Self> {
        let set = Set::of(signals)?;
        let before = set.mask(libc::SIG_BLOCK)?;
        Ok(Self { set, before })
    }

    /// Waits for the next one.
    ///
    /// # Errors
    /// What sigwaitinfo(2) says, interruptions excepted.
    pub fn wait(&self) -> io::Result<Arrived> {
        loop {
            let mut info = MaybeUninit::<libc::siginfo_t>::uninit();
            // SAFETY: both pointers are valid for the call; the kernel fills `info` when it returns a signal.
            let signal = unsafe { libc::sigwaitinfo(&self.set.0, info.as_mut_ptr()) };
            if signal < 0 {
                match io::Error::last_os_error() {
                    error if error.kind() == io::ErrorKind::Interrupted => continue,
                    error => return Err(error),
                }
            }
            // SAFETY: sigwaitinfo returned a signal, so it filled the structure.
            let info = unsafe { info.assume_init() };
            let origin = match info.si_code {
                libc::SI_KERNEL => Origin::Kernel,
                libc::SI_QUEUE => Origin::Queued,
                _ => Origin::Process,
            };
            return Ok(Arrived { signal, origin });
        }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // It was in force before, so it is a valid mask.
        let _ = self.before.mask(libc::SIG_SETMASK);
    }
}

/// Sends `signal` to `process`, marked as passed on ([`Origin::Queued`]).
///
/// # Errors
/// When there is no such process, or it may not be signalled.
pub fn queue(process: Pid, signal: i32) -> io::Result<()> {
    let value = libc::sigval { sival_ptr: std::ptr::null_mut() };
    // SAFETY: no memory is handed over; the value is an integer to the receiver.
    check(unsafe { libc::sigqueue(process.as_raw_nonzero().get(), signal, value) })
}

/// Makes the exit of children known to this process, whatever its parent had set: an inherited "ignore" would
/// have the kernel throw their exit status away.
///
/// # Errors
/// None that the manual knows of.
pub fn notice_children() -> io::Result<()> {
    // SAFETY: the default disposition runs no code of this process.
    let before = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    if before == libc::SIG_ERR { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[derive(Clone, Copy)]
struct Set(libc::sigset_t);

impl std::fmt::Debug for Set {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Set")
    }
}

impl Set {
    fn of(signals: &[i32]) -> io::Result<Self> {
        let mut set = MaybeUninit::uninit();
        // SAFETY: the pointer is valid; sigemptyset fills the set.
        check(unsafe { libc::sigemptyset(set.as_mut_ptr()) })?;
        // SAFETY: filled just now.
        let mut set = unsafe { set.assume_init() };
        for signal in signals {
            // SAFETY: the pointer is valid and the set is initialised.
            check(unsafe { libc::sigaddset(&mut set, *signal) })?;
        }
        Ok(Self(set))
    }

    /// Changes the calling thread's mask; gives what it was.
    fn mask(&self, how: i32) -> io::Result<Self> {
        let mut before = MaybeUninit::uninit();
        // SAFETY: both pointers are valid; the old mask is filled in on success.
        match unsafe { libc::pthread_sigmask(how, &self.0, before.as_mut_ptr()) } {
            // SAFETY: filled, as the call succeeded.
            0 => Ok(Self(unsafe { before.assume_init() })),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
