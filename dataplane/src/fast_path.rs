//! The fast path: frames of the common kind, between two ends whose way is known already.
//!
//! A [`Glance`] is taken of untagged TCP and UDP over IPv4 or IPv6 without options, extension headers or fragments. The parsers
//! are those of [`crate::wire`], so what they refuse gets no glance; nothing is built that only rarer frames need. [`Ways`]
//! remembers what guard and directory said of a pair of ends: both are pure functions of the snapshot, the ingress port, the MACs
//! and the addresses, and all of these are the key, compared in full. What else they read is kept out of the glance: the ports of
//! configuration protocols. So the fast path repeats what guard and directory have said of another packet between the same two
//! ends, under the same snapshot; connection tracking and gates are asked anew for every packet, by the very function that the
//! whole way asks ([`crate::admission::Admission::decide_whole`]). Whatever differs takes the whole way.
//!
//! Not remembered: what goes to groups, to the switch or to nowhere, and what comes from a workload with a limit.
//!
//! Cost: one cache line a pair and worker, 512 KiB for 8,192 pairs; of more than four pairs that meet in one place, some take the
//! whole way. A new snapshot empties them all.

use std::mem::size_of;

use septum_rules::identity::IdentityId;
use septum_rules::proto::Protocol;

use crate::burst::{Burst, ETHERNET};
use crate::conntrack::{ConnectionKey, Direction, Packet, Segment};
use crate::port::PortId;
use crate::wire::ethernet::{EtherType, EthernetHeader};
use crate::wire::ipv4::Ipv4Header;
use crate::wire::ipv6::Ipv6Header;
use crate::wire::offload::{self, Extent};
use crate::wire::transport::Transport;
use crate::wire::vnet_hdr::VnetHeader;

/// Whether this is a UDP port of DHCP or DHCPv6: guard and responder read those.
const fn is_of_configuration(port: u16) -> bool {
    matches!(port, 67 | 68 | 546 | 547)
}

/// What a glance at a frame of the common kind shows.
#[derive(Clone, Copy, Debug)]
pub struct Glance {
    /// What decides about its way.
    pub pair: Pair,
    /// Source port, destination port.
    ports: [u16; 2],
    protocol: Protocol,
    /// Where its transport header lies.
    pub layout: Layout,
    /// Bytes from the IP header to the packet's end.
    pub length: usize,
    /// Time to live or hop limit.
    pub ttl: u8,
}

/// Where the parts of a packet lie, from the Ethernet header.
#[derive(Clone, Copy, Debug, Default)]
pub struct Layout {
    transport: u16,
    payload: u16,
    end: u32,
}

impl Layout {
    /// What connection tracking must know of a packet of TCP or UDP, which lies so in a frame of the burst.
    #[inline]
    pub fn packet(&self, burst: &Burst, index: usize, protocol: Protocol) -> Packet {
        let Self { transport, payload, end } = *self;
        match protocol {
            Protocol::TCP => {
                let frame = &burst.frame(index)[ETHERNET..];
                let (start, payload, end) = (usize::from(transport), usize::from(payload), end as usize);
                Packet::Tcp(Segment::read_at(frame, start, payload, end, false))
            }
            _ => Packet::Other,
        }
    }
}

/// What decides about the way, packed: destination and source MAC, ingress slot, family, source and destination address. Never
/// all zero: the family is not.
pub type Pair = [u64; 6];

/// The EtherType of an untagged frame, virtio header first; `None` where it is cut off.
#[inline(always)]
pub fn ethertype(frame: &[u8]) -> Option<EtherType> {
    let bytes: [u8; 2] = *frame.get(ETHERNET + EthernetHeader::LENGTH - 2..)?.first_chunk()?;
    Some(EtherType(u16::from_be_bytes(bytes)))
}

/// What an IP header says, as far as a glance goes.
struct Network {
    is_v4: bool,
    /// Bytes of the header and of the whole packet.
    lengths: (usize, usize),
    protocol: Protocol,
    ttl: u8,
    /// Source and destination; IPv4 as mapped IPv6.
    ends: [u128; 2],
}

impl Glance {
    /// Looks at a frame that came in at the port slot `ingress`, virtio header first. `None`: it is of a rarer kind, or does not hold together.
    pub fn at(frame: &[u8], ingress: u16) -> Option<Self> {
        match ethertype(frame)? {
            EtherType::IPV4 => Self::of_ipv4(frame, ingress),
            EtherType::IPV6 => Self::of_ipv6(frame, ingress),
            _ => None,
        }
    }

    /// The same for a frame whose EtherType is IPv4's.
    // Inlined, as the other one is: what is constant in a family stays so, and nothing waits in memory where the two would meet.
    #[inline(always)]
    pub fn of_ipv4(frame: &[u8], ingress: u16) -> Option<Self> {
        let packet = frame.get(ETHERNET + EthernetHeader::LENGTH..)?;
        // Said first, so that what follows is compiled for headers without options.
        if *packet.first()? != Ipv4Header::WITHOUT_OPTIONS {
            return None;
        }
        let header = Ipv4Header::parse(packet).ok()?;
        if header.fragment.is_some() {
            return None;
        }
        let mapped = |bits: u32| 0xffff << 32 | u128::from(bits);
        let network = Network {
            is_v4: true,
            lengths: (Ipv4Header::LENGTH, header.total_length),
            protocol: header.protocol,
            ttl: header.ttl,
            ends: [header.source, header.destination].map(|address| mapped(address.to_bits())),
        };
        Self::of(frame, ingress, &network)
    }

    /// The same for a frame whose EtherType is IPv6's.
    #[inline(always)]
    pub fn of_ipv6(frame: &[u8], ingress: u16) -> Option<Self> {
        let header = Ipv6Header::parse(frame.get(ETHERNET + EthernetHeader::LENGTH..)?).ok()?;
        let network = Network {
            is_v4: false,
            lengths: (Ipv6Header::LENGTH, Ipv6Header::LENGTH + header.payload_length),
            protocol: Protocol(header.next_header),
            ttl: header.hop_limit,
            ends: [header.source, header.destination].map(|address| address.to_bits()),
        };
        Self::of(frame, ingress, &network)
    }

    #[inline(always)]
    fn of(whole: &[u8], ingress: u16, network: &Network) -> Option<Self> {
        let Network { is_v4, lengths: (header_length, length), protocol, ttl, ends: [source, destination] } =
            *network;
        let frame = &whole[ETHERNET..];
        let (ethernet, packet) = frame.split_first_chunk::<{ EthernetHeader::LENGTH }>()?;
        if !matches!(protocol, Protocol::TCP | Protocol::UDP) {
            return None;
        }
        let transport = Transport::parse(protocol, &packet[header_length..length], true).ok()?;
        let ports = [transport.layer4.source, transport.layer4.destination];
        if protocol == Protocol::UDP && is_of_configuration(ports[1]) {
            return None;
        }
        let start = EthernetHeader::LENGTH + header_length;
        let (payload, end) = (start + transport.header_length, EthernetHeader::LENGTH + length);
        if !offload::is_plain(&VnetHeader::read(whole)?, frame.len())
            && !is_truthful(whole, transport, start, end, is_v4)
        {
            return None;
        }
        let (&first, &second) = (ethernet.first_chunk()?, ethernet[4..].first_chunk()?);
        let (first, second) = (u64::from_le_bytes(first), u64::from_le_bytes(second));
        let family_and_ingress = (if is_v4 { 4 } else { 6 }) << 16 | u64::from(ingress);
        Some(Self {
            pair: [
                first,
                second & !0xffff_ffff | family_and_ingress,
                (source >> 64) as u64,
                source as u64,
                (destination >> 64) as u64,
                destination as u64,
            ],
            ports,
            protocol,
            layout: Layout { transport: start as u16, payload: payload as u16, end: end as u32 },
            length,
            ttl,
        })
    }

    /// The connection that the packet would belong to, and its direction there.
    #[inline]
    pub fn connection(&self) -> (ConnectionKey, Direction) {
        let [_, _, source_high, source_low, destination_high, destination_low] = self.pair;
        let [source, destination] = [(source_high, source_low), (destination_high, destination_low)]
            .map(|(high, low)| u128::from(high) << 64 | u128::from(low));
        ConnectionKey::of_ports((source, self.ports[0]), (destination, self.ports[1]), self.protocol)
    }
}

/// Whether the virtio header of a frame that leaves something to a device tells the truth. Apart, and from scratch: what only such
/// frames need is not kept for every frame.
#[inline(never)]
fn is_truthful(frame: &[u8], transport: Transport, start: usize, end: usize, is_v4: bool) -> bool {
    let extent = Extent {
        transport: start,
        payload: start + transport.header_length,
        end,
        is_v4,
        is_fragment: false,
        has_fragment_header: false,
    };
    VnetHeader::read(frame)
        .is_some_and(|vnet| offload::check(&vnet, &frame[ETHERNET..], transport, extent).is_ok())
}

/// Where a pair of ends leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// The port behind which the destination sits.
    pub egress: PortId,
    /// Who sends, to the gates.
    pub source: IdentityId,
    /// Who receives.
    pub destination: IdentityId,
    /// The longest packet that it takes.
    pub mtu: u16,
    /// It sits in another segment: the packet takes a hop, and gets new MACs.
    pub is_routed: bool,
}

impl Way {
    /// What stands where no way is remembered.
    pub const NOWHERE: Self = Self {
        egress: PortId { slot: 0, generation: 0 },
        source: IdentityId(0),
        destination: IdentityId(0),
        mtu: 0,
        is_routed: false,
    };
}

/// A remembered way: one cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Entry {
    pair: Pair,
    way: Way,
}

const _: () = assert!(size_of::<Entry>() == 64);

/// The ways that one worker remembers.
#[derive(Debug)]
pub struct Ways {
    sets: Box<[[Entry; SET]]>,
    /// The snapshot under which they were found.
    generation: u64,
    /// Which entry of a full set is replaced next.
    turn: usize,
}

/// Entries in which a pair may stand.
const SET: usize = 4;

/// Places; a power of two.
const SETS: usize = 2048;

/// No pair's.
const NOTHING: Entry = Entry { pair: [0; 6], way: Way::NOWHERE };

impl Default for Ways {
    fn default() -> Self {
        Self { sets: vec![[NOTHING; SET]; SETS].into(), generation: 0, turn: 0 }
    }
}

impl Ways {
    /// From now on the ways are those of the snapshot of that generation.
    pub fn begin(&mut self, generation: u64) {
        if self.generation != generation {
            self.sets.fill([NOTHING; SET]);
            self.generation = generation;
        }
    }

    /// Where this pair leads, if the present snapshot said so before.
    #[inline(always)]
    pub fn find(&self, glance: &Glance) -> Option<&Way> {
        // Folded, not compared as arrays: that would be a call.
        let is_of = |entry: &&Entry| {
            entry.pair.iter().zip(&glance.pair).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
        };
        self.sets[place(&glance.pair)].iter().find(is_of).map(|entry| &entry.way)
    }

    /// Remembers where this pair leads.
    pub fn remember(&mut self, pair: Pair, way: Way) {
        let set = &mut self.sets[place(&pair)];
        let free = set.iter().position(|entry| entry.pair == NOTHING.pair);
        let at = free.unwrap_or_else(|| {
            self.turn = (self.turn + 1) % SET;
            self.turn
        });
        set[at] = Entry { pair, way };
    }
}

/// The place of a pair. Not seeded: only pairs that the guard admitted are remembered, and those the policy's author chose.
#[inline]
fn place(pair: &Pair) -> usize {
    let [_, _, a, b, c, d] = *pair;
    let ends = (a ^ b).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (c ^ d).rotate_left(32);
    (ends.wrapping_mul(0xd6e8_feb8_6659_fd93) >> (u64::BITS - SETS.ilog2())) as usize
}
