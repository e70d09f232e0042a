//! Packet tests: one packet of a `[[test]]`, built, put into the pipeline at its workload's port, and watched to its end.
//!
//! The pipeline is the one that forwards: same guard, same tables, fresh state for each test, no devices.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use septum_rules::flow_key::FlowKey;
use septum_rules::identity::DomainId;
use septum_rules::policy::Policy;
use septum_rules::proto::{Layer4, Protocol};
use septum_rules::test_case::{Check, PacketTest, TestCase};
use septum_rules::workload::Workload;

use crate::burst::{Burst, ETHERNET};
use crate::clock::{BurstTime, Tick};
use crate::conntrack::ConnectionTable;
use crate::counters::WorkerCells;
use crate::delivery::Plan;
use crate::directory::{SegmentEntry, uplink_port};
use crate::forwarding::{group_mac, is_group};
use crate::memberships::GroupKey;
use crate::pipeline::{End, Forwarder};
use crate::port::PortId;
use crate::snapshot::{CompiledPolicy, Snapshot};
use crate::wire::sketch;

/// A packet that did not end as its test says.
#[derive(Clone, Debug)]
pub struct Failed {
    /// Index of the test.
    pub test: usize,
    /// What was expected and what happened, in words.
    words: String,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

/// Runs every packet test among `tests` on a policy; gives those that failed.
pub fn run_all(compiled: &CompiledPolicy, tests: &[TestCase]) -> Vec<Failed> {
    let policy = &*compiled.policy;
    let packets = tests.iter().enumerate().filter_map(|(test, case)| match &case.check {
        Check::Packet(packet) => Some((test, packet)),
        Check::Reach { .. } => None,
    });
    let mut bench: Option<Bench> = None;
    packets
        .filter_map(|(test, packet)| {
            let bench = bench.get_or_insert_with(|| Bench::new(compiled));
            bench.run(policy, packet).err().map(|words| Failed { test, words })
        })
        .collect()
}

/// A pipeline in which every workload sits at a port of its own, of which no device knows.
struct Bench {
    snapshot: Snapshot,
    ports: HashMap<Arc<str>, PortId>,
    burst: Burst,
    plan: Plan,
}

impl Bench {
    fn new(compiled: &CompiledPolicy) -> Self {
        let uplinks = compiled.policy.uplinks.iter().map(|uplink| uplink_port(&uplink.name));
        let names =
            compiled.policy.workloads.iter().map(|workload| Arc::clone(&workload.name)).chain(uplinks);
        let ports: HashMap<_, _> =
            names.zip(0..).map(|(name, slot)| (name, PortId { slot, generation: 0 })).collect();
        let snapshot = Snapshot::new(compiled.clone(), &ports, 1, 1, 1);
        Self { snapshot, ports, burst: Burst::default(), plan: Plan::default() }
    }

    fn run(&mut self, policy: &Policy, test: &PacketTest) -> Result<(), String> {
        let workload = &policy.workloads[test.workload.index()];
        let segment = self.snapshot.directory.segment(workload.segment);
        let frame = build(policy, workload, segment, test)?;
        let table = Arc::new(ConnectionTable::new(64));
        let mut forwarder = Forwarder::new(0, table, Arc::new(WorkerCells::new(self.ports.len())), None);
        self.burst.clear();
        self.burst.push(&frame);
        let time = BurstTime { tick: Tick(1), unix_ms: 0 };
        let port = self.ports[&workload.name];
        // In a test everybody listens to the group that it names: what is asked is who may hear it.
        let members = || {
            let slots = &self.snapshot.directory.segment(workload.segment).members;
            slots.iter().filter_map(|slot| self.snapshot.directory.member(*slot))
        };
        let group = GroupKey::of(test.destination);
        for member in members().filter(|_| test.destination.is_multicast()) {
            // Each has room: no test leaves a membership behind.
            let _ = member.memberships.join(group, time.tick);
        }
        forwarder.decide(&self.snapshot, port, &mut self.burst, time, &mut self.plan);
        members().for_each(|member| member.memberships.leave(group));
        let (admitted, reason) = match self.plan.ends()[0] {
            // The packet is admitted; only its next hop is not known in a test.
            End::Forward(_) | End::Copied | End::Replied | End::Asked(..) => (true, None),
            End::Dropped(reason) | End::Rejected(reason) => (false, Some(reason)),
        };
        let happened = reason.map_or("it passed".to_owned(), |reason| format!("it was dropped ({reason})"));
        let as_expected = admitted == test.admitted
            && test
                .reason
                .as_deref()
                .is_none_or(|expected| reason.is_some_and(|reason| reason.name() == expected));
        if as_expected {
            return Ok(());
        }
        let expected = match (&test.reason, test.admitted) {
            (_, true) => "should pass".to_owned(),
            (Some(reason), false) => format!("should be dropped ({reason})"),
            (None, false) => "should be dropped".to_owned(),
        };
        Err(format!("the packet {expected}, and {happened}"))
    }
}

/// The frame that the test describes, as its workload would send it: to the neighbour that has the destination, or
/// to the gateway.
fn build(
    policy: &Policy,
    workload: &Workload,
    segment: &SegmentEntry,
    test: &PacketTest,
) -> Result<Vec<u8>, String> {
    let own_mac =
        workload.mac.ok_or_else(|| format!("`{}` has no MAC, so it can send nothing", workload.name))?;
    let ipv4 = test.destination.is_ipv4();
    if test.source.is_some_and(|source| source.is_ipv4() != ipv4) {
        return Err("the packet's source and destination are of different families".to_owned());
    }
    let declared = workload.addresses.iter().copied().find(|address| address.is_ipv4() == ipv4);
    let source: IpAddr = test
        .source
        .or(declared)
        .ok_or_else(|| format!("`{}` has no address of the destination's family", workload.name))?;
    let is_neighbour = |other: &&Workload| {
        other.segment == workload.segment && other.all_addresses().any(|address| address == test.destination)
    };
    let neighbour = policy.workloads.iter().find(is_neighbour).and_then(|neighbour| neighbour.mac);
    let next_hop = match is_group(segment, test.destination) {
        true => group_mac(test.destination),
        false => neighbour.unwrap_or(segment.gateway_mac),
    };
    let flow = FlowKey {
        domain: DomainId::default(),
        source,
        destination: test.destination,
        layer4: opening(test, ipv4),
    };
    let mut frame = vec![0; ETHERNET];
    frame.extend(sketch::opening(&flow, test.source_mac.unwrap_or(own_mac), next_hop));
    Ok(frame)
}

/// A packet of the test's service: its lowest ports, an ephemeral source port where any will do.
fn opening(test: &PacketTest, ipv4: bool) -> Layer4 {
    let protocol = test.service.protocol.unwrap_or(Protocol::TCP);
    let protocol = match protocol {
        Protocol::ICMP if !ipv4 => Protocol::ICMPV6,
        other => other,
    };
    let source = match test.service.source.first() {
        0 if protocol.has_ports() => 49_152,
        port => port,
    };
    Layer4 { protocol, source, destination: test.service.destination.first() }
}
