//! `fmt`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::{PAIR, file, septum, septum_with_input};

const UNTIDY: &str = "version=1 # of the language\n\n\n\n[segment.lan]\nsubnet=[ \"10.0.0.0/8\" ]\n";
const TIDY: &str = "version = 1  # of the language\n\n[segment.lan]\nsubnet = [\"10.0.0.0/8\"]\n";

#[test]
fn a_file_is_laid_out_in_place_with_its_comments_and_permissions() {
    let (folder, path) = file("policy.toml", UNTIDY);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let ran = septum(["fmt", path.to_str().unwrap()]);
    assert_eq!((ran.status, &*ran.stdout, &*ran.stderr), (0, "", ""));
    assert_eq!(fs::read_to_string(&path).unwrap(), TIDY);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn check_names_what_would_change_and_changes_nothing() {
    let (_folder, path) = file("policy.toml", UNTIDY);
    let (_other, tidy) = file("tidy.toml", TIDY);
    let ran = septum(["fmt", "--check", tidy.to_str().unwrap(), path.to_str().unwrap()]);
    assert_eq!((ran.status, ran.stdout), (1, format!("{}\n", path.display())));
    assert_eq!(fs::read_to_string(&path).unwrap(), UNTIDY);
    assert_eq!(septum(["fmt", "--check", tidy.to_str().unwrap()]).status, 0);
}

#[test]
fn a_dash_is_standard_input_to_standard_output() {
    let ran = septum_with_input(["fmt", "-"], UNTIDY);
    assert_eq!((ran.status, &*ran.stdout), (0, TIDY));
}

#[test]
fn what_is_no_toml_is_left_alone_and_told() {
    let (_folder, path) = file("policy.toml", "version = \n");
    let (_other, good) = file("good.toml", &format!("{PAIR}\n\n"));
    let ran = septum(["fmt", path.to_str().unwrap(), good.to_str().unwrap()]);
    assert_eq!(ran.status, 2);
    assert!(ran.stderr.contains(&format!("{}:1:11: error[S0102]", path.display())), "{}", ran.stderr);
    assert_eq!(fs::read_to_string(&path).unwrap(), "version = \n");
    assert_eq!(fs::read_to_string(&good).unwrap(), PAIR, "the other file is formatted all the same");
}
