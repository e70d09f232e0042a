//! What a policy says and its author probably did not mean.
//!
//! Reads only a [`Policy`] and the day, and judges on the meaning, not on the text: whether a rule ever decides is
//! answered for all flows, with negated selectors, `except`, tiers, sides, isolation and expiry, and each finding
//! about flows names one. A finding is never wrong; a policy too large for the budget of work is linted in part, and
//! [`Linted::complete`] says so. What the policy itself allows (`[lint]`) is left out.

mod allowed;
mod classes;
mod overlap;
mod space;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use allowed::Allowed;
use classes::Classes;
use overlap::{Seen, Witness};

use crate::date::Date;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Sink};
use crate::endpoint::{Endpoint, Party};
use crate::identity::{NetworkId, RuleId};
use crate::invariant::Claim;
use crate::policy::Policy;
use crate::proto::Service;
use crate::rule::{Action, Rule};
use crate::selector::{Alternative, Operator, Selector};
use crate::source::Span;
use crate::verdict::Gate;

/// Days before its end that a rule is reported.
const SOON: u64 = 14;
/// Names that a message lists.
const MOST_NAMES: usize = 5;
/// Units of work, some ten nanoseconds each.
const BUDGET: usize = 40_000_000;

/// What was found.
#[derive(Clone, Debug)]
pub struct Linted {
    /// Warnings, in the order of their places.
    pub warnings: Diagnostics,
    /// Whether all rules could be judged; else the findings about flows are missing.
    pub complete: bool,
}

/// How much work may still be done.
struct Budget(usize);

impl Budget {
    fn spend(&mut self, units: usize) -> Option<()> {
        self.0 = self.0.checked_sub(units)?;
        Some(())
    }

    fn affords(&self, units: usize) -> Option<()> {
        (units <= self.0).then_some(())
    }
}

/// Lints a policy as it stands on the day `now` (UTC).
pub fn lint(policy: &Policy, now: Date) -> Linted {
    let mut sink = Sink::default();
    let allowed = Allowed::new(&policy.allows);
    let mut lint = Lint { policy, now, sink: &mut sink, allowed };
    lint.lifetimes();
    lint.breadth();
    lint.unused();
    lint.open_gates();
    let mislabelled = lint.labels();
    let mut budget = Budget(BUDGET);
    let complete = lint.flows(&mislabelled, &mut budget).is_some();
    if complete {
        lint.allowed.report_unused(lint.sink);
    }
    Linted { warnings: sink.into_diagnostics(Arc::clone(&policy.sources)), complete }
}

struct Lint<'p, 's> {
    policy: &'p Policy,
    now: Date,
    sink: &'s mut Sink,
    allowed: Allowed<'p>,
}

impl Lint<'_, '_> {
    fn push(&mut self, diagnostic: Diagnostic) {
        if !self.allowed.covers(diagnostic.code, diagnostic.span) {
            self.sink.push(diagnostic);
        }
    }

    fn warn(&mut self, code: Code, span: Span, message: String, help: &str) {
        self.push(Diagnostic::new(code, span, message).help(help));
    }

    fn lifetimes(&mut self) {
        for rule in &self.policy.rules {
            let Some(expires) = rule.expires else { continue };
            let days = (expires.to_unix_seconds().saturating_sub(self.now.to_unix_seconds())) / 86_400;
            if rule.is_expired(self.now) {
                let message = format!("rule `{}` expired: its last valid day was {expires}", rule.name);
                self.warn(Code::ExpiredRule, rule.span, message, "remove it, or extend `expires`");
            } else if days <= SOON {
                let message = format!("rule `{}` expires soon: its last valid day is {expires}", rule.name);
                self.warn(Code::ExpiringRule, rule.span, message, "extend `expires`, or plan for its end");
            }
        }
    }

    fn breadth(&mut self) {
        let any = |selector: &Selector| selector.alternatives.contains(&Alternative::Any);
        for rule in &self.policy.rules {
            let everything = rule.action == Action::Allow
                && any(&rule.from)
                && any(&rule.to)
                && rule.services.contains(&Service::ANY)
                && rule.except.is_empty()
                && !rule.audit
                && !rule.is_expired(self.now);
            if everything {
                let message = format!("rule `{}` allows everything from everybody to everybody", rule.name);
                self.warn(Code::AnyToAny, rule.span, message, "name who may reach whom");
            }
        }
    }

    fn unused(&mut self) {
        for service in self.policy.services.iter().filter(|service| !service.used) {
            let message = format!("the service `{}` is used nowhere", service.name);
            self.warn(Code::UnusedService, service.span, message, "remove it");
        }
        let used = self.used_networks();
        for (id, network) in (0..).map(NetworkId).zip(&self.policy.networks) {
            if !used.contains(&id) {
                let message = format!("the network `{}` is used nowhere", network.name);
                self.warn(Code::UnusedNetwork, network.span, message, "remove it");
            }
        }
    }

    fn used_networks(&self) -> HashSet<NetworkId> {
        let claimed = self.policy.invariants.iter().flat_map(|invariant| match &invariant.claim {
            Claim::Never(flows) | Claim::Only(flows) => vec![&flows.from, &flows.to],
            Claim::BlastRadius { of, .. } => vec![of],
        });
        let named = self.policy.rules.iter().flat_map(selectors).chain(claimed);
        let networks =
            named.flat_map(|selector| &selector.alternatives).filter_map(|alternative| match alternative {
                Alternative::Network(id) => Some(*id),
                _ => None,
            });
        networks
            .chain(self.policy.uplinks.iter().flat_map(|uplink| uplink.networks.iter().copied()))
            .collect()
    }

    fn open_gates(&mut self) {
        if self.policy.settings.default_allow {
            let message = "`default = \"allow\"`: what no rule decides is admitted".to_owned();
            let help = "remove it; `run` refuses it without `--allow-open`";
            // Settings keep no place; the first file is where they belong.
            self.warn(Code::OpenByDefault, Span::default(), message, help);
            return;
        }
        // One finding names many workloads, so each is looked up on its own.
        let allowed = &mut self.allowed;
        let open: Vec<_> = self
            .policy
            .workloads
            .iter()
            .filter(|workload| workload.open.ingress || workload.open.egress)
            .filter(|workload| !allowed.covers(Code::OpenByDefault, workload.span))
            .collect();
        let Some(first) = open.first() else { return };
        let names = list_names(open.iter().map(|workload| &*workload.name));
        let message = format!("gates that admit what no rule decides: {names}");
        self.warn(
            Code::OpenByDefault,
            first.span,
            message,
            "remove `open`; `run` refuses it without `--allow-open`",
        );
    }

    /// Reports labels that nobody carries, and gives the rules that ask for them.
    fn labels(&mut self) -> HashSet<RuleId> {
        let mut carried: HashMap<&str, HashSet<&str>> = HashMap::new();
        for workload in &self.policy.workloads {
            for (key, value) in &workload.labels {
                carried.entry(key).or_default().insert(value);
            }
        }
        let mut rules = HashSet::new();
        for (id, rule) in (0..).map(RuleId).zip(&self.policy.rules) {
            for (key, value) in asked_for(rule) {
                let known = carried.get(key);
                let missing = match value {
                    Some(value) => known.is_none_or(|values| !values.contains(value)),
                    None => known.is_none(),
                };
                if !missing || !rules.insert(id) {
                    continue;
                }
                let (label, near) = match (known, value) {
                    (Some(values), Some(value)) => {
                        let near = crate::diagnostic::nearest(value, values.iter().copied());
                        (format!("{key}={value}"), near.map(|near| format!("{key}={near}")))
                    }
                    _ => {
                        let near = crate::diagnostic::nearest(key, carried.keys().copied());
                        (key.to_owned(), near.map(str::to_owned))
                    }
                };
                let message =
                    format!("rule `{}` asks for the label `{label}`, which no workload carries", rule.name);
                let help = near.map(|near| format!("did you mean `{near}`?"));
                self.push(Diagnostic::new(Code::UnknownLabel, rule.span, message).help_maybe(help));
            }
        }
        rules
    }

    /// The findings about flows.
    fn flows(&mut self, mislabelled: &HashSet<RuleId>, budget: &mut Budget) -> Option<()> {
        let policy = self.policy;
        let classes = Classes::new(policy, budget)?;
        let seen = overlap::judge(policy, &classes, self.now, budget)?;
        for (id, rule) in (0..).map(RuleId).zip(&policy.rules) {
            if !rule.is_expired(self.now) {
                self.rule(id, rule, &seen, &classes, mislabelled);
            }
        }
        self.workloads_without_rule(&classes);
        Some(())
    }

    fn rule(
        &mut self,
        id: RuleId,
        rule: &Rule,
        all: &[Seen],
        classes: &Classes<'_>,
        mislabelled: &HashSet<RuleId>,
    ) {
        let seen = &all[id.index()];
        let Some(witness) = seen.witness else {
            if !mislabelled.contains(&id) {
                let message = format!("rule `{}` matches no flow", rule.name);
                let help = never_matches(rule, classes);
                self.warn(Code::NeverMatches, rule.span, message, help);
            }
            return;
        };
        let shown = self.flow(classes, &witness);
        let others = seen.coverers.iter().map(|id| &self.policy.rules[id.index()]);
        let names = list_names(others.clone().map(|other| &*other.name));
        if !seen.decides {
            let alike = others.clone().all(|other| other.action == rule.action);
            let (code, message) = if alike {
                (
                    Code::RedundantRule,
                    format!("rule `{}` changes nothing: {names} decides alike, and first", rule.name),
                )
            } else {
                (Code::ShadowedRule, format!("rule `{}` never decides: {names} comes first", rule.name))
            };
            let help = format!("{shown} never gets to this rule; remove it, or change tier or priority");
            self.related(code, rule, message, others.cloned().collect(), help);
            return;
        }
        // Of two rules that could stand for each other, the one that decides is not called redundant.
        let replaceable = !seen.essential
            && !seen.coverers.is_empty()
            && seen.coverers.len() <= overlap::MOST_COVERERS
            && seen.coverers.iter().all(|other| all[other.index()].decides);
        if replaceable {
            let message = format!("rule `{}` changes nothing: without it, {names} decides alike", rule.name);
            let help =
                format!("{shown} is decided the same way without it; remove it, or narrow the other rule");
            self.related(Code::RedundantRule, rule, message, others.cloned().collect(), help);
        }
        if rule.action == Action::Allow && !seen.has_path && !rule.audit {
            let message = format!("rule `{}` allows what has no path, for example {shown}", rule.name);
            self.warn(Code::NoPath, rule.span, message, "give both segments a `gateway`");
        }
        for (deny, witness) in &seen.contradictions {
            let deny = &self.policy.rules[deny.index()];
            let shown = self.flow(classes, witness);
            let message =
                format!("rule `{}` allows and `{}` denies {shown}, at equal priority", rule.name, deny.name);
            let help = "deny goes first; give one of them another priority to say so".to_owned();
            self.related(Code::ContradictoryRules, rule, message, vec![deny.clone()], help);
        }
    }

    fn related(&mut self, code: Code, rule: &Rule, message: String, others: Vec<Rule>, help: String) {
        let mut diagnostic = Diagnostic::new(code, rule.span, message).help(help);
        for other in others.iter().take(2) {
            diagnostic = diagnostic.related(other.span, format!("`{}` is here", other.name));
        }
        self.push(diagnostic);
    }

    fn workloads_without_rule(&mut self, classes: &Classes<'_>) {
        let mut spoken_of = vec![false; classes.classes.len()];
        let valid = self.policy.rules.iter().filter(|rule| !rule.is_expired(self.now));
        let mut done: HashSet<&Selector> = HashSet::new();
        for selector in valid.flat_map(|rule| {
            let from = rule.stands_at(Gate::Egress).then_some(&rule.from);
            let to = rule.stands_at(Gate::Ingress).then_some(&rule.to);
            from.into_iter().chain(to)
        }) {
            if done.insert(selector) {
                classes.of(selector).iter().for_each(|class| spoken_of[*class as usize] = true);
            }
        }
        for (workload, ids) in self.policy.workloads.iter().zip(&classes.of_workload) {
            if !ids.iter().any(|class| spoken_of[*class as usize]) {
                let message = format!("no rule speaks of the workload `{}`", workload.name);
                self.warn(
                    Code::WorkloadWithoutRule,
                    workload.span,
                    message,
                    "its gates decide by their default alone",
                );
            }
        }
    }

    /// A flow as people name it.
    fn flow(&self, classes: &Classes<'_>, witness: &Witness) -> String {
        let name = |class: u32| self.party(classes.members[class as usize]);
        format!("{} -> {} {}", name(witness.source), name(witness.destination), witness.layer4)
    }

    fn party(&self, party: Party) -> String {
        match (party.endpoint, party.address) {
            (Endpoint::Workload(id), _) => self.policy.workloads[id.index()].name.to_string(),
            (Endpoint::Gateway(id), _) => format!("the gateway of {}", self.policy.segments[id.index()].name),
            (_, Some(address)) => address.to_string(),
            (_, None) => "the world".to_owned(),
        }
    }
}

fn selectors(rule: &Rule) -> impl Iterator<Item = &Selector> {
    [&rule.from, &rule.to].into_iter().chain(rule.except.iter().flat_map(|except| [&except.from, &except.to]))
}

/// The labels that must be there for the rule's selectors: key, and value where one is asked for.
fn asked_for(rule: &Rule) -> impl Iterator<Item = (&str, Option<&str>)> {
    let expressions =
        selectors(rule).flat_map(|selector| &selector.alternatives).filter_map(
            |alternative| match alternative {
                Alternative::Labels(expression) => Some(expression),
                _ => None,
            },
        );
    expressions.flat_map(|expression| &expression.requirements).flat_map(|requirement| {
        let key = &*requirement.key;
        match &requirement.operator {
            Operator::In(values) => values.iter().map(|value| (key, Some(&**value))).collect(),
            Operator::Exists => vec![(key, None)],
            Operator::NotIn(_) | Operator::DoesNotExist => Vec::new(),
        }
    })
}

/// Why a rule matches no flow, as far as it can be told.
fn never_matches(rule: &Rule, classes: &Classes<'_>) -> &'static str {
    let gates = |selector: &Selector| {
        classes.of(selector).iter().any(|class| classes.classes[*class as usize].has_gate)
    };
    if classes.of(&rule.from).is_empty() {
        "nobody is selected by `from`"
    } else if classes.of(&rule.to).is_empty() {
        "nobody is selected by `to`"
    } else if !gates(&rule.from) && !gates(&rule.to) {
        "neither end is a workload, and only workloads have gates"
    } else if rule.side == Some(Gate::Egress) && !gates(&rule.from)
        || rule.side == Some(Gate::Ingress) && !gates(&rule.to)
    {
        "the end at which it stands is no workload, and only workloads have gates"
    } else if !rule.except.is_empty() {
        "`except` takes all that it would match, or its ends never meet"
    } else {
        "its ends never meet: they are members of one isolated segment, or of different address families"
    }
}

/// "`a`, `b` and 3 more".
fn list_names<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    match names.len() {
        0..=1 => names.concat(),
        2..=MOST_NAMES => format!("{} and {}", names[..names.len() - 1].join(", "), names[names.len() - 1]),
        more => format!("{} and {} more", names[..MOST_NAMES].join(", "), more - MOST_NAMES),
    }
}
