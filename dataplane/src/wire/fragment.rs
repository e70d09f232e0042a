//! What makes a fragment honest, for both families.
//!
//! The rules: more than nothing in it; all but the last a multiple of eight bytes; a reassembled packet within
//! 65,535 bytes (RFC 791 section 3.2, RFC 8200 section 4.5); a first fragment that holds the whole transport
//! header ([`super::transport`] sees to that); no later fragment that begins inside it (RFC 1858, RFC 3128: it
//! would overwrite ports or flags that were judged already).
//!
//! Nothing here panics on any input.

use septum_rules::proto::Protocol;

use super::Fragment;
use super::transport;
use crate::drop_reason::DropReason;

impl Fragment {
    /// The fragment with its length, where `length` bytes of data can stand at its offset in a packet that has
    /// `before` more bytes in front of the data.
    ///
    /// # Errors
    /// [`DropReason::FragmentMalformed`]
    pub fn checked(mut self, before: usize, length: usize) -> Result<Self, DropReason> {
        let partial_unit = self.more && !length.is_multiple_of(8);
        let too_long = before + usize::from(self.offset) + length > usize::from(u16::MAX);
        if length == 0 || partial_unit || too_long {
            return Err(DropReason::FragmentMalformed);
        }
        self.length = length as u16;
        Ok(self)
    }

    /// Whether this later fragment begins inside the transport header of `protocol`.
    pub fn begins_in_header(&self, protocol: Protocol) -> bool {
        self.offset != 0 && usize::from(self.offset) < transport::least_header(protocol)
    }
}
