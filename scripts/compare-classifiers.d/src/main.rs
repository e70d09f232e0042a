//! Septum's classifier and DPDK's ACL library, on the same packets, in one process and on one core, in turns.
//! `scripts/compare-classifiers` builds and runs it; see there.

mod linear;
mod measure;
mod peer;
mod plot;
mod table;
mod trace;

use std::process::ExitCode;

use septum_classifier::SimdPath;
use septum_classifier::filter::Filter;
use septum_rules::import::classbench;
use septum_rules::load::Input;

use crate::measure::Row;
use crate::peer::Peer;

/// What the command line says.
pub struct Options {
    json: bool,
    path: SimdPath,
    /// The shim, where it could be built.
    peer: Option<String>,
    plot: Option<String>,
    pub packets: usize,
    pub rounds: usize,
    pub seed: u64,
    /// Names and files.
    sets: Vec<(String, String)>,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            json: false,
            path: SimdPath::best(),
            peer: None,
            plot: None,
            packets: 500_000,
            rounds: 15,
            seed: 1,
            sets: Vec::new(),
        };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} wants a value"));
            let number =
                |text: String| text.parse::<usize>().map_err(|_| format!("`{text}` is not a number"));
            match argument.as_str() {
                "--json" => options.json = true,
                "--avx2" => options.path = SimdPath::Avx2,
                "--peer" => options.peer = Some(value()?),
                "--plot" => options.plot = Some(value()?),
                "--packets" => options.packets = number(value()?)?.max(1),
                "--rounds" => options.rounds = number(value()?)?.max(1),
                "--seed" => options.seed = number(value()?)? as u64,
                "--set" => options.sets.push((value()?, value()?)),
                other => return Err(format!("`{other}` is not an option")),
            }
        }
        if !options.path.is_available() {
            return Err(format!("this processor has no {}", options.path.name()));
        }
        Ok(options)
    }

    pub fn path(&self) -> SimdPath {
        self.path
    }
}

fn read(name: &str, file: &str) -> Result<Vec<Filter>, String> {
    let bytes = std::fs::read(file).map_err(|error| format!("{name}: {error}"))?;
    let filters = classbench::filters(Input::new(name, bytes)).map_err(|errors| errors.to_string())?;
    if filters.is_empty() {
        return Err(format!("{name} has no filters"));
    }
    Ok(filters.iter().map(Filter::from).collect())
}

fn run() -> Result<bool, String> {
    let options = Options::parse(std::env::args().skip(1))?;
    let peer = match &options.peer {
        None => None,
        Some(path) => Some(Peer::load(path)?),
    };
    let mut rows: Vec<Row> = Vec::new();
    let mut refused = Vec::new();
    for (name, file) in &options.sets {
        let done = |row: Row| {
            if options.json {
                println!("{}", row.json());
            } else {
                eprintln!("{}", row.line());
            }
            rows.push(row);
        };
        let measured =
            read(name, file).and_then(|filters| measure::set(name, &filters, peer.as_ref(), &options, done));
        if let Err(reason) = measured {
            // The others are measured all the same.
            eprintln!("compare-classifiers: {reason}");
            refused.push(name.as_str());
        }
    }
    if !options.json {
        print!("{}", table::table(&rows, options.path));
        if let Some(path) = &options.plot {
            std::fs::write(path, plot::svg(&rows)).map_err(|error| format!("{path}: {error}"))?;
            println!("\nplot: {path}");
        }
    }
    if !refused.is_empty() {
        return Err(format!("not measured: {}", refused.join(", ")));
    }
    Ok(rows.iter().all(|row| row.mismatches == 0))
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("compare-classifiers: mismatches against linear search");
            ExitCode::FAILURE
        }
        Err(message) => {
            eprintln!("compare-classifiers: {message}");
            ExitCode::from(2)
        }
    }
}
