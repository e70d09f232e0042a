//! The simulated network: who is there, under which policies, and what the reference evaluator says of a flow.
//!
//! Knows the policies' sources and the evaluator, and nothing of the compiled object.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::LazyLock;

use septum::directory::{gateway_mac, uplink_port};
use septum::snapshot::CompiledPolicy;
use septum_rules::conntrack::TcpTracking;
use septum_rules::date::Date;
use septum_rules::load::load_text;
use septum_rules::mac::MacAddress;
use septum_rules::oracle::Oracle;
use septum_rules::policy::{Established, Network, Policy, Uplink};
use septum_rules::proto::Layer4;
use septum_rules::workload::Limits;

/// The policy that the others are variants of.
pub(crate) const BASE: &str = include_str!("policy.toml");

/// The day on which everything happens, and its noon in milliseconds since 1970.
pub(crate) const TODAY: &str = "2026-06-15";

/// A workload as its neighbours know it; or what lives behind an uplink, for which one router speaks.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// Of the port.
    pub(crate) name: String,
    pub(crate) mac: MacAddress,
    /// As declared, then the link-local address of its MAC; behind an uplink, some that speak.
    pub(crate) addresses: Vec<IpAddr>,
    /// Behind an uplink: all that live there.
    pub(crate) network: Option<Network>,
    pub(crate) segment: usize,
    pub(crate) mtu: usize,
    pub(crate) promiscuous: bool,
    pub(crate) limits: Limits,
    /// Behind a trunk: the id of its frames there.
    pub(crate) id: Option<u16>,
}

impl Host {
    pub(crate) fn address(&self, ipv4: bool) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|address| address.is_ipv4() == ipv4)
    }

    /// Whether an address is its own.
    pub(crate) fn has(&self, address: IpAddr) -> bool {
        let is_the_switch = || atlas().segments[self.segment].gateways.contains(&address);
        let lives_there = |network: &Network| network.contains(address) && !is_the_switch();
        self.addresses.contains(&address) || self.network.as_ref().is_some_and(lives_there)
    }

    /// Whether it may send from a MAC: who lives behind an uplink has any but those of groups and of the switch.
    pub(crate) fn has_mac(&self, mac: MacAddress) -> bool {
        match self.network {
            Some(_) => !mac.is_group() && mac != atlas().segments[self.segment].gateway_mac,
            None => mac == self.mac,
        }
    }
}

/// A segment as its members know it. The link of an uplink is one too: of its router alone, and the switch.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) gateway_mac: MacAddress,
    pub(crate) gateways: Vec<IpAddr>,
    pub(crate) broadcast: Option<IpAddr>,
    pub(crate) isolated: bool,
}

/// A policy of the simulation.
pub(crate) struct Rules {
    pub(crate) name: &'static str,
    pub(crate) compiled: CompiledPolicy,
    oracle: Oracle<'static>,
    pub(crate) keeps: bool,
    /// Segments outside their windows are refused.
    pub(crate) is_strict: bool,
    /// Connections that a workload may have, and how many of them half-open.
    pub(crate) shares: [usize; 2],
}

/// What all seeds share.
pub(crate) struct Atlas {
    pub(crate) hosts: Vec<Host>,
    pub(crate) segments: Vec<Segment>,
    pub(crate) rules: Vec<Rules>,
}

/// (name, [(text, its replacement)]): the policies between which a run changes.
const VARIANTS: [(&str, &[(&str, &str)]); 8] = [
    ("base", &[]),
    (
        "web cut off, no ping",
        &[("allow = [\"tcp/8080\"]\n", "deny = [\"any\"]\n"), ("allow = [\"ping\"]", "deny = [\"ping\"]")],
    ),
    (
        "vault and payments closed",
        &[("\"tcp/8443\", ", ""), ("allow = [\"tcp/9000\", \"udp/9000\"]", "deny = [\"any\"]")],
    ),
    ("no fragments", &[("fragments = \"track\"", "fragments = \"drop\"")]),
    (
        "connections kept, shell and syslog closed",
        &[
            ("established = \"recheck\"", "established = \"keep\""),
            ("allow = [\"tcp/22\"]", "deny = [\"tcp/22\"]"),
            ("allow = [\"udp/514\"]", "deny = [\"udp/514\"]"),
        ],
    ),
    ("refusals are told", &[("deny_with = \"drop\"", "deny_with = \"reject\"")]),
    ("ends today", &[("allow = [\"tcp/22\"]\n", "allow = [\"tcp/22\"]\nexpires = \"2026-06-15\"\n")]),
    (
        "strict windows, small shares",
        &[
            ("tcp = \"loose\"", "tcp = \"strict\""),
            ("connections_per_workload = 131072", "connections_per_workload = 40"),
            ("half_open_per_workload = 4096", "half_open_per_workload = 20"),
            ("fragments_per_workload = 512", "fragments_per_workload = 4"),
        ],
    ),
];

/// The base policy.
pub(crate) const PLAIN: usize = 0;
/// The variant that refuses fragments.
pub(crate) const NO_FRAGMENTS: usize = 3;
/// The variant that is stale once its day is over.
pub(crate) const ENDING: usize = 6;
/// The variant that is strict about windows, and leaves each workload few connections and fragments.
pub(crate) const STRICT: usize = 7;

static ATLAS: LazyLock<Atlas> = LazyLock::new(|| {
    let rules: Vec<_> = VARIANTS.iter().map(|(name, changes)| Rules::new(name, changes)).collect();
    let policy = &rules[PLAIN].compiled.policy;
    Atlas { hosts: hosts(policy), segments: segments(policy), rules }
});

/// What all seeds share.
pub(crate) fn atlas() -> &'static Atlas {
    &ATLAS
}

impl Rules {
    fn new(name: &'static str, changes: &[(&str, &str)]) -> Self {
        let mut text = BASE.to_owned();
        for (from, to) in changes {
            assert!(text.contains(from), "{name}: the policy has no {from:?}");
            text = text.replace(from, to);
        }
        let loaded = load_text("simulation.toml", &text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let today: Date = TODAY.parse().expect("a date");
        let compiled = CompiledPolicy::compile(loaded.policy.into(), today).expect("a small policy");
        // Lives as long as the process; the evaluator borrows it.
        let policy: &'static Policy = Box::leak(Box::new((*compiled.policy).clone()));
        let keeps = policy.settings.established == Established::Keep;
        let conntrack = &policy.settings.conntrack;
        let is_strict = conntrack.tcp == TcpTracking::Strict;
        let shares = [conntrack.connections_per_workload, conntrack.half_open_per_workload];
        let shares = shares.map(|share| share as usize);
        Self { name, compiled, oracle: Oracle::new(policy, today), keeps, is_strict, shares }
    }

    /// Whether the reference evaluator admits the packet that opens this flow.
    fn admits(&self, source: IpAddr, destination: IpAddr, layer4: Layer4) -> bool {
        let (from, to) = (self.oracle.party(source), self.oracle.party(destination));
        self.oracle.decide(from, to, layer4).verdict.is_allow()
    }
}

fn hosts(policy: &Policy) -> Vec<Host> {
    let host = |workload: &septum_rules::workload::Workload| Host {
        name: workload.name.to_string(),
        mac: workload.mac.expect("every workload of the simulation has a MAC"),
        addresses: workload.all_addresses().collect(),
        network: None,
        segment: workload.segment.index(),
        mtu: usize::from(policy.segments[workload.segment.index()].mtu),
        promiscuous: workload.promiscuous,
        limits: workload.limits,
        id: workload.port.as_ref().and_then(|port| port.trunk),
    };
    let outside = policy.uplinks.iter().zip(policy.segments.len()..).map(|(uplink, segment)| Host {
        name: uplink_port(&uplink.name).to_string(),
        mac: uplink.neighbours[0].1,
        addresses: OUTSIDE.map(|address| address.parse().expect("an address")).into(),
        network: Some(policy.networks[uplink.networks[0].index()].clone()),
        segment,
        mtu: usize::from(uplink.mtu),
        promiscuous: false,
        limits: Limits::default(),
        id: None,
    });
    policy.workloads.iter().map(host).chain(outside).collect()
}

/// Some who live behind the uplink.
const OUTSIDE: [&str; 4] = ["10.99.1.1", "10.99.2.2", "fd00:99:1::1", "fd00:99:2::2"];

fn segments(policy: &Policy) -> Vec<Segment> {
    let segment = |segment: &septum_rules::segment::Segment| Segment {
        gateway_mac: gateway_mac(&segment.name),
        gateways: segment.gateways.clone(),
        broadcast: segment.subnets.iter().map(|subnet| subnet.last()).find(IpAddr::is_ipv4),
        isolated: segment.isolated,
    };
    let link = |uplink: &Uplink| Segment {
        gateway_mac: gateway_mac(&uplink_port(&uplink.name)),
        gateways: uplink.addresses.iter().map(|(address, _)| *address).collect(),
        broadcast: None,
        isolated: false,
    };
    policy.segments.iter().map(segment).chain(policy.uplinks.iter().map(link)).collect()
}

/// (policy, source, destination, layer 4): a question to the evaluator.
type Question = (usize, IpAddr, IpAddr, Layer4);

thread_local! {
    /// The evaluator's answers: it is linear in the rules, and asked about every delivery.
    static ANSWERS: RefCell<HashMap<Question, bool>> = RefCell::default();
}

impl Atlas {
    /// Whether the reference evaluator admits the packet that opens this flow under a policy.
    pub(crate) fn admits(&self, rules: usize, source: IpAddr, destination: IpAddr, layer4: Layer4) -> bool {
        ANSWERS.with_borrow_mut(|answers| {
            if answers.len() > 200_000 {
                answers.clear();
            }
            *answers
                .entry((rules, source, destination, layer4))
                .or_insert_with(|| self.rules[rules].admits(source, destination, layer4))
        })
    }

    pub(crate) fn segment_of(&self, host: usize) -> &Segment {
        &self.segments[self.hosts[host].segment]
    }

    /// Whose an address is.
    pub(crate) fn owner(&self, address: IpAddr) -> Option<usize> {
        self.hosts.iter().position(|host| host.has(address))
    }

    pub(crate) fn host_named(&self, name: &str) -> usize {
        self.hosts.iter().position(|host| host.name == name).unwrap_or_else(|| panic!("no host {name}"))
    }

    /// The MAC to which `from` sends what is for `to`.
    pub(crate) fn next_hop(&self, from: usize, to: usize) -> MacAddress {
        match self.hosts[from].segment == self.hosts[to].segment {
            true => self.hosts[to].mac,
            false => self.segment_of(from).gateway_mac,
        }
    }

    /// Whether there is a way between two hosts in a family.
    pub(crate) fn has_way(&self, from: usize, to: usize, ipv4: bool) -> bool {
        let routes =
            |host: usize| self.segment_of(host).gateways.iter().any(|gateway| gateway.is_ipv4() == ipv4);
        let families = [from, to].iter().all(|host| self.hosts[*host].address(ipv4).is_some());
        let one_segment = self.hosts[from].segment == self.hosts[to].segment;
        from != to && families && (one_segment || (routes(from) && routes(to)))
    }
}
