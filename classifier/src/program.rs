//! One pair of classes: from the rules that apply to it to an outcome for every layer-4 class.
//!
//! The rules' runs of classes cut the line of layer-4 classes into *pieces* on which every rule either holds
//! or does not. Each gate then paints the pieces in the order of evaluation: a rule takes those that nobody
//! has taken, a `pass` hides them until the next tier, an audited rule only leaves its name. Taken pieces are
//! skipped in nearly constant time (disjoint sets with path halving), so a pair costs about the number of
//! its rules' runs, not rules times pieces.

use septum_rules::rule::{Action, Tier};
use septum_rules::verdict::{Decider, Gate, Refusal};

use crate::endpoint_class::GateKind;
use crate::in_force::RuleInForce;
use crate::limits::BuildError;
use crate::verdict_table::{GateEntry, Outcome, VerdictBuild};

/// A rule as it applies to a pair: its holes for that pair are cut out of its runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item<'a> {
    pub(crate) rule: &'a RuleInForce,
    /// Disjoint half-open runs of layer-4 classes, in order.
    pub(crate) runs: &'a [(u32, u32)],
}

/// The two ends of a pair, as far as gates differ by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ends {
    pub(crate) source: GateKind,
    pub(crate) destination: GateKind,
}

impl Ends {
    fn overruled(self) -> Option<Refusal> {
        if self.source.init || self.destination.init {
            return Some(Refusal::Undescribed);
        }
        let isolated =
            self.source.isolated_in.is_some() && self.source.isolated_in == self.destination.isolated_in;
        isolated.then_some(Refusal::Isolation)
    }

    fn has_like_gates(self) -> bool {
        let like = |end: GateKind| (end.gate, end.open, end.audit);
        like(self.source) == like(self.destination)
    }

    fn gate(self, gate: Gate) -> GateKind {
        match gate {
            Gate::Egress => self.source,
            Gate::Ingress => self.destination,
        }
    }
}

/// The numbers of a pair's outcomes: each with the first layer-4 class of its piece, which ends where the
/// next begins. Neighbours differ; the first begins at zero.
pub(crate) type Outcomes = Vec<(u32, u32)>;

/// Works on pairs one after the other; keeps its buffers.
#[derive(Default)]
pub(crate) struct Painter {
    /// First classes of the pieces, and the number of classes at the end.
    edges: Vec<u32>,
    /// Disjoint sets: the first piece at or behind this one that can still be taken.
    free: Vec<u32>,
    egress: Vec<GateEntry>,
    ingress: Vec<GateEntry>,
}

impl Painter {
    /// The outcomes of a pair. `items` are in the order of evaluation.
    ///
    /// # Errors
    /// [`BuildError::Table`] when the verdict table is full.
    pub(crate) fn paint(
        &mut self,
        ends: Ends,
        items: &[Item<'_>],
        class_count: u32,
        verdicts: &mut VerdictBuild<'_>,
    ) -> Result<Outcomes, BuildError> {
        self.edges.clear();
        self.edges.extend([0, class_count]);
        self.edges.extend(items.iter().flat_map(|item| item.runs).flat_map(|(from, to)| [*from, *to]));
        self.edges.sort_unstable();
        self.edges.dedup();

        let mut egress = std::mem::take(&mut self.egress);
        let mut ingress = std::mem::take(&mut self.ingress);
        self.paint_gate(ends, Gate::Egress, items, &mut egress, verdicts)?;
        // Most pairs have like gates and rules that stand at both: then one painting is enough.
        if ends.has_like_gates() && items.iter().all(|item| item.rule.side.is_none()) {
            ingress.clone_from(&egress);
        } else {
            self.paint_gate(ends, Gate::Ingress, items, &mut ingress, verdicts)?;
        }
        let overruled = ends.overruled();
        let mut outcomes: Outcomes = Vec::new();
        // Pieces take turns between few outcomes, mostly those of one rule and of none: they are not all looked up.
        let mut latest: [Option<(Outcome, u32)>; 2] = [None; 2];
        for ((first, egress), ingress) in self.edges.iter().zip(&egress).zip(&ingress) {
            let outcome = Outcome { egress: *egress, ingress: *ingress, overruled };
            let known = latest.iter().flatten().find(|(known, _)| *known == outcome);
            let number = match known {
                Some((_, number)) => *number,
                None => {
                    let number = verdicts.number(outcome)?;
                    latest = [Some((outcome, number)), latest[0]];
                    number
                }
            };
            if outcomes.last().is_none_or(|(_, last)| *last != number) {
                outcomes.push((*first, number));
            }
        }
        (self.egress, self.ingress) = (egress, ingress);
        Ok(outcomes)
    }

    /// One gate's entry for each piece.
    fn paint_gate(
        &mut self,
        ends: Ends,
        gate: Gate,
        items: &[Item<'_>],
        pieces: &mut Vec<GateEntry>,
        verdicts: &mut VerdictBuild<'_>,
    ) -> Result<(), BuildError> {
        let count = self.edges.len() - 1;
        let kind = ends.gate(gate);
        pieces.clear();
        if ends.overruled() == Some(Refusal::Undescribed) {
            pieces.resize(count, GateEntry::UNDESCRIBED);
            return Ok(());
        }
        if !kind.gate {
            pieces.resize(count, GateEntry::NO_GATE);
            return Ok(());
        }
        let default =
            GateEntry { admits: kind.open, decider: Decider::Default, audited: kind.audit, audited_rules: 0 };
        pieces.resize(count, default);
        for tier in Tier::ALL {
            let from = items.partition_point(|item| item.rule.tier < tier);
            let to = items.partition_point(|item| item.rule.tier <= tier);
            if from == to {
                continue;
            }
            self.free_undecided(pieces);
            for item in items[from..to].iter().filter(|item| item.rule.stands_at(gate)) {
                self.paint_item(item, pieces, verdicts)?;
            }
        }
        Ok(())
    }

    /// A tier begins: what no rule has decided can be taken (again, where the tier before passed).
    fn free_undecided(&mut self, pieces: &[GateEntry]) {
        self.free.clear();
        self.free.extend(0..=pieces.len() as u32);
        for (at, piece) in pieces.iter().enumerate() {
            if piece.decider != Decider::Default {
                self.free[at] = at as u32 + 1;
            }
        }
    }

    fn paint_item(
        &mut self,
        item: &Item<'_>,
        pieces: &mut [GateEntry],
        verdicts: &mut VerdictBuild<'_>,
    ) -> Result<(), BuildError> {
        for (from, to) in item.runs {
            let from = self.edges.partition_point(|edge| edge < from);
            let to = from + self.edges[from..].partition_point(|edge| edge < to);
            let mut at = self.next_free(from);
            while at < to {
                let piece = &mut pieces[at];
                if item.rule.audit {
                    piece.audited_rules = verdicts.audited_rules_and(piece.audited_rules, item.rule.id)?;
                } else {
                    if item.rule.action != Action::Pass {
                        piece.admits = item.rule.action == Action::Allow;
                        piece.decider = Decider::Rule(item.rule.id);
                    }
                    self.free[at] = at as u32 + 1;
                }
                at = self.next_free(at + 1);
            }
        }
        Ok(())
    }

    fn next_free(&mut self, from: usize) -> usize {
        let mut at = from;
        while self.free[at] as usize != at {
            let next = self.free[at] as usize;
            self.free[at] = self.free[next];
            at = next;
        }
        at
    }
}
