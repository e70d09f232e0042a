//! Address resolution of Ethernet over IPv4 (RFC 826, RFC 5227).
//!
//! Read and written; whether the claims are the sender's own is the guard's question.
//!
//! Parsing never panics; emitting panics when the buffer is too short.

use std::net::Ipv4Addr;

use septum_rules::mac::MacAddress;

use super::Arp;
use crate::drop_reason::DropReason;

/// Hardware type 1, protocol type 0x0800, lengths 6 and 4.
const ETHERNET_OVER_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];

impl Arp {
    /// Bytes on the wire.
    pub const LENGTH: usize = 28;

    /// Reads an ARP packet; padding behind it is ignored.
    ///
    /// # Errors
    /// [`DropReason::ArpMalformed`] when cut off or of other address types; [`DropReason::ArpOperation`].
    #[inline(never)]
    pub fn parse(packet: &[u8]) -> Result<Self, DropReason> {
        let packet: &[u8; Self::LENGTH] = packet.first_chunk().ok_or(DropReason::ArpMalformed)?;
        if packet[..6] != ETHERNET_OVER_IPV4 {
            return Err(DropReason::ArpMalformed);
        }
        let is_request = match packet[6..8] {
            [0, 1] => true,
            [0, 2] => false,
            _ => return Err(DropReason::ArpOperation),
        };
        let mac = |at: usize| MacAddress(std::array::from_fn(|octet| packet[at + octet]));
        let address =
            |at: usize| Ipv4Addr::from([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]);
        Ok(Self {
            is_request,
            sender_mac: mac(8),
            sender: address(14),
            target_mac: mac(18),
            target: address(24),
        })
    }

    /// Writes the packet.
    ///
    /// # Panics
    /// When `packet` is shorter than [`Arp::LENGTH`].
    pub fn emit(&self, packet: &mut [u8]) {
        packet[..6].copy_from_slice(&ETHERNET_OVER_IPV4);
        packet[6..8].copy_from_slice(&[0, if self.is_request { 1 } else { 2 }]);
        packet[8..14].copy_from_slice(&self.sender_mac.0);
        packet[14..18].copy_from_slice(&self.sender.octets());
        packet[18..24].copy_from_slice(&self.target_mac.0);
        packet[24..28].copy_from_slice(&self.target.octets());
    }
}
