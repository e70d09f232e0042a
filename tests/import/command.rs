//! The command: files, folders, standard input; the exit status; the file that appears whole or not at all.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use septum_rules::load::load_text;

fn septum(arguments: &[&str], input: Option<&str>) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_septum"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    // A command that reads nothing may have gone.
    let _ = stdin.write_all(input.unwrap_or_default().as_bytes());
    drop(stdin);
    child.wait_with_output().expect("the command ends")
}

const POD: &str = "{apiVersion: v1, kind: Pod, metadata: {name: p}}\n";

#[test]
fn a_folder_is_read_and_the_policy_checks() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("deep")).unwrap();
    std::fs::write(folder.path().join("deep/pod.yml"), POD).unwrap();
    std::fs::write(folder.path().join("notes.txt"), "not a manifest: [").unwrap();
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/import/named-ports.yaml");
    std::fs::copy(cases, folder.path().join("named.yaml")).unwrap();
    let output = folder.path().join("policy.toml");
    let (folder, output) = (folder.path().to_str().unwrap(), output.to_str().unwrap());
    let imported = septum(&["import", "kubernetes", folder, "-o", output], None);
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    assert!(String::from_utf8_lossy(&imported.stdout).ends_with("8 pods, 2 policies, 10 rules\n"));
    let checked = septum(&["check", output], None);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn standard_input_to_standard_output() {
    let json = r#"{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"Pod",
        "metadata":{"name":"p","namespace":"n","labels":{"a":"b"}},"status":{"podIP":"10.0.0.1"}}]}"#;
    let output = septum(&["import", "kubernetes", "-"], Some(json));
    assert!(output.status.success());
    let policy = load_text("out", std::str::from_utf8(&output.stdout).unwrap()).unwrap().policy;
    assert_eq!(&*policy.workloads[0].name, "n/p");
    assert_eq!(&*policy.workloads[0].labels["pod.a"], "b");
}

#[test]
fn bad_input_writes_nothing_and_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("policy.toml");
    let bad = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {hostNetwork: true}\n";
    let arguments = ["import", "kubernetes", "-", "-o", output.to_str().unwrap()];
    let refused = septum(&arguments, Some(bad));
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).starts_with("<standard input>:4:21: error[S0704]"));
    assert!(!output.exists());
    let nothing = septum(&arguments, Some(""));
    assert_eq!(nothing.status.code(), Some(2));
    let missing = septum(&["import", "kubernetes", "no/such/file"], None);
    assert_eq!(missing.status.code(), Some(2));
    let skipped = septum(
        &[&arguments[..], &["--skip-unsupported"]].concat(),
        Some(&format!("{bad}---\n{POD}").replacen("name: p}", "name: q}", 1)),
    );
    assert!(skipped.status.success(), "{}", String::from_utf8_lossy(&skipped.stderr));
    assert!(std::fs::read_to_string(output).unwrap().contains("<standard input>:4:21"));
}

#[test]
fn a_filter_set_becomes_a_policy() {
    let filter = "@10.0.0.0/8 0.0.0.0/0 0 : 65535 443 : 443 0x06/0xFF 0x0000/0x0000\n";
    let output = septum(&["import", "classbench", "-"], Some(filter));
    assert!(output.status.success());
    load_text("out", std::str::from_utf8(&output.stdout).unwrap()).unwrap();
    assert_eq!(septum(&["import", "classbench", "-"], Some("what\n")).status.code(), Some(2));
}
