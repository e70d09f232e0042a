//! What people ask a policy about: parties and services, in the words of policy files.
//!
//! The grammar, the names and the diagnostics are those of `[[test]]`; the place of a mistake is in the text that was
//! typed, under the name that the caller gives it (`--from`).

use std::borrow::Cow;
use std::sync::Arc;

use crate::diagnostic::{Diagnostics, Sink};
use crate::document::{PartyText, ServiceEntry, party, service_entry};
use crate::endpoint::{Endpoint, Party};
use crate::oracle::Oracle;
use crate::policy::Policy;
use crate::proto::Service;
use crate::resolve::Asked;
use crate::source::Span;
use crate::syntax::{Node, Value};
use crate::test_case::TestParty;

/// The parties that `text` names: a workload, all workloads that a label expression selects, or whoever has an
/// address. Only the last comes with an address. Never empty.
///
/// # Errors
/// What is wrong with the text, which `name` names.
pub fn parties(oracle: &Oracle<'_>, name: &str, text: &str) -> Result<Vec<Party>, Diagnostics> {
    let policy = oracle.policy();
    ask(policy, name, text, |node, sink| match party(node, sink)? {
        PartyText::Address(address) => Some(vec![oracle.party(address.value)]),
        written => {
            let parties = Asked::new(policy, sink).parties(&[written], sink)?;
            Some(parties.into_iter().map(without_address).collect())
        }
    })
}

/// The services that `text` stands for: one, or those of a `[service]`. Never empty.
///
/// # Errors
/// What is wrong with the text, which `name` names.
pub fn services(policy: &Policy, name: &str, text: &str) -> Result<Vec<Service>, Diagnostics> {
    ask(policy, name, text, |node, sink| {
        let span = node.span;
        let entry: ServiceEntry = service_entry(node, sink)?;
        Some(Asked::new(policy, sink).services(&[entry], span, sink)).filter(|services| !services.is_empty())
    })
}

fn without_address(party: TestParty) -> Party {
    match party {
        TestParty::Workload(id) => Party { endpoint: Endpoint::Workload(id), address: None },
        TestParty::World(address) => Party { endpoint: Endpoint::World, address: Some(address) },
    }
}

fn ask<T>(
    policy: &Policy,
    name: &str,
    text: &str,
    read: impl FnOnce(Node<'_>, &mut Sink) -> Option<T>,
) -> Result<T, Diagnostics> {
    let mut sources = (*policy.sources).clone();
    let file = sources.add(name, text);
    let mut sink = Sink::default();
    let node =
        Node { span: Span::new(file, 0..text.len()), value: Value::String(Cow::Owned(text.to_owned())) };
    let answer = read(node, &mut sink);
    answer.ok_or_else(|| sink.into_diagnostics(Arc::new(sources)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::load_text;

    const TEXT: &str = r#"
version = 1
[segment.lan]
subnet = "10.0.0.0/24"
[workload.a]
segment = "lan"
ip = "10.0.0.1"
labels = { app = "web" }
[workload."shop/b"]
segment = "lan"
labels = { app = "web" }
[service]
https = ["tcp/443", "udp/443"]
"#;

    fn with_oracle<T>(ask: impl FnOnce(&Oracle<'_>) -> T) -> T {
        let policy = load_text("test.toml", TEXT).unwrap_or_else(|error| panic!("{error}")).policy;
        ask(&Oracle::new(&policy, "2026-01-01".parse().unwrap()))
    }

    #[test]
    fn parties_are_named_as_in_tests() {
        with_oracle(|oracle| {
            let named = |text| parties(oracle, "--from", text).map(|parties| parties.len());
            assert_eq!([named("a"), named("shop/b"), named("app=web")].map(Result::unwrap), [1, 1, 2]);
            let owner = parties(oracle, "--from", "10.0.0.1").unwrap()[0];
            assert!(matches!(owner.endpoint, Endpoint::Workload(_)) && owner.address.is_some());
            let stranger = parties(oracle, "--from", "192.0.2.1").unwrap()[0];
            assert_eq!(stranger.endpoint, Endpoint::World);
            let told = parties(oracle, "--from", "shop/c").unwrap_err().to_string();
            assert!(told.starts_with("--from:1:1: error[S0304]: no workload is called `shop/c`"), "{told}");
            assert!(told.contains("did you mean `shop/b`?"), "{told}");
        });
    }

    #[test]
    fn services_are_boxes_or_names() {
        with_oracle(|oracle| {
            let services = |text| services(oracle.policy(), "--service", text);
            assert_eq!(services("tcp/80").unwrap()[0].to_string(), "tcp/80");
            assert_eq!(services("https").unwrap().len(), 2);
            let told = services("tpc/80").unwrap_err().to_string();
            assert!(told.starts_with("--service:1:1: error[S0402]"), "{told}");
        });
    }
}
