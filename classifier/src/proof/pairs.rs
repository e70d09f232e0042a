//! Every pair of classes: what the policy says of it against what the object's tables say.
//!
//! For one source class after the other, the rules whose `from` it satisfies are dealt to the destination classes that
//! satisfy their `to`. A pair is then its program in the object, its two owners and its list of rules, and most pairs
//! are equal to one that was met before. Pairs that nothing names are compared by columns (`columns`). The others are
//! compared block by block (`comparison`), on several threads; the pairs of a source are proved once its block is.
//! Cost: rules for each pair that they name, columns for each source, and the distinct pairs times their rules.

use std::num::NonZeroUsize;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::columns::Columns;
use super::comparison::{self, Comparer, Distinct};
use super::count::Count;
use super::gates::Ends;
use super::items::Items;
use super::packets::Packets;
use super::parties::{Class, Parties, examples};
use super::source::Source;
use super::work::{Exhausted, Work};
use super::{Proof, Witness};
use crate::Classifier;
use crate::rule_trie::Program;

/// So many distinct pairs are compared at once: enough to be worth starting threads for.
const BLOCK: usize = 2048;

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

/// Sorts pairs, and has those compared that are like none before.
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
    /// Lists that were met, by number, and their numbers.
    known_lists: Vec<Arc<[u32]>>,
    numbers: HashMap<Arc<[u32]>, u32, ahash::RandomState>,
    /// Program, owners, list of all pairs that were met; those of `waiting` are not compared yet.
    met: HashSet<(Option<Program>, [u32; 2], u32), ahash::RandomState>,
    waiting: Vec<Distinct>,
    threads: NonZeroUsize,
}

impl<'a, 'p> Pairs<'a, 'p> {
    pub(super) fn new(
        classifier: &'a Classifier,
        source: &'a Source<'p>,
        parties: &'a Parties,
        packets: &'a Packets,
        threads: NonZeroUsize,
    ) -> Self {
        Self {
            classifier,
            source,
            parties,
            packets,
            items: Items::new(source, packets),
            lists: vec![Vec::new(); parties.destinations.classes.len()],
            dealt: Vec::new(),
            known_lists: Vec::new(),
            numbers: HashMap::default(),
            met: HashSet::default(),
            waiting: Vec::new(),
            threads,
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
        let mut sorted = 0;
        let sources = &self.parties.sources.classes;
        for (source, class) in sources.iter().enumerate() {
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
                self.pair([source, destination as usize], work)?;
            }
            self.dealt = dealt;
            self.dealt.clear();
            if self.waiting.len() >= BLOCK || source + 1 == sources.len() {
                self.compare_waiting(proof, work)?;
                for class in &sources[sorted..=source] {
                    proof.count_pairs(class, self.lists.len(), &columns.addresses);
                }
                sorted = source + 1;
            }
        }
        Ok(())
    }

    /// Compares the distinct pairs that were met since it was done last.
    fn compare_waiting(&mut self, proof: &mut Proof, work: &mut Work) -> Result<(), Stopped> {
        let waiting = std::mem::take(&mut self.waiting);
        let comparer = || Comparer::new(self.classifier, self.source, self.packets, &self.items);
        let differs = comparison::compare_all(&waiting, comparer, self.threads, work)?;
        let Some((at, differs)) = differs else {
            proof.distinct_pairs += waiting.len() as u64;
            return Ok(());
        };
        let [source, destination] = waiting[at].classes;
        let Parties { sources, destinations, .. } = self.parties;
        let (source, destination) = examples(&sources.classes[source], &destinations.classes[destination]);
        let layer4 = self.packets.example(differs.cell);
        let (meant, compiled) = (differs.meant, differs.compiled);
        Err(Stopped::Mismatch(Box::new(Witness { source, destination, layer4, meant, compiled })))
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

    /// Has one pair compared, unless its like was met; takes its list.
    fn pair(&mut self, classes: [usize; 2], work: &mut Work) -> Result<(), Exhausted> {
        let Parties { sources, destinations, .. } = self.parties;
        let (from, to) = (&sources.classes[classes[0]], &destinations.classes[classes[1]]);
        let ends = Ends {
            source: sources.owners[from.owner as usize],
            destination: destinations.owners[to.owner as usize],
        };
        let mut list = std::mem::take(&mut self.lists[classes[1]]);
        if !ends.are_asked() {
            list.clear();
        }
        work.spend(8 + list.len())?;
        let program =
            from.end.zip(to.end).and_then(|(from, to)| self.classifier.trie.program_between(from, to));
        let number = self.number(&list);
        if self.met.insert((program, [from.owner, to.owner], number)) {
            let list = Arc::clone(&self.known_lists[number as usize]);
            self.waiting.push(Distinct { classes, ends, program, list });
        }
        // The list's room is used again.
        list.clear();
        self.lists[classes[1]] = list;
        Ok(())
    }

    fn number(&mut self, list: &[u32]) -> u32 {
        if let Some(number) = self.numbers.get(list) {
            return *number;
        }
        let number = self.known_lists.len() as u32;
        let list: Arc<[u32]> = list.into();
        self.known_lists.push(Arc::clone(&list));
        self.numbers.insert(list, number);
        number
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
