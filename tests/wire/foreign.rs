//! Frames that nobody here made: tcpdump's captures (many are malformed on purpose) and Open vSwitch's test packets.
//!
//! Every one is parsed or refused for a reason, and etherparse agrees. Where they are absent these tests say so and check
//! nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::at_packets::at_packets;
use crate::captures::ethernet_frames;
use crate::fixtures::{fixtures, say};
use crate::frames::parse_plain;
use crate::oracle::compare;

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

/// Parses every frame, fails on the first that etherparse reads otherwise, and prints what became of them.
fn check(source: &str, frames: impl IntoIterator<Item = (String, Vec<u8>)>) -> usize {
    let mut outcomes = BTreeMap::<&str, usize>::new();
    let mut count = 0;
    for (name, frame) in frames {
        let outcome = parse_plain(&frame).map_or_else(|reason| reason.name(), |_| "parsed");
        *outcomes.entry(outcome).or_default() += 1;
        if let Err(difference) = compare(&frame) {
            panic!("{name}: {difference}");
        }
        count += 1;
    }
    say(&format!("{source}: {count} frames: {outcomes:?}"));
    count
}

#[test]
fn tcpdump_captures() {
    let Some(directory) = fixtures("tcpdump/tests") else { return };
    let frames = files(&directory).into_iter().flat_map(|file| {
        let bytes = std::fs::read(&file).expect("a readable file");
        let name = file.file_name().expect("a file").to_string_lossy().into_owned();
        ethernet_frames(&bytes)
            .into_iter()
            .enumerate()
            .map(move |(number, frame)| (format!("{name}, frame {number}"), frame))
    });
    assert!(check("tcpdump", frames) > 8_000, "the captures hold about 8,200 Ethernet frames");
}

#[test]
fn openvswitch_packets() {
    let Some(directory) = fixtures("openvswitch") else { return };
    let titled = at_packets(&directory).into_iter();
    let mut frames: Vec<_> = titled
        .flat_map(|(test, packets)| packets.into_iter().map(move |packet| (test.clone(), packet)))
        .collect();
    for file in files(&directory.join("fuzz-regression")) {
        frames.push((file.display().to_string(), std::fs::read(&file).expect("a readable file")));
    }
    assert!(check("openvswitch", frames) > 350, "361 packets and two crashes");
}
