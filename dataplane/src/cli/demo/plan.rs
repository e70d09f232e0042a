//! What the demo tries: each promise, and every pair of workloads with every promised service besides.
//!
//! The promises are `[[test]]`s that know workload names, protocols and ports, nothing of the policy's rules; they
//! are never computed from the policy under test. A [`Probe`] is one attempt by a real socket, over one family.
//! Reads no file and opens no socket. Cost: pairs times services times families.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use septum_rules::identity::WorkloadId;
use septum_rules::policy::Policy;
use septum_rules::proto::{Layer4, Protocol, Service};
use septum_rules::test_case::{Check, TestCase, TestParty};

/// What a socket can try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Attempt {
    /// Connect, send, hear the echo.
    Tcp(u16),
    /// Send, hear the echo.
    Udp(u16),
    /// An echo request of the family's ICMP.
    Ping,
}

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Family {
    V4,
    V6,
}

/// One attempt of one workload to reach another.
#[derive(Clone, Debug)]
pub(super) struct Probe {
    pub(super) from: WorkloadId,
    pub(super) to: WorkloadId,
    /// The address that `from` uses.
    pub(super) source: IpAddr,
    /// The address that is tried.
    pub(super) destination: IpAddr,
    pub(super) attempt: Attempt,
    /// What was promised, where something was.
    pub(super) promised: Option<Promised>,
}

/// What one promise says about one probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Promised {
    /// Index into [`Plan::promises`].
    pub(super) promise: usize,
    /// It must come through; else it must not.
    pub(super) open: bool,
}

/// All that is to be tried.
#[derive(Debug)]
pub(super) struct Plan {
    /// What each promise says, in its author's words.
    pub(super) promises: Vec<Arc<str>>,
    /// In the order of sources, then destinations, then services, then families.
    pub(super) probes: Vec<Probe>,
    /// What servers must listen for.
    pub(super) attempts: Vec<Attempt>,
}

impl Plan {
    /// Every ordered pair of the policy's workloads, every service that a promise names, both families.
    pub(super) fn new(policy: &Policy, promises: &[TestCase]) -> Self {
        let reaches: Vec<Reach<'_>> =
            promises.iter().enumerate().filter_map(|(at, case)| Reach::of(at, case)).collect();
        let mut attempts: Vec<Attempt> =
            reaches.iter().flat_map(Reach::services).filter_map(Attempt::of).collect();
        attempts.sort_unstable();
        attempts.dedup();

        let ids = || (0..policy.workloads.len() as u32).map(WorkloadId);
        let mut probes = Vec::new();
        for (from, to) in ids().flat_map(|from| ids().map(move |to| (from, to))).filter(|(a, b)| a != b) {
            for attempt in &attempts {
                for family in Family::BOTH {
                    let address = |id: WorkloadId| family.address(&policy.workloads[id.index()].addresses);
                    let (Some(source), Some(destination)) = (address(from), address(to)) else { continue };
                    let layer4 = attempt.layer4(family);
                    let promised = reaches.iter().find_map(|reach| reach.says(from, to, layer4));
                    probes.push(Probe { from, to, source, destination, attempt: *attempt, promised });
                }
            }
        }
        Self { promises: promises.iter().map(|case| Arc::clone(&case.name)).collect(), probes, attempts }
    }
}

/// A promise about who reaches whom.
struct Reach<'p> {
    promise: usize,
    from: &'p [TestParty],
    to: &'p [TestParty],
    allow: &'p [Service],
    deny: &'p [Service],
}

impl<'p> Reach<'p> {
    fn of(promise: usize, case: &'p TestCase) -> Option<Self> {
        match &case.check {
            Check::Reach { from, to, allow, deny, .. } => Some(Self { promise, from, to, allow, deny }),
            Check::Packet(_) => None,
        }
    }

    fn services(&self) -> impl Iterator<Item = &'p Service> + use<'p> {
        self.allow.iter().chain(self.deny)
    }

    fn says(&self, from: WorkloadId, to: WorkloadId, layer4: Layer4) -> Option<Promised> {
        let named = |parties: &[TestParty], id| parties.contains(&TestParty::Workload(id));
        if !named(self.from, from) || !named(self.to, to) {
            return None;
        }
        let holds = |services: &[Service]| services.iter().any(|service| service.matches(layer4));
        // Where a careless promise lists a service twice, the stricter word counts.
        let open = if holds(self.deny) {
            false
        } else if holds(self.allow) {
            true
        } else {
            return None;
        };
        Some(Promised { promise: self.promise, open })
    }
}

impl Attempt {
    /// What a socket can try of a service; `None` for protocols that need more than a socket.
    fn of(service: &Service) -> Option<Self> {
        let port = service.destination.first();
        match service.protocol? {
            Protocol::TCP => Some(Self::Tcp(port)),
            Protocol::UDP => Some(Self::Udp(port)),
            Protocol::ICMP | Protocol::ICMPV6 => Some(Self::Ping),
            _ => None,
        }
    }

    /// As a gate sees it. The source port is the kernel's choice, so it is left at zero.
    pub(super) fn layer4(self, family: Family) -> Layer4 {
        match (self, family) {
            (Self::Tcp(port), _) => Layer4::ports(Protocol::TCP, 0, port),
            (Self::Udp(port), _) => Layer4::ports(Protocol::UDP, 0, port),
            (Self::Ping, Family::V4) => Layer4::icmp(Protocol::ICMP, 8, 0),
            (Self::Ping, Family::V6) => Layer4::icmp(Protocol::ICMPV6, 128, 0),
        }
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(port) => write!(f, "tcp/{port}"),
            Self::Udp(port) => write!(f, "udp/{port}"),
            Self::Ping => f.write_str("ping"),
        }
    }
}

impl Family {
    pub(super) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub(super) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The first address of this family.
    pub(super) fn address(self, addresses: &[IpAddr]) -> Option<IpAddr> {
        addresses.iter().copied().find(|address| Self::of(*address) == self)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

impl Probe {
    pub(super) fn family(&self) -> Family {
        Family::of(self.destination)
    }

    /// As a gate sees it.
    pub(super) fn layer4(&self) -> Layer4 {
        self.attempt.layer4(self.family())
    }

    /// Whether what happened is other than what was promised.
    pub(super) fn breaks_promise(&self, came_through: bool) -> bool {
        self.promised.is_some_and(|promised| promised.open != came_through)
    }
}
