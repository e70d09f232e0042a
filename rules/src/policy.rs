//! A resolved policy: every name is an index, every default is filled in, every span is kept.
//!
//! `resolve` makes it from a document and guarantees what the types cannot: names are unique, addresses are
//! unique in the domain, MACs too, gateways and addresses lie in their segment's subnets, indices are in range.

use std::net::IpAddr;
use std::sync::Arc;

use crate::address::Prefix;
use crate::conntrack::ConntrackSettings;
use crate::diagnostic::Code;
use crate::identity::{NetworkId, RuleId, SegmentId, WorkloadId};
use crate::invariant::Invariant;
use crate::mac::MacAddress;
use crate::proto::Service;
use crate::rule::{DenyWith, Rule};
use crate::segment::Segment;
use crate::source::{Place, Sources, Span};
use crate::test_case::TestCase;
use crate::workload::Workload;

/// All that a set of policy files says.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Indexed by [`SegmentId`].
    pub segments: Vec<Segment>,
    /// Indexed by [`WorkloadId`].
    pub workloads: Vec<Workload>,
    /// Indexed by [`NetworkId`].
    pub networks: Vec<Network>,
    /// Named services: rules already hold what they stand for; files of tests may name them.
    pub services: Vec<NamedService>,
    /// Ports behind which many endpoints live.
    pub uplinks: Vec<Uplink>,
    /// Indexed by [`RuleId`], in file order.
    pub rules: Vec<Rule>,
    /// Checked by `check`, `test` and before every apply.
    pub tests: Vec<TestCase>,
    /// What must hold for every packet.
    pub invariants: Vec<Invariant>,
    /// Findings of the lint that are not to be reported.
    pub allows: Vec<Allow>,
    /// File-wide settings.
    pub settings: Settings,
    /// What it was read from.
    pub sources: Arc<Sources>,
}

/// A named set of addresses, `[cidr]`.
#[derive(Clone, Debug)]
pub struct Network {
    /// Its name, unique among networks.
    pub name: Arc<str>,
    /// Addresses in one of these are in it,
    pub include: Vec<Prefix>,
    /// unless they are in one of these.
    pub except: Vec<Prefix>,
    /// Where it is declared.
    pub span: Span,
}

impl Network {
    /// Whether `address` is a member.
    pub fn contains(&self, address: IpAddr) -> bool {
        let holds = |prefixes: &[Prefix]| prefixes.iter().any(|prefix| prefix.contains(address));
        holds(&self.include) && !holds(&self.except)
    }
}

/// A list of services under a name, `[service]`.
#[derive(Clone, Debug)]
pub struct NamedService {
    /// Its name, unique among services.
    pub name: Arc<str>,
    /// What it stands for, each once.
    pub services: Vec<Service>,
    /// Whether a rule, a test, an invariant or another service names it.
    pub used: bool,
    /// Where it is declared.
    pub span: Span,
}

/// A port behind which many endpoints live.
#[derive(Clone, Debug)]
pub struct Uplink {
    /// Its name, unique among uplinks.
    pub name: Arc<str>,
    /// The device's name.
    pub device: Arc<str>,
    /// Next hops, in order of preference; without one of a family, every address of it is a neighbour.
    pub gateways: Vec<IpAddr>,
    /// The networks that live behind it: whose addresses it may bring in, and to which it is the way.
    pub networks: Vec<NetworkId>,
    /// The switch's own addresses there, each with the prefix whose addresses are neighbours.
    pub addresses: Vec<(IpAddr, Prefix)>,
    /// The switch's MAC there; `None` is one made from the name.
    pub mac: Option<MacAddress>,
    /// Layer-3 MTU in bytes.
    pub mtu: u16,
    /// Neighbours that are not asked for their MAC.
    pub neighbours: Vec<(IpAddr, MacAddress)>,
    /// Where it is declared.
    pub span: Span,
}

/// An entry of `[lint]`: a finding that the policy's authors accept.
#[derive(Clone, Debug)]
pub struct Allow {
    /// The code of the finding.
    pub code: Code,
    /// Where the one thing that it may be about is declared; `None` is everything.
    pub about: Option<Span>,
    /// Why, in the authors' words.
    pub reason: Arc<str>,
    /// Where the entry stands.
    pub span: Span,
}

/// What holds for the whole policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `default = "allow"`: gates admit when no rule decides. `run` refuses it without `--allow-open`.
    pub default_allow: bool,
    /// `mode = "audit"` for every workload.
    pub audit: bool,
    /// What becomes of live connections after a change.
    pub established: Established,
    /// What refused senders hear.
    pub deny_with: DenyWith,
    /// Whether the compiled policy must be proved before it comes into force.
    pub proof: ProofMode,
    /// The host's side.
    pub switch: SwitchSettings,
    /// How connections are remembered.
    pub conntrack: ConntrackSettings,
}

/// What becomes of live connections after a policy change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Established {
    /// Each is judged again at its next packet; a refusal ends it.
    #[default]
    Recheck,
    /// Each lives until it ends by itself.
    Keep,
}

/// Whether the compiled policy must be proved equal to its source, for every packet, before it comes into force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProofMode {
    /// Yes: a proof that does not fit its budget refuses the policy.
    #[default]
    Required,
    /// As far as the budget reaches: what is left unproved is told, and the policy comes into force. A mismatch refuses
    /// it all the same.
    Budget,
}

/// `[switch]`: the host's side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SwitchSettings {
    /// Number of forwarding threads; `None` is one for each processor that the process may use.
    pub workers: Option<u16>,
    /// Whether fragments are followed or refused.
    pub fragments: Fragments,
}

/// What happens to IP fragments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fragments {
    /// Later fragments follow the first one's verdict.
    #[default]
    Track,
    /// Every fragment is refused.
    Drop,
}

impl Policy {
    /// The rule's place in its file.
    pub fn rule_place(&self, rule: RuleId) -> Place {
        self.sources.place(self.rules[rule.index()].span)
    }

    /// All rules in the order of evaluation (see [`Rule::evaluation_order`]). Cost: a sort.
    pub fn evaluation_order(&self) -> Vec<RuleId> {
        let mut order: Vec<RuleId> = (0..self.rules.len() as u32).map(RuleId).collect();
        order.sort_by(|a, b| self.rules[a.index()].evaluation_order(&self.rules[b.index()]));
        order
    }

    /// The segment of a workload.
    pub fn segment_of(&self, workload: WorkloadId) -> &Segment {
        &self.segments[self.workloads[workload.index()].segment.index()]
    }

    /// The workload of that name. Cost: linear.
    pub fn workload_named(&self, name: &str) -> Option<WorkloadId> {
        self.workloads.iter().position(|workload| &*workload.name == name).map(|at| WorkloadId(at as u32))
    }

    /// The segment whose subnet holds `address`. Cost: linear in segments.
    pub fn segment_containing(&self, address: IpAddr) -> Option<SegmentId> {
        self.segments
            .iter()
            .position(|segment| segment.subnet_of(address).is_some())
            .map(|at| SegmentId(at as u32))
    }
}
