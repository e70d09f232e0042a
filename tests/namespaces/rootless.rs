//! All of it again as a user without privileges and without the TUN driver: veth pairs serve in place of TAPs.

use std::env;
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};
use rustix::mount::{MountFlags, mount};
use septum::sys::{sandbox, tun};

use crate::nobody::{Programs, run_as_nobody};
use crate::running::{PROGRAM, program};

const ROLE: &str = "SEPTUM_TEST_NAMESPACES_ROLE";

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
    let programs = Programs::new()?;
    let tests = programs.copy(&env::current_exe()?)?;
    let septum = programs.copy(program().get_program().as_ref())?;
    run_as_nobody(|| {
        let mut command = Command::new(&tests);
        command.env(ROLE, "yes").env(PROGRAM, &septum);
        command
    })
    .map(drop)
}
