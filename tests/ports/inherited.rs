//! Descriptors that a process is started with, as ports.

use std::env;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, ExitCode, Stdio};

use libtest_mimic::{Failed, Trial};
use rustix::io::{FdFlags, fcntl_setfd};
use septum::port::{Device, Inside, Port, PortError, Substitute};
use septum::sys::tun;
use septum_rules::workload::{PortKind, PortSpec};

use crate::namespace::needs_tun;
use crate::ports::{PATIENCE, receive_until, tap, transmit};

const ROLE: &str = "SEPTUM_TEST_INHERITED_ROLE";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("inherited::a_socket_of_a_pair_is_a_port", socket),
        needs_tun(Trial::test("inherited::a_queue_of_a_tap_is_a_port", queue)),
        Trial::test("inherited::what_is_neither_is_refused", neither),
    ]
}

fn spec(descriptor: i32) -> PortSpec {
    PortSpec {
        kind: PortKind::Inherited { descriptor },
        device: format!("fd:{descriptor}").into(),
        namespace: None,
        configure: false,
        ..tap("none")
    }
}

/// Acts out what a test started this program for: opens a port from the descriptor that it was given, says what that
/// is, and sends one frame back through it.
pub(crate) fn play_role() -> Option<ExitCode> {
    let descriptor = env::var(ROLE).ok()?.parse().expect("a number");
    match Port::open(&spec(descriptor), &Inside::default(), 3, Substitute::Never) {
        Err(error) => println!("{error}"),
        Ok(mut port) => {
            println!("{:?}", port.device());
            let mut queues = port.take_queues();
            // At a TAP that is down nobody asks.
            if port.device() == Device::Datagram
                && let Some(frame) = receive_until(&mut queues, |frame| frame.ends_with(b"question"))
            {
                transmit(&mut queues[2], &frame);
            }
        }
    }
    Some(ExitCode::SUCCESS)
}

/// What the program says to a descriptor; `meanwhile` runs while it does.
fn given(descriptor: OwnedFd, meanwhile: impl FnOnce() -> std::io::Result<()>) -> Result<String, Failed> {
    fcntl_setfd(&descriptor, FdFlags::empty())?;
    let mut command = Command::new(env::current_exe()?);
    command.env(ROLE, descriptor.as_raw_fd().to_string()).stdout(Stdio::piped());
    let child = command.spawn()?;
    fcntl_setfd(&descriptor, FdFlags::CLOEXEC)?;
    let result = meanwhile();
    let said = child.wait_with_output()?;
    result?;
    Ok(String::from_utf8(said.stdout)?.trim().to_owned())
}

fn socket() -> Result<(), Failed> {
    let (ours, theirs) = UnixDatagram::pair()?;
    ours.set_read_timeout(Some(PATIENCE))?;
    let said = given(theirs.into(), || {
        ours.send(b"a frame with a question")?;
        let mut answer = [0; 100];
        let length = ours.recv(&mut answer)?;
        assert_eq!(&answer[..length], b"a frame with a question");
        Ok(())
    })?;
    assert_eq!(said, format!("{:?}", Device::Datagram));
    Ok(())
}

fn queue() -> Result<(), Failed> {
    let driver = tun::open()?;
    tun::attach(&driver, "handed0", true)?;
    let (_, shape) = tun::attached(&driver)?;
    assert!(shape.tap && shape.header);
    // It is down: nothing comes, and the port opens all the same.
    let said = given(driver.as_fd().try_clone_to_owned()?, || Ok(()))?;
    assert_eq!(said, format!("{:?}", Device::Tap));
    Ok(())
}

fn neither() -> Result<(), Failed> {
    let (mut reader, mut writer) = std::io::pipe()?;
    writer.write_all(b"x")?;
    let said = given(reader.try_clone()?.into(), || Ok(()))?;
    assert!(said.contains("neither a TAP device's queue nor a Unix datagram socket"), "{said}");
    reader.read_exact(&mut [0])?;
    // Descriptors of our own are none that were handed over.
    let own = File::open("/proc/self/stat")?;
    let refusal = Port::open(&spec(own.as_raw_fd()), &Inside::default(), 1, Substitute::Never).map(drop);
    assert!(matches!(refusal, Err(PortError::NotInherited { .. })), "{refusal:?}");
    Ok(())
}
