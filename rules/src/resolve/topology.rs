//! Segments, workloads and uplinks: labels inherited, addresses checked against subnets and against each other.
//!
//! Cost: sorting subnets and hashing addresses; nothing is compared pairwise.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use super::scope::Scope;
use super::subnets::{Place, SUBNET_ROUTER, Subnets, is_link_local, unusable};
use crate::address::Prefix;
use crate::diagnostic::{Code, Diagnostic, Sink};
use crate::document::decode::Spanned;
use crate::document::{Document, PortText, SegmentText, UplinkText, WorkloadText};
use crate::identity::{NetworkId, SegmentId};
use crate::mac::MacAddress;
use crate::policy::{Policy, Uplink};
use crate::segment::Segment;
use crate::source::Span;
use crate::workload::{Namespace, PortSpec, Workload};

/// Adds the document's segments, workloads and uplinks to the policy, and gives the names of the workloads.
pub(super) fn resolve(document: &Document, networks: &Scope, policy: &mut Policy, sink: &mut Sink) -> Scope {
    let mut scope = Scope::new("segment", Code::UnknownSegment);
    let segments: Vec<&SegmentText> =
        document.segments.iter().filter(|text| scope.declare(&text.name, sink).is_some()).collect();
    let audit = policy.settings.audit;
    policy.segments = segments.iter().map(|text| segment(text, audit)).collect();
    let mut checks = Checks::new(&segments, sink);

    let mut workload_names = Scope::new("workload", Code::UnknownWorkload);
    for text in &document.workloads {
        let declared = workload_names.declare(&text.name, sink).is_some();
        let segment = text.segment.as_ref().and_then(|segment| scope.find(segment, sink)).map(SegmentId);
        checks.workload(text, segment, &policy.segments, sink);
        if declared {
            // A workload without a segment has been reported; it stays, under its number.
            policy.workloads.push(workload(text, segment.unwrap_or_default(), &policy.segments, audit));
        }
    }
    checks.link_local_addresses(&document.workloads, sink);

    let mut uplink_names = Scope::new("uplink", Code::UnknownWord);
    for text in &document.uplinks {
        uplink_names.declare(&text.name, sink);
        checks.uplink(text, sink);
        let networks =
            text.networks.iter().filter_map(|name| networks.find(name, sink)).map(NetworkId).collect();
        policy.uplinks.push(Uplink {
            name: Arc::clone(&text.name.value),
            device: text.device.as_ref().map_or_else(|| Arc::from(""), |device| Arc::clone(&device.value)),
            gateways: text.gateways.iter().map(|gateway| gateway.value).collect(),
            networks,
            addresses: text.addresses.iter().map(|address| address.value).collect(),
            mac: text.mac.map(|mac| mac.value),
            mtu: text.mtu.unwrap_or(Segment::DEFAULT_MTU),
            neighbours: text.neighbours.iter().map(|(address, mac)| (address.value, *mac)).collect(),
            span: text.name.span,
        });
    }
    workload_names
}

fn segment(text: &SegmentText, policy_audit: bool) -> Segment {
    Segment {
        name: Arc::clone(&text.name.value),
        vlan: text.vlan.map(|vlan| vlan.value),
        subnets: text.subnets.iter().map(|subnet| subnet.value).collect(),
        gateways: text.gateways.iter().map(|gateway| gateway.value).collect(),
        dns: text.dns.iter().map(|server| server.value).collect(),
        isolated: text.isolated,
        audit: text.audit.unwrap_or(policy_audit),
        labels: text.labels.clone(),
        mtu: text.mtu.unwrap_or(Segment::DEFAULT_MTU),
        span: text.name.span,
    }
}

fn workload(text: &WorkloadText, id: SegmentId, segments: &[Segment], policy_audit: bool) -> Workload {
    let segment = segments.get(id.index());
    let mut labels = segment.map(|segment| segment.labels.clone()).unwrap_or_default();
    labels.extend(text.labels.iter().map(|(key, value)| (Arc::clone(key), Arc::clone(value))));
    labels.insert(Arc::from("name"), Arc::clone(&text.name.value));
    if let Some(segment) = segment {
        labels.insert(Arc::from("segment"), Arc::clone(&segment.name));
    }
    let port = text.port.as_ref().map(|port| PortSpec {
        kind: port.kind.clone(),
        device: Arc::clone(&port.device.value),
        namespace: port.namespace.clone(),
        configure: port.configure.unwrap_or(port.namespace.is_some() && port.trunk.is_none()),
        persistent: port.persistent,
        owner: port.owner,
        group: port.group,
        mtu: port.mtu.or(segment.map(|segment| segment.mtu)).unwrap_or(Segment::DEFAULT_MTU),
        trunk: port.trunk.and(segment.and_then(|segment| segment.vlan)),
        span: port.device.span,
    });
    Workload {
        name: Arc::clone(&text.name.value),
        segment: id,
        mac: text.mac.map(|mac| mac.value),
        addresses: text.addresses.iter().map(|address| address.value).collect(),
        labels,
        promiscuous: text.promiscuous.is_some_and(|promiscuous| promiscuous.value),
        open: text.open,
        audit: text.audit.unwrap_or(segment.map_or(policy_audit, |segment| segment.audit)),
        port,
        limits: text.limits,
        span: text.name.span,
    }
}

/// Who holds an address.
#[derive(Clone)]
pub(super) struct Holder {
    pub(super) name: Arc<str>,
    pub(super) span: Span,
}

/// What is already taken, by whom.
struct Checks<'d> {
    subnets: Subnets,
    gateways: HashMap<IpAddr, Holder>,
    addresses: HashMap<IpAddr, Holder>,
    macs: HashMap<MacAddress, Holder>,
    devices: HashMap<DeviceKey<'d>, Holder>,
    /// Of these, the trunks, each as its first workload sets it up.
    trunks: HashMap<DeviceKey<'d>, &'d PortText>,
    /// Who has which segment's VLAN on which trunk.
    carried: HashMap<(DeviceKey<'d>, SegmentId), Holder>,
}

/// A device, in its namespace.
type DeviceKey<'d> = (Option<&'d Namespace>, &'d str);

/// Takes `key` for `holder`, or gives the one who has it.
fn claim<K: Eq + Hash>(
    taken: &mut HashMap<K, Holder>,
    key: K,
    name: &Arc<str>,
    span: Span,
) -> Option<Holder> {
    match taken.entry(key) {
        Entry::Occupied(entry) => Some(entry.get().clone()),
        Entry::Vacant(entry) => {
            entry.insert(Holder { name: Arc::clone(name), span });
            None
        }
    }
}

/// Something that belongs to somebody else already.
fn in_use(code: Code, span: Span, message: String, first: &Holder) -> Diagnostic {
    Diagnostic::new(code, span, message).related(first.span, "first used here")
}

impl<'d> Checks<'d> {
    fn new(segments: &[&'d SegmentText], sink: &mut Sink) -> Self {
        let mut checks = Self {
            subnets: Subnets::new(segments, sink),
            gateways: HashMap::new(),
            addresses: HashMap::new(),
            macs: HashMap::new(),
            devices: HashMap::new(),
            trunks: HashMap::new(),
            carried: HashMap::new(),
        };
        let mut vlans = HashMap::new();
        for (index, text) in segments.iter().enumerate() {
            let name = &text.name.value;
            if let Some(vlan) = text.vlan
                && let Some(first) = claim(&mut vlans, vlan.value, name, vlan.span)
            {
                let message = format!("VLAN {} already belongs to segment `{}`", vlan.value, first.name);
                sink.push(in_use(Code::DuplicateVlan, vlan.span, message, &first));
            }
            for server in &text.dns {
                if let Some(why) = unusable(server.value, None) {
                    let message = format!("{} is {why}, and cannot be a name server's", server.value);
                    sink.report(Code::UnusableAddress, server.span, message);
                }
            }
            for gateway in &text.gateways {
                checks.gateway(text, SegmentId(index as u32), gateway.value, gateway.span, sink);
            }
        }
        checks
    }

    fn gateway(
        &mut self,
        text: &SegmentText,
        segment: SegmentId,
        gateway: IpAddr,
        span: Span,
        sink: &mut Sink,
    ) {
        let name = &text.name.value;
        if text.subnets.is_empty() {
            let message = format!("segment `{name}` has a gateway but no subnet");
            sink.push(
                Diagnostic::new(Code::NoRoute, span, message).help("add `subnet`, or remove `gateway`"),
            );
        } else if unusable(gateway, None).is_none()
            && let Place::Outside { inside_of } = self.subnets.place(gateway, segment)
        {
            let message = format!("the gateway {gateway} lies in no subnet of segment `{name}`");
            let help = inside_of.map(|other| format!("it lies in a subnet of segment `{}`", other.name));
            sink.push(
                Diagnostic::new(Code::GatewayOutsideSubnet, span, message)
                    .related(text.subnets[0].span, "the segment's subnets")
                    .help_maybe(help),
            );
        } else if let Some(why) = unusable(gateway, self.subnets.prefix_of(gateway, segment)) {
            // The subnet-router anycast address is a router's, and the gateway is one (RFC 4291 section 2.6.1).
            if why != SUBNET_ROUTER {
                sink.report(
                    Code::UnusableAddress,
                    span,
                    format!("{gateway} is {why}, and cannot be a gateway"),
                );
            }
        }
        if let Some(first) = claim(&mut self.gateways, gateway, name, span) {
            let message = format!("{gateway} is already the gateway of segment `{}`", first.name);
            sink.push(in_use(Code::DuplicateAddress, span, message, &first));
        }
    }

    fn workload(
        &mut self,
        text: &'d WorkloadText,
        segment: Option<SegmentId>,
        segments: &[Segment],
        sink: &mut Sink,
    ) {
        let name = &text.name.value;
        for address in &text.addresses {
            self.address(name, address.value, address.span, segment, segments, sink);
        }
        self.claim_mac(name, text.mac, sink);
        if let Some(port) = &text.port {
            let key = (port.namespace.as_ref(), &*port.device.value);
            match (port.trunk, segment) {
                (Some(span), Some(segment)) => {
                    self.trunk(key, (port, span), name, (segment, segments), sink);
                }
                _ => self.device(key, name, port.device.span, sink),
            }
        }
        if let (Some(promiscuous), Some(segment)) = (text.promiscuous, segment)
            && promiscuous.value
            && !segments[segment.index()].isolated
        {
            let message = format!(
                "segment `{}` is not isolated: `promiscuous` changes nothing",
                segments[segment.index()].name
            );
            sink.push(
                Diagnostic::new(Code::NoEffect, promiscuous.span, message)
                    .help("remove it, or say `isolated = true` in the segment"),
            );
        }
    }

    fn address(
        &mut self,
        name: &Arc<str>,
        address: IpAddr,
        span: Span,
        segment: Option<SegmentId>,
        segments: &[Segment],
        sink: &mut Sink,
    ) {
        let subnet = segment.and_then(|segment| self.subnets.prefix_of(address, segment));
        if let Some(why) = unusable(address, subnet) {
            sink.report(
                Code::UnusableAddress,
                span,
                format!("{address} is {why}, and cannot be a workload's"),
            );
        } else if let Some(segment) = segment.filter(|_| !is_link_local(address))
            && let Place::Outside { inside_of } = self.subnets.place(address, segment)
            && let Some(declared) =
                segments.get(segment.index()).filter(|segment| !segment.subnets.is_empty())
        {
            let message = format!("{address} lies in no subnet of segment `{}`", declared.name);
            let help = inside_of.map(|other| format!("it lies in a subnet of segment `{}`", other.name));
            sink.push(
                Diagnostic::new(Code::AddressOutsideSubnet, span, message)
                    .related(declared.span, "the segment is declared here")
                    .help_maybe(help),
            );
        }
        if let Some(gateway) = self.gateways.get(&address) {
            let message = format!("{address} is the gateway of segment `{}`", gateway.name);
            sink.push(
                Diagnostic::new(Code::AddressIsGateway, span, message)
                    .related(gateway.span, "the gateway")
                    .help("the switch itself answers there; give the workload another address"),
            );
        }
        self.claim_address(name, address, span, sink);
    }

    /// Gives a workload's or the switch's own address to its holder, who must be the only one.
    fn claim_address(&mut self, name: &Arc<str>, address: IpAddr, span: Span, sink: &mut Sink) {
        if let Some(first) = claim(&mut self.addresses, address, name, span) {
            let message = format!("{address} already belongs to `{}`", first.name);
            sink.push(in_use(Code::DuplicateAddress, span, message, &first));
        }
    }

    /// Gives a MAC, where there is one, to its holder, who must be the only one.
    fn claim_mac(&mut self, name: &Arc<str>, mac: Option<Spanned<MacAddress>>, sink: &mut Sink) {
        if let Some(mac) = mac
            && let Some(first) = claim(&mut self.macs, mac.value, name, mac.span)
        {
            let message = format!("the MAC address {} already belongs to `{}`", mac.value, first.name);
            sink.push(in_use(Code::DuplicateMac, mac.span, message, &first));
        }
    }

    fn device(&mut self, key: DeviceKey<'d>, name: &Arc<str>, span: Span, sink: &mut Sink) {
        if let Some(first) = claim(&mut self.devices, key, name, span) {
            let message = format!("the device `{}` is already the port of `{}`", key.1, first.name);
            let is_trunk = self.trunks.contains_key(&key);
            let help = "say `trunk = true` in each workload of a device that several share";
            sink.push(
                in_use(Code::DuplicateDevice, span, message, &first)
                    .help_maybe(is_trunk.then(|| help.to_owned())),
            );
        }
    }

    /// A device that carries several workloads: each has a VLAN of its own there, and all speak of one device.
    fn trunk(
        &mut self,
        key: DeviceKey<'d>,
        (port, trunk): (&'d PortText, Span),
        name: &Arc<str>,
        (id, segments): (SegmentId, &[Segment]),
        sink: &mut Sink,
    ) {
        let (segment, device) = (&segments[id.index()], &port.device.value);
        if segment.vlan.is_none() {
            let message =
                format!("segment `{}` has no `vlan` for the frames of `{name}` on a trunk", segment.name);
            sink.push(
                Diagnostic::new(Code::MissingKey, trunk, message)
                    .related(segment.span, "the segment is declared here")
                    .help("add `vlan = 10` to the segment, or another id from 1 to 4094"),
            );
        }
        if port.configure == Some(true) {
            let message = format!("`{device}` is a trunk, and cannot be given the addresses of one workload");
            sink.push(
                Diagnostic::new(Code::ConflictingKeys, trunk, message)
                    .help("remove `configure`: who takes the device makes a VLAN device for each id"),
            );
        }
        if let Some(first) = claim(&mut self.carried, (key, id), name, port.device.span) {
            let message =
                format!("segment `{}` on the trunk `{device}` is already `{}`", segment.name, first.name);
            sink.push(
                in_use(Code::DuplicateDevice, port.device.span, message, &first)
                    .help("workloads behind one trunk are told apart by the `vlan` of their segments"),
            );
            return;
        }
        let Some(first) = self.trunks.get(&key) else {
            self.device(key, name, port.device.span, sink);
            self.trunks.insert(key, port);
            return;
        };
        let as_set_up = |port: &PortText| (port.kind.clone(), port.persistent, port.owner, port.group);
        if as_set_up(first) != as_set_up(port) {
            let message = format!("the trunk `{device}` is described in two ways");
            sink.push(
                Diagnostic::new(Code::ConflictingKeys, port.device.span, message)
                    .related(first.device.span, "the other description")
                    .help("make `tap` or `packet`, `persist`, `owner` and `group` the same for all of its workloads"),
            );
        }
    }

    /// What a workload holds undeclared must not be another's declared address.
    fn link_local_addresses(&self, workloads: &[WorkloadText], sink: &mut Sink) {
        for text in workloads {
            let Some(mac) = text.mac else { continue };
            let derived = IpAddr::V6(mac.value.link_local());
            let Some(holder) = self.addresses.get(&derived) else { continue };
            if holder.name != text.name.value {
                let message = format!(
                    "`{}` derives {derived} from this MAC, but `{}` declares it",
                    text.name.value, holder.name
                );
                sink.push(
                    Diagnostic::new(Code::LinkLocalCollision, mac.span, message)
                        .related(holder.span, "declared here")
                        .help("change the MAC, or the declared address"),
                );
            }
        }
    }

    /// An address of the switch on an uplink: usable, nobody else's, and in no segment.
    fn own_address(
        &mut self,
        name: &Arc<str>,
        (address, prefix): (IpAddr, Prefix),
        span: Span,
        sink: &mut Sink,
    ) {
        if let Some(why) = unusable(address, Some(prefix)) {
            sink.report(
                Code::UnusableAddress,
                span,
                format!("{address} is {why}, and cannot be the switch's"),
            );
        } else if let Place::Outside { inside_of: Some(segment) } =
            self.subnets.place(address, SegmentId(u32::MAX))
        {
            let message = format!("{address} lies in a subnet of segment `{}`", segment.name);
            sink.push(
                Diagnostic::new(Code::OverlappingSubnets, span, message)
                    .related(segment.span, "the subnet")
                    .help("what lies behind an uplink is outside of all segments"),
            );
        } else {
            self.claim_address(name, address, span, sink);
        }
    }

    fn uplink(&mut self, text: &'d UplinkText, sink: &mut Sink) {
        if let Some(device) = &text.device {
            self.device((None, &device.value), &text.name.value, device.span, sink);
        }
        self.claim_mac(&text.name.value, text.mac, sink);
        for own in &text.addresses {
            self.own_address(&text.name.value, own.value, own.span, sink);
        }
        for gateway in &text.gateways {
            if let Some(why) = unusable(gateway.value, None) {
                let message = format!("{} is {why}, and cannot be a next hop", gateway.value);
                sink.report(Code::UnusableAddress, gateway.span, message);
            }
            if let Some(holder) =
                self.addresses.get(&gateway.value).or_else(|| self.gateways.get(&gateway.value))
            {
                let message = format!("the next hop {} already belongs to `{}`", gateway.value, holder.name);
                sink.push(in_use(Code::DuplicateAddress, gateway.span, message, holder));
            }
        }
    }
}

/// Every address that belongs to a workload or is a gateway, with its holder's name.
pub(super) fn holders(policy: &Policy) -> HashMap<IpAddr, Arc<str>> {
    let workloads = policy
        .workloads
        .iter()
        .flat_map(|workload| workload.all_addresses().map(|address| (address, Arc::clone(&workload.name))));
    let gateways = policy
        .segments
        .iter()
        .flat_map(|segment| segment.gateways.iter().map(|gateway| (*gateway, Arc::clone(&segment.name))));
    gateways.chain(workloads).collect()
}
