//! How far a compiled policy is proved equal to its source: what `run` asks before a policy comes into force.
//!
//! Units: pairs of kinds of source and destination, each for every packet; see [`septum_classifier::Proof`].

use std::fmt;

use septum_classifier::{Budget, Proof, ProofError};
use septum_rules::policy::ProofMode;

use crate::snapshot::CompiledPolicy;

/// How far a compiled policy is proved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Nobody asked: enough for questions.
    #[default]
    Unasked,
    /// For every packet.
    Proved(Proof),
    /// As far as the budget reached; the policy says `proof = "budget"`.
    Unproved(Proof),
}

/// As the summary of `run` says it.
impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unasked => f.write_str("unproved"),
            Self::Proved(proof) => write!(f, "proved for all {} pairs", proof.pairs),
            Self::Unproved(proof) => write!(f, "unproved: {}", proof.unproved()),
        }
    }
}

impl CompiledPolicy {
    /// Proves the object equal to its source, as far as the policy demands it before it comes into force.
    ///
    /// # Errors
    /// When object and source differ, or the budget does not suffice and the policy does not say that this is enough.
    pub fn prove(self, budget: Budget) -> Result<Self, ProofError> {
        let standing = match (self.classifier.prove(&self.policy, budget), self.policy.settings.proof) {
            (Ok(proof), _) => Standing::Proved(proof),
            (Err(ProofError::Budget(covered)), ProofMode::Budget) => Standing::Unproved(*covered),
            (Err(error), _) => return Err(error),
        };
        Ok(Self { standing, ..self })
    }
}

#[cfg(test)]
mod tests {
    use septum_rules::load::load_text;

    use super::*;

    fn compiled(proof: &str) -> CompiledPolicy {
        let text = include_str!("../../examples/two-namespaces.toml");
        let text = text.replacen("version = 1\n", &format!("version = 1\nproof = \"{proof}\"\n"), 1);
        let policy = load_text("p.toml", &text).unwrap().policy;
        CompiledPolicy::compile(policy.into(), "2026-06-15".parse().unwrap()).unwrap()
    }

    #[test]
    fn a_policy_is_proved_before_it_comes_into_force() {
        let proved = compiled("required").prove(Budget::default()).unwrap();
        assert!(matches!(proved.standing, Standing::Proved(proof) if proof.unproved_pairs() == 0));
        assert!(proved.standing.to_string().starts_with("proved for all "));
    }

    #[test]
    fn a_proof_that_is_too_much_refuses_unless_the_policy_takes_what_there_is() {
        let too_little = Budget(100_000);
        let error = compiled("required").prove(too_little).unwrap_err();
        assert!(error.to_string().starts_with("unproved: "), "{error}");
        let marked = compiled("budget").prove(too_little).unwrap();
        assert_eq!(marked.standing.to_string(), error.to_string());
    }

    /// The object of another policy: whatever the setting, it does not come into force.
    #[test]
    fn a_mismatch_refuses_always() {
        for proof in ["required", "budget"] {
            let right = compiled(proof);
            let mut policy = (*right.policy).clone();
            policy.rules.clear();
            let wrong = CompiledPolicy { policy: policy.into(), ..right };
            assert!(matches!(wrong.prove(Budget::default()), Err(ProofError::Mismatch(_))));
        }
    }
}
