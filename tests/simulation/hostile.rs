//! Frames of a compromised workload: right in most of what they say, and wrong where it might help.
//!
//! A frame starts as a packet between real hosts, of a service that may or may not be open, or of a live conversation;
//! then any number of its fields are made to lie. Half of the time checksums and lengths are put right afterwards, so
//! that the lie gets as far as it can.

use std::net::IpAddr;

use septum_rules::mac::MacAddress;

use crate::craft::*;
use crate::random::Random;
use crate::world::atlas;

/// A live conversation that an attacker may know of.
#[derive(Clone, Debug)]
pub(crate) struct Lure {
    pub(crate) hosts: [usize; 2],
    pub(crate) addresses: [IpAddr; 2],
    pub(crate) protocol: u8,
    pub(crate) numbers: [u16; 2],
}

/// Where hostile frames are made.
pub(crate) struct Mint<'a> {
    pub(crate) random: &'a mut Random,
    /// The host that sends.
    pub(crate) from: usize,
    pub(crate) lures: &'a [Lure],
}

/// Ports of services that some policy of the simulation opens, and some that none does.
const SERVICES: [u16; 14] = [80, 8080, 8443, 3868, 5432, 9000, 22, 514, 53, 5353, 67, 546, 1, 65_535];

impl Mint<'_> {
    /// A hostile frame.
    pub(crate) fn frame(&mut self) -> Vec<u8> {
        let mut draft = match self.random.below(10) {
            0..=2 if !self.lures.is_empty() => self.intrusion(),
            3 => return self.group_frame(),
            4 => return self.neighbourly(),
            _ => self.packet(),
        };
        let lies = self.random.below(4);
        for _ in 0..lies {
            self.lie_in_draft(&mut draft);
        }
        if !self.random.once_in(8) {
            draft = draft.sealed();
        }
        let mut frame = match self.random.below(12) {
            0 | 1 => self.fragment(&draft),
            2 if checksum_place(draft.protocol).is_some() && draft.transport.len() >= 20 => {
                draft.unfinished(if self.random.once_in(2) { 0 } else { 8 + self.random.below(1400) as u16 })
            }
            3 if !draft.source.is_ipv4() => self.extended(&draft),
            _ => draft.frame(),
        };
        if lies > 1 {
            self.lie_in_frame(&mut frame);
        }
        frame
    }

    /// A packet of a random service to somebody with whom there is a way.
    pub(crate) fn packet(&mut self) -> Draft {
        let protocol = *self.random.pick(&[TCP, TCP, TCP, UDP, UDP, SCTP, GRE, ICMP, ICMP, 50, 99]);
        self.packet_of(protocol)
    }

    pub(crate) fn packet_of(&mut self, protocol: u8) -> Draft {
        let hosts = atlas().hosts.len();
        let (mut to, mut ipv4) = (self.random.below(hosts), self.random.once_in(2));
        for _ in 0..8 {
            if atlas().has_way(self.from, to, ipv4) {
                break;
            }
            (to, ipv4) = (self.random.below(hosts), self.random.once_in(2));
        }
        if !atlas().has_way(self.from, to, ipv4) {
            ipv4 = true;
            to = (self.from + 1) % hosts;
        }
        let own = &atlas().hosts[self.from];
        let sources: Vec<_> =
            own.addresses.iter().copied().filter(|address| address.is_ipv4() == ipv4).collect();
        let source = sources[self.random.below(sources.len().min(2))];
        let destination = atlas().hosts[to].address(ipv4).expect("there is a way");
        let protocol = if protocol == ICMP && !ipv4 { ICMPV6 } else { protocol };
        let transport = self.transport(protocol);
        Draft {
            macs: (own.mac, atlas().next_hop(self.from, to)),
            source,
            destination,
            ttl: 64,
            protocol,
            identification: self.random.below(64) as u32,
            transport,
            options: Vec::new(),
        }
    }

    fn transport(&mut self, protocol: u8) -> Vec<u8> {
        let count = if self.random.once_in(4) { self.random.below(1500) } else { self.random.below(40) };
        let payload = self.random.bytes(count);
        let service = *self.random.pick(&SERVICES);
        let ports = match self.random.below(6) {
            // As if it were an answer.
            0 => (service, self.random.port()),
            _ => (self.random.port(), service),
        };
        match protocol {
            TCP => {
                let flags =
                    *self.random.pick(&[SYN, SYN, SYN, SYN | ACK, ACK, ACK | PSH, RST, RST | ACK, FIN | ACK]);
                let numbers = (self.random.next() as u32, self.random.next() as u32);
                tcp(ports, numbers, flags, if flags == SYN { &[] } else { &payload })
            }
            UDP => udp(ports, &payload),
            SCTP => sctp(ports, &payload),
            ICMP => {
                let kind = *self.random.pick(&[8, 8, 0, 13, 14, 3, 11, 5, 17]);
                self.icmp(kind, &payload)
            }
            ICMPV6 => {
                let kind = *self.random.pick(&[128, 128, 129, 1, 2, 3, 200]);
                self.icmp(kind, &payload)
            }
            _ => payload,
        }
    }

    fn icmp(&mut self, kind: u8, payload: &[u8]) -> Vec<u8> {
        let identifier = if self.random.once_in(2) { 0x0800 } else { self.random.below(4) as u16 };
        let [high, low] = identifier.to_be_bytes();
        icmp(kind, u8::from(self.random.once_in(6)), [high, low, 0, 1], payload)
    }

    /// A packet that wants to be of a live conversation: blind resets, late data, answers to what was not asked, quotes.
    fn intrusion(&mut self) -> Draft {
        let lure = self.random.pick(self.lures).clone();
        let side = self.random.below(2);
        let mut draft = self.packet_of(lure.protocol);
        let victim = atlas().hosts[lure.hosts[1 - side]].clone();
        draft.destination = lure.addresses[1 - side];
        // In the conversation's name, or in one's own.
        let own = atlas().hosts[self.from].address(draft.destination.is_ipv4());
        draft.source = match own {
            Some(own) if lure.hosts[side] != self.from && self.random.once_in(2) => own,
            _ => lure.addresses[side],
        };
        draft.macs.1 = atlas().next_hop(self.from, lure.hosts[1 - side]);
        if draft.macs.1 == atlas().hosts[self.from].mac {
            draft.macs.1 = victim.mac;
        }
        let ports = (lure.numbers[side], lure.numbers[1 - side]);
        if self.random.once_in(4) {
            let quoted = self.quote(&lure, 1 - side);
            let v4 = draft.source.is_ipv4();
            draft.protocol = if v4 { ICMP } else { ICMPV6 };
            let kind = if v4 { *self.random.pick(&[3, 11, 5]) } else { *self.random.pick(&[1, 2, 3, 4]) };
            draft.transport = icmp(kind, self.random.below(5) as u8, [0, 0, 5, 0], &quoted);
            return draft;
        }
        if draft.protocol == TCP {
            let flags = *self.random.pick(&[RST, RST | ACK, ACK, SYN, SYN | ACK, FIN | ACK]);
            let numbers = (self.random.next() as u32, self.random.next() as u32);
            draft.transport = tcp(ports, numbers, flags, b"intruding");
        } else if draft.protocol == UDP {
            draft.transport = udp(ports, b"intruding");
        }
        draft
    }

    /// The start of a packet that `side` of a conversation might have sent.
    fn quote(&mut self, lure: &Lure, side: usize) -> Vec<u8> {
        let ports = (lure.numbers[side], lure.numbers[1 - side]);
        let transport = match lure.protocol {
            TCP => tcp(ports, (self.random.next() as u32, 0), ACK, &[]),
            UDP => udp(ports, &[0; 8]),
            _ => icmp(8, 0, [0; 4], &[]),
        };
        let quoted = Draft {
            macs: (MacAddress([2, 0, 0, 0, 0, 0]), MacAddress([2, 0, 0, 0, 0, 1])),
            source: lure.addresses[side],
            destination: lure.addresses[1 - side],
            ttl: 60,
            protocol: lure.protocol,
            identification: 0,
            transport,
            options: Vec::new(),
        };
        quoted.sealed().frame()[NETWORK..].to_vec()
    }

    fn somebody(&mut self) -> usize {
        self.random.below(atlas().hosts.len())
    }

    fn lie_in_draft(&mut self, draft: &mut Draft) {
        let ipv4 = draft.source.is_ipv4();
        let other = self.somebody();
        match self.random.below(13) {
            0 => draft.macs.0 = atlas().hosts[other].mac,
            1 => {
                let own = atlas().segment_of(self.from).gateway_mac;
                draft.macs.1 = *self.random.pick(&[own, atlas().hosts[other].mac, MacAddress::BROADCAST]);
            }
            2 => {
                let addresses = &atlas().hosts[other].addresses;
                let address = *self.random.pick(addresses);
                if address.is_ipv4() == ipv4 {
                    draft.source = address;
                }
            }
            3 => {
                let addresses = &atlas().hosts[other].addresses;
                let address = *self.random.pick(addresses);
                if address.is_ipv4() == ipv4 {
                    draft.destination = address;
                }
            }
            4 => {
                let gateways = &atlas().segments[self.random.below(atlas().segments.len())].gateways;
                if let Some(gateway) = gateways.iter().find(|gateway| gateway.is_ipv4() == ipv4) {
                    draft.destination = *gateway;
                    draft.macs.1 = atlas().segment_of(self.from).gateway_mac;
                }
            }
            5 => draft.ttl = self.random.below(3) as u8,
            6 => draft.protocol = self.random.byte(),
            7 if ipv4 => {
                let choices: [&[u8]; 5] = [
                    &[1, 1, 1, 0],
                    &[7, 7, 4, 0, 0, 0, 0, 0],
                    &[131, 7, 4, 10, 0, 0, 9, 0],
                    &[7, 1, 0, 0],
                    &[7, 9, 0, 0],
                ];
                draft.options = self.random.pick(&choices).to_vec();
            }
            8 if draft.protocol == TCP && draft.transport.len() > 13 => {
                draft.transport[13] = self.random.byte()
            }
            9 if draft.protocol == TCP && draft.transport.len() > 13 => {
                draft.transport[12] = self.random.byte()
            }
            10 => {
                let length = self.random.below(draft.transport.len() + 1);
                draft.transport.truncate(length);
            }
            11 if !draft.transport.is_empty() => {
                let at = self.random.below(draft.transport.len().min(24));
                draft.transport[at] = self.random.byte();
            }
            _ => {
                let strange = if ipv4 {
                    [
                        "127.0.0.1",
                        "0.0.0.0",
                        "224.0.0.251",
                        "255.255.255.255",
                        "240.0.0.1",
                        "192.0.2.1",
                        "10.20.0.255",
                    ]
                } else {
                    ["::1", "::", "ff02::fb", "ff01::1", "::ffff:10.20.0.11", "2001:db8::1", "fe80::1"]
                };
                let address = self.random.pick(&strange).parse().expect("an address");
                if self.random.once_in(2) { draft.source = address } else { draft.destination = address }
            }
        }
    }

    fn lie_in_frame(&mut self, frame: &mut Vec<u8>) {
        match self.random.below(10) {
            0 => {
                let length = self.random.below(frame.len() + 1);
                frame.truncate(length);
            }
            1 => {
                let count = self.random.below(64);
                frame.extend(self.random.bytes(count));
            }
            2 => {
                let ethertype = *self.random.pick(&[0x8100, 0x88a8, 0x9100]);
                let tag = *self.random.pick(&[0, 0x6000, 10, 20, 4095]);
                *frame = with_tag(std::mem::take(frame), ethertype, tag);
            }
            3 => {
                // The virtio header lies.
                let at = self.random.below(VNET);
                frame[at] = self.random.byte();
            }
            4 => {
                frame[0] = *self.random.pick(&[1, 1, 1, 2, 3]);
                frame[1] = *self.random.pick(&[0, 1, 4, 5, 0x81, 3]);
                let fields = [
                    self.random.below(2000),
                    *self.random.pick(&[34, 54, 14, 38]),
                    *self.random.pick(&[16, 6, 2, 0]),
                ];
                for (at, field) in [4, 6, 8].into_iter().zip(fields) {
                    frame[at..at + 2].copy_from_slice(&(field as u16).to_le_bytes());
                }
            }
            _ => {
                for _ in 0..=self.random.below(3) {
                    if frame.len() > VNET {
                        let at = VNET + self.random.below((frame.len() - VNET).min(80));
                        frame[at] = self.random.byte();
                    }
                }
                if self.random.once_in(2) && frame.len() > NETWORK + 20 && frame[VNET + 12..NETWORK] == [8, 0]
                {
                    fix_header_checksum(&mut frame[NETWORK..]);
                }
            }
        }
    }

    /// Some part of a packet, or what says that it is one.
    fn fragment(&mut self, draft: &Draft) -> Vec<u8> {
        let length =
            8 * self.random.below(20) + if self.random.once_in(6) { self.random.below(8) } else { 0 };
        let offset = match self.random.below(3) {
            0 => 0,
            1 => 8 * self.random.below(8),
            _ => 8 * self.random.below(8192),
        };
        match self.random.once_in(3) {
            true => draft.frame_of(Some((offset as u16, self.random.once_in(2))), &draft.transport),
            false => draft.fragment(offset.min(draft.transport.len()), length.max(8)),
        }
    }

    fn extended(&mut self, draft: &Draft) -> Vec<u8> {
        let (mut chain, mut bytes) = (Vec::new(), Vec::new());
        for _ in 0..1 + self.random.below(6) {
            chain.push(*self.random.pick(&[0u8, 43, 44, 60, 60, 135]));
        }
        for at in 0..chain.len() {
            let next = chain.get(at + 1).copied().unwrap_or(draft.protocol);
            let more = if self.random.once_in(5) { self.random.below(8) as u8 } else { 0 };
            match chain[at] {
                43 => bytes.extend([next, 0, *self.random.pick(&[0, 2, 3, 4, 9]), more, 0, 0, 0, 0]),
                44 => bytes.extend([next, 0, 0, more & 1, 0, 0, 0, 9]),
                _ => bytes.extend([next, 0, 1, 4 + more, 0, 0, 0, 0]),
            }
        }
        if self.random.once_in(6) {
            bytes.pop();
        }
        draft.frame_with_extensions(chain[0], &bytes)
    }

    /// A packet to many: within a segment, or as if.
    pub(crate) fn group_frame(&mut self) -> Vec<u8> {
        let mut draft = self.packet_of(UDP);
        let port = *self.random.pick(&[5353, 514, 53, 1900]);
        draft.transport = udp((self.random.port(), port), b"who is there?");
        let group: IpAddr = match (draft.source.is_ipv4(), self.random.below(3)) {
            (true, 0) => "255.255.255.255".parse().expect("an address"),
            (true, 1) => atlas().segment_of(self.from).broadcast.expect("every segment has an IPv4 subnet"),
            (true, _) => "224.0.0.251".parse().expect("an address"),
            (false, _) => "ff02::fb".parse().expect("an address"),
        };
        draft.destination = group;
        draft.macs.1 = match group {
            IpAddr::V4(v4) if v4.is_multicast() => MacAddress([1, 0, 0x5e, 0, 0, 0xfb]),
            IpAddr::V4(_) => MacAddress::BROADCAST,
            IpAddr::V6(_) => MacAddress([0x33, 0x33, 0, 0, 0, 0xfb]),
        };
        if self.random.once_in(10) {
            let other = atlas().hosts[self.somebody()].mac;
            draft.macs.1 =
                *self.random.pick(&[other, MacAddress::BROADCAST, MacAddress([1, 0, 0x5e, 0, 0, 1])]);
        }
        let draft = draft.sealed();
        if self.random.once_in(8) {
            return draft.fragment(0, 16);
        }
        draft.frame()
    }

    /// Address resolution, honest or not.
    fn neighbourly(&mut self) -> Vec<u8> {
        let own = &atlas().hosts[self.from];
        let other = &atlas().hosts[self.somebody()];
        let whose = if self.random.once_in(2) { own } else { other };
        let mac = if self.random.once_in(4) { other.mac } else { own.mac };
        if self.random.once_in(2) {
            let sender = whose.address(true).expect("every host has an IPv4 address");
            let target = self.somebody_or_gateway();
            return arp(
                (own.mac, MacAddress::BROADCAST),
                1 + self.random.below(2) as u16,
                (mac, sender),
                target,
            );
        }
        let kind = *self.random.pick(&[135, 135, 136, 134, 137, 133]);
        self.discovery(kind, whose.address(false), other.address(false), mac)
    }

    fn somebody_or_gateway(&mut self) -> IpAddr {
        let gateways = &atlas().segment_of(self.from).gateways;
        match gateways.first().filter(|_| self.random.once_in(3)) {
            Some(gateway) => *gateway,
            None => atlas().hosts[self.somebody()].address(true).expect("every host has an IPv4 address"),
        }
    }

    /// Neighbour discovery: type, source, target, the link-layer address that it claims.
    pub(crate) fn discovery(
        &mut self,
        kind: u8,
        source: Option<IpAddr>,
        target: Option<IpAddr>,
        mac: MacAddress,
    ) -> Vec<u8> {
        let own = &atlas().hosts[self.from];
        let fallback = IpAddr::V6(own.mac.link_local());
        let (source, target) = (source.unwrap_or(fallback), target.unwrap_or(fallback));
        let source = if matches!(kind, 134 | 137) { fallback } else { source };
        let mut message = icmp(kind, 0, if kind == 136 { [0x20, 0, 0, 0] } else { [0; 4] }, &[]);
        match kind {
            133 => {}
            134 => message.extend([0; 8]),
            137 => message.extend([octets(fallback), octets(target)].concat()),
            _ => message.extend(octets(target)),
        }
        if kind != 134 {
            message.extend([if kind == 136 || kind == 137 { 2 } else { 1 }, 1]);
            message.extend(mac.0);
        }
        let draft = Draft {
            macs: (own.mac, MacAddress([0x33, 0x33, 0, 0, 0, 1])),
            source,
            destination: "ff02::1".parse().expect("an address"),
            ttl: 255,
            protocol: ICMPV6,
            identification: 0,
            transport: message,
            options: Vec::new(),
        };
        draft.sealed().frame()
    }
}
