//! The truth tables as frames: each 5-tuple's opening packet through the pipeline, on ports in memory.

use std::fmt::Write as _;

use septum_rules::import::kubernetes::Options;
use septum_rules::proto::Layer4;

use super::fabric::Fabric;
use super::support::{import, say};
use super::truth_tables::{Step, cells, layer4, load, names, steps};

/// An imported policy with what a switch needs beside it: a MAC for each pod.
fn with_macs(policy: &str) -> String {
    let mut text = String::new();
    let mut pods = 0_u16;
    for line in policy.lines() {
        text += line;
        text.push('\n');
        if line.starts_with("ip ") {
            pods += 1;
            let [high, low] = pods.to_be_bytes();
            writeln!(text, "mac     = \"02:00:00:00:{high:02x}:{low:02x}\"").expect("a string");
        }
    }
    text
}

#[test]
fn every_verdict_of_the_truth_tables_as_a_frame() {
    let Some((folder, cases)) = load() else { return };
    let (mut frames, mut wrong) = (0, Vec::new());
    for Step { title, step, inputs } in steps(&folder, &cases) {
        let mut fabric = Fabric::new(&with_macs(&import(inputs, Options::default()).policy));
        let names = names(step);
        for table in step["tables"].as_array().expect("tables") {
            let service = layer4(table);
            for (number, (from, to, ingress, egress)) in (10_000_u16..).zip(cells(step, table)) {
                // A connection lets later packets pass; and the table of connections is small here.
                if to == 0 {
                    fabric.forget();
                }
                // A pod's packet to itself never reaches a switch.
                if from == to {
                    continue;
                }
                let layer4 = Layer4 { source: number, ..service };
                let arrived = fabric.try_flow(names[from], names[to], true, layer4).is_ok();
                frames += 1;
                if arrived != (ingress && egress) {
                    wrong.push(format!("{title}: {} -> {} {layer4}: {arrived}", names[from], names[to]));
                }
            }
        }
    }
    say(&format!("truth tables as frames: {frames} frames, {} wrong", wrong.len()));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(frames, 110_982);
}
