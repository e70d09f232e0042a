//! The host behind a device that is read through AF_PACKET: it gets nothing of what the workload sends.

use std::fs;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use septum::port::{Inside, Port, PortError, Substitute};
use septum::sys::namespace::NetworkNamespace;
use septum::sys::netlink::{Link, Netlink};
use septum::wire::vnet_hdr::VnetHeader;
use septum_rules::mac::MacAddress;
use septum_rules::workload::{PortKind, PortSpec};

use crate::devices::raw;
use crate::ports::{PATIENCE, receive_until, tap};

const HOST: &str = "192.0.2.1";
const PORT: u16 = 5555;
/// How long the host is listened to where it must hear nothing.
const SILENCE: Duration = Duration::from_millis(300);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("shield::the_host_hears_nothing_and_the_switch_all", the_host_hears_nothing),
        Trial::test("shield::what_a_killed_switch_left_is_taken_over", what_was_left_is_taken_over),
    ]
}

fn the_host_hears_nothing() -> Result<(), Failed> {
    let namespace = NetworkNamespace::anonymous()?;
    let near = prepare(&namespace)?;
    let listener = namespace.run(|| UdpSocket::bind(("0.0.0.0", PORT)))??;
    listener.set_read_timeout(Some(SILENCE))?;
    let (mut sender, _receiver) = raw(&namespace, "far")?;
    let broadcast = MacAddress([0xff; 6]);
    let own = near.mac.ok_or("no MAC")?;
    let mut buffer = [0; 100];

    // The test itself: without the switch both ways reach the listener, once the kernel has made the fresh link ready.
    let deadline = Instant::now() + PATIENCE;
    for to in [broadcast, own] {
        loop {
            sender.send_to(&datagram(to), None).ok_or("no buffer")??;
            match listener.recv(&mut buffer) {
                Ok(_) => break,
                Err(error) if Instant::now() > deadline => {
                    return Err(format!("unshielded, {to}: {error}").into());
                }
                Err(_) => {}
            }
        }
    }
    while listener.recv(&mut buffer).is_ok() {}

    let mut port = open(&namespace)?;
    let mut queues = port.take_queues();
    for to in [broadcast, own] {
        let sent = datagram(to);
        sender.send_to(&sent, None).ok_or("no buffer")??;
        receive_until(&mut queues, |frame| frame[VnetHeader::LENGTH..] == sent[..])
            .ok_or_else(|| format!("the switch did not get the frame to {to}"))?;
        if listener.recv(&mut buffer).is_ok() {
            return Err(format!("the host got the frame to {to}").into());
        }
    }

    drop(port);
    listener.set_read_timeout(Some(PATIENCE))?;
    sender.send_to(&datagram(own), None).ok_or("no buffer")??;
    listener.recv(&mut buffer).map_err(|error| format!("not as before: {error}"))?;
    // Nothing is left that would stand in the way.
    namespace.run(|| -> std::io::Result<()> {
        let missing = Netlink::open()?.delete_ingress_discard(near.index);
        assert!(missing.is_err(), "a clsact discipline was left");
        Ok(())
    })??;
    Ok(())
}

fn what_was_left_is_taken_over() -> Result<(), Failed> {
    let namespace = NetworkNamespace::anonymous()?;
    let near = prepare(&namespace)?;
    namespace.run(|| Netlink::open()?.add_ingress_discard(near.index))??;
    drop(open(&namespace)?);
    let deleted = namespace.run(|| Netlink::open()?.delete_ingress_discard(near.index))?;
    assert!(deleted.is_err(), "a clsact discipline was left");
    Ok(())
}

/// A pair `near` and `far`, both up, in a host that takes what comes from anywhere for its address.
fn prepare(namespace: &NetworkNamespace) -> Result<Link, Failed> {
    namespace.run(|| -> Result<Link, Failed> {
        let mut netlink = Netlink::open()?;
        netlink.add_veth("near", "far", None)?;
        for device in ["all", "near"] {
            fs::write(format!("/proc/sys/net/ipv4/conf/{device}/rp_filter"), "0")?;
        }
        let loopback = netlink.link("lo")?;
        netlink.set_up(loopback.index, true)?;
        netlink.add_address(loopback.index, HOST.parse()?, 32)?;
        for device in ["far", "near"] {
            let link = netlink.link(device)?;
            netlink.set_up(link.index, true)?;
        }
        // A way back to the sender, without which the host takes it for an impostor.
        let near = netlink.link("near")?;
        netlink.add_address(near.index, "198.51.100.1".parse()?, 24)?;
        Ok(near)
    })?
}

fn open(namespace: &NetworkNamespace) -> Result<Port, PortError> {
    let spec = PortSpec { kind: PortKind::Packet, configure: false, ..tap("near") };
    Port::open_in(&spec, namespace, &Inside::default(), 1, Substitute::Never)
}

/// UDP from 198.51.100.9 to the listener, without a UDP checksum (RFC 768).
fn datagram(to: MacAddress) -> Vec<u8> {
    let payload = [0x5a; 32];
    let length = (8 + payload.len()) as u16;
    let mut header = [0_u8; 20];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&(20 + length).to_be_bytes());
    header[8] = 64;
    header[9] = 17;
    header[12..16].copy_from_slice(&[198, 51, 100, 9]);
    header[16..20].copy_from_slice(&[192, 0, 2, 1]);
    let mut sum: u32 = header.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    sum = (sum & 0xffff) + (sum >> 16);
    header[10..12].copy_from_slice(&(!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes());

    let mut frame = to.0.to_vec();
    frame.extend_from_slice(&[0x02, 0, 0, 0, 0, 9, 0x08, 0x00]);
    frame.extend_from_slice(&header);
    for field in [4000, PORT, length, 0] {
        frame.extend_from_slice(&field.to_be_bytes());
    }
    frame.extend_from_slice(&payload);
    frame
}
