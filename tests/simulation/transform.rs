//! What the switch may change in a frame on its way, done a second time: routing's hop, the checksum that a port needs
//! filled in, segmentation. Written from the RFCs and VIRTIO, not from the switch.

use septum::port::Offloads;
use septum_rules::mac::MacAddress;

use crate::craft::{FIN, NETWORK, PSH, TCP, VNET, fix_header_checksum, pseudo, sum};
use crate::view::{Packet, cut, field};

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
    let stays = if frame[1] & 0x60 == 0 { 0 } else { 4 };
    frame[10..VNET - stays].fill(0);
    frame
}

/// Bytes of the longest IP packet that the frame puts on a wire.
pub(crate) fn longest(frame: &[u8], packet: &Packet) -> usize {
    let cut = cut(frame, packet).expect("a frame that passes tells the truth");
    let headers = cut.payload - NETWORK;
    let payload = cut.end - cut.payload;
    match frame[1] {
        0 => headers + payload,
        _ => headers + payload.min(field(frame, 4)),
    }
}

/// Packets and bytes that the frame puts on a wire.
pub(crate) fn weight(frame: &[u8], packet: &Packet) -> [u64; 2] {
    let cut = cut(frame, packet).expect("a frame that passes tells the truth");
    let (headers, payload) = ((cut.payload - VNET) as u64, (cut.end - cut.payload) as u64);
    let count = match frame[1] {
        0 => 1,
        _ => payload.div_ceil(field(frame, 4) as u64).max(1),
    };
    [count, count * headers + payload]
}

/// The frames that a port with these offloads gets instead.
pub(crate) fn fitted(frame: &[u8], packet: &Packet, offloads: Offloads) -> Vec<Vec<u8>> {
    let gso = frame[1] & 0x1f;
    let is_partial = frame[0] & 1 != 0;
    let takes_whole = match gso {
        0 => true,
        1 => offloads.checksum && offloads.tso4,
        4 => offloads.checksum && offloads.tso6,
        _ => offloads.checksum && offloads.uso,
    };
    if !takes_whole || (frame[1] & 0x60 != 0 && !offloads.tunnel) {
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
    let size = field(frame, 4);
    let is_in_tunnel = frame[1] & 0x60 != 0;
    let cut = cut(frame, packet).expect("a frame that passes tells the truth");
    let (headers, payload) = (&frame[..cut.payload], &frame[cut.payload..cut.end]);
    let count = payload.len().div_ceil(size).max(1);
    let transport = cut.transport;
    let mut all = Vec::with_capacity(count);
    for number in 0..count {
        let begin = number * size;
        let part = &payload[begin..(begin + size).min(payload.len())];
        let mut segment = [headers, part].concat();
        renew_network(&mut segment, &cut, number);
        if cut.protocol == TCP {
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
            renew_length(&mut segment, transport);
        }
        let place = if cut.protocol == TCP { 16 } else { 6 };
        seal(&mut segment, &cut, place);
        if is_in_tunnel {
            renew_network(&mut segment, packet, number);
            renew_length(&mut segment, packet.transport);
            if segment[packet.transport + 6..packet.transport + 8] != [0, 0] {
                seal(&mut segment, packet, 6);
            }
        }
        segment[..VNET].fill(0);
        if leaves_checksum {
            let pseudo = pseudo(cut.source, cut.destination, cut.protocol, segment.len() - transport);
            segment[transport + place..transport + place + 2].copy_from_slice(&sum(&[&pseudo]).to_be_bytes());
            segment[0] = 1;
            segment[6..8].copy_from_slice(&((transport - VNET) as u16).to_le_bytes());
            segment[8..10].copy_from_slice(&(place as u16).to_le_bytes());
        }
        all.push(segment);
    }
    all
}

/// Writes what the IP header of `packet` in segment `number` has of its own.
fn renew_network(segment: &mut [u8], packet: &Packet, number: usize) {
    let length = segment.len() - packet.network;
    let header = &mut segment[packet.network..];
    if packet.source.is_ipv4() {
        let identification = u16::from_be_bytes([header[4], header[5]]).wrapping_add(number as u16);
        header[2..4].copy_from_slice(&(length as u16).to_be_bytes());
        header[4..6].copy_from_slice(&identification.to_be_bytes());
        fix_header_checksum(header);
    } else {
        header[4..6].copy_from_slice(&((length - 40) as u16).to_be_bytes());
    }
}

fn renew_length(segment: &mut [u8], transport: usize) {
    let length = (segment.len() - transport) as u16;
    segment[transport + 4..transport + 6].copy_from_slice(&length.to_be_bytes());
}

/// Writes the checksum of `packet`, whose place in the transport header this is.
fn seal(segment: &mut [u8], packet: &Packet, place: usize) {
    let at = packet.transport + place;
    segment[at..at + 2].fill(0);
    let bytes = &segment[packet.transport..];
    let pseudo = pseudo(packet.source, packet.destination, packet.protocol, bytes.len());
    let checksum = match !sum(&[&pseudo, bytes]) {
        // In UDP zero says that there is none; a TCP checksum of zero is as right as one of all ones (RFC 1624).
        0 => 0xffff,
        checksum => checksum,
    };
    segment[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
}
