//! What one pair of identities does with layer 4, by intervals of ports instead of layer-4 classes.
//!
//! A rule that is added may name ports at which no class of the tables begins. So the pairs that it applies to have
//! their own intervals, cut by their own rules and no others: few, searched by halves.

use septum_rules::proto::{Layer4, Protocol};

/// By protocol.
#[derive(Clone, Debug, Default)]
pub(crate) struct PairProgram {
    /// The named protocols, then one for all others.
    sheets: Box<[Sheet]>,
    /// Of all sheets: where intervals of source ports begin, the first at zero; then the same of destination ports.
    firsts: Box<[u16]>,
    /// Of all sheets: a verdict for each pair of intervals, source first.
    verdicts: Box<[u32]>,
}

/// A protocol's part: where its entries end.
#[derive(Clone, Copy, Debug)]
struct Sheet {
    /// `None`: every protocol that no other sheet names.
    protocol: Option<Protocol>,
    sources: u32,
    destinations: u32,
    verdicts: u32,
}

/// A sheet's intervals, and its verdicts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Intervals<'a> {
    pub(crate) protocol: Option<Protocol>,
    pub(crate) sources: &'a [u16],
    pub(crate) destinations: &'a [u16],
    pub(crate) verdicts: &'a [u32],
}

impl PairProgram {
    /// Sheet by sheet.
    pub(crate) fn sheets(&self) -> impl Iterator<Item = Intervals<'_>> {
        let mut from = (0, 0);
        self.sheets.iter().map(move |sheet| {
            let [sources, destinations, verdicts] =
                [sheet.sources, sheet.destinations, sheet.verdicts].map(|end| end as usize);
            let begin = std::mem::replace(&mut from, (destinations, verdicts));
            Intervals {
                protocol: sheet.protocol,
                sources: part(&self.firsts, begin.0, sources),
                destinations: part(&self.firsts, sources, destinations),
                verdicts: part(&self.verdicts, begin.1, verdicts),
            }
        })
    }

    /// The verdict's number.
    pub(crate) fn verdict(&self, layer4: Layer4) -> u32 {
        self.step(layer4).expect("the last sheet is for every protocol, and intervals begin at zero")
    }

    /// [`PairProgram::verdict`], without trust that there is one.
    pub(crate) fn step(&self, layer4: Layer4) -> Option<u32> {
        let is_meant = |sheet: &Intervals<'_>| sheet.protocol.is_none_or(|it| it == layer4.protocol);
        let sheet = self.sheets().find(is_meant)?;
        let interval = |firsts: &[u16], port| firsts.partition_point(|first| *first <= port).checked_sub(1);
        let source = interval(sheet.sources, layer4.source)?;
        let destination = interval(sheet.destinations, layer4.destination)?;
        sheet.verdicts.get(source * sheet.destinations.len() + destination).copied()
    }

    #[cfg(test)]
    pub(crate) fn cells(&mut self) -> Vec<crate::cells::Cell<'_>> {
        use crate::cells::{Cell, each};
        let sheets = self.sheets.iter_mut().flat_map(|sheet| {
            let Sheet { protocol, sources, destinations, verdicts } = sheet;
            [Cell::Protocol(protocol), Cell::Word(sources), Cell::Word(destinations), Cell::Word(verdicts)]
        });
        sheets.chain(each(&mut self.firsts)).chain(each(&mut self.verdicts)).collect()
    }

    /// Bytes on the heap.
    pub(crate) fn memory(&self) -> usize {
        size_of_val(&*self.sheets) + size_of_val(&*self.firsts) + size_of_val(&*self.verdicts)
    }
}

/// A part of a list; none of it where its ends are none.
fn part<T>(list: &[T], from: usize, to: usize) -> &[T] {
    list.get(from..to).unwrap_or(&[])
}

/// Programs, one after the other; keeps its buffers.
#[derive(Debug, Default)]
pub(crate) struct PairProgramBuild {
    sheets: Vec<Sheet>,
    firsts: Vec<u16>,
    verdicts: Vec<u32>,
}

impl PairProgramBuild {
    /// The next sheet; the last one is for `None`. `verdict` is asked for each pair of intervals.
    pub(crate) fn sheet(
        &mut self,
        protocol: Option<Protocol>,
        sources: &[u16],
        destinations: &[u16],
        mut verdict: impl FnMut(u16, u16) -> u32,
    ) {
        for source in sources {
            self.verdicts.extend(destinations.iter().map(|destination| verdict(*source, *destination)));
        }
        self.firsts.extend_from_slice(sources);
        let sources = self.firsts.len() as u32;
        self.firsts.extend_from_slice(destinations);
        let (destinations, verdicts) = (self.firsts.len() as u32, self.verdicts.len() as u32);
        self.sheets.push(Sheet { protocol, sources, destinations, verdicts });
    }

    /// The program of the sheets so far.
    pub(crate) fn finish(&mut self) -> PairProgram {
        let program = PairProgram {
            sheets: self.sheets.as_slice().into(),
            firsts: self.firsts.as_slice().into(),
            verdicts: self.verdicts.as_slice().into(),
        };
        self.sheets.clear();
        self.firsts.clear();
        self.verdicts.clear();
        program
    }
}
