//! What is said to many, or about who is where: broadcasts, multicasts, ARP and neighbour discovery, honest or not.

use std::net::IpAddr;

use septum_rules::mac::MacAddress;

use crate::checker::group_mac;
use crate::craft::*;
use crate::hostile::Mint;
use crate::provoke::listener_message;
use crate::world::atlas;

impl Mint<'_> {
    /// A packet to many: within a segment, or as if.
    pub(crate) fn group_frame(&mut self) -> Vec<u8> {
        if self.random.once_in(4) {
            return self.membership();
        }
        let mut draft = self.packet_of(UDP);
        let port = *self.random.pick(&[5353, 514, 53, 1900]);
        draft.transport = udp((self.random.port(), port), b"who is there?");
        let group: IpAddr = match (draft.source.is_ipv4(), self.random.below(3)) {
            (true, 0) => "255.255.255.255".parse().expect("an address"),
            (true, 1) => match atlas().segment_of(self.from).broadcast {
                Some(broadcast) => broadcast,
                None => "255.255.255.255".parse().expect("an address"),
            },
            (ipv4, _) => self.group(ipv4),
        };
        draft.destination = group;
        draft.macs.1 = group_mac(group);
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

    /// A group that some listen to.
    fn group(&mut self, ipv4: bool) -> IpAddr {
        let groups = if ipv4 {
            ["224.0.0.251", "239.9.9.7", "224.0.1.7"]
        } else {
            ["ff02::fb", "ff15::9:7", "ff02::1"]
        };
        self.random.pick(&groups).parse().expect("an address")
    }

    /// A report that the sender listens to some groups, or no longer does: of IGMPv2 and MLDv1, IGMPv3 and MLDv2.
    fn membership(&mut self) -> Vec<u8> {
        let ipv4 = self.random.once_in(2) || atlas().hosts[self.from].address(false).is_none();
        let (group, joins) = (self.group(ipv4), !self.random.once_in(3));
        if self.random.once_in(2) {
            // To exclude nothing is to join, to include nothing is to leave.
            let kinds = if joins { [2, 4] } else { [1, 3] };
            let mut records = [&[*self.random.pick(&kinds), 0, 0, 0], &octets(group)[..]].concat();
            let mut count = 1;
            if self.random.once_in(3) {
                let other = self.group(ipv4);
                records.extend([&[4, 0, 0, 1], &octets(other)[..], &octets(self.group(ipv4))[..]].concat());
                count += 1;
            }
            let header = [if ipv4 { 0x22 } else { 143 }, 0, 0, 0, 0, 0, 0, count];
            return listener_message(self, ipv4, [&header[..], &records].concat()).frame();
        }
        let kind = match (ipv4, joins) {
            (true, true) => 0x16,
            (true, false) => 0x17,
            (false, true) => 131,
            (false, false) => 132,
        };
        let header: &[u8] = if ipv4 { &[kind, 0, 0, 0] } else { &[kind, 0, 0, 0, 0, 0, 0, 0] };
        listener_message(self, ipv4, [header, &octets(group)].concat()).frame()
    }

    /// Address resolution, honest or not.
    pub(crate) fn neighbourly(&mut self) -> Vec<u8> {
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

    /// The answer to the switch's question who has an address behind an uplink.
    pub(crate) fn here_is(&mut self, asked: IpAddr) -> Vec<u8> {
        let own = &atlas().hosts[self.from];
        let link = atlas().segment_of(self.from);
        let asker = link.gateways.iter().find(|address| address.is_ipv4()).expect("an IPv4 address");
        match asked {
            IpAddr::V4(_) => arp((own.mac, link.gateway_mac), 2, (own.mac, asked), *asker),
            IpAddr::V6(_) => self.discovery(136, Some(asked), Some(asked), own.mac),
        }
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
