//! The Ethernet header (IEEE 802.3 clause 3) and what may stand in its type field.
//!
//! Carried: IPv4, ARP, IPv6, each with at most one 802.1Q tag ([`super::vlan`]). An 802.3 length field (LLC)
//! and every other type are refused: what the switch cannot read it cannot judge.
//!
//! Parsing never panics; emitting panics when the buffer is too short.

use septum_rules::mac::MacAddress;

use super::vlan::VlanTag;
use crate::drop_reason::DropReason;

/// An EtherType.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EtherType(pub u16);

impl EtherType {
    /// RFC 894.
    pub const IPV4: Self = Self(0x0800);
    /// RFC 826.
    pub const ARP: Self = Self(0x0806);
    /// RFC 2464.
    pub const IPV6: Self = Self(0x86dd);
    /// IEEE 802.1Q customer tag.
    pub const VLAN: Self = Self(0x8100);
    /// IEEE 802.1ad service tag.
    pub const SERVICE_VLAN: Self = Self(0x88a8);
    /// The service tag of devices older than 802.1ad.
    pub const OLD_SERVICE_VLAN: Self = Self(0x9100);
}

/// The header of every frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EthernetHeader {
    /// Destination MAC.
    pub destination: MacAddress,
    /// Source MAC.
    pub source: MacAddress,
    /// What follows.
    pub ethertype: EtherType,
}

impl EthernetHeader {
    /// Bytes on the wire, without a tag.
    pub const LENGTH: usize = 14;

    /// Reads the header.
    ///
    /// # Errors
    /// [`DropReason::EthernetTruncated`]; [`DropReason::ReservedMulticast`] for a destination that no bridge may
    /// forward (IEEE 802.1Q-2018 table 8-1: `01:80:c2:00:00:00` to `0f`).
    #[inline]
    pub fn parse(frame: &[u8]) -> Result<Self, DropReason> {
        let header: &[u8; Self::LENGTH] = frame.first_chunk().ok_or(DropReason::EthernetTruncated)?;
        let [destination, source] =
            [0, 6].map(|at| MacAddress(std::array::from_fn(|octet| header[at + octet])));
        if let [0x01, 0x80, 0xc2, 0, 0, 0..=0x0f] = destination.0 {
            return Err(DropReason::ReservedMulticast);
        }
        let ethertype = EtherType(u16::from_be_bytes([header[12], header[13]]));
        Ok(Self { destination, source, ethertype })
    }

    /// Writes the header, tagged where `tag` says so, and gives the offset behind it.
    ///
    /// # Panics
    /// When `frame` is shorter than that.
    pub fn emit(&self, tag: Option<u16>, frame: &mut [u8]) -> usize {
        frame[..6].copy_from_slice(&self.destination.0);
        frame[6..12].copy_from_slice(&self.source.0);
        match tag {
            None => {
                frame[12..14].copy_from_slice(&self.ethertype.0.to_be_bytes());
                Self::LENGTH
            }
            Some(tag) => {
                frame[12..14].copy_from_slice(&EtherType::VLAN.0.to_be_bytes());
                VlanTag { tag, ethertype: self.ethertype }.emit(&mut frame[Self::LENGTH..]);
                Self::LENGTH + VlanTag::LENGTH
            }
        }
    }
}
