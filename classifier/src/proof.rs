//! Equality of a compiled object and its source, decided for every packet, not sampled.
//!
//! The packets are divided so finely that both sides are constant on each part: by the edges that the policy's text
//! has (prefixes, addresses, services) and by the edges that the compiled tables have (slots of the tries, changes
//! in the port tables). One packet of each part then stands for all of it. Parts on which both sides read the same
//! things are joined: parties by their identity and the selectors they satisfy, packets by their class and the
//! service lists that hold them, pairs by their program and the rules that apply.
//!
//! What the policy says is taken from the policy and the reference evaluator's selectors; no code is shared with the
//! builder. What the object says is read from its tables by the same lookups that forward.
//!
//! Covered: verdict, deciders, audit flags and audited rules of both gates. Not covered: the attributes of a verdict
//! (log, what a refused sender hears), which change nothing that is admitted.
//!
//! Cost: edges times selectors and service lists, once; rules for each pair of parties; distinct pairs times
//! packets times their rules. [`Budget`] bounds the sum.

mod parties;
mod services;
mod source;

use hashbrown::HashSet;
use septum_rules::endpoint::Party;
use septum_rules::policy::Policy;
use septum_rules::proto::Layer4;
use septum_rules::verdict::Decision;

use self::parties::ProofParty;
use self::source::{Applying, Source};
use crate::rule_trie::Program;
use crate::{Classifier, VerdictId};

/// How much work a proof may be, in comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget(pub u64);

impl Default for Budget {
    /// Seconds rather than minutes.
    fn default() -> Self {
        Self(1 << 32)
    }
}

/// What a finished proof covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Kinds of endpoint at one address that policy or object tell apart.
    pub parties: usize,
    /// Kinds of packet that policy or object tell apart.
    pub packets: usize,
    /// Ordered pairs of parties, all of them.
    pub pairs: u64,
    /// Pairs that differ in their program or in the rules that apply; each was compared for every kind of packet.
    pub distinct_pairs: u64,
}

/// A packet for which policy and object differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// The source.
    pub source: Party,
    /// The destination.
    pub destination: Party,
    /// The packet.
    pub layer4: Layer4,
    /// What the policy means.
    pub meant: Decision,
    /// What the object says.
    pub compiled: Decision,
}

/// Why there is no proof.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The object is wrong; it must not be published.
    #[error(
        "the compiled object differs from the policy: {:?} -> {:?} {} gives {:?}, and should give {:?}",
        .0.source, .0.destination, .0.layer4, .0.compiled.verdict, .0.meant.verdict
    )]
    Mismatch(Box<Witness>),
    /// The work did not fit its budget.
    #[error("unproved: {done} of {pairs} pairs fit the budget")]
    Budget {
        /// Pairs that were compared.
        done: u64,
        /// All pairs.
        pairs: u64,
    },
}

impl Classifier {
    /// Decides whether this object means what `policy` means on the day for which it was compiled.
    ///
    /// # Errors
    /// [`ProofError::Mismatch`] with a packet that shows the difference; [`ProofError::Budget`] when there was too
    /// much to compare.
    pub fn prove(&self, policy: &Policy, budget: Budget) -> Result<Proof, ProofError> {
        let source = Source::read(policy, self.now());
        let parties = parties::representatives(self, &source);
        let packets = services::representatives(self, &source);
        let decisions: Vec<Decision> =
            (0..self.verdict_count() as u32).map(|verdict| self.decision(VerdictId(verdict))).collect();
        let pairs = parties.len() as u64 * parties.len() as u64;
        let mut proof = Proof { parties: parties.len(), packets: packets.len(), pairs, distinct_pairs: 0 };
        let mut compared: HashSet<(Program, Applying), ahash::RandomState> = HashSet::default();
        let (mut work, mut done) = (0_u64, 0);
        for from in &parties {
            let leaving = source.rules_from(from);
            for to in &parties {
                work += leaving.len() as u64 + 1;
                if work > budget.0 {
                    return Err(ProofError::Budget { done, pairs });
                }
                done += 1;
                let applying = source.applying(from, to, &leaving);
                let program = self.trie.program(from.identity.0, to.identity.0);
                let key = (program, applying);
                if compared.contains(&key) {
                    continue;
                }
                work += packets.len() as u64 * (key.1.rules.len() as u64 + 1);
                for packet in &packets {
                    let compiled = &decisions[self.trie.verdict(program, packet.class) as usize];
                    let meant = source.decide(&key.1, packet);
                    if *compiled != meant {
                        let witness = witness(from, to, packet.layer4, meant, compiled);
                        return Err(ProofError::Mismatch(Box::new(witness)));
                    }
                }
                compared.insert(key);
                proof.distinct_pairs += 1;
            }
        }
        Ok(proof)
    }
}

fn witness(
    from: &ProofParty,
    to: &ProofParty,
    layer4: Layer4,
    meant: Decision,
    compiled: &Decision,
) -> Witness {
    Witness { source: from.party, destination: to.party, layer4, meant, compiled: compiled.clone() }
}
