//! Network namespaces (network_namespaces(7)): found, made, entered.
//!
//! The calling thread never changes its namespace: what is to happen in another one runs on a thread of its own
//! ([`NetworkNamespace::run`], about 0.1 ms), which enters it, works and ends. Descriptors that it opens there
//! stay with that namespace and work from everywhere.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};
use septum_rules::workload::Namespace;

/// Where ip-netns(8) keeps named namespaces.
pub const NAMED: &str = "/run/netns";

/// A network namespace, held open: it lives at least as long as this.
#[derive(Debug)]
pub struct NetworkNamespace {
    descriptor: OwnedFd,
}

/// Which network namespace it is: two are one namespace exactly when their identities are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespaceIdentity {
    device: u64,
    inode: u64,
}

/// Why a namespace could not be opened or entered.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// There is none at that place.
    #[error("there is no network namespace at {}", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// There is something else at that place.
    #[error("{} is not a network namespace", path.display())]
    OtherKind {
        /// What was opened.
        path: PathBuf,
    },
    /// It may not be opened.
    #[error("cannot open the network namespace {}", path.display())]
    Open {
        /// What was opened.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// A new one was refused.
    #[error("cannot make a network namespace")]
    Create(#[source] io::Error),
    /// It may not be entered.
    #[error("cannot enter the network namespace")]
    Enter(#[source] io::Error),
}

impl NetworkNamespace {
    /// Opens the one that a policy names.
    ///
    /// # Errors
    /// When there is none, it is of another kind, or it may not be opened.
    pub fn open(namespace: &Namespace) -> Result<Self, NamespaceError> {
        match namespace {
            Namespace::Name(name) => Self::open_path(&Path::new(NAMED).join(&**name)),
            Namespace::Path(path) => Self::open_path(path),
            Namespace::Process(process) => Self::open_path(Path::new(&format!("/proc/{process}/ns/net"))),
        }
    }

    /// The calling thread's.
    ///
    /// # Errors
    /// When `/proc` is not there.
    pub fn current() -> Result<Self, NamespaceError> {
        Self::open_path(Path::new("/proc/thread-self/ns/net"))
    }

    /// A new, anonymous one: empty but for a loopback device that is down. It ends with its last descriptor,
    /// device reference or process.
    ///
    /// # Errors
    /// When it is refused (`CAP_SYS_ADMIN` is missing, or a limit is reached).
    pub fn anonymous() -> Result<Self, NamespaceError> {
        on_own_thread(|| {
            // SAFETY: only the network namespace of this short-lived thread is replaced; memory and the table of
            // descriptors stay shared, so every `OwnedFd` of the process stays valid.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }
                .map_err(|error| NamespaceError::Create(error.into()))?;
            Self::current()
        })
    }

    /// Opens the namespace behind a path, as under `/proc/PID/ns/net` or `/run/netns`.
    ///
    /// # Errors
    /// As [`NetworkNamespace::open`].
    pub fn open_path(path: &Path) -> Result<Self, NamespaceError> {
        let descriptor = match File::open(path) {
            Ok(file) => OwnedFd::from(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(NamespaceError::Missing { path: path.to_owned() });
            }
            Err(source) => return Err(NamespaceError::Open { path: path.to_owned(), source }),
        };
        if kind_of(descriptor.as_fd()) != Some(libc::CLONE_NEWNET) {
            return Err(NamespaceError::OtherKind { path: path.to_owned() });
        }
        Ok(Self { descriptor })
    }

    /// Which namespace this is.
    ///
    /// # Errors
    /// What fstat(2) says.
    pub fn identity(&self) -> io::Result<NamespaceIdentity> {
        let status = rustix::fs::fstat(&self.descriptor)?;
        Ok(NamespaceIdentity { device: status.st_dev, inode: status.st_ino })
    }

    /// A second handle on the same namespace.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { descriptor: self.descriptor.try_clone()? })
    }

    /// Runs `work` inside the namespace, on a thread of its own, and waits for it.
    ///
    /// # Errors
    /// When the namespace may not be entered; `work` did not run then.
    ///
    /// # Panics
    /// When `work` does.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NamespaceError> {
        on_own_thread(|| {
            move_into_link_name_space(self.descriptor.as_fd(), Some(LinkNameSpaceType::Network))
                .map_err(|error| NamespaceError::Enter(error.into()))?;
            Ok(work())
        })
    }

    /// Starts `command` inside the namespace.
    ///
    /// # Errors
    /// When the namespace may not be entered, or the command cannot be started.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        self.run(|| command.spawn()).map_err(io::Error::other)?
    }
}

impl AsFd for NetworkNamespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

fn on_own_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// The `CLONE_NEW*` flag of a namespace's descriptor, `None` for any other file (ioctl_ns(2)).
fn kind_of(descriptor: BorrowedFd<'_>) -> Option<i32> {
    use std::os::fd::AsRawFd;
    const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
    // SAFETY: this request takes no argument and touches no memory; other files refuse it.
    let kind = unsafe { libc::ioctl(descriptor.as_raw_fd(), NS_GET_NSTYPE) };
    (kind >= 0).then_some(kind)
}
