//! What the policy says of a pair: the two gates, tier by tier, as the semantics have it.
//!
//! Rules are asked in the order of evaluation; each takes the pieces that it holds and that nobody has taken. What
//! passes is left until the next tier. Cost: items times words of pieces.

use septum_rules::identity::RuleId;
use septum_rules::policy::Policy;
use septum_rules::rule::{Action, DenyWith, LogMode};
use septum_rules::verdict::{Decider, Decision, Gate, GateDecision, Refusal, Verdict};

use super::answer::Answer;
use super::items::{Items, Pieces, set};
use super::source::{Owner, Source};
use crate::bits::ones_of;

/// No rule decides.
const NOBODY: u32 = u32::MAX;

/// The two ends of a pair.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) source: Owner,
    pub(super) destination: Owner,
}

impl Ends {
    /// Whether there is a gate at which rules are asked.
    pub(super) fn are_asked(self) -> bool {
        let is_described = !self.source.is_init && !self.destination.is_init;
        is_described && (self.source.is_workload || self.destination.is_workload)
    }
}

/// What one gate says of each piece.
#[derive(Debug, Default)]
struct GateSays {
    /// Ranks.
    deciders: Vec<u32>,
    /// Empty where no audited rule matched any piece.
    audited: Vec<Vec<RuleId>>,
    undecided: Vec<u64>,
    passed: Vec<u64>,
}

/// What both gates say of each piece of the pair that was judged last.
#[derive(Debug, Default)]
pub(super) struct Judged {
    egress: GateSays,
    ingress: GateSays,
}

impl GateSays {
    fn judge(&mut self, gate: Gate, owner: Owner, items: &Items<'_, '_>, list: &[u32], pieces: &Pieces) {
        self.audited.clear();
        self.deciders.clear();
        self.deciders.resize(pieces.firsts.len(), NOBODY);
        if !owner.is_workload || list.is_empty() {
            return;
        }
        self.passed.clear();
        self.passed.resize(pieces.words, 0);
        self.undecided.clear();
        self.undecided.resize(pieces.words, 0);
        set(&mut self.undecided, 0, pieces.firsts.len());
        let mut tier = None;
        for (place, item) in list.iter().enumerate() {
            let (rank, _) = items.get(*item);
            let rule = items.source.rules[rank as usize].rule;
            if tier != Some(rule.tier) {
                tier = Some(rule.tier);
                for (undecided, passed) in self.undecided.iter_mut().zip(&mut self.passed) {
                    *undecided |= std::mem::take(passed);
                }
            }
            if !rule.stands_at(gate) {
                continue;
            }
            for (word, held) in pieces.held_by(place).iter().enumerate() {
                let taken = held & self.undecided[word];
                if taken == 0 {
                    continue;
                }
                if rule.audit {
                    self.audited.resize(pieces.firsts.len(), Vec::new());
                    ones_of(taken).for_each(|bit| {
                        self.audited[word * 64 + bit].push(items.source.rules[rank as usize].id);
                    });
                    continue;
                }
                self.undecided[word] &= !taken;
                match rule.action {
                    Action::Pass => self.passed[word] |= taken,
                    Action::Allow | Action::Deny => {
                        ones_of(taken).for_each(|bit| self.deciders[word * 64 + bit] = rank);
                    }
                }
            }
        }
    }

    fn decision(&self, owner: Owner, piece: usize, source: &Source<'_>) -> GateDecision {
        if !owner.is_workload {
            return GateDecision::no_gate();
        }
        let rule = match self.deciders[piece] {
            NOBODY => None,
            rank => Some(&source.rules[rank as usize]),
        };
        GateDecision {
            admits: rule.map_or(owner.is_open, |rule| rule.rule.action == Action::Allow),
            decider: rule.map_or(Decider::Default, |rule| Decider::Rule(rule.id)),
            audited: owner.is_audited,
            audited_rules: self.audited.get(piece).cloned().unwrap_or_default(),
        }
    }

    fn is_same(&self, one: usize, other: usize) -> bool {
        self.deciders[one] == self.deciders[other] && self.audited.get(one) == self.audited.get(other)
    }
}

impl Judged {
    /// Judges a pair to which these items apply; `pieces` were cut for them.
    pub(super) fn judge(&mut self, ends: Ends, items: &Items<'_, '_>, list: &[u32], pieces: &Pieces) {
        self.egress.judge(Gate::Egress, ends.source, items, list, pieces);
        self.ingress.judge(Gate::Ingress, ends.destination, items, list, pieces);
    }

    /// Whether the gates say the same of two pieces.
    pub(super) fn is_same(&self, one: usize, other: usize) -> bool {
        self.egress.is_same(one, other) && self.ingress.is_same(one, other)
    }

    /// What the policy says of a piece.
    pub(super) fn answer(&self, ends: Ends, piece: usize, source: &Source<'_>) -> Answer {
        if ends.source.is_init || ends.destination.is_init {
            let (decider, audited_rules) = (Decider::Undescribed, Vec::new());
            let gate = GateDecision { admits: false, decider, audited: false, audited_rules };
            let verdict = Verdict::Deny(Refusal::Undescribed);
            let decision = Decision { verdict, egress: gate.clone(), ingress: gate };
            let (log, deny_with) = (LogMode::New, Some(DenyWith::Drop));
            return Answer { decision, rule: None, log, deny_with, audited: false };
        }
        let egress = self.egress.decision(ends.source, piece, source);
        let ingress = self.ingress.decision(ends.destination, piece, source);
        let mut decision = Decision::of_gates(egress, ingress);
        let isolated_in = ends.source.isolated_in;
        if isolated_in.is_some() && isolated_in == ends.destination.isolated_in {
            decision.verdict = Verdict::Deny(Refusal::Isolation);
        }
        complete(source.policy, decision)
    }
}

/// Adds what is recorded and told: of a refusal by a gate what the refusing rule says, else what the policy says; of an
/// admitted flow the more talkative log of the deciding rules. Where something above the gates refuses, no audit is
/// recorded: it changes nothing.
pub(crate) fn complete(policy: &Policy, decision: Decision) -> Answer {
    let rule = decision.rule();
    let gates = [&decision.egress, &decision.ingress];
    let log_of = |rule: RuleId| policy.rules[rule.index()].log;
    let is_isolated = decision.verdict == Verdict::Deny(Refusal::Isolation);
    let log = match decision.verdict {
        Verdict::Allow => {
            let logs = gates.iter().filter_map(|gate| gate.rule()).map(log_of);
            logs.reduce(|one, other| if is_more(other, one) { other } else { one })
        }
        _ => rule.map(log_of),
    };
    let deny_with = rule.and_then(|rule| policy.rules[rule.index()].deny_with);
    let deny_with = deny_with.unwrap_or(policy.settings.deny_with);
    let records = |gate: &&GateDecision| (gate.audited && !gate.admits) || !gate.audited_rules.is_empty();
    Answer {
        rule,
        log: log.unwrap_or(LogMode::New),
        deny_with: (!decision.verdict.is_allow()).then_some(deny_with),
        audited: !is_isolated && gates.iter().any(records),
        decision,
    }
}

/// Whether the first log mode writes more than the second.
fn is_more(first: LogMode, second: LogMode) -> bool {
    match (first, second) {
        (LogMode::All, other) => other != LogMode::All,
        (LogMode::New, other) => matches!(other, LogMode::Sample(_) | LogMode::None),
        (LogMode::Sample(one_in), LogMode::Sample(in_many)) => one_in < in_many,
        (LogMode::Sample(_), other) => other == LogMode::None,
        (LogMode::None, _) => false,
    }
}
