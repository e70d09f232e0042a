//! What a packet says about its flow: addresses and layer 4.

use std::fmt;
use std::net::IpAddr;

use crate::identity::DomainId;
use crate::proto::Layer4;

/// One direction of a conversation, as the wire shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// The domain in which the addresses are unique.
    pub domain: DomainId,
    /// Source address.
    pub source: IpAddr,
    /// Destination address, of the same family.
    pub destination: IpAddr,
    /// Protocol and ports, or type and code.
    pub layer4: Layer4,
}

impl fmt::Display for FlowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {} {}", self.source, self.destination, self.layer4)
    }
}
