//! Address prefixes, as policies write them and as tries store them.
//!
//! A [`Prefix`] is canonical: its host bits are zero, so equal sets of addresses are equal values.
//! IPv4 and IPv6 never mix; an IPv4-mapped IPv6 address stays IPv6 (RFC 4291 section 2.5.5.2).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An IPv4 or IPv6 prefix with its host bits zero (RFC 4632, RFC 4291 section 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    network: IpAddr,
    length: u8,
}

/// Why a text is no [`Prefix`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// The part before the slash is no IP address.
    #[error("`{0}` is not an IP address")]
    Address(String),
    /// The part behind the slash is no length of this family.
    #[error("`/{length}` is not a prefix length of {family} (0 to {most})")]
    Length {
        /// What stood behind the slash.
        length: String,
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// 32 or 128.
        most: u8,
    },
    /// Bits below the prefix length are set; the value that was meant is in the message.
    #[error("`{given}` has host bits set; the prefix is `{meant}`")]
    HostBits {
        /// The text as given.
        given: String,
        /// The same prefix with its host bits cleared.
        meant: Prefix,
    },
}

impl Prefix {
    /// The prefix of `length` bits that holds `address`; host bits are cleared.
    ///
    /// # Panics
    /// When `length` exceeds the family's bits (32 or 128).
    pub fn containing(address: IpAddr, length: u8) -> Self {
        let network = match address {
            IpAddr::V4(v4) => {
                assert!(length <= 32, "an IPv4 prefix has at most 32 bits");
                IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask_v4(length)))
            }
            IpAddr::V6(v6) => {
                assert!(length <= 128, "an IPv6 prefix has at most 128 bits");
                IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask_v6(length)))
            }
        };
        Self { network, length }
    }

    /// The prefix that holds `address` alone.
    pub fn host(address: IpAddr) -> Self {
        Self::containing(address, if address.is_ipv4() { 32 } else { 128 })
    }

    /// The lowest address.
    pub fn network(self) -> IpAddr {
        self.network
    }

    /// The number of leading bits that are fixed.
    // A prefix always holds an address, so there is no `is_empty` to pair with.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(self) -> u8 {
        self.length
    }

    /// The highest address.
    pub fn last(self) -> IpAddr {
        match self.network {
            IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() | !mask_v4(self.length))),
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() | !mask_v6(self.length))),
        }
    }

    /// Whether this is an IPv4 prefix.
    pub fn is_ipv4(self) -> bool {
        self.network.is_ipv4()
    }

    /// Whether `address` lies in this prefix; never across families.
    pub fn contains(self, address: IpAddr) -> bool {
        match (self.network, address) {
            (IpAddr::V4(network), IpAddr::V4(v4)) => v4.to_bits() & mask_v4(self.length) == network.to_bits(),
            (IpAddr::V6(network), IpAddr::V6(v6)) => v6.to_bits() & mask_v6(self.length) == network.to_bits(),
            _ => false,
        }
    }

    /// Whether every address of `other` lies in this prefix.
    pub fn covers(self, other: Self) -> bool {
        self.length <= other.length && self.contains(other.network)
    }
}

/// The address behind this one in its family; `None` behind the last.
pub fn successor(address: IpAddr) -> Option<IpAddr> {
    Some(match address {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits().checked_add(1)?).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits().checked_add(1)?).into(),
    })
}

fn mask_v4(length: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)
}

fn mask_v6(length: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
}

/// An address as 128 bits, IPv4 in its mapped IPv6 form (`::ffff:a.b.c.d`), for tables that hold both families.
/// No packet carries a mapped address on the wire (RFC 4291 section 2.5.5.2), so the families cannot meet.
#[inline]
pub const fn to_mapped_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => 0xffff << 32 | v4.to_bits() as u128,
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// What [`to_mapped_bits`] packed.
pub const fn from_mapped_bits(bits: u128) -> IpAddr {
    let v6 = Ipv6Addr::from_bits(bits);
    match v6.to_ipv4_mapped() {
        Some(v4) => IpAddr::V4(v4),
        None => IpAddr::V6(v6),
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.length)
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    /// Reads `10.0.0.0/8`, or an address alone as the prefix of just that address.
    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let (address_text, length_text) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr =
            address_text.parse().map_err(|_| PrefixError::Address(address_text.to_owned()))?;
        let (family, most) = if address.is_ipv4() { ("IPv4", 32) } else { ("IPv6", 128) };
        let Some(length_text) = length_text else { return Ok(Self::host(address)) };
        let length = length_text
            .parse::<u8>()
            .ok()
            .filter(|length| *length <= most && !length_text.starts_with('+'))
            .ok_or_else(|| PrefixError::Length { length: length_text.to_owned(), family, most })?;
        let prefix = Self::containing(address, length);
        if prefix.network != address {
            return Err(PrefixError::HostBits { given: text.to_owned(), meant: prefix });
        }
        Ok(prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_read_and_printed_alike() {
        for text in ["0.0.0.0/0", "10.0.0.0/8", "192.0.2.1/32", "::/0", "fd00:10::/64", "::1/128"] {
            assert_eq!(text.parse::<Prefix>().unwrap().to_string(), text);
        }
        assert_eq!("10.1.2.3".parse::<Prefix>().unwrap().to_string(), "10.1.2.3/32");
    }

    #[test]
    fn host_bits_and_bad_lengths_are_refused_with_what_was_meant() {
        let error = "10.1.2.3/8".parse::<Prefix>().unwrap_err();
        assert_eq!(error.to_string(), "`10.1.2.3/8` has host bits set; the prefix is `10.0.0.0/8`");
        assert!(matches!("10.0.0.0/33".parse::<Prefix>(), Err(PrefixError::Length { .. })));
        assert!(matches!("10.0.0.0/+8".parse::<Prefix>(), Err(PrefixError::Length { .. })));
        assert!(matches!("ten/8".parse::<Prefix>(), Err(PrefixError::Address(_))));
    }

    #[test]
    fn families_never_mix() {
        let all_v4: Prefix = "0.0.0.0/0".parse().unwrap();
        assert!(!all_v4.contains("::ffff:10.0.0.1".parse().unwrap()));
        assert!(all_v4.contains("255.255.255.255".parse().unwrap()));
        assert_eq!(all_v4.last().to_string(), "255.255.255.255");
    }
}
