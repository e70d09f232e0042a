//! Why a flow passes or does not, in the words of the object that forwards.
//!
//! The decision is the compiled one. Only the nearest miss is asked of the source policy, by the reference
//! evaluator: it speaks of rules that decided nothing, which a compiled object does not hold.

use septum_rules::endpoint::Party;
use septum_rules::oracle::{NearestMiss, Oracle};
use septum_rules::policy::Policy;
use septum_rules::proto::Layer4;
use septum_rules::verdict::{Decision, Gate, Refusal, Verdict};

use crate::{Classifier, VerdictId};

/// An explained flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The verdict's number, for its attributes.
    pub verdict: VerdictId,
    /// Both gates.
    pub decision: Decision,
    /// Of a refusal by a gate: the nearest rule that would have admitted the flow there.
    pub nearest_miss: Option<NearestMiss>,
}

impl Classifier {
    /// Explains what becomes of the packet that opens this flow. `policy` is the one that was compiled.
    /// Cost: linear in the rules, for a refusal.
    ///
    /// # Panics
    /// When a party, or a rule that decided, is not the policy's.
    pub fn explain(&self, policy: &Policy, source: Party, destination: Party, layer4: Layer4) -> Explanation {
        let verdict = self.lookup(self.identify_party(source), self.identify_party(destination), layer4);
        let decision = self.decision(verdict);
        let refusing = match decision.verdict {
            Verdict::Deny(Refusal::Egress) => Some(Gate::Egress),
            Verdict::Deny(Refusal::Ingress) => Some(Gate::Ingress),
            _ => None,
        };
        let nearest_miss = refusing.and_then(|gate| {
            Oracle::new(policy, self.now).nearest_miss_at(gate, source, destination, layer4)
        });
        Explanation { verdict, decision, nearest_miss }
    }
}
