//! New programs for the pairs of identities that a rule touches.
//!
//! The rules that ask for one of their sources and for one of their destinations are few. Each end is the set of those that
//! ask for it, one bit a rule, and what applies to a pair is what its ends' sets share. Pairs with like ends and equal sets
//! have one program.
//!
//! Cost: the rules that ask for the ends of that side for which fewer ask; for each pair, a word for 64 of those that ask for
//! both sides; for each distinct set, its painting.

use hashbrown::HashMap;
use septum_rules::identity::RuleId;
use septum_rules::verdict::Gate;

use super::identity_index::IdentityIndex;
use super::pair::{Ends, Item, Verdicts};
use super::rule_index::RuleIndex;
use super::{UpdateError, Updater, WIDE};
use crate::bits::ones;
use crate::intern::Interner;

/// A rule that applies to a pair, and the places of its holes that do, too.
type Applying = (RuleId, Vec<usize>);

impl Updater {
    /// Makes the programs of these pairs, which are in order, anew.
    pub(super) fn repaint(&mut self, pairs: &[(u32, u32)]) -> Result<(), UpdateError> {
        let Self { policy, overlay, identities, rules, bounds, .. } = self;
        let candidates = Candidates::of(identities, rules, pairs, bounds.touched_rules)?;
        let mut verdicts = Verdicts::new(policy, overlay);
        let mut sets = Interner::new("sets of rules", usize::MAX);
        // By ends, set of rules, and the holes of these.
        let mut known: HashMap<(Ends, u32, Vec<Applying>), u32, ahash::RandomState> = HashMap::default();
        let mut set = Vec::with_capacity(candidates.words);
        let mut programs = Vec::with_capacity(pairs.len());
        let mut items = Vec::new();
        for (from, to) in pairs {
            candidates.applying(*from, *to, &mut set);
            let with_holes = |(id, has_holes): (RuleId, bool)| {
                let parts = rules.parts(id).filter(|_| has_holes)?;
                let holes = (0..).zip(&parts.except).filter(|(_, [hole_from, hole_to])| {
                    identities.satisfies(*from, hole_from) && identities.satisfies(*to, hole_to)
                });
                Some((id, holes.map(|(at, _)| at).collect()))
            };
            let applying = || ones(&set).map(|at| candidates.rules[at]);
            let holed: Vec<Applying> = match candidates.have_holes {
                true => applying().filter_map(with_holes).collect(),
                false => Vec::new(),
            };
            let ends = [from, to].map(|end| &identities.identities[*end as usize]);
            let key = (Ends::of(ends[0], ends[1]), sets.intern(&set)?, holed);
            let program =
                match known.get(&key) {
                    Some(program) => *program,
                    None => {
                        let holes_of = |id: RuleId| key.2.iter().find(|(holed, _)| *holed == id);
                        items.clear();
                        items.extend(applying().map(|(id, _)| {
                            Item::new(policy, id, holes_of(id).map_or(&[], |(_, holes)| holes))
                        }));
                        items.sort_by(Item::evaluation_order);
                        let program = verdicts.program(key.0, &items, bounds.cells)?;
                        known.insert(key, program);
                        program
                    }
                };
            programs.push((*to, program));
        }
        let mut programs = &*programs;
        for pairs in pairs.chunk_by(|one, other| one.0 == other.0) {
            let (row, rest) = programs.split_at(pairs.len());
            self.set_programs(pairs[0].0, row);
            programs = rest;
        }
        Ok(())
    }

    /// Gives pairs of one source other programs; the destinations are in order.
    pub(super) fn set_programs(&mut self, source: u32, programs: &[(u32, u32)]) {
        for destination in self.overlay.pairs.insert(source, programs) {
            self.sources_of.entry(destination).or_default().push(source);
        }
    }
}

/// The rules that ask for a source and for a destination of some pairs.
struct Candidates {
    /// Each with whether it has holes.
    rules: Vec<(RuleId, bool)>,
    /// Some have.
    have_holes: bool,
    words: usize,
    sources: AskedFor,
    destinations: AskedFor,
}

/// Ends of one side, in order; for each as many words: bits of the rules that ask for it.
struct AskedFor {
    ends: Vec<u32>,
    sets: Vec<u64>,
}

impl Candidates {
    fn of(
        identities: &IdentityIndex,
        rules: &RuleIndex,
        pairs: &[(u32, u32)],
        most: usize,
    ) -> Result<Self, UpdateError> {
        let sources = ends(pairs.iter().map(|(source, _)| *source));
        let destinations = ends(pairs.iter().map(|(_, destination)| *destination));
        let satisfied = |ends: &[u32]| {
            let mut satisfied: Vec<(u32, u32)> = (0..)
                .zip(ends)
                .flat_map(|(at, end)| identities.satisfied(*end).map(move |number| (number, at)))
                .collect();
            satisfied.sort_unstable();
            satisfied
        };
        let [by_source, by_destination] = [satisfied(&sources), satisfied(&destinations)];
        let is_asked = |satisfied: &[(u32, u32)], asked: &[u32]| {
            asked.iter().any(|number| !ends_that(satisfied, *number).is_empty())
        };
        // Each once, where several ends satisfy it.
        let numbers = |satisfied: &[(u32, u32)]| -> Vec<u32> {
            let numbers = satisfied.chunk_by(|one, other| one.0 == other.0);
            numbers.map(|ends| ends[0].0).collect()
        };
        let (leaving, arriving) = (numbers(&by_source), numbers(&by_destination));
        let counts =
            (rules.count_asking(Gate::Egress, &leaving), rules.count_asking(Gate::Ingress, &arriving));
        if counts.0.min(counts.1) > most {
            return Err(WIDE);
        }
        let is_by_source = counts.0 <= counts.1;
        let mut found: Vec<RuleId> = match is_by_source {
            true => rules.asking(Gate::Egress, &leaving).collect(),
            false => rules.asking(Gate::Ingress, &arriving).collect(),
        };
        found.sort();
        found.dedup();
        let parts = found.into_iter().filter_map(|id| Some((id, rules.parts(id)?)));
        let parts: Vec<_> = parts
            .filter(|(_, parts)| match is_by_source {
                true => is_asked(&by_destination, &parts.to),
                false => is_asked(&by_source, &parts.from),
            })
            .collect();
        if parts.len() * pairs.len() > most {
            return Err(WIDE);
        }
        let words = parts.len().div_ceil(64);
        let mut sets = [vec![0; words * sources.len()], vec![0; words * destinations.len()]];
        for (rule, (_, parts)) in parts.iter().enumerate() {
            let asked = [(&parts.from, &by_source), (&parts.to, &by_destination)];
            for ((numbers, satisfied), set) in asked.into_iter().zip(&mut sets) {
                for (_, end) in numbers.iter().flat_map(|number| ends_that(satisfied, *number)) {
                    set[*end as usize * words + rule / 64] |= 1 << (rule % 64);
                }
            }
        }
        let [from, to] = sets;
        Ok(Self {
            rules: parts.iter().map(|(id, parts)| (*id, !parts.except.is_empty())).collect(),
            have_holes: parts.iter().any(|(_, parts)| !parts.except.is_empty()),
            words,
            sources: AskedFor { ends: sources, sets: from },
            destinations: AskedFor { ends: destinations, sets: to },
        })
    }

    /// The rules that apply to a pair, into `set`.
    fn applying(&self, source: u32, destination: u32, set: &mut Vec<u64>) {
        let [from, to] = [(&self.sources, source), (&self.destinations, destination)].map(|(asked, end)| {
            let at = asked.ends.partition_point(|known| *known < end);
            &asked.sets[at * self.words..][..self.words]
        });
        set.clear();
        set.extend(from.iter().zip(to).map(|(from, to)| from & to));
    }
}

/// In order, each once.
fn ends(all: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut ends: Vec<u32> = all.collect();
    ends.sort_unstable();
    ends.dedup();
    ends
}

/// Those that satisfy an alternative; `satisfied` is in order.
fn ends_that(satisfied: &[(u32, u32)], number: u32) -> &[(u32, u32)] {
    let from = satisfied.partition_point(|(known, _)| *known < number);
    let count = satisfied[from..].partition_point(|(known, _)| *known == number);
    &satisfied[from..from + count]
}
