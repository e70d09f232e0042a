//! Who is told apart: from addresses and labels to identities, and from identities to classes.
//!
//! An identity is a distinct combination of what a gate reads of an endpoint: its kind, the label expressions
//! that it satisfies, the named networks of its address, and its gates' role (isolation, defaults, audit). Only
//! what rules in force ask counts: ten thousand workloads of five kinds are five identities.
//!
//! Seen from one side of a flow even fewer differ. A *source class* joins the identities that satisfy the same
//! selectors where these stand in a `from`, and have like egress gates; a *destination class* likewise. The
//! rule trie is a matrix of classes; each identity has a row and a column of it.

use hashbrown::HashMap;
use septum_rules::address::Prefix;
use septum_rules::identity::{IdentityKey, SegmentId};
use septum_rules::policy::{Network, Policy};
use septum_rules::selector::{Alternative, LabelExpression, Operator};
use septum_rules::workload::Workload;
use sha2::{Digest, Sha256};

use crate::in_force::RulesInForce;
use crate::intern::Interner;
use crate::limits::{BuildError, Limits};

/// Kinds of endpoint, as [`septum_rules::endpoint::Endpoint`] without its indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Workload,
    Gateway,
    World,
    Init,
}

/// What the gates of an endpoint are like; all false for what has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Role {
    /// The isolated segment of which it is a member that is not promiscuous.
    pub(crate) isolated_in: Option<SegmentId>,
    pub(crate) open_egress: bool,
    pub(crate) open_ingress: bool,
    pub(crate) audit: bool,
}

/// One identity. The sets are numbers of lists of alternatives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub(crate) kind: Kind,
    pub(crate) role: Role,
    pub(crate) labels: u32,
    pub(crate) networks: u32,
}

/// All identities of a build, numbered as they are found; the first is the undescribed one.
pub(crate) struct IdentitySet<'p> {
    policy: &'p Policy,
    rules: &'p RulesInForce<'p>,
    limit: usize,
    /// Lists of alternatives: the label expressions, or the named networks, of an identity.
    pub(crate) sets: Interner<u32>,
    pub(crate) identities: Vec<Identity>,
    numbers: HashMap<Identity, u32, ahash::RandomState>,
    expressions: LabelIndex<'p>,
}

impl<'p> IdentitySet<'p> {
    /// The number of the undescribed identity.
    pub(crate) const INIT: u32 = 0;

    /// A set that knows only the undescribed identity.
    ///
    /// # Errors
    /// A limit, see [`BuildError`].
    pub(crate) fn new(
        policy: &'p Policy,
        rules: &'p RulesInForce<'p>,
        limits: &Limits,
    ) -> Result<Self, BuildError> {
        let mut set = Self {
            policy,
            rules,
            limit: limits.identities,
            sets: Interner::new("sets of selectors and networks", limits.set_entries),
            identities: Vec::new(),
            numbers: HashMap::default(),
            expressions: LabelIndex::new(&rules.alternatives),
        };
        let nothing = set.sets.intern(&[])?;
        set.number(Identity { kind: Kind::Init, role: Role::default(), labels: nothing, networks: nothing })?;
        Ok(set)
    }

    /// The number of an identity.
    ///
    /// # Errors
    /// [`BuildError::Identities`].
    pub(crate) fn number(&mut self, identity: Identity) -> Result<u32, BuildError> {
        if let Some(number) = self.numbers.get(&identity) {
            return Ok(*number);
        }
        if self.identities.len() >= self.limit {
            return Err(BuildError::Identities { limit: self.limit });
        }
        let number = self.identities.len() as u32;
        self.identities.push(identity);
        self.numbers.insert(identity, number);
        Ok(number)
    }

    /// What a gate reads of a workload but for its address: role and satisfied label expressions.
    ///
    /// # Errors
    /// A limit, or [`BuildError::Unresolved`].
    pub(crate) fn workload(&mut self, workload: &Workload) -> Result<Identity, BuildError> {
        let role = role(self.policy, workload)?;
        let labels = self.sets.intern(&self.expressions.satisfied_by(workload))?;
        Ok(Identity { kind: Kind::Workload, role, labels, networks: self.no_set() })
    }

    /// All identities, and the lists of alternatives that they have by number.
    pub(crate) fn into_parts(self) -> (Vec<Identity>, Interner<u32>) {
        (self.identities, self.sets)
    }

    /// A gateway or the world, at no address yet.
    pub(crate) fn nobody(&self, kind: Kind) -> Identity {
        Identity { kind, role: Role::default(), labels: self.no_set(), networks: self.no_set() }
    }

    fn no_set(&self) -> u32 {
        self.identities[Self::INIT as usize].labels
    }

    /// The stable keys of all identities: SHA-256 over the canonical form, cut to 128 bits.
    ///
    /// The form holds no number of this build: kind, role with the segment's name, then a digest for each label
    /// expression (requirements and values sorted) and each network (its name), sorted.
    pub(crate) fn keys(&self) -> Vec<IdentityKey> {
        let digests: Vec<[u8; 32]> =
            self.rules.alternatives.iter().map(|alternative| digest(alternative, self.policy)).collect();
        let key = |identity: &Identity| {
            let both = [identity.labels, identity.networks];
            let parts = both.iter().flat_map(|set| self.sets.get(*set));
            key(self.policy, identity, parts.map(|alternative| &digests[*alternative as usize]).collect())
        };
        self.identities.iter().map(key).collect()
    }
}

/// What the gates of a workload are like.
///
/// # Errors
/// [`BuildError::Unresolved`] when its segment does not exist.
pub(crate) fn role(policy: &Policy, workload: &Workload) -> Result<Role, BuildError> {
    let segment = policy.segments.get(workload.segment.index());
    let segment =
        segment.ok_or(BuildError::Unresolved { what: "segment", index: workload.segment.index() })?;
    let default_allow = policy.settings.default_allow;
    Ok(Role {
        isolated_in: (segment.isolated && !workload.promiscuous).then_some(workload.segment),
        open_egress: workload.open.egress || default_allow,
        open_ingress: workload.open.ingress || default_allow,
        audit: workload.audit,
    })
}

/// The stable key of an identity: SHA-256 over the canonical form, cut to 128 bits. `parts` are the digests of
/// its label expressions and networks, in any order.
pub(crate) fn key(policy: &Policy, identity: &Identity, mut parts: Vec<&[u8; 32]>) -> IdentityKey {
    let mut hash = Sha256::new();
    let role = identity.role;
    let segment = role.isolated_in.map(|segment| &*policy.segments[segment.index()].name);
    let (kind, egress, ingress) = (identity.kind, role.open_egress, role.open_ingress);
    hash.update(format!("{kind:?} {segment:?} {egress} {ingress} {}\n", role.audit));
    parts.sort_unstable();
    parts.dedup();
    parts.into_iter().for_each(|part| hash.update(part));
    let mut key = [0; 16];
    key.copy_from_slice(&hash.finalize()[..16]);
    IdentityKey(u128::from_be_bytes(key))
}

/// The digest of an alternative, for [`key`].
pub(crate) fn digest(alternative: &Alternative, policy: &Policy) -> [u8; 32] {
    Sha256::digest(canonical(alternative, policy)).into()
}

/// The canonical text of an alternative that names labels or a network. Values are quoted, so no two differ
/// in meaning and agree in text.
pub(crate) fn canonical(alternative: &Alternative, policy: &Policy) -> String {
    match alternative {
        Alternative::Any => "any".to_owned(),
        Alternative::World => "world".to_owned(),
        Alternative::Network(network) => format!("cidr:{:?}", policy.networks[network.index()].name),
        Alternative::Labels(expression) => {
            let sorted = |values: &[std::sync::Arc<str>]| {
                let mut values = values.to_vec();
                values.sort();
                values.dedup();
                values
            };
            let mut requirements: Vec<String> = expression
                .requirements
                .iter()
                .map(|requirement| match &requirement.operator {
                    Operator::In(values) => format!("{:?} in {:?}", requirement.key, sorted(values)),
                    Operator::NotIn(values) => format!("{:?} notin {:?}", requirement.key, sorted(values)),
                    Operator::Exists => format!("{:?} exists", requirement.key),
                    Operator::DoesNotExist => format!("{:?} absent", requirement.key),
                })
                .collect();
            requirements.sort();
            requirements.dedup();
            requirements.join(", ")
        }
    }
}

/// Finds the label expressions that a workload may satisfy without asking each.
struct LabelIndex<'p> {
    /// Expressions that demand one of some values of a key, under each of these.
    by_value: HashMap<(&'p str, &'p str), Vec<(u32, &'p LabelExpression)>, ahash::RandomState>,
    /// Those that demand no value.
    others: Vec<(u32, &'p LabelExpression)>,
}

impl<'p> LabelIndex<'p> {
    fn new(alternatives: &[&'p Alternative]) -> Self {
        let mut index = Self { by_value: HashMap::default(), others: Vec::new() };
        for (number, alternative) in (0..).zip(alternatives) {
            let Alternative::Labels(expression) = alternative else { continue };
            let demanded =
                expression.requirements.iter().find_map(|requirement| match &requirement.operator {
                    Operator::In(values) => Some((&*requirement.key, values)),
                    _ => None,
                });
            match demanded {
                Some((key, values)) => {
                    for value in values {
                        index.by_value.entry((key, value)).or_default().push((number, expression));
                    }
                }
                None => index.others.push((number, expression)),
            }
        }
        index
    }

    /// The numbers of the satisfied expressions, sorted.
    fn satisfied_by(&self, workload: &Workload) -> Vec<u32> {
        let candidates =
            workload.labels.iter().filter_map(|(key, value)| self.by_value.get(&(&**key, &**value)));
        let mut satisfied: Vec<u32> = candidates
            .flatten()
            .chain(&self.others)
            .filter(|(_, expression)| expression.matches(&workload.labels))
            .map(|(number, _)| *number)
            .collect();
        satisfied.sort_unstable();
        satisfied.dedup();
        satisfied
    }
}

/// The closed ranges of one family that a network's prefixes cover, on the line of that family's addresses.
pub(crate) fn network_ranges(network: &Network, ipv4: bool) -> Vec<(u128, u128)> {
    let ranges = |prefixes: &[Prefix]| -> Vec<(u128, u128)> {
        let of_family = prefixes.iter().filter(|prefix| prefix.is_ipv4() == ipv4);
        of_family.map(|prefix| (point(prefix.network()), point(prefix.last()))).collect()
    };
    crate::interval::difference(&ranges(&network.include), &ranges(&network.except))
}

/// An address on the line of its family.
pub(crate) fn point(address: std::net::IpAddr) -> u128 {
    match address {
        std::net::IpAddr::V4(address) => address.to_bits().into(),
        std::net::IpAddr::V6(address) => address.to_bits(),
    }
}
