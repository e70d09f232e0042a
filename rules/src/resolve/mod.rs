//! From a document to a [`Policy`]: every name becomes a number, every default is filled in, and what is wrong
//! between tables is reported.
//!
//! Everything is resolved as far as it goes, so that one run reports all errors; where there was any, the policy
//! that came out is not to be used. Cost: linear in the document but for a sort of the subnets.

mod promises;
mod scope;
mod services;
mod subnets;
mod topology;

use std::sync::Arc;

use promises::Promises;
use scope::Scope;
use services::Services;

use crate::diagnostic::{Code, Diagnostic, Sink};
use crate::document::{
    AboutText, AllowText, AlternativeText, Document, ExceptText, Name, PartyText, RuleText, SelectorText,
    ServiceEntry,
};
use crate::identity::NetworkId;
use crate::invariant::Invariant;
use crate::policy::{Allow, Network, Policy, Settings, SwitchSettings};
use crate::proto::Service;
use crate::rule::{Action, Except, Rule};
use crate::selector::{Alternative, Selector};
use crate::source::Span;
use crate::test_case::{TestCase, TestParty};

/// The names that rules, tests and invariants refer to.
struct Names {
    networks: Scope,
    services: Services,
    workloads: Scope,
    rules: Scope,
}

/// The policy that a document means, but for its sources.
pub(crate) fn resolve(document: &Document, sink: &mut Sink) -> Policy {
    let mut policy = Policy { settings: settings(document), ..Policy::default() };
    let mut networks = Scope::new("network", Code::UnknownNetwork);
    for text in &document.networks {
        if networks.declare(&text.name, sink).is_some() {
            policy.networks.push(Network {
                name: Arc::clone(&text.name.value),
                include: text.include.clone(),
                except: text.except.clone(),
                span: text.name.span,
            });
        }
    }
    let services = Services::resolve(&document.services, sink);
    let workloads = topology::resolve(document, &networks, &mut policy, sink);
    let mut names = Names { networks, services, workloads, rules: Scope::new("rule", Code::UnknownRule) };
    for text in &document.rules {
        let declared = text.name.as_ref().and_then(|name| names.rules.declare(name, sink));
        let rule = names.rule(text, sink);
        if declared.is_some() {
            policy.rules.push(rule);
        }
    }
    let (tests, invariants) = promises(document, &policy, &mut names, sink);
    (policy.tests, policy.invariants) = (tests, invariants);
    policy.allows = document.allows.iter().filter_map(|text| names.allow(text, &policy, sink)).collect();
    policy.services = names.services.into_named();
    policy
}

/// The tests and invariants of a document that declares nothing else, against a policy.
pub(crate) fn resolve_promises(
    document: &Document,
    policy: &Policy,
    sink: &mut Sink,
) -> (Vec<TestCase>, Vec<Invariant>) {
    promises(document, policy, &mut Names::of_policy(policy, sink), sink)
}

/// A policy's names, for questions about it.
pub(crate) struct Asked<'p> {
    policy: &'p Policy,
    names: Names,
}

impl<'p> Asked<'p> {
    pub(crate) fn new(policy: &'p Policy, sink: &mut Sink) -> Self {
        Self { policy, names: Names::of_policy(policy, sink) }
    }

    /// Those that are named, at least one.
    pub(crate) fn parties(&mut self, texts: &[PartyText], sink: &mut Sink) -> Option<Vec<TestParty>> {
        Promises::new(self.policy, &mut self.names).parties(texts, sink)
    }

    /// What entries of a list of services stand for.
    pub(crate) fn services(&mut self, entries: &[ServiceEntry], span: Span, sink: &mut Sink) -> Vec<Service> {
        self.names.services.expand(entries, span, sink)
    }
}

fn promises(
    document: &Document,
    policy: &Policy,
    names: &mut Names,
    sink: &mut Sink,
) -> (Vec<TestCase>, Vec<Invariant>) {
    let mut promises = Promises::new(policy, names);
    let tests = document.tests.iter().filter_map(|text| promises.test(text, sink)).collect();
    let invariants = document.invariants.iter().filter_map(|text| promises.invariant(text, sink)).collect();
    (tests, invariants)
}

fn settings(document: &Document) -> Settings {
    let text = &document.settings;
    Settings {
        default_allow: text.default_allow.is_some_and(|allow| allow.value),
        audit: text.audit.is_some_and(|audit| audit.value),
        established: text.established.map(|established| established.value).unwrap_or_default(),
        deny_with: text.deny_with.map(|deny_with| deny_with.value).unwrap_or_default(),
        proof: text.proof.map(|proof| proof.value).unwrap_or_default(),
        switch: SwitchSettings {
            workers: text.workers.and_then(|workers| workers.value),
            fragments: text.fragments.map(|fragments| fragments.value).unwrap_or_default(),
        },
        conntrack: text.conntrack.settings(),
    }
}

impl Names {
    /// Those that a policy has.
    fn of_policy(policy: &Policy, sink: &mut Sink) -> Self {
        let mut names = Self {
            networks: Scope::new("network", Code::UnknownNetwork),
            services: Services::of_policy(&policy.services, sink),
            workloads: Scope::new("workload", Code::UnknownWorkload),
            rules: Scope::new("rule", Code::UnknownRule),
        };
        for network in &policy.networks {
            names.networks.declare(&Name::new(Arc::clone(&network.name), network.span), sink);
        }
        for workload in &policy.workloads {
            names.workloads.declare(&Name::new(Arc::clone(&workload.name), workload.span), sink);
        }
        for rule in &policy.rules {
            names.rules.declare(&Name::new(Arc::clone(&rule.name), rule.span), sink);
        }
        names
    }

    fn rule(&mut self, text: &RuleText, sink: &mut Sink) -> Rule {
        let span = text.name.as_ref().map_or(text.span, |name| name.span);
        if let (Some(deny_with), Some(action @ (Action::Allow | Action::Pass))) =
            (text.deny_with, text.action)
        {
            let message = format!("the rule refuses nothing (`{action}`): `deny_with` changes nothing");
            sink.push(Diagnostic::new(Code::NoEffect, deny_with.span, message).help("remove it"));
        }
        Rule {
            name: text.name.as_ref().map_or_else(|| Arc::from(""), |name| Arc::clone(&name.value)),
            tier: text.tier,
            priority: text.priority,
            action: text.action.unwrap_or(Action::Deny),
            side: text.side,
            from: self.selector(text.from.as_ref(), sink),
            to: self.selector(text.to.as_ref(), sink),
            services: self.services.expand(&text.services, span, sink),
            except: text.except.iter().map(|text| self.except(text, sink)).collect(),
            expires: text.expires,
            audit: text.audit,
            log: text.log,
            deny_with: text.deny_with.map(|deny_with| deny_with.value),
            owner: text.owner.clone(),
            why: text.why.clone(),
            ticket: text.ticket.clone(),
            span: text.span,
        }
    }

    fn allow(&self, text: &AllowText, policy: &Policy, sink: &mut Sink) -> Option<Allow> {
        let about = match &text.about {
            None => None,
            Some(AboutText::Rule(name)) => {
                Some(policy.rules.get(self.rules.find(name, sink)? as usize)?.span)
            }
            Some(AboutText::Workload(name)) => {
                Some(policy.workloads.get(self.workloads.find(name, sink)? as usize)?.span)
            }
            Some(AboutText::Service(name)) => Some(self.services.span_of(name, sink)?),
            Some(AboutText::Network(name)) => {
                Some(policy.networks.get(self.networks.find(name, sink)? as usize)?.span)
            }
        };
        Some(Allow { code: text.code, about, reason: Arc::clone(&text.reason), span: text.span })
    }

    fn except(&mut self, text: &ExceptText, sink: &mut Sink) -> Except {
        Except {
            from: self.selector(text.from.as_ref(), sink),
            to: self.selector(text.to.as_ref(), sink),
            services: match &text.services {
                Some(services) => self.services.expand(services, text.span, sink),
                None => vec![Service::ANY],
            },
            span: text.span,
        }
    }

    /// What is omitted is `any`.
    fn selector(&self, text: Option<&SelectorText>, sink: &mut Sink) -> Selector {
        let Some(text) = text else { return Selector::any() };
        let alternatives = text.alternatives.iter().filter_map(|alternative| match alternative {
            AlternativeText::Any => Some(Alternative::Any),
            AlternativeText::World => Some(Alternative::World),
            AlternativeText::Network(name) => {
                self.networks.find(name, sink).map(|id| Alternative::Network(NetworkId(id)))
            }
            AlternativeText::Labels(expression) => Some(Alternative::Labels(expression.clone())),
        });
        Selector { alternatives: alternatives.collect() }
    }
}
