//! Named services: each expanded to the boxes that it stands for, through the services that it lists.

use std::collections::HashSet;
use std::sync::Arc;

use super::scope::Scope;
use crate::diagnostic::{Code, Diagnostic, Sink};
use crate::document::{Name, ServiceEntry, ServiceText};
use crate::policy::NamedService;
use crate::proto::Service;
use crate::source::Span;

/// Boxes that one list may expand to.
const MOST_IN_A_LIST: usize = 4096;
/// Boxes that all lists together may expand to: a million rules may not each name the longest service.
const MOST_IN_ALL: usize = 16 << 20;
/// Services inside services.
const DEEPEST: usize = 32;

/// All named services, expanded.
pub(super) struct Services {
    scope: Scope,
    named: Vec<NamedService>,
    /// How much of [`MOST_IN_ALL`] is left.
    budget: usize,
}

/// How far the expansion of a service has come.
#[derive(Clone, Copy, PartialEq)]
enum Progress {
    Waiting,
    Begun,
    Done,
}

impl Services {
    fn empty() -> Self {
        Self { scope: Scope::new("service", Code::UnknownService), named: Vec::new(), budget: MOST_IN_ALL }
    }

    /// Those that a policy already has.
    pub(super) fn of_policy(named: &[NamedService], sink: &mut Sink) -> Self {
        let mut services = Self::empty();
        for service in named {
            services.scope.declare(&Name::new(Arc::clone(&service.name), service.span), sink);
            services.named.push(service.clone());
        }
        services
    }

    /// Where the service of that name is declared, or a report that there is none. To ask is no use of it.
    pub(super) fn span_of(&self, name: &Name, sink: &mut Sink) -> Option<Span> {
        let index = self.scope.find(name, sink)?;
        Some(self.named.get(index as usize)?.span)
    }

    pub(super) fn resolve(texts: &[ServiceText], sink: &mut Sink) -> Self {
        let mut services = Self::empty();
        let declared: Vec<&ServiceText> =
            texts.iter().filter(|text| services.scope.declare(&text.name, sink).is_some()).collect();
        services.named = declared
            .iter()
            .map(|text| NamedService {
                name: Arc::clone(&text.name.value),
                services: Vec::new(),
                used: false,
                span: text.name.span,
            })
            .collect();
        let mut progress = vec![Progress::Waiting; declared.len()];
        for index in 0..declared.len() {
            services.expand_named(index, &declared, &mut progress, 0, sink);
        }
        services
    }

    fn expand_named(
        &mut self,
        index: usize,
        texts: &[&ServiceText],
        progress: &mut [Progress],
        depth: usize,
        sink: &mut Sink,
    ) {
        if progress[index] != Progress::Waiting {
            return;
        }
        progress[index] = Progress::Begun;
        for entry in &texts[index].entries {
            let ServiceEntry::Named(reference) = entry else { continue };
            let Some(inner) = self.scope.get(&reference.value) else { continue };
            let name = &reference.value;
            if progress[inner as usize] == Progress::Begun {
                let message = format!("the service `{name}` contains itself");
                sink.push(
                    Diagnostic::new(Code::ServiceCycle, reference.span, message)
                        .related(texts[inner as usize].name.span, format!("`{name}` is declared here"))
                        .help("remove one of the references"),
                );
            } else if depth == DEEPEST {
                let message = format!("services are nested more than {DEEPEST} deep");
                sink.report(Code::TooLarge, reference.span, message);
            } else {
                self.expand_named(inner as usize, texts, progress, depth + 1, sink);
            }
        }
        let span = texts[index].name.span;
        self.named[index].services = self.expand(&texts[index].entries, span, sink);
        progress[index] = Progress::Done;
    }

    /// The boxes that a list stands for, each once, in the order of the file. Marks the services it names as used.
    pub(super) fn expand(&mut self, entries: &[ServiceEntry], span: Span, sink: &mut Sink) -> Vec<Service> {
        if self.budget == 0 {
            return Vec::new();
        }
        let mut boxes: Vec<Service> = Vec::with_capacity(entries.len().min(MOST_IN_A_LIST));
        for entry in entries {
            match entry {
                ServiceEntry::Literal(service) => boxes.push(*service),
                ServiceEntry::Named(reference) => {
                    if let Some(index) = self.scope.find(reference, sink) {
                        let named = &mut self.named[index as usize];
                        named.used = true;
                        boxes.extend_from_slice(&named.services);
                    }
                }
            }
            if boxes.len() > MOST_IN_A_LIST {
                let message = format!("the list stands for more than {MOST_IN_A_LIST} services");
                sink.push(Diagnostic::new(Code::TooLarge, span, message).help("use port ranges"));
                return Vec::new();
            }
        }
        // The expansion of one service holds each once already.
        if entries.len() > 1 {
            let mut seen = HashSet::with_capacity(boxes.len());
            boxes.retain(|service| seen.insert(*service));
        }
        match self.budget.checked_sub(boxes.len()) {
            Some(left) => self.budget = left,
            None => {
                self.budget = 0;
                let message = format!("all lists together stand for more than {MOST_IN_ALL} services");
                sink.report(Code::TooLarge, span, message);
                return Vec::new();
            }
        }
        boxes
    }

    pub(super) fn into_named(self) -> Vec<NamedService> {
        self.named
    }
}
