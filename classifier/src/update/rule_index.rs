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
    /// By alternative: the rules whose `from`, or `to`, lists it, by number.
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
        let before = self.parts[id.index()].take();
        let (old, new) = (before.as_ref(), parts.as_ref());
        relist(&mut self.from, id, old.map(|it| &*it.from), new.map(|it| &*it.from));
        relist(&mut self.to, id, old.map(|it| &*it.to), new.map(|it| &*it.to));
        self.parts[id.index()] = parts;
    }

    /// The rules that ask for one of these of the gate's owner; some may come twice.
    pub(super) fn asking(&self, gate: Gate, alternatives: &[u32]) -> impl Iterator<Item = RuleId> {
        alternatives.iter().flat_map(move |number| self.listing(gate, *number)).copied()
    }

    /// How many that are, those that come twice counted twice.
    pub(super) fn count_asking(&self, gate: Gate, alternatives: &[u32]) -> usize {
        alternatives.iter().map(|number| self.listing(gate, *number).len()).sum()
    }

    /// The rules that list an alternative for the gate's owner.
    fn listing(&self, gate: Gate, number: u32) -> &[RuleId] {
        let index = match gate {
            Gate::Egress => &self.from,
            Gate::Ingress => &self.to,
        };
        index.get(number as usize).map_or(&[], |rules| rules)
    }
}

/// Takes a rule out of the lists of some alternatives, and puts it into those of others; where thousands of rules name one
/// alternative, that moves long lists.
fn relist(index: &mut Vec<Vec<RuleId>>, id: RuleId, before: Option<&[u32]>, after: Option<&[u32]>) {
    if before == after {
        return;
    }
    for alternative in before.into_iter().flatten() {
        let list = &mut index[*alternative as usize];
        if let Ok(at) = list.binary_search(&id) {
            list.remove(at);
        }
    }
    for alternative in after.into_iter().flatten() {
        if index.len() <= *alternative as usize {
            index.resize(*alternative as usize + 1, Vec::new());
        }
        let list = &mut index[*alternative as usize];
        if let Err(at) = list.binary_search(&id) {
            list.insert(at, id);
        }
    }
}
