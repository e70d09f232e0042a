//! All of it again as a user without privileges and without the TUN driver: veth pairs serve in place of TAPs.

use std::env;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Output};

use libtest_mimic::{Arguments, Failed, Trial};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use septum::sys::{sandbox, tun};

use crate::running::{PROGRAM, program};

const ROLE: &str = "SEPTUM_TEST_NAMESPACES_ROLE";

/// `nobody` on most systems.
const NOBODY: u32 = 65534;

pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test("rootless::all_the_same_over_veth_pairs", all_the_same_over_veth_pairs)]
}

/// Acts out what the test started this program for.
pub(crate) fn play_role() -> Option<ExitCode> {
    env::var_os(ROLE)?;
    let outcome = sandbox::run(|| {
        hide_the_driver();
        if tun::open().is_ok() {
            eprintln!("{} cannot be hidden", tun::DEVICE);
            return 1;
        }
        u8::from(libtest_mimic::run(&Arguments::from_args(), crate::between_hosts()).has_failed())
    });
    Some(outcome.map_or_else(
        |error| {
            eprintln!("{error}: {error:?}");
            ExitCode::FAILURE
        },
        ExitCode::from,
    ))
}

/// In this sandbox's mounts only.
fn hide_the_driver() {
    let folder = tun::DEVICE.rsplit_once('/').map_or("/", |(folder, _)| folder);
    // Where there is no such folder, there is nothing to hide.
    let _ = mount("none", folder, "tmpfs", MountFlags::empty(), None::<&std::ffi::CStr>);
}

fn all_the_same_over_veth_pairs() -> Result<(), Failed> {
    // Where anybody may read them; the folder that programs are built in often is not so.
    let folder = tempfile::tempdir()?;
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
    let copy = |from: &std::path::Path, name: &str| -> io::Result<_> {
        let to = folder.path().join(name);
        fs::copy(from, &to)?;
        fs::set_permissions(&to, Permissions::from_mode(0o755))?;
        Ok(to)
    };
    let tests = copy(&env::current_exe()?, "namespaces")?;
    let septum = copy(program().get_program().as_ref(), "septum")?;
    let run = |as_nobody: bool| -> io::Result<Output> {
        let mut command = Command::new(&tests);
        command.env(ROLE, "yes").env(PROGRAM, &septum).env_remove("HOME").current_dir("/");
        if as_nobody {
            // From root, this gives up the supplementary groups too.
            command.uid(NOBODY).gid(NOBODY);
        }
        command.output()
    };
    // In a user namespace there may be no other user to become; then this one is without privileges already.
    let output = match run(true) {
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::INVAL | Errno::PERM)) => run(false)?,
        output => output?,
    };
    if output.status.success() {
        return Ok(());
    }
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(format!("{}\n{said}\n{errors}", output.status).into())
}
