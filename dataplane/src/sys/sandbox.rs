//! A process tree of its own: namespaces that vanish with it, whatever happens.
//!
//! [`run`] forks into new network, process and mount namespaces (namespaces(7)), and into a new user namespace
//! where the caller may not have the others without one; there it is root, and outside it stays who it was.
//! Nothing is created under `/run/netns`, and no file is written.
//!
//! ```text
//! caller     waits, passes signals on, returns the exit status
//!   init     process 1 inside: passes signals on, reaps; killed by the kernel when the caller dies
//!     main   runs the closure, may start threads and processes
//! ```
//!
//! When init ends, so does every process inside (pid_namespaces(7)), and with the last of them the network
//! namespace and its devices: after `kill -9` of the caller nothing is left.
//!
//! Signals: the three share a process group, so what the terminal sends reaches `main` by itself; what another
//! process sends to the caller is passed on. Cost: two processes more, and about 10 ms.

use std::ffi::CStr;
use std::fs::{read_dir, write};
use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getegid, geteuid};

use super::netlink::Netlink;
use super::signal::{self, Blocked, Origin};

/// What [`run`] passes on to the process inside.
const PASSED_ON: [i32; 6] =
    [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2];

/// The exit status of a closure that panicked, as Rust's own.
const PANICKED: u8 = 101;

/// Why no sandbox could be made.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A fork copies only the thread that calls it; what the others held would stay held for ever.
    #[error("a sandbox can be entered only by a process with one thread; this one has {0}")]
    Threads(usize),
    /// The namespaces are refused.
    #[error("cannot make namespaces for a process tree of its own")]
    Namespaces(#[source] io::Error),
    /// They were made, but could not be furnished.
    #[error("cannot {step} inside the new namespaces")]
    Furnish {
        /// What was tried.
        step: &'static str,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// A system call around the processes failed.
    #[error("cannot start or await the sandbox's processes")]
    Process(#[from] io::Error),
}

impl SandboxError {
    /// What to do about it.
    pub fn fix(&self) -> &'static str {
        match self {
            Self::Threads(_) => "enter the sandbox before anything starts a thread",
            Self::Namespaces(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                "the limit of user namespaces is reached: raise `sysctl user.max_user_namespaces`, or run as root"
            }
            Self::Namespaces(_) | Self::Furnish { .. } => {
                "allow unprivileged user namespaces (`sysctl kernel.unprivileged_userns_clone=1`, on Ubuntu \
                 `kernel.apparmor_restrict_unprivileged_userns=0`, in a container `--privileged` or \
                 `--cap-add SYS_ADMIN --security-opt seccomp=unconfined`), or run as root"
            }
            Self::Process(_) => "check the limits of processes and descriptors (`ulimit -a`)",
        }
    }
}

/// Runs `main` in a process tree of its own and waits until every process in it is gone. Gives its exit status:
/// what `main` returned, 101 after a panic, 128 and the number after a signal.
///
/// Inside, `main` is root over the new namespaces: the loopback device is up, devices and further namespaces can
/// be made, `/proc` shows the tree alone. `main` starts with the caller's signal mask and dispositions.
///
/// # Errors
/// When the process has more than one thread, or the kernel refuses the namespaces.
pub fn run(main: impl FnOnce() -> u8) -> Result<u8, SandboxError> {
    let threads = read_dir("/proc/self/task")?.count();
    if threads != 1 {
        return Err(SandboxError::Threads(threads));
    }
    // What is buffered would be written by both sides of the fork.
    io::stdout().flush()?;
    io::stderr().flush()?;

    let (reader, writer) = io::pipe()?;
    let mut signals = PASSED_ON.to_vec();
    signals.push(libc::SIGCHLD);
    signal::notice_children()?;
    let blocked = Blocked::new(&signals)?;

    let plain = libc::CLONE_NEWNET | libc::CLONE_NEWPID | libc::CLONE_NEWNS;
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    let (forked, identities) = match fork_into(plain) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            (fork_into(plain | libc::CLONE_NEWUSER), Some((user, group)))
        }
        forked => (forked, None),
    };
    match forked.map_err(SandboxError::Namespaces)? {
        Some(init) => {
            drop(writer);
            attend(init, reader, &blocked)
        }
        None => {
            drop(reader);
            be_init(identities, writer, blocked, main)
        }
    }
}

/// The caller's side.
fn attend(init: Pid, mut furnished: io::PipeReader, blocked: &Blocked) -> Result<u8, SandboxError> {
    let mut report = [0; REPORT];
    let reported = furnished.read_exact(&mut report);
    if reported.is_err() || report != FURNISHED {
        wait_for(init)?;
        reported.map_err(|_| io::Error::other("the process inside ended before it began"))?;
        return Err(decode(report));
    }
    drop(furnished);
    loop {
        let arrived = blocked.wait()?;
        if arrived.signal == libc::SIGCHLD {
            if let Some((_, status)) =
                rustix::process::waitpid(Some(init), WaitOptions::NOHANG).map_err(io::Error::from)?
            {
                return Ok(exit_status(status));
            }
        } else if arrived.origin != Origin::Kernel {
            // It may have ended just now, which SIGCHLD is about to say.
            let _ = signal::queue(init, arrived.signal);
        }
    }
}

/// The inner side: furnish, start `main`, reap until it ends.
fn be_init(
    identities: Option<(u32, u32)>,
    mut report: io::PipeWriter,
    blocked: Blocked,
    main: impl FnOnce() -> u8,
) -> ! {
    // From here on nothing may return into the caller's code: this is another process.
    if let Err((step, error)) = furnish(identities) {
        let _ = report.write_all(&encode(step, &error));
        exit_now(1);
    }
    // Had the caller died before it was made this process's keeper, nobody would read this.
    if report.write_all(&FURNISHED).is_err() {
        exit_now(1);
    }
    drop(report);
    match fork() {
        Ok(None) => {
            drop(blocked);
            let status = catch_unwind(AssertUnwindSafe(main)).unwrap_or(PANICKED);
            std::process::exit(i32::from(status))
        }
        Ok(Some(main)) => exit_now(reap_until(main, &blocked)),
        Err(_) => exit_now(1),
    }
}

fn reap_until(main: Pid, blocked: &Blocked) -> u8 {
    loop {
        match blocked.wait() {
            Ok(arrived) if arrived.signal == libc::SIGCHLD => {
                while let Ok(Some((process, status))) = rustix::process::wait(WaitOptions::NOHANG) {
                    if process == main {
                        return exit_status(status);
                    }
                }
            }
            Ok(arrived) if arrived.origin == Origin::Queued => {
                let _ = signal::queue(main, arrived.signal);
            }
            // The rest reached `main` too.
            Ok(_) => {}
            Err(_) => return 1,
        }
    }
}

const STEPS: [&str; 5] = [
    "follow the caller's end",
    "map user and group",
    "detach the mounts",
    "raise the loopback device",
    "start",
];

fn furnish(identities: Option<(u32, u32)>) -> Result<(), (usize, io::Error)> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| (0, error.into()))?;
    if let Some((user, group)) = identities {
        // user_namespaces(7): without privileges a group can be mapped only after setgroups(2) is given up.
        write("/proc/self/setgroups", "deny").map_err(|error| (1, error))?;
        write("/proc/self/gid_map", format!("0 {group} 1")).map_err(|error| (1, error))?;
        write("/proc/self/uid_map", format!("0 {user} 1")).map_err(|error| (1, error))?;
    }
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|error| (2, error.into()))?;
    // In a container the kernel may refuse a second `/proc`; the first one does, though it shows the host's processes.
    let _ = mount(
        "proc",
        "/proc",
        "proc",
        MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC,
        None::<&CStr>,
    );
    let raise = || {
        let mut netlink = Netlink::open()?;
        let loopback = netlink.link("lo")?;
        netlink.set_up(loopback.index, true)
    };
    raise().map_err(|error| (3, error))
}

/// A report on the pipe: the number of the step in [`STEPS`], then the errno.
const REPORT: usize = 5;
const FURNISHED: [u8; REPORT] = [u8::MAX; REPORT];

fn encode(step: usize, error: &io::Error) -> [u8; REPORT] {
    let [a, b, c, d] = error.raw_os_error().unwrap_or(libc::EIO).to_le_bytes();
    [step as u8, a, b, c, d]
}

fn decode([step, a, b, c, d]: [u8; REPORT]) -> SandboxError {
    let source = io::Error::from_raw_os_error(i32::from_le_bytes([a, b, c, d]));
    SandboxError::Furnish { step: STEPS.get(usize::from(step)).copied().unwrap_or("start"), source }
}

fn wait_for(process: Pid) -> io::Result<()> {
    rustix::process::waitpid(Some(process), WaitOptions::empty())?;
    Ok(())
}

fn exit_status(status: WaitStatus) -> u8 {
    let signalled = || status.terminating_signal().map_or(1, |signal| 128 + signal);
    status.exit_status().unwrap_or_else(signalled) as u8
}

fn exit_now(status: u8) -> ! {
    // SAFETY: ends the process at once; destructors and exit handlers belong to the caller's copy.
    unsafe { libc::_exit(i32::from(status)) }
}

/// Forks; `None` in the child.
fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: `run` made sure that there is one thread, so the child's copy of memory is consistent.
    returned_twice(i64::from(unsafe { libc::fork() }))
}

/// Forks into new namespaces; `None` in the child. The library's copy of its own thread number stays the
/// caller's in the child, which therefore does no more than forking again (that renews it) and waiting.
fn fork_into(namespaces: i32) -> io::Result<Option<Pid>> {
    let flags = libc::c_long::from(namespaces | libc::SIGCHLD);
    // SAFETY: without CLONE_VM and with a null stack this is fork(2) (clone(2)): the child runs on a copy of the
    // caller's memory, which is consistent as `run` made sure that there is one thread. Flags come first and the
    // stack second on x86-64, aarch64 and riscv64; the other arguments are zero.
    returned_twice(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) })
}

fn returned_twice(result: i64) -> io::Result<Option<Pid>> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(Pid::from_raw(result as i32)) }
}
