//! What the tests of imports share: fixtures, imported policies and the two that judge by them.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use saphyr_parser::{Event, Parser, ScalarStyle};
use septum_classifier::Classifier;
use septum_rules::endpoint::{Endpoint, Party};
use septum_rules::import::kubernetes::{self, Imported, Options};
use septum_rules::load::{Input, load_text};
use septum_rules::oracle::Oracle;
use septum_rules::policy::Policy;
use septum_rules::proto::{Layer4, Protocol};
use septum_rules::verdict::Decision;
use serde_json::Value;

/// A folder of fixtures; without it the test says that it is skipped.
pub(crate) fn fixtures(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("SEPTUM_FIXTURES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/fixtures"), PathBuf::from);
    let folder = root.join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    say(&format!("SKIPPED: no fixtures at {} (SEPTUM_FIXTURES names another place)", folder.display()));
    None
}

/// An import that must succeed.
pub(crate) fn import(inputs: Vec<Input>, options: Options) -> Imported {
    kubernetes::import(inputs, options).unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
}

/// A policy, and the compiled object that must agree with the evaluator.
pub(crate) struct Judge {
    pub(crate) policy: Policy,
    classifier: Classifier,
}

impl Judge {
    pub(crate) fn of(inputs: Vec<Input>) -> Self {
        Self::with(inputs, Options::default())
    }

    pub(crate) fn with(inputs: Vec<Input>, options: Options) -> Self {
        let imported = import(inputs, options);
        let loaded = load_text("imported.toml", &imported.policy);
        let policy = loaded.unwrap_or_else(|error| panic!("{error}\n{}", imported.policy)).policy;
        let classifier = Classifier::build(&policy, today()).expect("the policy is small");
        Self { policy, classifier }
    }

    /// A pod, at its (first) address.
    pub(crate) fn pod(&self, name: &str) -> Party {
        let id = self.policy.workload_named(name).unwrap_or_else(|| panic!("no workload {name}"));
        let address = self.policy.workloads[id.index()].addresses.first().copied();
        Party { endpoint: Endpoint::Workload(id), address }
    }

    /// What both say of a flow, which must be the same.
    pub(crate) fn decide(&self, oracle: &Oracle<'_>, from: Party, to: Party, layer4: Layer4) -> Decision {
        let decision = oracle.decide(from, to, layer4);
        assert_eq!(self.classifier.decide(from, to, layer4), decision, "{from:?} {to:?} {layer4}");
        decision
    }

    pub(crate) fn oracle(&self) -> Oracle<'_> {
        Oracle::new(&self.policy, today())
    }
}

pub(crate) fn today() -> septum_rules::date::Date {
    "2026-06-15".parse().expect("a date")
}

pub(crate) fn opening(protocol: &str, port: u16) -> Layer4 {
    let protocol = Protocol::by_name(&protocol.to_lowercase()).expect("a protocol");
    Layer4::ports(protocol, 40_000, port)
}

/// The documents of a YAML text as JSON: the tests change objects before they are imported.
pub(crate) fn yaml_to_json(text: &str) -> Vec<Value> {
    let mut documents = Vec::new();
    let mut stack: Vec<(Value, Option<String>)> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, _) = event.expect("fixtures are YAML");
        let finished = match event {
            Event::MappingStart(..) => {
                stack.push((Value::Object(serde_json::Map::new()), None));
                continue;
            }
            Event::SequenceStart(..) => {
                stack.push((Value::Array(Vec::new()), None));
                continue;
            }
            Event::MappingEnd | Event::SequenceEnd => stack.pop().expect("it was opened").0,
            Event::Scalar(text, ScalarStyle::Plain, ..) => match &*text {
                "" | "null" => Value::Null,
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                number => number.parse::<i64>().map_or_else(|_| text.clone().into(), Value::from),
            },
            Event::Scalar(text, ..) => text.into(),
            _ => continue,
        };
        match stack.last_mut() {
            None => documents.push(finished),
            Some((Value::Array(items), _)) => items.push(finished),
            Some((Value::Object(entries), key)) => match key.take() {
                None => *key = Some(finished.as_str().expect("keys are strings").to_owned()),
                Some(key) => {
                    entries.insert(key, finished);
                }
            },
            Some(_) => unreachable!("only collections are opened"),
        }
    }
    documents.retain(|document| !document.is_null());
    documents
}

/// Objects as one `List`.
pub(crate) fn list(items: Vec<Value>) -> Input {
    let list = serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": items });
    Input::new("objects.json", list.to_string())
}

/// Writes past the test harness, which shows what a test prints only when it fails.
pub(crate) fn say(line: &str) {
    writeln!(std::io::stderr(), "{line}").expect("standard error is open");
}
