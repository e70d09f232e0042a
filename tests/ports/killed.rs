//! What a switch leaves behind that is killed: nothing that it made.

use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use septum::port::{Inside, Port, Substitute};
use septum::sys::namespace::NetworkNamespace;

use crate::links;
use crate::namespace::needs_tun;
use crate::ports::tap;

const ROLE: &str = "SEPTUM_TEST_KILLED_ROLE";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        needs_tun(Trial::test("killed::its_tap_is_gone", || its_device_is_gone("tap"))),
        Trial::test("killed::its_veth_pair_is_gone", || its_device_is_gone("veth")),
    ]
}

/// Acts out what the test started this program for: holds a port until it is killed.
pub(crate) fn play_role() -> Option<ExitCode> {
    let role = env::var(ROLE).ok()?;
    let substitute = if role == "tap" { Substitute::Never } else { Substitute::Always };
    let namespace = NetworkNamespace::current().expect("the test's namespace");
    let port = Port::open_in(&tap("eth0"), &namespace, &Inside::default(), 2, substitute);
    println!("{}", if port.is_ok() { "ready" } else { "failed" });
    loop {
        thread::park();
    }
}

fn its_device_is_gone(role: &str) -> Result<(), Failed> {
    let namespace = NetworkNamespace::anonymous()?;
    let mut command = Command::new(env::current_exe()?);
    let mut child = namespace.spawn(command.env(ROLE, role).stdout(Stdio::piped()))?;
    let mut line = String::new();
    let said = child.stdout.take().map(|stdout| BufReader::new(stdout).read_line(&mut line));
    let there = links::added_to(&namespace)?.len();
    child.kill()?;
    child.wait()?;
    said.ok_or("no pipe")??;
    assert_eq!((&*line, there), ("ready\n", 1));
    // The kernel takes a namespace apart in its own time.
    for _ in 0..500 {
        if links::added_to(&namespace)?.is_empty() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Err("the device outlived its switch by 5 s".into())
}
