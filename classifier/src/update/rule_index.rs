//! The rules in force by what they ask of either end.

use septum_rules::date::Date;
use septum_rules::identity::RuleId;
use septum_rules::policy::Policy;
use septum_rules::rule::Rule;
use septum_rules::verdict::Gate;

use super::identity_index::IdentityIndex;

/// All of them.
#[derive(Debug, Default)]
pub(super) struct RuleIndex {
    /// By rule; `None` where it is not in force.
    parts: Vec<Option<Parts>>,
    /// By alternative: the rules whose `from`, or `to`, lists it.
    from: Vec<Vec<RuleId>>,
    to: Vec<Vec<RuleId>>,
}

/// A rule's selectors as numbers of alternatives.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    pub(super) from: Box<[u32]>,
    pub(super) to: Box<[u32]>,
    /// Of each hole, from and to.
    pub(super) except: Box<[[Box<[u32]>; 2]]>,
}

impl Parts {
    /// Of a rule whose alternatives are known.
    pub(super) fn of(rule: &Rule, identities: &IdentityIndex) -> Self {
        let hole = |hole: &septum_rules::rule::Except| {
            [identities.numbers(&hole.from), identities.numbers(&hole.to)]
        };
        Self {
            from: identities.numbers(&rule.from),
            to: identities.numbers(&rule.to),
            except: rule.except.iter().map(hole).collect(),
        }
    }

    /// What is asked of the owner of a gate.
    pub(super) fn asked(&self, gate: Gate) -> &[u32] {
        match gate {
            Gate::Egress => &self.from,
            Gate::Ingress => &self.to,
        }
    }
}

impl RuleIndex {
    pub(super) fn new(policy: &Policy, now: Date, identities: &IdentityIndex) -> Self {
        let mut index = Self::default();
        for (id, rule) in (0..).zip(&policy.rules) {
            index.set(RuleId(id), (!rule.is_expired(now)).then(|| Parts::of(rule, identities)));
        }
        index
    }

    /// A rule in force.
    pub(super) fn parts(&self, rule: RuleId) -> Option<&Parts> {
        self.parts.get(rule.index())?.as_ref()
    }

    /// Another rule under this number, or none in force; the number may be the next one.
    pub(super) fn set(&mut self, id: RuleId, parts: Option<Parts>) {
        if id.index() == self.parts.len() {
            self.parts.push(None);
        }
        if let Some(before) = self.parts[id.index()].take() {
            for (index, alternatives) in [(&mut self.from, &before.from), (&mut self.to, &before.to)] {
                for alternative in alternatives {
                    index[*alternative as usize].retain(|known| *known != id);
                }
            }
        }
        if let Some(parts) = &parts {
            for (index, alternatives) in [(&mut self.from, &parts.from), (&mut self.to, &parts.to)] {
                for alternative in alternatives {
                    if index.len() <= *alternative as usize {
                        index.resize(*alternative as usize + 1, Vec::new());
                    }
                    index[*alternative as usize].push(id);
                }
            }
        }
        self.parts[id.index()] = parts;
    }

    /// The rules whose `from` an identity satisfies; some may come twice.
    pub(super) fn leaving<'a>(
        &'a self,
        identities: &'a IdentityIndex,
        identity: u32,
    ) -> impl Iterator<Item = RuleId> + 'a {
        identities.satisfied(identity).flat_map(|number| listing(&self.from, number))
    }

    /// The rules whose `to` an identity satisfies; some may come twice.
    pub(super) fn arriving<'a>(
        &'a self,
        identities: &'a IdentityIndex,
        identity: u32,
    ) -> impl Iterator<Item = RuleId> + 'a {
        identities.satisfied(identity).flat_map(|number| listing(&self.to, number))
    }

    /// The rules that ask for one of these of the gate's owner; some may come twice.
    pub(super) fn asking<'a>(
        &'a self,
        gate: Gate,
        alternatives: &'a [u32],
    ) -> impl Iterator<Item = RuleId> + 'a {
        let index = match gate {
            Gate::Egress => &self.from,
            Gate::Ingress => &self.to,
        };
        alternatives.iter().flat_map(|number| listing(index, *number))
    }
}

/// The rules that list an alternative.
fn listing(index: &[Vec<RuleId>], number: u32) -> impl Iterator<Item = RuleId> + '_ {
    index.get(number as usize).into_iter().flatten().copied()
}
