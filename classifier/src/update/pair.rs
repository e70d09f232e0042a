//! What a pair of identities does with layer 4, from the rules that apply to it.

use std::cmp::Ordering;
use std::mem::take;
use std::sync::Arc;

use hashbrown::HashMap;
use septum_rules::identity::{RuleId, SegmentId};
use septum_rules::policy::Policy;
use septum_rules::port_range::edges_into;
use septum_rules::proto::{Layer4, Protocol, Service};
use septum_rules::rule::{Action, Except, Rule, Tier};
use septum_rules::verdict::{Decider, Gate, Refusal};

use super::UpdateError;
use crate::GateEntry;
use crate::identities::{Identity, Kind};
use crate::overlay::{Overlay, PairProgramBuild};
use crate::verdict_table::{Outcome, entry};

/// Both ends of a pair, as far as gates differ by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ends {
    egress: End,
    ingress: End,
    isolated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct End {
    has_gate: bool,
    open: bool,
    audit: bool,
}

impl Ends {
    pub(super) fn of(source: &Identity, destination: &Identity) -> Self {
        let end = |identity: &Identity, open| End {
            has_gate: identity.kind == Kind::Workload,
            open,
            audit: identity.role.audit,
        };
        let segment: Option<SegmentId> = source.role.isolated_in;
        Self {
            egress: end(source, source.role.open_egress),
            ingress: end(destination, destination.role.open_ingress),
            isolated: segment.is_some() && segment == destination.role.isolated_in,
        }
    }
}

/// A rule that applies to a pair, with the holes that apply, too.
pub(super) struct Item<'p> {
    id: RuleId,
    rule: &'p Rule,
    holes: Vec<&'p Except>,
}

impl<'p> Item<'p> {
    pub(super) fn new(policy: &'p Policy, id: RuleId, holes: &[usize]) -> Self {
        let rule = &policy.rules[id.index()];
        Self { id, rule, holes: holes.iter().map(|hole| &rule.except[*hole]).collect() }
    }

    pub(super) fn evaluation_order(&self, other: &Self) -> Ordering {
        self.rule.evaluation_order(other.rule).then(self.id.cmp(&other.id))
    }

    fn services(&self) -> impl Iterator<Item = &'p Service> {
        self.rule.services.iter().chain(self.holes.iter().flat_map(|hole| &hole.services))
    }

    fn matches(&self, layer4: Layer4) -> bool {
        let is_hole = |hole: &&Except| hole.services.iter().any(|service| service.matches(layer4));
        self.rule.serves(layer4) && !self.holes.iter().any(is_hole)
    }
}

/// Makes programs, and puts the verdicts in which they end into an overlay; keeps its buffers.
pub(super) struct Verdicts<'a> {
    policy: &'a Policy,
    overlay: &'a mut Overlay,
    /// Of this change: a rule's attributes may have been others before.
    numbers: HashMap<Outcome, u32, ahash::RandomState>,
    audited_rules: HashMap<Vec<RuleId>, u32, ahash::RandomState>,
    /// Those of the program at hand that were met last; few, so that looking through them takes less than a hash.
    recent: Vec<(Outcome, u32)>,
    build: PairProgramBuild,
    services: Vec<&'a Service>,
    /// Those that services name.
    protocols: Vec<Protocol>,
    /// Where intervals of source and destination ports begin, of the protocol at hand.
    ports: [Vec<u16>; 2],
}

/// Outcomes of one program that are looked through.
const RECENT: usize = 8;

impl<'a> Verdicts<'a> {
    pub(super) fn new(policy: &'a Policy, overlay: &'a mut Overlay) -> Self {
        Self {
            policy,
            overlay,
            numbers: HashMap::default(),
            audited_rules: HashMap::default(),
            recent: Vec::with_capacity(RECENT),
            build: PairProgramBuild::default(),
            services: Vec::new(),
            protocols: Vec::new(),
            ports: [Vec::new(), Vec::new()],
        }
    }

    /// The number of a program for a pair; `items` are in the order of evaluation.
    pub(super) fn program(
        &mut self,
        ends: Ends,
        items: &[Item<'a>],
        most_cells: usize,
    ) -> Result<u32, UpdateError> {
        let (mut services, mut protocols) = (take(&mut self.services), take(&mut self.protocols));
        let (mut ports, mut build) = (take(&mut self.ports), take(&mut self.build));
        services.clear();
        protocols.clear();
        services.extend(items.iter().flat_map(Item::services));
        protocols.extend(services.iter().filter_map(|service| service.protocol));
        protocols.sort_unstable();
        protocols.dedup();
        let unnamed = (0..=u8::MAX).rev().map(Protocol).find(|protocol| !protocols.contains(protocol));
        let named = protocols.iter().map(|protocol| (Some(*protocol), *protocol));
        let rest = (None, unnamed.unwrap_or_default());
        // Most pairs have like gates and rules that stand at both: then one gate is enough.
        let is_like = ends.egress == ends.ingress && items.iter().all(|item| item.rule.side.is_none());
        self.recent.clear();
        let mut cells = 0;
        for (protocol, shown) in named.chain([rest]) {
            let speaking = || services.iter().filter(|it| it.protocol.is_none() || it.protocol == protocol);
            let [sources, destinations] = &mut ports;
            edges_into(speaking().map(|service| service.source), sources);
            edges_into(speaking().map(|service| service.destination), destinations);
            cells += sources.len() * destinations.len();
            if cells > most_cells {
                return Err(UpdateError::NeedsCompile("a pair of identities has many services"));
            }
            build.sheet(protocol, sources, destinations, |source, destination| {
                let layer4 = Layer4 { protocol: shown, source, destination };
                let egress = self.gate(Gate::Egress, ends.egress, items, layer4);
                let ingress =
                    if is_like { egress } else { self.gate(Gate::Ingress, ends.ingress, items, layer4) };
                let overruled = ends.isolated.then_some(Refusal::Isolation);
                self.number(Outcome { egress, ingress, overruled })
            });
        }
        let program = self.overlay.pairs.add(build.finish());
        (self.services, self.protocols, self.ports, self.build) = (services, protocols, ports, build);
        Ok(program)
    }

    fn gate(&mut self, gate: Gate, end: End, items: &[Item<'_>], layer4: Layer4) -> GateEntry {
        if !end.has_gate {
            return GateEntry::NO_GATE;
        }
        let mut audited_rules = Vec::new();
        let mut passed: Option<Tier> = None;
        let mut decided = (end.open, Decider::Default);
        for item in items {
            let rule = item.rule;
            if passed == Some(rule.tier) || !rule.stands_at(gate) || !item.matches(layer4) {
                continue;
            }
            match rule.action {
                _ if rule.audit => audited_rules.push(item.id),
                Action::Pass => passed = Some(rule.tier),
                Action::Allow | Action::Deny => {
                    decided = (rule.action == Action::Allow, Decider::Rule(item.id));
                    break;
                }
            }
        }
        let (admits, decider) = decided;
        GateEntry { admits, decider, audited: end.audit, audited_rules: self.audited(audited_rules) }
    }

    fn audited(&mut self, rules: Vec<RuleId>) -> u32 {
        if rules.is_empty() {
            return 0;
        }
        let lists = &mut self.overlay.audited_rules;
        *self.audited_rules.entry(rules).or_insert_with_key(|rules| {
            lists.push(Arc::from(&**rules));
            lists.len() as u32 - 1
        })
    }

    fn number(&mut self, outcome: Outcome) -> u32 {
        if let Some((_, number)) = self.recent.iter().find(|(known, _)| *known == outcome) {
            return *number;
        }
        let Self { policy, overlay, numbers, recent, .. } = self;
        let number = *numbers.entry(outcome).or_insert_with(|| {
            overlay.verdicts.push(entry(policy, outcome));
            overlay.first_verdict + overlay.verdicts.len() as u32 - 1
        });
        if recent.len() < RECENT {
            recent.push((outcome, number));
        }
        number
    }
}
