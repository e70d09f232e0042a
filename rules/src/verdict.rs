//! What is decided about a flow, and by whom.

use std::fmt;

use crate::identity::RuleId;

/// Which of a flow's two gates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Gate {
    /// The source's.
    Egress,
    /// The destination's.
    Ingress,
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Egress => "egress",
            Self::Ingress => "ingress",
        })
    }
}

/// What happens to the flow. Can grow (`Inspect`, for layer 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// Both gates let it through.
    Allow,
    /// It stops here.
    Deny(Refusal),
}

impl Verdict {
    /// Whether the flow passes.
    pub const fn is_allow(self) -> bool {
        matches!(self, Self::Allow)
    }

    /// Who refuses it, if it does not pass.
    pub const fn refusal(self) -> Option<Refusal> {
        match self {
            Self::Allow => None,
            Self::Deny(refusal) => Some(refusal),
        }
    }
}

/// Who refused. Where both gates refuse, the egress gate is named: it comes first on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// The source's gate.
    Egress,
    /// The destination's gate.
    Ingress,
    /// Two members of one isolated segment; no rule or audit mode changes this.
    Isolation,
    /// One end is attached but not described.
    Undescribed,
}

impl Refusal {
    /// The word for it in the output for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Egress => "egress",
            Self::Ingress => "ingress",
            Self::Isolation => "isolation",
            Self::Undescribed => "undescribed",
        }
    }
}

/// What decided at one gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Decider {
    /// This rule.
    Rule(RuleId),
    /// No rule: the policy's default, or the workload's `open`.
    Default,
    /// The endpoint is no workload and has no gate: its side is open.
    NoGate,
    /// The endpoint is not described.
    Undescribed,
}

/// One gate's decision about one flow.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GateDecision {
    /// Whether the gate, on its own, admits.
    pub admits: bool,
    /// What decided.
    pub decider: Decider,
    /// The workload is audited: a refusal is recorded and the gate forwards.
    pub audited: bool,
    /// Audited rules that matched before the deciding one, in the order of evaluation: recorded, deciding nothing.
    pub audited_rules: Vec<RuleId>,
}

impl GateDecision {
    /// The side of an endpoint that is no workload.
    pub const fn no_gate() -> Self {
        Self { admits: true, decider: Decider::NoGate, audited: false, audited_rules: Vec::new() }
    }

    /// Whether the flow gets past this gate: admitted, or refused only on record.
    pub const fn passes(&self) -> bool {
        self.admits || self.audited
    }

    /// The deciding rule, where a rule decided.
    pub const fn rule(&self) -> Option<RuleId> {
        match self.decider {
            Decider::Rule(rule) => Some(rule),
            _ => None,
        }
    }
}

/// Both gates' decisions about one flow, and what follows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Decision {
    /// What happens.
    pub verdict: Verdict,
    /// The source's gate.
    pub egress: GateDecision,
    /// The destination's gate.
    pub ingress: GateDecision,
}

impl Decision {
    /// The decision of two gates that nothing else overrules.
    pub fn of_gates(egress: GateDecision, ingress: GateDecision) -> Self {
        let verdict = if !egress.passes() {
            Verdict::Deny(Refusal::Egress)
        } else if !ingress.passes() {
            Verdict::Deny(Refusal::Ingress)
        } else {
            Verdict::Allow
        };
        Self { verdict, egress, ingress }
    }

    /// The gate that refused, with its decision.
    pub fn refusing_gate(&self) -> Option<(Gate, &GateDecision)> {
        match self.verdict {
            Verdict::Deny(Refusal::Egress) => Some((Gate::Egress, &self.egress)),
            Verdict::Deny(Refusal::Ingress) => Some((Gate::Ingress, &self.ingress)),
            _ => None,
        }
    }

    /// The rule to name for the flow: the refusing gate's; of an admitted flow the ingress gate's, or the egress
    /// gate's. None where something above the rules refused.
    pub fn rule(&self) -> Option<RuleId> {
        match self.verdict {
            Verdict::Allow => self.ingress.rule().or_else(|| self.egress.rule()),
            Verdict::Deny(_) => self.refusing_gate().and_then(|(_, gate)| gate.rule()),
        }
    }
}
