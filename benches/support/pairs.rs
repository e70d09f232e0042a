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

    /// Flows of one address family.
    pub(crate) fn flows(&self, over: Over, count: usize, ipv4: bool) -> Vec<FlowKey> {
        let lists: Vec<Vec<Service>> = (0..LISTS).map(services).collect();
        let flow = |at: usize| {
            let drawn = |salt: usize| mix(at * 4 + salt);
            let number = match over {
                Over::Pairs => drawn(0) % self.pairs.len(),
                Over::Zipf => by_zipf(drawn(0), self.pairs.len()),
                Over::All => {
                    let workloads = self.policy.workloads.len();
                    let ends = [drawn(0) % workloads, drawn(1) % workloads];
                    let list = &lists[drawn(2) % LISTS];
                    return key(ends, packet(list[drawn(3) % list.len()], at), ipv4);
                }
            };
            let (from, to) = self.pairs[number];
            let list = &lists[list_of((from, to))];
            let service = list[drawn(1) % list.len()];
            let stray = drawn(2).is_multiple_of(8);
            let port = if stray { drawn(3) as u16 } else { service.destination.first() };
            let layer4 = Layer4 { destination: port, ..packet(service, at) };
            key([from as usize, to as usize], layer4, ipv4)
        };
        (0..count).map(flow).collect()
    }
}

/// Between whom flows go.
#[derive(Clone, Copy)]
pub(crate) enum Over {
    /// Pairs that a rule names, uniformly; seven of eight flows match one of its services.
    Pairs,
    /// The same pairs, the n-th 1/n times as often as the first.
    Zipf,
    /// Any two workloads, uniformly: hardly any pair has a rule.
    All,
}

impl Over {
    pub(crate) const ALL: [Self; 3] = [Self::Pairs, Self::Zipf, Self::All];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pairs => "pairs",
            Self::Zipf => "zipf",
            Self::All => "all",
        }
    }
}

/// A number below `end` by Zipf: e to a uniform power, nearly.
fn by_zipf(drawn: usize, end: usize) -> usize {
    let uniform = (drawn >> 10) as f64 / (usize::MAX >> 11) as f64;
    (f64::exp(uniform * f64::ln(end as f64)) as usize).clamp(1, end) - 1
}

fn key([from, to]: [usize; 2], layer4: Layer4, ipv4: bool) -> FlowKey {
    FlowKey {
        domain: DomainId::default(),
        source: address(from, ipv4),
        destination: address(to, ipv4),
        layer4,
    }
}

/// Which list a pair's rule has.
fn list_of((from, to): (u32, u32)) -> usize {
    mix((from as usize) << 32 | to as usize) % LISTS
}

/// One to eight ports or port ranges of TCP and UDP, and ICMP echo: 5.7 services on average.
fn services(list: usize) -> Vec<Service> {
    let count = 2 + mix(list) % 7;
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
