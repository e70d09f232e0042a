//! Which addresses live behind which uplink: longest prefix first, over the named networks of all uplinks and the
//! subnets of all segments.
//!
//! Built with the directory; immutable. It answers for addresses that the directory does not know. Cost: one
//! hash lookup for each prefix length that occurs in the family.

use std::net::IpAddr;

use hashbrown::HashMap as FastMap;
use septum_rules::address::{Prefix, to_mapped_bits};
use septum_rules::policy::Policy;

/// An uplink's index in [`septum_rules::policy::Policy::uplinks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UplinkId(pub u16);

impl UplinkId {
    /// The index for a slice.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// On which side of the switch an address lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// In a segment's subnet, where nobody has it.
    Segment,
    /// Behind an uplink: the first that is declared, where several have the prefix.
    Uplink(UplinkId),
}

/// The table.
#[derive(Debug, Default)]
pub struct Routes {
    /// Longest first; IPv4 lengths count from the mapped form.
    levels: Box<[Level]>,
    /// By network.
    exceptions: Box<[Box<[Prefix]>]>,
}

#[derive(Debug)]
struct Level {
    mask: u128,
    /// By the prefix's first address.
    hops: FastMap<u128, Vec<Hop>, foldhash::quality::RandomState>,
}

#[derive(Clone, Copy, Debug)]
enum Hop {
    Segment,
    Uplink { uplink: UplinkId, network: u32 },
}

impl Routes {
    /// The routes of a policy.
    pub fn of(policy: &Policy) -> Self {
        let segments = policy
            .segments
            .iter()
            .flat_map(|segment| segment.subnets.iter().map(|subnet| (*subnet, Hop::Segment)));
        let uplinks = policy.uplinks.iter().zip(0..).flat_map(|(uplink, at)| {
            uplink.networks.iter().flat_map(move |network| {
                let hop = Hop::Uplink { uplink: UplinkId(at), network: network.0 };
                policy.networks[network.index()].include.iter().map(move |prefix| (*prefix, hop))
            })
        });
        let mut levels: Vec<(u8, Level)> = Vec::new();
        for (prefix, hop) in segments.chain(uplinks) {
            let length = if prefix.is_ipv4() { 96 + prefix.len() } else { prefix.len() };
            let at = levels.iter().position(|(other, _)| *other == length).unwrap_or_else(|| {
                let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
                levels.push((length, Level { mask, hops: FastMap::default() }));
                levels.len() - 1
            });
            levels[at].1.hops.entry(to_mapped_bits(prefix.network())).or_default().push(hop);
        }
        levels.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
        Self {
            levels: levels.into_iter().map(|(_, level)| level).collect(),
            exceptions: policy.networks.iter().map(|network| network.except.clone().into()).collect(),
        }
    }

    /// Where `address` lives, by its longest prefix; nowhere that the policy knows of, if `None`.
    pub fn side_of(&self, address: IpAddr) -> Option<Side> {
        self.hops(address).next().map(|hop| match hop {
            Hop::Segment => Side::Segment,
            Hop::Uplink { uplink, .. } => Side::Uplink(uplink),
        })
    }

    /// Whether `address` lives behind `uplink`: it has the longest prefix that holds the address, or shares it.
    pub fn is_behind(&self, address: IpAddr, uplink: UplinkId) -> bool {
        self.hops(address).any(|hop| matches!(hop, Hop::Uplink { uplink: other, .. } if other == uplink))
    }

    /// The hops of the longest prefix that holds `address` and does not except it.
    fn hops(&self, address: IpAddr) -> impl Iterator<Item = Hop> + '_ {
        let bits = to_mapped_bits(address);
        let holds = move |hop: &Hop| match hop {
            Hop::Segment => true,
            Hop::Uplink { network, .. } => {
                !self.exceptions[*network as usize].iter().any(|except| except.contains(address))
            }
        };
        let level = self.levels.iter().find_map(|level| {
            // An IPv6 prefix shorter than the mapped form's 96 bits, `::/0` that is, holds no IPv4 address.
            let is_other_family = address.is_ipv4() && level.mask.count_ones() < 96;
            let hops = level.hops.get(&(bits & level.mask)).filter(|_| !is_other_family)?;
            hops.iter().any(holds).then_some(hops)
        });
        level.into_iter().flatten().copied().filter(move |hop| holds(hop))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use septum_rules::load::load_text;

    #[test]
    fn the_longest_prefix_decides_and_exceptions_hold_nothing() {
        let text = r#"version = 1
            [cidr]
            all  = ["0.0.0.0/0", "::/0"]
            corp = { in = ["10.0.0.0/8"], except = ["10.9.0.0/16"] }
            lab  = ["10.1.0.0/16"]
            [segment.a]
            subnet = ["10.1.2.0/24", "2001:db8::/64"]
            [uplink.internet]
            device = "eth0"
            cidr = ["all"]
            [uplink.corp]
            device = "eth1"
            cidr = ["corp", "lab"]
            [uplink.spare]
            device = "eth2"
            cidr = ["lab"]
            "#;
        let policy = load_text("t.toml", text).unwrap_or_else(|error| panic!("{error}")).policy;
        let routes = Routes::of(&policy);
        let uplink =
            |name| UplinkId(policy.uplinks.iter().position(|uplink| &*uplink.name == name).unwrap() as u16);
        let (internet, corp, spare) = (uplink("internet"), uplink("corp"), uplink("spare"));
        let up = |id| Some(Side::Uplink(id));
        for (address, side) in [
            ("192.0.2.1", up(internet)),
            ("10.2.0.1", up(corp)),
            ("10.9.0.1", up(internet)),
            ("10.1.0.1", up(corp)),
            ("10.1.2.9", Some(Side::Segment)),
            ("2001:db8::9", Some(Side::Segment)),
            ("2001:db8:1::9", up(internet)),
        ] {
            assert_eq!(routes.side_of(address.parse().unwrap()), side, "{address}");
        }
        let behind = |address: &str, id| routes.is_behind(address.parse().unwrap(), id);
        assert!(behind("10.1.0.1", corp) && behind("10.1.0.1", spare) && !behind("10.1.0.1", internet));
        assert!(behind("10.9.0.1", internet) && !behind("10.9.0.1", corp));
        assert!(!behind("10.1.2.9", corp));
        assert_eq!(Routes::default().side_of("10.1.0.1".parse().unwrap()), None);
    }

    #[test]
    fn a_default_route_of_one_family_is_none_of_the_other() {
        let text =
            "version = 1\n[cidr]\nsix = [\"::/0\"]\n[uplink.six]\ndevice = \"eth0\"\ncidr = [\"six\"]\n";
        let routes = Routes::of(&load_text("t.toml", text).unwrap_or_else(|error| panic!("{error}")).policy);
        assert_eq!(routes.side_of("192.0.2.1".parse().unwrap()), None);
        assert_eq!(routes.side_of("2001:db8::1".parse().unwrap()), Some(Side::Uplink(UplinkId(0))));
    }
}
