//! For a refusal: the rule that came nearest to admitting the flow, and what it missed by.
//!
//! Every `allow` rule is asked in which fields it misses; the one with the fewest wins, and among equals the
//! first in the order of evaluation. A rule that matches in every field but is never reached, because a
//! matching `deny` or `pass` comes first, misses by being overruled.

use std::fmt;

use super::Oracle;
use crate::endpoint::{Endpoint, Party};
use crate::identity::RuleId;
use crate::proto::Layer4;
use crate::rule::{Action, Rule, Tier};
use crate::verdict::Gate;

/// One thing in which a rule misses a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MissedField {
    /// `from` does not match the source.
    From,
    /// `to` does not match the destination.
    To,
    /// None of its services holds the protocol and ports.
    Service,
    /// One of its `except` entries matches the flow.
    Except,
    /// It is past its last valid day.
    Expired,
    /// It stands at the other gate only.
    Side,
    /// It is audited and decides nothing.
    Audit,
    /// This `deny` or `pass` rule matches first.
    Overruled(RuleId),
}

/// The rule that came nearest to admitting a refused flow at one gate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NearestMiss {
    /// The gate that refused.
    pub gate: Gate,
    /// The nearest `allow` rule.
    pub rule: RuleId,
    /// In what it misses, never empty; a single field where one change would have admitted the flow.
    pub missed: Vec<MissedField>,
}

impl NearestMiss {
    /// The one field that missed, where it is only one.
    pub fn only_field(&self) -> Option<MissedField> {
        match *self.missed {
            [field] => Some(field),
            _ => None,
        }
    }
}

impl fmt::Display for MissedField {
    /// The field as a policy writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::From => "from",
            Self::To => "to",
            Self::Service => "service",
            Self::Except => "except",
            Self::Expired => "expires",
            Self::Side => "side",
            Self::Audit => "mode",
            Self::Overruled(_) => "overruled",
        })
    }
}

impl Oracle<'_> {
    /// The nearest miss of a refused flow: at the egress gate if that refuses, else at the ingress gate.
    /// `None` where both gates admit, where no `allow` rule exists, and where one end is not described.
    /// Isolation is not a gate's: no rule would have helped.
    ///
    /// # Panics
    /// When a party holds an index that is not the policy's.
    pub fn nearest_miss(&self, source: Party, destination: Party, layer4: Layer4) -> Option<NearestMiss> {
        if self.isolated(source, destination) {
            return None;
        }
        [Gate::Egress, Gate::Ingress]
            .into_iter()
            .find(|gate| !self.gate(*gate, source, destination, layer4).admits)
            .and_then(|gate| self.nearest_miss_at(gate, source, destination, layer4))
    }

    /// The nearest miss at one gate; `None` where it admits.
    ///
    /// # Panics
    /// When a party holds an index that is not the policy's.
    pub fn nearest_miss_at(
        &self,
        gate: Gate,
        source: Party,
        destination: Party,
        layer4: Layer4,
    ) -> Option<NearestMiss> {
        let undescribed = source.endpoint == Endpoint::Init || destination.endpoint == Endpoint::Init;
        if undescribed || self.gate(gate, source, destination, layer4).admits {
            return None;
        }
        let mut nearest: Option<NearestMiss> = None;
        // The rule behind which nothing of its tier, or nothing at all, is asked any more.
        let mut passed: Option<(Tier, RuleId)> = None;
        let mut denied: Option<RuleId> = None;
        for id in &self.order {
            let rule = &self.policy.rules[id.index()];
            let passed_here = passed.filter(|(tier, _)| *tier == rule.tier).map(|(_, by)| by);
            let overruling = denied.or(passed_here);
            if rule.action == Action::Allow {
                let mut missed = self.missed_fields(rule, gate, source, destination, layer4);
                missed.extend(overruling.map(MissedField::Overruled));
                if nearest.as_ref().is_none_or(|nearest| missed.len() < nearest.missed.len()) {
                    nearest = Some(NearestMiss { gate, rule: *id, missed });
                }
            } else if overruling.is_none()
                && !rule.audit
                && self.rule_matches(rule, gate, source, destination, layer4)
            {
                match rule.action {
                    Action::Deny => denied = Some(*id),
                    _ => passed = Some((rule.tier, *id)),
                }
            }
        }
        nearest
    }

    fn missed_fields(
        &self,
        rule: &Rule,
        gate: Gate,
        source: Party,
        destination: Party,
        layer4: Layer4,
    ) -> Vec<MissedField> {
        let excepted =
            rule.except.iter().any(|except| self.except_matches(except, source, destination, layer4));
        [
            (MissedField::From, !self.selector_matches(&rule.from, source)),
            (MissedField::To, !self.selector_matches(&rule.to, destination)),
            (MissedField::Service, !rule.serves(layer4)),
            (MissedField::Except, excepted),
            (MissedField::Expired, rule.is_expired(self.now)),
            (MissedField::Side, !rule.stands_at(gate)),
            (MissedField::Audit, rule.audit),
        ]
        .into_iter()
        .filter(|(_, missed)| *missed)
        .map(|(field, _)| field)
        .collect()
    }
}
