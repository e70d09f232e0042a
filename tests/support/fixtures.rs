//! Packets that nobody here made. They lie in `../shared/fixtures` beside the repository, or where SEPTUM_FIXTURES says.

use std::io::Write as _;
use std::path::{Path, PathBuf};

/// A directory of the fixtures, or a visible word that it is not there.
pub(crate) fn fixtures(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("SEPTUM_FIXTURES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/fixtures"), PathBuf::from);
    let directory = root.join(name);
    if directory.is_dir() {
        return Some(directory);
    }
    say(&format!("SKIPPED: {} is absent (SEPTUM_FIXTURES names another place)", directory.display()));
    None
}

/// Writes past the test harness, which shows what a test prints only when it fails.
pub(crate) fn say(line: &str) {
    writeln!(std::io::stderr(), "{line}").expect("standard error is open");
}
