//! Selectors: which endpoints a rule speaks of.
//!
//! A label expression is what `kubectl -l` takes: requirements joined by commas, all of which must hold
//! (Kubernetes `apimachinery/pkg/labels`). `NotIn` and `!=` hold where the key is absent.

use std::sync::Arc;

use crate::identity::NetworkId;
use crate::segment::Labels;

/// A list of alternatives; matches where one of them does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Selector {
    /// At least one.
    pub alternatives: Vec<Alternative>,
}

/// One alternative of a [`Selector`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Alternative {
    /// `any`: every endpoint.
    Any,
    /// `world`: every address that belongs to no workload, gateway or undescribed port.
    World,
    /// `cidr:NAME`: every endpoint whose address in this packet lies in the network.
    Network(NetworkId),
    /// A label expression: workloads only.
    Labels(LabelExpression),
}

/// Requirements that must all hold. Empty: every workload.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelExpression {
    /// In file order.
    pub requirements: Vec<Requirement>,
}

/// One requirement on one label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requirement {
    /// The label's key.
    pub key: Arc<str>,
    /// What must hold of its value.
    pub operator: Operator,
}

/// What a [`Requirement`] demands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    /// `key=value`, `key in (a,b)`: present, with one of these values.
    In(Vec<Arc<str>>),
    /// `key!=value`, `key notin (a,b)`: absent, or present with none of these.
    NotIn(Vec<Arc<str>>),
    /// `key`: present.
    Exists,
    /// `!key`: absent.
    DoesNotExist,
}

impl Selector {
    /// `any`, and what an omitted `from` or `to` means.
    pub fn any() -> Self {
        Self { alternatives: vec![Alternative::Any] }
    }
}

impl LabelExpression {
    /// Whether a workload with these labels is meant.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|requirement| requirement.matches(labels))
    }
}

impl Requirement {
    /// Whether labels fulfil this requirement.
    pub fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match &self.operator {
            Operator::In(values) => value.is_some_and(|value| values.contains(value)),
            Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}
