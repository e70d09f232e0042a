//! Echo requests and replies (RFC 792, RFC 4443 section 4), as raw sockets take and give them.
//!
//! A raw ICMP socket is root's; inside the demo's own namespaces it always works, while the datagram kind depends
//! on `net.ipv4.ping_group_range`. IPv4 sockets give the IP header with each message, IPv6 ones do not; the kernel
//! fills in ICMPv6's checksum, and leaves ICMP's to us.

use super::{NONCE, Nonce};
use crate::cli::demo::plan::Family;

const HEADER: usize = 8;

/// An echo request that carries `nonce`, the last four of whose bytes are its identifier and sequence number.
pub(super) fn request(family: Family, nonce: Nonce) -> [u8; HEADER + NONCE] {
    let mut message = [0; HEADER + NONCE];
    message[0] = match family {
        Family::V4 => 8,
        Family::V6 => 128,
    };
    message[4..HEADER].copy_from_slice(&nonce[4..]);
    message[HEADER..].copy_from_slice(&nonce);
    if family == Family::V4 {
        let checksum = internet_checksum(&message);
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
    }
    message
}

/// Whether `received` is the reply to [`request`].
pub(super) fn is_reply(family: Family, received: &[u8], nonce: Nonce) -> bool {
    let (message, reply) = match family {
        Family::V4 => {
            let header = received.first().map_or(0, |byte| usize::from(byte & 0xf) * 4);
            (received.get(header..).unwrap_or_default(), 0)
        }
        Family::V6 => (received, 129),
    };
    message.len() == HEADER + NONCE
        && message[0] == reply
        && message[4..HEADER] == nonce[4..]
        && message[HEADER..] == nonce
}

/// RFC 1071.
pub(in crate::cli::demo) fn internet_checksum(bytes: &[u8]) -> u16 {
    let words =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_known_by_its_nonce_alone() {
        let nonce = *b"sep\0\0\0\0\x07";
        let mut reply = [0x45; 20].to_vec();
        reply.extend(request(Family::V4, nonce));
        assert!(!is_reply(Family::V4, &reply, nonce), "the request itself is no reply");
        reply[20] = 0;
        assert!(is_reply(Family::V4, &reply, nonce));
        assert!(!is_reply(Family::V4, &reply, *b"sep\0\0\0\0\x08"));
        assert!(!is_reply(Family::V4, &[], nonce));
        let mut reply = request(Family::V6, nonce);
        reply[0] = 129;
        assert!(is_reply(Family::V6, &reply, nonce));
    }

    #[test]
    fn a_message_with_its_checksum_sums_to_zero() {
        assert_eq!(internet_checksum(&request(Family::V4, *b"sep\x01\0\0\x03\xff")), 0);
    }
}
