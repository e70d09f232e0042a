//! Equality of a compiled object and its source, decided for every packet, not sampled.
//!
//! The packets are divided so finely that both sides are constant on each part: by what the policy's text tells apart
//! (prefixes, owners of addresses, selectors, services) and by what the compiled tables tell apart. The tables are
//! walked whole, not asked at representatives: every way through the address tries (`address_trie::stretches`), every
//! port of the layer-4 pages (`layer4::sides`), the program of every pair of ends and every class under every program
//! that is met (`rule_trie::checked`). So a table that is wrong for one address or port alone makes a part of its own.
//!
//! Stages:
//!
//! 1. `source`: the rules in force, in order. `labels`, `line`: who satisfies which selectors, by the algebra of sets
//!    and a sweep over each family's addresses.
//! 2. `parties`: everybody, in classes that neither policy nor object tells apart, once as sources and once as
//!    destinations. `packets`: what can be at layer 4, likewise, in cells.
//! 3. `pairs`: for each pair of classes (those that nothing names, column by column: `columns`) the rules that apply (`items`). `comparison`: what the two gates then say of each cell
//!    (`gates`), and whether the object says the same (`answer`). Equal pairs are compared once, distinct ones on several threads.
//! 4. `certificate`: digests of what was proved equal.
//!
//! What the policy says is taken from the policy and the vocabulary that the reference evaluator uses; no code is
//! shared with the builder. What the object says is read from its tables, without trust that they are well formed:
//! where a lookup would leave a table or not end, the object has no answer, and that is a mismatch.
//!
//! Covered: verdict, deciding rules, audit flags and audited rules of both gates, the rule that is named, the flow log's
//! mode, what a refused sender hears, and the day until which the object is valid. Covered are also packets that nobody can
//! send: between addresses of different families, with ports in protocols that have none. Not covered is what no
//! verdict hangs on: identity keys, sizes.
//!
//! Cost: see the stages. [`Budget`] bounds the sum; where it ends, [`ProofError::Budget`] says what was covered.

mod answer;
mod certificate;
mod columns;
mod comparison;
#[cfg(test)]
mod corruption;
mod count;
mod gates;
mod items;
mod labels;
mod line;
mod packets;
mod pairs;
mod parties;
mod source;
mod work;

use std::num::NonZeroUsize;

use septum_rules::date::Date;
use septum_rules::endpoint::Party;
use septum_rules::policy::Policy;
use septum_rules::proto::Layer4;

pub use self::answer::Answer;
pub use self::certificate::{Certificate, Digest};
pub use self::count::Count;
pub(crate) use self::gates::complete;
use self::packets::Packets;
use self::pairs::{Pairs, Stopped};
use self::source::{Scope, Source};
pub use self::work::Budget;
use self::work::Work;
use crate::Classifier;

/// What a proof covered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// Stretches of addresses, of both families, that policy or object tell apart.
    pub stretches: usize,
    /// Kinds of source that policy or object tell apart.
    pub source_classes: usize,
    /// Kinds of destination.
    pub destination_classes: usize,
    /// Intervals of ports.
    pub intervals: usize,
    /// Kinds of packet at layer 4: pairs of intervals.
    pub cells: usize,
    /// Ordered pairs of kinds of source and destination.
    pub pairs: u64,
    /// Those that were found equal.
    pub proved_pairs: u64,
    /// Those of them that had to be compared; the others are like one of these.
    pub distinct_pairs: u64,
    /// The packets for which the object was found equal: ordered pairs of an endpoint at an address, both of one family,
    /// times protocol, source port and destination port.
    pub packets: Count,
    /// Units of work done; see [`Budget`].
    pub work: u64,
}

impl Proof {
    /// Pairs of which nothing is known.
    pub const fn unproved_pairs(&self) -> u64 {
        self.pairs - self.proved_pairs
    }

    /// What is not proved, for people: `N of M pairs`, or `all pairs` where not even these could be told apart.
    pub fn unproved(&self) -> String {
        match self.pairs {
            0 => "all pairs".to_owned(),
            pairs => format!("{} of {pairs} pairs", self.unproved_pairs()),
        }
    }
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
    pub meant: Answer,
    /// What the object says; `None` where looking it up would leave the tables.
    pub compiled: Option<Answer>,
}

/// Why there is no proof.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The object is wrong; it must not be published.
    #[error("{}", mismatch(.0))]
    Mismatch(Box<Witness>),
    /// The object does not know when its rules expire; it must not be published.
    #[error("the compiled object says that it is valid until {}, and should say {}", day(.compiled), day(.meant))]
    ValidUntil {
        /// What the policy means.
        meant: Option<Date>,
        /// What the object says.
        compiled: Option<Date>,
    },
    /// The work did not fit its budget.
    #[error("unproved: {}", .0.unproved())]
    Budget(Box<Proof>),
}

fn mismatch(witness: &Witness) -> String {
    let Witness { source, destination, layer4, meant, compiled } = witness;
    let compiled = match compiled {
        Some(compiled) => format!("{:?}", compiled.decision.verdict),
        None => "no answer".to_owned(),
    };
    let meant = meant.decision.verdict;
    format!(
        "the compiled object differs from the policy: {source:?} -> {destination:?} {layer4} gives {compiled}, and should give {meant:?}"
    )
}

fn day(day: &Option<Date>) -> String {
    day.map_or_else(|| "ever".to_owned(), |day| day.to_string())
}

impl Classifier {
    /// Decides whether this object means what `policy` means on the day for which it was compiled. [`Classifier::prove_on`]
    /// does it on several threads.
    ///
    /// # Errors
    /// [`ProofError::Mismatch`] with a packet that shows the difference; [`ProofError::Budget`], with what was covered,
    /// when there was too much to compare.
    ///
    /// # Panics
    /// When the policy is not resolved: an index in it is out of range. When the object was updated since its
    /// compile: what an update touches is proved as it is made.
    pub fn prove(&self, policy: &Policy, budget: Budget) -> Result<Proof, ProofError> {
        self.prove_on(NonZeroUsize::MIN, policy, budget)
    }

    /// [`Classifier::prove`] on up to so many threads, this one included; the others end with it. The outcome does not
    /// depend on how many there are, unless there is both a mismatch and a budget that ends before all is compared: then it
    /// is either.
    ///
    /// # Errors
    /// As [`Classifier::prove`].
    ///
    /// # Panics
    /// As [`Classifier::prove`].
    pub fn prove_on(
        &self,
        threads: NonZeroUsize,
        policy: &Policy,
        budget: Budget,
    ) -> Result<Proof, ProofError> {
        self.prove_within(policy, Scope::everything(), budget, threads)
    }

    /// [`Classifier::prove_on`] for some packets.
    fn prove_within(
        &self,
        policy: &Policy,
        scope: Scope,
        budget: Budget,
        threads: NonZeroUsize,
    ) -> Result<Proof, ProofError> {
        self.assert_plain();
        let source = Source::read(policy, self.now(), scope);
        if source.valid_until != self.valid_until() {
            return Err(ProofError::ValidUntil { meant: source.valid_until, compiled: self.valid_until() });
        }
        let (mut proof, mut work) = (Proof::default(), Work::new(budget));
        let outcome = self.compare(&source, threads, &mut proof, &mut work);
        proof.work = work.spent;
        match outcome {
            Ok(()) => Ok(proof),
            Err(Stopped::Mismatch(witness)) => Err(ProofError::Mismatch(witness)),
            Err(Stopped::Exhausted) => Err(ProofError::Budget(Box::new(proof))),
        }
    }

    fn compare(
        &self,
        source: &Source<'_>,
        threads: NonZeroUsize,
        proof: &mut Proof,
        work: &mut Work,
    ) -> Result<(), Stopped> {
        let parties = parties::sort(self, source, work)?;
        let sides = [&parties.sources, &parties.destinations];
        let [sources, destinations] = sides.map(|side| side.classes.len());
        proof.stretches = parties.stretches;
        (proof.source_classes, proof.destination_classes) = (sources, destinations);
        proof.pairs = sources as u64 * destinations as u64;
        let packets = Packets::sort(self, source, work)?;
        (proof.intervals, proof.cells) = (packets.intervals, packets.cells as usize);
        Pairs::new(self, source, &parties, &packets, threads).compare(proof, work)
    }
}
