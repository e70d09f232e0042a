//! Every pair of classes: which rules apply to it, and so which program it has.
//!
//! The walk costs what it writes: for each source class, for each rule that it satisfies, for each
//! destination class that the rule also names, one word. Pairs that no rule names share a program with all
//! pairs of their kind. Rules that come too late for a pair are left out of its list (see `undecided`).

use hashbrown::HashMap;

use crate::endpoint_class::{EndpointClasses, GateKind};
use crate::in_force::RulesInForce;
use crate::intern::Interner;
use crate::items::Items;
use crate::layer4::Layer4Build;
use crate::limits::{BuildError, Limits};
use crate::program::{Ends, Item, Painter};
use crate::rule_trie::{RuleTrie, RuleTrieBuild};
use crate::undecided::Undecided;
use crate::verdict_table::VerdictBuild;

/// What the walk reads, and the items that it makes on its way.
pub(crate) struct Walk<'a> {
    rules: &'a RulesInForce<'a>,
    sources: &'a EndpointClasses,
    destinations: &'a EndpointClasses,
    limits: &'a Limits,
    class_count: u32,
    items: Items<'a>,
}

/// The rules that apply to one destination class, for the source class at hand.
#[derive(Clone, Debug)]
struct Applying {
    items: Vec<u32>,
    undecided: Undecided,
}

/// Gate kinds by number, and the number of each class.
struct GateKinds {
    kinds: Vec<GateKind>,
    of_class: Vec<u32>,
}

impl GateKinds {
    fn of(classes: &EndpointClasses) -> Self {
        let mut kinds: Vec<GateKind> = Vec::new();
        let mut numbers: HashMap<GateKind, u32, ahash::RandomState> = HashMap::default();
        let number = |gate: &GateKind| {
            *numbers.entry(*gate).or_insert_with(|| {
                kinds.push(*gate);
                kinds.len() as u32 - 1
            })
        };
        let of_class = classes.gates.iter().map(number).collect();
        Self { kinds, of_class }
    }
}

/// Finds or makes the programs of pairs.
struct Programs<'v, 'p> {
    trie: RuleTrieBuild,
    verdicts: &'v mut VerdictBuild<'p>,
    painter: Painter,
    class_count: u32,
    sources: GateKinds,
    destinations: GateKinds,
    lists: Interner<u32>,
    /// By the kinds of both ends and the list of items.
    known: HashMap<[u32; 3], u32, ahash::RandomState>,
}

impl<'v, 'p> Programs<'v, 'p> {
    fn new(walk: &Walk<'_>, verdicts: &'v mut VerdictBuild<'p>) -> Self {
        let limit = walk.limits.table_entries;
        Self {
            trie: RuleTrieBuild::new(walk.class_count, walk.limits),
            verdicts,
            painter: Painter::default(),
            class_count: walk.class_count,
            sources: GateKinds::of(walk.sources),
            destinations: GateKinds::of(walk.destinations),
            lists: Interner::new("rule lists", limit),
            known: HashMap::default(),
        }
    }

    /// The program of two ends of these kinds to which these items apply.
    fn number(&mut self, items: &Items<'_>, kinds: [u32; 2], list: &[u32]) -> Result<u32, BuildError> {
        let key = [kinds[0], kinds[1], self.lists.intern(list)?];
        if let Some(program) = self.known.get(&key) {
            return Ok(*program);
        }
        let ends = Ends {
            source: self.sources.kinds[kinds[0] as usize],
            destination: self.destinations.kinds[kinds[1] as usize],
        };
        let items: Vec<Item<'_>> = list.iter().map(|item| items.get(*item)).collect();
        let outcomes = self.painter.paint(ends, &items, self.class_count, self.verdicts)?;
        let program = self.trie.program(&outcomes)?;
        self.known.insert(key, program);
        Ok(program)
    }
}

impl<'a> Walk<'a> {
    pub(crate) fn new(
        rules: &'a RulesInForce<'a>,
        layer4: &'a Layer4Build,
        sources: &'a EndpointClasses,
        destinations: &'a EndpointClasses,
        limits: &'a Limits,
    ) -> Self {
        let items = Items::new(rules, layer4, limits.table_entries);
        Self { rules, sources, destinations, limits, class_count: layer4.classes.count(), items }
    }

    /// # Errors
    /// A limit, see [`BuildError`].
    pub(crate) fn run(mut self, verdicts: &mut VerdictBuild<'_>) -> Result<RuleTrie, BuildError> {
        let mut programs = Programs::new(&self, verdicts);
        let from = self.ranks_by_selector();
        let mut applying = vec![
            Applying { items: Vec::new(), undecided: Undecided::new(false, false) };
            self.destinations.len()
        ];
        let mut applications = 0_u64;
        let mut row = Vec::with_capacity(self.destinations.len());
        let (mut ranks, mut touched, mut by_kind) = (Vec::new(), Vec::new(), Vec::new());
        for source in 0..self.sources.len() as u32 {
            ranks.clear();
            for selector in &self.sources.selectors[source as usize] {
                ranks.extend_from_slice(&from[*selector as usize]);
            }
            ranks.sort_unstable();
            for rank in &ranks {
                applications += self.apply(source, *rank, &mut applying, &mut touched)?;
                if applications > self.limits.rule_applications {
                    return Err(BuildError::RuleApplications { limit: self.limits.rule_applications });
                }
            }
            let source_kind = programs.sources.of_class[source as usize];
            // A pair that no rule names has the program of its kinds.
            by_kind.clear();
            for kind in 0..programs.destinations.kinds.len() as u32 {
                by_kind.push(programs.number(&self.items, [source_kind, kind], &[])?);
            }
            row.clear();
            row.extend(programs.destinations.of_class.iter().map(|kind| by_kind[*kind as usize]));
            for destination in touched.drain(..) {
                let kinds = [source_kind, programs.destinations.of_class[destination as usize]];
                let applying = &mut applying[destination as usize];
                row[destination as usize] = programs.number(&self.items, kinds, &applying.items)?;
                applying.items.clear();
            }
            programs.trie.add_row(&row)?;
        }
        Ok(programs.trie.finish(&self.sources.class_of, &self.destinations.class_of, self.destinations.len()))
    }

    /// By selector: the ranks of the rules whose `from` it is.
    fn ranks_by_selector(&self) -> Vec<Vec<u32>> {
        let mut ranks = vec![Vec::new(); self.rules.selectors.len()];
        for (rank, rule) in (0..).zip(&self.rules.rules) {
            ranks[rule.from as usize].push(rank);
        }
        ranks
    }

    /// Adds a rule to each destination that it names, notes in `touched` those that had none; gives their number.
    fn apply(
        &mut self,
        source: u32,
        rank: u32,
        applying: &mut [Applying],
        touched: &mut Vec<u32>,
    ) -> Result<u64, BuildError> {
        let rule = &self.rules.rules[rank as usize];
        let members = &self.destinations.members[rule.to as usize];
        let source_has_gate = self.sources.gates[source as usize].gate;
        // Between two ends without a gate no rule is asked.
        let named = if source_has_gate { members.all() } else { members.with_gate() };
        let holes: Vec<_> =
            rule.except.iter().filter(|hole| self.sources.satisfies(source, hole.from)).copied().collect();
        let whole = self.items.extent(rank);
        for destination in named {
            let applying = &mut applying[*destination as usize];
            if applying.items.is_empty() {
                let has_gate = self.destinations.gates[*destination as usize].gate;
                applying.undecided = Undecided::new(source_has_gate, has_gate);
            }
            let (mut item, mut extent) = (rank, whole);
            if !holes.is_empty() {
                let mut lists: Vec<u32> = holes
                    .iter()
                    .filter(|hole| self.destinations.satisfies(*destination, hole.to))
                    .map(|hole| hole.services)
                    .collect();
                lists.sort_unstable();
                lists.dedup();
                if !lists.is_empty() {
                    item = self.items.with_holes(rank, &lists)?;
                    extent = self.items.extent(item);
                }
            }
            if applying.undecided.offer(rule, extent) {
                if applying.items.is_empty() {
                    touched.push(*destination);
                }
                applying.items.push(item);
            }
        }
        Ok(named.len() as u64 + 1)
    }
}
