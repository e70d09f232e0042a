//! What the demo found out, before anyone puts it into words.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use septum_rules::date::Date;
use septum_rules::endpoint::{Endpoint, Party};
use septum_rules::identity::WorkloadId;
use septum_rules::oracle::{MissedField, Oracle};
use septum_rules::policy::Policy;
use septum_rules::verdict::{Decision, Refusal, Verdict};

use super::actors::{Outcome, Transfer};
use super::attacks::{Fate, Forgery};
use super::plan::{Plan, Probe};
use super::why::Why;
use crate::counters::PortCounters;
use crate::port::Device;

/// Everything, in the order in which it was found out.
#[derive(Debug)]
pub(super) struct Findings {
    /// The policy under test.
    pub(super) policy: Arc<Policy>,
    /// What was to be tried.
    pub(super) plan: Plan,
    /// What joined the workloads.
    pub(super) devices: Device,
    /// What became of each of the plan's probes.
    pub(super) outcomes: Vec<Outcome>,
    /// What the switch said of each that it refused.
    pub(super) whys: Vec<Option<Why>>,
    /// The liar's frames.
    pub(super) lies: Vec<Lie>,
    /// Transfers, one a family.
    pub(super) transfers: Vec<Carried>,
    /// The counters of each port at rest.
    pub(super) ports: Vec<(Arc<str>, PortCounters)>,
    /// From start to end.
    pub(super) took: Duration,
    /// The day for which rules were judged.
    pub(super) today: Date,
}

/// A forgery and what became of it.
#[derive(Clone, Debug)]
pub(super) struct Lie {
    pub(super) forgery: Forgery,
    /// Where it came out.
    pub(super) seen_at: Vec<WorkloadId>,
    /// The expected reason's count at the liar's port rose.
    pub(super) counted: bool,
}

impl Lie {
    /// Whether it went as it must.
    pub(super) fn is_as_expected(&self) -> bool {
        match self.forgery.expected {
            Fate::Delivered(to) => self.seen_at == [to],
            Fate::Dropped(_) => self.seen_at.is_empty() && self.counted,
        }
    }
}

/// A transfer between two workloads.
#[derive(Clone, Debug)]
pub(super) struct Carried {
    pub(super) from: WorkloadId,
    pub(super) to: WorkloadId,
    pub(super) destination: IpAddr,
    pub(super) port: u16,
    /// What it brought over, or why it broke.
    pub(super) result: Result<Transfer, String>,
}

impl Findings {
    /// The probes with what became of each.
    pub(super) fn probes(&self) -> impl Iterator<Item = (usize, &Probe, Outcome)> {
        self.plan
            .probes
            .iter()
            .zip(&self.outcomes)
            .enumerate()
            .map(|(at, (probe, outcome))| (at, probe, *outcome))
    }

    /// Those that went otherwise than promised.
    pub(super) fn broken(&self) -> impl Iterator<Item = (usize, &Probe, Outcome)> {
        self.probes().filter(|(_, probe, outcome)| probe.breaks_promise(outcome.came_through()))
    }

    /// All ports together.
    pub(super) fn total(&self) -> PortCounters {
        let mut total = PortCounters::default();
        for (_, counters) in &self.ports {
            total += counters;
        }
        total
    }

    /// Whether every frame has one end, at each port.
    pub(super) fn is_balanced(&self) -> bool {
        self.ports.iter().all(|(_, counters)| counters.imbalance().is_none())
    }

    /// Whether all is as it must be.
    pub(super) fn is_all_well(&self) -> bool {
        self.broken().next().is_none()
            && self.lies.iter().all(Lie::is_as_expected)
            && self.transfers.iter().all(|carried| carried.result.is_ok())
            && self.is_balanced()
    }

    /// The name of a workload.
    pub(super) fn name(&self, id: WorkloadId) -> &str {
        &self.policy.workloads[id.index()].name
    }

    /// What the switch said of a refused probe.
    pub(super) fn why(&self, at: usize) -> Option<Why> {
        let logged = self.whys[at].clone();
        logged.or_else(|| {
            let isolated = self.decision(&self.plan.probes[at]).verdict == Verdict::Deny(Refusal::Isolation);
            isolated.then(Why::isolation)
        })
    }

    /// What the policy, by its definition, says of a probe. Only ever to explain what happened, never to judge it.
    fn decision(&self, probe: &Probe) -> Decision {
        let (from, to) = parties(probe);
        Oracle::new(&self.policy, self.today).decide(from, to, probe.layer4())
    }

    /// For a refused probe: the rule that came nearest to admitting it, and the fields that missed.
    pub(super) fn nearest_rule(&self, probe: &Probe) -> Option<String> {
        let (from, to) = parties(probe);
        let nearest = Oracle::new(&self.policy, self.today).nearest_miss(from, to, probe.layer4())?;
        let missed: Vec<String> = nearest
            .missed
            .iter()
            .map(|field| match field {
                MissedField::Overruled(by) => {
                    format!("overruled by `{}`", self.policy.rules[by.index()].name)
                }
                field => format!("`{field}`"),
            })
            .collect();
        let rule = &self.policy.rules[nearest.rule.index()].name;
        Some(format!("nearest: rule `{rule}`, but for {}", missed.join(" and ")))
    }

    /// The rules that let a probe in that was promised to be refused, with their places.
    pub(super) fn admitting_rules(&self, probe: &Probe) -> Vec<String> {
        let decision = self.decision(probe);
        let mut rules: Vec<_> =
            [decision.egress.rule(), decision.ingress.rule()].into_iter().flatten().collect();
        rules.dedup();
        rules
            .into_iter()
            .map(|rule| {
                format!("rule `{}` ({})", self.policy.rules[rule.index()].name, self.policy.rule_place(rule))
            })
            .collect()
    }
}

/// Both ends, as the evaluator names them.
fn parties(probe: &Probe) -> (Party, Party) {
    let party = |id, address| Party { endpoint: Endpoint::Workload(id), address: Some(address) };
    (party(probe.from, probe.source), party(probe.to, probe.destination))
}

/// What to call a kind of device.
pub(super) fn device_name(device: Device) -> &'static str {
    match device {
        Device::Tap => "TAP devices",
        Device::Veth => "veth pairs",
        Device::Packet => "packet sockets",
        Device::Datagram => "datagram sockets",
        Device::Memory => "memory",
    }
}
