//! `[[test]]`: what a policy promises, in its author's words, independent of its rules.

use std::net::IpAddr;
use std::sync::Arc;

use crate::identity::{RuleId, WorkloadId};
use crate::mac::MacAddress;
use crate::proto::Service;
use crate::source::Span;

/// One `[[test]]`.
#[derive(Clone, Debug)]
pub struct TestCase {
    /// What it says.
    pub name: Arc<str>,
    /// What it checks.
    pub check: Check,
    /// Where it is written.
    pub span: Span,
}

/// The two shapes of a test.
#[derive(Clone, Debug)]
pub enum Check {
    /// From these workloads to those, these services pass and those do not.
    Reach {
        /// Sources; never empty.
        from: Vec<TestParty>,
        /// Destinations; never empty.
        to: Vec<TestParty>,
        /// Must be admitted.
        allow: Vec<Service>,
        /// Must be refused.
        deny: Vec<Service>,
        /// The rule that must decide, at both gates, what `allow` lists.
        by: Option<RuleId>,
    },
    /// One packet, put into the pipeline.
    Packet(PacketTest),
}

/// One end of a [`Check::Reach`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestParty {
    /// A workload, with each of its addresses.
    Workload(WorkloadId),
    /// An address that belongs to nobody.
    World(IpAddr),
}

/// A packet and what must become of it.
#[derive(Clone, Debug)]
pub struct PacketTest {
    /// The workload at whose port it comes in.
    pub workload: WorkloadId,
    /// Source MAC; the workload's unless given.
    pub source_mac: Option<MacAddress>,
    /// Source address; the workload's first of the family unless given.
    pub source: Option<IpAddr>,
    /// Destination address.
    pub destination: IpAddr,
    /// Protocol and destination port, or type and code.
    pub service: Service,
    /// The expected verdict.
    pub admitted: bool,
    /// The expected reason of a drop, by its name.
    pub reason: Option<Arc<str>>,
}
