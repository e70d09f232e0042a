//! A test program again, as a user without privileges.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::Failed;
use rustix::io::Errno;
use tempfile::TempDir;

/// `nobody` on most systems.
const NOBODY: u32 = 65534;

/// A folder of programs that anybody may run; the one that they are built in often is not so.
pub(crate) struct Programs(TempDir);

impl Programs {
    pub(crate) fn new() -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
        Ok(Self(folder))
    }

    /// Copies a program here. Another process does so: a file that this one writes would be open in any child that another
    /// test has forked meanwhile, and what is open for writing cannot be executed (execve(2), ETXTBSY).
    pub(crate) fn copy(&self, from: &Path) -> io::Result<PathBuf> {
        let to = self.0.path().join(from.file_name().unwrap_or_default());
        let status = Command::new("cp").arg(from).arg(&to).status()?;
        if !status.success() {
            return Err(io::Error::other(format!("cp {}: {status}", from.display())));
        }
        fs::set_permissions(&to, Permissions::from_mode(0o755))?;
        Ok(to)
    }
}

/// Runs a command as `nobody`, without a home; gives what it printed.
///
/// # Errors
/// The same, when it fails.
pub(crate) fn run_as_nobody(command: impl Fn() -> Command) -> Result<Vec<u8>, Failed> {
    let homeless = || {
        let mut command = command();
        command.env_remove("HOME").current_dir("/");
        command
    };
    // From root, this gives up the supplementary groups too. In a user namespace there may be no other user to become;
    // then this one is without privileges already.
    let output = match homeless().uid(NOBODY).gid(NOBODY).output() {
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::INVAL | Errno::PERM)) => {
            homeless().output()?
        }
        output => output?,
    };
    if output.status.success() {
        return Ok(output.stdout);
    }
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(format!("{}\n{said}\n{errors}", output.status).into())
}
