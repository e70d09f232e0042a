//! What a change touches, proved before anybody can have the new object.
//!
//! It shares no code with what makes an overlay. Programs: for every touched pair a party of each identity stands for
//! all (that they are alike is what an identity means, and is itself proved where identities change); the rules of
//! the pair are found by what they ask of one end, and asked, selector by selector, of the two parties; then
//! both gates are evaluated as the reference evaluator does it, for one packet of every part that rules or overlay
//! tell apart, and compared with what a lookup in the new object says. Pairs of which policy and object read the same are
//! compared once.
//!
//! Identities: of every party that gets another one, the label expressions (found by another index), networks and gates
//! are compared with those of its identity.

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use septum_rules::address::successor;
use septum_rules::endpoint::{Endpoint, Party};
use septum_rules::identity::{IdentityId, RuleId};
use septum_rules::policy::Policy;
use septum_rules::proto::{Layer4, Protocol, Service};
use septum_rules::rule::{Action, Rule, Tier};
use septum_rules::selector::{Alternative, Selector};
use septum_rules::verdict::{Decider, Decision, Gate, GateDecision, Refusal, Verdict};
use septum_rules::workload::Workload;

use super::{UpdateError, Updater};
use crate::identities::Kind;
use crate::overlay::{PairProgram, pair};
use crate::proof::complete;
use crate::{Answer, Classifier, VerdictId, Witness};

impl Updater {
    /// Proves what `candidate` says of some pairs of identities; gives the number of packets that were compared.
    pub(super) fn prove_pairs(
        &mut self,
        candidate: &Classifier,
        pairs: &[(u32, u32)],
    ) -> Result<usize, UpdateError> {
        let mut by_destination: Vec<(u32, u32)> = pairs.iter().map(|(from, to)| (*to, *from)).collect();
        by_destination.sort_unstable();
        let (mut asked, mut equal) = (Asked::default(), HashSet::<Alike, ahash::RandomState>::default());
        let mut packets = 0;
        for group in by_destination.chunk_by(|one, other| one.0 == other.0) {
            let to = group[0].0;
            let Some(destination) = self.representative(candidate, to)? else { continue };
            for (_, from) in group {
                let Some(source) = self.representative(candidate, *from)? else { continue };
                let ends = ((*from, source), (to, destination));
                let rules = asked.rules(self, ends);
                let alike = Alike::of(&self.policy, candidate, ends, &rules);
                if alike.as_ref().is_none_or(|alike| !equal.contains(alike)) {
                    packets += self.prove_pair(candidate, (*from, to), (source, destination), &rules)?;
                    equal.extend(alike);
                }
            }
        }
        Ok(packets)
    }

    fn prove_pair(
        &self,
        candidate: &Classifier,
        (from, to): (u32, u32),
        (source, destination): (Party, Party),
        rules: &[RuleId],
    ) -> Result<usize, UpdateError> {
        let policy = &self.policy;
        let mut compared = 0;
        for layer4 in self.packets((from, to), rules) {
            compared += 1;
            let gate = |gate| gate_decision(policy, gate, source, destination, layer4, rules);
            let mut meant = Decision::of_gates(gate(Gate::Egress), gate(Gate::Ingress));
            if is_isolated(policy, source, destination) {
                meant.verdict = Verdict::Deny(Refusal::Isolation);
            }
            let meant = complete(policy, meant);
            let compiled = answer(candidate, candidate.lookup(IdentityId(from), IdentityId(to), layer4));
            if compiled != meant {
                let compiled = Some(compiled);
                let witness = Witness { source, destination, layer4, meant, compiled };
                return Err(UpdateError::Mismatch(Box::new(witness)));
            }
        }
        Ok(compared)
    }

    /// One packet of every part at layer 4 on which neither rules nor overlay change.
    fn packets(&self, (from, to): (u32, u32), rules: &[RuleId]) -> Vec<Layer4> {
        let services: Vec<&Service> = rules
            .iter()
            .map(|id| &self.policy.rules[id.index()])
            .flat_map(|rule| rule.services.iter().chain(rule.except.iter().flat_map(|hole| &hole.services)))
            .collect();
        let program = self.overlay.pairs.get(&pair(from, to));
        let sheets = program.iter().flat_map(|program| program.sheets.iter());
        let mut protocols: BTreeSet<Protocol> = services.iter().filter_map(|it| it.protocol).collect();
        protocols.extend(sheets.clone().filter_map(|sheet| sheet.protocol));
        protocols.extend((0..=u8::MAX).map(Protocol).find(|protocol| !protocols.contains(protocol)));
        let mut packets = Vec::new();
        for protocol in protocols {
            let (mut sources, mut destinations) = (BTreeSet::from([0]), BTreeSet::from([0]));
            for service in services.iter().filter(|it| it.protocol.is_none_or(|it| it == protocol)) {
                for (edges, range) in
                    [(&mut sources, service.source), (&mut destinations, service.destination)]
                {
                    edges.insert(range.first());
                    edges.extend(range.last().checked_add(1));
                }
            }
            for sheet in sheets.clone().filter(|sheet| sheet.protocol.is_none_or(|it| it == protocol)) {
                sources.extend(&sheet.sources);
                destinations.extend(&sheet.destinations);
            }
            for source in sources {
                packets.extend(
                    destinations.iter().map(|destination| Layer4::ports(protocol, source, *destination)),
                );
            }
        }
        packets
    }

    /// Somebody who has the identity; `None` where nobody has it any more.
    fn representative(
        &mut self,
        candidate: &Classifier,
        identity: u32,
    ) -> Result<Option<Party>, UpdateError> {
        while let Some(party) = self.identities.members[identity as usize].last().copied() {
            if self.has(candidate, party, identity) {
                return Ok(Some(party));
            }
            self.identities.members[identity as usize].pop();
            // A stretch of the world is long: its next addresses are as good.
            let next = std::iter::successors(party.address, |address| successor(*address)).skip(1).take(64);
            let world = next.map(|address| Party { endpoint: Endpoint::World, address: Some(address) });
            if party.endpoint == Endpoint::World
                && let Some(other) = world.into_iter().find(|other| self.has(candidate, *other, identity))
            {
                self.identities.members[identity as usize].push(other);
            }
        }
        if self.identities.identities[identity as usize].kind == Kind::World
            && identity != candidate.addresses.world.0
        {
            return Err(UpdateError::NeedsCompile("no address stands for a part of the world"));
        }
        Ok(None)
    }

    fn has(&self, candidate: &Classifier, party: Party, identity: u32) -> bool {
        // A workload that was not added after all.
        if matches!(party.endpoint, Endpoint::Workload(id) if id.index() >= self.policy.workloads.len()) {
            return false;
        }
        let is_own = match party.address {
            Some(address) if !address.is_unspecified() => self.party_at(address).endpoint == party.endpoint,
            _ => true,
        };
        is_own && candidate.identify_party(party).0 == identity
    }

    /// Proves that a party has the identity that its labels, networks and gates make.
    pub(super) fn prove_party(&self, candidate: &Classifier, party: Party) -> Result<(), UpdateError> {
        let number = candidate.identify_party(party).0;
        let identity = self.identities.identities[number as usize];
        let workload = workload(&self.policy, party);
        let labels = workload.map_or_else(Vec::new, |it| self.identities.expressions_again(&it.labels));
        let contains = |alternative: &Alternative| match (alternative, party.address) {
            (Alternative::Network(network), Some(address)) => {
                self.policy.networks[network.index()].contains(address)
            }
            _ => false,
        };
        let networks = (0..).zip(&self.identities.alternatives).filter(|(_, it)| contains(it));
        let networks: Vec<u32> = networks.map(|(number, _)| number).collect();
        let kind = match party.endpoint {
            Endpoint::Workload(_) => Kind::Workload,
            Endpoint::Gateway(_) => Kind::Gateway,
            Endpoint::World => Kind::World,
            Endpoint::Init => Kind::Init,
        };
        let role = identity.role;
        let default_allow = self.policy.settings.default_allow;
        let is_alike = workload.is_none_or(|it| {
            let isolated = self.policy.segments[it.segment.index()].isolated && !it.promiscuous;
            role.open_egress == (it.open.egress || default_allow)
                && role.open_ingress == (it.open.ingress || default_allow)
                && role.audit == it.audit
                && role.isolated_in == isolated.then_some(it.segment)
        });
        let sets = [identity.labels, identity.networks].map(|set| self.identities.sets.get(set));
        if identity.kind == kind && is_alike && sets == [&*labels, &*networks] {
            return Ok(());
        }
        Err(UpdateError::Identity(party))
    }
}

/// An identity, and a party that has it.
type End = (u32, Party);

/// Which rules mean an end, by their text. The rules that are asked come from an index, and each text is asked once about
/// each end.
#[derive(Default)]
struct Asked {
    /// By identity, as source or destination: in the order of evaluation.
    known: HashMap<(Gate, u32), Vec<RuleId>, ahash::RandomState>,
    /// By number of an alternative, and identity.
    means: HashMap<(u32, u32), bool, ahash::RandomState>,
}

impl Asked {
    /// The rules that mean both ends, in the order of evaluation.
    fn rules(&mut self, updater: &Updater, (source, destination): (End, End)) -> Vec<RuleId> {
        let Updater { policy, identities, rules: index, .. } = updater;
        // The end of which fewer rules ask says which rules to ask; the other one is asked anew for each pair.
        let (gate, end, other) = if index.arrive_fewer(identities, source.0, destination.0) {
            (Gate::Ingress, destination, source)
        } else {
            (Gate::Egress, source, destination)
        };
        let Self { known, means } = self;
        let mut mean = |id: &RuleId, is_source: bool, (identity, party): End| {
            index.parts(*id).is_some_and(|parts| {
                let numbers = if is_source { &parts.from } else { &parts.to };
                numbers.iter().any(|number| {
                    let meant = || is_meant(policy, &identities.alternatives[*number as usize], party);
                    *means.entry((*number, identity)).or_insert_with(meant)
                })
            })
        };
        let rules = known.entry((gate, end.0)).or_insert_with(|| {
            let mut rules: Vec<RuleId> = if gate == Gate::Ingress {
                index.arriving(identities, end.0).collect()
            } else {
                index.leaving(identities, end.0).collect()
            };
            rules.sort_unstable();
            rules.dedup();
            rules.retain(|id| mean(id, gate == Gate::Egress, end));
            rules.sort_by(|a, b| policy.rules[a.index()].evaluation_order(&policy.rules[b.index()]));
            rules
        });
        rules.iter().filter(|id| mean(id, gate == Gate::Ingress, other)).copied().collect()
    }
}

/// All that policy and object read of a pair: where one of two alike is right, so is the other.
#[derive(PartialEq, Eq, Hash)]
struct Alike {
    program: *const PairProgram,
    rules: Vec<RuleId>,
    /// Of each end that has a gate: whether it is open, and audited.
    gates: [Option<(bool, bool)>; 2],
    is_isolated: bool,
}

impl Alike {
    /// `None` where it is not worth saying: a pair without a program of its own, or with rules whose holes ask for more.
    fn of(
        policy: &Policy,
        candidate: &Classifier,
        (source, destination): (End, End),
        rules: &[RuleId],
    ) -> Option<Self> {
        let program = candidate.overlay.as_ref()?.pairs.get(&pair(source.0, destination.0))?;
        let (source, destination) = (source.1, destination.1);
        let has_holes = |id: &RuleId| !policy.rules[id.index()].except.is_empty();
        (!rules.iter().any(has_holes)).then(|| Self {
            program: Arc::as_ptr(program),
            rules: rules.to_vec(),
            gates: [
                workload(policy, source).map(|it| (it.open.egress, it.audit)),
                workload(policy, destination).map(|it| (it.open.ingress, it.audit)),
            ],
            is_isolated: is_isolated(policy, source, destination),
        })
    }
}

/// What an object says under this number.
fn answer(classifier: &Classifier, verdict: VerdictId) -> Answer {
    let entry = classifier.verdict(verdict);
    Answer {
        decision: classifier.decision(verdict),
        rule: entry.rule,
        log: entry.log,
        deny_with: (!entry.verdict.is_allow()).then_some(entry.deny_with),
        audited: entry.audited,
    }
}

fn workload(policy: &Policy, party: Party) -> Option<&Workload> {
    match party.endpoint {
        Endpoint::Workload(id) => Some(&policy.workloads[id.index()]),
        _ => None,
    }
}

fn is_isolated(policy: &Policy, source: Party, destination: Party) -> bool {
    let (Some(source), Some(destination)) = (workload(policy, source), workload(policy, destination)) else {
        return false;
    };
    source.segment == destination.segment
        && policy.segments[source.segment.index()].isolated
        && !(source.promiscuous || destination.promiscuous)
}

fn matches(policy: &Policy, selector: &Selector, party: Party) -> bool {
    selector.alternatives.iter().any(|alternative| is_meant(policy, alternative, party))
}

fn is_meant(policy: &Policy, alternative: &Alternative, party: Party) -> bool {
    match alternative {
        Alternative::Any => party.endpoint != Endpoint::Init,
        Alternative::World => party.endpoint == Endpoint::World,
        Alternative::Network(network) => {
            party.address.is_some_and(|address| policy.networks[network.index()].contains(address))
        }
        Alternative::Labels(expression) => {
            workload(policy, party).is_some_and(|workload| expression.matches(&workload.labels))
        }
    }
}

/// What a gate says; `rules` are those that mean both parties, in the order of evaluation.
fn gate_decision(
    policy: &Policy,
    gate: Gate,
    source: Party,
    destination: Party,
    layer4: Layer4,
    rules: &[RuleId],
) -> GateDecision {
    let (owner, is_open) = match gate {
        Gate::Egress => (workload(policy, source), workload(policy, source).is_some_and(|it| it.open.egress)),
        Gate::Ingress => {
            (workload(policy, destination), workload(policy, destination).is_some_and(|it| it.open.ingress))
        }
    };
    let Some(owner) = owner else { return GateDecision::no_gate() };
    let is_meant = |rule: &Rule| {
        rule.stands_at(gate)
            && rule.serves(layer4)
            && !rule.except.iter().any(|hole| {
                matches(policy, &hole.from, source)
                    && matches(policy, &hole.to, destination)
                    && hole.services.iter().any(|service| service.matches(layer4))
            })
    };
    let mut audited_rules = Vec::new();
    for tier in Tier::ALL {
        for id in rules {
            let rule = &policy.rules[id.index()];
            if rule.tier != tier || !is_meant(rule) {
                continue;
            }
            if rule.audit {
                audited_rules.push(*id);
            } else if rule.action == Action::Pass {
                break;
            } else {
                let (admits, decider) = (rule.action == Action::Allow, Decider::Rule(*id));
                return GateDecision { admits, decider, audited: owner.audit, audited_rules };
            }
        }
    }
    let admits = is_open || policy.settings.default_allow;
    GateDecision { admits, decider: Decider::Default, audited: owner.audit, audited_rules }
}
