//! A snapshot: everything that forwarding reads, immutable, replaced as a whole.
//!
//! A policy becomes a snapshot or it becomes an error; a worker never sees half of one. Building happens on the
//! publisher's thread, and so does destroying (see [`crate::publish`]).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use septum_classifier::{BuildError, Builder, Classifier, Limits, VerdictId};
use septum_rules::date::Date;
use septum_rules::policy::{Established, Policy};
use septum_rules::verdict::{Decider, Gate};

use crate::clock::BurstTime;
use crate::conntrack::Terms;
use crate::counters::Cell;
use crate::directory::Directory;
use crate::port::PortId;
use crate::standing::Standing;

/// Everything that forwarding reads.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts every change, of policy or of ports.
    pub generation: u64,
    /// Counts changes of policy only: live connections are judged again when it changes.
    pub policy_generation: u32,
    /// What it was compiled from.
    pub policy: Arc<Policy>,
    /// The compiled policy.
    pub classifier: Arc<Classifier>,
    /// Who is where.
    pub directory: Directory,
    /// Frames admitted or refused by each verdict, a row of cells a worker.
    pub hits: Box<[Box<[Cell]>]>,
    /// From when on it may not be forwarded by, in milliseconds since 1970: a rule's last valid day is over, and whoever should
    /// have compiled the policy anew has not.
    pub stale_from_ms: Option<u64>,
    /// What becomes of connections that an earlier policy admitted.
    pub established: Established,
    /// How connections are remembered.
    pub terms: Terms,
}

/// A policy, compiled: what a new snapshot needs besides the ports.
#[derive(Clone, Debug)]
pub struct CompiledPolicy {
    /// The source.
    pub policy: Arc<Policy>,
    /// The compiled object.
    pub classifier: Arc<Classifier>,
    /// How far the object is proved equal to the source.
    pub standing: Standing,
}

impl CompiledPolicy {
    /// Compiles a policy as of the day `now`.
    ///
    /// # Errors
    /// When it exceeds a limit of the compiled object.
    pub fn compile(policy: Arc<Policy>, now: Date) -> Result<Self, BuildError> {
        let classifier = Builder::new(&policy, now).limits(Limits::default()).build()?;
        Ok(Self { policy, classifier: Arc::new(classifier), standing: Standing::Unasked })
    }
}

impl Snapshot {
    /// The snapshot of a compiled policy whose workloads, by name, sit at `ports`, for that many workers.
    pub fn new(
        compiled: CompiledPolicy,
        ports: &HashMap<Arc<str>, PortId>,
        workers: usize,
        generation: u64,
        policy_generation: u32,
    ) -> Self {
        let CompiledPolicy { policy, classifier, .. } = compiled;
        let row = || (0..classifier.verdict_count()).map(|_| Cell::default()).collect();
        Self {
            generation,
            policy_generation,
            directory: Directory::build(&policy, &classifier, ports),
            hits: (0..workers).map(|_| row()).collect(),
            stale_from_ms: classifier.valid_until().map(|day| day.to_unix_seconds() * 1000 + Self::GRACE_MS),
            established: policy.settings.established,
            terms: Terms::new(&policy.settings.conntrack),
            policy,
            classifier,
        }
    }

    /// How long a new compile may take, and a clock that was set may go unnoticed.
    const GRACE_MS: u64 = 120_000;

    /// Whether it may not be forwarded by any more.
    pub fn is_stale(&self, now: BurstTime) -> bool {
        self.stale_from_ms.is_some_and(|from| now.unix_ms >= from)
    }

    /// How often each rule decided, summed over workers, added to `totals` by rule name and gate.
    pub fn add_rule_hits(&self, totals: &mut BTreeMap<(Arc<str>, Gate), u64>) {
        for verdict in (0..self.classifier.verdict_count() as u32).map(VerdictId) {
            let hits: u64 = self.hits.iter().map(|row| row[verdict.index()].get()).sum();
            if hits == 0 {
                continue;
            }
            let entry = self.classifier.verdict(verdict);
            for (gate, decider) in
                [(Gate::Egress, entry.egress.decider), (Gate::Ingress, entry.ingress.decider)]
            {
                if let Decider::Rule(rule) = decider {
                    let name = Arc::clone(&self.policy.rules[rule.index()].name);
                    *totals.entry((name, gate)).or_default() += hits;
                }
            }
        }
    }
}
