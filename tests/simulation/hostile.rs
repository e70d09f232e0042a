//! Frames of a compromised workload: right in most of what they say, and wrong where it might help.
//!
//! A frame starts as a packet between real hosts, of a service that may or may not be open, or of a live conversation (here);
//! then any number of its fields are made to lie (`lies`). Most of the time checksums and lengths are put right
//! afterwards, so that the lie gets as far as it can. What speaks to many, or of neighbours, is in `neighbourly`.

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
            4 if draft.protocol == UDP && draft.transport.len() >= 8 => self.in_tunnel(draft),
            3 if !draft.source.is_ipv4() => self.extended(&draft),
            _ => draft.frame(),
        };
        if lies > 1 {
            self.lie_in_frame(&mut frame);
        }
        frame
    }

    /// A super-frame of some packet inside a tunnel between the ports of `draft`.
    fn in_tunnel(&mut self, draft: Draft) -> Vec<u8> {
        let ends: (IpAddr, IpAddr) = match self.random.once_in(2) {
            true => ([192, 0, 2, 1].into(), [192, 0, 2, 2].into()),
            false => ([0xfd00, 0, 0, 0, 0, 0, 0, 1].into(), [0xfd00, 0, 0, 0, 0, 0, 0, 2].into()),
        };
        let payload = self.random.below(4000);
        let bytes = self.random.bytes(payload);
        let (protocol, transport) = match self.random.once_in(3) {
            false => (TCP, tcp((1, 2), (3, 4), *self.random.pick(&[ACK, ACK | PSH, ACK | FIN, SYN]), &bytes)),
            true => (UDP, udp((1, 2), &bytes)),
        };
        let inner = Draft {
            source: ends.0,
            destination: ends.1,
            protocol,
            transport,
            options: Vec::new(),
            ..draft.clone()
        };
        draft.in_tunnel(inner, 8 + self.random.below(1400) as u16, self.random.once_in(2))
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
            SCTP => {
                // INIT, and what goes on, or ends.
                let kind = *self.random.pick(&[1, 1, 1, 0, 2, 6, 7, 10, 14]);
                sctp(ports, &[&[kind, 0, 0, 20], &self.random.bytes(16)[..]].concat())
            }
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

    pub(crate) fn somebody(&mut self) -> usize {
        self.random.below(atlas().hosts.len())
    }
}
