//! `septum fmt FILE...`: policy files in one layout, comments kept.
//!
//! A file is replaced as a whole or left as it was: the new text is written beside it and renamed over it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use septum_rules::format;
use septum_rules::load::{self, Input, NoIncludes};

use super::failure::Failure;

/// `septum fmt`
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Policy files (TOML); `-` is standard input, formatted to standard output
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Change nothing; name the files that would change, and exit 1 if there are any
    #[arg(long)]
    check: bool,
}

/// Formats files. Every file is tried, also behind one that fails.
///
/// # Errors
/// Never as a whole: what is wrong with a file is told, and the status is the worst.
pub(super) fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let one = |file: &PathBuf| format_one(file, arguments.check).unwrap_or_else(|failure| failure.tell());
    Ok(arguments.files.iter().map(one).max().unwrap_or(0))
}

fn format_one(file: &Path, check: bool) -> Result<u8, Failure> {
    let is_stdin = file == Path::new("-");
    let text = read(file, is_stdin)?;
    let formatted = format::format(&text).map_err(|error| not_toml(file, &text, &error))?;
    let changes = formatted != text;
    if check {
        if changes {
            // A reader that has seen enough closes the pipe: no failure.
            let _ = writeln!(io::stdout(), "{}", file.display());
        }
        return Ok(if changes { Failure::BROKEN } else { 0 });
    }
    if is_stdin {
        // A reader that has seen enough closes the pipe: no failure.
        let _ = io::stdout().write_all(formatted.as_bytes());
    } else if changes {
        replace(file, &formatted).map_err(|error| {
            Failure::because(Failure::INPUT, format_args!("cannot write `{}`", file.display()), &error)
                .fix("make the file and its folder writable; nothing was changed")
        })?;
    }
    Ok(0)
}

fn read(file: &Path, is_stdin: bool) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let limit = load::MOST_BYTES as u64 + 1;
    let read = match is_stdin {
        true => io::stdin().lock().take(limit).read_to_end(&mut bytes),
        false => File::open(file).and_then(|file| file.take(limit).read_to_end(&mut bytes)),
    };
    let cannot = |error: &(dyn std::error::Error + 'static)| {
        Failure::because(Failure::INPUT, format_args!("cannot read `{}`", file.display()), error)
    };
    read.map_err(|error| cannot(&error).fix("give the path of a policy file that you may read"))?;
    if bytes.len() > load::MOST_BYTES {
        let reason = format_args!("`{}` has more than {} bytes", file.display(), load::MOST_BYTES);
        return Err(Failure::new(Failure::INPUT, reason).fix("split it with `include`"));
    }
    String::from_utf8(bytes).map_err(|error| cannot(&error).fix("save the file as UTF-8"))
}

/// The reader of policies tells where and why a text is none.
fn not_toml(file: &Path, text: &str, error: &format::NotToml) -> Failure {
    match load::load(Input::new(file.display().to_string(), text), &mut NoIncludes) {
        Err(mut diagnostics) if !text.trim_start().starts_with('{') => {
            // What is behind the syntax (code S02xx and up) is none of `fmt`'s business.
            diagnostics.items.retain(|item| item.code.number() < 200);
            Failure::from(diagnostics)
        }
        _ => Failure::new(Failure::INPUT, error)
            .at(file.display())
            .fix("`fmt` lays out TOML; JSON is written by programs"),
    }
}

fn replace(file: &Path, text: &str) -> io::Result<()> {
    // Behind a link, the file itself is replaced, not the link.
    let file = fs::canonicalize(file)?;
    let mut name = file.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".septum-fmt-{}", std::process::id()));
    let beside = file.with_file_name(name);
    let permissions = fs::metadata(&file)?.permissions();
    let written = File::create_new(&beside).and_then(|mut new| {
        new.write_all(text.as_bytes())?;
        new.set_permissions(permissions)?;
        new.sync_all()?;
        fs::rename(&beside, &file)
    });
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}
