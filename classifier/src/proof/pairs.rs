//! Every pair of classes: what the policy says of it against what the object's tables say.
//!
//! For one source class after the other, the rules whose `from` it satisfies are dealt to the destination classes that
//! satisfy their `to`. A pair is then its program in the object, its two owners and its list of rules, and most pairs
//! are equal to one that was compared before. Pairs that nothing names are compared by columns (`columns`).
//! Cost: rules for each pair that they name, columns for each source, and the distinct pairs times their rules.

use hashbrown::{HashMap, HashSet};

use super::answer::Answer;
use super::columns::Columns;
use super::count::Count;
use super::gates::{Ends, Judged};
use super::items::{Items, Pieces};
use super::packets::Packets;
use super::parties::{Class, Parties, examples};
use super::source::Source;
use super::work::{Exhausted, Work};
use super::{Proof, Witness};
use crate::Classifier;
use crate::rule_trie::Program;

/// Why comparing ended before its end.
pub(super) enum Stopped {
    Mismatch(Box<Witness>),
    Exhausted,
}

impl From<Exhausted> for Stopped {
    fn from(_: Exhausted) -> Self {
        Self::Exhausted
    }
}

/// What the object says of the cells under one program: where the verdict may change, and the verdict.
type Says = Box<[(u32, Option<u32>)]>;

/// Compares pairs, and remembers which were equal.
pub(super) struct Pairs<'a, 'p> {
    classifier: &'a Classifier,
    source: &'a Source<'p>,
    parties: &'a Parties,
    packets: &'a Packets,
    items: Items<'a, 'p>,
    /// By destination class: the items that apply to the pair with the source class at hand.
    lists: Vec<Vec<u32>>,
    /// The destination classes whose list is not empty.
    dealt: Vec<u32>,
    known_lists: HashMap<Box<[u32]>, u32, ahash::RandomState>,
    /// By program; `None` where a lookup leaves its tables.
    programs: HashMap<Option<Program>, Says, ahash::RandomState>,
    /// Program, owners, list.
    equal: HashSet<(Option<Program>, [u32; 2], u32), ahash::RandomState>,
    pieces: Pieces,
    judged: Judged,
}

/// Two classes, by number.
#[derive(Clone, Copy)]
struct Pair {
    source: usize,
    destination: usize,
}

impl<'a, 'p> Pairs<'a, 'p> {
    pub(super) fn new(
        classifier: &'a Classifier,
        source: &'a Source<'p>,
        parties: &'a Parties,
        packets: &'a Packets,
    ) -> Self {
        Self {
            classifier,
            source,
            parties,
            packets,
            items: Items::new(source, packets),
            lists: vec![Vec::new(); parties.destinations.classes.len()],
            dealt: Vec::new(),
            known_lists: HashMap::default(),
            programs: HashMap::default(),
            equal: HashSet::default(),
            pieces: Pieces::default(),
            judged: Judged::default(),
        }
    }

    /// Compares all pairs, and counts them in `proof` as they are found equal.
    ///
    /// # Errors
    /// At the first mismatch, or where the budget ends.
    pub(super) fn compare(&mut self, proof: &mut Proof, work: &mut Work) -> Result<(), Stopped> {
        let ranks_from = self.ranks_by_selector();
        let mut columns = Columns::new(self.classifier, self.parties);
        work.spend(columns.cost())?;
        for (source, class) in self.parties.sources.classes.iter().enumerate() {
            work.spend(class.selectors.len())?;
            let leaving = class.selectors.iter().flat_map(|selector| &ranks_from[*selector as usize]);
            let mut ranks: Vec<u32> = leaving.copied().collect();
            ranks.sort_unstable();
            for rank in ranks {
                self.deal(class, rank, work)?;
            }
            let dealt = std::mem::take(&mut self.dealt);
            let standing = columns.standing_for_all(source, class, &dealt);
            work.spend(columns.cost_of_a_source() + standing.len())?;
            for destination in standing {
                self.pair(Pair { source, destination: destination as usize }, proof, work)?;
            }
            self.dealt = dealt;
            self.dealt.clear();
            proof.count_pairs(class, self.lists.len(), &columns.addresses);
        }
        Ok(())
    }

    /// By selector: the ranks of the rules whose `from` it is.
    fn ranks_by_selector(&self) -> Vec<Vec<u32>> {
        let mut ranks = vec![Vec::new(); self.source.selectors.len()];
        for (rank, rule) in (0..).zip(&self.source.rules) {
            ranks[rule.from as usize].push(rank);
        }
        ranks
    }

    /// Puts a rule on the list of each destination that satisfies its `to`.
    fn deal(&mut self, source: &Class, rank: u32, work: &mut Work) -> Result<(), Exhausted> {
        let rule = &self.source.rules[rank as usize];
        let destinations = &self.parties.destinations;
        let named = &destinations.members[rule.to as usize];
        work.spend(1 + named.len() * 2)?;
        let satisfies = |class: &Class, selector: u32| class.selectors.binary_search(&selector).is_ok();
        let holes: Vec<_> = rule.holes.iter().filter(|hole| satisfies(source, hole.from)).collect();
        for destination in named {
            let mut item = rank;
            if !holes.is_empty() {
                work.spend(holes.len() * 4)?;
                let class = &destinations.classes[*destination as usize];
                let applying = holes.iter().filter(|hole| satisfies(class, hole.to));
                let mut lists: Vec<u32> = applying.map(|hole| hole.services).collect();
                lists.sort_unstable();
                lists.dedup();
                if !lists.is_empty() {
                    item = self.items.with_holes(rank, &lists);
                }
            }
            let list = &mut self.lists[*destination as usize];
            if list.is_empty() {
                self.dealt.push(*destination);
            }
            list.push(item);
        }
        Ok(())
    }

    /// Compares one pair, unless its like was compared; takes its list.
    fn pair(&mut self, pair: Pair, proof: &mut Proof, work: &mut Work) -> Result<(), Stopped> {
        let Parties { sources, destinations, .. } = self.parties;
        let (from, to) = (&sources.classes[pair.source], &destinations.classes[pair.destination]);
        let ends = Ends {
            source: sources.owners[from.owner as usize],
            destination: destinations.owners[to.owner as usize],
        };
        let mut list = std::mem::take(&mut self.lists[pair.destination]);
        if !ends.are_asked() {
            list.clear();
        }
        work.spend(8 + list.len())?;
        let program =
            from.end.zip(to.end).and_then(|(from, to)| self.classifier.trie.program_between(from, to));
        let list_number = self.number(&list);
        let key = (program, [from.owner, to.owner], list_number);
        if !self.equal.contains(&key) {
            self.judge(ends, &list, work)?;
            self.compare_cells(ends, program, work).map_err(|stopped| match stopped {
                Differs::Exhausted => Stopped::Exhausted,
                Differs::At(differs) => {
                    let (cell, meant, compiled) = *differs;
                    let (source, destination) = examples(from, to);
                    let layer4 = self.packets.example(cell);
                    Stopped::Mismatch(Box::new(Witness { source, destination, layer4, meant, compiled }))
                }
            })?;
            self.equal.insert(key);
            proof.distinct_pairs += 1;
        }
        // The list's room is used again.
        list.clear();
        self.lists[pair.destination] = list;
        Ok(())
    }

    fn number(&mut self, list: &[u32]) -> u32 {
        if let Some(number) = self.known_lists.get(list) {
            return *number;
        }
        let number = self.known_lists.len() as u32;
        self.known_lists.insert(list.into(), number);
        number
    }

    fn judge(&mut self, ends: Ends, list: &[u32], work: &mut Work) -> Result<(), Exhausted> {
        work.spend(self.items.cost(list))?;
        self.items.cut(list, &mut self.pieces);
        work.spend(list.len() * self.pieces.words * 2 + self.pieces.firsts.len())?;
        self.judged.judge(ends, &self.items, list, &self.pieces);
        Ok(())
    }

    /// Goes over the cells where the policy's answer or the object's may change.
    fn compare_cells(
        &mut self,
        ends: Ends,
        program: Option<Program>,
        work: &mut Work,
    ) -> Result<(), Differs> {
        if !self.programs.contains_key(&program) {
            let says = self.says(program, work)?;
            self.programs.insert(program, says);
        }
        let says = &self.programs[&program];
        let firsts = &self.pieces.firsts;
        work.spend(says.len() + firsts.len())?;
        let (mut piece, mut run) = (0, 0);
        let mut meant: Option<(usize, Answer)> = None;
        let mut equal: Option<Option<u32>> = None;
        loop {
            let cell = firsts[piece].max(says[run].0);
            let is_known =
                meant.as_ref().is_some_and(|(of, _)| *of == piece || self.judged.is_same(*of, piece));
            if !is_known {
                meant = Some((piece, self.judged.answer(ends, piece, self.source)));
                equal = None;
            }
            let verdict = says[run].1;
            if let Some((_, meant)) = &meant
                && equal != Some(verdict)
            {
                work.spend(16)?;
                if !self.classifier.answers(verdict, meant) {
                    let compiled = self.classifier.answer(verdict);
                    return Err(Differs::At(Box::new((cell, meant.clone(), compiled))));
                }
                equal = Some(verdict);
            }
            // On to whichever ends first.
            let ends_at = |next: Option<u32>| next.unwrap_or(self.packets.cells);
            let piece_end = ends_at(firsts.get(piece + 1).copied());
            let run_end = ends_at(says.get(run + 1).map(|(first, _)| *first));
            let end = piece_end.min(run_end);
            if end == self.packets.cells {
                return Ok(());
            }
            piece += usize::from(piece_end == end);
            run += usize::from(run_end == end);
        }
    }

    /// What the object says of all cells under one program.
    fn says(&self, program: Option<Program>, work: &mut Work) -> Result<Says, Exhausted> {
        let mut says: Vec<(u32, Option<u32>)> = Vec::new();
        let mut say = |cell: u32, verdict: Option<u32>| {
            if says.last().is_none_or(|(_, last)| *last != verdict) {
                says.push((cell, verdict));
            }
        };
        for run in &self.packets.runs {
            work.spend(2 + run.cells as usize / 16)?;
            match program.zip(run.first_class) {
                None => say(run.first_cell, None),
                Some((program, class)) => {
                    let tell = |at: u32, verdict: Option<u32>| say(run.first_cell + at, verdict);
                    self.classifier.trie.verdicts(program, class, run.cells, tell);
                }
            }
        }
        Ok(says.into())
    }
}

/// Why a pair is not found equal.
enum Differs {
    /// The cell, what the policy says of it, and what the object says.
    At(Box<(u32, Answer, Option<Answer>)>),
    Exhausted,
}

impl From<Exhausted> for Differs {
    fn from(_: Exhausted) -> Self {
        Self::Exhausted
    }
}

impl Proof {
    /// Counts the pairs of a source class with all destination classes, and these classes' addresses of each family.
    fn count_pairs(&mut self, source: &Class, destinations: usize, addresses: &[Count; 2]) {
        self.proved_pairs += destinations as u64;
        for (from, to) in source.weights.iter().zip(addresses) {
            self.packets += from.times(*to).times(Count::power_of_two(LAYER4_BITS));
        }
    }
}

/// Protocol and both ports.
const LAYER4_BITS: usize = 8 + 16 + 16;
