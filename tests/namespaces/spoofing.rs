//! The cases of libvirt's network filters, each with real sockets between kernels: no-mac-spoofing, no-ip-spoofing,
//! no-ipv6-spoofing, no-arp-mac-spoofing, no-arp-ip-spoofing, no-other-l2-traffic, no-mac-broadcast, no-ip-multicast,
//! no-promisc, allow-dhcp-server and no-other-rarp-traffic. What `clean-traffic` stands for there needs no word in a policy here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use libtest_mimic::{Failed, Trial};
use rustix::process::Signal;
use septum::sys::netlink::Netlink;
use septum_rules::mac::MacAddress;

use crate::forge::{Ends, arp, neighbour};
use crate::host::{Host, Outcome, PATIENCE, SILENCE, tcp_echo};
use crate::lab::Lab;
use crate::ping::{Heard, Ping};
use crate::trio::{TRIO, assert_served};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test(
            "spoofing::a_stack_that_changes_its_mac_is_cut_off",
            a_stack_that_changes_its_mac_is_cut_off,
        ),
        Trial::test(
            "spoofing::a_stack_that_takes_an_address_is_cut_off",
            a_stack_that_takes_an_address_is_cut_off,
        ),
        Trial::test("spoofing::arp_binds_an_address_to_its_own_mac", arp_binds_an_address_to_its_own_mac),
        Trial::test("spoofing::no_other_protocol_of_layer_2_passes", no_other_protocol_of_layer_2_passes),
        Trial::test("spoofing::broadcast_and_multicast_need_a_rule", broadcast_and_multicast_need_a_rule),
        Trial::test("spoofing::what_is_for_another_is_not_overheard", what_is_for_another_is_not_overheard),
    ]
}

fn v4(address: IpAddr) -> Ipv4Addr {
    let IpAddr::V4(v4) = address else { unreachable!("asked for IPv4") };
    v4
}

/// no-mac-spoofing: the stack itself uses another MAC, for everything that it sends.
fn a_stack_that_changes_its_mac_is_cut_off() -> Result<(), Failed> {
    let lab = Lab::new(TRIO)?;
    let running = lab.start()?;
    let (a, b) = (lab.host("a"), lab.host("b"));
    assert_eq!(a.ping(Ping::new(b.address(true)))?, Heard::Reply);
    let change = |mac: MacAddress| {
        a.run(|| -> std::io::Result<()> {
            let mut netlink = Netlink::open()?;
            let index = netlink.link(&a.device)?.index;
            netlink.set_mac(index, mac)
        })
    };
    for stolen in [b.mac, MacAddress([2, 0, 0, 0, 0, 0x42])] {
        change(stolen)?;
        for ipv4 in [true, false] {
            let ping = Ping { patience: SILENCE, ..Ping::new(b.address(ipv4)) };
            assert_ne!(a.ping(ping).unwrap_or(Heard::Silence), Heard::Reply, "{stolen}");
        }
    }
    lab.await_event(&[("from", "a"), ("reason", "spoof-mac")])?;
    change(a.mac)?;
    assert_eq!(a.tcp(lab.host("c").address(true), 81, SILENCE)?, Outcome::Silence);
    assert_eq!(a.ping(Ping::new(b.address(true)))?, Heard::Reply, "its own MAC is as good as before");
    running.end(Signal::TERM)?.assert_balance();
    lab.assert_empty()
}

/// no-ip-spoofing, no-ipv6-spoofing: the stack itself has taken an address, and its sockets are bound to it.
fn a_stack_that_takes_an_address_is_cut_off() -> Result<(), Failed> {
    let lab = Lab::new(TRIO)?;
    let running = lab.start()?;
    let (a, b, c) = (lab.host("a"), lab.host("b"), lab.host("c"));
    let victim = b.run(|| UdpSocket::bind("[::]:53"))?;
    victim.set_read_timeout(Some(SILENCE))?;
    // It knows its neighbour: else its lie would end as a question for the neighbour's MAC.
    for ipv4 in [true, false] {
        assert_eq!(a.ping(Ping::new(b.address(ipv4)))?, Heard::Reply);
    }
    for stolen in [c.address(true), c.address(false), "10.1.0.99".parse()?, "fd00:1::99".parse()?] {
        let length = if stolen.is_ipv4() { 32 } else { 128 };
        a.run(|| -> std::io::Result<()> {
            let mut netlink = Netlink::open()?;
            let index = netlink.link(&a.device)?.index;
            netlink.add_address(index, stolen, length)?;
            let socket = UdpSocket::bind((stolen, 0))?;
            socket.send_to(b"lie", (b.address(stolen.is_ipv4()), 53)).map(drop)
        })?;
        lab.await_event(&[("from", "a"), ("reason", "spoof-ip"), ("source", &stolen.to_string())])?;
    }
    assert!(victim.recv(&mut [0; 10]).is_err(), "the victim heard a lie");
    running.end(Signal::TERM)?.assert_balance();
    lab.assert_empty()
}

/// no-arp-mac-spoofing, no-arp-ip-spoofing, and their counterpart in neighbour discovery: nobody's cache is poisoned.
fn arp_binds_an_address_to_its_own_mac() -> Result<(), Failed> {
    let lab = Lab::new(TRIO)?;
    let running = lab.start()?;
    let (a, b, c) = (lab.host("a"), lab.host("b"), lab.host("c"));
    let (own, gateway, near) = (v4(a.address(true)), Ipv4Addr::new(10, 1, 0, 1), v4(b.address(true)));
    let nobody = MacAddress([2, 0, 0, 0, 0, 0x42]);
    let told = |target: Ipv6Addr, mac: MacAddress| {
        let ends = Ends { macs: (a.mac, b.mac), addresses: (a.address(false), b.address(false)) };
        ends.icmp(136, 0, [0x20, 0, 0, 0], &neighbour(target, 2, mac))
    };
    let lies = [
        ("spoof-arp", arp(a.mac, 2, (nobody, own), near)),
        ("spoof-arp", arp(a.mac, 1, (nobody, own), near)),
        ("spoof-arp", arp(a.mac, 2, (a.mac, gateway), near)),
        ("spoof-arp", arp(a.mac, 1, (a.mac, v4(c.address(true))), near)),
        ("spoof-arp", arp(a.mac, 2, (a.mac, Ipv4Addr::UNSPECIFIED), near)),
        ("spoof-nd", told("fd00:1::1".parse()?, a.mac)),
        ("spoof-nd", told("fd00:1::a".parse()?, nobody)),
    ];
    for (_, lie) in &lies {
        a.send_raw(lie)?;
    }
    assert_served(&lab)?;
    let summary = running.end(Signal::TERM)?;
    assert_eq!((summary.dropped("spoof-arp"), summary.dropped("spoof-nd")), (5, 2), "{summary:#?}");
    lab.assert_empty()
}

/// An Ethernet frame of any protocol.
fn ethernet(from: &Host, to: MacAddress, ethertype: u16) -> Vec<u8> {
    let mut frame = [to.0, from.mac.0].concat();
    frame.extend(ethertype.to_be_bytes());
    frame.resize(60, 0);
    frame
}

/// no-other-l2-traffic, no-other-rarp-traffic: IPv4, IPv6 and ARP, and nothing else.
fn no_other_protocol_of_layer_2_passes() -> Result<(), Failed> {
    let lab = Lab::new(TRIO)?;
    let running = lab.start()?;
    let (a, b) = (lab.host("a"), lab.host("b"));
    // RARP, IPX, AppleTalk, LLDP, PPPoE, MACsec, EAPOL, slow protocols, an 802.3 length (spanning tree), loopback test.
    let others = [0x8035, 0x8137, 0x809b, 0x88cc, 0x8863, 0x88e5, 0x888e, 0x8809, 0x0026, 0x9000];
    for ethertype in others {
        a.send_raw(&ethernet(&a, b.mac, ethertype))?;
        a.send_raw(&ethernet(&a, MacAddress::BROADCAST, ethertype))?;
    }
    for ethertype in [0x88a8, 0x9100] {
        a.send_raw(&ethernet(&a, b.mac, ethertype))?;
    }
    assert_eq!(a.ping(Ping::new(b.address(true)))?, Heard::Reply);
    let summary = running.end(Signal::TERM)?;
    assert_eq!(summary.dropped("ethertype-unknown"), 2 * others.len() as u64, "{summary:#?}");
    assert_eq!(summary.dropped("vlan-stacked"), 2, "{summary:#?}");
    lab.assert_empty()
}

/// no-mac-broadcast, no-ip-multicast: by default nobody hears it, mDNS and name services of the neighbourhood included.
fn broadcast_and_multicast_need_a_rule() -> Result<(), Failed> {
    let lab = Lab::new(TRIO)?;
    let running = lab.start()?;
    let (a, b) = (lab.host("a"), lab.host("b"));
    let group = Ipv4Addr::new(224, 0, 0, 251);
    let (own, near) = (v4(a.address(true)), v4(b.address(true)));
    let listener = b.run(|| -> std::io::Result<UdpSocket> {
        let socket = UdpSocket::bind("0.0.0.0:5353")?;
        socket.join_multicast_v4(&group, &near)?;
        socket.set_read_timeout(Some(SILENCE))?;
        Ok(socket)
    })?;
    a.run(|| -> std::io::Result<()> {
        let socket = UdpSocket::bind((own, 5353))?;
        socket.set_broadcast(true)?;
        for to in [group, Ipv4Addr::new(10, 1, 0, 255), Ipv4Addr::BROADCAST] {
            socket.send_to(b"who is there", (to, 5353))?;
        }
        Ok(())
    })?;
    assert!(listener.recv(&mut [0; 20]).is_err(), "a group packet passed without a rule");
    lab.await_event(&[("from", "a"), ("reason", "group-no-receiver"), ("destination", "224.0.0.251")])?;
    lab.await_event(&[("from", "a"), ("reason", "group-no-receiver"), ("destination", "10.1.0.255")])?;
    running.end(Signal::TERM)?.assert_balance();
    lab.assert_empty()
}

/// no-promisc, and why it is not needed: a frame is delivered to its owner's port, and unknown unicast to nobody.
fn what_is_for_another_is_not_overheard() -> Result<(), Failed> {
    let lab = Lab::new(TRIO)?;
    let running = lab.start()?;
    let (a, c) = (lab.host("a"), lab.host("c"));
    let nobody = MacAddress([2, 0, 0, 0, 0, 0x42]);
    let stray = Ends { macs: (a.mac, nobody), addresses: (a.address(true), "10.1.0.42".parse()?) };
    const STRAY: usize = 100;
    for _ in 0..STRAY {
        a.send_raw(&stray.udp(40_000, 53, b"anybody?"))?;
    }
    let _server = c.serve(&[80], &[])?;
    let mut stream = a.connect(c.address(true), 80, PATIENCE)?;
    for _ in 0..STRAY {
        assert_eq!(tcp_echo(&mut stream, 100)?, Outcome::Echoed);
    }
    let summary = running.end(Signal::TERM)?;
    assert_eq!(summary.dropped("unknown-destination"), STRAY as u64, "{summary:#?}");
    // b's port has carried nothing of either; the switch itself says a little there.
    let heard = summary.ports["b"].transmitted;
    assert!(heard < STRAY as u64 / 2, "{heard} frames at a port that nobody talked to: {summary:#?}");
    lab.assert_empty()
}
