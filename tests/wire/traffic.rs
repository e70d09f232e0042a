//! Well-formed frames of every protocol, generated: transport headers by pnet, network headers by etherparse.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{
    EtherType, Ethernet2Header, IpFragOffset, IpNumber, Ipv4Header, Ipv4Options, Ipv6FlowLabel, Ipv6Header,
};
use pnet::packet::ip::{IpNextHeaderProtocol, IpNextHeaderProtocols};
use pnet::packet::tcp::MutableTcpPacket;
use pnet::packet::udp::MutableUdpPacket;
use proptest::prelude::*;

use crate::frames::{RECEIVER_MAC, SENDER_MAC, arp_request, with_tag};

/// What stands behind the IP header, before its checksum is known.
#[derive(Clone, Debug)]
enum Segment {
    Tcp { ports: (u16, u16), flags: u8, option_words: u8, payload: Vec<u8> },
    Udp { ports: (u16, u16), payload: Vec<u8> },
    Sctp { ports: (u16, u16), payload: Vec<u8> },
    Echo { is_reply: bool, identifier: u16, payload: Vec<u8> },
    Error { payload: Vec<u8> },
    Other { protocol: u8, payload: Vec<u8> },
}

#[derive(Clone, Debug)]
enum Addresses {
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

/// Any well-formed frame that no documented rule refuses.
pub(crate) fn well_formed() -> impl Strategy<Value = Vec<u8>> {
    let padding = prop_oneof![3 => Just(0usize), 1 => 1usize..50];
    let tag = proptest::option::weighted(0.2, any::<u16>());
    prop_oneof![20 => packet(), 1 => Just(arp_request())].prop_flat_map(move |frame| {
        (Just(frame), tag.clone(), padding.clone()).prop_map(|(frame, tag, padding)| {
            let mut frame = match tag {
                None => frame,
                Some(tag) => with_tag(frame, 0x8100, tag),
            };
            frame.extend(std::iter::repeat_n(0xa5, padding));
            frame
        })
    })
}

/// Frames with some of their bytes changed, mostly among the headers, and perhaps cut off.
pub(crate) fn spoiled(frames: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let changes = proptest::collection::vec((0usize..90, any::<u8>()), 0..6);
    let cut = proptest::option::weighted(0.3, any::<prop::sample::Index>());
    (frames, changes, cut).prop_map(|(mut frame, changes, cut)| {
        for (at, byte) in changes {
            if let Some(place) = frame.get_mut(at) {
                *place = byte;
            }
        }
        if let Some(cut) = cut {
            frame.truncate(cut.index(frame.len() + 1));
        }
        frame
    })
}

fn packet() -> impl Strategy<Value = Vec<u8>> {
    let options =
        prop_oneof![3 => Just(vec![]), 1 => Just(vec![7, 7, 4, 0, 0, 0, 0, 0]), 1 => Just(vec![1; 40])];
    (addresses(), segment(), 1u8.., any::<u8>(), any::<u16>(), options, extensions()).prop_map(
        |(addresses, segment, ttl, traffic_class, identification, options, extensions)| {
            let (protocol, transport) = transport(&segment, &addresses);
            let mut frame = Vec::new();
            match addresses {
                Addresses::V4(source, destination) => {
                    ethernet(EtherType::IPV4, &mut frame);
                    let payload_length = transport.len() as u16;
                    let mut header = Ipv4Header::new(
                        payload_length,
                        ttl,
                        IpNumber(protocol),
                        source.octets(),
                        destination.octets(),
                    )
                    .expect("short enough");
                    header.options = Ipv4Options::try_from(options.as_slice()).expect("a multiple of four");
                    header.set_payload_len(transport.len()).expect("short enough");
                    header.identification = identification;
                    header.dont_fragment = traffic_class & 1 != 0;
                    header.fragment_offset = IpFragOffset::ZERO;
                    header.header_checksum = header.calc_header_checksum();
                    header.write(&mut frame).expect("a Vec");
                }
                Addresses::V6(source, destination) => {
                    ethernet(EtherType::IPV6, &mut frame);
                    let (first, chain) = chain(&extensions, protocol);
                    let header = Ipv6Header {
                        traffic_class,
                        flow_label: Ipv6FlowLabel::try_new(u32::from(identification)).expect("16 of 20 bits"),
                        payload_length: (chain.len() + transport.len()) as u16,
                        next_header: IpNumber(first),
                        hop_limit: ttl,
                        source: source.octets(),
                        destination: destination.octets(),
                    };
                    header.write(&mut frame).expect("a Vec");
                    frame.extend(chain);
                }
            }
            frame.extend(transport);
            frame
        },
    )
}

fn ethernet(ether_type: EtherType, frame: &mut Vec<u8>) {
    let header = Ethernet2Header { source: SENDER_MAC, destination: RECEIVER_MAC, ether_type };
    header.write(frame).expect("a Vec");
}

fn addresses() -> impl Strategy<Value = Addresses> {
    let v4 = |first: u8| {
        (any::<u16>(), any::<u8>()).prop_map(move |(b, c)| {
            let [high, low] = b.to_be_bytes();
            Ipv4Addr::new(first, high, low, c)
        })
    };
    let v6 = |first: u16| {
        any::<u64>().prop_map(move |low| Ipv6Addr::from_bits(u128::from(first) << 112 | u128::from(low)))
    };
    prop_oneof![
        (v4(10), prop_oneof![v4(192), v4(224), Just(Ipv4Addr::BROADCAST)])
            .prop_map(|(a, b)| Addresses::V4(a, b)),
        (v6(0xfd00), prop_oneof![v6(0x2001), v6(0xff02), v6(0xff0e)]).prop_map(|(a, b)| Addresses::V6(a, b)),
    ]
}

fn segment() -> impl Strategy<Value = Segment> {
    let ports = any::<(u16, u16)>();
    let payload = proptest::collection::vec(any::<u8>(), 0..200);
    let flags = prop::sample::select(vec![
        0x02u8, 0x12, 0x10, 0x18, 0x11, 0x19, 0x04, 0x14, 0xc2, 0x52, 0x90, 0x30, 0x31,
    ]);
    // None of the extension headers, nor a protocol of its own variant, nor AH and IGMP, which etherparse reads.
    let other = prop::sample::select(vec![47u8, 50, 103, 112, 4, 41, 97, 252]);
    prop_oneof![
        (ports, flags, 0u8..=10, payload.clone()).prop_map(|(ports, flags, option_words, payload)| {
            Segment::Tcp { ports, flags, option_words, payload }
        }),
        (ports, payload.clone()).prop_map(|(ports, payload)| Segment::Udp { ports, payload }),
        (ports, payload.clone()).prop_map(|(ports, payload)| Segment::Sctp { ports, payload }),
        (any::<bool>(), any::<u16>(), payload.clone())
            .prop_map(|(is_reply, identifier, payload)| Segment::Echo { is_reply, identifier, payload }),
        payload.clone().prop_map(|payload| Segment::Error { payload }),
        (other, payload).prop_map(|(protocol, payload)| Segment::Other { protocol, payload }),
    ]
}

/// Which extension headers stand before the transport header.
#[derive(Clone, Debug)]
struct ExtensionSet {
    hop_by_hop: bool,
    destination: bool,
    routing: bool,
    atomic_fragment: bool,
    last_destination: bool,
}

fn extensions() -> impl Strategy<Value = ExtensionSet> {
    proptest::array::uniform5(proptest::bool::weighted(0.2)).prop_map(
        |[hop_by_hop, destination, routing, atomic_fragment, last_destination]| ExtensionSet {
            hop_by_hop,
            destination,
            routing,
            atomic_fragment,
            last_destination,
        },
    )
}

fn chain(set: &ExtensionSet, protocol: u8) -> (u8, Vec<u8>) {
    let padded = |next| vec![next, 1, 5, 2, 0, 0, 1, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut chain = Vec::new();
    let mut next = protocol;
    let mut push_front = |present: bool, number: u8, header: &dyn Fn(u8) -> Vec<u8>| {
        if present {
            chain.splice(0..0, header(next));
            next = number;
        }
    };
    push_front(set.last_destination, 60, &padded);
    push_front(set.atomic_fragment, 44, &|next| vec![next, 0, 0, 0, 1, 2, 3, 4]);
    push_front(set.routing, 43, &|next| vec![next, 0, 4, 0, 0, 0, 0, 0]);
    push_front(set.destination, 60, &padded);
    push_front(set.hop_by_hop, 0, &padded);
    (next, chain)
}

fn transport(segment: &Segment, addresses: &Addresses) -> (u8, Vec<u8>) {
    let is_v6 = matches!(addresses, Addresses::V6(..));
    let (protocol, mut bytes, checksum_at) = match segment {
        Segment::Tcp { ports, flags, option_words, payload } => {
            let header = 20 + usize::from(*option_words) * 4;
            let mut bytes = vec![1; header + payload.len()];
            bytes[header..].copy_from_slice(payload);
            let mut tcp = MutableTcpPacket::new(&mut bytes).expect("20 bytes or more");
            tcp.set_source(ports.0);
            tcp.set_destination(ports.1);
            tcp.set_data_offset((header / 4) as u8);
            tcp.set_reserved(0);
            tcp.set_flags(*flags);
            (6, bytes, Some(16))
        }
        Segment::Udp { ports, payload } => {
            let mut bytes = vec![0; 8 + payload.len()];
            let length = bytes.len() as u16;
            let mut udp = MutableUdpPacket::new(&mut bytes).expect("8 bytes or more");
            udp.set_source(ports.0);
            udp.set_destination(ports.1);
            udp.set_length(length);
            udp.set_payload(payload);
            (17, bytes, Some(6))
        }
        Segment::Sctp { ports, payload } => {
            let mut bytes = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
            bytes.extend([0; 8]);
            bytes.extend(payload);
            (132, bytes, None)
        }
        Segment::Echo { is_reply, identifier, payload } => {
            let icmp_type = match (is_v6, is_reply) {
                (false, false) => 8,
                (false, true) => 0,
                (true, false) => 128,
                (true, true) => 129,
            };
            let mut bytes = vec![icmp_type, 0, 0, 0];
            bytes.extend(identifier.to_be_bytes());
            bytes.extend([0, 1]);
            bytes.extend(payload);
            (if is_v6 { 58 } else { 1 }, bytes, Some(2))
        }
        Segment::Error { payload } => {
            let mut bytes = vec![if is_v6 { 1 } else { 3 }, 1, 0, 0, 0, 0, 0, 0];
            bytes.extend(payload);
            (if is_v6 { 58 } else { 1 }, bytes, Some(2))
        }
        // An empty packet behind an IPv6 header would announce a jumbogram.
        Segment::Other { protocol, payload } => (*protocol, [&[1], payload.as_slice()].concat(), None),
    };
    if let Some(at) = checksum_at {
        let checksum = checksum(&bytes, at / 2, addresses, IpNextHeaderProtocol::new(protocol));
        bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
    }
    (protocol, bytes)
}

fn checksum(bytes: &[u8], skip: usize, addresses: &Addresses, protocol: IpNextHeaderProtocol) -> u16 {
    use pnet::packet::util::{checksum, ipv4_checksum, ipv6_checksum};
    match addresses {
        _ if protocol == IpNextHeaderProtocols::Icmp => checksum(bytes, skip),
        Addresses::V4(source, destination) => ipv4_checksum(bytes, skip, &[], source, destination, protocol),
        Addresses::V6(source, destination) => ipv6_checksum(bytes, skip, &[], source, destination, protocol),
    }
}
