//! A workload that lies about who it is: every lie is refused for its own reason, and nobody hears it.

use std::collections::BTreeMap;
use std::net::{IpAddr, UdpSocket};

use libtest_mimic::{Failed, Trial};
use rustix::process::Signal;
use septum_rules::mac::MacAddress;

use crate::forge::{Ends, arp, neighbour};
use crate::host::{Host, PATIENCE, SILENCE};
use crate::lab::Lab;
use crate::trio::{TRIO, assert_served};

pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test("lies::each_is_refused_for_its_own_reason", each_is_refused_for_its_own_reason)]
}

fn v4(address: IpAddr) -> std::net::Ipv4Addr {
    let IpAddr::V4(v4) = address else { unreachable!("asked for IPv4") };
    v4
}

fn v6(address: IpAddr) -> std::net::Ipv6Addr {
    let IpAddr::V6(v6) = address else { unreachable!("asked for IPv6") };
    v6
}

/// What `a` says, and why it is refused.
fn lies(a: &Host, b: &Host, c: &Host) -> Vec<(&'static str, Vec<u8>)> {
    let gateway: IpAddr = "10.1.0.1".parse().expect("an address");
    let nobody = MacAddress([0x02, 0, 0, 0, 0xde, 0xad]);
    let to_b = |mac, from| Ends { macs: (mac, b.mac), addresses: (from, b.address(from.is_ipv4())) };
    let own = |ipv4| a.address(ipv4);
    let claim = |icmp_type, option, target: &Host, mac| {
        to_b(a.mac, own(false)).icmp(
            icmp_type,
            0,
            [0x20, 0, 0, 0],
            &neighbour(v6(target.address(false)), option, mac),
        )
    };
    let mut tagged = to_b(a.mac, own(true)).udp(53, 53, b"lie");
    tagged.splice(12..12, [0x81, 0x00, 0x00, 0x0a]);
    vec![
        ("spoof-mac", to_b(nobody, own(true)).udp(53, 53, b"lie")),
        ("spoof-mac", to_b(c.mac, c.address(false)).udp(53, 53, b"lie")),
        ("spoof-ip", to_b(a.mac, c.address(true)).udp(53, 53, b"lie")),
        ("spoof-ip", to_b(a.mac, c.address(false)).udp(53, 53, b"lie")),
        ("spoof-ip", to_b(a.mac, gateway).udp(53, 53, b"lie")),
        ("spoof-arp", arp(a.mac, 1, (a.mac, v4(c.address(true))), v4(b.address(true)))),
        ("spoof-arp", arp(a.mac, 2, (a.mac, v4(gateway)), v4(b.address(true)))),
        ("spoof-arp", arp(a.mac, 2, (nobody, v4(own(true))), v4(b.address(true)))),
        // An advertisement for another's address, one with another's MAC, a solicitation with another's MAC.
        ("spoof-nd", claim(136, 2, c, a.mac)),
        ("spoof-nd", claim(136, 2, a, nobody)),
        ("spoof-nd", claim(135, 1, b, nobody)),
        // A router's advertisement (RFC 4861 section 4.2), and the answer of a DHCP server (RFC 2131).
        ("rogue-server", to_b(a.mac, a.mac.link_local().into()).icmp(134, 0, [64, 0, 7, 8], &[0; 8])),
        ("rogue-server", to_b(a.mac, own(true)).udp(67, 68, b"lie")),
        ("vlan-unexpected", tagged),
    ]
}

fn each_is_refused_for_its_own_reason() -> Result<(), Failed> {
    let lab = Lab::new(TRIO)?;
    let running = lab.start()?;
    let (a, b, c) = (lab.host("a"), lab.host("b"), lab.host("c"));
    let victim = b.run(|| UdpSocket::bind("[::]:53"))?;
    victim.set_read_timeout(Some(PATIENCE))?;

    let mut told: BTreeMap<&str, u64> = BTreeMap::new();
    let lies = lies(&a, &b, &c);
    for (reason, frame) in &lies {
        a.send_raw(frame)?;
        *told.entry(reason).or_default() += 1;
    }
    // Sent the same way, the truth arrives: the lies were not lost on their way to the switch.
    let honest = Ends { macs: (a.mac, b.mac), addresses: (a.address(true), b.address(true)) };
    a.send_raw(&honest.udp(5353, 53, b"truth"))?;
    let mut heard = [0; 100];
    let length = victim.recv(&mut heard)?;
    assert_eq!(&heard[..length], b"truth");
    victim.set_read_timeout(Some(SILENCE))?;
    assert!(victim.recv(&mut heard).is_err(), "the victim heard a lie");

    for reason in told.keys() {
        lab.await_event(&[("from", "a"), ("reason", reason), ("verdict", "drop")])?;
    }
    lab.await_event(&[("reason", "spoof-ip"), ("source", "10.2.0.12"), ("destination", "10.1.0.11")])?;
    lab.await_event(&[("reason", "spoof-ip"), ("source", "fd00:2::c"), ("destination", "fd00:1::b")])?;

    // Nobody believes anything but the truth.
    drop(victim);
    assert_served(&lab)?;

    let summary = running.end(Signal::TERM)?;
    for (reason, count) in told {
        assert_eq!(summary.dropped(reason), count, "{reason}: {summary:#?}");
    }
    lab.assert_empty()
}
