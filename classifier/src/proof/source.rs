//! The policy's side of a proof: its rules in order, what each reads, and what two gates then say.

use septum_rules::date::Date;
use septum_rules::endpoint::{Endpoint, Party};
use septum_rules::identity::{RuleId, SegmentId};
use septum_rules::oracle::Oracle;
use septum_rules::policy::Policy;
use septum_rules::proto::Service;
use septum_rules::rule::{Action, Rule, Tier};
use septum_rules::selector::Selector;
use septum_rules::verdict::{Decider, Decision, Gate, GateDecision, Refusal, Verdict};

use super::parties::ProofParty;
use super::services::ProofPacket;

/// A rule that has not expired, its parts numbered.
pub(super) struct SourceRule<'p> {
    id: RuleId,
    rule: &'p Rule,
    from: usize,
    to: usize,
    services: usize,
    /// From, to, services.
    except: Vec<[usize; 3]>,
}

/// The policy as the proof reads it.
pub(super) struct Source<'p> {
    pub(super) policy: &'p Policy,
    pub(super) oracle: Oracle<'p>,
    /// In the order of evaluation.
    rules: Vec<SourceRule<'p>>,
    pub(super) selectors: Vec<&'p Selector>,
    pub(super) service_lists: Vec<&'p [Service]>,
}

/// What a gate reads of its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Owner {
    pub(super) init: bool,
    pub(super) workload: bool,
    pub(super) open_egress: bool,
    pub(super) open_ingress: bool,
    pub(super) audit: bool,
    pub(super) isolated_in: Option<SegmentId>,
}

/// What decides a pair: the two ends, and the rules whose `from` and `to` match, each with the service lists of the
/// holes that match too.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Applying {
    source: Owner,
    destination: Owner,
    pub(super) rules: Vec<(usize, Vec<usize>)>,
}

fn number<T: PartialEq + Copy + std::hash::Hash + Eq>(
    known: &mut hashbrown::HashMap<T, usize, ahash::RandomState>,
    all: &mut Vec<T>,
    value: T,
) -> usize {
    *known.entry(value).or_insert_with(|| {
        all.push(value);
        all.len() - 1
    })
}

impl<'p> Source<'p> {
    pub(super) fn read(policy: &'p Policy, now: Date) -> Self {
        let (mut selectors, mut service_lists) = (Vec::new(), Vec::new());
        let mut known_selectors = hashbrown::HashMap::default();
        let mut known_lists = hashbrown::HashMap::default();
        let mut rules = Vec::new();
        for id in policy.evaluation_order() {
            let rule = &policy.rules[id.index()];
            if rule.is_expired(now) {
                continue;
            }
            let mut selector = |it: &'p Selector| number(&mut known_selectors, &mut selectors, it);
            let mut services = |it: &'p [Service]| number(&mut known_lists, &mut service_lists, it);
            rules.push(SourceRule {
                id,
                rule,
                from: selector(&rule.from),
                to: selector(&rule.to),
                services: services(&rule.services),
                except: rule
                    .except
                    .iter()
                    .map(|hole| [selector(&hole.from), selector(&hole.to), services(&hole.services)])
                    .collect(),
            });
        }
        Self { policy, oracle: Oracle::new(policy, now), rules, selectors, service_lists }
    }

    /// What gates read of a party, beside the selectors.
    pub(super) fn owner(&self, party: Party) -> Owner {
        let Endpoint::Workload(id) = party.endpoint else {
            return Owner {
                init: party.endpoint == Endpoint::Init,
                workload: false,
                open_egress: false,
                open_ingress: false,
                audit: false,
                isolated_in: None,
            };
        };
        let workload = &self.policy.workloads[id.index()];
        let default_allow = self.policy.settings.default_allow;
        let isolated = self.policy.segment_of(id).isolated && !workload.promiscuous;
        Owner {
            init: false,
            workload: true,
            open_egress: workload.open.egress || default_allow,
            open_ingress: workload.open.ingress || default_allow,
            audit: workload.audit,
            isolated_in: isolated.then_some(workload.segment),
        }
    }

    /// The rules, by place in the order, whose `from` matches.
    pub(super) fn rules_from(&self, from: &ProofParty) -> Vec<usize> {
        (0..self.rules.len()).filter(|at| from.satisfies(self.rules[*at].from)).collect()
    }

    /// What decides the pair; `leaving` is of [`Source::rules_from`].
    pub(super) fn applying(&self, from: &ProofParty, to: &ProofParty, leaving: &[usize]) -> Applying {
        let holes = |rule: &SourceRule<'_>| {
            let matching = rule.except.iter().filter(|hole| from.satisfies(hole[0]) && to.satisfies(hole[1]));
            matching.map(|hole| hole[2]).collect()
        };
        let asked = (from.owner.workload || to.owner.workload) && !from.owner.init && !to.owner.init;
        let rules = leaving.iter().filter(|at| asked && to.satisfies(self.rules[**at].to));
        Applying {
            source: from.owner,
            destination: to.owner,
            rules: rules.map(|at| (*at, holes(&self.rules[*at]))).collect(),
        }
    }

    /// What the policy says of a packet of the pair.
    pub(super) fn decide(&self, pair: &Applying, packet: &ProofPacket) -> Decision {
        let (source, destination) = (pair.source, pair.destination);
        if source.init || destination.init {
            let (decider, audited_rules) = (Decider::Undescribed, Vec::new());
            let gate = GateDecision { admits: false, decider, audited: false, audited_rules };
            let verdict = Verdict::Deny(Refusal::Undescribed);
            return Decision { verdict, egress: gate.clone(), ingress: gate };
        }
        let decision = Decision::of_gates(
            self.gate(Gate::Egress, source, source.open_egress, pair, packet),
            self.gate(Gate::Ingress, destination, destination.open_ingress, pair, packet),
        );
        if source.isolated_in.is_some() && source.isolated_in == destination.isolated_in {
            return Decision { verdict: Verdict::Deny(Refusal::Isolation), ..decision };
        }
        decision
    }

    fn gate(
        &self,
        gate: Gate,
        owner: Owner,
        open: bool,
        pair: &Applying,
        packet: &ProofPacket,
    ) -> GateDecision {
        if !owner.workload {
            return GateDecision::no_gate();
        }
        let mut audited_rules = Vec::new();
        let mut passed: Option<Tier> = None;
        for (at, holes) in &pair.rules {
            let SourceRule { id, rule, services, .. } = &self.rules[*at];
            let matches = rule.stands_at(gate)
                && passed != Some(rule.tier)
                && packet.is_in(*services)
                && !holes.iter().any(|hole| packet.is_in(*hole));
            if !matches {
                continue;
            }
            if rule.audit {
                audited_rules.push(*id);
            } else if rule.action == Action::Pass {
                passed = Some(rule.tier);
            } else {
                let admits = rule.action == Action::Allow;
                let decider = Decider::Rule(*id);
                return GateDecision { admits, decider, audited: owner.audit, audited_rules };
            }
        }
        GateDecision { admits: open, decider: Decider::Default, audited: owner.audit, audited_rules }
    }
}
