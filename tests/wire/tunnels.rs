//! Super-frames inside UDP tunnels: what their virtio header may say, and how it is found where the kernel could not say it.

use septum::drop_reason::DropReason;
use septum::wire::parse::parse;
use septum::wire::tunnel::describe;
use septum::wire::vnet_hdr::VnetHeader;

use crate::super_frame::{SuperFrame, Tunnel};

const HEADER: usize = VnetHeader::LENGTH;

fn whole(is_v6: bool, is_tcp: bool, tunnel: Tunnel) -> SuperFrame {
    SuperFrame {
        is_v6,
        is_tcp,
        is_tagged: false,
        payload: vec![7; 4000],
        size: 1400,
        flags: 0x18,
        option_words: 3,
        tunnel: Some(tunnel),
    }
}

/// Every kind of packet in every kind of VXLAN tunnel.
fn all() -> impl Iterator<Item = SuperFrame> {
    let kinds = [(false, true), (true, true), (false, false), (true, false)];
    kinds.into_iter().flat_map(|(is_v6, is_tcp)| Tunnel::VXLAN.map(|tunnel| whole(is_v6, is_tcp, tunnel)))
}

fn verdict(frame: &[u8]) -> Result<(), DropReason> {
    let vnet = VnetHeader::read(frame).expect("a virtio header");
    parse(&frame[HEADER..], &vnet).map(drop)
}

#[test]
fn the_truth_is_believed() {
    for frame in all() {
        assert_eq!(verdict(&frame.bytes()), Ok(()), "{frame:?}");
        let tagged = SuperFrame { is_tagged: true, ..frame.clone() };
        assert_eq!(verdict(&tagged.bytes()), Ok(()), "{tagged:?}");
        let closed = SuperFrame { flags: 0x99, ..frame };
        assert_eq!(verdict(&closed.bytes()), Ok(()), "{closed:?}");
    }
}

/// What is said of the frame, and the frame itself, Ethernet first.
type Lie = fn(&mut VnetHeader, &mut Vec<u8>, &SuperFrame);

const LIES: [(&str, Lie); 28] = [
    ("the other family", |vnet, _, _| vnet.gso_type ^= VnetHeader::GSO_TUNNEL),
    ("both families", |vnet, _, _| vnet.gso_type |= VnetHeader::GSO_TUNNEL),
    ("no tunnel", |vnet, _, _| vnet.gso_type &= !VnetHeader::GSO_TUNNEL),
    ("no type inside", |vnet, _, _| vnet.gso_type &= VnetHeader::GSO_TUNNEL),
    ("an unknown type inside", |vnet, _, _| vnet.gso_type = vnet.gso_type & VnetHeader::GSO_TUNNEL | 3),
    ("the other protocol inside", |vnet, _, whole| {
        vnet.gso_type = vnet.gso_type & VnetHeader::GSO_TUNNEL | if whole.is_tcp { 5 } else { 1 };
    }),
    ("the other family inside", |vnet, _, whole| {
        vnet.gso_type = vnet.gso_type & VnetHeader::GSO_TUNNEL | if whole.is_v6 { 1 } else { 4 };
    }),
    ("no partial checksum", |vnet, _, _| vnet.flags &= !VnetHeader::NEEDS_CHECKSUM),
    ("an unknown flag", |vnet, _, _| vnet.flags |= 0x10),
    ("the outer checksum's flag alone", |vnet, _, _| vnet.flags ^= VnetHeader::TUNNEL_CHECKSUM),
    ("the outer checksum alone", |_, frame, whole| {
        let at = whole.outer_transport() + 6;
        let is_none = frame[at..at + 2] == [0, 0];
        frame[at..at + 2].fill(u8::from(is_none));
    }),
    ("a segment size of zero", |vnet, _, _| vnet.gso_size = 0),
    ("one segment", |vnet, _, whole| vnet.gso_size = whole.payload.len() as u16),
    ("many segments", |vnet, _, _| vnet.gso_size = 7),
    ("the outer UDP header before", |vnet, _, _| vnet.outer_transport -= 4),
    ("the outer UDP header behind", |vnet, _, _| vnet.outer_transport += 4),
    ("the inner packet before the outer payload", |vnet, _, _| vnet.inner_network = vnet.outer_transport),
    ("the inner packet elsewhere", |vnet, _, _| vnet.inner_network += 2),
    ("the inner packet beyond the frame", |vnet, _, _| vnet.inner_network = 60_000),
    ("the checksum at the outer one's place", |vnet, _, whole| {
        (vnet.checksum_start, vnet.checksum_offset) = (whole.outer_transport() as u16, 6);
    }),
    ("the checksum in the inner payload", |vnet, _, _| vnet.checksum_start += 40),
    ("the checksum elsewhere in the header", |vnet, _, _| vnet.checksum_offset -= 2),
    ("headers longer than the frame", |vnet, frame, _| vnet.header_length = frame.len() as u16 + 1),
    ("an inner version that is none", |_, frame, whole| frame[whole.inner_network()] ^= 0x10),
    ("an inner packet that ends before", |_, frame, whole| {
        let at = whole.inner_network() + if whole.is_v6 { 4 } else { 2 };
        let length = u16::from_be_bytes([frame[at], frame[at + 1]]) - 1;
        frame[at..at + 2].copy_from_slice(&length.to_be_bytes());
        if !whole.is_v6 {
            with_inner_checksum(frame, whole);
        }
    }),
    ("an outer datagram that ends before", |_, frame, whole| {
        let at = whole.outer_transport() + 4;
        let length = u16::from_be_bytes([frame[at], frame[at + 1]]) - 1;
        frame[at..at + 2].copy_from_slice(&length.to_be_bytes());
    }),
    ("an inner fragment", |_, frame, whole| {
        if whole.is_v6 {
            frame[whole.inner_network() + 6] = 44;
        } else {
            frame[whole.inner_network() + 6] |= 0x20;
            with_inner_checksum(frame, whole);
        }
    }),
    ("an inner TCP header, or datagram, beyond the end", |_, frame, whole| {
        let transport = whole.transport();
        if whole.is_tcp {
            frame[transport + 12] = 0x40;
        } else {
            frame[transport + 4..transport + 6].fill(0xff);
        }
    }),
];

/// Makes the checksum of the inner IPv4 header right again.
fn with_inner_checksum(frame: &mut [u8], whole: &SuperFrame) {
    septum::wire::ipv4::Ipv4Header::write_checksum(&mut frame[whole.inner_network()..whole.transport()]);
}

fn told(vnet: VnetHeader, frame: &[u8]) -> Vec<u8> {
    crate::segmentation::with_virtio_header(vnet, frame)
}

#[test]
fn no_lie_is_believed() {
    for whole in all() {
        let bytes = whole.bytes();
        let truth = VnetHeader::read(&bytes).unwrap();
        for (name, lie) in LIES {
            let (mut vnet, mut frame) = (truth, bytes[HEADER..].to_vec());
            lie(&mut vnet, &mut frame, &whole);
            let lying = told(vnet, &frame);
            assert_ne!(lying, bytes, "{name} changes nothing");
            assert_eq!(verdict(&lying), Err(DropReason::OffloadHeader), "{name}: {whole:?}");
        }
    }
}

#[test]
fn a_tunnel_carries_nothing_that_opens_or_resets() {
    for flags in [0x02, 0x12, 0x14] {
        let frame = SuperFrame { flags, ..whole(false, true, Tunnel::VXLAN[0]) };
        assert_eq!(verdict(&frame.bytes()), Err(DropReason::OffloadHeader));
    }
}

#[test]
fn what_a_kernel_could_not_say_is_found() {
    for is_tagged in [false, true] {
        for whole in all() {
            let whole = SuperFrame { is_tagged, ..whole };
            let truth = whole.bytes();
            let vnet = VnetHeader::read(&truth).unwrap();
            // As AF_PACKET tells it.
            let mut plain = told(
                VnetHeader {
                    flags: VnetHeader::NEEDS_CHECKSUM,
                    gso_type: vnet.gso_type & !VnetHeader::GSO_TUNNEL,
                    outer_transport: 0,
                    inner_network: 0,
                    ..vnet
                },
                &truth[HEADER..],
            );
            assert_eq!(verdict(&plain), Err(DropReason::OffloadHeader));
            describe(&mut plain);
            assert_eq!(plain, truth, "{whole:?}");
        }
    }
}

#[test]
fn what_is_no_tunnel_is_described_as_it_was() {
    let inside = whole(false, true, Tunnel::VXLAN[1]);
    for (is_v6, is_tcp) in [(false, true), (true, true), (false, false), (true, false)] {
        let frame = SuperFrame { is_v6, is_tcp, tunnel: None, ..inside.clone() }.bytes();
        let mut described = frame.clone();
        describe(&mut described);
        assert_eq!(described, frame);
    }
    // Where nothing that the header speaks of begins.
    let bytes = inside.bytes();
    let vnet = VnetHeader::read(&bytes).unwrap();
    for checksum_start in 0..200 {
        let gso_type = vnet.gso_type & !VnetHeader::GSO_TUNNEL;
        let flags = VnetHeader::NEEDS_CHECKSUM;
        if checksum_start == vnet.checksum_start {
            continue;
        }
        let mut frame = told(VnetHeader { flags, gso_type, checksum_start, ..vnet }, &bytes[HEADER..]);
        let before = frame.clone();
        describe(&mut frame);
        assert_eq!(frame, before, "{checksum_start}");
    }
}
