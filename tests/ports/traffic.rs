//! Kernel stacks on both sides of a wire between two ports: datagrams, connections, super-frames.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::thread;

use libtest_mimic::{Failed, Trial};
use septum::port::{Device, Substitute};

use crate::namespace::needs_tun;
use crate::ports::{Carried, Host, PATIENCE, Wire};

/// What two ports of a pair are made of, and its name.
pub(crate) const PAIRS: [(&str, Substitute, Substitute); 3] = [
    ("tap_to_tap", Substitute::Never, Substitute::Never),
    ("veth_to_veth", Substitute::Always, Substitute::Always),
    ("tap_to_veth", Substitute::Never, Substitute::Always),
];

pub(crate) fn trials() -> Vec<Trial> {
    PAIRS
        .into_iter()
        .map(|(name, one, other)| {
            let test = move || both_families(one, other);
            let trial = Trial::test(format!("traffic::{name}_both_families"), test);
            if one == Substitute::Never { needs_tun(trial) } else { trial }
        })
        .collect()
}

fn both_families(one: Substitute, other: Substitute) -> Result<(), Failed> {
    let mut one = Host::new(1, "left", one)?;
    let mut other = Host::new(2, "right", other)?;
    let wire = Wire::between(&mut one.port, &mut other.port);
    for family in 0..2 {
        datagram(&one, &other, family)?;
        bulk(&one, &other, family)?;
        bulk(&other, &one, family)?;
    }
    let Carried { frames, super_frames, unfinished_checksums, undelivered, .. } = wire.end();
    if super_frames == 0 || unfinished_checksums == 0 {
        return Err(format!(
            "{frames} frames, {super_frames} super-frames, {unfinished_checksums} unfinished"
        )
        .into());
    }
    // A full socket buffer may lose frames of a TCP bulk; TAP devices take all that fits their rings.
    if one.port.device() == Device::Tap && other.port.device() == Device::Tap && undelivered > 0 {
        return Err(format!("{undelivered} of {frames} frames undelivered").into());
    }
    Ok(())
}

pub(crate) fn datagram(from: &Host, to: &Host, family: usize) -> Result<(), Failed> {
    let server = to.udp(to.addresses[family]);
    let client = from.udp(from.addresses[family]);
    client.send_to(b"question", server.local_addr()?)?;
    let mut buffer = [0; 100];
    let (length, peer) = server.recv_from(&mut buffer)?;
    assert_eq!((&buffer[..length], peer), (&b"question"[..], client.local_addr()?));
    server.send_to(b"answer", peer)?;
    let (length, _) = client.recv_from(&mut buffer)?;
    assert_eq!(&buffer[..length], b"answer");
    Ok(())
}

/// A transfer to a host's own address.
pub(crate) fn bulk(from: &Host, to: &Host, family: usize) -> Result<(), Failed> {
    transfer(from, to, to.addresses[family])
}

/// Sixteen megabytes to an address of `to`, every byte of which is checked.
pub(crate) fn transfer(from: &Host, to: &Host, address: IpAddr) -> Result<(), Failed> {
    const CHUNKS: usize = 256;
    let chunk: Vec<u8> =
        (0..65_536_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let listener = to.listen(address);
    let server: SocketAddr = listener.local_addr()?;
    let expected = chunk.clone();
    let receiving = thread::spawn(move || -> std::io::Result<bool> {
        let (mut stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut received = vec![0; expected.len()];
        for _ in 0..CHUNKS {
            stream.read_exact(&mut received)?;
            if received != expected {
                return Ok(false);
            }
        }
        Ok(stream.read(&mut received)? == 0)
    });
    let mut stream = from.connect(server)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    for _ in 0..CHUNKS {
        stream.write_all(&chunk)?;
    }
    drop(stream);
    let whole = receiving.join().map_err(|_| "the receiver panicked")??;
    if whole { Ok(()) } else { Err("what came is not what was sent".into()) }
}
