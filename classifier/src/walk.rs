//! Every pair of classes: which rules apply to it, and so which program it has.
//!
//! The walk costs what it writes. For the matrix: for each coarse source class, for each wide rule that it satisfies,
//! for each destination class that the rule also names, one word. Pairs that no rule names share a program with all
//! pairs of their kind. For the table: the narrow rules of each pair of fine classes that they name, merged with
//! the wide ones of the cell in which the pair lies; where that changes nothing, the cell is enough. Rules that
//! come too late for a pair are left out of its list (see `undecided`).

use hashbrown::HashMap;
use septum_rules::rule::Action;

use crate::endpoint_class::{EndpointClasses, GateKind};
use crate::in_force::{RuleInForce, RulesInForce};
use crate::intern::Interner;
use crate::items::Items;
use crate::layer4::Layer4Build;
use crate::limits::{BuildError, Limits};
use crate::pair_matrix::PairMatrixBuild;
use crate::program::{Ends, Item, Painter};
use crate::rule_trie::{FineClasses, Place, Program, RuleTrie, RuleTrieBuild};
use crate::split::Split;
use crate::undecided::Undecided;
use crate::verdict_table::VerdictBuild;

/// The classes of both sides.
#[derive(Debug)]
pub(crate) struct Sides {
    pub(crate) sources: EndpointClasses,
    pub(crate) destinations: EndpointClasses,
}

impl Sides {
    fn merged(&self, split: &Split, limits: &Limits) -> Result<Self, BuildError> {
        Ok(Self {
            sources: self.sources.merged(&split.wide_from, limits)?,
            destinations: self.destinations.merged(&split.wide_to, limits)?,
        })
    }
}

/// What the walk reads, and the items that it makes on its way.
pub(crate) struct Walk<'a> {
    rules: &'a RulesInForce<'a>,
    /// The classes that all rules tell apart.
    fine: &'a Sides,
    /// Those that wide rules tell apart; their classes are numbered by fine class.
    coarse: Sides,
    split: Split,
    limits: &'a Limits,
    class_count: u32,
    items: Items<'a>,
    applications: u64,
}

/// The wide rules that apply to one coarse destination class, for the source class at hand.
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
    /// By list of items: the program between the first two kinds of ends that had it.
    known: Vec<Option<Known>>,
    /// Between other kinds: by these and by list.
    known_between: HashMap<[u32; 3], Known, ahash::RandomState>,
}

/// The program of a list of items between two kinds of ends.
#[derive(Clone, Copy, Debug)]
struct Known {
    kinds: [u32; 2],
    program: Program,
    /// In the matrix, once it stands there.
    number: Option<u32>,
}

impl<'v, 'p> Programs<'v, 'p> {
    fn new(walk: &Walk<'_>, verdicts: &'v mut VerdictBuild<'p>) -> Self {
        let limit = walk.limits.table_entries;
        Self {
            trie: RuleTrieBuild::new(walk.class_count, walk.limits),
            verdicts,
            painter: Painter::default(),
            class_count: walk.class_count,
            sources: GateKinds::of(&walk.coarse.sources),
            destinations: GateKinds::of(&walk.coarse.destinations),
            lists: Interner::new("rule lists", limit),
            known: Vec::new(),
            known_between: HashMap::default(),
        }
    }

    /// The program of two ends of these kinds to which the items of this list apply.
    fn program(&mut self, items: &Items<'_>, kinds: [u32; 2], list: u32) -> Result<Program, BuildError> {
        Ok(self.known(items, kinds, list)?.program)
    }

    /// The same, and its number in the matrix.
    fn cell(&mut self, items: &Items<'_>, kinds: [u32; 2], list: u32) -> Result<(Program, u32), BuildError> {
        let Known { program, number, .. } = *self.known(items, kinds, list)?;
        if let Some(number) = number {
            return Ok((program, number));
        }
        let number = self.trie.number(program)?;
        self.known(items, kinds, list)?.number = Some(number);
        Ok((program, number))
    }

    fn known(&mut self, items: &Items<'_>, kinds: [u32; 2], list: u32) -> Result<&mut Known, BuildError> {
        let at = list as usize;
        if at >= self.known.len() {
            self.known.resize(self.lists.len(), None);
        }
        let is_first = match self.known[at] {
            None => {
                self.known[at] = Some(self.paint(items, kinds, list)?);
                true
            }
            Some(known) => known.kinds == kinds,
        };
        let between = [kinds[0], kinds[1], list];
        if !is_first && !self.known_between.contains_key(&between) {
            let painted = self.paint(items, kinds, list)?;
            self.known_between.insert(between, painted);
        }
        let known = if is_first { self.known[at].as_mut() } else { self.known_between.get_mut(&between) };
        Ok(known.expect("it was there, or is now"))
    }

    fn paint(&mut self, items: &Items<'_>, kinds: [u32; 2], list: u32) -> Result<Known, BuildError> {
        let ends = Ends {
            source: self.sources.kinds[kinds[0] as usize],
            destination: self.destinations.kinds[kinds[1] as usize],
        };
        let items: Vec<Item<'_>> = self.lists.get(list).iter().map(|item| items.get(*item)).collect();
        let outcomes = self.painter.paint(ends, &items, self.class_count, self.verdicts)?;
        Ok(Known { kinds, program: self.trie.program(&outcomes)?, number: None })
    }
}

/// One coarse source class: by coarse destination class the list of wide rules, and the program.
#[derive(Debug, Default)]
struct Row {
    lists: Vec<u32>,
    programs: Vec<Program>,
}

impl<'a> Walk<'a> {
    /// # Errors
    /// [`BuildError::Matrix`] when wide rules tell too many pairs apart; other limits.
    pub(crate) fn new(
        rules: &'a RulesInForce<'a>,
        layer4: &'a Layer4Build,
        fine: &'a Sides,
        split: Split,
        limits: &'a Limits,
    ) -> Result<Self, BuildError> {
        let coarse = fine.merged(&split, limits)?;
        let cells = coarse.sources.len() as u64 * coarse.destinations.len() as u64;
        if cells > limits.matrix_cells {
            return Err(BuildError::Matrix { cells, limit: limits.matrix_cells });
        }
        let items = Items::new(rules, layer4, limits.table_entries);
        let class_count = layer4.classes.count();
        Ok(Self { rules, fine, coarse, split, limits, class_count, items, applications: 0 })
    }

    /// # Errors
    /// A limit, see [`BuildError`].
    pub(crate) fn run(mut self, verdicts: &mut VerdictBuild<'_>) -> Result<RuleTrie, BuildError> {
        let mut programs = Programs::new(&self, verdicts);
        let [wide, narrow] = [false, true].map(|narrow| self.ranks_by_selector(narrow));
        let nothing = Applying { items: Vec::new(), undecided: Undecided::new(false, false) };
        let mut applying = vec![nothing; self.coarse.destinations.len()];
        let mut row = Row::default();
        for (source, fine) in (0..).zip(self.fine_sources()) {
            self.wide_row(source, &wide, &mut applying, &mut programs, &mut row)?;
            for fine in fine {
                self.narrow_pairs([source, fine], [&wide, &narrow], &row, &mut programs)?;
            }
        }
        let (places, classes) = self.places();
        programs.trie.finish(&places, classes)
    }

    /// By coarse source class: the fine ones in it.
    fn fine_sources(&self) -> Vec<Vec<u32>> {
        let mut fine = vec![Vec::new(); self.coarse.sources.len()];
        for (class, coarse) in (0..).zip(&self.coarse.sources.class_of) {
            fine[*coarse as usize].push(class);
        }
        fine
    }

    /// By identity: where it stands in the matrix, and its fine classes.
    fn places(&self) -> (Vec<Place>, Box<[FineClasses]>) {
        let columns = self.coarse.destinations.len();
        let classes = self.fine.sources.class_of.iter().zip(&self.fine.destinations.class_of);
        let classes =
            classes.map(|(source, destination)| FineClasses { source: *source, destination: *destination });
        let place = |FineClasses { source, destination }| Place {
            row: PairMatrixBuild::row_start(self.coarse.sources.class_of[source as usize], columns),
            column: self.coarse.destinations.class_of[destination as usize],
        };
        (classes.clone().map(place).collect(), classes.collect())
    }

    /// By selector: the ranks of the wide, or the narrow, rules whose `from` it is.
    fn ranks_by_selector(&self, narrow: bool) -> Vec<Vec<u32>> {
        let mut ranks = vec![Vec::new(); self.rules.selectors.len()];
        for ((rank, rule), is_narrow) in (0..).zip(&self.rules.rules).zip(&self.split.narrow) {
            if *is_narrow == narrow {
                ranks[rule.from as usize].push(rank);
            }
        }
        ranks
    }

    /// Writes the row of a coarse source class.
    fn wide_row(
        &mut self,
        source: u32,
        from: &[Vec<u32>],
        applying: &mut [Applying],
        programs: &mut Programs<'_, '_>,
        row: &mut Row,
    ) -> Result<(), BuildError> {
        let source_has_gate = self.coarse.sources.gates[source as usize].gate;
        let mut touched = Vec::new();
        for rank in ranks(&self.coarse.sources, source, from) {
            let rule = &self.rules.rules[rank as usize];
            for named in named(&self.coarse, source, rule) {
                let item = item(&mut self.items, &self.coarse, (source, *named), rank, rule)?;
                let applying = &mut applying[*named as usize];
                if applying.items.is_empty() {
                    let has_gate = self.coarse.destinations.gates[*named as usize].gate;
                    applying.undecided = Undecided::new(source_has_gate, has_gate);
                }
                if applying.undecided.offer(rule, self.items.extent(item)) {
                    if applying.items.is_empty() {
                        touched.push(*named);
                    }
                    applying.items.push(item);
                }
            }
            self.spend(named(&self.coarse, source, rule).len() as u64 + 1)?;
        }
        let source_kind = programs.sources.of_class[source as usize];
        // A pair that no rule names has the program of its kinds.
        let unnamed = programs.lists.intern(&[])?;
        let mut by_kind = Vec::with_capacity(programs.destinations.kinds.len());
        for kind in 0..programs.destinations.kinds.len() as u32 {
            by_kind.push(programs.cell(&self.items, [source_kind, kind], unnamed)?);
        }
        let kinds = || programs.destinations.of_class.iter().map(|kind| by_kind[*kind as usize]);
        row.programs.clear();
        row.programs.extend(kinds().map(|(program, _)| program));
        let mut cells: Vec<u32> = kinds().map(|(_, number)| number).collect();
        row.lists.clear();
        row.lists.resize(cells.len(), unnamed);
        // A rule touches the classes of its `to` one after the other, and most of them get no other rule than it: so
        // a list is often that of the class before.
        let mut before: Vec<u32> = Vec::new();
        let (mut list, mut kind, mut cell) = (unnamed, u32::MAX, (Program::default(), 0));
        for destination in touched {
            let at = destination as usize;
            if kind != programs.destinations.of_class[at] || before != applying[at].items {
                std::mem::swap(&mut before, &mut applying[at].items);
                kind = programs.destinations.of_class[at];
                list = programs.lists.intern(&before)?;
                cell = programs.cell(&self.items, [source_kind, kind], list)?;
            }
            (row.lists[at], (row.programs[at], cells[at])) = (list, cell);
            applying[at].items.clear();
        }
        programs.trie.add_row(&cells)
    }

    /// Writes the pairs of a fine source class that narrow rules name; `row` is that of its coarse class. Of the rules
    /// by selector, the wide ones come first.
    fn narrow_pairs(
        &mut self,
        [coarse, source]: [u32; 2],
        [wide, narrow]: [&[Vec<u32>]; 2],
        row: &Row,
        programs: &mut Programs<'_, '_>,
    ) -> Result<(), BuildError> {
        let mut found: Vec<(u32, u32)> = Vec::new();
        for rank in ranks(&self.fine.sources, source, narrow) {
            let rule = &self.rules.rules[rank as usize];
            for named in named(self.fine, source, rule) {
                found.push((*named, item(&mut self.items, self.fine, (source, *named), rank, rule)?));
            }
            self.spend(named(self.fine, source, rule).len() as u64 + 1)?;
        }
        // By destination; rules stay in order.
        found.sort_by_key(|(destination, _)| *destination);
        let source_has_gate = self.fine.sources.gates[source as usize].gate;
        let mut list = Vec::new();
        for found in found.chunk_by(|a, b| a.0 == b.0) {
            let destination = found[0].0;
            let cell = self.coarse.destinations.class_of[destination as usize] as usize;
            let has_gate = self.fine.destinations.gates[destination as usize].gate;
            let mut undecided = Undecided::new(source_has_gate, has_gate);
            list.clear();
            let passes = found.iter().any(|(_, item)| {
                let rule = self.items.get(*item).rule;
                rule.action == Action::Pass && !rule.audit
            });
            let unfiltered = if passes { self.wide_items(coarse, cell as u32, wide)? } else { Vec::new() };
            let wide = if passes { &unfiltered } else { programs.lists.get(row.lists[cell]) };
            let mut applications = 0;
            for item in merged(&self.items, wide, found) {
                applications += 1;
                if undecided.offer(self.items.get(item).rule, self.items.extent(item)) {
                    list.push(item);
                }
            }
            self.spend(applications)?;
            let list = programs.lists.intern(&list)?;
            let kinds = [programs.sources.of_class[coarse as usize], programs.destinations.of_class[cell]];
            let program = programs.program(&self.items, kinds, list)?;
            if program != row.programs[cell] {
                programs.trie.add_pair(source, destination, program)?;
            }
        }
        Ok(())
    }

    /// All wide rules of a cell, also those that come too late: what a narrow `pass` takes from the rules before
    /// them is theirs again.
    fn wide_items(
        &mut self,
        source: u32,
        destination: u32,
        from: &[Vec<u32>],
    ) -> Result<Vec<u32>, BuildError> {
        let ranks = ranks(&self.coarse.sources, source, from);
        self.spend(ranks.len() as u64)?;
        let mut wide = Vec::new();
        for rank in ranks {
            let rule = &self.rules.rules[rank as usize];
            if self.coarse.destinations.satisfies(destination, rule.to) {
                wide.push(item(&mut self.items, &self.coarse, (source, destination), rank, rule)?);
            }
        }
        Ok(wide)
    }

    fn spend(&mut self, applications: u64) -> Result<(), BuildError> {
        self.applications += applications;
        if self.applications > self.limits.rule_applications {
            return Err(BuildError::RuleApplications { limit: self.limits.rule_applications });
        }
        Ok(())
    }
}

/// The rules that a source class satisfies, in the order of evaluation; `from` has them by selector.
fn ranks(sources: &EndpointClasses, source: u32, from: &[Vec<u32>]) -> Vec<u32> {
    let satisfied = sources.selectors[source as usize].iter();
    let mut ranks: Vec<u32> = satisfied.flat_map(|selector| &from[*selector as usize]).copied().collect();
    ranks.sort_unstable();
    ranks
}

/// The destination classes that a rule names for a source that satisfies it.
fn named<'s>(sides: &'s Sides, source: u32, rule: &RuleInForce) -> &'s [u32] {
    let members = &sides.destinations.members[rule.to as usize];
    // Between two ends without a gate no rule is asked.
    if sides.sources.gates[source as usize].gate { members.all() } else { members.with_gate() }
}

/// The rule as it applies to a pair that it names.
fn item(
    items: &mut Items<'_>,
    sides: &Sides,
    (source, destination): (u32, u32),
    rank: u32,
    rule: &RuleInForce,
) -> Result<u32, BuildError> {
    if rule.except.is_empty() {
        return Ok(rank);
    }
    let applicable = rule.except.iter().filter(|hole| {
        sides.sources.satisfies(source, hole.from) && sides.destinations.satisfies(destination, hole.to)
    });
    let mut holes: Vec<u32> = applicable.map(|hole| hole.services).collect();
    holes.sort_unstable();
    holes.dedup();
    if holes.is_empty() { Ok(rank) } else { items.with_holes(rank, &holes) }
}

/// The wide and the narrow items of a pair, in the order of evaluation.
fn merged<'l>(
    items: &'l Items<'_>,
    wide: &'l [u32],
    narrow: &'l [(u32, u32)],
) -> impl Iterator<Item = u32> + 'l {
    let mut wide = wide.iter().copied().peekable();
    let mut narrow = narrow.iter().map(|(_, item)| *item).peekable();
    std::iter::from_fn(move || match (wide.peek(), narrow.peek()) {
        (Some(a), Some(b)) if items.rank(*a) < items.rank(*b) => wide.next(),
        (_, Some(_)) => narrow.next(),
        _ => wide.next(),
    })
}
