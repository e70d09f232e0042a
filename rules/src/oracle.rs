//! The reference evaluator: what a policy means, with no cleverness.
//!
//! Everything that is fast is proved equal to this module, so it is written from the semantics sentence by
//! sentence and asks every rule every time. It owns no state but the order of the rules and who has which
//! address; it never judges a packet in the data path.
//!
//! Cost: [`Oracle::new`] sorts the rules; [`Oracle::decide`] is linear in the rules, their selectors and their
//! services, twice (once for each gate).
//!
//! Where the semantics leave a choice, it is made here and nowhere else:
//! - A declared address belongs to its workload, else to the gateway that has it, else to the workload whose
//!   MAC makes it (link-local); everything else is world.
//! - Where one end is not described, neither gate is asked: both say [`Decider::Undescribed`].
//! - Two ends in one isolated segment are kept apart even if they are the same workload: gates read
//!   identities, and a switch never sends a frame back where it came from.

mod nearest_miss;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::IpAddr;

pub use self::nearest_miss::{MissedField, NearestMiss};
use crate::date::Date;
use crate::endpoint::{Endpoint, Party};
use crate::identity::{RuleId, SegmentId, WorkloadId};
use crate::policy::Policy;
use crate::proto::Layer4;
use crate::rule::{Action, Except, Rule, Tier};
use crate::selector::{Alternative, Selector};
use crate::verdict::{Decider, Decision, Gate, GateDecision, Refusal, Verdict};
use crate::workload::Workload;

/// Evaluates one policy on one day.
#[derive(Clone, Debug)]
pub struct Oracle<'p> {
    policy: &'p Policy,
    now: Date,
    order: Vec<RuleId>,
    endpoints: HashMap<IpAddr, Endpoint>,
}

impl<'p> Oracle<'p> {
    /// The meaning of `policy` on the day `now` (UTC).
    pub fn new(policy: &'p Policy, now: Date) -> Self {
        Self { policy, now, order: policy.evaluation_order(), endpoints: endpoints(policy) }
    }

    /// The policy that is evaluated.
    pub fn policy(&self) -> &'p Policy {
        self.policy
    }

    /// The day for which it is evaluated.
    pub fn now(&self) -> Date {
        self.now
    }

    /// Who has this address.
    pub fn party(&self, address: IpAddr) -> Party {
        let endpoint = self.endpoints.get(&address).copied().unwrap_or(Endpoint::World);
        Party { endpoint, address: Some(address) }
    }

    /// What becomes of the packet that opens this flow.
    ///
    /// # Panics
    /// When a party holds an index that is not the policy's.
    pub fn decide(&self, source: Party, destination: Party, layer4: Layer4) -> Decision {
        let egress = self.gate(Gate::Egress, source, destination, layer4);
        let ingress = self.gate(Gate::Ingress, source, destination, layer4);
        let decision = Decision::of_gates(egress, ingress);
        if source.endpoint == Endpoint::Init || destination.endpoint == Endpoint::Init {
            return Decision { verdict: Verdict::Deny(Refusal::Undescribed), ..decision };
        }
        if self.isolated(source, destination) {
            return Decision { verdict: Verdict::Deny(Refusal::Isolation), ..decision };
        }
        decision
    }

    /// What one gate, on its own, says of this flow.
    ///
    /// # Panics
    /// When a party holds an index that is not the policy's.
    pub fn gate(&self, gate: Gate, source: Party, destination: Party, layer4: Layer4) -> GateDecision {
        if source.endpoint == Endpoint::Init || destination.endpoint == Endpoint::Init {
            return GateDecision {
                admits: false,
                decider: Decider::Undescribed,
                audited: false,
                audited_rules: Vec::new(),
            };
        }
        let Some(workload) = self.gate_owner(gate, source, destination) else {
            return GateDecision::no_gate();
        };
        let mut audited_rules = Vec::new();
        for tier in Tier::ALL {
            for id in &self.order {
                let rule = &self.policy.rules[id.index()];
                if rule.tier != tier || !self.rule_matches(rule, gate, source, destination, layer4) {
                    continue;
                }
                if rule.audit {
                    audited_rules.push(*id);
                    continue;
                }
                let admits = match rule.action {
                    Action::Pass => break,
                    Action::Allow => true,
                    Action::Deny => false,
                };
                return GateDecision {
                    admits,
                    decider: Decider::Rule(*id),
                    audited: workload.audit,
                    audited_rules,
                };
            }
        }
        GateDecision {
            admits: self.admits_by_default(gate, workload),
            decider: Decider::Default,
            audited: workload.audit,
            audited_rules,
        }
    }

    /// The workload whose gate this is; `None` where that end is no workload.
    fn gate_owner(&self, gate: Gate, source: Party, destination: Party) -> Option<&'p Workload> {
        let owner = match gate {
            Gate::Egress => source,
            Gate::Ingress => destination,
        };
        self.workload(owner)
    }

    fn workload(&self, party: Party) -> Option<&'p Workload> {
        match party.endpoint {
            Endpoint::Workload(id) => Some(&self.policy.workloads[id.index()]),
            Endpoint::Gateway(_) | Endpoint::World | Endpoint::Init => None,
        }
    }

    fn admits_by_default(&self, gate: Gate, workload: &Workload) -> bool {
        let open = match gate {
            Gate::Egress => workload.open.egress,
            Gate::Ingress => workload.open.ingress,
        };
        open || self.policy.settings.default_allow
    }

    /// A private VLAN: members do not reach each other, unless one of the two is promiscuous.
    fn isolated(&self, source: Party, destination: Party) -> bool {
        let (Some(source), Some(destination)) = (self.workload(source), self.workload(destination)) else {
            return false;
        };
        source.segment == destination.segment
            && self.policy.segments[source.segment.index()].isolated
            && !source.promiscuous
            && !destination.promiscuous
    }

    fn rule_matches(
        &self,
        rule: &Rule,
        gate: Gate,
        source: Party,
        destination: Party,
        layer4: Layer4,
    ) -> bool {
        rule.stands_at(gate)
            && !rule.is_expired(self.now)
            && self.selector_matches(&rule.from, source)
            && self.selector_matches(&rule.to, destination)
            && rule.serves(layer4)
            && !rule.except.iter().any(|except| self.except_matches(except, source, destination, layer4))
    }

    fn except_matches(&self, except: &Except, source: Party, destination: Party, layer4: Layer4) -> bool {
        self.selector_matches(&except.from, source)
            && self.selector_matches(&except.to, destination)
            && except.services.iter().any(|service| service.matches(layer4))
    }

    /// Whether the selector means this end of the flow.
    ///
    /// # Panics
    /// When the party or the selector holds an index that is not the policy's.
    pub fn selector_matches(&self, selector: &Selector, party: Party) -> bool {
        selector.alternatives.iter().any(|alternative| match alternative {
            Alternative::Any => true,
            Alternative::World => party.endpoint == Endpoint::World,
            Alternative::Network(network) => {
                let network = &self.policy.networks[network.index()];
                party.address.is_some_and(|address| network.contains(address))
            }
            Alternative::Labels(expression) => {
                self.workload(party).is_some_and(|workload| expression.matches(&workload.labels))
            }
        })
    }
}

/// Who has which address; see the module's page for the order in which claims count.
fn endpoints(policy: &Policy) -> HashMap<IpAddr, Endpoint> {
    let workloads =
        || policy.workloads.iter().enumerate().map(|(at, workload)| (WorkloadId(at as u32), workload));
    let mut endpoints = HashMap::new();
    for (id, workload) in workloads() {
        for address in &workload.addresses {
            endpoints.entry(*address).or_insert(Endpoint::Workload(id));
        }
    }
    for (at, segment) in policy.segments.iter().enumerate() {
        for address in &segment.gateways {
            endpoints.entry(*address).or_insert(Endpoint::Gateway(SegmentId(at as u32)));
        }
    }
    for (id, workload) in workloads() {
        for address in workload.all_addresses() {
            endpoints.entry(address).or_insert(Endpoint::Workload(id));
        }
    }
    endpoints
}
