//! Trunks: who a frame is from, and for, is told by device and tag; nothing crosses from one VLAN to another but by the gateway.

use septum::burst::ETHERNET;
use septum::drop_reason::DropReason;
use septum::port::Offloads;
use septum::wire::ipv4::Ipv4Header;
use septum::wire::vnet_hdr::VnetHeader;
use septum_rules::proto::{Layer4, Protocol};

use crate::fabric::Fabric;
use crate::super_frame::{SuperFrame, Tunnel};

/// Two VLANs: red at two trunks and at a port of its own, blue at one of the trunks and at a port of its own.
const VLANS: &str = r#"
version = 1
[segment.red]
vlan = 10
subnet = ["10.1.0.0/24", "fd01::/64"]
gateway = ["10.1.0.1", "fd01::1"]
[segment.blue]
vlan = 20
subnet = ["10.2.0.0/24", "fd02::/64"]
gateway = ["10.2.0.1", "fd02::1"]
[workload.red-1]
segment = "red"
tap = "t0"
trunk = true
mac = "02:00:00:00:00:11"
ip = ["10.1.0.11", "fd01::11"]
[workload.blue-1]
segment = "blue"
tap = "t0"
trunk = true
mac = "02:00:00:00:00:21"
ip = ["10.2.0.21", "fd02::21"]
[workload.red-2]
segment = "red"
tap = "t1"
trunk = true
mac = "02:00:00:00:00:12"
ip = ["10.1.0.12", "fd01::12"]
[workload.red-3]
segment = "red"
mac = "02:00:00:00:00:13"
ip = ["10.1.0.13", "fd01::13"]
[workload.blue-2]
segment = "blue"
mac = "02:00:00:00:00:22"
ip = ["10.2.0.22", "fd02::22"]
[[rule]]
name = "any"
allow = ["any"]
"#;

const FIRST: &str = "trunk=t0";
const SECOND: &str = "trunk=t1";
const RED: u16 = 10;
const BLUE: u16 = 20;
const UDP: Layer4 = Layer4::ports(Protocol::UDP, 40_000, 9000);

/// Where a tag stands.
const TAG_AT: usize = ETHERNET + 12;

/// A frame with a tag more.
fn tagged(mut frame: Vec<u8>, ethertype: u16, tag: u16) -> Vec<u8> {
    let tag = [ethertype.to_be_bytes(), tag.to_be_bytes()].concat();
    frame.splice(TAG_AT..TAG_AT, tag);
    frame
}

/// The id that a frame is tagged with, and the frame without it.
fn untagged(mut frame: Vec<u8>) -> (u16, Vec<u8>) {
    let tag: Vec<u8> = frame.splice(TAG_AT..TAG_AT + 4, []).collect();
    assert_eq!(tag[..2], [0x81, 0], "no tag");
    (u16::from_be_bytes([tag[2], tag[3]]), frame)
}

fn opening(fabric: &Fabric, from: &str, to: &str, ipv4: bool) -> Vec<u8> {
    fabric.opening(from, &fabric.flow(from, to, ipv4, UDP))
}

/// What becomes of a frame that comes in by a trunk, wherever it is counted.
fn outcome(fabric: &mut Fabric, trunk: &str, frame: &[u8]) -> Result<(), DropReason> {
    let before = fabric.total();
    fabric.send(trunk, frame);
    let after = fabric.total().since(&before);
    assert_eq!(after.received, 1);
    match after.drops().next() {
        Some((reason, 1)) => Err(reason),
        None => Ok(()),
        Some(more) => panic!("{more:?}"),
    }
}

#[test]
fn a_tag_is_put_on_and_taken_off() {
    for ipv4 in [true, false] {
        let mut fabric = Fabric::new(VLANS);
        // From a port of its own to a trunk.
        let frame = opening(&fabric, "red-3", "red-1", ipv4);
        assert_eq!(fabric.outcome("red-3", &frame), Ok(()));
        let mut heard = fabric.received(FIRST);
        assert_eq!(heard.len(), 1);
        assert_eq!(untagged(heard.remove(0)), (RED, frame));
        // And back. The priority of a tag says nothing of whose it is.
        let frame = opening(&fabric, "red-1", "red-3", ipv4);
        for priority in [0, 0x6000, 0x1000] {
            let frame = tagged(frame.clone(), 0x8100, priority | RED);
            assert_eq!(outcome(&mut fabric, FIRST, &frame), Ok(()));
        }
        assert_eq!(fabric.received("red-3"), vec![frame; 3]);
        // From one trunk to the other.
        let frame = opening(&fabric, "red-1", "red-2", ipv4);
        assert_eq!(outcome(&mut fabric, FIRST, &tagged(frame.clone(), 0x8100, RED)), Ok(()));
        let mut heard = fabric.received(SECOND);
        assert_eq!(heard.len(), 1);
        assert_eq!(untagged(heard.remove(0)), (RED, frame));
        assert!(fabric.received(FIRST).is_empty() && fabric.received("blue-2").is_empty());
    }
}

#[test]
fn from_one_vlan_to_another_is_by_the_gateway_alone() {
    let mut fabric = Fabric::new(VLANS);
    let frame = tagged(opening(&fabric, "red-1", "blue-1", true), 0x8100, RED);
    assert_eq!(outcome(&mut fabric, FIRST, &frame), Ok(()));
    let mut heard = fabric.received(FIRST);
    assert_eq!(heard.len(), 1);
    let (id, routed) = untagged(heard.remove(0));
    assert_eq!((id, &routed[ETHERNET..ETHERNET + 6]), (BLUE, &fabric.mac("blue-1").0[..]));
    // Past the gateway, straight to the other's MAC.
    let mut frame = frame;
    let mac = fabric.mac("blue-1").0;
    frame[ETHERNET..ETHERNET + 6].copy_from_slice(&mac);
    assert_eq!(outcome(&mut fabric, FIRST, &frame), Err(DropReason::UnknownDestination));
    assert!(fabric.received(FIRST).is_empty());
}

#[test]
fn what_is_nobodys_on_a_trunk_is_refused_for_its_own_reason() {
    let mut fabric = Fabric::new(VLANS);
    let frame = opening(&fabric, "red-1", "red-3", true);
    let inner = tagged(frame.clone(), 0x8100, RED);
    for (frame, reason) in [
        (frame.clone(), DropReason::VlanMissing),
        (tagged(frame.clone(), 0x8100, 30), DropReason::VlanUndeclared),
        (tagged(frame.clone(), 0x8100, 0), DropReason::VlanUndeclared),
        (tagged(inner.clone(), 0x8100, RED), DropReason::VlanStacked),
        (tagged(inner.clone(), 0x88a8, RED), DropReason::VlanStacked),
        (tagged(frame.clone(), 0x88a8, RED), DropReason::VlanStacked),
        (inner[..TAG_AT + 3].to_vec(), DropReason::VlanTruncated),
        // Another VLAN's workload has another MAC, and another address.
        (tagged(frame.clone(), 0x8100, BLUE), DropReason::SpoofMac),
    ] {
        assert_eq!(outcome(&mut fabric, FIRST, &frame), Err(reason));
    }
    // Blue is at the first trunk, not at the second.
    let blue = tagged(opening(&fabric, "blue-1", "blue-2", true), 0x8100, BLUE);
    assert_eq!(outcome(&mut fabric, SECOND, &blue), Err(DropReason::VlanUndeclared));
    assert_eq!(outcome(&mut fabric, FIRST, &blue), Ok(()));
    // Red's address under blue's MAC and tag.
    let mut stolen = opening(&fabric, "red-1", "red-3", true);
    let mac = fabric.mac("blue-1").0;
    stolen[ETHERNET + 6..ETHERNET + 12].copy_from_slice(&mac);
    assert_eq!(outcome(&mut fabric, FIRST, &tagged(stolen, 0x8100, BLUE)), Err(DropReason::SpoofIp));
    assert_eq!(fabric.received("red-3"), Vec::<Vec<u8>>::new());
    // A port of its own has no tags.
    let access = tagged(opening(&fabric, "red-3", "red-1", true), 0x8100, RED);
    assert_eq!(fabric.outcome("red-3", &access), Err(DropReason::VlanUnexpected));
}

#[test]
fn what_is_said_to_all_stays_in_its_vlan() {
    let mut fabric = Fabric::new(VLANS);
    let mut flow = fabric.flow("red-3", "red-3", true, UDP);
    flow.destination = "255.255.255.255".parse().unwrap();
    let mut frame = fabric.opening("red-3", &flow);
    frame[ETHERNET..ETHERNET + 6].fill(0xff);
    assert_eq!(fabric.outcome("red-3", &frame), Ok(()));
    for trunk in [FIRST, SECOND] {
        let ids: Vec<_> = fabric.received(trunk).into_iter().map(|frame| untagged(frame).0).collect();
        assert_eq!(ids, [RED], "{trunk}");
    }
    assert!(fabric.received("blue-2").is_empty());
}

#[test]
fn a_burst_of_several_vlans_is_divided() {
    let mut fabric = Fabric::new(VLANS);
    let red = tagged(opening(&fabric, "red-1", "red-3", true), 0x8100, RED);
    let blue = tagged(opening(&fabric, "blue-1", "blue-2", true), 0x8100, BLUE);
    let stray = tagged(opening(&fabric, "blue-1", "blue-2", true), 0x8100, 99);
    fabric.send_all(FIRST, &[red.clone(), blue.clone(), stray, red, blue]);
    assert_eq!([fabric.received("red-3").len(), fabric.received("blue-2").len()], [2, 2]);
    let counters = ["red-1", "blue-1", FIRST].map(|name| fabric.counters(name));
    assert_eq!(counters.map(|counters| counters.received), [2, 2, 1]);
}

#[test]
fn unfinished_frames_cross_with_their_offsets_moved() {
    let trunk_offloads = |name: &str| if name == SECOND { Offloads::NONE } else { Offloads::ALL };
    let mut fabric = Fabric::with_offloads(VLANS, trunk_offloads);
    let mut frame = opening(&fabric, "red-3", "red-1", true);
    let start = 14 + 20;
    let unfinished = VnetHeader {
        flags: VnetHeader::NEEDS_CHECKSUM,
        header_length: start + 8,
        checksum_start: start,
        checksum_offset: 6,
        ..VnetHeader::default()
    };
    unfinished.write(&mut frame);
    assert_eq!(fabric.outcome("red-3", &frame), Ok(()));
    let heard = fabric.received(FIRST);
    let vnet = VnetHeader::read(&heard[0]).unwrap();
    assert_eq!((vnet.checksum_start, vnet.header_length), (start + 4, start + 12));
    // Back without the tag, as it was.
    let mut frame = opening(&fabric, "red-1", "red-3", true);
    let moved = VnetHeader { checksum_start: start + 4, header_length: start + 12, ..unfinished };
    moved.write(&mut frame);
    assert_eq!(outcome(&mut fabric, FIRST, &tagged(frame, 0x8100, RED)), Ok(()));
    assert_eq!(VnetHeader::read(&fabric.received("red-3")[0]), Some(unfinished));
    // A trunk without offloads gets it finished.
    let mut frame = opening(&fabric, "red-3", "red-2", true);
    unfinished.write(&mut frame);
    assert_eq!(fabric.outcome("red-3", &frame), Ok(()));
    let heard = fabric.received(SECOND);
    assert_eq!(VnetHeader::read(&heard[0]).map(|vnet| vnet.flags), Some(0));
    // One that lies about its tag is judged by what it is.
    let mut frame = opening(&fabric, "red-1", "red-3", true);
    VnetHeader { checksum_start: 14, ..moved }.write(&mut frame);
    assert_eq!(outcome(&mut fabric, FIRST, &tagged(frame, 0x8100, RED)), Err(DropReason::OffloadHeader));
}

#[test]
fn offsets_of_a_tunnel_cross_with_their_frame() {
    let mut fabric = Fabric::with_offloads(VLANS, |_| Offloads::ALL);
    let whole = SuperFrame {
        is_v6: false,
        is_tcp: true,
        is_tagged: false,
        payload: vec![7; 3000],
        size: 1400,
        flags: 0x10,
        option_words: 0,
        tunnel: Some(Tunnel::VXLAN[0]),
    };
    let inner = whole.bytes();
    let opening = opening(&fabric, "red-3", "red-1", true);
    // The opening's own addresses and ports around what the tunnel carries.
    let carrying = |opening: &[u8]| {
        let mut frame = inner.clone();
        frame[ETHERNET..ETHERNET + 12].copy_from_slice(&opening[ETHERNET..ETHERNET + 12]);
        frame[ETHERNET + 26..ETHERNET + 38].copy_from_slice(&opening[ETHERNET + 26..ETHERNET + 38]);
        Ipv4Header::write_checksum(&mut frame[ETHERNET + 14..ETHERNET + 34]);
        frame
    };
    let untagged = carrying(&opening);
    assert_eq!(fabric.outcome("red-3", &untagged), Ok(()));
    let heard = fabric.received(FIRST);
    let offsets = |frame: &[u8]| {
        let vnet = VnetHeader::read(frame).unwrap();
        [vnet.outer_transport, vnet.inner_network, vnet.checksum_start, vnet.header_length]
    };
    assert_eq!(offsets(&heard[0]), offsets(&untagged).map(|offset| offset + 4));
    // Back, with offsets that count the tag; and as Linux tells them, which forgets it in those of the tunnel.
    let back = carrying(&self::opening(&fabric, "red-1", "red-3", true));
    let vnet = VnetHeader::read(&back).unwrap();
    for counted in [4, 0] {
        let mut frame = back.clone();
        VnetHeader {
            checksum_start: vnet.checksum_start + 4,
            header_length: vnet.header_length + 4,
            outer_transport: vnet.outer_transport + counted,
            inner_network: vnet.inner_network + counted,
            ..vnet
        }
        .write(&mut frame);
        assert_eq!(outcome(&mut fabric, FIRST, &tagged(frame, 0x8100, RED)), Ok(()));
        assert_eq!(fabric.received("red-3"), std::slice::from_ref(&back));
    }
}
