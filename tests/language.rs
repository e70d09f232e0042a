//! What the policy language's words mean, read from `cases/diagnostics/right/everything.toml` and small texts.

use std::net::IpAddr;

use septum_rules::conntrack::{TcpTracking, Timeout};
use septum_rules::date::Date;
use septum_rules::identity::{RuleId, WorkloadId};
use septum_rules::invariant::Claim;
use septum_rules::load::{Input, load, load_tests, load_text};
use septum_rules::policy::{Established, Fragments, Policy, ProofMode};
use septum_rules::proto::{Protocol, Service};
use septum_rules::rule::{Action, DenyWith, LogMode, Tier};
use septum_rules::test_case::{Check, TestParty};
use septum_rules::verdict::Gate;
use septum_rules::workload::{Namespace, OpenGates, PortKind, Workload};

fn policy(text: &str) -> Policy {
    let loaded = load_text("p.toml", text).map_err(|error| error.to_string()).unwrap();
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    loaded.policy
}

fn everything() -> Policy {
    policy(include_str!("cases/diagnostics/right/everything.toml"))
}

fn workload<'p>(policy: &'p Policy, name: &str) -> &'p Workload {
    &policy.workloads[policy.workload_named(name).unwrap().index()]
}

fn labels(workload: &Workload) -> Vec<String> {
    workload.labels.iter().map(|(key, value)| format!("{key}={value}")).collect()
}

#[test]
fn labels_are_inherited_and_automatic_ones_added() {
    let policy = everything();
    assert_eq!(labels(workload(&policy, "pay-1")), ["app=pay", "name=pay-1", "pci=in", "segment=cde"]);
    assert_eq!(labels(workload(&policy, "db-1")), ["app=none", "name=db-1", "pci=in", "segment=cde"]);
    assert_eq!(labels(workload(&policy, "shop/pod-1")), ["name=shop/pod-1", "segment=bare"]);
}

#[test]
fn the_own_mode_wins_over_the_segments_over_the_policys() {
    let policy = everything();
    assert!(!workload(&policy, "web-1").audit);
    assert!(!workload(&policy, "pay-1").audit);
    assert!(workload(&policy, "db-1").audit);
    let audited = self::policy(
        "version = 1\nmode = \"audit\"\n[segment.a]\n[segment.b]\nmode = \"enforce\"\n[workload.x]\nsegment = \"a\"\n[workload.y]\nsegment = \"b\"\n",
    );
    assert!(workload(&audited, "x").audit && !workload(&audited, "y").audit);
}

#[test]
fn ports_have_the_defaults_of_their_place() {
    let policy = everything();
    let port = |name: &str| workload(&policy, name).port.clone().unwrap();
    let web = port("web-1");
    assert_eq!((web.kind, &*web.device, web.mtu, web.configure), (PortKind::Tap, "tap-web1", 1400, true));
    assert_eq!((web.persistent, web.owner, web.group), (true, Some(1000), Some(1000)));
    assert_eq!(web.namespace, Some(Namespace::Name("web1".into())));
    let pay = port("pay-1");
    assert_eq!((pay.kind, pay.mtu, pay.configure, pay.namespace), (PortKind::Packet, 9000, true, None));
    let db = port("db-1");
    assert_eq!((db.configure, db.mtu, db.namespace), (false, 1500, Some(Namespace::Process(1234))));
    assert_eq!(port("shop/pod-1").namespace, Some(Namespace::Path("/proc/1234/ns/net".into())));
    assert_eq!(workload(&policy, "web-1").open, OpenGates { ingress: false, egress: true });
}

#[test]
fn settings_are_read() {
    let settings = everything().settings;
    assert_eq!((settings.established, settings.deny_with), (Established::Keep, DenyWith::Reject));
    assert_eq!(settings.proof, ProofMode::Budget);
    assert_eq!((settings.switch.workers, settings.switch.fragments), (Some(4), Fragments::Drop));
    let conntrack = settings.conntrack;
    assert_eq!((conntrack.tcp, conntrack.pick_up), (TcpTracking::Strict, 30));
    assert_eq!((conntrack.connections_per_workload, conntrack.half_open_per_workload), (1000, 100));
    assert_eq!(conntrack.fragments_per_workload, 10);
    for timeout in Timeout::ALL {
        // The file counts them through.
        assert_eq!(conntrack.timeouts.seconds(timeout), timeout as u32 + 1, "{}", timeout.name());
    }
    let defaults = policy("version = 1\n").settings;
    assert_eq!(defaults, septum_rules::policy::Settings::default());
    assert!(!defaults.default_allow && !defaults.audit && defaults.established == Established::Recheck);
}

#[test]
fn rules_are_read() {
    let policy = everything();
    let [no_dmz, web_to_pay, pass] = &policy.rules[..] else { panic!("three rules") };
    assert_eq!(
        (no_dmz.tier, no_dmz.priority, no_dmz.action, no_dmz.side),
        (Tier::Admin, 10, Action::Deny, None)
    );
    assert_eq!((no_dmz.from.alternatives.len(), no_dmz.except.len()), (3, 2));
    assert_eq!(no_dmz.services, [Service::ANY]);
    assert_eq!(no_dmz.except[1].services, [Service::ANY]);
    assert_eq!((web_to_pay.tier, web_to_pay.priority), (Tier::App, 1000));
    assert_eq!(
        (web_to_pay.side, web_to_pay.audit, web_to_pay.log),
        (Some(Gate::Ingress), true, LogMode::Sample(100))
    );
    assert_eq!(web_to_pay.expires, Date::new(2027, 3, 31).ok());
    assert_eq!(pass.expires, web_to_pay.expires);
    assert_eq!(web_to_pay.owner.as_deref(), Some("team-payments"));
    let services: Vec<String> = web_to_pay.services.iter().map(Service::to_string).collect();
    let expected = [
        "tcp/443",
        "udp/443",
        "tcp/80",
        "tcp/8000-8080 from 1024-65535",
        "icmp/echo-request",
        "icmp/destination-unreachable/4",
        "icmp6/echo-request",
        "sctp/80",
        "gre",
        "proto-99",
        "tcp",
        "tcp/8443",
    ];
    assert_eq!(services, expected);
    assert_eq!(policy.rule_place(RuleId(1)).to_string(), "p.toml:93:1");
}

#[test]
fn services_print_as_they_are_read() {
    for text in [
        "any",
        "tcp",
        "tcp/443",
        "udp/8000-8080",
        "tcp/443 from 1024-65535",
        "tcp from 53",
        "icmp",
        "icmp/echo-request",
        "icmp/destination-unreachable/4",
        "icmp/200/3",
        "icmp6/packet-too-big",
        "sctp/80",
        "gre",
        "proto-99",
        "igmp",
    ] {
        let policy = policy(&format!("version = 1\n[[rule]]\nname = \"r\"\nallow = [\"{text}\"]\n"));
        assert_eq!(policy.rules[0].services[0].to_string(), text);
    }
}

#[test]
fn an_icmp_type_without_a_code_is_every_code() {
    let policy =
        policy("version = 1\n[[rule]]\nname = \"r\"\nallow = [\"icmp/3\", \"icmp6/echo-reply/0\"]\n");
    let [unreachable, reply] = policy.rules[0].services[..] else { panic!("two services") };
    assert_eq!((unreachable.destination.first(), unreachable.destination.last()), (3 << 8, 3 << 8 | 255));
    assert_eq!(reply.protocol, Some(Protocol::ICMPV6));
    assert_eq!((reply.destination.first(), reply.destination.last()), (129 << 8, 129 << 8));
}

#[test]
fn tests_and_invariants_name_workloads() {
    let policy = everything();
    let id = |name: &str| policy.workload_named(name).unwrap();
    let Check::Reach { from, to, by, .. } = &policy.tests[0].check else { panic!("who reaches whom") };
    let world: IpAddr = "203.0.113.7".parse().unwrap();
    assert_eq!(from, &[TestParty::Workload(id("web-1"))]);
    assert_eq!(
        to,
        &[TestParty::Workload(id("pay-1")), TestParty::Workload(id("db-1")), TestParty::World(world)]
    );
    assert_eq!(*by, Some(RuleId(1)));
    let Check::Packet(packet) = &policy.tests[2].check else { panic!("a packet") };
    assert_eq!(
        (packet.workload, packet.admitted, packet.service.to_string()),
        (id("web-1"), true, "icmp/echo-request".to_owned())
    );
    let Claim::BlastRadius { at_most, .. } = &policy.invariants[2].claim else { panic!("a blast radius") };
    let expected: Vec<WorkloadId> = vec![id("pay-1"), id("db-1")];
    assert_eq!(at_most, &expected);
}

#[test]
fn a_file_of_tests_is_read_against_another_policy() {
    let policy = everything();
    let text = "[[test]]\nname = \"t\"\nfrom = \"web-1\"\nto = \"pay-1\"\nallow = [\"web\"]\n[[invariant]]\nname = \"i\"\nnever = { from = \"cidr:lab\" }\n";
    let promises =
        load_tests(Input::new("t.toml", text), &policy).map_err(|error| error.to_string()).unwrap();
    assert_eq!((promises.tests.len(), promises.invariants.len()), (1, 1));
    assert_eq!(promises.sources.place(promises.tests[0].span).to_string(), "t.toml:1:1");
    assert_eq!(promises.sources.place(policy.rules[0].span).to_string(), "p.toml:82:1");
}

#[test]
fn includes_are_read_once_and_keep_their_places() {
    let main = "version = 1\ninclude = [\"rules.d/*.toml\", \"rules.d/a.toml\"]\n[segment.dmz]\n";
    let mut asked = Vec::new();
    let mut include = |pattern: &str, from: &str| {
        asked.push(format!("{pattern} from {from}"));
        Ok(match pattern {
            "rules.d/*.toml" => vec![
                Input::new("rules.d/a.toml", "[[rule]]\nname = \"a\"\nallow = [\"web\"]\n"),
                Input::new("rules.d/b.toml", "[service]\nweb = [\"tcp/80\"]\n"),
            ],
            _ => vec![Input::new("rules.d/a.toml", "never read")],
        })
    };
    let loaded =
        load(Input::new("main.toml", main), &mut include).map_err(|error| error.to_string()).unwrap();
    assert_eq!(asked, ["rules.d/*.toml from main.toml", "rules.d/a.toml from main.toml"]);
    assert_eq!(loaded.policy.rule_place(RuleId(0)).to_string(), "rules.d/a.toml:1:1");
}

#[test]
fn several_errors_are_reported_in_one_run() {
    let text = "version = 1\ndefualt = 1\n[workload.a]\nsegment = \"x\"\nip = \"1\"\n[[rule]]\nname = \"r\"\nallow = [\"nope\"]\n";
    let diagnostics = load_text("p.toml", text).unwrap_err();
    assert_eq!(diagnostics.items.len(), 4, "{diagnostics}");
}

#[test]
fn the_references_own_policy_is_right() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/policy.md");
    let page = std::fs::read_to_string(page).unwrap();
    let texts = page.split("```toml\n").skip(1).map(|rest| rest.split_once("```").unwrap().0);
    let policy = policy(&texts.collect::<String>());
    assert_eq!(policy.allows.len(), 2);
    assert_eq!((policy.tests.len(), policy.invariants.len(), policy.services.len()), (2, 3, 3));
}
