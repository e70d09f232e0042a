//! Every cell of an object's tables, for tests that spoil one.

use septum_rules::identity::RuleId;
use septum_rules::proto::Protocol;
use septum_rules::rule::{DenyWith, LogMode};
use septum_rules::verdict::{Decider, Refusal, Verdict};

use crate::Classifier;

/// A source of chance: splitmix64, so that a failure comes back with its seed.
#[derive(Clone, Debug)]
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// One cell.
pub(crate) enum Cell<'t> {
    Flag(&'t mut bool),
    Byte(&'t mut u8),
    Half(&'t mut u16),
    Word(&'t mut u32),
    Long(&'t mut u64),
    Wide(&'t mut u128),
    Rule(&'t mut RuleId),
    NamedRule(&'t mut Option<RuleId>),
    Protocol(&'t mut Option<Protocol>),
    Verdict(&'t mut Verdict),
    Decider(&'t mut Decider),
    Log(&'t mut LogMode),
    DenyWith(&'t mut DenyWith),
}

/// Tables by name.
pub(crate) type Tables<'t> = Vec<(&'static str, Vec<Cell<'t>>)>;

impl Cell<'_> {
    /// Puts another value in it; one that may be found in a neighbour, often.
    pub(crate) fn spoil(&mut self, neighbour: Option<u128>, chance: &mut Chance) {
        let before = self.bits();
        while self.bits() == before {
            let bits = match chance.below(6) {
                0 => before ^ 1 << chance.below(4),
                1 => before ^ 1 << chance.below(12),
                2 => before ^ 1 << chance.below(128),
                3 => before.wrapping_add(1),
                4 => before.wrapping_sub(1),
                _ => neighbour.unwrap_or(before.wrapping_add(2)),
            };
            self.set(bits, chance);
        }
    }

    /// Its value as a number, where it is one.
    pub(crate) fn bits(&self) -> u128 {
        let position = |found: Option<usize>| found.unwrap_or(99) as u128;
        match self {
            Self::Flag(value) => u128::from(**value),
            Self::Byte(value) => u128::from(**value),
            Self::Half(value) => u128::from(**value),
            Self::Word(value) => u128::from(**value),
            Self::Long(value) => u128::from(**value),
            Self::Wide(value) => **value,
            Self::Rule(value) => u128::from(value.0),
            Self::NamedRule(value) => value.map_or(1 << 32, |rule| u128::from(rule.0)),
            Self::Protocol(value) => value.map_or(1 << 8, |protocol| u128::from(protocol.0)),
            Self::Verdict(value) => position(VERDICTS.iter().position(|it| it == *value)),
            Self::Decider(value) => match value {
                Decider::Rule(rule) => u128::from(rule.0),
                other => 1 << 32 | position(DECIDERS.iter().position(|it| *it == **other)),
            },
            Self::Log(value) => match value {
                LogMode::Sample(one_in) => u128::from(*one_in),
                other => 1 << 32 | position(LOGS.iter().position(|it| *it == **other)),
            },
            Self::DenyWith(value) => u128::from(**value == DenyWith::Reject),
        }
    }

    fn set(&mut self, bits: u128, chance: &mut Chance) {
        match self {
            Self::Flag(value) => **value = bits & 1 != 0,
            Self::Byte(value) => **value = bits as u8,
            Self::Half(value) => **value = bits as u16,
            Self::Word(value) => **value = bits as u32,
            Self::Long(value) => **value = bits as u64,
            Self::Wide(value) => **value = bits,
            Self::Rule(value) => value.0 = bits as u32,
            Self::NamedRule(value) => **value = (bits & 3 != 0).then_some(RuleId(bits as u32)),
            Self::Protocol(value) => **value = (bits & 3 != 0).then_some(Protocol(bits as u8)),
            Self::Verdict(value) => **value = VERDICTS[chance.below(VERDICTS.len())],
            Self::Decider(value) => {
                **value = match chance.below(2) {
                    0 => Decider::Rule(RuleId(bits as u32)),
                    _ => DECIDERS[chance.below(DECIDERS.len())],
                }
            }
            Self::Log(value) => {
                **value = match chance.below(2) {
                    0 => LogMode::Sample(bits as u32),
                    _ => LOGS[chance.below(LOGS.len())],
                }
            }
            Self::DenyWith(value) => {
                **value = if bits & 1 == 0 { DenyWith::Drop } else { DenyWith::Reject };
            }
        }
    }
}

const VERDICTS: [Verdict; 5] = [
    Verdict::Allow,
    Verdict::Deny(Refusal::Egress),
    Verdict::Deny(Refusal::Ingress),
    Verdict::Deny(Refusal::Isolation),
    Verdict::Deny(Refusal::Undescribed),
];
const DECIDERS: [Decider; 3] = [Decider::Default, Decider::NoGate, Decider::Undescribed];
const LOGS: [LogMode; 3] = [LogMode::None, LogMode::New, LogMode::All];

/// What a table may be keyed by.
pub(crate) trait AsCell {
    fn as_cell(&mut self) -> Cell<'_>;
}

macro_rules! as_cell {
    ($($type:ty: $variant:ident),*) => {$(
        impl AsCell for $type {
            fn as_cell(&mut self) -> Cell<'_> {
                Cell::$variant(self)
            }
        }
    )*};
}
as_cell!(u8: Byte, u16: Half, u32: Word, u64: Long, u128: Wide, RuleId: Rule);

/// Every item is a cell.
pub(crate) fn each<T: AsCell>(items: &mut [T]) -> Vec<Cell<'_>> {
    items.iter_mut().map(AsCell::as_cell).collect()
}

impl Classifier {
    /// All that a lookup reads.
    pub(crate) fn cells(&mut self) -> Tables<'_> {
        let crate::Tables { addresses, layer4, trie, verdicts, .. } = &mut **self;
        let mut tables = Tables::new();
        addresses.cells(&mut tables);
        layer4.cells(&mut tables);
        trie.cells(&mut tables);
        verdicts.cells(&mut tables);
        tables.retain(|(_, cells)| !cells.is_empty());
        tables
    }

    /// Spoils one cell; gives the name of its table.
    pub(crate) fn spoil(&mut self, chance: &mut Chance) -> &'static str {
        spoil_one(self.cells(), chance)
    }
}

/// Spoils one cell of some tables, none of which is empty; gives the name of its table.
pub(crate) fn spoil_one(mut tables: Tables<'_>, chance: &mut Chance) -> &'static str {
    let table = chance.below(tables.len());
    let (name, cells) = &mut tables[table];
    let neighbour = cells[chance.below(cells.len())].bits();
    let cell = chance.below(cells.len());
    cells[cell].spoil(Some(neighbour), chance);
    name
}
