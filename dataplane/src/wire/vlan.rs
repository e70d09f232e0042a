//! The 802.1Q tag (IEEE 802.1Q-2018 clause 9): one, reported and not judged.
//!
//! Whether a port may send tags is the guard's question. Tags within tags are refused here: the switch would
//! have to judge by the inner one while devices on the way look at the outer one (VLAN hopping).
//!
//! Parsing never panics; emitting panics when the buffer is too short.

use super::ethernet::EtherType;
use crate::drop_reason::DropReason;

/// What stands behind the EtherType 0x8100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VlanTag {
    /// Priority (3 bits), drop eligibility (1), VLAN id (12).
    pub tag: u16,
    /// What follows.
    pub ethertype: EtherType,
}

impl VlanTag {
    /// Bytes on the wire, behind the EtherType that announces it.
    pub const LENGTH: usize = 4;

    /// Reads the tag.
    ///
    /// # Errors
    /// [`DropReason::VlanTruncated`]; [`DropReason::VlanStacked`] when another tag follows.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Self, DropReason> {
        let [t0, t1, e0, e1] = *bytes.first_chunk::<{ Self::LENGTH }>().ok_or(DropReason::VlanTruncated)?;
        let ethertype = EtherType(u16::from_be_bytes([e0, e1]));
        match ethertype {
            EtherType::VLAN | EtherType::SERVICE_VLAN | EtherType::OLD_SERVICE_VLAN => {
                Err(DropReason::VlanStacked)
            }
            _ => Ok(Self { tag: u16::from_be_bytes([t0, t1]), ethertype }),
        }
    }

    /// Writes the tag.
    ///
    /// # Panics
    /// When `bytes` is shorter than [`VlanTag::LENGTH`].
    pub fn emit(&self, bytes: &mut [u8]) {
        bytes[..2].copy_from_slice(&self.tag.to_be_bytes());
        bytes[2..4].copy_from_slice(&self.ethertype.0.to_be_bytes());
    }
}
