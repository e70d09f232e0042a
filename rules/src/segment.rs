//! Segments: isolated layer-2 domains.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::address::Prefix;
use crate::source::Span;

/// Labels of a segment or workload, `key=value`.
pub type Labels = BTreeMap<Arc<str>, Arc<str>>;

/// An isolated layer-2 domain.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Its name, unique among segments.
    pub name: Arc<str>,
    /// 802.1Q id on trunks (1 to 4094).
    pub vlan: Option<u16>,
    /// The prefixes from which its members take addresses. They overlap no other segment's.
    pub subnets: Vec<Prefix>,
    /// The switch's own addresses in this segment, each inside a subnet; none means no way out.
    pub gateways: Vec<IpAddr>,
    /// Name servers that members hear of when they ask for configuration.
    pub dns: Vec<IpAddr>,
    /// A private VLAN: no member reaches another, whatever the rules say, unless one is promiscuous.
    pub isolated: bool,
    /// The audit mode that its members inherit.
    pub audit: bool,
    /// What members inherit, their own values winning.
    pub labels: Labels,
    /// Layer-3 MTU of its members' ports in bytes.
    pub mtu: u16,
    /// Where it is declared.
    pub span: Span,
}

impl Segment {
    /// The layer-3 MTU of a port unless the file says otherwise: Ethernet's (RFC 894).
    pub const DEFAULT_MTU: u16 = 1500;

    /// The subnet that holds `address`.
    pub fn subnet_of(&self, address: IpAddr) -> Option<Prefix> {
        self.subnets.iter().copied().find(|subnet| subnet.contains(address))
    }
}
