//! A user with no privileges: the sandbox, and what serves a TAP where the TUN driver may not be opened.

use std::env;
use std::process::{Command, ExitCode};

use libtest_mimic::{Failed, Trial};
use septum::port::{Device, PortError, Substitute};
use septum::sys::{sandbox, tun};

use crate::nobody::{Programs, run_as_nobody};
use crate::ports::{Host, Wire};

const ROLE: &str = "SEPTUM_TEST_ROOTLESS_ROLE";

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
    let programs = Programs::new()?;
    let tests = programs.copy(&env::current_exe()?)?;
    run_as_nobody(|| {
        let mut command = Command::new(&tests);
        command.env(ROLE, "yes");
        command
    })
    .map(drop)
}
