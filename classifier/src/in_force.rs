//! The rules that can match today, in the order of evaluation, with every repeated part named by a number.
//!
//! Ten thousand rules usually speak of a few hundred selectors and services. Here each distinct alternative,
//! selector and service list gets a number once; all later stages work on those. A rule's *rank* is its place
//! in the order of evaluation among the rules in force: ranks compare as rules are asked.

use septum_rules::date::Date;
use septum_rules::identity::RuleId;
use septum_rules::policy::Policy;
use septum_rules::proto::Service;
use septum_rules::rule::{Action, Tier};
use septum_rules::selector::{Alternative, Operator, Selector};
use septum_rules::verdict::Gate;

use crate::intern::Interner;
use crate::limits::{BuildError, Limits};

/// One rule in force.
#[derive(Clone, Debug)]
pub(crate) struct RuleInForce {
    pub(crate) id: RuleId,
    pub(crate) tier: Tier,
    pub(crate) action: Action,
    pub(crate) audit: bool,
    pub(crate) side: Option<Gate>,
    /// Number of the selector.
    pub(crate) from: u32,
    /// Number of the selector.
    pub(crate) to: u32,
    /// Number of the service list.
    pub(crate) services: u32,
    pub(crate) except: Vec<ExceptInForce>,
}

/// One hole of a rule in force.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExceptInForce {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) services: u32,
}

impl RuleInForce {
    pub(crate) fn stands_at(&self, gate: Gate) -> bool {
        self.side.is_none_or(|side| side == gate)
    }
}

/// All of them, and what they name.
#[derive(Debug)]
pub(crate) struct RulesInForce<'p> {
    /// By rank.
    pub(crate) rules: Vec<RuleInForce>,
    /// By number; references into the policy.
    pub(crate) alternatives: Vec<&'p Alternative>,
    /// Selector by number: its alternatives, sorted.
    pub(crate) selectors: Interner<u32>,
    /// Service list by number: sorted, without repetition.
    pub(crate) services: Interner<Service>,
    /// Whether a selector stands in a `from`, and in a `to`.
    pub(crate) used: Vec<Positions>,
    /// The first day on which a rule in force is in force no more.
    pub(crate) valid_until: Option<Date>,
}

/// Where a selector stands.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Positions {
    pub(crate) from: bool,
    pub(crate) to: bool,
}

/// Gives each distinct alternative a number. Its parts lie far apart in memory, and a million rules name some two million:
/// so they are compared as they are written down here, one behind the other.
struct Numbers<'p> {
    written: Interner<u8>,
    values: Vec<&'p Alternative>,
    buffer: Vec<u8>,
}

impl<'p> Numbers<'p> {
    fn number(&mut self, alternative: &'p Alternative) -> Result<u32, BuildError> {
        self.buffer.clear();
        write_down(alternative, &mut self.buffer);
        let number = self.written.intern(&self.buffer)?;
        if number as usize == self.values.len() {
            self.values.push(alternative);
        }
        Ok(number)
    }
}

/// Differs where alternatives differ: what has no fixed length says how long it is.
fn write_down(alternative: &Alternative, out: &mut Vec<u8>) {
    let number = |number: u32, out: &mut Vec<u8>| out.extend(number.to_le_bytes());
    let text = |text: &str, out: &mut Vec<u8>| {
        number(text.len() as u32, out);
        out.extend(text.as_bytes());
    };
    let expression = match alternative {
        Alternative::Any => return out.push(0),
        Alternative::World => return out.push(1),
        Alternative::Network(network) => {
            out.push(2);
            return number(network.0, out);
        }
        Alternative::Labels(expression) => expression,
    };
    out.push(3);
    for requirement in &expression.requirements {
        text(&requirement.key, out);
        let (operator, values) = match &requirement.operator {
            Operator::In(values) => (0, values.as_slice()),
            Operator::NotIn(values) => (1, values.as_slice()),
            Operator::Exists => (2, &[][..]),
            Operator::DoesNotExist => (3, &[][..]),
        };
        out.push(operator);
        number(values.len() as u32, out);
        values.iter().for_each(|value| text(value, out));
    }
}

impl<'p> RulesInForce<'p> {
    /// # Errors
    /// [`BuildError::Table`] when the parts outgrow their limit, [`BuildError::Unresolved`] for a network that
    /// does not exist.
    pub(crate) fn collect(policy: &'p Policy, now: Date, limits: &Limits) -> Result<Self, BuildError> {
        let mut collect = Collect {
            policy,
            alternatives: Numbers {
                written: Interner::new("bytes of distinct selectors", u32::MAX as usize - 1),
                values: Vec::new(),
                buffer: Vec::new(),
            },
            selectors: Interner::new("selectors", limits.table_entries),
            services: Interner::new("services", limits.table_entries),
            used: Vec::new(),
        };
        let mut rules = Vec::new();
        let mut valid_until: Option<Date> = None;
        for id in policy.evaluation_order() {
            let rule = &policy.rules[id.index()];
            if rule.is_expired(now) {
                continue;
            }
            if let Some(last_valid) = rule.expires {
                let ends = last_valid.tomorrow();
                valid_until = Some(valid_until.map_or(ends, |known| known.min(ends)));
            }
            let mut except = Vec::with_capacity(rule.except.len());
            for hole in &rule.except {
                except.push(ExceptInForce {
                    from: collect.selector(&hole.from, |used| used.from = true)?,
                    to: collect.selector(&hole.to, |used| used.to = true)?,
                    services: collect.service_list(&hole.services)?,
                });
            }
            rules.push(RuleInForce {
                id,
                tier: rule.tier,
                action: rule.action,
                audit: rule.audit,
                side: rule.side,
                from: collect.selector(&rule.from, |used| used.from = true)?,
                to: collect.selector(&rule.to, |used| used.to = true)?,
                services: collect.service_list(&rule.services)?,
                except,
            });
        }
        let Collect { alternatives, selectors, services, used, .. } = collect;
        Ok(Self { rules, alternatives: alternatives.values, selectors, services, used, valid_until })
    }
}

struct Collect<'p> {
    policy: &'p Policy,
    alternatives: Numbers<'p>,
    selectors: Interner<u32>,
    services: Interner<Service>,
    used: Vec<Positions>,
}

impl<'p> Collect<'p> {
    fn selector(&mut self, selector: &'p Selector, note: impl Fn(&mut Positions)) -> Result<u32, BuildError> {
        let mut alternatives = Vec::with_capacity(selector.alternatives.len());
        for alternative in &selector.alternatives {
            if let Alternative::Network(network) = alternative
                && network.index() >= self.policy.networks.len()
            {
                return Err(BuildError::Unresolved { what: "network", index: network.index() });
            }
            alternatives.push(self.alternatives.number(alternative)?);
        }
        alternatives.sort_unstable();
        alternatives.dedup();
        let number = self.selectors.intern(&alternatives)?;
        self.used.resize(self.selectors.len(), Positions::default());
        note(&mut self.used[number as usize]);
        Ok(number)
    }

    fn service_list(&mut self, services: &[Service]) -> Result<u32, BuildError> {
        let mut services = services.to_vec();
        services.sort_unstable();
        services.dedup();
        self.services.intern(&services)
    }
}
