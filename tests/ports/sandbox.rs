//! The process tree of its own: exit status, signals, and what is left after `kill -9`.

use std::env;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use rustix::process::{Pid, Signal, kill_process};
use septum::sys::namespace::NetworkNamespace;
use septum::sys::netlink::Netlink;
use septum::sys::sandbox::{self, SandboxError};
use septum::sys::signal::Blocked;
use signal_hook::consts::{SIGTERM, SIGUSR1};

use crate::links;

const ROLE: &str = "SEPTUM_TEST_SANDBOX_ROLE";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("sandbox::the_exit_status_comes_out", the_exit_status_comes_out),
        Trial::test("sandbox::a_signal_reaches_the_inside_once", a_signal_reaches_the_inside_once),
        Trial::test("sandbox::kill_9_leaves_no_process", kill_9_leaves_no_process),
        Trial::test("sandbox::a_process_with_threads_is_refused", a_process_with_threads_is_refused),
        Trial::test("sandbox::the_inside_is_empty_and_root", the_inside_is_empty_and_root),
        Trial::test("namespace::the_caller_stays_where_it_is", the_caller_stays_where_it_is),
    ]
}

/// Acts out what a test started this program for.
pub(crate) fn play_role() -> Option<ExitCode> {
    let role = env::var(ROLE).ok()?;
    let outcome = match &*role {
        "seven" => sandbox::run(|| 7),
        "panic" => sandbox::run(|| panic!("on purpose")),
        "killed" => sandbox::run(|| {
            let _ = kill_process(rustix::process::getpid(), Signal::KILL);
            unreachable!()
        }),
        "look" => sandbox::run(|| {
            assert!(Netlink::open().and_then(|mut netlink| netlink.link("lo")).unwrap().up);
            let added = NetworkNamespace::current().map(|own| links::added_to(&own).unwrap());
            assert_eq!(added.unwrap(), [""; 0]);
            assert!(rustix::process::geteuid().is_root() && rustix::process::getegid().is_root());
            0
        }),
        "wait" => sandbox::run(|| {
            let signals = Blocked::new(&[SIGUSR1, SIGTERM]).unwrap();
            // Holds the other end of the test's pipe too.
            let _child = Command::new("sleep").arg("1000").spawn();
            println!("ready");
            let mut seen = 0;
            while signals.wait().unwrap().signal == SIGUSR1 {
                seen += 1;
                println!("seen");
            }
            seen
        }),
        other => panic!("no role `{other}`"),
    };
    Some(match outcome {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("{error}: {error:?}");
            ExitCode::from(99)
        }
    })
}

fn the_exit_status_comes_out() -> Result<(), Failed> {
    expect(status_of("seven")?, 7)?;
    expect(status_of("panic")?, 101)?;
    expect(status_of("killed")?, 128 + 9)
}

fn the_inside_is_empty_and_root() -> Result<(), Failed> {
    expect(status_of("look")?, 0)
}

fn a_signal_reaches_the_inside_once() -> Result<(), Failed> {
    let (mut child, mut lines) = start("wait")?;
    let mut line = String::new();
    lines.read_line(&mut line)?;
    for _ in 0..3 {
        kill_process(pid_of(&child), Signal::USR1)?;
        line.clear();
        lines.read_line(&mut line)?;
        if line != "seen\n" {
            return Err(format!("the inside said {line:?}").into());
        }
    }
    kill_process(pid_of(&child), Signal::TERM)?;
    expect(child.wait()?, 3)
}

fn kill_9_leaves_no_process() -> Result<(), Failed> {
    let (mut child, mut lines) = start("wait")?;
    let mut line = String::new();
    lines.read_line(&mut line)?;
    child.kill()?;
    child.wait()?;
    // The pipe ends when the last process that holds it does: the inside, and the child of the inside.
    let ended = thread::spawn(move || lines.read_to_end(&mut Vec::new()).map(drop));
    for _ in 0..500 {
        if ended.is_finished() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Err("a process outlived the caller by 5 s".into())
}

fn a_process_with_threads_is_refused() -> Result<(), Failed> {
    // The one that waits here guarantees a second thread even when the trials run on the first.
    let (release, held) = std::sync::mpsc::channel::<()>();
    let waiting = thread::spawn(move || held.recv());
    let outcome = sandbox::run(|| 0);
    drop(release);
    let _ = waiting.join();
    match outcome {
        Err(SandboxError::Threads(count)) if count > 1 => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

fn the_caller_stays_where_it_is() -> Result<(), Failed> {
    let before = NetworkNamespace::current()?.identity()?;
    let other = NetworkNamespace::anonymous()?;
    let inside = other.run(NetworkNamespace::current)??.identity()?;
    let after = NetworkNamespace::current()?.identity()?;
    if before != after || inside != other.identity()? || inside == before {
        return Err(format!("{before:?} {inside:?} {after:?}").into());
    }
    Ok(())
}

fn command(role: &str) -> Result<Command, Failed> {
    let mut command = Command::new(env::current_exe()?);
    command.env(ROLE, role);
    Ok(command)
}

fn status_of(role: &str) -> Result<ExitStatus, Failed> {
    let output = command(role)?.output()?;
    if output.status.code() == Some(99) {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(output.status)
}

fn start(role: &str) -> Result<(Child, BufReader<impl Read + Send + use<>>), Failed> {
    let mut child = command(role)?.stdout(Stdio::piped()).spawn()?;
    let lines = child.stdout.take().ok_or("no pipe")?;
    Ok((child, BufReader::new(lines)))
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_child(child)
}

fn expect(status: ExitStatus, code: i32) -> Result<(), Failed> {
    if status.code() == Some(code) { Ok(()) } else { Err(format!("{status} instead of {code}").into()) }
}
