//! What the fuzz targets do with their bytes: the same functions run under a fuzzer (`fuzz/`) and, on the committed
//! corpus, in every test run. Each panics when the switch does something that it must not.

use septum::burst::ETHERNET;
use septum::pipeline::End;
use septum::port::Offloads;
use septum::segmenter::Segmenter;
use septum::wire::parse::parse;
use septum::wire::vnet_hdr::VnetHeader;

use crate::checker::{Checker, hex};
use crate::craft::*;
use crate::rig::{Build, Rig};
use crate::view::{self, Packet, View};
use crate::world::atlas;

/// A fuzz target.
pub(crate) type Target = fn(&[u8]);

/// The targets by name.
pub(crate) const TARGETS: [(&str, Target); 5] = [
    ("parser", parser),
    ("connections", connections),
    ("fragments", fragments),
    ("segmentation", segmentation),
    ("pipeline", pipeline),
];

/// A frame, virtio header first: the switch's parser and the checker's agree on whatever the switch accepts.
pub(crate) fn parser(bytes: &[u8]) {
    let Some(vnet) = VnetHeader::read(bytes) else { return };
    let Ok(headers) = parse(&bytes[ETHERNET..], &vnet) else { return };
    if headers.tag.is_some() {
        return;
    }
    let seen = view::read(bytes).unwrap_or_else(|why| panic!("accepted: {why}: {}", hex(bytes)));
    assert_eq!((headers.source, headers.destination), (seen.source, seen.destination));
    match (&headers.content, &seen.content) {
        (septum::wire::Content::Ip(ip), view::Content::Ip(packet)) => same(ip, packet),
        (septum::wire::Content::Arp(arp), view::Content::Arp(operation, mac, sender, target)) => {
            assert_eq!((arp.is_request, arp.sender_mac), (*operation == 1, *mac));
            assert_eq!((arp.sender.into(), arp.target.into()), (*sender, *target));
        }
        other => panic!("one sees {other:?}"),
    }
}

fn same(ip: &septum::wire::IpPacket, packet: &Packet) {
    assert_eq!((ip.flow.source, ip.flow.destination), (packet.source, packet.destination));
    assert_eq!((ip.flow.layer4, ip.ttl), (packet.layer4, packet.ttl));
    assert_eq!(usize::from(ip.transport) + VNET, packet.transport);
    assert_eq!((usize::from(ip.payload) + VNET, ip.end as usize + VNET), (packet.payload, packet.end));
    let part = ip.fragment.map(|part| (part.identification, part.offset, part.more, part.length));
    assert_eq!(part, packet.fragment);
    assert_eq!(ip.tcp_flags, packet.tcp.map_or(0, |segment| segment.flags));
    assert_eq!(ip.echo_identifier, packet.identifier);
}

/// A frame, virtio header first: cut for every kind of port, it is what the checker makes of it.
pub(crate) fn segmentation(bytes: &[u8]) {
    let Some(vnet) = VnetHeader::read(bytes) else { return };
    if bytes.len() > septum::burst::SLOT || parse(&bytes[ETHERNET..], &vnet).is_err() {
        return;
    }
    let Ok(View { content: view::Content::Ip(packet), .. }) = view::read(bytes) else { return };
    thread_local! {
        static SEGMENTER: std::cell::RefCell<Segmenter> = std::cell::RefCell::default();
    }
    let checksum_alone = Offloads { checksum: true, ..Offloads::NONE };
    let all_but_datagrams = Offloads { uso: false, ..Offloads::ALL };
    let outside_tunnels = Offloads { tunnel: false, ..Offloads::ALL };
    for offloads in [Offloads::NONE, checksum_alone, all_but_datagrams, outside_tunnels, Offloads::ALL] {
        let mut got = Vec::new();
        let count = SEGMENTER.with_borrow_mut(|segmenter| {
            segmenter.cut(bytes, offloads, |frames| got.extend(frames.iter().map(<[u8]>::to_vec)))
        });
        assert_eq!(count, Ok(got.len() as u64));
        let expected = crate::transform::fitted(bytes, &packet, offloads);
        assert!(
            got == expected,
            "{offloads:?} of {}\n expected {expected:02x?}\n got {got:02x?}",
            hex(bytes)
        );
    }
}

/// Bytes that are taken one after the other; zeros behind the last.
struct Tape<'a>(&'a [u8]);

impl Tape<'_> {
    fn byte(&mut self) -> u8 {
        match self.0 {
            [first, rest @ ..] => {
                self.0 = rest;
                *first
            }
            [] => 0,
        }
    }

    fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    fn slice(&mut self, length: usize) -> Vec<u8> {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken.to_vec()
    }
}

/// The most bursts of one input.
const BURSTS: usize = 200;

/// A switch with two workers, and its judge; the switch is used again for every input, as new.
fn on_a_switch(mut play: impl FnMut(&mut Stage<'_>)) {
    thread_local! {
        static RIG: std::cell::RefCell<Option<Rig>> = const { std::cell::RefCell::new(None) };
    }
    RIG.with_borrow_mut(|rig| {
        let rig = rig.get_or_insert_with(|| {
            let hosts = atlas().hosts.len();
            let offloads =
                (0..hosts).map(|host| if host % 2 == 0 { Offloads::ALL } else { Offloads::NONE }).collect();
            Rig::new(Build { workers: 2, connections: 64, queue: 512, offloads }, 1)
        });
        rig.renew(1);
        let before = rig.balance().expect("the balance holds");
        let mut stage = Stage { rig, checker: Checker::default() };
        play(&mut stage);
        let checker = stage.checker;
        let now = rig.balance().unwrap_or_else(|why| panic!("{why}")).since(&before);
        let counted = (now.received, now.forwarded, now.replied, now.transmitted);
        let tally = &checker.tally;
        assert_eq!(counted, (tally.sent, tally.forwarded, tally.replied, tally.arrived));
        assert_eq!(now.dropped, tally.dropped);
    });
}

struct Stage<'a> {
    rig: &'a mut Rig,
    checker: Checker,
}

impl Stage<'_> {
    fn send(&mut self, worker: usize, host: usize, frames: &[&[u8]]) -> Vec<End> {
        let Some(port) = self.rig.ports[host] else { return Vec::new() };
        let outcome = self.rig.burst(worker, port, frames);
        if let Err(why) = self.checker.judge(self.rig, (worker, port), frames, &outcome) {
            panic!(
                "{why}\n sent by {}: {:?}",
                atlas().hosts[host].name,
                frames.iter().map(|frame| hex(frame)).collect::<Vec<_>>()
            );
        }
        outcome.ends
    }

    /// Time, policies and ports change as a byte says.
    fn happen(&mut self, what: u8) {
        match what & 15 {
            0 => self.rig.tick += 1 + u32::from(what >> 4) * 8,
            1 => self.rig.tick += u32::from(what >> 4) * 20 * 8,
            2 => {
                self.rig.change(usize::from(what >> 4) % atlas().rules.len());
                self.rig.catch_up(usize::from(what >> 7));
            }
            3 => (0..2).for_each(|worker| self.rig.catch_up(worker)),
            _ => {}
        }
    }
}

/// Hosts of the targets that speak in conversations, two by two: who may open what to the other differs.
const PAIRS: [(&str, &str); 4] =
    [("lab-1", "lab-2"), ("web-1", "api-1"), ("api-1", "pay-1"), ("ops-1", "web-2")];

fn draft(pair: (&str, &str), is_back: bool, ipv4: bool, protocol: u8, transport: Vec<u8>) -> (usize, Draft) {
    let (mut from, mut to) = (atlas().host_named(pair.0), atlas().host_named(pair.1));
    if is_back {
        (from, to) = (to, from);
    }
    let draft = Draft {
        macs: (atlas().hosts[from].mac, atlas().next_hop(from, to)),
        source: atlas().hosts[from].address(ipv4).expect("both families"),
        destination: atlas().hosts[to].address(ipv4).expect("both families"),
        ttl: 64,
        protocol,
        identification: 7,
        transport,
        options: Vec::new(),
    };
    (from, draft)
}

/// Who says the next packet of a script to whom, and which worker takes it.
struct Turn {
    pair: (&'static str, &'static str),
    is_back: bool,
    ipv4: bool,
    worker: usize,
}

/// Runs a script of packets, which `say` makes of the next bytes, while time and policy change.
fn play(bytes: &[u8], say: impl Fn(&Turn, u8, &mut Tape<'_>) -> (usize, Vec<u8>)) {
    on_a_switch(|stage| {
        let mut tape = Tape(bytes);
        for _ in 0..BURSTS {
            if tape.0.is_empty() {
                break;
            }
            let (what, how) = (tape.byte(), tape.byte());
            if what & 3 == 3 {
                stage.happen(how);
                continue;
            }
            let turn = Turn {
                pair: PAIRS[usize::from(what >> 2 & 3)],
                is_back: what & 16 != 0,
                ipv4: what & 32 == 0,
                worker: usize::from(what >> 6 & 1),
            };
            let (host, frame) = say(&turn, how, &mut tape);
            stage.send(turn.worker, host, &[&frame]);
        }
    });
}

/// A script of segments, datagrams, queries and errors between a few ends, in both directions, while time and policy change.
pub(crate) fn connections(bytes: &[u8]) {
    play(bytes, |&Turn { pair, is_back, ipv4, .. }, how, tape| {
        let flags = tape.byte();
        let service = [22, 8080, 8443, 53][usize::from(how & 3)];
        let client = 40_000 + u16::from(how >> 2 & 3);
        let ports = if is_back { (service, client) } else { (client, service) };
        let numbers = (u32::from(tape.byte()) << 8, u32::from(tape.byte()) << 8);
        let (protocol, transport) = match (how >> 4 & 7, ipv4) {
            (0..=3, _) => (TCP, tcp(ports, numbers, flags, &[7; 64][..usize::from(flags & 31)])),
            (4, _) => (UDP, udp(ports, b"datagram")),
            (5, _) => (SCTP, sctp(ports, &[flags, 0, 0, 4, 0, 0, 0, 0])),
            (6, true) => {
                (ICMP, icmp([8, 0, 13, 14][usize::from(flags & 3)], 0, [0, flags >> 4, 0, 1], b"echo"))
            }
            (6, false) => (ICMPV6, icmp(128 + (flags & 1), 0, [0, flags >> 4, 0, 1], b"echo")),
            (_, _) => {
                // An error about a packet that the other side may have sent.
                let quoted = tcp((ports.1, ports.0), numbers, ACK, &[]);
                let (_, quoted) = draft(pair, !is_back, ipv4, if flags & 1 == 0 { TCP } else { UDP }, quoted);
                let quoted = quoted.frame()[NETWORK..].to_vec();
                let (protocol, kind) = if ipv4 { (ICMP, 3) } else { (ICMPV6, 1) };
                (protocol, icmp(kind, flags >> 4, [0, 0, 5, 0], &quoted))
            }
        };
        let (host, draft) = draft(pair, is_back, ipv4, protocol, transport);
        (host, draft.sealed().frame())
    });
}

/// A script of fragments: any offset, length and order, of a few packets, while time and policy change.
pub(crate) fn fragments(bytes: &[u8]) {
    play(bytes, |&Turn { pair, is_back, ipv4, .. }, how, tape| {
        let port = [22, 514, 8080, 53][usize::from(how & 3)];
        let protocol = [UDP, UDP, TCP, GRE][usize::from(how >> 2 & 3)];
        let transport = match protocol {
            UDP => udp((40_000, port), &[7; 1400]),
            TCP => tcp((40_000, port), (0, 0), SYN, &[7; 1400]),
            _ => vec![7; 1400],
        };
        let (host, mut draft) = draft(pair, is_back, ipv4, protocol, transport);
        draft.identification = u32::from(how >> 4 & 3);
        let draft = draft.sealed();
        let (place, length) = (tape.word(), tape.byte());
        let offset = usize::from(place & 0xff) * 8;
        let length = usize::from(length) * if place & 0x400 == 0 { 8 } else { 1 };
        let data = &draft.transport[offset.min(1400)..(offset + length).min(1400)];
        (host, draft.frame_of(Some((offset as u16, place & 0x800 == 0)), data))
    });
}

/// A script of whole frames from any port, as they are.
pub(crate) fn pipeline(bytes: &[u8]) {
    on_a_switch(|stage| {
        let mut tape = Tape(bytes);
        for _ in 0..BURSTS {
            if tape.0.is_empty() {
                break;
            }
            let (what, length) = (tape.byte(), usize::from(tape.word()));
            if what & 0xc0 == 0xc0 {
                stage.happen(what & 0x3f | (length as u8) << 6);
                continue;
            }
            let host = usize::from(what & 31) % atlas().hosts.len();
            let frame = tape.slice(length % 2048);
            stage.send(usize::from(what >> 5 & 1), host, &[&frame]);
        }
    });
}

/// A script for [`pipeline`] that sends these frames, each from the host that is first named.
pub(crate) fn script(frames: &[(usize, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (host, frame) in frames {
        bytes.push(*host as u8 | (bytes.len() as u8 & 1) << 5);
        bytes.extend((frame.len() as u16).to_be_bytes());
        bytes.extend(frame);
    }
    bytes
}

/// Inputs to begin with: what honest hosts say, and what provokes each reason.
pub(crate) fn seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    let mut random = crate::random::Random::new(1);
    let mut seeds = Vec::new();
    for provocation in crate::provoke::PROVOCATIONS.iter() {
        let from = provocation.named().unwrap_or_else(|| atlas().host_named("lab-1"));
        let mut mint = crate::hostile::Mint { random: &mut random, from, lures: &[] };
        let name = provocation.reason.name().to_owned();
        let bursts = provocation.script(&mut mint).into_iter();
        let frames: Vec<_> = bursts
            .flat_map(|(from, frames)| frames.into_iter().take(8).map(move |frame| (from, frame)))
            .collect();
        seeds.push(("parser", name.clone(), frames[0].1.clone()));
        seeds.push(("pipeline", name, script(&frames)));
    }
    let lab = PAIRS[0];
    for (name, ipv4, protocol, segment) in [
        ("tcp4", true, TCP, 100),
        ("tcp6", false, TCP, 100),
        ("udp4", true, UDP, 100),
        ("partial", true, UDP, 0),
    ] {
        let transport =
            if protocol == TCP { tcp((1, 2), (3, 4), ACK, &[7; 450]) } else { udp((1, 2), &[7; 450]) };
        let frame = draft(lab, false, ipv4, protocol, transport).1.unfinished(segment);
        seeds.push(("segmentation", name.into(), frame.clone()));
        seeds.push(("parser", format!("super-{name}"), frame));
    }
    for (name, outer, inner) in [("vxlan4", true, false), ("vxlan6", false, true)] {
        let carrier = draft(lab, false, outer, UDP, udp((49_152, 4789), &[])).1;
        let carried = draft(lab, false, inner, TCP, tcp((1, 2), (3, 4), ACK, &[7; 450])).1;
        let frame = carrier.in_tunnel(carried, 100, inner);
        seeds.push(("segmentation", name.into(), frame.clone()));
        seeds.push(("parser", format!("super-{name}"), frame));
    }
    // SYN, SYN and ACK, ACK, data both ways, FIN both ways, RST; the same with a change of policy in between.
    let handshake: &[u8] = &[0, 0, SYN, 0, 0, 16, 0, SYN | ACK, 0, 0, 0, 0, ACK, 0, 0, 16, 0, ACK, 0, 0];
    let close: &[u8] = &[0, 0, FIN | ACK, 0, 0, 16, 0, FIN | ACK, 0, 0, 0, 0, ACK, 0, 0, 0, 0, RST, 0, 0];
    seeds.push(("connections", "handshake-and-close".into(), [handshake, close].concat()));
    seeds.push(("connections", "change-between".into(), [handshake, &[3, 0x12, 3, 3], close].concat()));
    seeds.push((
        "connections",
        "echo-and-error".into(),
        vec![0, 0x60, 8, 0, 0, 16, 0x60, 9, 0, 0, 0, 0x70, 0, 0, 0],
    ));
    seeds.push(("fragments", "in-order".into(), vec![0, 3, 0, 0, 20, 0, 3, 0, 20, 20, 0, 3, 8, 40, 135]));
    seeds.push((
        "fragments",
        "overlap".into(),
        vec![0, 3, 0, 0, 20, 0, 3, 0, 10, 20, 32, 3, 0, 0, 20, 32, 3, 0, 20, 20],
    ));
    seeds
}
