//! What connection tracking reads of a TCP header (RFC 9293 section 3.1) and its options.
//!
//! Options are walked only where they matter: in SYNs for the window scale (RFC 7323 section 2), in other
//! segments for selective acknowledgements (RFC 2018), and there only when more than time stamps can be there.
//! Malformed options end the walk: what follows them is not believed.
//!
//! Nothing here panics on any input.

use crate::wire::tcp_flag::{ACK, FIN, RST, SYN};
use crate::wire::{IpPacket, transport};

/// A TCP segment, by its numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Sequence number of its first byte, or of SYN.
    pub sequence: u32,
    /// What it takes up of the sequence space: payload, SYN and FIN. A super-frame takes up to 64 KiB.
    pub length: u32,
    /// Acknowledgement number; meaningless without ACK.
    pub acknowledgment: u32,
    /// The window field as it stands there.
    pub window: u16,
    /// Flags, see [`crate::wire::tcp_flag`].
    pub flags: u8,
    /// The window scale option of a SYN.
    pub scale: Option<u8>,
    /// The highest number that it acknowledges selectively.
    pub sack: Option<u32>,
    /// It is the first fragment of a longer segment: its length is not known.
    pub is_cut: bool,
}

/// Bytes of a header with nothing but time stamps (RFC 7323 appendix A).
const WITH_TIME_STAMPS: usize = 32;

/// The largest shift count (RFC 7323 section 2.3).
const MOST_SCALE: u8 = 14;

impl Segment {
    /// Reads the segment that `packet` of `frame` is; the zero segment where the frame is another's.
    pub fn read(frame: &[u8], packet: &IpPacket) -> Self {
        let (start, payload) = (usize::from(packet.transport), usize::from(packet.payload));
        Self::read_at(frame, start, payload, packet.end as usize, packet.fragment.is_some())
    }

    /// The same where offsets are at hand: of the TCP header, of the payload, and of the packet's end.
    #[inline]
    pub fn read_at(frame: &[u8], start: usize, payload: usize, end: usize, is_cut: bool) -> Self {
        let Some(header) =
            frame.get(start..).and_then(|rest| rest.first_chunk::<{ transport::TCP_HEADER }>())
        else {
            return Self::default();
        };
        let flags = header[13];
        let [.., s0, s1, s2, s3, a0, a1, a2, a3, _, _, w0, w1, _, _, _, _] = *header;
        let data = end.saturating_sub(payload) as u32;
        let mut segment = Self {
            sequence: u32::from_be_bytes([s0, s1, s2, s3]),
            length: data + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0),
            acknowledgment: u32::from_be_bytes([a0, a1, a2, a3]),
            window: u16::from_be_bytes([w0, w1]),
            flags,
            scale: None,
            sack: None,
            is_cut,
        };
        let header_length = payload.saturating_sub(start);
        if header_length > WITH_TIME_STAMPS || (flags & SYN != 0 && header_length > transport::TCP_HEADER) {
            let options = frame.get(start + transport::TCP_HEADER..payload).unwrap_or_default();
            (segment.scale, segment.sack) = read_options(flags, options);
        }
        segment
    }

    /// One behind its last number.
    pub const fn end(&self) -> u32 {
        self.sequence.wrapping_add(self.length)
    }

    /// SYN, with or without ACK.
    pub const fn is_syn(&self) -> bool {
        self.flags & SYN != 0
    }

    /// The bare SYN of an opener.
    pub const fn is_opening(&self) -> bool {
        self.flags & (SYN | ACK | RST | FIN) == SYN
    }

    /// ACK is set.
    pub const fn has_ack(&self) -> bool {
        self.flags & ACK != 0
    }

    /// RST is set.
    pub const fn is_reset(&self) -> bool {
        self.flags & RST != 0
    }

    /// FIN is set.
    pub const fn is_fin(&self) -> bool {
        self.flags & FIN != 0
    }
}

/// The window scale of a SYN, and the highest number that is acknowledged selectively.
#[cold]
#[inline(never)]
fn read_options(flags: u8, mut options: &[u8]) -> (Option<u8>, Option<u32>) {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const WINDOW_SCALE: u8 = 3;
    const SACK: u8 = 5;
    let (mut scale, mut highest) = (None, None);
    loop {
        options = match *options {
            [] | [END, ..] => break,
            [NO_OPERATION, ref rest @ ..] => rest,
            [kind, length, ref rest @ ..] => {
                let Some((value, rest)) =
                    usize::from(length).checked_sub(2).and_then(|length| rest.split_at_checked(length))
                else {
                    break;
                };
                match (kind, value) {
                    (WINDOW_SCALE, [shift]) if flags & SYN != 0 => scale = Some((*shift).min(MOST_SCALE)),
                    (SACK, blocks) if flags & ACK != 0 => {
                        for block in blocks.chunks_exact(8) {
                            let edge = u32::from_be_bytes([block[4], block[5], block[6], block[7]]);
                            if highest.is_none_or(|highest| is_after(edge, highest)) {
                                highest = Some(edge);
                            }
                        }
                    }
                    _ => {}
                }
                rest
            }
            [_] => break,
        };
    }
    (scale, highest)
}

/// Whether `a` comes after `b` in the circle of sequence numbers (RFC 9293 section 3.4).
pub(super) const fn is_after(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) > 0
}

/// The later of two.
pub(super) const fn later(a: u32, b: u32) -> u32 {
    if is_after(a, b) { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(flags: u8, options: &[u8]) -> Option<u8> {
        read_options(flags, options).0
    }

    #[test]
    fn options_are_read_where_they_count() {
        let syn = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
        assert_eq!(scale(SYN, &syn), Some(7));
        assert_eq!(scale(ACK, &syn), None, "a scale outside a SYN means nothing");
        assert_eq!(scale(SYN, &[3, 3, 200]), Some(14));
        let blocks = [1, 1, 5, 18, 0, 0, 0, 9, 0, 0, 0, 20, 0xff, 0xff, 0xff, 0, 0xff, 0xff, 0xff, 0xf0];
        assert_eq!(read_options(ACK, &blocks).1, Some(20), "numbers are a circle");
    }

    #[test]
    fn malformed_options_are_not_believed() {
        for options in [&[3][..], &[3, 0, 7], &[3, 1, 7], &[3, 9, 7], &[0, 3, 3, 7], &[3, 4, 7, 7]] {
            assert_eq!(scale(SYN, options), None, "{options:?}");
        }
    }

    #[test]
    fn a_frame_of_another_packet_is_no_panic() {
        let flow = septum_rules::flow_key::FlowKey {
            domain: Default::default(),
            source: [10, 0, 0, 1].into(),
            destination: [10, 0, 0, 2].into(),
            layer4: septum_rules::proto::Layer4::ports(septum_rules::proto::Protocol::TCP, 1, 2),
        };
        let mac = septum_rules::mac::MacAddress([2, 0, 0, 0, 0, 1]);
        let frame = crate::wire::sketch::opening(&flow, mac, mac);
        let headers = crate::wire::parse::parse(&frame, &Default::default()).unwrap();
        let crate::wire::Content::Ip(packet) = headers.content else { panic!() };
        for length in 0..frame.len() {
            let _ = Segment::read(&frame[..length], &packet);
        }
        let segment = Segment::read(&frame, &packet);
        assert!(segment.is_opening() && segment.length == 1 && segment.window == 0xffff);
    }
}
