//! What one pair of identities does with layer 4, by intervals of ports instead of layer-4 classes.
//!
//! A rule that is added may name ports at which no class of the tables begins. So the pairs that it applies to have
//! their own intervals, cut by their own rules and no others: few, searched by halves.

use septum_rules::proto::{Layer4, Protocol};

/// By protocol.
#[derive(Clone, Debug)]
pub(crate) struct PairProgram {
    /// The named protocols, then one for all others.
    pub(crate) sheets: Box<[Sheet]>,
}

/// A protocol's intervals, and a verdict for each pair of them.
#[derive(Clone, Debug)]
pub(crate) struct Sheet {
    /// `None`: every protocol that no other sheet names.
    pub(crate) protocol: Option<Protocol>,
    /// Where intervals of source ports begin; the first at zero.
    pub(crate) sources: Box<[u16]>,
    /// Where intervals of destination ports begin.
    pub(crate) destinations: Box<[u16]>,
    /// Source first.
    pub(crate) verdicts: Box<[u32]>,
}

impl PairProgram {
    /// The verdict's number.
    pub(crate) fn verdict(&self, layer4: Layer4) -> u32 {
        let is_meant = |sheet: &&Sheet| sheet.protocol.is_none_or(|protocol| protocol == layer4.protocol);
        let sheet = self.sheets.iter().find(is_meant).expect("the last sheet is for every protocol");
        let interval = |firsts: &[u16], port| firsts.partition_point(|first| *first <= port) - 1;
        let source = interval(&sheet.sources, layer4.source);
        let destination = interval(&sheet.destinations, layer4.destination);
        sheet.verdicts[source * sheet.destinations.len() + destination]
    }

    /// Bytes on the heap.
    pub(crate) fn memory(&self) -> usize {
        let sheet = |sheet: &Sheet| {
            size_of_val(&*sheet.sources) + size_of_val(&*sheet.destinations) + size_of_val(&*sheet.verdicts)
        };
        size_of_val(&*self.sheets) + self.sheets.iter().map(sheet).sum::<usize>()
    }
}
