//! `septum import`: policies that exist elsewhere, as a policy file.
//!
//! What comes out goes to standard output, or with `-o` to a file that appears whole or not at all.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use septum_rules::import::{classbench, kubernetes};
use septum_rules::load::{Input, MOST_BYTES, load_text};

use super::failure::Failure;

/// `septum import`
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    source: Source,
}

#[derive(Debug, clap::Subcommand)]
enum Source {
    /// NetworkPolicies, ClusterNetworkPolicies and AdminNetworkPolicies, with namespaces and pods
    ///
    /// Reads manifests and what `kubectl get -o json` (or yaml) prints. A pod becomes the workload `namespace/pod`.
    Kubernetes {
        /// Files, folders (every .yaml, .yml and .json in them), or `-` for standard input
        #[arg(value_name = "PATH", required = true)]
        paths: Vec<PathBuf>,
        /// Where the policy goes, instead of standard output
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Leave a comment in place of what a policy cannot say, instead of refusing
        #[arg(long)]
        skip_unsupported: bool,
    },
    /// A ClassBench filter set, for benches: every filter a rule, its priority the line
    Classbench {
        /// The filter set, or `-` for standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Where the policy goes, instead of standard output
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

/// Imports.
///
/// # Errors
/// When something cannot be read, or cannot be said as a policy.
pub(super) fn run(arguments: &Arguments) -> Result<u8, Failure> {
    match &arguments.source {
        Source::Kubernetes { paths, output, skip_unsupported } => {
            let mut files = Vec::new();
            for path in paths {
                collect(path, &mut files)?;
            }
            let inputs = files.iter().map(|path| read(path)).collect::<Result<_, _>>()?;
            let options = kubernetes::Options { skip_unsupported: *skip_unsupported };
            let imported = kubernetes::import(inputs, options)?;
            eprint!("{}", imported.warnings);
            if imported.pods + imported.policies == 0 {
                return Err(Failure::new(Failure::INPUT, "there is neither a pod nor a policy to import")
                    .fix("give manifests, or the output of `kubectl get ns,pods,netpol -A -o json`"));
            }
            verify(&imported.policy)?;
            write(output.as_deref(), &imported.policy)?;
            if let Some(output) = output {
                println!(
                    "{}: {} pods, {} policies, {} rules",
                    output.display(),
                    imported.pods,
                    imported.policies,
                    imported.rules
                );
            }
        }
        Source::Classbench { file, output } => {
            let input = read(file)?;
            let filters = classbench::filters(input)?;
            if filters.is_empty() {
                let reason = format_args!("`{}` holds no filter", file.display());
                return Err(Failure::new(Failure::INPUT, reason));
            }
            let policy = classbench::policy(&filters, &file.display().to_string());
            verify(&policy)?;
            write(output.as_deref(), &policy)?;
            if let Some(output) = output {
                println!("{}: {} filters", output.display(), filters.len());
            }
        }
    }
    Ok(0)
}

/// What comes out must be a policy: an address that no host can have, say, is found here.
fn verify(policy: &str) -> Result<(), Failure> {
    match load_text("the imported policy", policy) {
        Ok(_) => Ok(()),
        Err(diagnostics) => Err(diagnostics.into()),
    }
}

/// The files that a path means: itself, or what is in the folder, sorted.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    if path == Path::new("-") || !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let entries = fs::read_dir(path).and_then(|entries| {
        entries
            .map(|entry| entry.and_then(|entry| Ok((entry.path(), entry.file_type()?))))
            .collect::<io::Result<Vec<_>>>()
    });
    let mut entries = entries.map_err(|error| cannot_read(path, &error))?;
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (path, kind) in entries {
        let wanted = ["yaml", "yml", "json"];
        // A link to a folder may lead back here.
        if kind.is_dir() {
            collect(&path, files)?;
        } else if path.is_file()
            && path
                .extension()
                .and_then(|extension| extension.to_str())
                .is_some_and(|extension| wanted.contains(&extension))
        {
            files.push(path);
        }
    }
    Ok(())
}

/// Reads as much of a file as an import may have, and a byte more, so that a larger one is noticed.
fn read(path: &Path) -> Result<Input, Failure> {
    let mut bytes = Vec::new();
    let most = MOST_BYTES as u64 + 1;
    if path == Path::new("-") {
        let read = io::stdin().lock().take(most).read_to_end(&mut bytes);
        read.map_err(|error| Failure::because(Failure::INPUT, "cannot read standard input", &error))?;
        return Ok(Input::new("<standard input>", bytes));
    }
    let read = File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes));
    read.map_err(|error| cannot_read(path, &error))?;
    Ok(Input::new(path.display().to_string(), bytes))
}

fn cannot_read(path: &Path, error: &io::Error) -> Failure {
    Failure::because(Failure::INPUT, format_args!("cannot read `{}`", path.display()), error)
        .fix("give the path of a file or folder that you may read")
}

/// Writes the policy beside its place and then renames it, so that a reader never sees half of it.
fn write(output: Option<&Path>, policy: &str) -> Result<(), Failure> {
    let Some(path) = output else {
        return match io::stdout().lock().write_all(policy.as_bytes()) {
            // Whoever reads may have seen enough.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::because(Failure::ENVIRONMENT, "cannot write to standard output", &error))
            }
            _ => Ok(()),
        };
    };
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    let is_device = path.exists() && !path.is_file();
    let written = if is_device {
        fs::write(path, policy)
    } else {
        fs::write(&beside, policy).and_then(|()| fs::rename(&beside, path))
    };
    written.map_err(|error| {
        // It may never have come to be.
        let _ = fs::remove_file(&beside);
        Failure::because(Failure::ENVIRONMENT, format_args!("cannot write `{}`", path.display()), &error)
            .fix("give a path where you may write")
    })
}
