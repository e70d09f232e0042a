//! Every file of `tests/cases/diagnostics` is a policy with something wrong. Its first line says what must be
//! reported, in the order of places:
//!
//! ```toml
//! # expect: S0301 4:11, S0201 5:1
//! ```
//!
//! A file whose name begins with `warn-` must load, with these warnings. One that begins with `tests-` is read as a
//! file of tests against `three-tier` below. The report must also print, with place, code and source line.

use std::path::{Path, PathBuf};

use septum_rules::diagnostic::Diagnostics;
use septum_rules::load::{Include, Input, NoIncludes, load, load_tests, load_text};

const BASE: &str = r#"
version = 1
[segment.dmz]
subnet = ["10.10.0.0/24"]
gateway = "10.10.0.1"
[workload.web-1]
segment = "dmz"
ip = "10.10.0.11"
labels = { app = "web" }
[workload.db-1]
segment = "dmz"
ip = "10.10.0.12"
labels = { app = "db" }
[service]
postgres = ["tcp/5432"]
[[rule]]
name = "web-to-db"
from = "app=web"
to = "app=db"
allow = ["postgres"]
"#;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/diagnostics")
}

/// Includes are files of the folder's `included/`.
struct Beside;

impl Include for Beside {
    fn find(&mut self, pattern: &str, _from: &str) -> Result<Vec<Input>, String> {
        let path = folder().join(pattern);
        let bytes = std::fs::read(path).map_err(|error| error.kind().to_string())?;
        Ok(vec![Input { name: pattern.to_owned(), bytes }])
    }
}

fn report(path: &Path) -> (Diagnostics, bool) {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let bytes = std::fs::read(path).unwrap();
    if name.starts_with("tests-") {
        let policy = load_text("base.toml", BASE).expect("the base is right").policy;
        return match load_tests(Input { name, bytes }, &policy) {
            Ok(_) => (Diagnostics::default(), true),
            Err(diagnostics) => (diagnostics, false),
        };
    }
    match load(Input { name, bytes }, &mut Beside) {
        Ok(loaded) => (loaded.warnings, true),
        Err(diagnostics) => (diagnostics, false),
    }
}

fn expected(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap();
    let first = String::from_utf8_lossy(bytes.split(|byte| *byte == b'\n').next().unwrap()).into_owned();
    first
        .strip_prefix("# expect: ")
        .unwrap_or_else(|| panic!("{}: no `# expect: `", path.display()))
        .trim()
        .to_owned()
}

#[test]
fn every_malformed_file_is_reported_where_it_says() {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    paths.sort();
    let mut wrong = Vec::new();
    for path in &paths {
        let (diagnostics, loaded) = report(path);
        let found: Vec<String> = diagnostics
            .items
            .iter()
            .map(|item| {
                let place = diagnostics.place(item);
                let file =
                    if path.ends_with(&*place.file) { String::new() } else { format!("{}:", place.file) };
                format!("{} {file}{}:{}", item.code, place.line, place.column)
            })
            .collect();
        let printed = diagnostics.to_string();
        let is_warning = path.file_name().unwrap().to_string_lossy().starts_with("warn-");
        if found.join(", ") != expected(path) || loaded != is_warning {
            wrong.push(format!(
                "{}\n  expected {}\n  found    {}\n{printed}",
                path.display(),
                expected(path),
                found.join(", ")
            ));
        }
        for item in &diagnostics.items {
            let head = format!("{}: {}[{}]: ", diagnostics.place(item), item.severity.name(), item.code);
            assert!(printed.contains(&head), "{printed}");
        }
    }
    assert!(wrong.is_empty(), "{} of {} files:\n{}", wrong.len(), paths.len(), wrong.join("\n"));
    println!("{} files", paths.len());
}

#[test]
fn the_base_is_right() {
    load(Input::new("base.toml", BASE), &mut NoIncludes).map_err(|error| error.to_string()).unwrap();
}

/// The examples of the language reference are the reports of corpus files, to the letter.
#[test]
fn the_examples_in_the_reference_are_printed_so() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/policy.md");
    let page = std::fs::read_to_string(path).unwrap();
    let examples: Vec<&str> = page
        .split("```text\n")
        .skip(1)
        .map(|rest| rest.split_once("```").expect("the fence is closed").0)
        .collect();
    assert!(examples.len() >= 10, "{} examples", examples.len());
    for example in examples {
        let file = example.split_once(':').expect("an example begins with its place").0;
        let printed = report(&folder().join(file.trim_start_matches("included/"))).0.to_string();
        assert_eq!(example, printed);
    }
}
