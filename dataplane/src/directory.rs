//! The directory: who is where. Declared, never learned, so nothing needs flooding and nothing can be poisoned.
//!
//! Built from a policy and the ports that are attached; immutable afterwards. Two questions are asked of it
//! for each frame: who sits at this port, and where does this address live. Cost: an index, and one hash lookup.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use hashbrown::{HashMap as FastMap, HashSet as FastSet};
use septum_classifier::Classifier;
use septum_rules::address::{Prefix, to_mapped_bits};
use septum_rules::identity::{IdentityId, SegmentId, WorkloadId};
use septum_rules::mac::MacAddress;
use septum_rules::policy::{Policy, Uplink};
use septum_rules::workload::{Namespace, PortSpec};

use crate::configuration::Configuration;
use crate::limiter::Limiter;
use crate::memberships::Memberships;
use crate::neighbours::Neighbours;
use crate::port::PortId;
use crate::routes::{Routes, UplinkId};

/// Where every described workload and every gateway is.
#[derive(Debug)]
pub struct Directory {
    /// By port slot.
    members: Vec<Option<Member>>,
    /// By mapped address.
    locations: FastMap<u128, Location, foldhash::quality::RandomState>,
    /// Every member's MAC in its segment.
    stations: FastSet<(SegmentId, MacAddress), foldhash::quality::RandomState>,
    /// By [`SegmentId`].
    segments: Vec<SegmentEntry>,
    /// By [`UplinkId`]; `None` where the port is not attached.
    uplinks: Vec<Option<UplinkEntry>>,
    /// Who lives behind which uplink.
    routes: Routes,
    /// By port slot of the trunk.
    trunks: Vec<Option<TrunkEntry>>,
}

/// A device that carries several workloads.
#[derive(Debug)]
pub struct TrunkEntry {
    /// Its port.
    pub port: PortId,
    /// The ports of its workloads, each with the id in their frames' tags.
    pub carried: Vec<(u16, PortId)>,
}

impl TrunkEntry {
    /// The port of the workload whose frames have this id.
    pub fn port_of(&self, id: u16) -> Option<PortId> {
        self.carried.iter().find(|(carried, _)| *carried == id).map(|(_, port)| *port)
    }
}

/// The workload at a port.
#[derive(Debug)]
pub struct Member {
    /// Which workload.
    pub workload: WorkloadId,
    /// Its port.
    pub port: PortId,
    /// Its segment.
    pub segment: SegmentId,
    /// The only source MAC that the guard admits.
    pub mac: MacAddress,
    /// The source addresses that the guard admits (declared, and the link-local one), each with the identity it gives.
    pub sources: Box<[(IpAddr, IdentityId)]>,
    /// Layer-3 MTU of its port.
    pub mtu: u16,
    /// Exempt from its segment's isolation.
    pub promiscuous: bool,
    /// What it is told when it asks for its configuration.
    pub configuration: Configuration,
    /// How much it may send, where it is limited.
    pub limiter: Option<Arc<Limiter>>,
    /// The multicast groups that it listens to.
    pub memberships: Arc<Memberships>,
}

impl Member {
    /// The identity that this source address gives, where the workload may use it. Linear: workloads have few.
    pub fn identity_of(&self, source: IpAddr) -> Option<IdentityId> {
        self.sources.iter().find(|(address, _)| *address == source).map(|(_, identity)| *identity)
    }

    /// The first address of the family, with its identity.
    pub fn first_of_family(&self, ipv4: bool) -> Option<(IpAddr, IdentityId)> {
        self.sources.iter().copied().find(|(address, _)| address.is_ipv4() == ipv4)
    }
}

/// An uplink as the forwarder needs it.
#[derive(Debug)]
pub struct UplinkEntry {
    /// Which uplink.
    pub id: UplinkId,
    /// Its port.
    pub port: PortId,
    /// The switch's MAC there.
    pub mac: MacAddress,
    /// The switch's addresses there, with the prefixes whose addresses are neighbours and the identities they give.
    pub addresses: Box<[(IpAddr, Prefix, IdentityId)]>,
    /// Next hops, in order of preference.
    pub gateways: Box<[IpAddr]>,
    /// Layer-3 MTU of its port.
    pub mtu: u16,
    /// The MACs of next hops.
    pub neighbours: Arc<Neighbours>,
}

impl UplinkEntry {
    /// The switch's first address of the family there.
    pub fn own_address(&self, ipv4: bool) -> Option<IpAddr> {
        self.addresses.iter().map(|(address, ..)| *address).find(|address| address.is_ipv4() == ipv4)
    }

    /// Whether an address is the switch's there: declared, or the link-local one of its MAC.
    pub fn is_own(&self, address: IpAddr) -> bool {
        address == IpAddr::V6(self.mac.link_local()) || self.addresses.iter().any(|(own, ..)| *own == address)
    }

    /// Whose MAC a packet to `destination` needs: its own where it is a neighbour, or no gateway of the family is declared.
    pub fn next_hop_to(&self, destination: IpAddr) -> IpAddr {
        let is_neighbour = self.addresses.iter().any(|(_, prefix, _)| prefix.contains(destination));
        let mut gateways =
            self.gateways.iter().copied().filter(|gateway| gateway.is_ipv4() == destination.is_ipv4());
        gateways.next().filter(|_| !is_neighbour).unwrap_or(destination)
    }
}

/// The name of an uplink's port among those of workloads, none of which can have an equals sign in it.
pub fn uplink_port(name: &str) -> Arc<str> {
    format!("uplink={name}").into()
}

/// The name of a trunk's port, of the same kind. Ports of one device have one.
pub fn trunk_port(spec: &PortSpec) -> Arc<str> {
    match &spec.namespace {
        None => format!("trunk={}", spec.device).into(),
        Some(Namespace::Name(name)) => format!("trunk={}@{name}", spec.device).into(),
        Some(Namespace::Path(path)) => format!("trunk={}@{}", spec.device, path.display()).into(),
        Some(Namespace::Process(process)) => format!("trunk={}@pid:{process}", spec.device).into(),
    }
}

/// Where an address lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// At which port; `None` is the switch itself (a gateway).
    pub port: Option<PortId>,
    /// In which segment.
    pub segment: SegmentId,
    /// Who it is to the gates.
    pub identity: IdentityId,
}

/// A segment as the forwarder needs it.
#[derive(Debug)]
pub struct SegmentEntry {
    /// The switch's MAC in this segment.
    pub gateway_mac: MacAddress,
    /// The switch's addresses in this segment.
    pub gateways: Box<[IpAddr]>,
    /// The broadcast addresses of its IPv4 subnets.
    pub broadcasts: Box<[Ipv4Addr]>,
    /// A private VLAN.
    pub isolated: bool,
    /// Its members' slots.
    pub members: Vec<u16>,
}

impl SegmentEntry {
    /// Whether packets of the family leave or enter this segment through the switch.
    pub fn routes(&self, ipv4: bool) -> bool {
        self.gateways.iter().any(|gateway| gateway.is_ipv4() == ipv4)
    }

    /// Whether `address` is the broadcast address of one of its IPv4 subnets, or of all.
    pub fn is_broadcast(&self, address: IpAddr) -> bool {
        matches!(address, IpAddr::V4(v4) if v4.is_broadcast() || self.broadcasts.contains(&v4))
    }
}

impl Directory {
    /// The directory of a policy whose workloads, by name, sit at `ports`. Workloads that lack a MAC, or sit
    /// at no port, are nowhere: their addresses are known to the gates, but have no location.
    pub fn build(policy: &Policy, classifier: &Classifier, ports: &HashMap<Arc<str>, PortId>) -> Self {
        let slots = ports.values().map(|port| usize::from(port.slot) + 1).max().unwrap_or(0);
        let mut directory = Self {
            members: std::iter::repeat_with(|| None).take(slots).collect(),
            locations: FastMap::default(),
            stations: FastSet::default(),
            segments: policy
                .segments
                .iter()
                .map(|segment| SegmentEntry {
                    gateway_mac: gateway_mac(&segment.name),
                    gateways: segment.gateways.clone().into(),
                    broadcasts: segment.subnets.iter().filter_map(|subnet| broadcast_of(*subnet)).collect(),
                    isolated: segment.isolated,
                    members: Vec::new(),
                })
                .collect(),
            uplinks: Vec::new(),
            routes: Routes::of(policy),
            trunks: std::iter::repeat_with(|| None).take(slots).collect(),
        };
        directory.add_gateways(policy, classifier);
        directory.add_uplinks(policy, classifier, ports);
        for (at, workload) in policy.workloads.iter().enumerate() {
            let (Some(port), Some(mac)) = (ports.get(&workload.name).copied(), workload.mac) else {
                continue;
            };
            let sources: Box<[_]> =
                workload.all_addresses().map(|address| (address, classifier.identify(address))).collect();
            for (address, identity) in &sources {
                let location = Location { port: Some(port), segment: workload.segment, identity: *identity };
                directory.locations.insert(to_mapped_bits(*address), location);
            }
            if let Some(spec) = &workload.port {
                directory.add_to_trunk(port, spec, ports);
            }
            directory.stations.insert((workload.segment, mac));
            directory.segments[workload.segment.index()].members.push(port.slot);
            directory.members[usize::from(port.slot)] = Some(Member {
                workload: WorkloadId(at as u32),
                port,
                segment: workload.segment,
                mac,
                sources,
                mtu: workload
                    .port
                    .as_ref()
                    .map_or(policy.segments[workload.segment.index()].mtu, |port| port.mtu),
                promiscuous: workload.promiscuous,
                configuration: Configuration::of(workload, &policy.segments[workload.segment.index()]),
                limiter: Limiter::of(workload.limits),
                memberships: Arc::default(),
            });
        }
        directory
    }

    /// Goes on where `previous` is: whoever stays at its port keeps the groups that it listens to and, with its limits, what
    /// it has used of them; uplinks keep the neighbours that they know.
    pub fn inherit(&mut self, previous: &Self) {
        for member in self.members.iter_mut().flatten() {
            let before = previous.member(member.port.slot).filter(|before| before.port == member.port);
            let Some(before) = before else { continue };
            member.memberships = Arc::clone(&before.memberships);
            if let (Some(now), Some(then)) = (&mut member.limiter, &before.limiter)
                && then.is_same_as(now)
            {
                *now = Arc::clone(then);
            }
        }
        for uplink in self.uplinks.iter_mut().flatten() {
            let before = previous.uplink_at(uplink.port);
            if let Some(before) = before.filter(|before| before.neighbours.is_same_as(&uplink.neighbours)) {
                uplink.neighbours = Arc::clone(&before.neighbours);
            }
        }
    }

    /// Takes down that the workload at `port` sits behind a trunk, where it does and the trunk is attached.
    fn add_to_trunk(&mut self, port: PortId, spec: &PortSpec, ports: &HashMap<Arc<str>, PortId>) {
        let trunk = spec.trunk.and_then(|id| Some((id, *ports.get(&trunk_port(spec))?)));
        let Some((id, trunk)) = trunk else { return };
        let entry = self.trunks[usize::from(trunk.slot)]
            .get_or_insert_with(|| TrunkEntry { port: trunk, carried: Vec::new() });
        entry.carried.push((id, port));
    }

    /// The trunk at a port.
    pub fn trunk_at(&self, port: PortId) -> Option<&TrunkEntry> {
        self.trunks.get(usize::from(port.slot))?.as_ref().filter(|trunk| trunk.port == port)
    }

    /// All trunks.
    pub fn trunks(&self) -> impl Iterator<Item = &TrunkEntry> {
        self.trunks.iter().flatten()
    }

    fn add_gateways(&mut self, policy: &Policy, classifier: &Classifier) {
        for (at, segment) in policy.segments.iter().enumerate() {
            for address in &segment.gateways {
                let location = Location {
                    port: None,
                    segment: SegmentId(at as u32),
                    identity: classifier.identify(*address),
                };
                self.locations.insert(to_mapped_bits(*address), location);
            }
        }
    }

    fn add_uplinks(&mut self, policy: &Policy, classifier: &Classifier, ports: &HashMap<Arc<str>, PortId>) {
        let entry = |at: u16, uplink: &Uplink| {
            let identity =
                |(address, prefix): &(IpAddr, Prefix)| (*address, *prefix, classifier.identify(*address));
            Some(UplinkEntry {
                id: UplinkId(at),
                port: *ports.get(&uplink_port(&uplink.name))?,
                mac: uplink.mac.unwrap_or_else(|| gateway_mac(&uplink_port(&uplink.name))),
                addresses: uplink.addresses.iter().map(identity).collect(),
                gateways: uplink.gateways.clone().into(),
                mtu: uplink.mtu,
                neighbours: Arc::new(Neighbours::new(&uplink.gateways, &uplink.neighbours)),
            })
        };
        self.uplinks = policy.uplinks.iter().zip(0..).map(|(uplink, at)| entry(at, uplink)).collect();
    }

    /// The uplink at a port.
    pub fn uplink_at(&self, port: PortId) -> Option<&UplinkEntry> {
        self.uplinks.iter().flatten().find(|uplink| uplink.port == port)
    }

    /// An uplink whose port is attached.
    pub fn uplink(&self, uplink: UplinkId) -> Option<&UplinkEntry> {
        self.uplinks.get(uplink.index())?.as_ref()
    }

    /// The identity of an address that the switch has on some uplink.
    pub fn uplink_address(&self, address: IpAddr) -> Option<IdentityId> {
        let mut own = self.uplinks.iter().flatten().flat_map(|uplink| &uplink.addresses);
        own.find(|(own, ..)| *own == address).map(|(.., identity)| *identity)
    }

    /// Who lives behind which uplink.
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// The workload at a port slot; `None` where the port is attached but not described.
    pub fn member(&self, slot: u16) -> Option<&Member> {
        self.members.get(usize::from(slot))?.as_ref()
    }

    /// Where `address` lives.
    pub fn locate(&self, address: IpAddr) -> Option<Location> {
        self.locations.get(&to_mapped_bits(address)).copied()
    }

    /// Whether a member of `segment` has this MAC.
    pub fn is_station(&self, segment: SegmentId, mac: MacAddress) -> bool {
        self.stations.contains(&(segment, mac))
    }

    /// A segment.
    ///
    /// # Panics
    /// When `segment` is of another policy.
    pub fn segment(&self, segment: SegmentId) -> &SegmentEntry {
        &self.segments[segment.index()]
    }

    /// All segments.
    pub fn segments(&self) -> &[SegmentEntry] {
        &self.segments
    }
}

/// The broadcast address of an IPv4 subnet; one of two addresses or fewer has none (RFC 3021).
fn broadcast_of(subnet: Prefix) -> Option<Ipv4Addr> {
    match subnet.last() {
        IpAddr::V4(last) if subnet.len() < 31 => Some(last),
        _ => None,
    }
}

/// The switch's MAC in a segment: locally administered, and made from the segment's name alone, so that what
/// neighbours have cached stays right when other segments come and go.
pub fn gateway_mac(segment: &str) -> MacAddress {
    // FNV-1a, 32 bits: only spread matters here.
    let hash = segment
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let [a, b, c, d] = hash.to_be_bytes();
    MacAddress([0x02, 0x53, a, b, c, d])
}
