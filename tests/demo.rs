//! `septum demo` as a person runs it: the built binary, real namespaces, edited policies, `kill -9`.

#[path = "support/nobody.rs"]
mod nobody;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use nobody::{Programs, run_as_nobody};
use septum::sys::sandbox;
use serde_json::Value;

const SEPTUM: &str = env!("CARGO_BIN_EXE_septum");

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let refused = sandbox::run(|| 0).err();
    if let Some(error) = &refused {
        eprintln!("skipped, as {error}\nto run these tests: {}", error.fix());
    }
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("skipped: only root can run the demo as another user");
    }
    let with_namespaces =
        |name, test: fn() -> Result<(), Failed>| Trial::test(name, test).with_ignored_flag(refused.is_some());
    let trials = vec![
        Trial::test("the_printed_policy_is_the_example", the_printed_policy_is_the_example),
        Trial::test("a_policy_without_the_shop_is_bad_input", a_policy_without_the_shop_is_bad_input),
        Trial::test("a_policy_that_is_none_is_bad_input", a_policy_that_is_none_is_bad_input),
        with_namespaces("every_promise_is_kept", || {
            every_promise_is_kept(&document(septum(&["demo", "-o", "json"]), 0)?)
        }),
        with_namespaces("every_promise_is_kept_for_nobody", every_promise_is_kept_for_nobody)
            .with_ignored_flag(refused.is_some() || !is_root),
        with_namespaces("without_an_allow_a_promise_breaks", without_an_allow_a_promise_breaks),
        with_namespaces("without_a_deny_a_promise_breaks", without_a_deny_a_promise_breaks),
        with_namespaces(
            "the_text_is_plain_where_it_is_no_terminal",
            the_text_is_plain_where_it_is_no_terminal,
        ),
        with_namespaces("kill_9_leaves_nothing", kill_9_leaves_nothing),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn septum(arguments: &[&str]) -> Command {
    let mut command = Command::new(SEPTUM);
    command.args(arguments).stdin(Stdio::null());
    command
}

fn output(mut command: Command) -> Result<Output, Failed> {
    Ok(command.output()?)
}

/// Runs the demo and reads its document.
fn document(command: Command, status: i32) -> Result<Value, Failed> {
    let output = output(command)?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    check(output.status.code() == Some(status), format!("{}, {told}", output.status))?;
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn check(holds: bool, what: impl Into<String>) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(Failed::from(what.into())) }
}

fn rows<'d>(document: &'d Value, of: &str) -> Result<&'d Vec<Value>, Failed> {
    document[of].as_array().filter(|rows| !rows.is_empty()).ok_or_else(|| Failed::from(format!("no {of}")))
}

fn built_in() -> Result<String, Failed> {
    Ok(String::from_utf8(output(septum(&["demo", "--print-policy"]))?.stdout)?)
}

fn the_printed_policy_is_the_example() -> Result<(), Failed> {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/three-tier.toml");
    check(built_in()? == fs::read_to_string(example)?, "another policy is printed")
}

fn a_policy_without_the_shop_is_bad_input() -> Result<(), Failed> {
    let other = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/two-namespaces.toml");
    let output = output(septum(&["demo", "--policy", &other.to_string_lossy()]))?;
    let told = String::from_utf8(output.stderr)?;
    check(output.status.code() == Some(2) && told.contains("--print-policy"), told)
}

fn a_policy_that_is_none_is_bad_input() -> Result<(), Failed> {
    let output = output(septum(&["demo", "--policy", "/nonexistent/policy.toml"]))?;
    let told = String::from_utf8(output.stderr)?;
    check(output.status.code() == Some(2) && told.contains("/nonexistent/policy.toml"), told)
}

fn every_promise_is_kept(document: &Value) -> Result<(), Failed> {
    check(document["ok"] == true, "not ok")?;
    for promise in rows(document, "promises")? {
        check(promise["kept"] == true, promise.to_string())?;
    }
    let probes = rows(document, "probes")?;
    for probe in probes {
        let refused = probe["verdict"] == "deny";
        check(probe["kept"] == true, probe.to_string())?;
        check(!refused || probe["refusal"]["reason"].is_string(), format!("unexplained: {probe}"))?;
    }
    for family in ["IPv4", "IPv6"] {
        let of = |rows: &[Value]| rows.iter().filter(|row| row["family"] == family).count();
        check(of(probes) == probes.len() / 2, format!("not half of the probes are {family}"))?;
        check(of(rows(document, "throughput")?) == 1, format!("no transfer over {family}"))?;
    }
    for transfer in rows(document, "throughput")? {
        check(transfer["bytes"].as_u64().is_some_and(|bytes| bytes > 0), transfer.to_string())?;
    }
    let frames = rows(document, "frames")?;
    for reason in ["spoof-mac", "spoof-ip", "spoof-arp", "spoof-nd"] {
        check(frames.iter().any(|frame| frame["reason"] == reason), format!("no lie for {reason}"))?;
    }
    for frame in frames {
        check(frame["ok"] == true, frame.to_string())?;
    }
    check(document["accounting"]["balanced"] == true, document["accounting"].to_string())
}

fn every_promise_is_kept_for_nobody() -> Result<(), Failed> {
    let programs = Programs::new()?;
    let copy = programs.copy(SEPTUM.as_ref())?;
    let printed = run_as_nobody(|| {
        let mut command = Command::new(&copy);
        command.args(["demo", "-o", "json"]);
        command
    })?;
    every_promise_is_kept(&serde_json::from_slice(&printed)?)
}

/// The built-in policy without one of its rules, in a file.
fn without(rule: &str) -> Result<(tempfile::TempDir, PathBuf), Failed> {
    let policy = built_in()?;
    let is_it = |block: &&str| block.contains(&format!("\"{rule}\""));
    let mut blocks: Vec<&str> = policy.split("[[rule]]").collect();
    let at = blocks.iter().position(is_it).ok_or("no such rule")?;
    blocks.remove(at);
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("edited.toml");
    fs::write(&file, blocks.join("[[rule]]"))?;
    Ok((folder, file))
}

/// Runs the demo with a rule taken out; gives the probes that broke a promise.
fn broken_without(rule: &str) -> Result<Vec<Value>, Failed> {
    let (_folder, file) = without(rule)?;
    let document = document(septum(&["demo", "-o", "json", "--policy", &file.to_string_lossy()]), 1)?;
    check(document["ok"] == false, "ok without the rule")?;
    let broken: Vec<Value> =
        rows(&document, "probes")?.iter().filter(|probe| probe["kept"] == false).cloned().collect();
    check(!broken.is_empty(), "no promise broke")?;
    Ok(broken)
}

fn without_an_allow_a_promise_breaks() -> Result<(), Failed> {
    let broken = broken_without("pay-to-db")?;
    check(broken.len() == 2, format!("both families of one service: {broken:?}"))?;
    for probe in broken {
        let flow = (probe["from"].as_str(), probe["to"].as_str(), probe["service"].as_str());
        check(flow == (Some("pay-1"), Some("db-1"), Some("tcp/5432")), probe.to_string())?;
        check(probe["verdict"] == "deny" && probe["refusal"]["rule"] == "default", probe.to_string())?;
    }
    Ok(())
}

fn without_a_deny_a_promise_breaks() -> Result<(), Failed> {
    for probe in broken_without("db-opens-nothing")? {
        let is_leak = probe["verdict"] == "allow" && probe["promised"] == "deny";
        check(is_leak && probe["from"] == "db-1", probe.to_string())?;
    }
    Ok(())
}

fn the_text_is_plain_where_it_is_no_terminal() -> Result<(), Failed> {
    let output = output(septum(&["demo"]))?;
    let text = String::from_utf8(output.stdout)?;
    check(output.status.success(), text.clone())?;
    check(!text.contains('\x1b') && !output.stderr.contains(&0x1b), "colour without a terminal")?;
    for part in ["Who reaches whom", "cde-boundary", "examples/three-tier.toml:", "Gbit/s", "balanced"] {
        check(text.contains(part), format!("no `{part}` in\n{text}"))?;
    }
    let longest = text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
    check(longest <= 100, format!("a line of {longest} characters"))
}

fn kill_9_leaves_nothing() -> Result<(), Failed> {
    let mut demo = septum(&["demo"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let mut progress = BufReader::new(demo.stderr.take().ok_or("no progress")?);
    let mut line = String::new();
    // The first line says that the shop is up: everything that could be left is there now.
    progress.read_line(&mut line)?;
    let processes = descendants(demo.id());
    let namespaces: BTreeSet<String> = processes.iter().flat_map(|process| namespaces_of(*process)).collect();
    demo.kill()?;
    demo.wait()?;
    check(processes.len() == 2, format!("init and main were expected, not {processes:?}, after {line}"))?;
    check(namespaces.len() > 6, format!("a namespace for each workload was expected, not {namespaces:?}"))?;
    // With the last process that holds them, namespaces and what is in them are gone; their numbers are soon another's.
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Some(left) = processes.iter().find(|process| all_processes().contains(process)) {
        check(Instant::now() < deadline, format!("left behind: {left}"))?;
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn all_processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn parent_of(process: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

fn descendants(of: u32) -> Vec<u32> {
    let mut found = vec![of];
    let parents: Vec<(u32, u32)> =
        all_processes().into_iter().filter_map(|process| Some((process, parent_of(process)?))).collect();
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(process, _)| *process));
        at += 1;
    }
    found.split_off(1)
}

/// Network namespaces that a process is in or holds open, as `net:[4026531840]`.
fn namespaces_of(process: u32) -> Vec<String> {
    let links = |folder: String| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| fs::read_link(entry.path()).ok())
    };
    links(format!("/proc/{process}/fd"))
        .chain(links(format!("/proc/{process}/ns")))
        .filter_map(|target| target.to_str().filter(|name| name.starts_with("net:[")).map(str::to_owned))
        .collect()
}
