//! What generators are made of: packets that are right, and ways to spoil them.

use std::net::IpAddr;

use crate::checker::group_mac;
use crate::craft::*;
use crate::hostile::Mint;
use crate::world::atlas;

/// A UDP packet over IPv4 to somebody with whom there is a way.
pub(super) fn v4(mint: &mut Mint<'_>) -> Draft {
    loop {
        let draft = mint.packet_of(UDP);
        if draft.source.is_ipv4() {
            return draft.sealed();
        }
    }
}

/// The same over IPv6.
pub(super) fn v6(mint: &mut Mint<'_>) -> Draft {
    loop {
        let draft = mint.packet_of(UDP);
        if !draft.source.is_ipv4() {
            return draft.sealed();
        }
    }
}

pub(super) fn with(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

pub(super) fn with_fixed_header(mut frame: Vec<u8>) -> Vec<u8> {
    fix_header_checksum(&mut frame[NETWORK..]);
    frame
}

pub(super) fn cut(mut frame: Vec<u8>, length: usize) -> Vec<u8> {
    frame.truncate(length);
    frame
}

pub(super) fn one(draft: &Draft) -> Vec<Vec<u8>> {
    vec![draft.frame()]
}

pub(super) fn carrying(mut draft: Draft, protocol: u8, transport: Vec<u8>) -> Draft {
    (draft.protocol, draft.transport) = (protocol, transport);
    draft
}

pub(super) fn extended(mint: &mut Mint<'_>, first: u8, extensions: &[u8]) -> Vec<Vec<u8>> {
    vec![v6(mint).frame_with_extensions(first, extensions)]
}

pub(super) fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// A packet from a host to another by name, over IPv4.
pub(super) fn between(mint: &mut Mint<'_>, to: &str, protocol: u8, transport: Vec<u8>) -> Draft {
    let (from, to) = (mint.from, atlas().host_named(to));
    Draft {
        macs: (atlas().hosts[from].mac, atlas().next_hop(from, to)),
        source: atlas().hosts[from].addresses[0],
        destination: atlas().hosts[to].addresses[0],
        ttl: 64,
        protocol,
        identification: mint.random.next() as u32,
        transport,
        options: Vec::new(),
    }
    .sealed()
}

pub(super) fn syn_to(mint: &mut Mint<'_>, port: u16) -> Vec<u8> {
    tcp((mint.random.port(), port), (mint.random.next() as u32, 0), SYN, &[])
}

pub(super) fn gateway_of(mint: &Mint<'_>, ipv4: bool) -> IpAddr {
    let gateways = &atlas().segment_of(mint.from).gateways;
    *gateways.iter().find(|gateway| gateway.is_ipv4() == ipv4).expect("a gateway of the family")
}

/// A packet from behind the uplink to somebody who serves those there.
pub(super) fn inbound(mint: &mut Mint<'_>) -> Draft {
    let transport = udp((mint.random.port(), 443), b"from outside");
    between(mint, "proxy", UDP, transport)
}

/// A datagram that is worth being cut.
pub(super) fn long_datagram(mint: &mut Mint<'_>) -> Draft {
    between(mint, "lab-2", UDP, udp((40_000, 53), &[0; 120]))
}

/// The first fragments of so many datagrams.
pub(super) fn first_fragments(mint: &mut Mint<'_>, count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|_| long_datagram(mint).fragment(0, 64)).collect()
}

/// So many SYNs of new connections.
pub(super) fn handshakes(mint: &mut Mint<'_>, count: usize) -> Vec<Vec<u8>> {
    let mut open = || {
        let syn = syn_to(mint, 22);
        between(mint, "lab-2", TCP, syn).frame()
    };
    (0..count).map(|_| open()).collect()
}

/// Who sends what, burst by burst.
pub(super) type Script = Vec<(usize, Vec<Vec<u8>>)>;

/// A TCP connection whose handshake is complete.
pub(super) struct Handshake {
    opener: usize,
    answerer: usize,
    port: u16,
    /// The next numbers of opener and answerer.
    numbers: (u32, u32),
    said: Script,
}

impl Handshake {
    /// From the mint's host to another.
    pub(super) fn new(mint: &mut Mint<'_>, to: &str) -> Self {
        let (first, second) = (mint.random.next() as u32, mint.random.next() as u32);
        let mut talk = Self {
            opener: mint.from,
            answerer: atlas().host_named(to),
            port: mint.random.port(),
            numbers: (first.wrapping_add(1), second.wrapping_add(1)),
            said: Vec::new(),
        };
        let syn = between(mint, to, TCP, tcp((talk.port, 22), (first, 0), SYN, &[])).frame();
        talk.say(vec![syn]);
        let answer = tcp((22, talk.port), (second, talk.numbers.0), SYN | ACK, &[]);
        talk.answer(mint, TCP, answer, 1);
        let complete = talk.segment(mint, 0);
        talk.say(vec![complete]);
        talk
    }

    /// A segment of the opener's, so far ahead of its number.
    pub(super) fn segment(&self, mint: &mut Mint<'_>, ahead: u32) -> Vec<u8> {
        let numbers = (self.numbers.0.wrapping_add(ahead), self.numbers.1);
        let to = &atlas().hosts[self.answerer].name;
        between(mint, to, TCP, tcp((self.port, 22), numbers, ACK, &[])).frame()
    }

    /// The opener says this.
    pub(super) fn say(&mut self, frames: Vec<Vec<u8>>) {
        self.said.push((self.opener, frames));
    }

    /// The answerer says this to the opener, so many times.
    pub(super) fn answer(&mut self, mint: &mut Mint<'_>, protocol: u8, transport: Vec<u8>, times: usize) {
        mint.from = self.answerer;
        let frame = between(mint, &atlas().hosts[self.opener].name, protocol, transport).frame();
        mint.from = self.opener;
        self.said.push((self.answerer, vec![frame; times]));
    }

    /// All that was said.
    pub(super) fn script(self) -> Script {
        self.said
    }
}

/// A message of IGMP, or of MLD.
pub(crate) fn listener_message(mint: &mut Mint<'_>, ipv4: bool, transport: Vec<u8>) -> Draft {
    let own = &atlas().hosts[mint.from];
    let routers = address(if ipv4 { "224.0.0.22" } else { "ff02::16" });
    let mut draft = Draft {
        macs: (own.mac, group_mac(routers)),
        source: own.address(ipv4).filter(|_| ipv4).unwrap_or(own.mac.link_local().into()),
        destination: routers,
        ttl: 1,
        protocol: if ipv4 { IGMP } else { ICMPV6 },
        identification: mint.random.next() as u32,
        transport,
        options: Vec::new(),
    }
    .sealed();
    if ipv4 {
        let checksum = !sum(&[&draft.transport]);
        draft.transport[2..4].copy_from_slice(&checksum.to_be_bytes());
    }
    draft
}

/// An IGMP message.
pub(super) fn igmp(mint: &mut Mint<'_>, message: &[u8]) -> Draft {
    listener_message(mint, true, message.to_vec())
}

/// A report of MLDv1: the sender listens to a group.
pub(super) fn listener_report(mint: &mut Mint<'_>, group: &str) -> Draft {
    listener_message(mint, false, icmp(131, 0, [0; 4], &octets(address(group))))
}
