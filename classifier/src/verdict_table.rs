//! What a lookup ends in: the distinct outcomes of a policy, each stored once.
//!
//! A cell of the rule trie is a [`VerdictId`], not a bit: behind it stand both gates' decisions, the deciding
//! rules, what is to be recorded, and what the sender hears. Entries are a few dozen bytes; audited rules,
//! which are rare, are lists beside the table.

use hashbrown::HashMap;
use septum_rules::identity::RuleId;
use septum_rules::policy::Policy;
use septum_rules::rule::{DenyWith, LogMode};
use septum_rules::verdict::{Decider, Decision, GateDecision, Refusal, Verdict};

use crate::intern::Interner;
use crate::limits::BuildError;

/// An index into the verdict table of one compiled object; means nothing in another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VerdictId(pub u32);

impl VerdictId {
    /// The index for a slice, such as counters by verdict.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VerdictEntry {
    /// What happens to the flow.
    pub verdict: Verdict,
    /// The source's gate.
    pub egress: GateEntry,
    /// The destination's gate.
    pub ingress: GateEntry,
    /// The rule to name for the flow (as [`Decision::rule`]).
    pub rule: Option<RuleId>,
    /// What goes to the flow log: of a refusal, what the refusing rule says; of an admitted flow, the more
    /// talkative of the deciding rules. Where no rule decided, [`LogMode::New`].
    pub log: LogMode,
    /// What a refused sender hears: the refusing rule's word, or the policy's. Nothing where an end is not described.
    pub deny_with: DenyWith,
    /// Something was audited: a gate forwards what it refuses, or an audited rule matched. The flow is recorded.
    pub audited: bool,
}

impl VerdictEntry {
    #[cfg(test)]
    pub(crate) fn cells(&mut self) -> Vec<crate::cells::Cell<'_>> {
        use crate::cells::Cell;
        let Self { verdict, egress, ingress, rule, log, deny_with, audited } = self;
        let gates = [egress, ingress].into_iter().flat_map(|gate| {
            let GateEntry { admits, decider, audited, audited_rules } = gate;
            [Cell::Flag(admits), Cell::Decider(decider), Cell::Flag(audited), Cell::Word(audited_rules)]
        });
        let rest = [
            Cell::Verdict(verdict),
            Cell::NamedRule(rule),
            Cell::Log(log),
            Cell::DenyWith(deny_with),
            Cell::Flag(audited),
        ];
        gates.chain(rest).collect()
    }
}

/// One gate's part of an outcome; [`crate::Classifier::decision`] gives it in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GateEntry {
    /// Whether the gate, on its own, admits.
    pub admits: bool,
    /// What decided.
    pub decider: Decider,
    /// The workload is audited.
    pub audited: bool,
    pub(crate) audited_rules: u32,
}

impl GateEntry {
    /// The side of an endpoint that is no workload.
    pub(crate) const NO_GATE: Self =
        Self { admits: true, decider: Decider::NoGate, audited: false, audited_rules: 0 };
    /// Either side where one end is not described.
    pub(crate) const UNDESCRIBED: Self =
        Self { admits: false, decider: Decider::Undescribed, audited: false, audited_rules: 0 };

    fn passes(self) -> bool {
        self.admits || self.audited
    }

    fn rule(self) -> Option<RuleId> {
        match self.decider {
            Decider::Rule(rule) => Some(rule),
            _ => None,
        }
    }
}

/// What two gates and the things above them say, before it is an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Outcome {
    pub(crate) egress: GateEntry,
    pub(crate) ingress: GateEntry,
    /// Isolation or a missing description: refused, whatever the gates say.
    pub(crate) overruled: Option<Refusal>,
}

/// The finished table.
#[derive(Clone, Debug)]
pub(crate) struct VerdictTable {
    entries: Box<[VerdictEntry]>,
    audited_rules: Interner<RuleId>,
}

impl VerdictTable {
    pub(crate) fn entries(&self) -> &[VerdictEntry] {
        &self.entries
    }

    pub(crate) fn decision(&self, verdict: VerdictId) -> Decision {
        let entry = &self.entries[verdict.index()];
        let gate = |gate: GateEntry| GateDecision {
            admits: gate.admits,
            decider: gate.decider,
            audited: gate.audited,
            audited_rules: self.audited_rules.get(gate.audited_rules).to_vec(),
        };
        Decision { verdict: entry.verdict, egress: gate(entry.egress), ingress: gate(entry.ingress) }
    }

    #[cfg(test)]
    pub(crate) fn cells<'t>(&'t mut self, tables: &mut crate::cells::Tables<'t>) {
        tables.push(("verdicts", self.entries.iter_mut().flat_map(VerdictEntry::cells).collect()));
        self.audited_rules.cells("audited rules", tables);
    }

    /// An entry with the audited rules of both gates, without trust that there is one.
    pub(crate) fn find(&self, verdict: u32) -> Option<(&VerdictEntry, [&[RuleId]; 2])> {
        let entry = self.entries.get(verdict as usize)?;
        let audited = |gate: GateEntry| self.audited_rules.find(gate.audited_rules);
        Some((entry, [audited(entry.egress)?, audited(entry.ingress)?]))
    }

    /// Bytes on the heap.
    pub(crate) fn memory(&self) -> usize {
        size_of_val(&*self.entries) + self.audited_rules.item_count() * size_of::<RuleId>()
    }
}

/// The table while it grows.
pub(crate) struct VerdictBuild<'p> {
    policy: &'p Policy,
    limit: usize,
    entries: Vec<VerdictEntry>,
    numbers: HashMap<Outcome, u32, ahash::RandomState>,
    audited_rules: Interner<RuleId>,
}

impl<'p> VerdictBuild<'p> {
    /// # Errors
    /// [`BuildError::Table`] when nothing may be stored.
    pub(crate) fn new(policy: &'p Policy, limit: usize) -> Result<Self, BuildError> {
        let mut audited_rules = Interner::new("audited rules", limit);
        // The rule trie needs the highest bit of a verdict's number.
        let limit = limit.min(1 << 31);
        // The empty list is number zero, which the constants of `GateEntry` rely on.
        audited_rules.intern(&[])?;
        Ok(Self { policy, limit, entries: Vec::new(), numbers: HashMap::default(), audited_rules })
    }

    pub(crate) fn finish(self) -> VerdictTable {
        VerdictTable { entries: self.entries.into_boxed_slice(), audited_rules: self.audited_rules }
    }

    /// The number of the list `rules`.
    ///
    /// # Errors
    /// [`BuildError::Table`].
    pub(crate) fn audited_rules(&mut self, rules: &[RuleId]) -> Result<u32, BuildError> {
        self.audited_rules.intern(rules)
    }

    /// The number of the list `rules` with one more.
    ///
    /// # Errors
    /// [`BuildError::Table`].
    pub(crate) fn audited_rules_and(&mut self, rules: u32, rule: RuleId) -> Result<u32, BuildError> {
        let mut longer = self.audited_rules.get(rules).to_vec();
        longer.push(rule);
        self.audited_rules(&longer)
    }

    /// The number of an outcome.
    ///
    /// # Errors
    /// [`BuildError::Table`].
    pub(crate) fn number(&mut self, outcome: Outcome) -> Result<u32, BuildError> {
        if let Some(number) = self.numbers.get(&outcome) {
            return Ok(*number);
        }
        if self.entries.len() >= self.limit {
            return Err(BuildError::Table { table: "verdicts", limit: self.limit });
        }
        let number = self.entries.len() as u32;
        self.entries.push(entry(self.policy, outcome));
        self.numbers.insert(outcome, number);
        Ok(number)
    }
}

/// What an outcome is, with the attributes of the rules that decide it.
pub(crate) fn entry(policy: &Policy, Outcome { egress, ingress, overruled }: Outcome) -> VerdictEntry {
    let (verdict, refusing) = match overruled {
        Some(refusal) => (Verdict::Deny(refusal), None),
        None if !egress.passes() => (Verdict::Deny(Refusal::Egress), Some(egress)),
        None if !ingress.passes() => (Verdict::Deny(Refusal::Ingress), Some(ingress)),
        None => (Verdict::Allow, None),
    };
    let rule = match verdict {
        Verdict::Allow => ingress.rule().or(egress.rule()),
        _ => refusing.and_then(GateEntry::rule),
    };
    let log_of = |rule: RuleId| policy.rules[rule.index()].log;
    let log = match (verdict, refusing) {
        (Verdict::Allow, _) => {
            let modes = [egress, ingress].into_iter().filter_map(GateEntry::rule).map(log_of);
            modes.max_by_key(|mode| talkativeness(*mode))
        }
        (_, Some(gate)) => gate.rule().map(log_of),
        _ => None,
    };
    let told = refusing.and_then(GateEntry::rule).and_then(|rule| policy.rules[rule.index()].deny_with);
    let deny_with = match overruled {
        Some(Refusal::Undescribed) => DenyWith::Drop,
        _ => told.unwrap_or(policy.settings.deny_with),
    };
    let records = |gate: GateEntry| gate.audited && !gate.admits || gate.audited_rules != 0;
    let audited = overruled.is_none() && (records(egress) || records(ingress));
    VerdictEntry { verdict, egress, ingress, rule, log: log.unwrap_or_default(), deny_with, audited }
}

/// Orders log modes by how much they write.
fn talkativeness(mode: LogMode) -> (u8, u32) {
    match mode {
        LogMode::None => (0, 0),
        LogMode::Sample(one_in) => (1, u32::MAX - one_in),
        LogMode::New => (2, 0),
        LogMode::All => (3, 0),
    }
}
