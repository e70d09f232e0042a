//! Which packets of a pair are still undecided, roughly: enough to leave out rules that come too late.
//!
//! The layer-4 classes are dealt into at most 64 buckets, one bit each. A rule that only touches a bucket leaves
//! it undecided; one that covers it decides it. So a rule is left out only if it surely takes nothing; with up to
//! 64 classes a bucket is one class, and exactly the rules that take something stay. Shorter lists are
//! also more often equal, and equal lists share a program.

use septum_rules::rule::{Action, Tier};
use septum_rules::verdict::Gate;

use crate::in_force::RuleInForce;

const BUCKETS: u32 = 64;

/// How classes are dealt into buckets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buckets {
    class_count: u32,
    width: u32,
}

/// The buckets that a rule touches, and those that it covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    touched: u64,
    covered: u64,
}

impl Buckets {
    pub(crate) fn of(class_count: u32) -> Self {
        Self { class_count, width: class_count.div_ceil(BUCKETS).max(1) }
    }

    /// The extent of runs that are disjoint and in order.
    pub(crate) fn extent(self, runs: &[(u32, u32)]) -> Extent {
        let mut extent = Extent::default();
        for (from, to) in runs.iter().filter(|(from, to)| from < to) {
            for bucket in from / self.width..=(to - 1) / self.width {
                extent.touched |= 1 << bucket;
                let first = bucket * self.width;
                let end = (first + self.width).min(self.class_count);
                extent.covered |= u64::from(*from <= first && end <= *to) << bucket;
            }
        }
        extent
    }
}

/// What no rule has surely decided, at each gate of a pair.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Undecided {
    tier: Tier,
    egress: GateUndecided,
    ingress: GateUndecided,
}

#[derive(Clone, Copy, Debug)]
struct GateUndecided {
    buckets: u64,
    /// Passed: undecided again when the tier ends.
    hidden: u64,
}

impl GateUndecided {
    fn of(has_gate: bool) -> Self {
        Self { buckets: if has_gate { u64::MAX } else { 0 }, hidden: 0 }
    }

    fn next_tier(&mut self) {
        self.buckets |= self.hidden;
        self.hidden = 0;
    }

    /// Whether the rule may take something here.
    fn offer(&mut self, rule: &RuleInForce, extent: Extent) -> bool {
        if self.buckets & extent.touched == 0 {
            return false;
        }
        if !rule.audit {
            if rule.action == Action::Pass {
                // Also what is only touched: a later rule may cover the bucket, but not what has passed.
                self.hidden |= self.buckets & extent.touched;
            }
            self.buckets &= !extent.covered;
        }
        true
    }
}

impl Undecided {
    /// Before the first rule.
    pub(crate) fn new(source_has_gate: bool, destination_has_gate: bool) -> Self {
        Self {
            tier: Tier::Admin,
            egress: GateUndecided::of(source_has_gate),
            ingress: GateUndecided::of(destination_has_gate),
        }
    }

    /// The next rule in the order of evaluation: whether it may decide or record something.
    pub(crate) fn offer(&mut self, rule: &RuleInForce, extent: Extent) -> bool {
        if rule.tier != self.tier {
            self.tier = rule.tier;
            self.egress.next_tier();
            self.ingress.next_tier();
        }
        let egress = rule.stands_at(Gate::Egress) && self.egress.offer(rule, extent);
        let ingress = rule.stands_at(Gate::Ingress) && self.ingress.offer(rule, extent);
        egress || ingress
    }
}

#[cfg(test)]
mod tests {
    use septum_rules::identity::RuleId;

    use super::*;

    fn rule(tier: Tier, action: Action) -> RuleInForce {
        let (id, audit, side, except) = (RuleId(0), false, None, Vec::new());
        RuleInForce { id, tier, action, audit, side, from: 0, to: 0, services: 0, except }
    }

    #[test]
    fn what_passed_is_asked_again_in_the_next_tier_even_if_its_bucket_was_covered() {
        let buckets = Buckets::of(640);
        let (part, all) = (buckets.extent(&[(5, 6)]), buckets.extent(&[(0, 640)]));
        let mut undecided = Undecided::new(true, true);
        assert!(undecided.offer(&rule(Tier::App, Action::Pass), part));
        assert!(undecided.offer(&rule(Tier::App, Action::Allow), all));
        assert!(!undecided.offer(&rule(Tier::App, Action::Allow), part));
        assert!(undecided.offer(&rule(Tier::Baseline, Action::Allow), part));
    }

    #[test]
    fn a_bucket_is_covered_only_as_a_whole() {
        let exact = Buckets::of(10);
        assert_eq!(exact.extent(&[(2, 4)]), Extent { touched: 0b1100, covered: 0b1100 });
        let coarse = Buckets::of(640);
        assert_eq!(coarse.extent(&[(5, 30)]), Extent { touched: 0b111, covered: 0b110 });
        let uneven = Buckets::of(65);
        let all = uneven.extent(&[(0, 65)]);
        assert_eq!((all.touched, all.covered), ((1 << 33) - 1, (1 << 33) - 1));
    }
}
