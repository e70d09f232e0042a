//! Unix datagram sockets as ports: what crosses them is plain, and their names come and go.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use libtest_mimic::{Failed, Trial};
use septum::drop_reason::UndeliveredReason;
use septum::port::{Device, Inside, Offloads, Port, PortError, Substitute};
use septum::wire::vnet_hdr::VnetHeader;
use septum_rules::workload::{PortKind, PortSpec};

use crate::namespace::needs_tun;
use crate::ports::{Host, Wire, receive_until, tap, transmit};
use crate::traffic::{bulk, datagram};

/// What systemd sets; a new namespace has 10, less than a window of TCP.
const WAITING: &str = "512";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        needs_tun(Trial::test("datagram::stacks_talk_over_two_of_them", stacks_talk)),
        Trial::test("datagram::frames_are_bare_and_the_other_side_may_come_later", frames_are_bare),
        Trial::test("datagram::a_name_is_its_owners_and_goes_with_the_port", names),
    ]
}

fn spec(folder: &Path, local: &str, remote: &str) -> PortSpec {
    let path = |name| folder.join(name).to_str().expect("a folder of our own").into();
    PortSpec {
        kind: PortKind::Datagram { remote: path(remote) },
        device: path(local),
        namespace: None,
        configure: false,
        ..tap("none")
    }
}

fn open(spec: &PortSpec) -> Result<Port, PortError> {
    Port::open(spec, &Inside::default(), 2, Substitute::Never)
}

/// Two TAPs whose kernels send super-frames and unfinished checksums, and two sockets between them that know neither.
fn stacks_talk() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    fs::write("/proc/sys/net/unix/max_dgram_qlen", WAITING)?;
    let mut near = Host::new(1, "left", Substitute::Never)?;
    let mut far = Host::new(2, "right", Substitute::Never)?;
    let mut here = open(&spec(folder.path(), "here", "there"))?;
    let mut there = open(&spec(folder.path(), "there", "here"))?;
    assert_eq!((here.device(), here.offloads()), (Device::Datagram, Offloads::NONE));
    let wires = [Wire::between(&mut near.port, &mut here), Wire::between(&mut there, &mut far.port)];
    for family in 0..2 {
        datagram(&near, &far, family)?;
        bulk(&near, &far, family)?;
        bulk(&far, &near, family)?;
    }
    for (wire, side) in wires.into_iter().zip(["near", "far"]) {
        let carried = wire.end();
        // The kernel's own stood before the sockets, and none behind them.
        assert!(carried.super_frames > 0 && carried.super_frames < carried.frames / 2, "{side}: {carried:?}");
    }
    Ok(())
}

fn frames_are_bare() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let mut port = open(&spec(folder.path(), "switch", "guest"))?;
    let mut queues = port.take_queues();
    assert_eq!(queues.len(), 2);
    let mut frame = vec![0; VnetHeader::LENGTH];
    frame.extend_from_slice(&[7; 60]);
    let lost = |reason: UndeliveredReason, queue: &mut _| transmit(queue, &frame).undelivered[reason.index()];
    assert_eq!(lost(UndeliveredReason::PortDown, &mut queues[0]), 1);

    for _ in 0..2 {
        // It comes, and comes again.
        let guest = UnixDatagram::bind(folder.path().join("guest"))?;
        for queue in &mut queues {
            assert_eq!(transmit(queue, &frame).transmitted, 1);
            let mut heard = [0; 100];
            assert_eq!(guest.recv(&mut heard)?, 60);
            assert_eq!(heard[..60], frame[VnetHeader::LENGTH..]);
        }
        guest.send_to(&[9; 64], folder.path().join("switch"))?;
        let came = receive_until(&mut queues, |frame| frame.len() == VnetHeader::LENGTH + 64)
            .ok_or("nothing came")?;
        assert_eq!(VnetHeader::read(&came), Some(VnetHeader::default()));
        assert_eq!(came[VnetHeader::LENGTH..], [9; 64]);
        drop(guest);
        assert_eq!(lost(UndeliveredReason::PortDown, &mut queues[0]), 1);
        fs::remove_file(folder.path().join("guest"))?;
    }
    Ok(())
}

fn names() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("switch");
    let plain = spec(folder.path(), "switch", "guest");
    // A killed process leaves its socket behind.
    drop(UnixDatagram::bind(&path)?);
    let port = open(&plain)?;
    assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o777, 0o600);
    let refusal = open(&plain).map(drop).expect_err("it is taken");
    assert!(matches!(refusal, PortError::SocketInUse { .. }), "{refusal}");
    drop(port);
    assert!(!path.exists());

    let group = fs::metadata(folder.path())?.gid();
    let port = open(&PortSpec { group: Some(group), ..plain.clone() })?;
    assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o777, 0o660);
    // Somebody else's by now.
    fs::remove_file(&path)?;
    fs::write(&path, "a file")?;
    drop(port);
    assert_eq!(fs::read(&path)?, b"a file");
    let refusal = open(&plain).map(drop).expect_err("no socket is to be put there");
    assert!(matches!(refusal, PortError::SocketInUse { .. }), "{refusal}");

    let nowhere = spec(&folder.path().join("nowhere"), "switch", "guest");
    assert!(open(&nowhere).is_err());
    Ok(())
}
