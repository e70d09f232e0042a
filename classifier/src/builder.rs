//! From a policy to a [`Classifier`]: the stages in their order, and the walk over pairs of classes.
//!
//! The walk costs what it writes: for each source class, for each rule that it satisfies, for each
//! destination class that the rule also names, one word. Pairs that no rule names share a program with all
//! pairs of their kind. Once a rule decides every packet of a pair, later rules of that pair are left out.

use hashbrown::HashMap;
use septum_rules::date::Date;
use septum_rules::policy::Policy;
use septum_rules::proto::Service;
use septum_rules::rule::{Action, Tier};
use septum_rules::verdict::Gate;

use crate::Classifier;
use crate::addresses::Addresses;
use crate::endpoint_class::EndpointClasses;
use crate::identities::IdentitySet;
use crate::in_force::{RuleInForce, RulesInForce};
use crate::intern::Interner;
use crate::layer4::{self, Layer4Build};
use crate::limits::{BuildError, Limits};
use crate::program::{Ends, Item, Painter};
use crate::rule_trie::{RuleTrie, RuleTrieBuild};
use crate::verdict_table::VerdictBuild;

/// Compiles one policy for one day.
#[derive(Clone, Debug)]
pub struct Builder<'p> {
    policy: &'p Policy,
    now: Date,
    limits: Limits,
}

impl<'p> Builder<'p> {
    /// For `policy` as it is on the day `now` (UTC), with default [`Limits`].
    pub fn new(policy: &'p Policy, now: Date) -> Self {
        Self { policy, now, limits: Limits::default() }
    }

    /// Other limits.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Compiles.
    ///
    /// # Errors
    /// A [`BuildError`] names the limit that the policy exceeds; time and memory are bounded by the limits.
    pub fn build(self) -> Result<Classifier, BuildError> {
        let Self { policy, now, limits } = self;
        // Values of address tries have 31 bits.
        let limits = Limits { identities: limits.identities.min(1 << 30), ..limits };
        let rules = RulesInForce::collect(policy, now, &limits)?;
        let layer4 = layer4::compile(&rules.services, &limits)?;
        let mut identities = IdentitySet::new(policy, &rules, &limits)?;
        let addresses = Addresses::compile(policy, &rules, &mut identities, &limits)?;
        let sources = EndpointClasses::compile(Gate::Egress, &identities, &rules, &limits)?;
        let destinations = EndpointClasses::compile(Gate::Ingress, &identities, &rules, &limits)?;
        let mut verdicts = VerdictBuild::new(policy, limits.table_entries)?;
        let trie = Walk {
            rules: &rules,
            layer4: &layer4,
            sources: &sources,
            destinations: &destinations,
            limits: &limits,
            items: Items::new(&rules, &layer4),
        }
        .run(&mut verdicts)?;
        Ok(Classifier {
            now,
            valid_until: rules.valid_until,
            addresses,
            keys: identities.keys().into_boxed_slice(),
            layer4: layer4.classes,
            representatives: layer4.representatives.into_boxed_slice(),
            trie,
            verdicts: verdicts.finish(),
            rules_in_force: rules.rules.len(),
            source_classes: sources.len(),
            destination_classes: destinations.len(),
        })
    }
}

/// Rules with the holes that apply to some pair cut out. The first ones are the rules without holes, by rank.
struct Items<'a> {
    rules: &'a RulesInForce<'a>,
    layer4: &'a Layer4Build,
    /// Rank, then the service lists of the applicable holes.
    holed: Interner<u32>,
    /// Rank and runs of each of `holed`.
    cut: Vec<(u32, Vec<(u32, u32)>)>,
}

impl<'a> Items<'a> {
    fn new(rules: &'a RulesInForce<'a>, layer4: &'a Layer4Build) -> Self {
        Self { rules, layer4, holed: Interner::new("rules with holes", u32::MAX as usize), cut: Vec::new() }
    }

    /// The number of a rule with these holes (service lists, sorted).
    fn with_holes(&mut self, rank: u32, holes: &[u32]) -> Result<u32, BuildError> {
        let number = self.holed.intern(&[&[rank], holes].concat())?;
        if number as usize == self.cut.len() {
            let layer4 = self.layer4;
            let whole = &layer4.runs[self.rules.rules[rank as usize].services as usize];
            let holes = holes.iter().flat_map(|list| layer4.runs[*list as usize].iter().copied());
            self.cut.push((rank, layer4::subtract(whole, &layer4::union(holes.collect()))));
        }
        Ok(self.rules.rules.len() as u32 + number)
    }

    fn get(&self, number: u32) -> Item<'_> {
        match self.rules.rules.get(number as usize) {
            Some(rule) => Item { rule, runs: &self.layer4.runs[rule.services as usize] },
            None => {
                let (rank, runs) = &self.cut[number as usize - self.rules.rules.len()];
                Item { rule: &self.rules.rules[*rank as usize], runs }
            }
        }
    }
}

/// The rules that apply to one destination class, for the source class at hand.
#[derive(Clone, Debug, Default)]
struct Applying {
    items: Vec<u32>,
    /// The rules among them decide every packet at both gates: later ones do not matter.
    closed: bool,
    /// The tier of the last `pass` among them: some packets may have left that tier.
    passed: Option<Tier>,
}

impl Applying {
    fn clear(&mut self) {
        self.items.clear();
        self.closed = false;
        self.passed = None;
    }
}

struct Walk<'a> {
    rules: &'a RulesInForce<'a>,
    layer4: &'a Layer4Build,
    sources: &'a EndpointClasses,
    destinations: &'a EndpointClasses,
    limits: &'a Limits,
    items: Items<'a>,
}

impl Walk<'_> {
    fn run(mut self, verdicts: &mut VerdictBuild<'_>) -> Result<RuleTrie, BuildError> {
        let class_count = self.layer4.classes.count();
        let mut trie = RuleTrieBuild::new(class_count, self.limits.table_entries);
        let mut painter = Painter::default();
        // Programs by the kinds of both ends and the items that apply.
        let mut lists = Interner::<u32>::new("rule lists", self.limits.table_entries);
        let mut known: HashMap<(Ends, u32), u32, ahash::RandomState> = HashMap::default();
        let no_rules = lists.intern(&[])?;

        let from = self.ranks_by_selector();
        let closing: Vec<bool> = self.rules.rules.iter().map(|rule| self.closes(rule)).collect();
        let mut applying = vec![Applying::default(); self.destinations.len()];
        let mut applications = 0_u64;
        let mut row = Vec::with_capacity(self.destinations.len());
        for source in 0..self.sources.len() as u32 {
            let mut ranks: Vec<u32> = self.sources.selectors[source as usize]
                .iter()
                .flat_map(|selector| &from[*selector as usize])
                .copied()
                .collect();
            ranks.sort_unstable();
            for rank in ranks {
                applications += self.apply(source, rank, closing[rank as usize], &mut applying)?;
                if applications > self.limits.rule_applications {
                    return Err(BuildError::RuleApplications { limit: self.limits.rule_applications });
                }
            }
            row.clear();
            let source = self.sources.gates[source as usize];
            for (applying, destination) in applying.iter_mut().zip(&self.destinations.gates) {
                let ends = Ends { source, destination: *destination };
                let list =
                    if applying.items.is_empty() { no_rules } else { lists.intern(&applying.items)? };
                let program = match known.get(&(ends, list)) {
                    Some(program) => *program,
                    None => {
                        let items: Vec<Item<'_>> =
                            applying.items.iter().map(|item| self.items.get(*item)).collect();
                        let outcomes = painter.paint(ends, &items, class_count, verdicts)?;
                        let program = trie.program(&outcomes)?;
                        known.insert((ends, list), program);
                        program
                    }
                };
                row.push(program);
                applying.clear();
            }
            trie.add_row(&row)?;
        }
        Ok(trie.finish(&self.sources.class_of, &self.destinations.class_of, self.destinations.len()))
    }

    /// By selector: the ranks of the rules whose `from` it is.
    fn ranks_by_selector(&self) -> Vec<Vec<u32>> {
        let mut ranks = vec![Vec::new(); self.rules.selectors.len()];
        for (rank, rule) in (0..).zip(&self.rules.rules) {
            ranks[rule.from as usize].push(rank);
        }
        ranks
    }

    /// Whether this rule decides every packet that is still in its tier.
    fn closes(&self, rule: &RuleInForce) -> bool {
        !rule.audit
            && rule.side.is_none()
            && rule.except.is_empty()
            && rule.action != Action::Pass
            && self.rules.services.get(rule.services).contains(&Service::ANY)
    }

    /// Adds a rule to each destination that it names; gives their number.
    fn apply(
        &mut self,
        source: u32,
        rank: u32,
        closes: bool,
        applying: &mut [Applying],
    ) -> Result<u64, BuildError> {
        let rule = &self.rules.rules[rank as usize];
        let members = &self.destinations.members[rule.to as usize];
        let has_gate = self.sources.gates[source as usize].gate;
        // Between two ends without a gate no rule is asked.
        let named = if has_gate { members.all() } else { members.with_gate() };
        let holes: Vec<_> =
            rule.except.iter().filter(|hole| self.sources.satisfies(source, hole.from)).copied().collect();
        for destination in named {
            let applying = &mut applying[*destination as usize];
            if applying.closed {
                continue;
            }
            let mut item = rank;
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
                }
            }
            applying.items.push(item);
            if rule.action == Action::Pass {
                applying.passed = Some(rule.tier);
            }
            applying.closed = closes && applying.passed != Some(rule.tier);
        }
        Ok(named.len() as u64 + 1)
    }
}
