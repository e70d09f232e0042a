//! `reach` and `explain`: the policy's answers, row by row and flow by flow.

use septum_rules::date::Date;
use septum_rules::endpoint::{Endpoint, Party};
use septum_rules::identity::WorkloadId;
use septum_rules::load::load_text;
use septum_rules::oracle::Oracle;
use septum_rules::proto::{Layer4, Protocol};

use super::{PAIR, file, septum};

/// A shop with an isolated segment, an imported kind of workload (nothing but a segment), and a rule with a reason.
const SHOP: &str = r#"version = 1
[segment.dmz]
subnet = "10.1.0.0/24"
isolated = true
[segment.pods]
[workload.web-1]
segment = "dmz"
ip = "10.1.0.1"
labels = { app = "web" }
[workload.web-2]
segment = "dmz"
ip = "10.1.0.2"
labels = { app = "web" }
[workload."shop/pay"]
segment = "pods"
labels = { app = "pay" }
open = ["egress"]
[cidr]
corp = ["192.0.2.0/24"]
[[rule]]
name = "pay, only"
from = "app=web"
to = "app=pay"
allow = ["tcp/8000-8010"]
except = [{ services = ["tcp/8005"] }]
why = "orders are paid"
[[rule]]
name = "twins"
from = "app=web"
to = "app=web"
allow = ["any"]
[[rule]]
name = "corp"
from = "cidr:corp"
to = "app=web"
allow = ["tcp/443"]
"#;

fn rows(arguments: &[&str]) -> Vec<serde_json::Value> {
    let ran = septum(arguments);
    assert_eq!((ran.status, &*ran.stderr), (0, ""));
    ran.json().as_array().expect("an array").clone()
}

#[test]
fn a_row_for_each_ordered_pair_agrees_with_the_evaluator() {
    let (_folder, path) = file("policy.toml", SHOP);
    let path = path.to_str().unwrap();
    let policy = load_text(path, SHOP).unwrap_or_else(|error| panic!("{error}")).policy;
    let oracle = Oracle::new(&policy, "2026-01-01".parse::<Date>().unwrap());
    for port in [80, 443, 8000, 8005] {
        let service = format!("tcp/{port}");
        let rows = rows(&["reach", path, "--service", &service, "-o", "json"]);
        let count = policy.workloads.len();
        assert_eq!(rows.len(), count * (count - 1));
        for row in rows {
            let party = |name: &str| {
                let id: WorkloadId = policy.workload_named(row[name].as_str().unwrap()).unwrap();
                let address = policy.workloads[id.index()].addresses.first().copied();
                Party { endpoint: Endpoint::Workload(id), address }
            };
            let layer4 = Layer4::ports(Protocol::TCP, 40_000, port);
            let decision = oracle.decide(party("from"), party("to"), layer4);
            let word = |admits: bool| if admits { "allow" } else { "deny" };
            assert_eq!(row["egress"], word(decision.egress.admits), "{row}");
            assert_eq!(row["ingress"], word(decision.ingress.admits), "{row}");
            assert_eq!(row["verdict"], word(decision.verdict.is_allow()), "{row}");
            let rule = decision.rule();
            assert_eq!(row["rule"].as_str(), rule.map(|id| &*policy.rules[id.index()].name), "{row}");
            let place = rule.map(|id| policy.rule_place(id).to_string());
            assert_eq!(row["at"].as_str(), place.as_deref(), "{row}");
            assert_eq!(row["service"], *service);
        }
    }
}

#[test]
fn isolation_is_in_the_verdict() {
    let (_folder, path) = file("policy.toml", SHOP);
    let rows = rows(&[
        "reach",
        path.to_str().unwrap(),
        "--from",
        "web-1",
        "--to",
        "web-2",
        "--service",
        "tcp/80",
        "-o",
        "json",
    ]);
    let [row] = &*rows else { panic!("{rows:?}") };
    assert_eq!((&row["egress"], &row["ingress"]), (&"allow".into(), &"allow".into()));
    assert_eq!((&row["verdict"], &row["rule"]), (&"deny".into(), &serde_json::Value::Null));
}

#[test]
fn a_range_that_rules_divide_has_a_row_for_each_part() {
    let (_folder, path) = file("policy.toml", SHOP);
    let path = path.to_str().unwrap();
    let rows = rows(&["reach", path, "--to", "shop/pay", "--service", "tcp/8000-9000", "-o", "json"]);
    let of = |from: &str| -> Vec<String> {
        let rows = rows.iter().filter(|row| row["from"] == from);
        rows.map(|row| format!("{} {}", row["service"].as_str().unwrap(), row["verdict"].as_str().unwrap()))
            .collect()
    };
    let parts = ["tcp/8000-8004 allow", "tcp/8005 deny", "tcp/8006-8010 allow", "tcp/8011-9000 deny"];
    assert_eq!(of("web-1"), parts);
}

#[test]
fn addresses_and_expressions_may_be_asked_about() {
    let (_folder, path) = file("policy.toml", SHOP);
    let path = path.to_str().unwrap();
    let ran = septum([
        "reach",
        path,
        "--from",
        "192.0.2.7",
        "--to",
        "app=web",
        "--service",
        "tcp/443",
        "-o",
        "csv",
    ]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let lines: Vec<&str> = ran.stdout.split("\r\n").collect();
    assert_eq!(lines[0], "from,to,service,egress,ingress,verdict,rule,at");
    assert!(lines[1].starts_with("192.0.2.7,web-1,tcp/443,allow,allow,allow,corp,"), "{}", lines[1]);
    assert_eq!(lines.len(), 4);
}

#[test]
fn names_are_quoted_in_comma_separated_values() {
    let (_folder, path) = file("policy.toml", SHOP);
    let ran = septum(["reach", path.to_str().unwrap(), "--service", "tcp/8000", "-o", "csv"]);
    assert!(
        ran.stdout.contains("web-1,shop/pay,tcp/8000,allow,allow,allow,\"pay, only\","),
        "{}",
        ran.stdout
    );
}

#[test]
fn without_a_service_those_of_the_rules_are_asked_about() {
    let (_folder, path) = file("policy.toml", PAIR);
    let rows = rows(&["reach", path.to_str().unwrap(), "-o", "json"]);
    let services: Vec<&str> = rows.iter().map(|row| row["service"].as_str().unwrap()).collect();
    assert_eq!(services, ["tcp/80", "tcp/80"]);
}

#[test]
fn who_is_not_there_is_bad_input() {
    let (_folder, path) = file("policy.toml", PAIR);
    let ran = septum(["reach", path.to_str().unwrap(), "--from", "lefft"]);
    assert_eq!(ran.status, 2);
    assert!(ran.stderr.contains("did you mean `left`?"), "{}", ran.stderr);
    let ran = septum(["reach", path.to_str().unwrap(), "--service", "80"]);
    assert_eq!(ran.status, 0, "80 is a protocol");
    assert_eq!(septum(["reach", path.to_str().unwrap(), "--service", "tcp/x"]).status, 2);
}

#[test]
fn an_explanation_names_gates_rules_and_reasons() {
    let (_folder, path) = file("policy.toml", SHOP);
    let path = path.to_str().unwrap();
    let ran = septum(["explain", path, "web-1", "shop/pay", "tcp/8000"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let expected = format!(
        "web-1 (10.1.0.1) -> shop/pay tcp/8000: allowed\n  egress:  allow  by rule `pay, only` at {path}:20:1\n           why: orders are paid\n  ingress: allow  by rule `pay, only` at {path}:20:1\n           why: orders are paid\n"
    );
    assert_eq!(ran.stdout, expected);
}

#[test]
fn a_refusal_names_the_nearest_rule_and_the_field_that_missed() {
    let (_folder, path) = file("policy.toml", SHOP);
    let path = path.to_str().unwrap();
    let ran = septum(["explain", path, "web-1", "shop/pay", "tcp/9000"]);
    assert!(ran.stdout.contains("refused at the egress gate"), "{}", ran.stdout);
    let nearest =
        format!("nearest: rule `pay, only` at {path}:20:1 would admit it at the egress gate, but for:");
    assert!(ran.stdout.contains(&nearest), "{}", ran.stdout);
    assert!(ran.stdout.contains("service: it is tcp/8000-8010; this is tcp/9000"), "{}", ran.stdout);

    let document = septum(["explain", "-o", "json", path, "192.0.2.1", "10.1.0.2", "tcp/80"]).json();
    assert_eq!(document["verdict"], "deny");
    assert_eq!(document["refused_by"], "ingress");
    assert_eq!(document["egress"]["decided_by"], "no-gate");
    assert_eq!(document["to"]["name"], "web-2");
    assert_eq!(document["nearest_miss"]["rule"]["name"], "corp");
    assert_eq!(document["nearest_miss"]["missed"][0]["field"], "service");
}

#[test]
fn what_is_not_one_flow_is_bad_input() {
    let (_folder, path) = file("policy.toml", SHOP);
    let path = path.to_str().unwrap();
    for (from, to, service, told) in [
        ("app=web", "shop/pay", "tcp/80", "`app=web` names 2 workloads"),
        ("web-1", "web-1", "tcp/80", "are the same"),
        ("web-1", "shop/pay", "tcp", "is not decided as one"),
        ("web-1", "shop/pay", "icmp6", "no such packet"),
        ("web-1", "cidr:corp", "tcp/80", "nobody in particular"),
    ] {
        let ran = septum(["explain", path, from, to, service]);
        assert_eq!(ran.status, 2, "{from} {to} {service}");
        assert!(ran.stderr.contains(told), "{}", ran.stderr);
    }
}

#[test]
fn a_reader_that_closes_the_pipe_is_no_failure() {
    use std::process::{Command, Stdio};
    let (_folder, path) = file("policy.toml", SHOP);
    let path = path.to_str().unwrap();
    for arguments in [
        &["reach", path][..],
        &["explain", path, "web-1", "shop/pay", "tcp/80"],
        &["test", "-v", path],
        &["check", path],
        &["schema"],
        &["explain-code"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ran = Command::new(env!("CARGO_BIN_EXE_septum"))
            .args(arguments)
            .stdout(Stdio::from(writer))
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success() && !told.contains("panicked"), "{arguments:?}: {told}");
    }
}
