//! A user with no privileges: the sandbox, and what serves a TAP where the TUN driver may not be opened.

use std::env;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Output};

use libtest_mimic::{Failed, Trial};
use rustix::io::Errno;
use septum::port::{Device, PortError, Substitute};
use septum::sys::{sandbox, tun};

use crate::ports::{Host, Wire};

const ROLE: &str = "SEPTUM_TEST_ROOTLESS_ROLE";

/// `nobody` on most systems.
const NOBODY: u32 = 65534;

pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test("rootless::a_tap_is_served_by_a_veth_pair", a_tap_is_served_by_a_veth_pair)]
}

/// Acts out what the test started this program for.
pub(crate) fn play_role() -> Option<ExitCode> {
    env::var_os(ROLE)?;
    let outcome = sandbox::run(|| match join_two() {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{}", error.message().unwrap_or("failed"));
            1
        }
    });
    Some(outcome.map_or_else(
        |error| {
            eprintln!("{error}: {error:?}");
            ExitCode::FAILURE
        },
        ExitCode::from,
    ))
}

fn join_two() -> Result<(), Failed> {
    let may_open = tun::open().is_ok();
    match Host::new(3, "strict", Substitute::Never) {
        Ok(_) if may_open => {}
        Err(error @ PortError::TunPermission(_)) if !may_open => {
            assert_eq!(error.to_string(), "/dev/net/tun may not be opened");
            assert!(error.fix().contains("run as root") && !error.is_bad_input());
        }
        Err(PortError::TunMissing(_)) if !may_open => {}
        other => return Err(format!("strict: {:?}", other.map(|host| host.port)).into()),
    }
    let mut one = Host::new(1, "left", Substitute::IfNeeded)?;
    let mut other = Host::new(2, "right", Substitute::IfNeeded)?;
    assert_eq!(one.port.device(), if may_open { Device::Tap } else { Device::Veth });
    let wire = Wire::between(&mut one.port, &mut other.port);
    for family in 0..2 {
        crate::traffic::datagram(&one, &other, family)?;
        crate::traffic::bulk(&one, &other, family)?;
    }
    wire.end();
    Ok(())
}

fn a_tap_is_served_by_a_veth_pair() -> Result<(), Failed> {
    // Where anybody may read it; the folder that tests are built in often is not so.
    let folder = tempfile::tempdir()?;
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
    let program = folder.path().join("ports");
    fs::copy(env::current_exe()?, &program)?;
    fs::set_permissions(&program, Permissions::from_mode(0o755))?;
    let run = |as_nobody: bool| -> io::Result<Output> {
        let mut command = Command::new(&program);
        command.env(ROLE, "yes").env_remove("HOME").current_dir("/");
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
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned().into())
    }
}
