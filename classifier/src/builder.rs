//! From a policy to a [`Classifier`]: the stages in their order.

use std::sync::Arc;

use septum_rules::date::Date;
use septum_rules::policy::Policy;
use septum_rules::selector::Alternative;
use septum_rules::verdict::Gate;

use crate::addresses::Addresses;
use crate::endpoint_class::EndpointClasses;
use crate::identities::{Identity, IdentitySet};
use crate::in_force::RulesInForce;
use crate::intern::Interner;
use crate::layer4;
use crate::limits::{BuildError, Limits};
use crate::split::Split;
use crate::verdict_table::VerdictBuild;
use crate::walk::{Sides, Walk};
use crate::{Classifier, Tables};

/// Who was told apart, and by what.
#[derive(Debug)]
pub(crate) struct Kept {
    /// What rules in force ask of endpoints, by number.
    pub(crate) alternatives: Vec<Alternative>,
    /// By number.
    pub(crate) identities: Vec<Identity>,
    /// Lists of alternatives, which identities have by number.
    pub(crate) sets: Interner<u32>,
}

/// Compiles one policy for one day.
#[derive(Clone, Debug)]
pub struct Builder<'p> {
    policy: &'p Policy,
    now: Date,
    limits: Limits,
    narrow: Option<u64>,
}

impl<'p> Builder<'p> {
    /// For `policy` as it is on the day `now` (UTC), with default [`Limits`].
    pub fn new(policy: &'p Policy, now: Date) -> Self {
        Self { policy, now, limits: Limits::default(), narrow: None }
    }

    /// Other limits.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Keeps pair by pair what rules say that apply to at most `area` pairs of identity classes, where otherwise
    /// the builder weighs the memory of both forms. Changes no verdict: for tests and measurements.
    pub fn narrow_up_to(mut self, area: u64) -> Self {
        self.narrow = Some(area);
        self
    }

    /// Compiles.
    ///
    /// # Errors
    /// A [`BuildError`] names the limit that the policy exceeds; time and memory are bounded by the limits.
    pub fn build(self) -> Result<Classifier, BuildError> {
        self.build_kept().map(|(classifier, _)| classifier)
    }

    /// Compiles, and keeps what [`crate::update`] needs of the way there.
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub(crate) fn build_kept(self) -> Result<(Classifier, Kept), BuildError> {
        let Self { policy, now, limits, narrow } = self;
        // Values of address tries have 31 bits.
        let limits = Limits { identities: limits.identities.min(1 << 30), ..limits };
        let rules = RulesInForce::collect(policy, now, &limits)?;
        let layer4 = layer4::compile(&rules.services, &limits)?;
        let mut identities = IdentitySet::new(policy, &rules, &limits)?;
        let addresses = Addresses::compile(policy, &rules, &mut identities, &limits)?;
        let sources = EndpointClasses::compile(Gate::Egress, &identities, &rules, &limits)?;
        let destinations = EndpointClasses::compile(Gate::Ingress, &identities, &rules, &limits)?;
        let split = Split::choose(&rules, &sources, &destinations, narrow, &limits);
        let sides = Sides { sources, destinations };
        let mut verdicts = VerdictBuild::new(policy, limits.table_entries)?;
        let trie = Walk::new(&rules, &layer4, &sides, split, &limits)?.run(&mut verdicts)?;
        let tables = Tables {
            now,
            valid_until: rules.valid_until,
            addresses,
            keys: identities.keys().into_boxed_slice(),
            layer4: layer4.classes,
            representatives: layer4.representatives.into_boxed_slice(),
            trie,
            verdicts: verdicts.finish(),
            rules_in_force: rules.rules.len(),
            source_classes: sides.sources.len(),
            destination_classes: sides.destinations.len(),
        };
        let alternatives = rules.alternatives.iter().map(|alternative| (*alternative).clone()).collect();
        let (identities, sets) = identities.into_parts();
        let classifier = Classifier { tables: Arc::new(tables), overlay: None };
        Ok((classifier, Kept { alternatives, identities, sets }))
    }
}
