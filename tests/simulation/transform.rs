//! What the switch may change in a frame on its way, done a second time: routing's hop, the checksum that a port needs
//! filled in, segmentation. Written from the RFCs and VIRTIO, not from the switch.

use septum::port::Offloads;
use septum_rules::mac::MacAddress;

use crate::craft::{FIN, NETWORK, PSH, TCP, UDP, VNET, fix_header_checksum, pseudo, sum};
use crate::view::Packet;

/// RFC 3168.
const CWR: u8 = 128;

/// The frame after its hop through a gateway.
pub(crate) fn routed(frame: &[u8], packet: &Packet, from: MacAddress, to: MacAddress) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[VNET..VNET + 6].copy_from_slice(&to.0);
    frame[VNET + 6..VNET + 12].copy_from_slice(&from.0);
    if packet.source.is_ipv4() {
        frame[NETWORK + 8] -= 1;
        fix_header_checksum(&mut frame[NETWORK..]);
    } else {
        frame[NETWORK + 7] -= 1;
    }
    frame
}

/// A frame that crosses a trunk: its virtio header is written anew, without the number of buffers and the hash, which no device
/// reads, and with a length of the headers that leaves room for a tag, whatever it said.
pub(crate) fn by_trunk(mut frame: Vec<u8>) -> Vec<u8> {
    let headers = u16::from_le_bytes([frame[2], frame[3]]).min(u16::MAX - 4);
    frame[2..4].copy_from_slice(&headers.to_le_bytes());
    frame[10..VNET].fill(0);
    frame
}

/// Bytes of the longest IP packet that the frame puts on a wire.
pub(crate) fn longest(frame: &[u8], packet: &Packet) -> usize {
    let headers = packet.payload - NETWORK;
    let payload = packet.end - packet.payload;
    match frame[1] {
        0 => headers + payload,
        _ => headers + payload.min(usize::from(u16::from_le_bytes([frame[4], frame[5]]))),
    }
}

/// Packets and bytes that the frame puts on a wire.
pub(crate) fn weight(frame: &[u8], packet: &Packet) -> [u64; 2] {
    let (headers, payload) = ((packet.payload - VNET) as u64, (packet.end - packet.payload) as u64);
    let count = match frame[1] {
        0 => 1,
        _ => payload.div_ceil(u64::from(u16::from_le_bytes([frame[4], frame[5]]))).max(1),
    };
    [count, count * headers + payload]
}

/// The frames that a port with these offloads gets instead.
pub(crate) fn fitted(frame: &[u8], packet: &Packet, offloads: Offloads) -> Vec<Vec<u8>> {
    let gso = frame[1] & 0x7f;
    let is_partial = frame[0] & 1 != 0;
    let takes_whole = match gso {
        0 => true,
        1 => offloads.checksum && offloads.tso4,
        4 => offloads.checksum && offloads.tso6,
        _ => offloads.checksum && offloads.uso,
    };
    if !takes_whole {
        return segments(frame, packet, offloads.checksum);
    }
    if is_partial && !offloads.checksum {
        return vec![filled(frame)];
    }
    vec![frame.to_vec()]
}

/// The frame with its partial checksum filled in.
fn filled(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let field = |at: usize| usize::from(u16::from_le_bytes([frame[at], frame[at + 1]]));
    let (start, offset) = (VNET + field(6), field(8));
    frame[0] &= !1;
    frame[6..VNET].fill(0);
    // The place of SCTP's, which is a CRC: of the packet itself, or of one that it carries.
    if offset == 8 {
        frame[start + 8..start + 12].fill(0);
        let crc = crc32c(&frame[start..]);
        frame[start + 8..start + 12].copy_from_slice(&crc.to_le_bytes());
    } else {
        let checksum = !sum(&[&frame[start..]]);
        let checksum = if checksum == 0 { 0xffff } else { checksum };
        frame[start + offset..start + offset + 2].copy_from_slice(&checksum.to_be_bytes());
    }
    frame
}

/// CRC-32C, bit by bit (RFC 9260 appendix A).
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0x82f6_3b78 };
        }
    }
    !crc
}

fn segments(frame: &[u8], packet: &Packet, leaves_checksum: bool) -> Vec<Vec<u8>> {
    let size = usize::from(u16::from_le_bytes([frame[4], frame[5]]));
    let (headers, payload) = (&frame[..packet.payload], &frame[packet.payload..packet.end]);
    let count = payload.len().div_ceil(size).max(1);
    let transport = packet.transport;
    let mut all = Vec::with_capacity(count);
    for number in 0..count {
        let begin = number * size;
        let part = &payload[begin..(begin + size).min(payload.len())];
        let mut segment = [headers, part].concat();
        let length = segment.len() - transport;
        if packet.source.is_ipv4() {
            let total = (segment.len() - NETWORK) as u16;
            let identification =
                u16::from_be_bytes([frame[NETWORK + 4], frame[NETWORK + 5]]).wrapping_add(number as u16);
            segment[NETWORK + 2..NETWORK + 4].copy_from_slice(&total.to_be_bytes());
            segment[NETWORK + 4..NETWORK + 6].copy_from_slice(&identification.to_be_bytes());
            fix_header_checksum(&mut segment[NETWORK..]);
        } else {
            let total = (segment.len() - NETWORK - 40) as u16;
            segment[NETWORK + 4..NETWORK + 6].copy_from_slice(&total.to_be_bytes());
        }
        let place = if packet.protocol == TCP { 16 } else { 6 };
        if packet.protocol == TCP {
            let header = &mut segment[transport..];
            let sequence = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
            header[4..8].copy_from_slice(&sequence.wrapping_add(begin as u32).to_be_bytes());
            if number + 1 != count {
                header[13] &= !(FIN | PSH);
            }
            if number != 0 {
                header[13] &= !CWR;
            }
        } else {
            segment[transport + 4..transport + 6].copy_from_slice(&(length as u16).to_be_bytes());
        }
        segment[transport + place..transport + place + 2].fill(0);
        let pseudo = pseudo(packet.source, packet.destination, packet.protocol, length);
        let checksum = match leaves_checksum {
            true => sum(&[&pseudo]),
            false => match !sum(&[&pseudo, &segment[transport..]]) {
                0 if packet.protocol == UDP => 0xffff,
                // A TCP checksum of zero is as right as one of all ones (RFC 1624).
                0 => 0xffff,
                checksum => checksum,
            },
        };
        segment[transport + place..transport + place + 2].copy_from_slice(&checksum.to_be_bytes());
        segment[..VNET].fill(0);
        if leaves_checksum {
            segment[0] = 1;
            segment[6..8].copy_from_slice(&((transport - VNET) as u16).to_le_bytes());
            segment[8..10].copy_from_slice(&(place as u16).to_le_bytes());
        }
        all.push(segment);
    }
    all
}
