//! The recipes that people really use: all are read, and do what their page says.

use std::process::Command;

use septum_rules::import::kubernetes::Options;
use septum_rules::load::{Input, load_text};
use serde_json::Value;

use super::support::{Judge, fixtures, import, opening, say};

fn recipes() -> Vec<(String, Input)> {
    let Some(folder) = fixtures("kubernetes-network-policy-recipes") else { return Vec::new() };
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    let read = |path: std::path::PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name.clone(), Input::new(name, std::fs::read(&path).unwrap()))
    };
    paths.into_iter().map(read).collect()
}

#[test]
fn all_recipes_are_read_without_a_word() {
    let recipes = recipes();
    let number = recipes.len();
    for (name, input) in recipes {
        let imported = import(vec![input], Options::default());
        assert!(imported.warnings.is_empty(), "{name}: {}", imported.warnings);
        assert_eq!(imported.policies, 1, "{name}");
        load_text(&name, &imported.policy).unwrap_or_else(|error| panic!("{error}"));
    }
    say(&format!("recipes: {number} read"));
    assert!(number == 0 || number == 15);
}

/// The pods that the pages speak of.
const PODS: &str = "
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Namespace, metadata: {name: default}}
- {apiVersion: v1, kind: Namespace, metadata: {name: prod, labels: {purpose: production}}}
- {apiVersion: v1, kind: Namespace, metadata: {name: other, labels: {team: operations}}}
- {apiVersion: v1, kind: Namespace, metadata: {name: kube-system}}
- {apiVersion: v1, kind: Pod, metadata: {name: web, labels: {app: web}}}
- {apiVersion: v1, kind: Pod, metadata: {name: foo, labels: {app: foo}}}
- {apiVersion: v1, kind: Pod, metadata: {name: plain}}
- {apiVersion: v1, kind: Pod, metadata: {name: book-api, labels: {app: bookstore, role: api}}}
- {apiVersion: v1, kind: Pod, metadata: {name: book-db, labels: {app: bookstore, role: db}}}
- {apiVersion: v1, kind: Pod, metadata: {name: book-search, labels: {app: bookstore, role: search}}}
- {apiVersion: v1, kind: Pod, metadata: {name: book-front, labels: {app: bookstore, role: frontend}}}
- {apiVersion: v1, kind: Pod, metadata: {name: inventory, labels: {app: inventory, role: web}}}
- {apiVersion: v1, kind: Pod, metadata: {name: api, labels: {app: apiserver}}}
- {apiVersion: v1, kind: Pod, metadata: {name: monitor, labels: {role: monitoring}}}
- {apiVersion: v1, kind: Pod, metadata: {namespace: prod, name: client}}
- {apiVersion: v1, kind: Pod, metadata: {namespace: other, name: client}}
- {apiVersion: v1, kind: Pod, metadata: {namespace: other, name: monitor, labels: {type: monitoring}}}
- {apiVersion: v1, kind: Pod, metadata: {namespace: kube-system, name: dns, labels: {k8s-app: kube-dns}}}
";

/// Per recipe: flows that its page lets through, and flows that it stops.
type Flows = &'static [(&'static str, &'static str, &'static str, u16)];
const PAGES: [(&str, Flows, Flows); 15] = [
    (
        "01-",
        &[("default/web", "default/plain", "tcp", 80)],
        &[("default/plain", "default/web", "tcp", 80), ("world", "default/web", "tcp", 80)],
    ),
    (
        "02-",
        &[("default/book-front", "default/book-api", "tcp", 80)],
        &[("default/plain", "default/book-api", "tcp", 80)],
    ),
    ("02a-", &[("other/client", "default/web", "tcp", 80), ("world", "default/web", "tcp", 80)], &[]),
    (
        "03-",
        &[("default/web", "other/client", "tcp", 80)],
        &[("default/plain", "default/web", "tcp", 80), ("other/client", "default/web", "tcp", 80)],
    ),
    ("04-", &[("default/plain", "default/web", "tcp", 80)], &[("other/client", "default/web", "tcp", 80)]),
    ("05-", &[("other/client", "default/web", "tcp", 80)], &[("world", "default/web", "tcp", 80)]),
    ("06-", &[("prod/client", "default/web", "tcp", 80)], &[("other/client", "default/web", "tcp", 80)]),
    (
        "07-",
        &[("other/monitor", "default/web", "tcp", 80)],
        &[("other/client", "default/web", "tcp", 80), ("default/monitor", "default/web", "tcp", 80)],
    ),
    ("08-", &[("world", "default/web", "tcp", 80), ("other/client", "default/web", "tcp", 80)], &[]),
    (
        "09-",
        &[("default/monitor", "default/api", "tcp", 5000)],
        &[("default/monitor", "default/api", "tcp", 8000), ("default/plain", "default/api", "tcp", 5000)],
    ),
    (
        "10-",
        &[
            ("default/book-search", "default/book-db", "tcp", 6379),
            ("default/inventory", "default/book-db", "tcp", 6379),
        ],
        &[("default/book-front", "default/book-db", "tcp", 6379)],
    ),
    (
        "11-deny-egress-traffic-from-an-application.",
        &[("default/plain", "default/foo", "tcp", 80)],
        &[("default/foo", "default/web", "tcp", 80), ("default/foo", "world", "udp", 53)],
    ),
    (
        "11-deny-egress-traffic-from-an-application-2",
        &[("default/foo", "kube-system/dns", "udp", 53)],
        &[("default/foo", "kube-system/dns", "tcp", 80), ("default/foo", "default/web", "tcp", 80)],
    ),
    (
        "12-",
        &[("other/client", "default/web", "tcp", 80)],
        &[("default/plain", "default/web", "tcp", 80), ("default/plain", "world", "tcp", 443)],
    ),
    ("14-", &[("default/foo", "kube-system/dns", "udp", 53)], &[("default/foo", "world", "tcp", 80)]),
];

#[test]
fn recipes_do_what_their_pages_say() {
    let recipes = recipes();
    let mut flows = 0;
    for (name, input) in recipes {
        let (_, admitted, refused) = PAGES
            .iter()
            .find(|(start, ..)| name.starts_with(start))
            .unwrap_or_else(|| panic!("{name} is new"));
        let judge = Judge::of(vec![Input::new("pods.yaml", PODS), input]);
        let oracle = judge.oracle();
        for (expected, list) in [(true, admitted), (false, refused)] {
            for (from, to, protocol, port) in *list {
                let party = |name: &str| match name {
                    "world" => oracle.party("203.0.113.7".parse().unwrap()),
                    pod => judge.pod(pod),
                };
                let decision = judge.decide(&oracle, party(from), party(to), opening(protocol, *port));
                assert_eq!(decision.verdict.is_allow(), expected, "{name}: {from} -> {to} {protocol}/{port}");
                flows += 1;
            }
        }
    }
    say(&format!("recipes: {flows} flows as their pages say"));
}

/// The way to check an import: `septum import kubernetes ... -o FILE`, then `septum reach FILE`.
#[test]
fn reach_prints_for_each_recipe_what_its_page_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().expect("a path").to_owned();
    let septum = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_septum")).args(arguments).output().expect("it starts");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    std::fs::write(path("pods.yaml"), PODS).unwrap();
    let mut rows_checked = 0;
    for (name, input) in recipes() {
        let Some((_, admitted, refused)) = PAGES.iter().find(|(start, ..)| name.starts_with(start)) else {
            panic!("{name} is new");
        };
        std::fs::write(path(&name), input.bytes).unwrap();
        let policy = path("policy.toml");
        septum(&["import", "kubernetes", &path("pods.yaml"), &path(&name), "-o", &policy]);
        for (expected, list) in [("allow", admitted), ("deny", refused)] {
            for (from, to, protocol, port) in
                list.iter().filter(|flow| flow.0 != "world" && flow.1 != "world")
            {
                let service = format!("{protocol}/{port}");
                let rows = septum(&["reach", &policy, "--service", &service, "-o", "json"]);
                let rows: Vec<Value> = serde_json::from_slice(&rows).expect("reach prints JSON");
                let row = rows.iter().find(|row| row["from"] == *from && row["to"] == *to);
                let row = row.unwrap_or_else(|| panic!("{name}: no row {from} -> {to}"));
                assert_eq!(row["verdict"], expected, "{name}: {row}");
                rows_checked += 1;
            }
        }
    }
    say(&format!("recipes: {rows_checked} rows of `septum reach` as their pages say"));
}
