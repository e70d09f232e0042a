//! The verbs that read policies, as a person or a script runs them: the built binary, its output and its exit status.

#[path = "commands/bench.rs"]
mod bench;
#[path = "commands/check.rs"]
mod check;
#[path = "commands/diff.rs"]
mod diff;
#[path = "commands/docs.rs"]
mod docs;
#[path = "commands/fmt.rs"]
mod fmt;
#[path = "commands/json.rs"]
mod json;
#[path = "commands/promises.rs"]
mod promises;
#[path = "commands/prove.rs"]
mod prove;

#[path = "commands/questions.rs"]
mod questions;
#[path = "commands/schema.rs"]
mod schema;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// Two workloads and a rule.
const PAIR: &str = r#"version = 1

[segment.lan]
subnet = ["10.1.0.0/24"]

[workload.left]
segment = "lan"
ip      = ["10.1.0.1"]

[workload.right]
segment = "lan"
ip      = ["10.1.0.2"]

[[rule]]
name  = "left-to-right"
from  = "name=left"
to    = "name=right"
allow = ["tcp/80"]
"#;

/// What a command left.
struct Ran {
    status: i32,
    stdout: String,
    stderr: String,
}

impl Ran {
    /// Its output, which must be one JSON document.
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

fn septum<A: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = A>) -> Ran {
    septum_with_input(arguments, "")
}

fn septum_with_input<A: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = A>, input: &str) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_septum"))
        .args(arguments)
        .current_dir(root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // It may end without reading.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("the binary ends");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    let status = output.status.code().expect("it was not killed");
    Ran { status, stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn examples() -> Vec<PathBuf> {
    let folder = fs::read_dir(root().join("examples")).expect("examples/");
    folder.map(|entry| entry.expect("an entry").path()).collect()
}

/// A folder with one file in it, and the file's path.
fn file(name: &str, text: &str) -> (TempDir, PathBuf) {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join(name);
    fs::write(&path, text).expect("the folder is writable");
    (folder, path)
}
