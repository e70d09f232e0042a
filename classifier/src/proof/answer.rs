//! What becomes of a packet, with all that is recorded and told of it: what policy and object must agree on.

use septum_rules::identity::RuleId;
use septum_rules::rule::{DenyWith, LogMode};
use septum_rules::verdict::{Decision, Verdict};

use crate::Classifier;
use crate::verdict_table::GateEntry;

/// One answer, of the policy or of the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Verdict, both gates, deciding and audited rules.
    pub decision: Decision,
    /// The rule that is named for the flow.
    pub rule: Option<RuleId>,
    /// What goes to the flow log.
    pub log: LogMode,
    /// What a refused sender hears; `None` where nobody is refused.
    pub deny_with: Option<DenyWith>,
    /// Whether it is recorded because something was audited.
    pub audited: bool,
}

impl Classifier {
    /// What the object says under this number; `None` where a lookup would leave its table.
    pub(super) fn answer(&self, verdict: Option<u32>) -> Option<Answer> {
        let verdict = verdict?;
        let (entry, _) = self.verdicts.find(verdict)?;
        Some(Answer {
            decision: self.verdicts.decision(crate::VerdictId(verdict)),
            rule: entry.rule,
            log: entry.log,
            deny_with: told(entry.verdict, entry.deny_with),
            audited: entry.audited,
        })
    }

    /// Whether [`Classifier::answer`] is `meant`, without making it.
    pub(super) fn answers(&self, verdict: Option<u32>, meant: &Answer) -> bool {
        let Some((entry, audited_rules)) = verdict.and_then(|verdict| self.verdicts.find(verdict)) else {
            return false;
        };
        let gates = [(entry.egress, &meant.decision.egress), (entry.ingress, &meant.decision.ingress)];
        entry.verdict == meant.decision.verdict
            && entry.rule == meant.rule
            && entry.log == meant.log
            && told(entry.verdict, entry.deny_with) == meant.deny_with
            && entry.audited == meant.audited
            && gates.iter().zip(audited_rules).all(|((gate, meant), rules)| {
                let GateEntry { admits, decider, audited, .. } = *gate;
                (admits, decider, audited) == (meant.admits, meant.decider, meant.audited)
                    && rules == meant.audited_rules
            })
    }
}

fn told(verdict: Verdict, deny_with: DenyWith) -> Option<DenyWith> {
    match verdict {
        Verdict::Deny(_) => Some(deny_with),
        _ => None,
    }
}
