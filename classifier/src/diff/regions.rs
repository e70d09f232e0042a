//! From pairs of kinds that change alike to few regions.
//!
//! A change is a set of cells in the matrix of kinds. Its rows are joined where they have the same columns, or its
//! columns where they have the same rows, whichever gives fewer: the regions of one change never overlap, and
//! together are exactly its cells.

use std::sync::Arc;

use hashbrown::HashMap;
use septum_rules::proto::Layer4;

use super::parties::{Fate, Parties, PartySet};
use super::services::ServiceSet;
use super::witness::{DifferenceWitness, witness};
use super::{Difference, Judgement};

/// Packets that change alike.
#[derive(Clone, Debug)]
pub struct ChangedRegion {
    /// The sources.
    pub from: Arc<PartySet>,
    /// The destinations.
    pub to: Arc<PartySet>,
    /// What they send.
    pub services: Arc<ServiceSet>,
    /// What the old policy does with it.
    pub before: Judgement,
    /// What the new policy does with it.
    pub after: Judgement,
    /// A packet of it.
    pub witness: DifferenceWitness,
}

/// What a change is, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// Refused before, admitted now.
    Admitted,
    /// Admitted before, refused now.
    Refused,
    /// Admitted or refused as before, but by other gates.
    Gates,
    /// As before at both gates, by other rules.
    Rules,
}

impl ChangedRegion {
    /// What kind of change it is.
    pub fn change(&self) -> Change {
        let (before, after) = (self.before, self.after);
        let gates = |it: Judgement| (it.verdict, it.egress.admits, it.ingress.admits);
        match (before.verdict.is_allow(), after.verdict.is_allow()) {
            (false, true) => Change::Admitted,
            (true, false) => Change::Refused,
            _ if gates(before) == gates(after) => Change::Rules,
            _ => Change::Gates,
        }
    }

    /// What became of its parties: [`Fate::Stays`] where both ends stay who they are.
    pub fn fate(&self) -> Fate {
        self.from.fate.max(self.to.fate)
    }

    /// Whether the packet between these two addresses lies in it.
    pub fn contains(&self, source: std::net::IpAddr, destination: std::net::IpAddr, layer4: Layer4) -> bool {
        let holds = |set: &PartySet, address| set.members.iter().any(|member| member.contains(address));
        self.services.contains(layer4) && holds(&self.from, source) && holds(&self.to, destination)
    }
}

impl Difference {
    /// Whether no packet is decided differently.
    pub fn is_empty(&self) -> bool {
        self.regions.is_empty()
    }
}

type Key = (Judgement, Judgement, ServiceSet);

/// The cells of every change.
#[derive(Default)]
pub(super) struct Rectangles {
    numbers: HashMap<Key, u32, ahash::RandomState>,
    changes: Vec<Key>,
    /// By change: its cells row by row, in order.
    cells: Vec<Vec<(u32, u32)>>,
}

impl Rectangles {
    /// The number of a change.
    pub(super) fn number(&mut self, change: Key) -> u32 {
        let Self { numbers, changes, cells } = self;
        *numbers.entry(change).or_insert_with_key(|change| {
            changes.push(change.clone());
            cells.push(Vec::new());
            changes.len() as u32 - 1
        })
    }

    /// A pair of kinds changes so. Pairs come in order.
    pub(super) fn add(&mut self, change: u32, from: u32, to: u32) {
        self.cells[change as usize].push((from, to));
    }

    /// The regions that hold a packet that can exist; `None` when their members are more than `most`.
    pub(super) fn regions(self, parties: &Parties, most: u64) -> Option<Vec<ChangedRegion>> {
        let mut sets = Sets { parties, known: HashMap::default(), left: most };
        let mut regions = Vec::new();
        for ((before, after, services), cells) in self.changes.into_iter().zip(self.cells) {
            let services = Arc::new(services);
            for (from, to) in fewest(parties, &cells) {
                let (from, to) = (sets.set(from)?, sets.set(to)?);
                let Some(witness) = witness(&from, &to, &services.samples) else { continue };
                let services = Arc::clone(&services);
                regions.push(ChangedRegion { from, to, services, before, after, witness });
            }
        }
        // Stable: what is equal here stays in the order of the parties.
        regions.sort_by_key(|region| (region.fate(), region.change(), region.before, region.after));
        Some(regions)
    }
}

/// A set of rows and a set of columns.
type Rectangle = (Vec<u32>, Vec<u32>);

/// Disjoint rectangles that are exactly the cells, divided by the fates of both ends.
fn fewest(parties: &Parties, cells: &[(u32, u32)]) -> Vec<Rectangle> {
    let by_rows = joined(parties, cells);
    let mut turned: Vec<(u32, u32)> = cells.iter().map(|(row, column)| (*column, *row)).collect();
    turned.sort_unstable();
    let by_columns = joined(parties, &turned);
    if by_columns.len() < by_rows.len() {
        by_columns.into_iter().map(|(columns, rows)| (rows, columns)).collect()
    } else {
        by_rows
    }
}

/// Joins the rows that have the same columns.
fn joined(parties: &Parties, cells: &[(u32, u32)]) -> Vec<Rectangle> {
    let fate = |kind: u32| parties.kinds[kind as usize].fate;
    let mut rectangles: Vec<Rectangle> = Vec::new();
    let mut known: HashMap<(Fate, Vec<u32>), usize, ahash::RandomState> = HashMap::default();
    for row in cells.chunk_by(|one, other| one.0 == other.0) {
        let from = row[0].0;
        for wanted in [Fate::Stays, Fate::Moved, Fate::Added, Fate::Removed] {
            let columns: Vec<u32> =
                row.iter().map(|(_, column)| *column).filter(|column| fate(*column) == wanted).collect();
            if columns.is_empty() {
                continue;
            }
            let place = *known.entry((fate(from), columns)).or_insert_with_key(|(_, columns)| {
                rectangles.push((Vec::new(), columns.clone()));
                rectangles.len() - 1
            });
            rectangles[place].0.push(from);
        }
    }
    rectangles
}

/// Sets of parties, each made once.
struct Sets<'a> {
    parties: &'a Parties,
    known: HashMap<Vec<u32>, Arc<PartySet>, ahash::RandomState>,
    left: u64,
}

impl Sets<'_> {
    fn set(&mut self, kinds: Vec<u32>) -> Option<Arc<PartySet>> {
        if let Some(known) = self.known.get(&kinds) {
            return Some(Arc::clone(known));
        }
        let members: usize = kinds.iter().map(|kind| self.parties.kinds[*kind as usize].members.len()).sum();
        self.left = self.left.checked_sub(members as u64)?;
        let set = Arc::new(self.parties.set(&kinds));
        self.known.insert(kinds, Arc::clone(&set));
        Some(set)
    }
}
