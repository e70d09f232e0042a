//! Faults on purpose: does the simulation find a switch that is wrong?
//!
//! `faults.toml` lists mistakes that somebody could make: an expression of the dataplane, and what stands there
//! instead. All of them are built into one copy of the sources, each asleep until its name stands in `SEPTUM_FAULT`;
//! the sources themselves know nothing of it. The simulation is then run once with each, and must fail.
//!
//! ```text
//! scripts/faults                      # every fault, and after how many frames it was found
//! SEPTUM_FAULTS=guard scripts/faults  # those whose name contains this
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

#[derive(Deserialize)]
struct Faults {
    fault: Vec<Fault>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fault {
    name: String,
    /// Under `dataplane/src`.
    file: PathBuf,
    /// The text behind which the expression stands, where it stands in several places.
    #[serde(default)]
    after: String,
    /// The expression that is right.
    find: String,
    /// The expression that is wrong.
    with: String,
}

/// Frames in which every fault must be found.
const FRAMES: u64 = 1_000_000;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace")
}

fn faults() -> Vec<Fault> {
    let text = fs::read_to_string(root().join("tests/faults.toml")).expect("the list is there");
    let faults: Faults = toml::from_str(&text).unwrap_or_else(|error| panic!("tests/faults.toml: {error}"));
    faults.fault
}

/// Where in `source` the fault's expression begins.
fn place(fault: &Fault, source: &str) -> Result<usize, String> {
    let name = &fault.name;
    let begin = match source.split_once(&fault.after) {
        Some((_, behind)) if !fault.after.is_empty() && behind.contains(&fault.after) => {
            return Err(format!("{name}: {:?} stands in several places", fault.after));
        }
        Some((before, _)) => before.len() + fault.after.len(),
        None => return Err(format!("{name}: {} has no {:?}", fault.file.display(), fault.after)),
    };
    let mut found = source[begin..].match_indices(&fault.find);
    let Some((at, _)) = found.next() else {
        return Err(format!("{name}: {} has no {:?} there", fault.file.display(), fault.find));
    };
    if fault.after.is_empty() && found.next().is_some() {
        return Err(format!("{name}: {:?} stands in several places; say `after`", fault.find));
    }
    Ok(begin + at)
}

/// When the dataplane changes, its faults change with it.
#[test]
fn every_fault_has_its_place_in_the_source() {
    let mut wrong = Vec::new();
    let mut names = std::collections::HashSet::new();
    for fault in faults() {
        let source = fs::read_to_string(root().join("dataplane/src").join(&fault.file)).unwrap_or_default();
        wrong.extend(place(&fault, &source).err());
        if !names.insert(fault.name.clone()) {
            wrong.push(format!("{}: twice", fault.name));
        }
    }
    assert!(names.len() >= 20, "only {} faults", names.len());
    assert!(wrong.is_empty(), "tests/faults.toml:\n{}", wrong.join("\n"));
}

#[test]
#[ignore = "builds a second switch, and runs it once for each fault: scripts/faults"]
fn every_fault_is_found() {
    let wanted = std::env::var("SEPTUM_FAULTS").unwrap_or_default();
    let faults = faults();
    let workshop = root().join("target/faults");
    plant(&faults, &workshop);
    let simulation = build(&workshop);
    println!("{:<34} {:<28} {:>8}  what was found", "fault", "in", "frames");
    if let Some(found) = simulate(&simulation, "") {
        panic!("without a fault, the simulation found: {}", found.what);
    }
    let (mut missed, mut count, mut latest) = (Vec::new(), 0, 0);
    for fault in faults.iter().filter(|fault| fault.name.contains(&wanted)) {
        let file = fault.file.display().to_string();
        count += 1;
        match simulate(&simulation, &fault.name) {
            Some(Found { frames, what }) => {
                latest = latest.max(frames);
                println!("{:<34} {file:<28} {frames:>8}  {what}", fault.name);
            }
            None => {
                println!("{:<34} {file:<28}   MISSED", fault.name);
                missed.push(fault.name.as_str());
            }
        }
    }
    println!("{} of {count} found, the last after {latest} frames of {FRAMES}", count - missed.len());
    assert!(missed.is_empty(), "not found: {missed:?}");
}

/// Copies the workspace to `to`, with every fault in it.
fn plant(faults: &[Fault], to: &Path) {
    for part in [
        "Cargo.toml",
        "Cargo.lock",
        "rules",
        "classifier",
        "dataplane",
        "tests",
        "benches",
        "examples",
        "docs",
    ] {
        copy(&root().join(part), &to.join(part));
    }
    let sources = to.join("dataplane/src");
    let mut files: Vec<_> = faults.iter().map(|fault| &fault.file).collect();
    files.sort();
    files.dedup();
    for file in files {
        let path = sources.join(file);
        let mut text = fs::read_to_string(&path).expect("a source file");
        // From the back, so that places stay true. Several faults may share an expression.
        let mut places: BTreeMap<usize, Vec<(usize, &Fault)>> = BTreeMap::new();
        for (number, fault) in faults.iter().enumerate().filter(|(_, fault)| fault.file == *file) {
            let at = place(fault, &text).unwrap_or_else(|why| panic!("{why}"));
            places.entry(at).or_default().push((number, fault));
        }
        for (at, here) in places.into_iter().rev() {
            let right = here[0].1.find.as_str();
            let mut all = String::from("(");
            for (number, fault) in &here {
                assert_eq!(fault.find, right, "{}: overlaps another fault", fault.name);
                let _ = write!(all, "if crate::fault::is({number}) {{ {} }} else ", fault.with);
            }
            let _ = write!(all, "{{ {right} }})");
            text.replace_range(at..at + right.len(), &all);
        }
        write(&path, &text);
    }
    let mut module = String::from(
        "//! Which fault is awake.\nuse std::sync::LazyLock;\n\
         static AWAKE: LazyLock<usize> = LazyLock::new(|| {\n    let name = std::env::var(\"SEPTUM_FAULT\").unwrap_or_default();\n    \
         NAMES.iter().position(|other| *other == name).unwrap_or(usize::MAX)\n});\n\
         /// Whether it is this one.\npub fn is(number: usize) -> bool {\n    *AWAKE == number\n}\nconst NAMES: &[&str] = &[",
    );
    for fault in faults {
        let _ = write!(module, "{:?}, ", fault.name);
    }
    module += "];\n";
    write(&sources.join("fault.rs"), &module);
    let library = sources.join("lib.rs");
    let text = fs::read_to_string(&library).expect("the crate's root");
    let text = format!("#![allow(unused, clippy::all)]\n{text}\npub mod fault;\n");
    // Inner documentation comes first.
    let (documentation, rest): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.starts_with("//!"));
    write(&library, &format!("{}\n{}\n", documentation.join("\n"), rest.join("\n")));
}

/// Writes only what is new, so that nothing is built twice.
fn write(path: &Path, text: &str) {
    if fs::read_to_string(path).is_ok_and(|there| there == text) {
        return;
    }
    fs::create_dir_all(path.parent().expect("a file in a directory")).expect("a directory");
    fs::write(path, text).expect("room for a copy");
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        for entry in fs::read_dir(from).expect("a directory").flatten() {
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else if let Ok(text) = fs::read_to_string(from) {
        write(to, &text);
    } else {
        fs::create_dir_all(to.parent().expect("a file in a directory")).expect("a directory");
        fs::copy(from, to).expect("room for a copy");
    }
}

/// Builds the copy's simulation; gives its program.
fn build(workshop: &Path) -> PathBuf {
    // A place of its own: cargo cannot tell the copy's artifacts from the workspace's.
    let target = root().join("target/faults-build");
    let output = Command::new(env!("CARGO"))
        .args([
            "test",
            "-p",
            "septum",
            "--test",
            "simulation",
            "--no-run",
            "--message-format",
            "json-render-diagnostics",
        ])
        .current_dir(workshop)
        .env("CARGO_TARGET_DIR", target)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "the copy with faults does not build");
    let messages = String::from_utf8_lossy(&output.stdout);
    let mut programs = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    });
    programs.next_back().expect("cargo names the program")
}

/// What the simulation found, and after how many frames.
struct Found {
    frames: u64,
    what: String,
}

/// Runs the copy's simulation with a fault.
fn simulate(simulation: &Path, fault: &str) -> Option<Found> {
    let output = Command::new(simulation)
        .args(["simulation", "--exact", "--nocapture"])
        .current_dir(root())
        .env("SEPTUM_FAULT", fault)
        .env("SEPTUM_SEEDS", "40")
        .env("SEPTUM_FRAMES", FRAMES.to_string())
        .env_remove("SEPTUM_SEED")
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .output()
        .expect("the simulation runs");
    if output.status.success() {
        return None;
    }
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let mut lines = text.lines().skip_while(|line| !line.starts_with("found after"));
    let found = lines.next().and_then(|line| {
        let frames = line.split_whitespace().nth(2)?.parse().ok()?;
        let what = lines.next().unwrap_or_default().chars().take(120).collect();
        Some(Found { frames, what })
    });
    Some(found.unwrap_or_else(|| panic!("{fault}: the simulation did not run:\n{text}")))
}
