//! Super-frames: bulk TCP passes whole, inside a segment and through the gateway, and no stack finds a wrong checksum.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener};
use std::thread;

use libtest_mimic::{Failed, Trial};
use rustix::process::Signal;

use crate::host::{Host, PATIENCE};
use crate::lab::Lab;
use crate::trio::TRIO;

const CHUNK: usize = 64 * 1024;

/// What goes over each path.
pub(crate) const BYTES: usize = 52 << 20;

pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test("bulk::super_frames_arrive_whole", super_frames_arrive_whole)]
}

fn super_frames_arrive_whole() -> Result<(), Failed> {
    let lab = Lab::new(TRIO)?;
    let running = lab.start()?;
    let (a, b, c) = (lab.host("a"), lab.host("b"), lab.host("c"));
    for to in [&b, &c] {
        for ipv4 in [true, false] {
            transfer(&a, to, to.address(ipv4))?;
        }
    }
    for host in [&a, &b, &c] {
        assert_eq!(checksum_errors(host)?, 0);
    }
    let summary = running.end(Signal::TERM)?;
    let frames = summary.ports["a"].forwarded;
    assert!(frames * 5000 < 4 * BYTES as u64, "{frames} frames are no super-frames: {summary:#?}");
    lab.assert_empty()
}

/// Sends to an address of `to`; every byte that arrives is compared.
pub(crate) fn transfer(from: &Host, to: &Host, address: IpAddr) -> Result<(), Failed> {
    let chunk: Vec<u8> =
        (0..CHUNK as u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let listener = to.run(|| TcpListener::bind((address, 80)))?;
    let expected = chunk.clone();
    let receiving = thread::spawn(move || -> std::io::Result<usize> {
        let (mut stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(2 * PATIENCE))?;
        let mut received = vec![0; CHUNK];
        let mut total = 0;
        loop {
            let room = CHUNK - total % CHUNK;
            match stream.read(&mut received[..room])? {
                0 => return Ok(total),
                length => {
                    if received[..length] != expected[total % CHUNK..][..length] {
                        return Err(std::io::Error::other(format!("other bytes after {total}")));
                    }
                    total += length;
                }
            }
        }
    });
    let mut stream = from.connect(address, 80, PATIENCE)?;
    stream.set_write_timeout(Some(2 * PATIENCE))?;
    for _ in 0..BYTES / CHUNK {
        stream.write_all(&chunk)?;
    }
    drop(stream);
    let received = receiving.join().map_err(|_| "the receiver panicked")??;
    if received == BYTES { Ok(()) } else { Err(format!("{received} of {BYTES} bytes").into()) }
}

/// What a host's stack counts of them (`/proc/net/snmp` and `snmp6`).
pub(crate) fn checksum_errors(host: &Host) -> Result<u64, Failed> {
    let (tables, lines) = host.run(|| -> std::io::Result<_> {
        Ok((
            fs::read_to_string("/proc/thread-self/net/snmp")?,
            fs::read_to_string("/proc/thread-self/net/snmp6")?,
        ))
    })?;
    let mut errors = 0;
    // Two lines a protocol: names, and then numbers.
    let rows: Vec<Vec<&str>> = tables.lines().map(|line| line.split(' ').collect()).collect();
    let mut seen = 0;
    for pair in rows.chunks_exact(2) {
        for (name, value) in pair[0].iter().zip(&pair[1]).filter(|(name, _)| **name == "InCsumErrors") {
            seen += 1;
            errors += value.parse::<u64>().map_err(|_| format!("{name} {value}"))?;
        }
    }
    for line in lines.lines().filter(|line| line.contains("InCsumErrors")) {
        seen += 1;
        errors += line.split_whitespace().last().unwrap_or_default().parse::<u64>()?;
    }
    if seen < 4 { Err("the kernel tells no checksum errors".into()) } else { Ok(errors) }
}
