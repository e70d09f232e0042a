//! `septum bench`: what the switch carries on this machine, with nothing but this program.
//!
//! In a process tree and namespaces of its own ([`crate::sys::sandbox`]) it joins two hosts ([`stage`]) and measures the
//! chosen [`figures`] over all chosen numbers of rules, ports, flows and sizes. `--attach` measures between two namespaces that
//! something else has joined; `--limit` holds the switch against a loop that only copies ([`limit`]), which nothing on a TAP
//! can beat; `--copy-loop` is that loop as a process of its own.
//!
//! Sender, switch and receiver share the machine's processors, so figures are this machine's, and only those that
//! ran in one go are to be compared. Exit status as everywhere: 2 for bad arguments, 3 where the system refuses what is needed.

mod contrasts;
mod conversations;
mod copy_loop;
mod ends;
mod figures;
mod limit;
mod many;
mod memory;
mod plot;
mod report;
mod stage;
mod traffic;

use std::fs;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;

use self::ends::Ends;
use self::figures::{Figure, Plan};
use self::report::Row;
use self::stage::{Setting, Stage};
use self::traffic::Size;
use super::failure::Failure;
use super::present::Progress;
use super::run::IoChoice;
use crate::patience::Wait;
use crate::sys::{limits, sandbox};

/// `septum bench`
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// What to measure
    #[arg(long, value_enum, value_delimiter = ',', value_name = "FIGURES", default_values_t = Figure::USUAL)]
    figure: Vec<Figure>,
    /// Seconds of each measurement
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0, value_parser = seconds)]
    seconds: f64,
    /// Frame sizes in bytes, frame check sequence included, or `imix` (7 of 64, 4 of 594, 1 of 1518)
    #[arg(long, value_delimiter = ',', value_name = "SIZES", default_value = "64")]
    size: Vec<Size>,
    /// Flows in rotation, each a connection
    #[arg(long, value_delimiter = ',', value_name = "NUMBERS", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    flows: Vec<u32>,
    /// Rules of the policy beside those that decide
    #[arg(long, value_delimiter = ',', value_name = "NUMBERS", default_value = "10", value_parser = clap::value_parser!(u32).range(0..=100_000), conflicts_with = "attach")]
    rules: Vec<u32>,
    /// Ports of the switch; two of them carry the traffic
    #[arg(long, value_delimiter = ',', value_name = "NUMBERS", default_value = "2", value_parser = clap::value_parser!(u16).range(2..=500), conflicts_with = "attach")]
    ports: Vec<u16>,
    /// TCP connections that send at the same time
    #[arg(long, value_delimiter = ',', value_name = "NUMBERS", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=64))]
    streams: Vec<u16>,
    /// Forwarding threads of the switch
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64), conflicts_with = "attach")]
    workers: u16,
    /// How frames are read from TAP devices and written to them
    #[arg(long, value_enum, default_value_t = IoChoice::Auto, conflicts_with = "attach")]
    io: IoChoice,
    /// How the switch's threads, or the copy loop, wait for frames; several are measured one after the other
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WAYS", default_value = "adaptive", conflicts_with_all = ["attach", "limit"])]
    wait: Vec<Wait>,
    /// Search for the greatest rate of frames without loss (RFC 2544 section 26.1), instead of sending as fast as it goes
    #[arg(long)]
    lossless: bool,
    /// Hold the switch against a loop that only copies frames, in one process, by turns
    #[arg(long, conflicts_with_all = ["attach", "lossless", "plot"])]
    limit: bool,
    /// Turns of --limit
    #[arg(long, value_name = "NUMBER", default_value_t = 40, requires = "limit", value_parser = clap::value_parser!(u32).range(4..=100_000))]
    cycles: u32,
    /// Connections that `memory` opens
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections: u32,
    /// Measure between two namespaces (a name, a path, or pid:N) that something else has joined
    #[arg(long, num_args = 2, value_names = ["CLIENT", "SERVER"])]
    attach: Option<Vec<String>>,
    /// The client's address, where its namespace has several
    #[arg(long, value_name = "ADDRESS", requires = "attach")]
    client_address: Option<Ipv4Addr>,
    /// The server's address, where its namespace has several
    #[arg(long, value_name = "ADDRESS", requires = "attach")]
    server_address: Option<Ipv4Addr>,
    /// Create two TAPs and copy frames between them until a signal: what `--limit` compares with, as a process
    #[arg(long, num_args = 2, value_names = ["TAP", "TAP"], hide = true)]
    copy_loop: Option<Vec<String>>,
    /// Draw the figures as an SVG image
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// How to report
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Text,
    /// One JSON document
    Json,
    /// Comma-separated values, a line a figure
    Csv,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.1..=3600.0).contains(&value) => Ok(value),
        _ => Err("write a number of seconds from 0.1 to 3600".to_owned()),
    }
}

/// Measures.
///
/// Must be called while the process has one thread: it may fork into namespaces of its own.
///
/// # Errors
/// When the system refuses what is needed.
pub(super) fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let _ = limits::raise_open_files();
    if let Some(taps) = &arguments.copy_loop {
        let wait = arguments.wait.first().copied().unwrap_or_default();
        return copy_loop::run(&taps[0], &taps[1], arguments.io.io()?, wait);
    }
    if let Some(namespaces) = &arguments.attach {
        let own = [Figure::Ports, Figure::Memory, Figure::Contrasts, Figure::Idle];
        if let Some(figure) = arguments.figure.iter().find(|figure| own.contains(figure)) {
            let reason = format_args!("`{}` is measured of a switch of its own only", figure.name());
            return Err(Failure::new(Failure::INPUT, reason).fix("leave --attach out, or this figure"));
        }
        let ends = Ends::attach(
            [&namespaces[0], &namespaces[1]],
            [arguments.client_address, arguments.server_address],
        )?;
        let progress = Progress::new(arguments.output == Output::Text);
        let rows = measure(arguments, &progress, &ends, None)?;
        return finish(arguments, &rows);
    }
    if arguments.figure.contains(&Figure::Contrasts) && !arguments.limit {
        let reason = "`contrasts` are measured by turns";
        return Err(Failure::new(Failure::INPUT, reason).fix("add --limit, or leave this figure out"));
    }
    let perform = || perform(arguments).unwrap_or_else(|failure| failure.tell());
    sandbox::run(perform).map_err(|error| {
        let reason = "the benchmark needs a process tree and network of its own";
        Failure::because(Failure::ENVIRONMENT, reason, &error).fix(error.fix())
    })
}

/// Everything, inside the sandbox.
fn perform(arguments: &Arguments) -> Result<u8, Failure> {
    let progress = Progress::new(arguments.output == Output::Text);
    let mut rows = Vec::new();
    for &rules in &arguments.rules {
        for (&ports, &wait) in
            arguments.ports.iter().flat_map(|ports| arguments.wait.iter().map(move |wait| (ports, wait)))
        {
            let setting = Setting {
                rules,
                ports,
                workers: arguments.workers,
                io: arguments.io.io()?,
                wait,
                flows: arguments.flows.iter().copied().max().unwrap_or(1),
                talk: false,
                pairs: false,
            };
            if arguments.limit {
                rows.extend(limit::measure(arguments, setting, &progress)?);
                continue;
            }
            if arguments.figure.contains(&Figure::Ports) {
                let duration = Duration::from_secs_f64(arguments.seconds);
                let work = || many::measure(setting, duration);
                rows.push(progress.step(Figure::Ports.doing(), work, report::sentence)?);
            }
            if arguments.figure.contains(&Figure::Memory) {
                let work = || memory::measure(setting, arguments.connections as usize);
                rows.push(progress.step(Figure::Memory.doing(), work, report::sentence)?);
            }
            if plans(arguments).is_empty() {
                continue;
            }
            let open = || Stage::open(setting);
            let stage = progress.step("bringing up the switch", open, |stage| {
                format!("{ports} ports ({}), {rules} rules beside those that decide", stage.devices())
            })?;
            rows.extend(measure(arguments, &progress, stage.ends(), Some((&stage, setting)))?);
            stage.close();
        }
    }
    finish(arguments, &rows)
}

/// All chosen figures between two ends.
fn measure(
    arguments: &Arguments,
    progress: &Progress,
    ends: &Ends,
    switch: Option<(&Stage, Setting)>,
) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    let duration = Duration::from_secs_f64(arguments.seconds);
    for plan in plans(arguments) {
        let work = || {
            if plan.figure == Figure::Idle {
                thread::sleep(many::SETTLE);
            }
            let cpu = switch.map(|(stage, _)| (stage, Instant::now(), stage.cpu(), stage.received()));
            let mut row = plan.measure(ends, duration, arguments.lossless).map_err(|error| {
                let reason = format_args!("{} cannot be measured", plan.figure.name());
                Failure::because(Failure::ENVIRONMENT, reason, &error)
            })?;
            if let Some((stage, began, cpu, received)) = cpu {
                let (spent, frames) = (stage.cpu() - cpu, stage.received() - received);
                row.value("cpu_percent", 100.0 * spent.as_secs_f64() / began.elapsed().as_secs_f64());
                if frames > 0 && plan.figure != Figure::Idle {
                    row.value("cpu_ns_per_frame", spent.as_nanos() as f64 / frames as f64);
                }
            }
            if let Some((_, setting)) = switch {
                row.parameter("rules", setting.rules);
                row.parameter("ports", setting.ports);
                row.parameter("workers", setting.workers);
                row.parameter("wait", setting.wait.name());
            }
            Ok::<_, Failure>(row)
        };
        let row = progress.step(plan.figure.doing(), work, report::sentence)?;
        rows.push(row);
    }
    Ok(rows)
}

fn plans(arguments: &Arguments) -> Vec<Plan> {
    let mut plans = Vec::new();
    for &figure in &arguments.figure {
        let plan = Plan { figure, size: Size::Bytes(64), flows: 1, streams: 1 };
        match figure {
            Figure::Frames => {
                for &size in &arguments.size {
                    plans.extend(arguments.flows.iter().map(|&flows| Plan { size, flows, ..plan }));
                }
            }
            Figure::Tcp => plans.extend(arguments.streams.iter().map(|&streams| Plan { streams, ..plan })),
            Figure::RoundTrip | Figure::Connections | Figure::Idle => plans.push(plan),
            Figure::Ports | Figure::Memory | Figure::Contrasts => {}
        }
    }
    plans
}

fn finish(arguments: &Arguments, rows: &[Row]) -> Result<u8, Failure> {
    if let Some(path) = &arguments.plot {
        fs::write(path, plot::svg(rows)).map_err(|error| {
            let reason = format_args!("{} cannot be written", path.display());
            Failure::because(Failure::ENVIRONMENT, reason, &error)
        })?;
    }
    let text = match arguments.output {
        Output::Text => report::text(rows),
        Output::Json => report::json(rows),
        Output::Csv => report::csv(rows),
    };
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::because(Failure::ENVIRONMENT, "the output cannot be written", &error))
        }
        _ => Ok(0),
    }
}
