//! Reading policies from files, includes and all.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use septum_rules::diagnostic::Diagnostics;
use septum_rules::load::{self, Input, Loaded, MOST_BYTES};

use super::failure::Failure;
use crate::clock::today;
use crate::snapshot::CompiledPolicy;

/// Reads a policy and what it includes.
///
/// # Errors
/// When a file cannot be read, or is no policy.
pub(super) fn read(path: &Path) -> Result<Loaded, Failure> {
    Ok(load(path)??)
}

/// Reads a policy and what it includes; what is wrong with the policy itself is given as it is.
///
/// # Errors
/// When its first file cannot be read.
pub(super) fn load(path: &Path) -> Result<Result<Loaded, Diagnostics>, Failure> {
    Ok(load::load(input(path)?, &mut find))
}

/// A file that a person named.
///
/// # Errors
/// When it cannot be read.
pub(super) fn input(path: &Path) -> Result<Input, Failure> {
    read_file(path).map_err(|error| {
        Failure::because(Failure::INPUT, format_args!("cannot read `{}`", path.display()), &error)
            .fix("give the path of a policy file that you may read")
    })
}

/// Reads a policy, tells its warnings on standard error, and compiles it for today.
///
/// # Errors
/// When a file cannot be read, is no policy, or exceeds a limit of the compiled form.
pub(super) fn compile(path: &Path) -> Result<CompiledPolicy, Failure> {
    let loaded = read(path)?;
    eprint!("{}", loaded.warnings);
    CompiledPolicy::compile(loaded.policy.into(), today()).map_err(|error| {
        let reason = format_args!("`{}` exceeds a limit of the compiled policy", path.display());
        Failure::because(Failure::INPUT, reason, &error)
    })
}

/// The files that `pattern` means, seen from the file `from`, sorted by name.
fn find(pattern: &str, from: &str) -> Result<Vec<Input>, String> {
    let folder = Path::new(from).parent().unwrap_or(Path::new(""));
    if !pattern.contains(['*', '?', '[']) {
        return read_file(&folder.join(pattern)).map(|input| vec![input]).map_err(|error| error.to_string());
    }
    // The folder is no pattern, whatever characters its name has.
    let folder = glob::Pattern::escape(&folder.to_string_lossy());
    let whole = Path::new(&folder).join(pattern);
    let paths = glob::glob(&whole.to_string_lossy()).map_err(|error| error.to_string())?;
    let read = |path: glob::GlobResult| {
        let path = path.map_err(|error| error.to_string())?;
        read_file(&path).map_err(|error| format!("`{}`: {error}", path.display()))
    };
    paths.map(read).collect()
}

/// Reads as much of a file as a policy may have, and a byte more, so that a larger one is noticed.
fn read_file(path: &Path) -> io::Result<Input> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(Input::new(path.display().to_string(), bytes))
}
