//! IP protocol numbers, and the layer-4 part of a flow.
//!
//! Every protocol is described by the same two 16-bit fields, so that one trie serves all:
//! for TCP, UDP and SCTP they are the ports; for ICMP and ICMPv6 the destination field is
//! `type << 8 | code` (so "any code of this type" is one range) and the source field is zero;
//! every other protocol has zero in both.

use std::fmt;

use crate::port_range::PortRange;

/// An IP protocol number (IANA "Assigned Internet Protocol Numbers").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    /// ICMP (RFC 792).
    pub const ICMP: Self = Self(1);
    /// IGMP (RFC 3376).
    pub const IGMP: Self = Self(2);
    /// TCP (RFC 9293).
    pub const TCP: Self = Self(6);
    /// UDP (RFC 768).
    pub const UDP: Self = Self(17);
    /// GRE (RFC 2784).
    pub const GRE: Self = Self(47);
    /// ESP (RFC 4303).
    pub const ESP: Self = Self(50);
    /// AH (RFC 4302).
    pub const AH: Self = Self(51);
    /// ICMPv6 (RFC 4443).
    pub const ICMPV6: Self = Self(58);
    /// SCTP (RFC 9260).
    pub const SCTP: Self = Self(132);

    /// The names that policies use, with their numbers.
    pub const NAMES: [(&'static str, Self); 9] = [
        ("icmp", Self::ICMP),
        ("igmp", Self::IGMP),
        ("tcp", Self::TCP),
        ("udp", Self::UDP),
        ("gre", Self::GRE),
        ("esp", Self::ESP),
        ("ah", Self::AH),
        ("icmp6", Self::ICMPV6),
        ("sctp", Self::SCTP),
    ];

    /// The protocol of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, protocol)| *protocol)
    }

    /// The name in [`Protocol::NAMES`], where it has one.
    pub fn name(self) -> Option<&'static str> {
        Self::NAMES.iter().find(|(_, known)| *known == self).map(|(name, _)| *name)
    }

    /// Whether packets of this protocol carry ports.
    pub const fn has_ports(self) -> bool {
        matches!(self, Self::TCP | Self::UDP | Self::SCTP)
    }

    /// Whether packets of this protocol carry an ICMP type and code.
    pub const fn has_icmp_type(self) -> bool {
        matches!(self, Self::ICMP | Self::ICMPV6)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "proto-{}", self.0),
        }
    }
}

/// The layer-4 part of a flow. See the module's page for what the two fields hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Layer4 {
    /// The IP protocol.
    pub protocol: Protocol,
    /// The source port, or zero.
    pub source: u16,
    /// The destination port, `type << 8 | code` of ICMP, or zero.
    pub destination: u16,
}

impl Layer4 {
    /// A packet of TCP, UDP or SCTP.
    pub const fn ports(protocol: Protocol, source: u16, destination: u16) -> Self {
        Self { protocol, source, destination }
    }

    /// A packet of ICMP or ICMPv6.
    pub const fn icmp(protocol: Protocol, icmp_type: u8, code: u8) -> Self {
        Self { protocol, source: 0, destination: u16::from_be_bytes([icmp_type, code]) }
    }

    /// A packet of a protocol that has neither ports nor types.
    pub const fn bare(protocol: Protocol) -> Self {
        Self { protocol, source: 0, destination: 0 }
    }

    /// ICMP type and code, where the protocol has them.
    pub const fn icmp_type_code(self) -> Option<(u8, u8)> {
        let [icmp_type, code] = self.destination.to_be_bytes();
        if self.protocol.has_icmp_type() { Some((icmp_type, code)) } else { None }
    }
}

/// Prints the service as a policy writes it: `tcp/443`, `icmp/echo-request`, `gre`. The source port is left out.
impl fmt::Display for Layer4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Service {
            protocol: Some(self.protocol),
            source: PortRange::ALL,
            destination: if self.protocol.has_ports() || self.protocol.has_icmp_type() {
                PortRange::single(self.destination)
            } else {
                PortRange::ALL
            },
        }
        .fmt(f)
    }
}

/// What one entry of a rule's service list matches: a box in (protocol, source, destination).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Service {
    /// The protocol, or every protocol.
    pub protocol: Option<Protocol>,
    /// Source ports. [`PortRange::ALL`] unless the protocol has ports.
    pub source: PortRange,
    /// Destination ports, or ICMP `type << 8 | code`. [`PortRange::ALL`] for protocols with neither.
    pub destination: PortRange,
}

impl Service {
    /// Every packet.
    pub const ANY: Self = Self { protocol: None, source: PortRange::ALL, destination: PortRange::ALL };

    /// Whether `layer4` lies in the box.
    pub fn matches(&self, layer4: Layer4) -> bool {
        self.protocol.is_none_or(|protocol| protocol == layer4.protocol)
            && self.source.contains(layer4.source)
            && self.destination.contains(layer4.destination)
    }
}

/// The ICMP types that policies may name (RFC 792, RFC 1256).
pub const ICMP_TYPE_NAMES: [(&str, u8); 9] = [
    ("echo-reply", 0),
    ("destination-unreachable", 3),
    ("redirect", 5),
    ("echo-request", 8),
    ("router-advertisement", 9),
    ("router-solicitation", 10),
    ("time-exceeded", 11),
    ("parameter-problem", 12),
    ("timestamp-request", 13),
];

/// The ICMPv6 types that policies may name (RFC 4443, RFC 4861, RFC 2710, RFC 3810).
pub const ICMPV6_TYPE_NAMES: [(&str, u8); 15] = [
    ("destination-unreachable", 1),
    ("packet-too-big", 2),
    ("time-exceeded", 3),
    ("parameter-problem", 4),
    ("echo-request", 128),
    ("echo-reply", 129),
    ("mld-listener-query", 130),
    ("mld-listener-report", 131),
    ("mld-listener-done", 132),
    ("router-solicitation", 133),
    ("router-advertisement", 134),
    ("neighbour-solicitation", 135),
    ("neighbour-advertisement", 136),
    ("redirect", 137),
    ("mld2-listener-report", 143),
];

/// The names of the types of `protocol`; empty where it has none.
pub fn icmp_type_names(protocol: Protocol) -> &'static [(&'static str, u8)] {
    match protocol {
        Protocol::ICMP => &ICMP_TYPE_NAMES,
        Protocol::ICMPV6 => &ICMPV6_TYPE_NAMES,
        _ => &[],
    }
}

/// Prints the entry as a policy writes it: `any`, `tcp`, `tcp/443`, `tcp/443 from 1024-65535`, `icmp/echo-request`, `icmp/3/4`.
impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(protocol) = self.protocol else { return f.write_str("any") };
        write!(f, "{protocol}")?;
        if protocol.has_icmp_type() && self.destination != PortRange::ALL {
            let [icmp_type, first_code] = self.destination.first().to_be_bytes();
            let [last_type, last_code] = self.destination.last().to_be_bytes();
            if icmp_type != last_type {
                // No policy writes this: parts of a protocol between the types that rules name.
                return match (first_code, last_code) {
                    (0, u8::MAX) => write!(f, "/{icmp_type}-{last_type}"),
                    _ => write!(f, "/{icmp_type}/{first_code}-{last_type}/{last_code}"),
                };
            }
            match icmp_type_names(protocol).iter().find(|(_, number)| *number == icmp_type) {
                Some((name, _)) => write!(f, "/{name}")?,
                None => write!(f, "/{icmp_type}")?,
            }
            // An echo has no codes but zero: naming it would only be noise.
            let plain_echo = (first_code, last_code) == (0, 0)
                && matches!((protocol, icmp_type), (Protocol::ICMP, 0 | 8) | (Protocol::ICMPV6, 128 | 129));
            if first_code == last_code && !plain_echo {
                write!(f, "/{first_code}")?;
            } else if (first_code, last_code) != (0, u8::MAX) && !plain_echo {
                write!(f, "/{first_code}-{last_code}")?;
            }
            return Ok(());
        }
        if self.destination != PortRange::ALL {
            write!(f, "/{}", self.destination)?;
        }
        if self.source != PortRange::ALL {
            write!(f, " from {}", self.source)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_print_as_policies_write_them() {
        assert_eq!(Service::ANY.to_string(), "any");
        assert_eq!(Layer4::ports(Protocol::TCP, 40000, 443).to_string(), "tcp/443");
        assert_eq!(Layer4::icmp(Protocol::ICMP, 8, 0).to_string(), "icmp/echo-request");
        assert_eq!(Layer4::icmp(Protocol::ICMP, 3, 4).to_string(), "icmp/destination-unreachable/4");
        assert_eq!(Layer4::bare(Protocol::GRE).to_string(), "gre");
        assert_eq!(Layer4::bare(Protocol(99)).to_string(), "proto-99");
    }

    #[test]
    fn parts_of_icmp_print_as_what_they_hold() {
        let part = |first, last| Service {
            protocol: Some(Protocol::ICMP),
            source: PortRange::ALL,
            destination: PortRange::new(first, last).unwrap(),
        };
        assert_eq!(part(0x0000, 0x07ff).to_string(), "icmp/0-7");
        assert_eq!(part(0x0304, 0x0304).to_string(), "icmp/destination-unreachable/4");
        assert_eq!(part(0x0305, 0x03ff).to_string(), "icmp/destination-unreachable/5-255");
        assert_eq!(part(0x0305, 0x04ff).to_string(), "icmp/3/5-4/255");
        assert_eq!(part(0x0800, 0x08ff).to_string(), "icmp/echo-request");
    }

    #[test]
    fn a_port_never_matches_a_protocol_without_ports() {
        let https = Service {
            protocol: Some(Protocol::TCP),
            source: PortRange::ALL,
            destination: PortRange::single(443),
        };
        assert!(https.matches(Layer4::ports(Protocol::TCP, 1, 443)));
        assert!(!https.matches(Layer4::ports(Protocol::UDP, 1, 443)));
        assert!(!https.matches(Layer4::bare(Protocol::GRE)));
    }
}
