//! Segmentation: the payloads add up to the super-frame's, every checksum is right by pnet's arithmetic, and every
//! header field is what a stack would have sent.

use pnet::packet::ip::IpNextHeaderProtocol;
use pnet::packet::util::{ipv4_checksum, ipv6_checksum};
use proptest::prelude::*;
use septum::burst::SLOT;
use septum::drop_reason::DropReason;
use septum::port::Offloads;
use septum::wire::crc32c::crc32c;
use septum::wire::parse::parse;
use septum::wire::segment::{Segments, Unfinished, fit, longest_packet};
use septum::wire::vnet_hdr::VnetHeader;
use septum::wire::{Content, Headers, IpPacket};

use crate::fitted::fitted;
use crate::frames::*;
use crate::reasons::{partial, super_frame};
use crate::super_frame::{SuperFrame, Tunnel};
use crate::traffic::spoiled;

const HEADER: usize = VnetHeader::LENGTH;

pub(crate) fn with_virtio_header(vnet: VnetHeader, frame: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; VnetHeader::LENGTH];
    vnet.write(&mut bytes);
    bytes.extend(frame);
    bytes
}

/// The checksum of `segment` between the addresses of `frame`, by pnet.
fn checksum_of(frame: &[u8], start: usize, segment: &[u8], protocol: u8) -> u16 {
    let protocol = IpNextHeaderProtocol::new(protocol);
    let network = if start >= 54 { start - 40 } else { start - 20 };
    if start >= 54 {
        let address =
            |at: usize| std::net::Ipv6Addr::from(*frame[network + at..].first_chunk::<16>().expect("IPv6"));
        ipv6_checksum(segment, usize::MAX, &[], &address(8), &address(24), protocol)
    } else {
        let address =
            |at: usize| std::net::Ipv4Addr::from(*frame[network + at..].first_chunk::<4>().expect("IPv4"));
        ipv4_checksum(segment, usize::MAX, &[], &address(12), &address(16), protocol)
    }
}

fn super_frames() -> impl Strategy<Value = SuperFrame> {
    let size = prop_oneof![8u16..100, 500u16..1500];
    let flags = prop::sample::select(vec![0x10u8, 0x18, 0x11, 0x19, 0x99, 0xd0]);
    let tunnel = (any::<[bool; 2]>(), 0u8..80).prop_map(|([is_v6, has_checksum], header)| Tunnel {
        is_v6,
        has_checksum,
        header,
    });
    let parts = (size, 0usize..6000, flags, 0u8..=10, any::<u8>());
    (any::<[bool; 3]>(), parts, prop::option::of(tunnel)).prop_map(
        |([is_v6, is_tcp, is_tagged], (size, length, flags, option_words, first), tunnel)| {
            // More than one segment in a tunnel; more than 128 datagrams is no super-frame of UDP.
            let length = length + tunnel.map_or(0, |_| usize::from(size) + 1);
            let length = if is_tcp { length } else { length.min(usize::from(size) * 128) };
            let payload = (0..length).map(|at| (at as u8).wrapping_mul(31).wrapping_add(first)).collect();
            SuperFrame { is_v6, is_tcp, is_tagged, payload, size, flags, option_words, tunnel }
        },
    )
}

/// The packet that is cut, or a segment of it, in an untagged Ethernet frame of its own.
fn peeled(whole: &SuperFrame, frame: &[u8]) -> (Vec<u8>, IpPacket) {
    let ethertype = if whole.is_v6 { [0x86, 0xdd] } else { [0x08, 0x00] };
    let bytes = [&frame[..12], &ethertype, &frame[whole.inner_network()..]].concat();
    let packet = parsed(&with_virtio_header(VnetHeader::default(), &bytes)).1;
    (bytes, packet)
}

fn parsed(frame: &[u8]) -> (VnetHeader, IpPacket) {
    let vnet = VnetHeader::read(frame).expect("a virtio header");
    match parse(&frame[VnetHeader::LENGTH..], &vnet) {
        Ok(Headers { content: Content::Ip(packet), .. }) => (vnet, packet),
        other => panic!("{other:?}"),
    }
}

const CHECKSUM_ONLY: Offloads = Offloads { checksum: true, ..Offloads::NONE };

proptest! {
    #[test]
    fn segments_are_what_the_sender_would_have_sent(whole in super_frames(), leaves_checksum: bool) {
        let frame = whole.bytes();
        let (vnet, before) = parsed(&frame);
        let (original, _) = peeled(&whole, &frame[HEADER..]);
        let segments = fitted(&frame, if leaves_checksum { CHECKSUM_ONLY } else { Offloads::NONE });
        let size = usize::from(whole.size);
        prop_assert_eq!(segments.len(), whole.payload.len().div_ceil(size).max(1));
        let word = |bytes: &[u8], at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let mut payload = Vec::<u8>::new();
        let mut longest = 0;
        for (number, segment) in segments.iter().enumerate() {
            let (segment_vnet, outer) = parsed(segment);
            let mut complete = segment[HEADER..].to_vec();
            let is_last = number + 1 == segments.len();
            longest = longest.max(outer.length());
            prop_assert_eq!(complete.len(), outer.end as usize);
            prop_assert_eq!(outer.flow, before.flow);
            if leaves_checksum {
                prop_assert_eq!(segment_vnet, partial(vnet.checksum_start, vnet.checksum_offset));
                let mut header = segment_vnet;
                septum::wire::checksum::fill_partial(&mut complete, &mut header);
                prop_assert_eq!(header, VnetHeader::default());
            } else {
                prop_assert_eq!(segment_vnet, VnetHeader::default());
            }

            let (bytes, packet) = peeled(&whole, &complete);
            let rest = &bytes[usize::from(packet.payload)..];
            prop_assert!(rest.len() == size || is_last);
            let transport = usize::from(packet.transport);
            if !whole.is_v6 {
                prop_assert_eq!(word(&bytes, 18), word(&original, 18).wrapping_add(number as u16));
            }
            if whole.is_tcp {
                let sequence = |bytes: &[u8]| u32::from_be_bytes(*bytes[transport + 4..].first_chunk().expect("TCP"));
                let expected = sequence(&original).wrapping_add(payload.len() as u32);
                prop_assert_eq!(sequence(&bytes), expected);
                let mut flags = whole.flags;
                flags &= if is_last { 0xff } else { !0x09 };
                flags &= if number == 0 { 0xff } else { !0x80 };
                prop_assert_eq!(packet.tcp_flags, flags);
                let options = transport + 20..usize::from(packet.payload);
                prop_assert_eq!(&bytes[options.clone()], &original[options]);
            } else {
                prop_assert_eq!(usize::from(word(&bytes, transport + 4)), bytes.len() - transport);
            }
            prop_assert_eq!(checksum_of(&bytes, transport, &bytes[transport..], whole.protocol()), 0);
            payload.extend(rest);

            if let Some(tunnel) = whole.tunnel {
                let start = usize::from(outer.transport);
                let datagram = &complete[start..];
                prop_assert_eq!(usize::from(word(datagram, 4)), datagram.len());
                prop_assert_eq!(&complete[start + 8..whole.inner_network()], &frame[HEADER..][start + 8..whole.inner_network()]);
                if !tunnel.is_v6 {
                    let at = usize::from(outer.network) + 4;
                    prop_assert_eq!(word(&complete, at), word(&frame[HEADER..], at).wrapping_add(number as u16));
                }
                if tunnel.has_checksum {
                    let untagged = if whole.is_tagged { [&complete[..12], &complete[16..]].concat() } else { complete.clone() };
                    let start = start - if whole.is_tagged { 4 } else { 0 };
                    prop_assert_eq!(checksum_of(&untagged, start, datagram, 17), 0);
                } else {
                    prop_assert_eq!(word(datagram, 6), 0);
                }
            }
        }
        prop_assert_eq!(payload, whole.payload);
        prop_assert_eq!(longest, longest_packet(&vnet, &frame, &before));
    }

    #[test]
    fn no_frame_makes_segmentation_panic(
        frame in spoiled(super_frames().prop_map(|frame| frame.bytes())),
    ) {
        let mut scratch = vec![0; SLOT];
        for offloads in [Offloads::NONE, CHECKSUM_ONLY, Offloads::ALL] {
            let _ = fit(&mut frame.clone(), offloads, &mut scratch, |_| {});
        }
    }
}

#[test]
fn a_port_that_takes_it_gets_it_whole() {
    let whole = SuperFrame {
        is_v6: false,
        is_tcp: true,
        payload: vec![7; 4000],
        size: 1460,
        flags: 0x18,
        option_words: 3,
        is_tagged: false,
        tunnel: None,
    };
    for (is_v6, is_tcp) in [(false, true), (true, true), (false, false), (true, false)] {
        for tunnel in [None, Some(Tunnel::VXLAN[0]), Some(Tunnel::VXLAN[3])] {
            let frame = SuperFrame { is_v6, is_tcp, tunnel, ..whole.clone() }.bytes();
            assert_eq!(fitted(&frame, Offloads::ALL), std::slice::from_ref(&frame));
            let all_but_its_own = match (is_v6, is_tcp) {
                (false, true) => Offloads { tso4: false, ..Offloads::ALL },
                (true, true) => Offloads { tso6: false, ..Offloads::ALL },
                _ => Offloads { uso: false, ..Offloads::ALL },
            };
            assert_eq!(fitted(&frame, all_but_its_own).len(), 3);
            assert_eq!(fitted(&frame, Offloads { checksum: false, ..Offloads::ALL }).len(), 3);
            let outside_tunnels = fitted(&frame, Offloads { tunnel: false, ..Offloads::ALL });
            assert_eq!(outside_tunnels.len(), if tunnel.is_some() { 3 } else { 1 });
        }
    }
}

#[test]
fn a_partial_checksum_is_completed_where_the_port_cannot() {
    let mut frame = udp4();
    let right = frame[V4_PAYLOAD + 6..V4_PAYLOAD + 8].to_vec();
    let pseudo = !checksum_of(&frame, V4_PAYLOAD, &vec![0; frame.len() - V4_PAYLOAD], 17);
    frame[V4_PAYLOAD + 6..V4_PAYLOAD + 8].copy_from_slice(&pseudo.to_be_bytes());
    let frame = with_virtio_header(partial(34, 6), &frame);
    assert_eq!(fitted(&frame, CHECKSUM_ONLY), std::slice::from_ref(&frame));
    let completed = fitted(&frame, Offloads::NONE).remove(0);
    assert_eq!(VnetHeader::read(&completed), Some(VnetHeader::default()));
    assert_eq!(completed[HEADER + V4_PAYLOAD..][6..8], right);
}

#[test]
fn sctp_gets_its_crc() {
    // RFC 9260 section 6.8: CRC32c over the packet, its own field zero.
    let mut frame = ipv4(132, b"\x0f\xa0\x0f\xa1\0\0\0\0\0\0\0\0\x0e\0\0\x04");
    frame = with_virtio_header(partial(34, 8), &frame);
    let completed = fitted(&frame, Offloads::NONE).remove(0);
    assert_eq!(completed[HEADER + 42..HEADER + 46], crc32c(&frame[HEADER + 34..]).to_le_bytes());
}

#[test]
fn what_needs_no_segmentation_or_lies_has_no_segments() {
    let plain = with_virtio_header(VnetHeader::default(), &tcp4());
    assert!(matches!(Segments::new(&plain, false), Err(DropReason::OffloadHeader)));
    let lying = with_virtio_header(super_frame(1, 0, 34, 16), &tcp4());
    assert!(matches!(Segments::new(&lying, false), Err(DropReason::OffloadHeader)));
    assert!(matches!(Segments::new(&plain[..5], false), Err(DropReason::FrameSize)));
    assert_eq!(Unfinished::of(&VnetHeader::default(), Offloads::NONE), Unfinished::Nothing);
}
