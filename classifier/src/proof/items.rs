//! Rules as they apply to a pair: whole, or without the services of the holes that apply.

use hashbrown::HashMap;

use super::packets::Packets;
use super::source::Source;

/// Up to so many cells every pair is judged cell by cell: sets of cells are then a few words each, made once.
const FEW: u32 = 512;

/// Rules by rank; behind them those with holes, as they were met.
pub(super) struct Items<'a, 'p> {
    pub(super) source: &'a Source<'p>,
    packets: &'a Packets,
    /// Rank, and the service lists of holes.
    holed: Vec<(u32, Box<[u32]>)>,
    known: HashMap<(u32, Box<[u32]>), u32, ahash::RandomState>,
    /// By service list, where there are few cells: its cells, in bits.
    bits: Option<Vec<Box<[u64]>>>,
}

/// The cells of a pair, cut so that each of its items holds a piece or does not.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    /// Where each begins; the last ends with the cells.
    pub(super) firsts: Vec<u32>,
    /// Words of a set of pieces.
    pub(super) words: usize,
    /// By place in the list of items: the pieces that it holds, in bits.
    bits: Vec<u64>,
}

impl Pieces {
    /// What the item at this place of the list holds.
    pub(super) fn held_by(&self, place: usize) -> &[u64] {
        &self.bits[place * self.words..][..self.words]
    }
}

impl<'a, 'p> Items<'a, 'p> {
    pub(super) fn new(source: &'a Source<'p>, packets: &'a Packets) -> Self {
        let is_few = packets.cells <= FEW;
        let bits_of = |runs: &Vec<(u32, u32)>| {
            let mut bits = vec![0; packets.cells.div_ceil(64) as usize];
            runs.iter().for_each(|(from, to)| set(&mut bits, *from as usize, *to as usize));
            bits.into_boxed_slice()
        };
        let bits = is_few.then(|| packets.held.iter().map(bits_of).collect());
        Self { source, packets, holed: Vec::new(), known: HashMap::default(), bits }
    }

    /// The number of a rule with holes of these service lists.
    pub(super) fn with_holes(&mut self, rank: u32, holes: &[u32]) -> u32 {
        let key = (rank, Box::from(holes));
        if let Some(number) = self.known.get(&key) {
            return *number;
        }
        let number = (self.source.rules.len() + self.holed.len()) as u32;
        self.holed.push(key.clone());
        self.known.insert(key, number);
        number
    }

    /// The rank of an item's rule, and the service lists of its holes.
    pub(super) fn get(&self, item: u32) -> (u32, &[u32]) {
        match (item as usize).checked_sub(self.source.rules.len()) {
            None => (item, &[]),
            Some(holed) => (self.holed[holed].0, &self.holed[holed].1),
        }
    }

    /// Cuts the cells for a list of items. Cost: the items' runs.
    pub(super) fn cut(&self, items: &[u32], pieces: &mut Pieces) {
        let Pieces { firsts, words, bits } = pieces;
        bits.clear();
        if let Some(by_list) = &self.bits {
            *words = self.packets.cells.div_ceil(64) as usize;
            if firsts.len() != self.packets.cells as usize {
                *firsts = (0..self.packets.cells).collect();
            }
            for item in items {
                let (rank, holes) = self.get(*item);
                let at = bits.len();
                bits.extend_from_slice(&by_list[self.source.rules[rank as usize].services as usize]);
                for hole in holes {
                    bits[at..]
                        .iter_mut()
                        .zip(&by_list[*hole as usize])
                        .for_each(|(word, hole)| *word &= !hole);
                }
            }
            return;
        }
        firsts.clear();
        firsts.push(0);
        for list in items.iter().flat_map(|item| self.lists(*item)) {
            firsts.extend(self.packets.held[list as usize].iter().flat_map(|(from, to)| [*from, *to]));
        }
        firsts.sort_unstable();
        firsts.dedup();
        // The end of the cells begins no piece.
        firsts.pop_if(|first| *first == self.packets.cells);
        *words = firsts.len().div_ceil(64);
        let mut hole_bits = vec![0; *words];
        for item in items {
            let at = bits.len();
            bits.resize(at + *words, 0);
            let (rank, holes) = self.get(*item);
            self.set_pieces(self.source.rules[rank as usize].services, firsts, &mut bits[at..]);
            for hole in holes {
                hole_bits.fill(0);
                self.set_pieces(*hole, firsts, &mut hole_bits);
                bits[at..].iter_mut().zip(&hole_bits).for_each(|(word, hole)| *word &= !hole);
            }
        }
    }

    /// How much [`Items::cut`] has to do.
    pub(super) fn cost(&self, items: &[u32]) -> usize {
        match &self.bits {
            Some(_) => items.len() * self.packets.cells.div_ceil(64) as usize,
            None => {
                let runs = items.iter().flat_map(|item| self.lists(*item));
                let runs: usize = runs.map(|list| self.packets.held[list as usize].len()).sum();
                // Each item has a set of all pieces, of which there are at most twice the runs.
                runs * 32 + items.len() * (runs / 32 + 1)
            }
        }
    }

    /// Service lists of an item, its holes' included.
    fn lists(&self, item: u32) -> impl Iterator<Item = u32> + '_ {
        let (rank, holes) = self.get(item);
        std::iter::once(self.source.rules[rank as usize].services).chain(holes.iter().copied())
    }

    fn set_pieces(&self, list: u32, firsts: &[u32], bits: &mut [u64]) {
        for (from, to) in &self.packets.held[list as usize] {
            let from = firsts.partition_point(|first| first < from);
            set(bits, from, from + firsts[from..].partition_point(|first| first < to));
        }
    }
}

/// Sets the bits from `from` on, `to` not included.
pub(super) fn set(bits: &mut [u64], from: usize, to: usize) {
    if from >= to {
        return;
    }
    let first = from / 64;
    for (at, word) in (first..to.div_ceil(64)).zip(&mut bits[first..]) {
        let low = from.saturating_sub(at * 64);
        let high = (to - at * 64).min(64);
        *word |= (u64::MAX >> (64 - (high - low))) << low;
    }
}
