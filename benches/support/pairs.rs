//! Policies in identity mode: every workload its own identity, every rule from one workload to another, and
//! flows for them. Made in memory: as text a million rules are 150 MB.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use septum_rules::flow_key::FlowKey;
use septum_rules::identity::{DomainId, SegmentId};
use septum_rules::mac::MacAddress;
use septum_rules::policy::Policy;
use septum_rules::port_range::PortRange;
use septum_rules::proto::{Layer4, Protocol, Service};
use septum_rules::rule::{Action, LogMode, Rule, Tier};
use septum_rules::segment::{Labels, Segment};
use septum_rules::selector::{Alternative, LabelExpression, Operator, Requirement, Selector};
use septum_rules::source::Span;
use septum_rules::workload::{Limits, OpenGates, Workload};

use crate::shapes::mix;

/// Service lists of which each rule has one.
const LISTS: usize = 300;
const PORTS: [u16; 20] = [
    80, 443, 8080, 53, 5432, 6379, 9090, 3306, 9092, 2379, 10250, 22, 25, 123, 389, 636, 1433, 5672, 8443,
    27017,
];

/// Workloads, and which of them have a rule from the first to the second.
pub(crate) struct Pairs {
    pub(crate) policy: Policy,
    pub(crate) pairs: Vec<(u32, u32)>,
}

impl Pairs {
    /// So many rules, each between two workloads that no other rule joins.
    pub(crate) fn new(workloads: usize, rules: usize) -> Self {
        let mut pairs: Vec<(u32, u32)> = Vec::with_capacity(rules + rules / 8);
        let mut at = 0;
        while pairs.len() < rules {
            // Draws that repeat, and those of a workload with itself, are drawn again.
            pairs.extend((0..rules - pairs.len()).map(|more| {
                let drawn = mix(at + 2 * more);
                ((drawn % workloads) as u32, (mix(at + 2 * more + 1) % workloads) as u32)
            }));
            at += 2 * rules;
            pairs.retain(|(from, to)| from != to);
            pairs.sort_unstable();
            pairs.dedup();
        }
        // Rules are named in the order in which they are drawn, not by who they are about.
        pairs.sort_by_key(|(from, to)| mix((*from as usize) << 32 | *to as usize));
        let lists: Vec<Vec<Service>> = (0..LISTS).map(services).collect();
        let key: Arc<str> = "id".into();
        let ids: Vec<Arc<str>> = (0..workloads).map(|at| format!("w{at}").into()).collect();
        let selector = |workload: u32| {
            let operator = Operator::In(vec![Arc::clone(&ids[workload as usize])]);
            let requirement = Requirement { key: Arc::clone(&key), operator };
            let expression = LabelExpression { requirements: vec![requirement] };
            Selector { alternatives: vec![Alternative::Labels(expression)] }
        };
        let rule = |(at, (from, to)): (usize, &(u32, u32))| Rule {
            name: format!("r{at:07}").into(),
            tier: Tier::App,
            priority: Rule::DEFAULT_PRIORITY,
            action: Action::Allow,
            side: None,
            from: selector(*from),
            to: selector(*to),
            services: lists[list_of((*from, *to))].clone(),
            except: Vec::new(),
            expires: None,
            audit: false,
            log: LogMode::New,
            deny_with: None,
            owner: None,
            why: None,
            ticket: None,
            span: Span::default(),
        };
        let policy = Policy {
            segments: vec![segment()],
            workloads: ids.iter().enumerate().map(|(at, id)| workload(at, &key, id)).collect(),
            rules: pairs.iter().enumerate().map(rule).collect(),
            ..Policy::default()
        };
        Self { policy, pairs }
    }

    /// Services of all rules.
    pub(crate) fn services(&self) -> usize {
        self.policy.rules.iter().map(|rule| rule.services.len()).sum()
    }

    /// Flows between pairs that a rule names, uniformly; seven of eight match one of its services.
    pub(crate) fn flows_of_pairs(&self, count: usize, ipv4: bool) -> Vec<FlowKey> {
        let lists: Vec<Vec<Service>> = (0..LISTS).map(services).collect();
        let flow = |at: usize| {
            let (from, to) = self.pairs[mix(at * 3) % self.pairs.len()];
            let list = &lists[list_of((from, to))];
            let service = list[mix(at * 3 + 1) % list.len()];
            let port =
                if mix(at * 3 + 2).is_multiple_of(8) { mix(at) as u16 } else { service.destination.first() };
            let layer4 = Layer4 { destination: port, ..packet(service, at) };
            FlowKey {
                domain: DomainId::default(),
                source: address(from as usize, ipv4),
                destination: address(to as usize, ipv4),
                layer4,
            }
        };
        (0..count).map(flow).collect()
    }

    /// Flows between any two workloads, uniformly: hardly any pair has a rule.
    pub(crate) fn flows_of_all(&self, count: usize, ipv4: bool) -> Vec<FlowKey> {
        let workloads = self.policy.workloads.len();
        let lists: Vec<Vec<Service>> = (0..LISTS).map(services).collect();
        let flow = |at: usize| {
            let end = |salt: usize| address(mix(at * 4 + salt) % workloads, ipv4);
            let list = &lists[mix(at * 4 + 2) % LISTS];
            let service = list[mix(at * 4 + 3) % list.len()];
            FlowKey {
                domain: DomainId::default(),
                source: end(0),
                destination: end(1),
                layer4: packet(service, at),
            }
        };
        (0..count).map(flow).collect()
    }
}

/// Which list a pair's rule has.
fn list_of((from, to): (u32, u32)) -> usize {
    mix((from as usize) << 32 | to as usize) % LISTS
}

/// One to nine ports or port ranges of TCP and UDP, and ICMP echo: 5.7 on average.
fn services(list: usize) -> Vec<Service> {
    let count = 1 + mix(list) % 8;
    let mut services: Vec<Service> = (0..count)
        .map(|at| {
            let drawn = mix(list * 16 + at + 1);
            let first = PORTS[drawn % PORTS.len()];
            let last = if (drawn >> 8).is_multiple_of(10) { first + 100 } else { first };
            let protocol = if (drawn >> 16).is_multiple_of(5) { Protocol::UDP } else { Protocol::TCP };
            let destination = PortRange::new(first, last).expect("in order");
            Service { protocol: Some(protocol), source: PortRange::ALL, destination }
        })
        .collect();
    let echo = PortRange::new(8 << 8, 8 << 8 | 255).expect("in order");
    services.push(Service { protocol: Some(Protocol::ICMP), source: PortRange::ALL, destination: echo });
    services.sort_unstable();
    services.dedup();
    services
}

/// A packet of a service, from a client's port.
fn packet(service: Service, at: usize) -> Layer4 {
    let protocol = service.protocol.expect("the lists name protocols");
    let source = if protocol.has_ports() { 32_768 + (mix(at + 9) % 28_000) as u16 } else { 0 };
    Layer4 { protocol, source, destination: service.destination.first() }
}

/// Addresses as clusters hand them out: pods of a node in one /24, here and there one elsewhere.
fn address(workload: usize, ipv4: bool) -> IpAddr {
    let (node, pod) = (mix(workload / 200 + 1) as u32 & 0xffff, workload as u32 % 200 + 1);
    // `node` alone may repeat; the number of the /24 among all makes it unique.
    let number = (workload / 200) as u32;
    if ipv4 {
        Ipv4Addr::from_bits(10 << 24 | (number << 8 | pod)).into()
    } else {
        Ipv6Addr::from_bits(
            0xfd00 << 112 | u128::from(node) << 80 | u128::from(number) << 64 | u128::from(pod),
        )
        .into()
    }
}

fn segment() -> Segment {
    Segment {
        name: "pods".into(),
        vlan: None,
        subnets: ["10.0.0.0/8", "fd00::/16"].map(|text| text.parse().expect("a prefix")).into(),
        gateways: Vec::new(),
        dns: Vec::new(),
        isolated: false,
        audit: false,
        labels: Labels::new(),
        mtu: Segment::DEFAULT_MTU,
        span: Span::default(),
    }
}

fn workload(at: usize, key: &Arc<str>, id: &Arc<str>) -> Workload {
    let [_, high, middle, low] = (at as u32).to_be_bytes();
    Workload {
        name: Arc::clone(id),
        segment: SegmentId(0),
        mac: Some(
            format!("02:00:00:{high:02x}:{middle:02x}:{low:02x}").parse::<MacAddress>().expect("a MAC"),
        ),
        addresses: vec![address(at, true), address(at, false)],
        labels: Labels::from([(Arc::clone(key), Arc::clone(id)), ("name".into(), Arc::clone(id))]),
        promiscuous: false,
        open: OpenGates::default(),
        audit: false,
        port: None,
        limits: Limits::default(),
        span: Span::default(),
    }
}
