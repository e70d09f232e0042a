//! Which workloads satisfy which selectors by their labels, by the algebra of sets: a requirement is the set of the
//! workloads that fulfil it, an expression their intersection, a selector the union of its expressions.
//!
//! An intersection goes through the smallest of its sets and asks the others: a selector of one workload among a hundred
//! thousand costs about one step.
//!
//! Cost: for each expression the members of its smallest set times its requirements, and one word for each workload that
//! satisfies a selector.

use std::sync::Arc;

use hashbrown::HashMap;
use septum_rules::policy::Policy;
use septum_rules::selector::{Alternative, LabelExpression, Operator, Requirement};

use super::source::Source;
use super::work::{Exhausted, Work};

/// By workload a number of a list, and the lists: selectors that are satisfied by labels, sorted.
pub(super) type Satisfied = (Vec<u32>, Vec<Vec<u32>>);

/// # Errors
/// When that is more work than allowed.
pub(super) fn satisfied(source: &Source<'_>, work: &mut Work) -> Result<Satisfied, Exhausted> {
    let carriers = Carriers::of(source.policy);
    let mut satisfied: Vec<Vec<u32>> = vec![Vec::new(); source.policy.workloads.len()];
    for (number, selector) in (0..).zip(&source.selectors) {
        let mut members: Vec<u32> = Vec::new();
        for alternative in &selector.alternatives {
            let Alternative::Labels(expression) = alternative else { continue };
            members.extend(carriers.of_expression(expression, work)?);
        }
        members.sort_unstable();
        members.dedup();
        work.spend(members.len())?;
        for workload in members {
            satisfied[workload as usize].push(number);
        }
    }
    let mut known: HashMap<Vec<u32>, u32, ahash::RandomState> = HashMap::default();
    let mut lists = Vec::new();
    let mut numbers = Vec::with_capacity(satisfied.len());
    for list in satisfied {
        let number = known.get(&list).copied().unwrap_or_else(|| {
            lists.push(list.clone());
            known.insert(list, lists.len() as u32 - 1);
            lists.len() as u32 - 1
        });
        numbers.push(number);
    }
    Ok((numbers, lists))
}

/// Who carries which label: lists of workloads, in order.
struct Carriers<'p> {
    workloads: u32,
    by_key: HashMap<&'p str, OfKey<'p>, ahash::RandomState>,
}

#[derive(Default)]
struct OfKey<'p> {
    all: Vec<u32>,
    by_value: HashMap<&'p str, Vec<u32>, ahash::RandomState>,
}

/// The set of a requirement: those that are in one of some lists, or in none.
struct Fulfilling<'c> {
    lists: Vec<&'c [u32]>,
    is_in_one: bool,
}

impl Fulfilling<'_> {
    fn has(&self, workload: u32) -> bool {
        self.lists.iter().any(|list| list.binary_search(&workload).is_ok()) == self.is_in_one
    }

    fn listed(&self) -> usize {
        self.lists.iter().map(|list| list.len()).sum()
    }
}

impl<'p> Carriers<'p> {
    fn of(policy: &'p Policy) -> Self {
        let mut carriers = Self { workloads: policy.workloads.len() as u32, by_key: HashMap::default() };
        for (number, workload) in (0..).zip(&policy.workloads) {
            for (key, value) in &workload.labels {
                let of_key = carriers.by_key.entry(key).or_default();
                of_key.all.push(number);
                of_key.by_value.entry(value).or_default().push(number);
            }
        }
        carriers
    }

    /// The workloads that fulfil all requirements, in no order, some perhaps twice.
    fn of_expression(&self, expression: &LabelExpression, work: &mut Work) -> Result<Vec<u32>, Exhausted> {
        let mut sets: Vec<Fulfilling<'_>> =
            expression.requirements.iter().map(|requirement| self.fulfilling(requirement)).collect();
        sets.sort_by_key(|set| (!set.is_in_one, set.listed()));
        let (smallest, others) = match sets.split_first() {
            Some((first, others)) if first.is_in_one => (Some(first), others),
            _ => (None, sets.as_slice()),
        };
        let candidates = smallest.map_or(self.workloads as usize, Fulfilling::listed);
        let asked: usize = others.iter().map(|set| set.lists.len()).sum();
        work.spend(1 + asked + candidates * (1 + asked))?;
        let mut members = match smallest {
            Some(smallest) => smallest.lists.concat(),
            None => (0..self.workloads).collect(),
        };
        members.retain(|workload| others.iter().all(|set| set.has(*workload)));
        Ok(members)
    }

    fn fulfilling(&self, requirement: &Requirement) -> Fulfilling<'_> {
        let of_key = self.by_key.get(&*requirement.key);
        let with_values = |values: &[Arc<str>]| {
            let by_value = of_key
                .into_iter()
                .flat_map(|of_key| values.iter().map(|value| of_key.by_value.get(&**value)));
            by_value.flatten().map(Vec::as_slice).collect()
        };
        let with_key = || of_key.into_iter().map(|of_key| of_key.all.as_slice()).collect();
        let (lists, is_in_one) = match &requirement.operator {
            Operator::In(values) => (with_values(values), true),
            Operator::NotIn(values) => (with_values(values), false),
            Operator::Exists => (with_key(), true),
            Operator::DoesNotExist => (with_key(), false),
        };
        Fulfilling { lists, is_in_one }
    }
}
