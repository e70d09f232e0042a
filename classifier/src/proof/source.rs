//! The policy as the proof reads it: its rules in order, each selector and each list of services numbered.

use std::ops::RangeInclusive;

use hashbrown::HashMap;
use septum_rules::date::Date;
use septum_rules::endpoint::{Endpoint, Party};
use septum_rules::identity::SegmentId;
use septum_rules::oracle::Oracle;
use septum_rules::policy::Policy;
use septum_rules::proto::Service;
use septum_rules::rule::Rule;
use septum_rules::selector::Selector;
use septum_rules::verdict::Gate;

use septum_rules::identity::RuleId;

/// A rule that has not expired.
pub(super) struct SourceRule<'p> {
    pub(super) id: RuleId,
    pub(super) rule: &'p Rule,
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) services: u32,
    pub(super) holes: Vec<Hole>,
}

/// An `except` of a rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hole {
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) services: u32,
}

/// Which packets are asked about. The others may be anything.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    /// Of IPv4 and IPv6: the first and the last address.
    pub(super) addresses: [(u128, u128); 2],
    pub(super) protocols: RangeInclusive<u8>,
    pub(super) last_port: u16,
}

impl Scope {
    /// Every packet.
    pub(super) fn everything() -> Self {
        let addresses = [(0, u32::MAX.into()), (0, u128::MAX)];
        Self { addresses, protocols: 0..=u8::MAX, last_port: u16::MAX }
    }
}

/// The policy as the proof reads it.
pub(super) struct Source<'p> {
    pub(super) scope: Scope,
    pub(super) policy: &'p Policy,
    pub(super) oracle: Oracle<'p>,
    /// In the order of evaluation.
    pub(super) rules: Vec<SourceRule<'p>>,
    /// By number.
    pub(super) selectors: Vec<&'p Selector>,
    /// By number of a selector: whether it stands in a `from`, and in a `to`.
    pub(super) stands_in: Vec<[bool; 2]>,
    /// By number.
    pub(super) service_lists: Vec<&'p [Service]>,
    /// The first day on which a rule holds no more.
    pub(super) valid_until: Option<Date>,
}

/// What a gate reads of its owner beside the selectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Owner {
    pub(super) is_init: bool,
    pub(super) is_workload: bool,
    pub(super) is_open: bool,
    pub(super) is_audited: bool,
    pub(super) isolated_in: Option<SegmentId>,
}

/// Gives equal values equal numbers.
struct Numbers<T> {
    known: HashMap<T, u32, ahash::RandomState>,
    values: Vec<T>,
}

impl<T: Copy + Eq + std::hash::Hash> Numbers<T> {
    fn new() -> Self {
        Self { known: HashMap::default(), values: Vec::new() }
    }

    fn number(&mut self, value: T) -> u32 {
        *self.known.entry(value).or_insert_with(|| {
            self.values.push(value);
            self.values.len() as u32 - 1
        })
    }
}

impl<'p> Source<'p> {
    pub(super) fn read(policy: &'p Policy, now: Date, scope: Scope) -> Self {
        let mut selectors: Numbers<&'p Selector> = Numbers::new();
        let mut service_lists: Numbers<&'p [Service]> = Numbers::new();
        let mut rules = Vec::new();
        let mut valid_until: Option<Date> = None;
        for id in policy.evaluation_order() {
            let rule = &policy.rules[id.index()];
            if rule.is_expired(now) {
                continue;
            }
            let ends = rule.expires.map(Date::tomorrow);
            valid_until = [valid_until, ends].into_iter().flatten().min();
            let holes = rule.except.iter().map(|hole| Hole {
                from: selectors.number(&hole.from),
                to: selectors.number(&hole.to),
                services: service_lists.number(&hole.services),
            });
            let holes = holes.collect();
            let (from, to) = (selectors.number(&rule.from), selectors.number(&rule.to));
            rules.push(SourceRule {
                id,
                rule,
                from,
                to,
                services: service_lists.number(&rule.services),
                holes,
            });
        }
        let mut stands_in = vec![[false; 2]; selectors.values.len()];
        for rule in &rules {
            let holes = rule.holes.iter().map(|hole| (hole.from, hole.to));
            for (from, to) in holes.chain([(rule.from, rule.to)]) {
                stands_in[from as usize][0] = true;
                stands_in[to as usize][1] = true;
            }
        }
        let oracle = Oracle::new(policy, now);
        let (selectors, service_lists) = (selectors.values, service_lists.values);
        Self { scope, policy, oracle, rules, selectors, stands_in, service_lists, valid_until }
    }

    /// What a gate reads of a party, beside the selectors.
    pub(super) fn owner(&self, gate: Gate, party: Party) -> Owner {
        let Endpoint::Workload(id) = party.endpoint else {
            return Owner { is_init: party.endpoint == Endpoint::Init, ..Owner::default() };
        };
        let workload = &self.policy.workloads[id.index()];
        let open = match gate {
            Gate::Egress => workload.open.egress,
            Gate::Ingress => workload.open.ingress,
        };
        let is_isolated = self.policy.segment_of(id).isolated && !workload.promiscuous;
        Owner {
            is_init: false,
            is_workload: true,
            is_open: open || self.policy.settings.default_allow,
            is_audited: workload.audit,
            isolated_in: is_isolated.then_some(workload.segment),
        }
    }
}
