//! The examples as a person uses them: `septum check`, and `scripts/lab` beside a running `septum run`.
//!
//! Named namespaces live under `/run`; inside the sandbox that is a file system of its own, so the machine's own
//! names are neither seen nor touched.

#[path = "support/namespace.rs"]
mod namespace;

use std::ffi::CStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use rustix::mount::{MountFlags, mount};
use rustix::process::{Pid, Signal, kill_process};
use septum::sys::namespace::NetworkNamespace;
use septum_rules::workload::Namespace;

const SEPTUM: &str = env!("CARGO_BIN_EXE_septum");
/// How long a connection is waited for that must come about, and one that must not.
const PATIENCE: Duration = Duration::from_secs(20);
const SILENCE: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let has_ip = Command::new("ip").arg("-V").output().is_ok();
    if !has_ip {
        eprintln!("skipped: the tests of scripts/lab, as iproute2 (the command `ip`) is not installed");
    }
    let needs_ip = |trial: Trial| if has_ip { trial } else { trial.with_ignored_flag(true) };
    let trials = vec![
        Trial::test("every_example_checks_without_a_warning", every_example_checks_without_a_warning),
        needs_ip(Trial::test("the_lab_touches_only_what_it_made", the_lab_touches_only_what_it_made)),
        needs_ip(namespace::needs_tun(Trial::test(
            "lab_and_switch_join_the_shop",
            lab_and_switch_join_the_shop,
        ))),
    ];
    namespace::run_trials(trials, None)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn check(holds: bool, what: impl Into<String>) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(Failed::from(what.into())) }
}

fn every_example_checks_without_a_warning() -> Result<(), Failed> {
    let mut examples = 0;
    for entry in fs::read_dir(root().join("examples"))? {
        let output = Command::new(SEPTUM).args(["check", "--deny-warnings"]).arg(entry?.path()).output()?;
        check(output.status.success(), String::from_utf8_lossy(&output.stderr))?;
        examples += 1;
    }
    check(examples >= 4, "where are the examples?")
}

/// Runs `scripts/lab` in the sandbox's own `/run`; gives what it printed and whether it was content.
fn lab(arguments: &[&str]) -> Result<(bool, String), Failed> {
    static OWN_RUN: OnceLock<rustix::io::Result<()>> = OnceLock::new();
    let own = || mount("tmpfs", "/run", "tmpfs", MountFlags::NOSUID, None::<&CStr>);
    (*OWN_RUN.get_or_init(own))?;
    let output = Command::new(root().join("scripts/lab")).args(arguments).current_dir(root()).output()?;
    let printed = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8(printed)?))
}

fn is_there(name: &str) -> bool {
    NetworkNamespace::open(&Namespace::Name(name.into())).is_ok()
}

fn the_lab_touches_only_what_it_made() -> Result<(), Failed> {
    const POLICY: &str = "examples/two-namespaces.toml";
    let ip = |arguments: &[&str]| Command::new("ip").args(arguments).status();
    // The first call makes the sandbox's own /run.
    check(lab(&["status"])?.0, "status")?;

    ip(&["netns", "add", "right"])?;
    let (content, told) = lab(&["up", POLICY])?;
    check(!content && told.contains("right exists and was not made by this script"), told)?;
    check(!is_there("left"), "half of it was made")?;
    ip(&["netns", "delete", "right"])?;

    let (content, told) = lab(&["up", POLICY])?;
    check(content && is_there("left") && is_there("right"), told)?;
    let (content, told) = lab(&["exec", "left", "--", "ip", "-brief", "link"])?;
    check(content && told.starts_with("lo"), told)?;
    let (content, told) = lab(&["exec", "middle", "--", "true"])?;
    check(!content && told.contains("there is no node middle"), told)?;

    // Somebody replaces one of them: from now on it is theirs.
    ip(&["netns", "delete", "right"])?;
    ip(&["netns", "add", "right"])?;
    let (content, told) = lab(&["down", POLICY])?;
    check(content && !is_there("left"), told)?;
    check(is_there("right"), "it removed what somebody else had made")?;
    ip(&["netns", "delete", "right"])?;
    Ok(())
}

fn lab_and_switch_join_the_shop() -> Result<(), Failed> {
    const POLICY: &str = "examples/three-tier.toml";
    let (content, told) = lab(&["up", POLICY])?;
    check(content, told)?;
    let mut switch = Running::start(POLICY)?;
    for (server, client, allowed, refused) in [
        ("shop-api-1", "shop-web-1", "10.20.0.11:8080", "10.20.0.11:22"),
        ("shop-api-1", "shop-web-1", "[fd00:20::b]:8080", "[fd00:20::b]:22"),
        ("shop-pay-1", "shop-api-1", "10.30.0.11:8443", "10.30.0.11:5432"),
    ] {
        check(echo(server, client, allowed, PATIENCE)?, format!("{client} does not reach {allowed}"))?;
        check(!echo(server, client, refused, SILENCE)?, format!("{client} reaches {refused}"))?;
    }
    let summary = switch.stop()?;
    check(summary.contains("every frame has one end"), summary)?;
    let (content, told) = lab(&["down", POLICY])?;
    check(content && !is_there("shop-web-1"), told)
}

/// Whether bytes come back from a server in one namespace to a client in another.
fn echo(server: &str, client: &str, address: &str, patience: Duration) -> Result<bool, Failed> {
    let address: SocketAddr = address.parse()?;
    let open = |name: &str| NetworkNamespace::open(&Namespace::Name(name.into()));
    let listener = open(server)?.run(|| TcpListener::bind(address))??;
    let server = std::thread::spawn(move || -> std::io::Result<()> {
        let (mut connection, _) = listener.accept()?;
        let mut byte = [0];
        connection.read_exact(&mut byte)?;
        connection.write_all(&byte)
    });
    let Ok(mut connection) = open(client)?.run(|| TcpStream::connect_timeout(&address, patience))? else {
        // The server waits in vain; it goes with the sandbox.
        return Ok(false);
    };
    connection.set_read_timeout(Some(patience))?;
    connection.write_all(b"x")?;
    let mut byte = [0];
    connection.read_exact(&mut byte)?;
    server.join().map_err(|_| "the server panicked")??;
    Ok(byte == *b"x")
}

/// A running `septum run`.
struct Running {
    child: Child,
    output: BufReader<std::process::ChildStderr>,
}

impl Running {
    /// Starts it, and waits until it says that it forwards.
    fn start(policy: &str) -> Result<Self, Failed> {
        let mut command = Command::new(SEPTUM);
        command.args(["run", policy]).current_dir(root()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let mut output = BufReader::new(child.stderr.take().ok_or("no standard error")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        check(line.contains("forwarding for 6 workloads"), line)?;
        Ok(Self { child, output })
    }

    /// Ends it in an orderly way; gives its summary.
    fn stop(&mut self) -> Result<String, Failed> {
        let process = Pid::from_child(&self.child);
        kill_process(process, Signal::INT)?;
        let mut summary = String::new();
        if let Some(mut stdout) = self.child.stdout.take() {
            stdout.read_to_string(&mut summary)?;
        }
        self.output.read_to_string(&mut summary)?;
        check(self.child.wait()?.success(), summary.clone())?;
        Ok(summary)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Ended already where the test got that far.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
