//! What listeners report of their groups: the part that IGMP and MLD have in common (RFC 3376 section 4.2, RFC 3810 section 5.2).
//!
//! Source lists are walked and not kept: a group is listened to, or it is not. A guest filters sources by itself, and hears at the
//! most what its gates admit anyway.
//!
//! Nothing here panics on any input.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a message of either protocol tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told<'m> {
    /// Whoever sends it would know who listens.
    Query,
    /// The sender listens to one group (true), or no longer does.
    One(IpAddr, bool),
    /// The same of many.
    Many(Records<'m>),
    /// Nothing about listeners.
    Other,
}

/// The records of a report of IGMPv3 or MLDv2: all are there, and each is about a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Records<'m> {
    left: u16,
    bytes: &'m [u8],
    address: usize,
}

/// Bytes of an address of each family.
const V4: usize = 4;
const V6: usize = 16;
/// Bytes of a record before its addresses.
const RECORD: usize = 4;
/// Bytes of a report before its records.
const REPORT: usize = 8;

const MODE_IS_INCLUDE: u8 = 1;
const MODE_IS_EXCLUDE: u8 = 2;
const CHANGE_TO_INCLUDE: u8 = 3;
const CHANGE_TO_EXCLUDE: u8 = 4;
const ALLOW_NEW_SOURCES: u8 = 5;

impl<'m> Records<'m> {
    /// The records of a report in IPv4.
    pub fn v4(report: &'m [u8]) -> Option<Self> {
        Self::checked(report, V4)
    }

    /// The records of a report in IPv6.
    pub fn v6(report: &'m [u8]) -> Option<Self> {
        Self::checked(report, V6)
    }

    fn checked(report: &'m [u8], address: usize) -> Option<Self> {
        let left = u16::from_be_bytes([*report.get(6)?, *report.get(7)?]);
        let records = Self { left, bytes: report.get(REPORT..)?, address };
        let mut walk = records.clone();
        while walk.left != 0 {
            walk.record().filter(|(group, _)| group.is_multicast())?;
        }
        Some(records)
    }

    /// The next record: its group, and whether that is listened to; `None` inside where the record does not say.
    fn record(&mut self) -> Option<(IpAddr, Option<bool>)> {
        let [kind, auxiliary, high, low] = *self.bytes.first_chunk::<RECORD>()?;
        let group = address_at(self.bytes, RECORD, self.address)?;
        let sources = usize::from(u16::from_be_bytes([high, low]));
        let length = RECORD + (1 + sources) * self.address + usize::from(auxiliary) * 4;
        self.bytes = self.bytes.get(length..)?;
        self.left -= 1;
        let listens = match kind {
            MODE_IS_EXCLUDE | CHANGE_TO_EXCLUDE => Some(true),
            MODE_IS_INCLUDE | CHANGE_TO_INCLUDE => Some(sources != 0),
            ALLOW_NEW_SOURCES if sources != 0 => Some(true),
            // Fewer sources: the answer to the next query says whether any are left.
            _ => None,
        };
        Some((group, listens))
    }
}

impl Iterator for Records<'_> {
    type Item = (IpAddr, Option<bool>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 { None } else { self.record() }
    }
}

/// The address of `length` bytes at `at`.
pub(super) fn address_at(message: &[u8], at: usize, length: usize) -> Option<IpAddr> {
    let octets = message.get(at..at + length)?;
    match length {
        V4 => octets.first_chunk::<V4>().map(|octets| Ipv4Addr::from(*octets).into()),
        _ => octets.first_chunk::<V6>().map(|octets| Ipv6Addr::from(*octets).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, sources: u8, group: [u8; 4]) -> Vec<u8> {
        let mut record = vec![kind, 0, 0, sources];
        record.extend(group);
        record.extend(vec![9; usize::from(sources) * 4]);
        record
    }

    #[test]
    fn a_record_says_whether_its_group_is_listened_to() {
        let group = [239, 1, 2, 3];
        for (kind, sources, listens) in [
            (1, 0, Some(false)),
            (1, 1, Some(true)),
            (2, 0, Some(true)),
            (3, 0, Some(false)),
            (3, 2, Some(true)),
            (4, 0, Some(true)),
            (5, 1, Some(true)),
            (6, 1, None),
            (77, 0, None),
        ] {
            let report = [vec![0x22, 0, 0, 0, 0, 0, 0, 1], record(kind, sources, group)].concat();
            let records: Vec<_> = Records::v4(&report).expect("it holds together").collect();
            assert_eq!(records, [(IpAddr::from(group), listens)], "{kind}, {sources} sources");
        }
    }

    #[test]
    fn what_is_cut_off_or_about_no_group_is_no_report() {
        let whole = [vec![0x22, 0, 0, 0, 0, 0, 0, 1], record(4, 1, [239, 1, 2, 3])].concat();
        assert!(Records::v4(&whole).is_some());
        for length in 0..whole.len() {
            assert_eq!(Records::v4(&whole[..length]), None, "{length} bytes");
        }
        let unicast = [vec![0x22, 0, 0, 0, 0, 0, 0, 1], record(4, 0, [10, 1, 2, 3])].concat();
        assert_eq!(Records::v4(&unicast), None);
    }
}
