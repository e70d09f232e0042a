//! One packet of a region, such as can be on a wire.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use septum_rules::endpoint::{Endpoint, Party};
use septum_rules::proto::{Layer4, Protocol};

use super::parties::{Member, PartySet};

/// A packet that the two policies decide differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DifferenceWitness {
    /// Its source in the old policy, and in the new one: the same address, or the same workload without one.
    pub source: [Party; 2],
    /// Its destination, likewise.
    pub destination: [Party; 2],
    /// The packet.
    pub layer4: Layer4,
}

/// A packet from one of `from` to one of `to`; `None` when there can be none.
pub(super) fn witness(from: &PartySet, to: &PartySet, samples: &[Layer4]) -> Option<DifferenceWitness> {
    // What people know comes first.
    let mut samples = samples.to_vec();
    samples.sort_by_key(|layer4| match layer4.protocol {
        Protocol::TCP => 0,
        Protocol::UDP => 1,
        Protocol::ICMP | Protocol::ICMPV6 => 2,
        Protocol::SCTP => 3,
        _ => 4,
    });
    samples.into_iter().find_map(|layer4| {
        let families = [true, false].into_iter().filter(|ipv4| match layer4.protocol {
            Protocol::ICMP => *ipv4,
            Protocol::ICMPV6 => !ipv4,
            _ => true,
        });
        let (source, destination) = families.into_iter().find_map(|ipv4| pair(from, to, ipv4))?;
        Some(DifferenceWitness { source: ends(source), destination: ends(destination), layer4 })
    })
}

/// A source and a destination of the family that are not one workload.
fn pair<'a>(from: &'a PartySet, to: &'a PartySet, ipv4: bool) -> Option<(&'a Member, &'a Member)> {
    let mut sources = from.members.iter().filter(|member| member.is_of(ipv4));
    let mut destinations = to.members.iter().filter(|member| member.is_of(ipv4));
    let (first, target) = (sources.next()?, destinations.next()?);
    if !first.is_self(target) {
        return Some((first, target));
    }
    let other = destinations.find(|member| !first.is_self(member)).map(|other| (first, other));
    other.or_else(|| sources.find(|member| !member.is_self(target)).map(|other| (other, target)))
}

fn ends(member: &Member) -> [Party; 2] {
    let address = member.addresses.map(|(first, last)| typical(first, last, member));
    [member.before, member.after].map(|endpoint| Party { endpoint, address })
}

/// An address that a host can have, where the range holds one.
fn typical(first: IpAddr, last: IpAddr, member: &Member) -> IpAddr {
    if first == last || (member.before, member.after) != (Endpoint::World, Endpoint::World) {
        return first;
    }
    // For documentation (RFC 5737, RFC 3849); the first address of a range is mostly a network's.
    let (known, next): (IpAddr, IpAddr) = match first {
        IpAddr::V4(first) => {
            let next = Ipv4Addr::from_bits(first.to_bits().max(1 << 24).saturating_add(1));
            (Ipv4Addr::new(192, 0, 2, 1).into(), next.into())
        }
        IpAddr::V6(first) => {
            let next = Ipv6Addr::from_bits(first.to_bits().saturating_add(1));
            (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(), next.into())
        }
    };
    [known, next].into_iter().find(|address| first <= *address && *address <= last).unwrap_or(first)
}
