//! Which workloads satisfy which selectors by their labels, by the algebra of sets: a requirement is the set of the
//! workloads that fulfil it, an expression their intersection, a selector the union of its expressions.
//!
//! Cost: workloads / 64 for each requirement, and one word for each workload that satisfies a selector.

use std::sync::Arc;

use hashbrown::HashMap;
use septum_rules::policy::Policy;
use septum_rules::selector::{Alternative, LabelExpression, Operator};

use super::source::Source;
use super::work::{Exhausted, Work};
use crate::bits::ones;

/// By workload a number of a list, and the lists: selectors that are satisfied by labels, sorted.
pub(super) type Satisfied = (Vec<u32>, Vec<Vec<u32>>);

/// # Errors
/// When that is more work than allowed.
pub(super) fn satisfied(source: &Source<'_>, work: &mut Work) -> Result<Satisfied, Exhausted> {
    let carriers = Carriers::of(source.policy);
    let mut satisfied: Vec<Vec<u32>> = vec![Vec::new(); source.policy.workloads.len()];
    for (number, selector) in (0..).zip(&source.selectors) {
        let mut members = Members::none(satisfied.len());
        for alternative in &selector.alternatives {
            let Alternative::Labels(expression) = alternative else { continue };
            work.spend((expression.requirements.len() + 1) * members.words.len())?;
            members.unite(&carriers.of_expression(expression));
        }
        for workload in ones(&members.words) {
            satisfied[workload].push(number);
            work.spend(1)?;
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

/// Who carries which label.
struct Carriers<'p> {
    workloads: usize,
    by_key: HashMap<&'p str, HashMap<&'p str, Vec<usize>, ahash::RandomState>, ahash::RandomState>,
}

impl<'p> Carriers<'p> {
    fn of(policy: &'p Policy) -> Self {
        let mut carriers = Self { workloads: policy.workloads.len(), by_key: HashMap::default() };
        for (number, workload) in policy.workloads.iter().enumerate() {
            for (key, value) in &workload.labels {
                carriers.by_key.entry(key).or_default().entry(value).or_default().push(number);
            }
        }
        carriers
    }

    fn of_expression(&self, expression: &LabelExpression) -> Members {
        let mut members = Members::all(self.workloads);
        for requirement in &expression.requirements {
            match &requirement.operator {
                Operator::In(values) => members.keep(&self.with_values(&requirement.key, values)),
                Operator::NotIn(values) => members.remove(&self.with_values(&requirement.key, values)),
                Operator::Exists => members.keep(&self.with_key(&requirement.key)),
                Operator::DoesNotExist => members.remove(&self.with_key(&requirement.key)),
            }
        }
        members
    }

    fn with_values(&self, key: &str, values: &[Arc<str>]) -> Members {
        let mut members = Members::none(self.workloads);
        if let Some(by_value) = self.by_key.get(key) {
            values
                .iter()
                .filter_map(|value| by_value.get(&**value))
                .flatten()
                .for_each(|it| members.add(*it));
        }
        members
    }

    fn with_key(&self, key: &str) -> Members {
        let mut members = Members::none(self.workloads);
        if let Some(by_value) = self.by_key.get(key) {
            by_value.values().flatten().for_each(|workload| members.add(*workload));
        }
        members
    }
}

/// A set of workloads.
struct Members {
    words: Vec<u64>,
}

impl Members {
    fn none(workloads: usize) -> Self {
        Self { words: vec![0; workloads.div_ceil(64)] }
    }

    fn all(workloads: usize) -> Self {
        let mut all = Self::none(workloads);
        (0..workloads).for_each(|workload| all.add(workload));
        all
    }

    fn add(&mut self, workload: usize) {
        self.words[workload / 64] |= 1 << (workload % 64);
    }

    fn unite(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word |= other);
    }

    fn keep(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word &= other);
    }

    fn remove(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word &= !other);
    }
}
