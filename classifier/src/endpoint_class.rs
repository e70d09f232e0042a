//! Identities as one side of a flow sees them; see `identities` for what a class joins.

use septum_rules::identity::SegmentId;
use septum_rules::selector::Alternative;
use septum_rules::verdict::Gate;

use crate::identities::{Identity, IdentitySet, Kind};
use crate::in_force::RulesInForce;
use crate::intern::Interner;
use crate::limits::{BuildError, Limits};

/// What a gate is like, and whom isolation keeps its owner from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct GateKind {
    /// The endpoint is attached but not described.
    pub(crate) init: bool,
    /// The endpoint is a workload.
    pub(crate) gate: bool,
    pub(crate) open: bool,
    pub(crate) audit: bool,
    pub(crate) isolated_in: Option<SegmentId>,
}

impl GateKind {
    /// The same, as words that are equal exactly where the kinds are.
    pub(crate) fn words(self) -> [u32; 2] {
        let bits = [self.init, self.gate, self.open, self.audit, self.isolated_in.is_some()];
        let word = bits.into_iter().fold(0, |word, bit| word << 1 | u32::from(bit));
        [word, self.isolated_in.map_or(0, |segment| segment.0)]
    }
}

/// The classes of one side of a flow: sources at egress gates, destinations at ingress gates.
#[derive(Debug)]
pub(crate) struct EndpointClasses {
    /// By identity, or by class of what was merged.
    pub(crate) class_of: Vec<u32>,
    /// By class.
    pub(crate) gates: Vec<GateKind>,
    /// By class: the selectors that it satisfies and that stand on this side of a rule, sorted.
    pub(crate) selectors: Vec<Box<[u32]>>,
    /// By selector: the classes that satisfy it, those with a gate first.
    pub(crate) members: Vec<Members>,
}

/// The classes that satisfy one selector.
#[derive(Clone, Debug, Default)]
pub(crate) struct Members {
    classes: Vec<u32>,
    with_gate: usize,
}

impl Members {
    pub(crate) fn all(&self) -> &[u32] {
        &self.classes
    }

    pub(crate) fn with_gate(&self) -> &[u32] {
        &self.classes[..self.with_gate]
    }
}

impl EndpointClasses {
    /// The classes of the sources ([`Gate::Egress`]) or the destinations.
    ///
    /// # Errors
    /// A limit, see [`BuildError`].
    pub(crate) fn compile(
        side: Gate,
        identities: &IdentitySet<'_>,
        rules: &RulesInForce<'_>,
        limits: &Limits,
    ) -> Result<Self, BuildError> {
        let selectors_of = selectors_by_alternative(side, rules);
        let alternatives_named = |wanted: &Alternative| {
            let position = rules.alternatives.iter().position(|alternative| *alternative == wanted);
            position.map(|number| number as u32)
        };
        let (any, world) = (alternatives_named(&Alternative::Any), alternatives_named(&Alternative::World));

        let mut merge = Merge::new(limits);
        for identity in &identities.identities {
            let gate = gate_kind(side, identity);
            merge.satisfied.clear();
            if !gate.init {
                let is_world = identity.kind == Kind::World;
                let sets = [identity.labels, identity.networks];
                let named = sets.into_iter().flat_map(|set| identities.sets.get(set)).copied();
                for alternative in named.chain(any).chain(world.filter(|_| is_world)) {
                    merge.satisfied.extend_from_slice(&selectors_of[alternative as usize]);
                }
                merge.satisfied.sort_unstable();
                merge.satisfied.dedup();
            }
            merge.add(gate)?;
        }
        Ok(merge.finish(rules.selectors.len()))
    }

    /// These classes, told apart only by the selectors for which `keeps` holds (by number), and by their gates.
    /// In the result [`EndpointClasses::class_of`] is by class of `self`.
    ///
    /// # Errors
    /// A limit, see [`BuildError`].
    pub(crate) fn merged(&self, keeps: &[bool], limits: &Limits) -> Result<Self, BuildError> {
        let mut merge = Merge::new(limits);
        for (gate, selectors) in self.gates.iter().zip(&self.selectors) {
            merge.satisfied.clear();
            merge.satisfied.extend(selectors.iter().filter(|selector| keeps[**selector as usize]));
            merge.add(*gate)?;
        }
        Ok(merge.finish(self.members.len()))
    }

    /// How many classes there are.
    pub(crate) fn len(&self) -> usize {
        self.gates.len()
    }

    /// Whether the class satisfies the selector (one that stands on this side).
    pub(crate) fn satisfies(&self, class: u32, selector: u32) -> bool {
        self.selectors[class as usize].binary_search(&selector).is_ok()
    }
}

/// Joins what has equal gates and satisfies equal selectors.
struct Merge {
    limit: usize,
    signatures: Interner<u32>,
    written: usize,
    signature: Vec<u32>,
    /// Of what is added next; sorted.
    satisfied: Vec<u32>,
    class_of: Vec<u32>,
    gates: Vec<GateKind>,
    selectors: Vec<Box<[u32]>>,
}

impl Merge {
    fn new(limits: &Limits) -> Self {
        Self {
            limit: limits.set_entries,
            signatures: Interner::new("identity classes", limits.set_entries),
            written: 0,
            signature: Vec::new(),
            satisfied: Vec::new(),
            class_of: Vec::new(),
            gates: Vec::new(),
            selectors: Vec::new(),
        }
    }

    fn add(&mut self, gate: GateKind) -> Result<(), BuildError> {
        self.signature.clear();
        self.signature.extend(gate.words());
        self.signature.extend_from_slice(&self.satisfied);
        self.written += self.signature.len();
        if self.written > self.limit {
            return Err(BuildError::SetEntries { limit: self.limit });
        }
        let class = self.signatures.intern(&self.signature)?;
        self.class_of.push(class);
        if class as usize == self.gates.len() {
            self.gates.push(gate);
            self.selectors.push(self.satisfied.as_slice().into());
        }
        Ok(())
    }

    fn finish(self, selector_count: usize) -> EndpointClasses {
        let members = members(&self.selectors, &self.gates, selector_count);
        EndpointClasses { class_of: self.class_of, gates: self.gates, selectors: self.selectors, members }
    }
}

fn gate_kind(side: Gate, identity: &Identity) -> GateKind {
    let role = identity.role;
    GateKind {
        init: identity.kind == Kind::Init,
        gate: identity.kind == Kind::Workload,
        open: match side {
            Gate::Egress => role.open_egress,
            Gate::Ingress => role.open_ingress,
        },
        audit: role.audit,
        isolated_in: role.isolated_in,
    }
}

/// By alternative: the selectors on this side that list it.
fn selectors_by_alternative(side: Gate, rules: &RulesInForce<'_>) -> Vec<Vec<u32>> {
    let mut selectors_of = vec![Vec::new(); rules.alternatives.len()];
    for (selector, used) in (0..).zip(&rules.used) {
        let stands_here = match side {
            Gate::Egress => used.from,
            Gate::Ingress => used.to,
        };
        if stands_here {
            for alternative in rules.selectors.get(selector) {
                selectors_of[*alternative as usize].push(selector);
            }
        }
    }
    selectors_of
}

fn members(selectors: &[Box<[u32]>], gates: &[GateKind], selector_count: usize) -> Vec<Members> {
    let mut members = vec![Members::default(); selector_count];
    for with_gate in [true, false] {
        for ((class, satisfied), gate) in (0..).zip(selectors).zip(gates) {
            if gate.gate == with_gate {
                for selector in satisfied {
                    members[*selector as usize].classes.push(class);
                }
            }
        }
        if with_gate {
            for list in &mut members {
                list.with_gate = list.classes.len();
            }
        }
    }
    members
}
