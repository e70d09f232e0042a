//! Found cases, `tests/cases/frames/*.toml`: frames that once did what they should not, or nearly did, each with its end.

use septum::drop_reason::DropReason;
use septum::pipeline::End;
use serde::Deserialize;

use crate::checker::Checker;
use crate::page::root;
use crate::rig::{Build, Rig};
use crate::world::atlas;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// What it shows.
    why: String,
    /// Entries of the connection table.
    #[serde(default = "plenty")]
    connections: usize,
    frame: Vec<Frame>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Frame {
    from: String,
    /// The policy by which it is judged, if that changes now: the name of a variant.
    policy: Option<String>,
    /// Seconds that pass before it.
    #[serde(default)]
    after: u32,
    /// Virtio header first.
    hex: String,
    /// `forwarded`, `copied`, `replied`, or why it is dropped.
    end: String,
}

fn plenty() -> usize {
    4096
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let text =
        |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hexadecimal");
    digits.chunks(2).map(text).collect()
}

fn play(case: &Case) -> Result<(), String> {
    let mut rig = Rig::new(Build { connections: case.connections, ..Build::plain() }, 1);
    let mut checker = Checker::default();
    for (number, frame) in case.frame.iter().enumerate() {
        if let Some(policy) = &frame.policy {
            let rules = atlas().rules.iter().position(|rules| rules.name == policy);
            rig.change(rules.ok_or_else(|| format!("no policy {policy:?}"))?);
            rig.catch_up(0);
        }
        rig.tick += frame.after * 8;
        let port = rig.ports[atlas().host_named(&frame.from)].ok_or("every host is attached")?;
        let bytes = bytes(&frame.hex);
        let outcome = rig.burst(0, port, &[&bytes]);
        let end = match outcome.ends[0] {
            End::Forward(_) => "forwarded",
            End::Copied => "copied",
            End::Replied => "replied",
            End::Dropped(reason) | End::Rejected(reason) | End::Asked(reason, _) => reason.name(),
        };
        if end != frame.end {
            return Err(format!("frame {number}: {end}, not {}", frame.end));
        }
        if !matches!(end, "forwarded" | "copied" | "replied") && DropReason::by_name(end).is_none() {
            return Err(format!("frame {number}: there is no end {end}"));
        }
        checker.judge(&rig, (0, port), &[&bytes], &outcome)?;
        rig.balance()?;
    }
    Ok(())
}

#[test]
fn every_found_case_ends_as_it_says() {
    let folder = root().join("tests/cases/frames");
    let mut wrong = Vec::new();
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("the folder of cases").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(entry.path()).expect("a readable file");
        let case: Case = toml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!case.why.is_empty(), "{name} says not why");
        wrong.extend(play(&case).err().map(|why| format!("{name}: {why}")));
        count += 1;
    }
    assert!(wrong.is_empty() && count != 0, "{}", wrong.join("\n"));
}
