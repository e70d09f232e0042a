//! The probes of the network-policy-api conformance suite, with the edits that its tests make on the way.
//!
//! Edits stay: a test's later parts see what earlier ones changed. `expected-pokes.json` names each edit by its Go
//! statement; what a statement means beyond its words is in the comments below, from the named files.

use std::collections::HashMap;
use std::path::Path;

use septum_rules::import::kubernetes::Options;
use septum_rules::load::Input;
use serde_json::{Value, json};

use super::support::{Judge, fixtures, list, opening, say, yaml_to_json};

/// The suite's objects. The host's ports are a template's parameters.
fn objects(folder: &Path, file: &str) -> Vec<Value> {
    let mut text = std::fs::read_to_string(folder.join("conformance").join(file)).expect("the file is there");
    for number in 0..10 {
        text = text
            .replace(&format!("{{{{ index .HostNetworkPorts {number} }}}}"), &(36_360 + number).to_string());
    }
    yaml_to_json(&text)
}

/// The pods that a cluster would make of the StatefulSets, with addresses.
fn pods(base: &[Value]) -> Vec<Value> {
    let mut pods = Vec::new();
    for set in base.iter().filter(|object| object["kind"] == "StatefulSet") {
        for replica in 0..set["spec"]["replicas"].as_u64().expect("replicas") {
            let address = format!("10.244.0.{}", pods.len() + 10);
            pods.push(json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "namespace": set["metadata"]["namespace"],
                    "name": format!("{}-{replica}", set["metadata"]["name"].as_str().expect("a name")),
                    "labels": set["spec"]["template"]["metadata"]["labels"],
                },
                "spec": set["spec"]["template"]["spec"],
                "status": { "podIP": address },
            }));
        }
    }
    pods
}

fn address(pods: &[Value], name: &str) -> String {
    let pod = pods.iter().find(|pod| pod["metadata"]["name"] == name).expect("the pod is there");
    format!("{}/32", pod["status"]["podIP"].as_str().expect("an address"))
}

/// The objects of one test as they are now.
#[derive(Clone)]
struct Cluster {
    policies: Vec<Value>,
    /// Whether slytherin's namespace has lost its label.
    unlabelled: bool,
}

impl Cluster {
    /// Applies the statements of a probe.
    fn edit(&mut self, statements: &[Value], pods: &[Value]) {
        let mut variables: HashMap<&str, Value> = HashMap::new();
        for statement in statements {
            let statement = statement.as_str().expect("a statement");
            let at = |place: &str| {
                let (direction, index) =
                    place.rsplit_once("Spec.").expect("a place").1.split_once('[').expect("an index");
                let index: usize = index.trim_end_matches(']').parse().expect("an index");
                (direction.to_lowercase(), index)
            };
            if statement.starts_with("kubernetes.PatchNamespace") {
                // The first takes the label that selectors ask for, the second gives it back.
                self.unlabelled = !self.unlabelled;
            } else if statement.starts_with("kubernetes.Patch") {
                // What was changed takes effect.
            } else if let Some(priority) = statement.strip_prefix("mutate.Spec.Priority = ") {
                let policy = self.named("old-priority-60-new-priority-40-example");
                policy["spec"]["priority"] = priority.parse::<u64>().expect("a number").into();
            } else if let Some((place, _)) = statement.split_once(".Action = ") {
                let (direction, index) = at(place);
                self.named("pass-example")["spec"][direction][index]["action"] = "Pass".into();
            } else if statement.contains("append(newRule") {
                let networks = [address(pods, "luna-lovegood-0"), address(pods, "cedric-diggory-0")];
                let rule = json!({ "action": "Accept", "to": [{ "networks": networks }] });
                let rules = self.policies[0]["spec"]["egress"].as_array_mut().expect("rules");
                rules.insert(0, rule);
            } else if let Some((variable, place)) = statement.split_once(" := ") {
                let (direction, index) = at(place);
                let mut rule = self.policies[0]["spec"][direction][index].clone();
                let port = match variable {
                    "namedPortRule" => Some("web"),
                    "dnsPortRule" => Some("dns"),
                    _ => None,
                };
                if let Some(port) = port {
                    rule["protocols"] = json!([{ "destinationNamedPort": port }]);
                }
                variables.insert(variable, rule);
            } else {
                let (place, value) = statement.split_once(" = ").unwrap_or_else(|| panic!("{statement}"));
                let (direction, index) = at(place);
                let value = match variables.get(value) {
                    Some(rule) => rule.clone(),
                    None => {
                        let (direction, index) = at(value);
                        self.policies[0]["spec"][direction][index].clone()
                    }
                };
                self.policies[0]["spec"][direction][index] = value;
            }
        }
    }

    fn named(&mut self, name: &str) -> &mut Value {
        let policy = self.policies.iter_mut().find(|policy| policy["metadata"]["name"] == name);
        policy.unwrap_or_else(|| panic!("no policy {name}"))
    }

    fn inputs(&self, base: &[Value], pods: &[Value]) -> Vec<Input> {
        let mut base = base.to_vec();
        for namespace in base.iter_mut().filter(|object| object["kind"] == "Namespace") {
            if self.unlabelled && namespace["metadata"]["name"] == "network-policy-conformance-slytherin" {
                namespace["metadata"]["labels"] = json!({});
            }
        }
        vec![list([base, pods.to_vec()].concat()), list(self.policies.clone())]
    }
}

#[test]
fn every_probe_of_the_conformance_suite() {
    let Some(folder) = fixtures("network-policy-api-conformance") else { return };
    let text = std::fs::read_to_string(folder.join("expected-pokes.json")).expect("the probes are there");
    let tests: Vec<Value> = serde_json::from_str(&text).expect("the probes are JSON");
    let base = objects(&folder, "base/manifests.yaml");
    let pods = pods(&base);
    let mut clusters: HashMap<String, Cluster> = HashMap::new();
    let (mut passed, mut wrong, mut empty) = (0, Vec::new(), Vec::new());
    for test in &tests {
        let (name, part) = (test["test"].as_str().unwrap(), test["subtest"].as_str().unwrap());
        let probes = test["pokes"].as_array().expect("probes");
        if probes.is_empty() {
            empty.push(format!("{name}: {part}"));
            continue;
        }
        let start = clusters.entry(name.to_owned()).or_insert_with(|| {
            let files = test["manifests"].as_array().expect("manifests");
            let policies = files.iter().flat_map(|file| objects(&folder, file.as_str().expect("a file")));
            Cluster { policies: policies.collect(), unlabelled: false }
        });
        if part.contains("baseline cluster network policy") {
            // The test deletes the NetworkPolicy so that the baseline tier is reached.
            start.policies.retain(|policy| policy["kind"] != "NetworkPolicy");
        }
        let mut last = start.clone();
        let mut judged: Option<(Vec<Value>, Judge)> = None;
        for probe in probes {
            let edits = probe["after_mutations"].as_array().expect("edits");
            if judged.as_ref().is_none_or(|(known, _)| known != edits) {
                last = start.clone();
                last.edit(edits, &pods);
                // The pods of the host's network are no workloads.
                let options = Options { skip_unsupported: true };
                judged = Some((edits.clone(), Judge::with(last.inputs(&base, &pods), options)));
            }
            let Some((_, judge)) = &judged else { unreachable!("it was just made") };
            let end = |key: &str| judge.pod(probe[key].as_str().expect("a pod"));
            let port = probe["port"].as_u64().expect("a port") as u16;
            let layer4 = opening(probe["protocol"].as_str().expect("a protocol"), port);
            let decision = judge.decide(&judge.oracle(), end("from"), end("to"), layer4);
            if decision.verdict.is_allow() == probe["allowed"].as_bool().expect("a verdict") {
                passed += 1;
            } else {
                wrong.push(format!("{name}: {part}: {probe}"));
            }
        }
        clusters.insert(name.to_owned(), last);
    }
    say(&format!("conformance: {passed} probes of {} as expected", passed + wrong.len()));
    for part in &empty {
        say(&format!("conformance: no probe in `{part}`: nodes as peers, which are no workloads"));
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(passed, 292);
}

/// Manifests of the suite and of the policy assistant, as they are published: each is read, or says what it cannot say.
#[test]
fn published_manifests_are_read() {
    let Some(folder) = fixtures("network-policy-api-conformance") else { return };
    let (mut read, mut refused) = (0, Vec::new());
    let mut stack = vec![folder.join("conformance/base"), folder.join("cmd")];
    while let Some(folder) = stack.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                stack.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("text");
            if path.extension().is_none_or(|extension| extension != "yaml") || text.contains("{{") {
                continue;
            }
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            match septum_rules::import::kubernetes::import(vec![Input::new(&*name, text)], Options::default())
            {
                Ok(_) => read += 1,
                Err(diagnostics) => refused.push(format!("{name}: {}", diagnostics.items[0].message)),
            }
        }
    }
    say(&format!("published manifests: {read} read, {} refused", refused.len()));
    refused.iter().for_each(|line| say(&format!("  {line}")));
    assert!(read >= 30);
}
