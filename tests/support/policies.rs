//! Random policies that use every feature of the language, and the parties and packets that tell them apart.
//!
//! The universe is small on purpose (few labels, nested networks, neighbouring ports), so that rules
//! overlap, shadow and except each other all the time. Everything is a `proptest` strategy and shrinks.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use septum_rules::address::Prefix;
use septum_rules::date::Date;
use septum_rules::endpoint::{Endpoint, Party};
use septum_rules::identity::{NetworkId, SegmentId, WorkloadId};
use septum_rules::oracle::Oracle;
use septum_rules::policy::{Network, Policy, Settings};
use septum_rules::port_range::PortRange;
use septum_rules::proto::{Layer4, Protocol, Service};
use septum_rules::rule::{Action, DenyWith, Except, LogMode, Rule, Tier};
use septum_rules::segment::{Labels, Segment};
use septum_rules::selector::{Alternative, LabelExpression, Operator, Requirement, Selector};
use septum_rules::source::Span;
use septum_rules::verdict::Gate;
use septum_rules::workload::{Limits, OpenGates, Workload};

const SEGMENTS: u32 = 3;
const NETWORKS: u32 = 5;
const KEYS: [&str; 3] = ["app", "env", "canary"];
const VALUES: [&str; 3] = ["a", "b", "c"];
/// Nested, overlapping, touching the ends of both families.
const PREFIXES: [&str; 14] = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.0.0.0/16",
    "10.0.1.0/24",
    "10.0.1.4/30",
    "10.0.1.6/32",
    "192.0.2.0/24",
    "192.0.2.128/25",
    "255.255.255.255/32",
    "::/0",
    "fd00::/16",
    "fd00:1::/64",
    "fe80::/10",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
];

/// The day on which the policies are judged; some of their rules expire around it.
pub(crate) fn today() -> Date {
    "2026-06-15".parse().expect("a date")
}

/// Any policy.
pub(crate) fn policy() -> impl Strategy<Value = Policy> {
    let segments = vec((prop::bool::weighted(0.3), any::<bool>()), SEGMENTS as usize);
    let workloads = vec(workload(), 1..8);
    let networks = vec((vec(prefix(), 1..4), vec(prefix(), 0..3)), NETWORKS as usize);
    let settings = (prop::bool::weighted(0.15), any::<bool>());
    (segments, workloads, networks, vec(rule(), 0..16), settings).prop_map(
        |(segments, workloads, networks, rules, (default_allow, reject))| Policy {
            segments: segments.into_iter().zip(0..).map(segment).collect(),
            workloads: workloads.into_iter().zip(0..).map(|(workload, at)| placed(workload, at)).collect(),
            networks: networks
                .into_iter()
                .zip(0..)
                .map(|((include, except), at)| Network {
                    name: format!("net{at}").into(),
                    include,
                    except,
                    span: Span::default(),
                })
                .collect(),
            rules: rules
                .into_iter()
                .zip(0..)
                .map(|(rule, at)| Rule { name: format!("rule{at:02}").into(), ..rule })
                .collect(),
            settings: Settings {
                default_allow,
                deny_with: if reject { DenyWith::Reject } else { DenyWith::Drop },
                ..Settings::default()
            },
            ..Policy::default()
        },
    )
}

fn segment(((isolated, gateway), at): ((bool, bool), u32)) -> Segment {
    let subnets = [format!("10.0.{at}.0/24"), format!("fd00:{at}::/64")];
    let gateways = [format!("10.0.{at}.254"), format!("fd00:{at}::fe")];
    Segment {
        name: format!("segment{at}").into(),
        vlan: None,
        subnets: subnets.iter().map(|text| text.parse().expect("a prefix")).collect(),
        gateways: gateways.iter().filter(|_| gateway).map(|text| text.parse().expect("an address")).collect(),
        dns: Vec::new(),
        isolated,
        audit: false,
        labels: Labels::new(),
        mtu: Segment::DEFAULT_MTU,
        span: Span::default(),
    }
}

/// Label values by key, segment, how many addresses, promiscuous, open gates, audit.
type WorkloadDraft = (Vec<Option<usize>>, u32, usize, bool, (bool, bool), bool);

fn workload() -> impl Strategy<Value = WorkloadDraft> {
    (
        vec(option::of(0..VALUES.len()), KEYS.len()),
        0..SEGMENTS,
        0..4_usize,
        prop::bool::weighted(0.2),
        (prop::bool::weighted(0.2), prop::bool::weighted(0.2)),
        prop::bool::weighted(0.2),
    )
}

fn placed((values, segment, addresses, promiscuous, open, audit): WorkloadDraft, at: u32) -> Workload {
    let name: Arc<str> = format!("workload{at}").into();
    let own = KEYS.iter().zip(values).filter_map(|(key, value)| Some((*key, VALUES[value?])));
    let mut labels: Labels = own.map(|(key, value)| (key.into(), value.into())).collect();
    labels.insert("name".into(), Arc::clone(&name));
    labels.insert("segment".into(), format!("segment{segment}").into());
    let all = [
        format!("10.0.{segment}.{}", at + 4),
        format!("fd00:{segment}::{}", at + 4),
        format!("10.0.{segment}.{}", at + 128),
    ];
    Workload {
        name,
        segment: SegmentId(segment),
        mac: (addresses > 0).then(|| format!("02:00:00:00:00:{at:02x}").parse().expect("a MAC")),
        addresses: all.iter().take(addresses).map(|text| text.parse().expect("an address")).collect(),
        labels,
        promiscuous,
        open: OpenGates { egress: open.0, ingress: open.1 },
        audit,
        port: None,
        limits: Limits::default(),
        span: Span::default(),
    }
}

fn prefix() -> impl Strategy<Value = Prefix> {
    prop::sample::select(&PREFIXES[..]).prop_map(|text| text.parse().expect("a prefix"))
}

/// Any rule; its name is given by its place.
pub(crate) fn rule() -> impl Strategy<Value = Rule> {
    let order = (
        prop_oneof![1 => Just(Tier::Admin), 4 => Just(Tier::App), 1 => Just(Tier::Baseline)],
        prop_oneof![1 => Just(0), 1 => Just(10), 4 => Just(Rule::DEFAULT_PRIORITY), 1 => Just(u32::MAX)],
        prop_oneof![3 => Just(Action::Allow), 2 => Just(Action::Deny), 1 => Just(Action::Pass)],
    );
    let sides = prop_oneof![4 => Just(None), 1 => Just(Some(Gate::Egress)), 1 => Just(Some(Gate::Ingress))];
    let expires = prop_oneof![
        6 => Just(None),
        1 => Just(Some("2026-06-14")),
        1 => Just(Some("2026-06-15")),
        1 => Just(Some("2027-01-01")),
    ];
    let log =
        prop_oneof![Just(LogMode::None), Just(LogMode::New), Just(LogMode::All), Just(LogMode::Sample(100))];
    let deny_with = option::of(prop_oneof![Just(DenyWith::Drop), Just(DenyWith::Reject)]);
    let except = (selector(), selector(), services()).prop_map(|(from, to, services)| Except {
        from,
        to,
        services,
        span: Span::default(),
    });
    let matches = (selector(), selector(), services(), vec(except, 0..3));
    let notes = (expires, prop::bool::weighted(0.2), log, deny_with);
    (order, sides, matches, notes).prop_map(
        |((tier, priority, action), side, (from, to, services, except), (expires, audit, log, deny_with))| {
            Rule {
                name: "".into(),
                tier,
                priority,
                action,
                side,
                from,
                to,
                services,
                except,
                expires: expires.map(|day| day.parse().expect("a date")),
                audit,
                log,
                deny_with,
                owner: None,
                why: None,
                ticket: None,
                span: Span::default(),
            }
        },
    )
}

/// Any selector.
pub(crate) fn selector() -> impl Strategy<Value = Selector> {
    let values = || vec(prop::sample::select(&VALUES[..]).prop_map(Arc::from), 1..3);
    let operator = prop_oneof![
        3 => values().prop_map(Operator::In),
        1 => values().prop_map(Operator::NotIn),
        1 => Just(Operator::Exists),
        1 => Just(Operator::DoesNotExist),
    ];
    let requirement = (prop::sample::select(&KEYS[..]), operator)
        .prop_map(|(key, operator)| Requirement { key: key.into(), operator });
    let named = (0..8_u32).prop_map(|at| Requirement {
        key: "name".into(),
        operator: Operator::In(vec![format!("workload{at}").into()]),
    });
    let expression = prop_oneof![4 => vec(requirement, 0..3), 1 => named.prop_map(|named| vec![named])];
    let alternative = prop_oneof![
        2 => Just(Alternative::Any),
        1 => Just(Alternative::World),
        3 => (0..NETWORKS).prop_map(|network| Alternative::Network(NetworkId(network))),
        5 => expression.prop_map(|requirements| Alternative::Labels(LabelExpression { requirements })),
    ];
    vec(alternative, 1..3).prop_map(|alternatives| Selector { alternatives })
}

/// Any list of services.
pub(crate) fn services() -> impl Strategy<Value = Vec<Service>> {
    let range = || {
        prop_oneof![
            3 => Just(PortRange::ALL),
            3 => (79..83_u16).prop_map(PortRange::single),
            1 => (78..82_u16, 0..4_u16)
                .prop_map(|(first, more)| PortRange::new(first, first + more).expect("a range")),
            1 => Just(PortRange::new(1024, 65535).expect("a range")),
            1 => Just(PortRange::single(0)),
        ]
    };
    let protocol = prop::sample::select(&[Protocol::TCP, Protocol::UDP, Protocol::SCTP][..]);
    let service = prop_oneof![
        1 => Just(Service::ANY),
        5 => (protocol, range(), range()).prop_map(|(protocol, source, destination)| {
            Service { protocol: Some(protocol), source, destination }
        }),
        1 => Just(icmp(Protocol::ICMP, 8)),
        1 => Just(icmp(Protocol::ICMPV6, 128)),
        1 => Just(Service { protocol: Some(Protocol::GRE), ..Service::ANY }),
    ];
    vec(service, 1..3)
}

/// Every code of one ICMP type.
fn icmp(protocol: Protocol, icmp_type: u8) -> Service {
    let of_code = |code| u16::from_be_bytes([icmp_type, code]);
    let destination = PortRange::new(of_code(0), of_code(255)).expect("a range");
    Service { protocol: Some(protocol), destination, ..Service::ANY }
}

/// Everyone that a policy could tell apart: workloads at each of their addresses, at none and at the unspecified
/// ones, gateways, what is not described, and addresses of the world at every edge of every network.
pub(crate) fn parties(policy: &Policy) -> Vec<Party> {
    let oracle = Oracle::new(policy, today());
    let mut addresses: BTreeSet<IpAddr> = BTreeSet::new();
    let networks = policy.networks.iter().flat_map(|network| network.include.iter().chain(&network.except));
    for prefix in networks.copied() {
        addresses.extend([prefix.network(), prefix.last()]);
        addresses.extend(beside(prefix.network(), false));
        addresses.extend(beside(prefix.last(), true));
    }
    addresses.extend(policy.workloads.iter().flat_map(Workload::all_addresses));
    addresses.extend(policy.segments.iter().flat_map(|segment| segment.gateways.iter().copied()));
    let mut parties: Vec<Party> = addresses.into_iter().map(|address| oracle.party(address)).collect();
    for endpoint in (0..policy.workloads.len() as u32).map(|at| Endpoint::Workload(WorkloadId(at))) {
        let unspecified = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()].map(Some);
        let all = [None, unspecified[0], unspecified[1]];
        parties.extend(all.map(|address| Party { endpoint, address }));
    }
    parties.push(Party { endpoint: Endpoint::Init, address: Some(IpAddr::from([10, 0, 1, 5])) });
    parties.push(Party { endpoint: Endpoint::World, address: None });
    parties
}

fn beside(address: IpAddr, above: bool) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => {
            let bits = address.to_bits();
            let next = if above { bits.checked_add(1) } else { bits.checked_sub(1) };
            next.map(|bits| Ipv4Addr::from_bits(bits).into())
        }
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            let next = if above { bits.checked_add(1) } else { bits.checked_sub(1) };
            next.map(|bits| Ipv6Addr::from_bits(bits).into())
        }
    }
}

/// A packet at and beside every edge of every service, for its protocol, and some that no rule names.
pub(crate) fn packets(policy: &Policy) -> Vec<Layer4> {
    let holes = policy.rules.iter().flat_map(|rule| &rule.except).flat_map(|except| &except.services);
    let services: Vec<Service> =
        policy.rules.iter().flat_map(|rule| &rule.services).chain(holes).copied().collect();
    let ends = |range: PortRange| {
        [range.first(), range.last(), range.first().wrapping_sub(1), range.last().wrapping_add(1)]
    };
    let mut packets = BTreeSet::from([
        Layer4::bare(Protocol(99)),
        Layer4::icmp(Protocol::ICMP, 0, 0),
        Layer4::ports(Protocol::TCP, 40_000, 443),
    ]);
    for service in services {
        let protocol = service.protocol.unwrap_or(Protocol::UDP);
        for source in ends(service.source) {
            for destination in ends(service.destination) {
                packets.insert(Layer4 { protocol, source, destination });
            }
        }
    }
    packets.into_iter().collect()
}
