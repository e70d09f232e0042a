//! What a packet says, as bursts carry it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use septum_rules::proto::{Layer4, Protocol};

/// Addresses, protocol and ports of one packet. `A` is the bits of its addresses in the host's order: `u32` for
/// IPv4, `u128` for IPv6. An IPv4 tuple is 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FiveTuple<A> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// Source port, or zero.
    pub source_port: u16,
    /// Destination port, `type << 8 | code` of ICMP, or zero.
    pub destination_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Means nothing.
    pub reserved: [u8; 3],
}

impl<A> FiveTuple<A> {
    /// A tuple of addresses and layer 4.
    pub const fn new(source: A, destination: A, layer4: Layer4) -> Self {
        let Layer4 { protocol, source: source_port, destination: destination_port } = layer4;
        let protocol = protocol.0;
        Self { source, destination, source_port, destination_port, protocol, reserved: [0; 3] }
    }

    /// Its protocol and ports.
    pub const fn layer4(&self) -> Layer4 {
        Layer4::ports(Protocol(self.protocol), self.source_port, self.destination_port)
    }
}

impl fmt::Display for FiveTuple<u32> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (source, destination) = (Ipv4Addr::from_bits(self.source), Ipv4Addr::from_bits(self.destination));
        write!(f, "{source}:{} -> {destination}:{}", self.source_port, self.destination_port)?;
        write!(f, " {}", Protocol(self.protocol))
    }
}

impl fmt::Display for FiveTuple<u128> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (source, destination) = (Ipv6Addr::from_bits(self.source), Ipv6Addr::from_bits(self.destination));
        write!(f, "[{source}]:{} -> [{destination}]:{}", self.source_port, self.destination_port)?;
        write!(f, " {}", Protocol(self.protocol))
    }
}

/// The bits of an address, of either family.
pub(super) fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}
