//! `[[invariant]]`: what must hold for every packet, whatever the rules say. Data only; deciding is another's work.

use std::sync::Arc;

use crate::identity::WorkloadId;
use crate::proto::Service;
use crate::selector::Selector;
use crate::source::Span;

/// One `[[invariant]]`.
#[derive(Clone, Debug)]
pub struct Invariant {
    /// What it says.
    pub name: Arc<str>,
    /// What it claims.
    pub claim: Claim,
    /// Where it is written.
    pub span: Span,
}

/// What an invariant claims.
#[derive(Clone, Debug)]
pub enum Claim {
    /// No flow from these to those with one of these services is admitted.
    Never(Flows),
    /// Of the flows to `to` with one of these services, only those from `from` are admitted.
    Only(Flows),
    /// Starting at a workload that `of` selects, and going on from each one reached, by any number of hops, no
    /// other workloads than these are reached (those selected count as reached).
    BlastRadius {
        /// Where the attacker begins.
        of: Selector,
        /// Whom it may reach; may be empty.
        at_most: Vec<WorkloadId>,
    },
}

/// A set of flows.
#[derive(Clone, Debug)]
pub struct Flows {
    /// Sources; `any` where the file names none.
    pub from: Selector,
    /// Destinations; `any` where the file names none.
    pub to: Selector,
    /// Services; never empty.
    pub services: Vec<Service>,
}
