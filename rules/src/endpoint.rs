//! The two ends of a flow, as gates see them.

use std::net::IpAddr;

use crate::identity::{SegmentId, WorkloadId};

/// Who one end of a flow is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// A described workload.
    Workload(WorkloadId),
    /// The switch itself, in a segment.
    Gateway(SegmentId),
    /// An address that belongs to nobody here.
    World,
    /// Attached but not described: everything to and from it is refused.
    Init,
}

/// One end of a flow: who, and with which address in this packet.
///
/// The address is optional because an imported workload may have none; then it lies in no named network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Party {
    /// Who.
    pub endpoint: Endpoint,
    /// Its address in this packet.
    pub address: Option<IpAddr>,
}
