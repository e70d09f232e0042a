//! What a change touches, proved before anybody can have the new object.
//!
//! It shares no code with what makes an overlay. Programs: for every touched pair a party of each identity stands for
//! all (that they are alike is what an identity means, and is itself proved where identities change). What selectors
//! a party satisfies is asked of its own labels, by another index, and of its address; the rules of the pair are found by
//! what they ask of one end and asked about both (`asked`). Then
//! both gates are evaluated as the reference evaluator does it, for one packet of every part that rules or overlay
//! tell apart, and compared with what a lookup in the new object says. Pairs of which policy and object read the same are
//! compared once.
//!
//! Identities: of every party that gets another one, the label expressions (found by that index), networks and gates
//! are compared with those of its identity.

use std::mem::take;

use hashbrown::HashMap;
use septum_rules::address::successor;
use septum_rules::endpoint::{Endpoint, Party};
use septum_rules::identity::{IdentityId, RuleId, SegmentId};
use septum_rules::policy::Policy;
use septum_rules::proto::{Layer4, Protocol, Service};
use septum_rules::rule::{Action, Rule, Tier};
use septum_rules::selector::{Alternative, Selector};
use septum_rules::verdict::{Decider, Decision, Gate, GateDecision, Refusal, Verdict};
use septum_rules::workload::Workload;

use super::asked::{Asked, End};
use super::rule::Split;
use super::{UpdateError, Updater};
use crate::identities::Kind;
use crate::overlay::PairProgram;
use crate::proof::complete;
use crate::{Answer, Classifier, VerdictId, Witness};

impl Updater {
    /// Proves what `candidate` says of some pairs of identities; gives the number of packets that were compared.
    pub(super) fn prove_pairs(
        &mut self,
        candidate: &Classifier,
        pairs: &[(u32, u32)],
    ) -> Result<usize, UpdateError> {
        let mut identities: Vec<u32> = pairs.iter().flat_map(|(from, to)| [*from, *to]).collect();
        identities.sort_unstable();
        identities.dedup();
        let mut ends = Vec::with_capacity(identities.len());
        for identity in &identities {
            let party = self.representative(candidate, *identity)?;
            let Self { policy, identities, rules, labels_asked, .. } = self;
            let end = |party| End::new(policy, identities, rules, labels_asked, (*identity, party));
            ends.push(party.map(end));
        }
        let end_of = |identity: u32| {
            let at = identities.binary_search(&identity).ok()?;
            ends[at].as_ref()
        };
        let mut asked = Asked::new(&self.policy, &self.identities, &self.rules);
        let mut comparison = Comparison::new(self, candidate, pairs.len());
        let mut right: HashMap<*const PairProgram, Alike, ahash::RandomState> = HashMap::default();
        for (from, to) in pairs {
            let (Some(source), Some(destination)) = (end_of(*from), end_of(*to)) else { continue };
            let program = candidate.program_of_its_own(IdentityId(*from), IdentityId(*to));
            let rules = asked.rules(source, destination);
            let Some(program) = program else {
                comparison.pair(None, (source, destination), rules)?;
                continue;
            };
            let gates = Gates::of(&self.policy, source.party, destination.party);
            let known = right.get(&std::ptr::from_ref(program));
            if known.is_some_and(|known| known.gates == gates && *known.rules == *rules) {
                continue;
            }
            comparison.pair(Some(program), (source, destination), rules)?;
            // Holes ask for more.
            if rules.iter().all(|id| self.policy.rules[id.index()].except.is_empty()) {
                right.insert(std::ptr::from_ref(program), Alike { rules: rules.into(), gates });
            }
        }
        Ok(comparison.packets)
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
        // Nobody sends from no address, but people ask about them.
        let without_address = [
            (candidate.addresses.world, Endpoint::World),
            (candidate.addresses.gateway, Endpoint::Gateway(SegmentId(0))),
        ];
        if let Some((_, endpoint)) = without_address.iter().find(|(without, _)| without.0 == identity) {
            return Ok(Some(Party { endpoint: *endpoint, address: None }));
        }
        if self.identities.identities[identity as usize].kind == Kind::World {
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

    /// Proves the identities of those that were told apart, and that nothing else was changed by that.
    pub(super) fn prove_split(&mut self) -> Result<(), UpdateError> {
        if self.split.is_empty() {
            return Ok(());
        }
        let candidate = self.candidate();
        let mut last = None;
        for Split { party, before, after } in &self.split {
            let is_new = last.replace((before, after)) != Some((before, after));
            if is_new && !self.overlay.is_alike(*before, *after) {
                return Err(UpdateError::Identity(*party));
            }
            self.prove_party(&candidate, *party)?;
        }
        self.split.clear();
        Ok(())
    }

    /// Proves that a party has the identity that its labels, networks and gates make.
    pub(super) fn prove_party(&self, candidate: &Classifier, party: Party) -> Result<(), UpdateError> {
        let number = candidate.identify_party(party).0;
        let Some(identity) = self.identities.identities.get(number as usize) else {
            return Err(UpdateError::Identity(party));
        };
        let workload = workload(&self.policy, party);
        let labels = workload.map_or_else(Vec::new, |it| self.identities.expressions_again(&it.labels));
        let networks = party.address.map_or_else(Vec::new, |address| {
            self.networks.containing(&self.policy, &self.identities.alternatives, address)
        });
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

/// Compares packets with what an object says of them; keeps its buffers.
struct Comparison<'a> {
    policy: &'a Policy,
    candidate: &'a Classifier,
    /// By the lowest bits of a verdict: one, and the decision of which it is known to be the right answer.
    known: Vec<Option<(VerdictId, Decision)>>,
    /// Those that mean both ends of the pair at hand, in the order of evaluation; all their services, holes' too.
    rules: Vec<(RuleId, &'a Rule)>,
    services: Vec<&'a Service>,
    protocols: Vec<Protocol>,
    /// Where intervals of source and destination ports begin, of the protocol at hand.
    ports: [Vec<u16>; 2],
    /// How many were compared.
    packets: usize,
}

/// Decisions that are remembered, at the most.
const KNOWN: usize = 256;

impl<'a> Comparison<'a> {
    fn new(updater: &'a Updater, candidate: &'a Classifier, pairs: usize) -> Self {
        Self {
            policy: &updater.policy,
            candidate,
            known: vec![None; (4 * pairs).next_power_of_two().clamp(8, KNOWN)],
            rules: Vec::new(),
            services: Vec::new(),
            protocols: Vec::new(),
            ports: [Vec::new(), Vec::new()],
            packets: 0,
        }
    }

    /// One packet of every part at layer 4 on which neither rules nor object change; `rules` are those that mean both ends.
    /// A pair without a program is one that should have got it: the tables answer, by classes of other rules, too.
    fn pair(
        &mut self,
        program: Option<&PairProgram>,
        ends: (&End<'_>, &End<'_>),
        rules: &[RuleId],
    ) -> Result<(), UpdateError> {
        let (mut meant, mut services) = (take(&mut self.rules), take(&mut self.services));
        meant.clear();
        meant.extend(rules.iter().map(|id| (*id, &self.policy.rules[id.index()])));
        meant.sort_by(|(_, one), (_, other)| one.evaluation_order(other));
        services.clear();
        services.extend(meant.iter().flat_map(|(_, rule)| {
            rule.services.iter().chain(rule.except.iter().flat_map(|hole| &hole.services))
        }));
        let sheets = || program.into_iter().flat_map(|program| program.sheets());
        let mut protocols = take(&mut self.protocols);
        protocols.clear();
        protocols.extend(services.iter().filter_map(|service| service.protocol));
        protocols.extend(sheets().filter_map(|sheet| sheet.protocol));
        if program.is_none() {
            protocols.extend(self.candidate.representatives.iter().map(|class| class.protocol));
        }
        protocols.extend((0..=u8::MAX).map(Protocol).find(|protocol| !protocols.contains(protocol)));
        protocols.sort_unstable();
        protocols.dedup();
        let mut ports = take(&mut self.ports);
        for protocol in &protocols {
            let [sources, destinations] = &mut ports;
            let classes = program.is_none().then(|| self.candidate.layer4.edges(*protocol));
            for (ports, is_source) in [(&mut *sources, true), (&mut *destinations, false)] {
                ports.clear();
                ports.push(0);
                ports.extend(classes.iter().flat_map(|edges| &edges[usize::from(!is_source)]));
                for service in services.iter().filter(|it| it.protocol.is_none_or(|it| it == *protocol)) {
                    let range = if is_source { service.source } else { service.destination };
                    ports.push(range.first());
                    ports.extend(range.last().checked_add(1));
                }
                for sheet in sheets().filter(|sheet| sheet.protocol.is_none_or(|it| it == *protocol)) {
                    ports.extend(if is_source { sheet.sources } else { sheet.destinations });
                }
                ports.sort_unstable();
                ports.dedup();
            }
            for source in sources.iter() {
                for destination in destinations.iter() {
                    self.packet(program, ends, &meant, Layer4::ports(*protocol, *source, *destination))?;
                }
            }
        }
        (self.rules, self.services, self.protocols, self.ports) = (meant, services, protocols, ports);
        Ok(())
    }

    fn packet(
        &mut self,
        program: Option<&PairProgram>,
        (from, to): (&End<'_>, &End<'_>),
        rules: &[(RuleId, &Rule)],
        layer4: Layer4,
    ) -> Result<(), UpdateError> {
        self.packets += 1;
        let (source, destination) = (from.party, to.party);
        let gate = |gate| gate_decision(self.policy, gate, source, destination, layer4, rules);
        let mut meant = Decision::of_gates(gate(Gate::Egress), gate(Gate::Ingress));
        if is_isolated(self.policy, source, destination) {
            meant.verdict = Verdict::Deny(Refusal::Isolation);
        }
        let verdict = match program {
            Some(program) => program.step(layer4).map(VerdictId),
            None => Some(self.candidate.lookup(IdentityId(from.identity), IdentityId(to.identity), layer4)),
        };
        let at = verdict.unwrap_or_default().index() % self.known.len();
        let known = &mut self.known[at];
        if known.as_ref().is_some_and(|(of, decision)| Some(*of) == verdict && *decision == meant) {
            return Ok(());
        }
        let (compiled, decision) =
            (verdict.and_then(|verdict| answer(self.candidate, verdict)), meant.clone());
        let meant = complete(self.policy, meant);
        if compiled.as_ref() != Some(&meant) {
            let witness = Witness { source, destination, layer4, meant, compiled };
            return Err(UpdateError::Mismatch(Box::new(witness)));
        }
        *known = verdict.map(|verdict| (verdict, decision));
        Ok(())
    }
}

/// What was read of a pair whose program is right: it is right for every pair of which the same is read.
struct Alike {
    rules: Box<[RuleId]>,
    gates: Gates,
}

/// All that gates differ by, rules aside.
#[derive(PartialEq, Eq)]
struct Gates {
    /// Of each end that has a gate: whether it is open, and audited.
    ends: [Option<(bool, bool)>; 2],
    is_isolated: bool,
}

impl Gates {
    fn of(policy: &Policy, source: Party, destination: Party) -> Self {
        Self {
            ends: [
                workload(policy, source).map(|it| (it.open.egress, it.audit)),
                workload(policy, destination).map(|it| (it.open.ingress, it.audit)),
            ],
            is_isolated: is_isolated(policy, source, destination),
        }
    }
}

/// What an object says under this number; `None` where it has none of it.
pub(super) fn answer(classifier: &Classifier, verdict: VerdictId) -> Option<Answer> {
    if verdict.index() >= classifier.verdict_count() {
        return None;
    }
    let entry = classifier.verdict(verdict);
    Some(Answer {
        decision: classifier.decision(verdict),
        rule: entry.rule,
        log: entry.log,
        deny_with: (!entry.verdict.is_allow()).then_some(entry.deny_with),
        audited: entry.audited,
    })
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

pub(super) fn is_meant(policy: &Policy, alternative: &Alternative, party: Party) -> bool {
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
    rules: &[(RuleId, &Rule)],
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
        for (id, rule) in rules {
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
