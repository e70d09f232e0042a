//! Instructions and allocations a frame: figures that the load of the machine does not change.
//!
//! `cargo bench -p septum --bench instructions` prints a table; `-- --csv LABEL` prints rows for
//! `docs/benchmarks/instructions.csv`, which keeps their history. Instructions are counted by valgrind's callgrind,
//! which must be installed: the program runs itself under it with two numbers of bursts, so that the difference holds
//! nothing but bursts. Allocations are counted over bursts after a warm-up; the program fails if there is one.

#[path = "support/switch_in_memory.rs"]
mod switch_in_memory;

use std::process::{Command, ExitCode};

use septum::burst::BURST;
use switch_in_memory::{Kind, SwitchInMemory, Traffic};

/// Bursts before counting begins, and those counted.
const WARM_UP: usize = 2_000;
const COUNTED: usize = 1_000;

const fn traffic(kind: Kind, rules: usize, flows: u32, pairs: u32) -> Traffic {
    Traffic { rules, flows, pairs, kind }
}

const CASES: [(&str, Traffic); 6] = [
    ("forward", traffic(Kind::Forward, 1, 1, 1)),
    ("forward", traffic(Kind::Forward, 10_000, 1, 1)),
    ("forward", traffic(Kind::Forward, 10_000, 100_000, 1)),
    ("refuse", traffic(Kind::Refuse, 10_000, 1_000, 1)),
    ("open", traffic(Kind::Open, 10_000, Traffic::OPENING, 1)),
    ("pairs", traffic(Kind::Forward, 10_000, 1_000, 1_000)),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--run", case, bursts] => {
            let (case, bursts): (usize, usize) = (case.parse().unwrap(), bursts.parse().unwrap());
            let mut switch = SwitchInMemory::new(CASES[case].1);
            (0..bursts).for_each(|_| switch.run());
            ExitCode::SUCCESS
        }
        [] => report(None),
        ["--csv", label] => report(Some(label)),
        _ => {
            eprintln!("usage: instructions [--csv LABEL]");
            ExitCode::from(2)
        }
    }
}

fn report(label: Option<&str>) -> ExitCode {
    if label.is_none() {
        println!(
            "{:<10}{:>8}{:>9}{:>20}{:>13}",
            "traffic", "rules", "flows", "instructions/frame", "allocations"
        );
    }
    let mut total = 0;
    for (case, (name, traffic)) in CASES.iter().enumerate() {
        let allocations = allocations(*traffic);
        total += allocations;
        let instructions = match (count(case, WARM_UP), count(case, WARM_UP + COUNTED)) {
            (Ok(before), Ok(after)) => format!("{:.1}", (after - before) as f64 / (COUNTED * BURST) as f64),
            (Err(error), _) | (_, Err(error)) => {
                eprintln!("instructions are not counted: {error}");
                "-".to_owned()
            }
        };
        let Traffic { rules, flows, .. } = traffic;
        match label {
            Some(label) => println!("{label},{name},{rules},{flows},{instructions},{allocations}"),
            None => println!("{name:<10}{rules:>8}{flows:>9}{instructions:>20}{allocations:>13}"),
        }
    }
    if total == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Allocations in the counted bursts.
fn allocations(traffic: Traffic) -> u64 {
    let mut switch = SwitchInMemory::new(traffic);
    (0..WARM_UP).for_each(|_| switch.run());
    let counted = allocation_counter::measure(|| (0..COUNTED).for_each(|_| switch.run()));
    switch.assert_kind();
    counted.count_total
}

/// Instructions of the whole process that runs so many bursts of a case.
fn count(case: usize, bursts: usize) -> Result<u64, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["--run", &case.to_string(), &bursts.to_string()])
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let collected =
        text.lines().find_map(|line| line.split_once("Collected :").map(|(_, count)| count.trim()));
    collected.and_then(|count| count.parse().ok()).ok_or(text)
}
