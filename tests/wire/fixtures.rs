//! Frames that nobody here made: tcpdump's captures (many are malformed on purpose) and Open vSwitch's test packets.
//!
//! Every one is parsed or refused for a reason, and etherparse agrees. They lie in `../shared/fixtures` beside the
//! repository, or where SEPTUM_FIXTURES says; where they are absent these tests say so and check nothing.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::frames::parse_plain;
use crate::oracle::compare;

/// A directory of the fixtures, or a visible word that it is not there.
fn fixtures(name: &str) -> Option<PathBuf> {
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
fn say(line: &str) {
    writeln!(std::io::stderr(), "{line}").expect("standard error is open");
}

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
        capture::ethernet_frames(&bytes)
            .into_iter()
            .enumerate()
            .map(move |(number, frame)| (format!("{name}, frame {number}"), frame))
    });
    assert!(check("tcpdump", frames) > 8_000, "the captures hold about 8,200 Ethernet frames");
}

#[test]
fn openvswitch_packets() {
    let Some(directory) = fixtures("openvswitch") else { return };
    let text = std::fs::read_to_string(directory.join("at-packets.json")).expect("the file is there");
    let tests: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let mut frames = Vec::new();
    for test in tests.as_array().expect("a list") {
        for packet in test["packets_hex"].as_array().expect("a list") {
            frames.push((test["test"].to_string(), from_hex(packet.as_str().expect("a string"))));
        }
    }
    for file in files(&directory.join("fuzz-regression")) {
        frames.push((file.display().to_string(), std::fs::read(&file).expect("a readable file")));
    }
    assert!(check("openvswitch", frames) > 350, "361 packets and two crashes");
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.bytes().filter_map(|digit| char::from(digit).to_digit(16)).map(|d| d as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Just enough of pcap (draft-ietf-opsawg-pcap) and pcapng (draft-ietf-opsawg-pcapng) to get at Ethernet frames.
mod capture {
    const ETHERNET: u32 = 1;

    type Word = fn([u8; 4]) -> u32;

    fn word(bytes: &[u8], at: usize, order: Word) -> Option<u32> {
        bytes.get(at..)?.first_chunk().map(|four| order(*four))
    }

    /// The frames of all interfaces whose link type is Ethernet; of a damaged file, those before the damage.
    pub(super) fn ethernet_frames(bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        match bytes.first_chunk() {
            Some([0xa1, 0xb2, 0xc3, 0xd4 | 0xcd] | [0xa1, 0xb2, 0x3c, 0x4d]) => {
                classic(bytes, u32::from_be_bytes, &mut frames)
            }
            Some([0xd4 | 0xcd, 0xc3, 0xb2, 0xa1] | [0x4d, 0x3c, 0xb2, 0xa1]) => {
                classic(bytes, u32::from_le_bytes, &mut frames)
            }
            Some([0x0a, 0x0d, 0x0d, 0x0a]) => next_generation(bytes, &mut frames),
            _ => None,
        };
        frames
    }

    fn classic(bytes: &[u8], order: Word, frames: &mut Vec<Vec<u8>>) -> Option<()> {
        if word(bytes, 20, order)? & 0xffff != ETHERNET {
            return None;
        }
        let mut at = 24;
        loop {
            let length = word(bytes, at + 8, order)? as usize;
            frames.push(bytes.get(at + 16..at.checked_add(16 + length)?)?.to_vec());
            at += 16 + length;
        }
    }

    fn next_generation(bytes: &[u8], frames: &mut Vec<Vec<u8>>) -> Option<()> {
        const SECTION: u32 = 0x0a0d_0d0a;
        const INTERFACE: u32 = 1;
        const ENHANCED_PACKET: u32 = 6;
        let mut order: Word = u32::from_le_bytes;
        let mut link_types = Vec::new();
        let mut at = 0;
        loop {
            let kind = word(bytes, at, order)?;
            if kind == SECTION {
                order = match bytes.get(at + 8..at + 12)? {
                    [0x1a, ..] => u32::from_be_bytes,
                    _ => u32::from_le_bytes,
                };
                link_types.clear();
            }
            let length = word(bytes, at + 4, order)? as usize;
            let block = bytes.get(at..at.checked_add(length)?).filter(|block| block.len() >= 12)?;
            match kind {
                INTERFACE => {
                    let [a, b] = *block.get(8..)?.first_chunk()?;
                    let both = if order([1, 0, 0, 0]) == 1 { [a, b, 0, 0] } else { [0, 0, a, b] };
                    link_types.push(order(both));
                }
                ENHANCED_PACKET => {
                    let interface = word(block, 8, order)? as usize;
                    let captured = word(block, 20, order)? as usize;
                    if link_types.get(interface) == Some(&ETHERNET) {
                        frames.push(block.get(28..28usize.checked_add(captured)?)?.to_vec());
                    }
                }
                _ => {}
            }
            at += length;
        }
    }
}
