//! What a frame says, read a second time: the checker's own parser, slow and strict, that shares nothing with the switch's.
//!
//! It is asked only about frames that the switch let through. What it cannot read, the switch should not have.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use septum_rules::mac::MacAddress;
use septum_rules::proto::{Layer4, Protocol};

use crate::craft::{ACK, FIN, ICMP, ICMPV6, NETWORK, RST, SCTP, SYN, TCP, UDP, VNET, pseudo, sum};

/// A frame that holds together.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) source: MacAddress,
    pub(crate) destination: MacAddress,
    pub(crate) content: Content,
}

#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// Operation, the sender's claims, and who is asked for.
    Arp(u16, MacAddress, IpAddr, IpAddr),
    Ip(Packet),
}

#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) ttl: u8,
    /// Identification, offset, more follow, length of the data.
    pub(crate) fragment: Option<(u32, u16, bool, u16)>,
    /// Offset of the network header.
    pub(crate) network: usize,
    /// Offset of the transport header, or of a later fragment's data.
    pub(crate) transport: usize,
    /// One behind the transport header.
    pub(crate) payload: usize,
    /// One behind the packet.
    pub(crate) end: usize,
    /// What the gates judge; for a later fragment the bare protocol.
    pub(crate) layer4: Layer4,
    pub(crate) tcp: Option<Segment>,
    /// An echo's identifier.
    pub(crate) identifier: u16,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) sequence: u32,
    pub(crate) acknowledgement: u32,
    pub(crate) flags: u8,
    /// Bytes, SYN and FIN counting one each.
    pub(crate) length: u32,
}

type Read<T> = Result<T, String>;

fn word(bytes: &[u8], at: usize) -> Read<u16> {
    Ok(u16::from_be_bytes([*bytes.get(at).ok_or("cut off")?, *bytes.get(at + 1).ok_or("cut off")?]))
}

fn long(bytes: &[u8], at: usize) -> Read<u32> {
    Ok(u32::from(word(bytes, at)?) << 16 | u32::from(word(bytes, at + 2)?))
}

fn mac(bytes: &[u8], at: usize) -> Read<MacAddress> {
    let octets = bytes.get(at..at + 6).ok_or("cut off")?;
    Ok(MacAddress(octets.try_into().expect("six bytes")))
}

fn v4(bytes: &[u8], at: usize) -> Read<IpAddr> {
    Ok(Ipv4Addr::from_bits(long(bytes, at)?).into())
}

fn v6(bytes: &[u8], at: usize) -> Read<IpAddr> {
    let octets: [u8; 16] = bytes.get(at..at + 16).ok_or("cut off")?.try_into().expect("sixteen bytes");
    Ok(Ipv6Addr::from(octets).into())
}

/// Reads a frame that begins with its virtio header.
pub(crate) fn read(frame: &[u8]) -> Read<View> {
    if frame.len() < NETWORK {
        return Err("no Ethernet header".into());
    }
    let (destination, source) = (mac(frame, VNET)?, mac(frame, VNET + 6)?);
    let content = match word(frame, VNET + 12)? {
        0x0800 => Content::Ip(ipv4(frame, NETWORK)?),
        0x86dd => Content::Ip(ipv6(frame, NETWORK)?),
        0x0806 => arp(frame)?,
        other => return Err(format!("EtherType {other:#06x}")),
    };
    if let Content::Ip(packet) = &content {
        offloads(frame, packet)?;
    }
    Ok(View { source, destination, content })
}

fn arp(frame: &[u8]) -> Read<Content> {
    let packet = &frame[NETWORK..];
    if packet.get(..6) != Some(&[0, 1, 8, 0, 6, 4]) {
        return Err("not ARP of Ethernet and IPv4".into());
    }
    Ok(Content::Arp(word(packet, 6)?, mac(packet, 8)?, v4(packet, 14)?, v4(packet, 24)?))
}

fn ipv4(frame: &[u8], network: usize) -> Read<Packet> {
    let header = &frame[network..];
    let first = *header.first().ok_or("no IPv4 header")?;
    let length = usize::from(first & 0xf) * 4;
    let total = usize::from(word(header, 2)?);
    if first >> 4 != 4 || length < 20 || total < length || total > header.len() {
        return Err("IPv4 lengths".into());
    }
    if sum(&[&header[..length]]) != 0xffff {
        return Err("IPv4 checksum".into());
    }
    let mut at = 20;
    while at < length {
        match header[at] {
            0 => break,
            1 => at += 1,
            131 | 137 => return Err("source route".into()),
            _ => {
                let option = usize::from(*header[..length].get(at + 1).ok_or("option cut off")?);
                if option < 2 || at + option > length {
                    return Err("option length".into());
                }
                at += option;
            }
        }
    }
    let flags = word(header, 6)?;
    let data = (total - length) as u16;
    let fragment = (flags & 0x3fff != 0).then_some((
        u32::from(word(header, 4)?),
        (flags & 0x1fff) * 8,
        flags & 0x2000 != 0,
        data,
    ));
    if header[9] == ICMPV6 {
        return Err("ICMPv6 over IPv4".into());
    }
    let place = (network, network + length, network + total);
    transport(frame, (v4(header, 12)?, v4(header, 16)?), header[8], header[9], fragment, place)
}

fn ipv6(frame: &[u8], network: usize) -> Read<Packet> {
    let header = &frame[network..];
    if header.len() < 40 || header[0] >> 4 != 6 {
        return Err("IPv6 header".into());
    }
    let end = 40 + usize::from(word(header, 4)?);
    if end > header.len() {
        return Err("IPv6 length".into());
    }
    let packet = &header[..end];
    let (mut next, mut at, mut walked) = (header[6], 40, 0);
    let mut fragment = None;
    while matches!(next, 0 | 43 | 44 | 60 | 135 | 139 | 140 | 253 | 254) {
        walked += 1;
        if walked > 5 || (next == 0 && at != 40) || !matches!(next, 0 | 43 | 44 | 60) {
            return Err("extension headers".into());
        }
        let length =
            if next == 44 { 8 } else { 8 + usize::from(*packet.get(at + 1).ok_or("extension")?) * 8 };
        let extension = packet.get(at..at + length).ok_or("extension cut off")?;
        if next == 43 && (extension[3] != 0 || !matches!(extension[2], 2..=4)) {
            return Err("routing header".into());
        }
        if next == 44 {
            let field = word(extension, 2)?;
            if field & 0xfff9 != 0 {
                let data = (end - at - 8) as u16;
                fragment = Some((long(extension, 4)?, field & 0xfff8, field & 1 != 0, data));
            }
        }
        next = extension[0];
        at += length;
        if fragment.is_some_and(|(_, offset, ..)| offset != 0) {
            break;
        }
    }
    if next == ICMP {
        return Err("ICMP over IPv6".into());
    }
    let place = (network, network + at, network + end);
    transport(frame, (v6(header, 8)?, v6(header, 24)?), header[7], next, fragment, place)
}

fn transport(
    frame: &[u8],
    (source, destination): (IpAddr, IpAddr),
    ttl: u8,
    protocol: u8,
    fragment: Option<(u32, u16, bool, u16)>,
    (network, begin, end): (usize, usize, usize),
) -> Read<Packet> {
    let mut packet = Packet {
        source,
        destination,
        protocol,
        ttl,
        fragment,
        network,
        transport: begin,
        payload: begin,
        end,
        layer4: Layer4::bare(Protocol(protocol)),
        tcp: None,
        identifier: 0,
    };
    let least = match protocol {
        TCP => 20,
        SCTP => 12,
        UDP | ICMP | ICMPV6 => 8,
        _ => 0,
    };
    if let Some((_, offset, more, length)) = fragment {
        if length == 0 || (more && length % 8 != 0) || usize::from(offset) + usize::from(length) > 65_535 {
            return Err("fragment's extent".into());
        }
        if offset != 0 {
            return if usize::from(offset) < least {
                Err("reaches into the header".into())
            } else {
                Ok(packet)
            };
        }
    }
    let bytes = &frame[begin..end];
    if bytes.len() < least {
        return Err("transport header cut off".into());
    }
    packet.payload = begin + least;
    match protocol {
        TCP => {
            let header = usize::from(bytes[12] >> 4) * 4;
            if header < 20 || header > bytes.len() {
                return Err("TCP data offset".into());
            }
            let flags = bytes[13];
            let bad = flags & (SYN | FIN) == SYN | FIN
                || flags & (SYN | RST) == SYN | RST
                || flags & (FIN | RST) == FIN | RST
                || flags & (SYN | RST | ACK) == 0;
            if bad {
                return Err(format!("TCP flags {flags:#04x}"));
            }
            packet.payload = begin + header;
            let marks = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
            packet.tcp = Some(Segment {
                sequence: long(bytes, 4)?,
                acknowledgement: long(bytes, 8)?,
                flags,
                length: (bytes.len() - header) as u32 + marks,
            });
            packet.layer4 = Layer4::ports(Protocol(TCP), word(bytes, 0)?, word(bytes, 2)?);
        }
        UDP => {
            let length = usize::from(word(bytes, 4)?);
            if length < 8 || (fragment.is_none() && length > bytes.len()) {
                return Err("UDP length".into());
            }
            packet.layer4 = Layer4::ports(Protocol(UDP), word(bytes, 0)?, word(bytes, 2)?);
        }
        SCTP => packet.layer4 = Layer4::ports(Protocol(SCTP), word(bytes, 0)?, word(bytes, 2)?),
        ICMP | ICMPV6 => {
            packet.layer4 = Layer4::icmp(Protocol(protocol), bytes[0], bytes[1]);
            if matches!((protocol, bytes[0]), (ICMP, 0 | 8) | (ICMPV6, 128 | 129)) {
                packet.identifier = word(bytes, 4)?;
            }
        }
        _ => {}
    }
    Ok(packet)
}

/// A field of the virtio header.
pub(crate) fn field(frame: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes([frame[at], frame[at + 1]]))
}

/// The packet that the virtio header has cut: `packet`, or what a UDP tunnel carries in it.
pub(crate) fn cut(frame: &[u8], packet: &Packet) -> Read<Packet> {
    let tunnel = frame[1] & 0x60;
    if tunnel == 0 {
        return Ok(packet.clone());
    }
    let family = if packet.source.is_ipv4() { 0x20 } else { 0x40 };
    let network = VNET + field(frame, 22);
    if tunnel != family || packet.protocol != UDP || packet.fragment.is_some() || network < packet.payload {
        return Err("no such tunnel".into());
    }
    let udp = &frame[packet.transport..packet.end];
    let has_checksum = udp[6..8] != [0, 0];
    if VNET + field(frame, 20) != packet.transport
        || usize::from(word(udp, 4)?) != udp.len()
        || has_checksum != (frame[0] & 8 != 0)
    {
        return Err("the tunnel's UDP header".into());
    }
    let carried = frame.get(..packet.end).ok_or("cut off")?;
    let inner = match carried.get(network).ok_or("nothing inside")? >> 4 {
        4 => ipv4(carried, network)?,
        _ => ipv6(carried, network)?,
    };
    let is_whole = inner.end == packet.end && inner.fragment.is_none();
    if !is_whole || inner.transport != VNET + field(frame, 6) || inner.end - inner.payload <= field(frame, 4)
    {
        return Err("the packet inside the tunnel".into());
    }
    Ok(inner)
}

/// What the virtio header leaves to the device may concern nothing that was judged.
fn offloads(frame: &[u8], packet: &Packet) -> Read<()> {
    let (needs_checksum, gso) = (frame[0] & 1 != 0, frame[1] & !0x60);
    let known = if frame[1] & 0x60 == 0 { 3 } else { 11 };
    if frame[0] & !known != 0 {
        return Err("virtio flags".into());
    }
    if needs_checksum {
        let start = VNET + field(frame, 6);
        let at = start + field(frame, 8);
        let own = start == packet.transport
            && match packet.protocol {
                SCTP => field(frame, 8) == 8,
                protocol => crate::craft::checksum_place(protocol) == Some(field(frame, 8)),
            };
        if packet.fragment.is_some() || at + 2 > packet.end || (!own && start < packet.payload) {
            return Err("partial checksum over what was judged".into());
        }
    }
    if frame[1] != 0 {
        let cut = cut(frame, packet)?;
        let family = match (gso & 0x7f, cut.protocol, cut.source.is_ipv4()) {
            (1, TCP, true) | (4, TCP, false) => true,
            (5, UDP, _) => gso == 5,
            _ => false,
        };
        let opens = cut.tcp.is_some_and(|segment| segment.flags & (SYN | RST) != 0);
        let is_size = field(frame, 4) != 0;
        if !family || !needs_checksum || !is_size || packet.fragment.is_some() || opens {
            return Err("virtio segmentation".into());
        }
    }
    Ok(())
}

impl View {
    pub(crate) fn ip(&self) -> Option<&Packet> {
        match &self.content {
            Content::Ip(packet) => Some(packet),
            Content::Arp(..) => None,
        }
    }
}

impl Packet {
    /// Whether the transport's checksum is right; true where there is none to see.
    pub(crate) fn checksum_holds(&self, frame: &[u8]) -> bool {
        if self.fragment.is_some() {
            return true;
        }
        let bytes = &frame[self.transport..self.end];
        match self.protocol {
            ICMP => sum(&[bytes]) == 0xffff,
            UDP if bytes[6..8] == [0, 0] => self.source.is_ipv4(),
            TCP | UDP | ICMPV6 => {
                sum(&[&pseudo(self.source, self.destination, self.protocol, bytes.len()), bytes]) == 0xffff
            }
            _ => true,
        }
    }
}
