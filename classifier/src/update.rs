//! Changes that come into force without a compile: a rule, a workload of a known kind, a changed address.
//!
//! An [`Updater`] owns a policy, the object compiled from it, and what of the compile tells where a change reaches.
//! Each change makes a new [`Classifier`], which shares the tables and has a small overlay before them; objects that
//! were handed out before never change. What a change touches is computed anew, and before the new object can be had
//! it is proved against the policy for every packet that the change touches (`region_proof`); for all others it is
//! the object before.
//!
//! - *An address* that changes hands gets the identity of its new owner. A new workload needs an identity that is
//!   known: some workload (or an earlier one) satisfies the same label expressions and networks with like gates.
//! - *A rule* makes new programs for the pairs of identities that it applies to, and applied to. A label expression
//!   that no rule has used yet splits identities: the workloads that it means get identities of their own, whose
//!   *twins* in the tables give them the programs that do not change.
//! - A rule that is taken out keeps its number: it is put to rest, its last valid day being the day before. So
//!   numbers of rules, workloads, segments and networks stay what they are until the caller reads a policy anew.
//!
//! What is too wide or too unusual for that says so ([`UpdateError::NeedsCompile`]) and changes nothing; the caller
//! compiles ([`Updater::compile`], or in the background from the policy). So does what would make the overlay too large:
//! a compile takes it into the tables.
//!
//! Cost: for a rule, the pairs that it touches times the rules that apply to one end of them; for an address, its
//! alternatives. [`UpdateLimits`] bound it. [`Updater::new`] costs a compile and a pass over rules and workloads.

mod address;
mod asked;
mod claims;
#[cfg(test)]
mod corruption;
mod identity_index;
mod network_index;
mod pair;
mod region_proof;
mod repaint;
mod rule;
mod rule_index;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use septum_rules::date::Date;
use septum_rules::endpoint::Party;
use septum_rules::identity::{RuleId, WorkloadId};
use septum_rules::policy::Policy;
use septum_rules::rule::Rule;
use septum_rules::workload::Workload;

use self::asked::LabelsAsked;
use self::claims::Claims;
use self::identity_index::IdentityIndex;
use self::network_index::NetworkIndex;
use self::rule::Split;
use self::rule_index::RuleIndex;
use crate::overlay::Overlay;
use crate::{BuildError, Builder, Classifier, Limits, Witness};

/// One change of a policy. Names and indices are the policy's; a rule's selectors name its networks.
#[derive(Clone, Debug)]
pub enum Change {
    /// A rule of a name that is not taken; it gets the next number.
    AddRule(Rule),
    /// Another rule in the place of one.
    ReplaceRule(RuleId, Rule),
    /// A rule is put to rest.
    RemoveRule(RuleId),
    /// A workload of a name that is not taken; it gets the next number.
    AddWorkload(Workload),
    /// Other declared addresses for a workload; with none it is out of reach.
    SetAddresses(WorkloadId, Vec<IpAddr>),
}

/// How far a change may reach before a compile is the better way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpdateLimits {
    /// Pairs of identities that one change touches.
    pub touched_pairs: usize,
    /// Rules that are looked at for these pairs, summed over pairs.
    pub touched_rules: usize,
    /// Workloads that a new label expression means.
    pub split_workloads: usize,
    /// Intervals of ports, squared, of one pair.
    pub cells: usize,
    /// Entries of each part of the overlay, and changes that it holds.
    pub overlay: usize,
}

impl Default for UpdateLimits {
    fn default() -> Self {
        Self {
            touched_pairs: 1 << 10,
            touched_rules: 1 << 18,
            split_workloads: 1 << 8,
            cells: 1 << 14,
            overlay: 1 << 14,
        }
    }
}

/// What a change took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Updated {
    /// It was compiled in full.
    pub compiled: bool,
    /// Pairs of identities with new programs, each proved.
    pub pairs: usize,
    /// Packets that were compared in the proof, each for all that are like it.
    pub packets: usize,
}

/// Why a change did not come into force. Nothing has changed then, unless [`UpdateError::is_wrong`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpdateError {
    /// It is beyond what can be put before the tables.
    #[error("the policy must be compiled in full: {0}")]
    NeedsCompile(&'static str),
    /// The policy has no such rule or workload.
    #[error("the policy has no such {0}")]
    Unknown(&'static str),
    /// The name belongs to another.
    #[error("the name `{0}` is taken")]
    NameTaken(Arc<str>),
    /// The address belongs to another workload or to a gateway.
    #[error("the address {0} is taken")]
    AddressTaken(IpAddr),
    /// The policy exceeds a limit.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The new object was wrong: this packet shows it.
    #[error("the updated object differs from the policy: {:?} -> {:?} {}", .0.source, .0.destination, .0.layer4)]
    Mismatch(Box<Witness>),
    /// The new object was wrong: it takes this party for another kind than it is.
    #[error("the updated object takes {0:?} for another")]
    Identity(Party),
}

impl UpdateError {
    /// Whether a new object was made, and found wrong: it is not to be had, the policy holds the change, and a compile
    /// is due.
    pub fn is_wrong(&self) -> bool {
        matches!(self, Self::Mismatch(_) | Self::Identity(_))
    }
}

/// A rule that touches too much.
const WIDE: UpdateError = UpdateError::NeedsCompile("the rule applies to many pairs of identities");

/// A policy that changes, and its object.
#[derive(Debug)]
pub struct Updater {
    policy: Policy,
    now: Date,
    limits: Limits,
    bounds: UpdateLimits,
    current: Classifier,
    /// The tables alone.
    plain: Classifier,
    /// The next object's; where no change is under way it means what `current` means.
    overlay: Overlay,
    /// By identity: the sources of the overlay's pairs of which it is the destination.
    sources_of: HashMap<u32, Vec<u32>, ahash::RandomState>,
    identities: IdentityIndex,
    networks: NetworkIndex,
    rules: RuleIndex,
    labels_asked: LabelsAsked,
    claims: Claims,
    names: HashSet<Arc<str>, ahash::RandomState>,
    /// Rules in force that expire, by the first day on which they are not.
    expiries: BTreeMap<Date, u32>,
    /// Who was told apart since the last object, and is not proved yet.
    split: Vec<Split>,
    /// A change was made by halves: a compile is due.
    spoiled: bool,
}

impl Updater {
    /// Compiles `policy` as it is on the day `now` (UTC).
    ///
    /// # Errors
    /// [`BuildError`] when it exceeds a limit.
    pub fn new(policy: Policy, now: Date) -> Result<Self, BuildError> {
        Self::with_limits(policy, now, Limits::default(), UpdateLimits::default())
    }

    /// [`Updater::new`] with other limits.
    ///
    /// # Errors
    /// [`BuildError`] when the policy exceeds a limit.
    pub fn with_limits(
        policy: Policy,
        now: Date,
        limits: Limits,
        bounds: UpdateLimits,
    ) -> Result<Self, BuildError> {
        // So that adding one does not move them all.
        let mut policy = policy;
        policy.rules.reserve(bounds.overlay.min(1 << 10));
        policy.workloads.reserve(bounds.overlay.min(1 << 10));
        let (current, kept) = Builder::new(&policy, now).limits(limits).build_kept()?;
        let mut identities = IdentityIndex::new(&policy, kept);
        let networks = NetworkIndex::new(&policy, &identities.alternatives);
        let rules = RuleIndex::new(&policy, now, &identities);
        let claims = Claims::of(&policy);
        identities.add_members(&policy, &current, &claims);
        let mut expiries = BTreeMap::new();
        for rule in policy.rules.iter().filter(|rule| !rule.is_expired(now)) {
            if let Some(day) = rule.expires {
                *expiries.entry(day.tomorrow()).or_default() += 1;
            }
        }
        let rule_names = policy.rules.iter().map(|rule| Arc::clone(&rule.name));
        let names = rule_names.chain(policy.workloads.iter().map(|it| workload_name(&it.name))).collect();
        let overlay = Overlay::new(&current.tables);
        Ok(Self {
            policy,
            now,
            limits,
            bounds,
            plain: current.clone(),
            current,
            overlay,
            sources_of: HashMap::default(),
            identities,
            networks,
            rules,
            labels_asked: LabelsAsked::default(),
            claims,
            names,
            expiries,
            split: Vec::new(),
            spoiled: false,
        })
    }

    /// The policy, all changes included.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Its object. A clone is cheap, and never changes.
    pub fn classifier(&self) -> &Classifier {
        &self.current
    }

    /// Changes the policy, and makes its object without a compile.
    ///
    /// # Errors
    /// [`UpdateError`]; nothing has changed then (but see there).
    pub fn apply(&mut self, change: Change) -> Result<Updated, UpdateError> {
        if self.spoiled {
            return Err(UpdateError::NeedsCompile("an earlier change was not finished"));
        }
        self.check(&change)?;
        if self.overlay_is_full() {
            return Err(UpdateError::NeedsCompile("too much has changed since the last compile"));
        }
        let updated = match change {
            Change::AddRule(rule) => self.set_rule(RuleId(self.policy.rules.len() as u32), rule),
            Change::ReplaceRule(id, rule) => self.set_rule(id, rule),
            Change::RemoveRule(id) => self.set_rule(id, self.at_rest(id)),
            Change::AddWorkload(workload) => self.add_workload(workload),
            Change::SetAddresses(id, addresses) => self.set_addresses(id, addresses),
        };
        match &updated {
            Ok(_) => self.publish(),
            Err(error) if error.is_wrong() => self.spoiled = true,
            Err(_) => {}
        }
        updated
    }

    /// Changes the policy, and makes its object: without a compile if it can be, else with one.
    ///
    /// # Errors
    /// [`UpdateError`], but not [`UpdateError::NeedsCompile`].
    pub fn apply_or_compile(&mut self, change: Change) -> Result<Updated, UpdateError> {
        match self.apply(change.clone()) {
            Err(UpdateError::NeedsCompile(_)) => {
                let mut policy = self.policy.clone();
                match change {
                    Change::AddRule(rule) => policy.rules.push(rule),
                    Change::ReplaceRule(id, rule) => policy.rules[id.index()] = rule,
                    Change::RemoveRule(id) => policy.rules[id.index()] = self.at_rest(id),
                    Change::AddWorkload(workload) => policy.workloads.push(workload),
                    Change::SetAddresses(id, addresses) => {
                        policy.workloads[id.index()].addresses = addresses;
                    }
                }
                *self = Self::with_limits(policy, self.now, self.limits, self.bounds)?;
                Ok(Updated { compiled: true, ..Updated::default() })
            }
            outcome => outcome,
        }
    }

    /// Compiles the policy in full: the overlay's part of it goes into the tables.
    ///
    /// # Errors
    /// [`BuildError`]; nothing has changed then.
    pub fn compile(&mut self) -> Result<(), BuildError> {
        *self = Self::with_limits(self.policy.clone(), self.now, self.limits, self.bounds)?;
        Ok(())
    }

    /// The next object.
    fn candidate(&self) -> Classifier {
        let overlay = Some(Arc::new(self.overlay.clone()));
        Classifier { tables: Arc::clone(&self.current.tables), overlay }
    }

    fn publish(&mut self) {
        self.overlay.changes += 1;
        self.current = self.candidate();
    }

    fn overlay_is_full(&self) -> bool {
        let overlay = &self.overlay;
        let most = [
            overlay.addresses.len(),
            overlay.workloads.len(),
            overlay.identities.len(),
            overlay.pairs.len(),
            overlay.pairs.program_count(),
            overlay.verdicts.len(),
            overlay.audited_rules.len(),
        ];
        most.into_iter().chain([overlay.changes as usize]).any(|entries| entries > self.bounds.overlay)
    }

    /// Whether the change is one of this policy.
    fn check(&self, change: &Change) -> Result<(), UpdateError> {
        let is_free = |name: Arc<str>, shown: &Arc<str>| {
            if self.names.contains(&name) { Err(UpdateError::NameTaken(Arc::clone(shown))) } else { Ok(()) }
        };
        let known = |id: &RuleId| self.policy.rules.get(id.index()).ok_or(UpdateError::Unknown("rule"));
        let are_free = |workload: Option<u32>, addresses: &[IpAddr]| {
            let taken =
                addresses.iter().find(|address| self.claims.is_declared_by_other(**address, workload));
            taken.map_or(Ok(()), |address| Err(UpdateError::AddressTaken(*address)))
        };
        match change {
            Change::AddRule(rule) => is_free(Arc::clone(&rule.name), &rule.name),
            Change::ReplaceRule(id, rule) => match known(id)?.name == rule.name {
                true => Ok(()),
                false => is_free(Arc::clone(&rule.name), &rule.name),
            },
            Change::RemoveRule(id) => known(id).map(drop),
            Change::AddWorkload(workload) => {
                is_free(workload_name(&workload.name), &workload.name)?;
                if workload.segment.index() >= self.policy.segments.len() {
                    return Err(UpdateError::Unknown("segment"));
                }
                are_free(None, &workload.addresses)
            }
            Change::SetAddresses(id, addresses) => {
                if id.index() >= self.policy.workloads.len() {
                    return Err(UpdateError::Unknown("workload"));
                }
                are_free(Some(id.0), addresses)
            }
        }
    }

    /// The rule, past its last valid day.
    fn at_rest(&self, id: RuleId) -> Rule {
        let before = self.now.to_unix_seconds().saturating_sub(1);
        Rule { expires: Some(Date::from_unix_seconds(before)), ..self.policy.rules[id.index()].clone() }
    }
}

/// Rules and workloads have names of their own kind; one set holds both.
fn workload_name(name: &str) -> Arc<str> {
    format!("workload {name}").into()
}
