//! Every cell of the truth tables: which gate admits what, and both together, by the evaluator and by the compiled
//! object.

use std::path::Path;

use septum_rules::load::Input;
use septum_rules::proto::Layer4;
use serde_json::{Value, json};

use super::support::{Judge, fixtures, list, opening, say, yaml_to_json};

/// One table's topology and policies.
pub(crate) struct Step<'v> {
    pub(crate) title: String,
    pub(crate) step: &'v Value,
    pub(crate) inputs: Vec<Input>,
}

pub(crate) fn steps<'v>(folder: &Path, cases: &'v Value) -> Vec<Step<'v>> {
    let mut steps = Vec::new();
    for case in cases["cases"].as_array().expect("cases") {
        for (number, step) in case["steps"].as_array().expect("steps").iter().enumerate() {
            steps.push((format!("case {} step {}", case["id"], number + 1), step));
        }
    }
    for recipe in cases["recipes"].as_array().expect("recipes") {
        steps.push((format!("recipe {}", recipe["id"]), recipe));
    }
    let inputs = |step: &Value| {
        let file = step["policies_file"].as_str().expect("a file");
        let text = std::fs::read_to_string(folder.join(file)).expect("the file is there");
        // Some of the tables' own files leave the kind out: they hold nothing but NetworkPolicies.
        let policies = yaml_to_json(&text).into_iter().map(|mut policy| {
            policy["apiVersion"] = "networking.k8s.io/v1".into();
            policy["kind"] = "NetworkPolicy".into();
            policy
        });
        vec![topology(step), list(policies.collect())]
    };
    steps.into_iter().map(|(title, step)| Step { title, step, inputs: inputs(step) }).collect()
}

/// Namespaces and pods as objects.
fn topology(step: &Value) -> Input {
    let mut items = Vec::new();
    for (name, labels) in step["namespaces"].as_object().expect("namespaces") {
        let metadata = json!({ "name": name, "labels": labels });
        items.push(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata }));
    }
    let served = ["tcp", "udp", "sctp"].map(|protocol| {
        [80, 81].map(|port| {
            let name = format!("serve-{port}-{protocol}");
            json!({ "containerPort": port, "protocol": protocol.to_uppercase(), "name": name })
        })
    });
    let mut addresses = std::collections::BTreeSet::new();
    for (number, pod) in step["pods"].as_array().expect("pods").iter().enumerate() {
        let mut address = pod["ip"].as_str().expect("an address").to_owned();
        // Pods that a case adds all have one address in the tables; no case selects them by it.
        if !addresses.insert(address.clone()) {
            address = format!("192.168.200.{number}");
        }
        items.push(json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "namespace": pod["namespace"], "name": pod["name"], "labels": pod["labels"] },
            "spec": { "containers": [{ "ports": served.concat() }] },
            "status": { "podIP": address },
        }));
    }
    list(items)
}

/// A table's verdicts: source, destination, ingress, egress.
pub(crate) fn cells(step: &Value, table: &Value) -> Vec<(usize, usize, bool, bool)> {
    let pods = step["pod_order"].as_array().expect("pods").len();
    let admits = |gate: &str, row: usize, column: usize| {
        table[gate][row].as_str().expect("a row").as_bytes()[column] == b'.'
    };
    let mut cells = Vec::new();
    for row in 0..pods {
        for column in 0..pods {
            cells.push((row, column, admits("ingress", row, column), admits("egress", row, column)));
        }
    }
    cells
}

pub(crate) fn layer4(table: &Value) -> Layer4 {
    let port = table["port"].as_u64().expect("a port");
    opening(table["protocol"].as_str().expect("a protocol"), port as u16)
}

pub(crate) fn names(step: &Value) -> Vec<&str> {
    step["pod_order"].as_array().expect("pods").iter().map(|name| name.as_str().expect("a name")).collect()
}

pub(crate) fn load() -> Option<(std::path::PathBuf, Value)> {
    let folder = fixtures("k8s-networkpolicy-truthtables")?;
    let text = std::fs::read_to_string(folder.join("cases.json")).expect("the cases are there");
    Some((folder, serde_json::from_str(&text).expect("the cases are JSON")))
}

#[test]
fn every_verdict_of_the_truth_tables() {
    let Some((folder, cases)) = load() else { return };
    let (mut verdicts, mut diagonal, mut wrong) = (0, 0, Vec::new());
    for Step { title, step, inputs } in steps(&folder, &cases) {
        let judge = Judge::of(inputs);
        let oracle = judge.oracle();
        let names = names(step);
        let pods: Vec<_> = names.iter().map(|name| judge.pod(name)).collect();
        for table in step["tables"].as_array().expect("tables") {
            let layer4 = layer4(table);
            for (from, to, ingress, egress) in cells(step, table) {
                let decision = judge.decide(&oracle, pods[from], pods[to], layer4);
                let ours = (decision.ingress.admits, decision.egress.admits, decision.verdict.is_allow());
                verdicts += 1;
                // A pod's packet to itself never leaves it; the tables judge it all the same, and so can we.
                diagonal += usize::from(from == to);
                if ours != (ingress, egress, ingress && egress) {
                    wrong.push(format!("{title}: {} -> {} {layer4}: {ours:?}", names[from], names[to]));
                }
            }
        }
    }
    say(&format!(
        "truth tables: {verdicts} verdicts ({} between different pods, {diagonal} on the diagonal), each ingress, \
         egress and both, by the evaluator and by the compiled object: {} wrong",
        verdicts - diagonal,
        wrong.len()
    ));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(verdicts, 124_822);
}
