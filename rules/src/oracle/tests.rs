//! Each sentence of the semantics that is easy to get wrong, on a policy small enough to check by eye.

use std::sync::Arc;

use super::*;
use crate::address::Prefix;
use crate::identity::NetworkId;
use crate::policy::Network;
use crate::proto::{Protocol, Service};
use crate::rule::LogMode;
use crate::segment::{Labels, Segment};
use crate::selector::{LabelExpression, Operator, Requirement};
use crate::source::Span;
use crate::workload::{Limits, OpenGates};

const TODAY: &str = "2026-06-15";

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| (Arc::from(*key), Arc::from(*value))).collect()
}

fn workload(name: &str, segment: u32, address: &str, app: &str) -> Workload {
    Workload {
        name: name.into(),
        segment: SegmentId(segment),
        mac: Some(format!("02:00:00:00:00:{:02x}", name.len()).parse().unwrap()),
        addresses: vec![address.parse().unwrap()],
        labels: labels(&[("app", app), ("name", name)]),
        promiscuous: false,
        open: OpenGates::default(),
        audit: false,
        port: None,
        limits: Limits::default(),
        span: Span::default(),
    }
}

fn segment(name: &str, subnet: &str, gateway: &str) -> Segment {
    Segment {
        name: name.into(),
        vlan: None,
        subnets: vec![subnet.parse().unwrap()],
        gateways: vec![gateway.parse().unwrap()],
        dns: Vec::new(),
        isolated: false,
        audit: false,
        labels: Labels::new(),
        mtu: Segment::DEFAULT_MTU,
        span: Span::default(),
    }
}

fn rule(name: &str, action: Action, from: Selector, to: Selector, port: u16) -> Rule {
    Rule {
        name: name.into(),
        tier: Tier::App,
        priority: Rule::DEFAULT_PRIORITY,
        action,
        side: None,
        from,
        to,
        services: vec![tcp(port)],
        except: Vec::new(),
        expires: None,
        audit: false,
        log: LogMode::default(),
        deny_with: None,
        owner: None,
        why: None,
        ticket: None,
        span: Span::default(),
    }
}

fn tcp(port: u16) -> Service {
    let destination = crate::port_range::PortRange::single(port);
    Service { protocol: Some(Protocol::TCP), destination, ..Service::ANY }
}

fn app(value: &str) -> Selector {
    requirement("app", Operator::In(vec![value.into()]))
}

fn requirement(key: &str, operator: Operator) -> Selector {
    let requirements = vec![Requirement { key: key.into(), operator }];
    Selector { alternatives: vec![Alternative::Labels(LabelExpression { requirements })] }
}

fn one(alternative: Alternative) -> Selector {
    Selector { alternatives: vec![alternative] }
}

/// Two workloads in segment 0 (`web` 10.0.0.11, `api` 10.0.0.12), one in segment 1 (`db` 10.1.0.13).
fn policy(rules: Vec<Rule>) -> Policy {
    Policy {
        segments: vec![
            segment("front", "10.0.0.0/24", "10.0.0.1"),
            segment("back", "10.1.0.0/24", "10.1.0.1"),
        ],
        workloads: vec![
            workload("w", 0, "10.0.0.11", "web"),
            workload("ap", 0, "10.0.0.12", "api"),
            workload("dbs", 1, "10.1.0.13", "db"),
        ],
        networks: vec![Network {
            name: "ten".into(),
            include: vec!["10.0.0.0/8".parse::<Prefix>().unwrap()],
            except: vec!["10.9.0.0/16".parse::<Prefix>().unwrap()],
            span: Span::default(),
        }],
        rules,
        ..Policy::default()
    }
}

fn decide(policy: &Policy, source: &str, destination: &str, port: u16) -> Decision {
    let oracle = Oracle::new(policy, TODAY.parse().unwrap());
    let layer4 = Layer4::ports(Protocol::TCP, 40_000, port);
    oracle.decide(oracle.party(source.parse().unwrap()), oracle.party(destination.parse().unwrap()), layer4)
}

fn miss(policy: &Policy, source: &str, destination: &str, port: u16) -> Option<NearestMiss> {
    let oracle = Oracle::new(policy, TODAY.parse().unwrap());
    let layer4 = Layer4::ports(Protocol::TCP, 40_000, port);
    let party = |address: &str| oracle.party(address.parse().unwrap());
    oracle.nearest_miss(party(source), party(destination), layer4)
}

const WEB: &str = "10.0.0.11";
const API: &str = "10.0.0.12";
const DB: &str = "10.1.0.13";
const WORLD: &str = "192.0.2.7";

#[test]
fn without_rules_workloads_are_closed_and_everyone_else_is_open() {
    let policy = policy(Vec::new());
    assert_eq!(decide(&policy, WEB, DB, 80).verdict, Verdict::Deny(Refusal::Egress));
    assert_eq!(decide(&policy, WORLD, DB, 80).verdict, Verdict::Deny(Refusal::Ingress));
    assert_eq!(decide(&policy, WORLD, "10.0.0.1", 80).verdict, Verdict::Allow);
}

#[test]
fn addresses_belong_to_workloads_gateways_or_the_world() {
    let policy = policy(Vec::new());
    let oracle = Oracle::new(&policy, TODAY.parse().unwrap());
    let endpoint = |address: &str| oracle.party(address.parse().unwrap()).endpoint;
    assert_eq!(endpoint(API), Endpoint::Workload(WorkloadId(1)));
    assert_eq!(endpoint("fe80::ff:fe00:2"), Endpoint::Workload(WorkloadId(1)));
    assert_eq!(endpoint("10.1.0.1"), Endpoint::Gateway(SegmentId(1)));
    assert_eq!(endpoint("10.0.0.13"), Endpoint::World);
}

#[test]
fn deny_comes_before_pass_before_allow_among_equals_and_priority_before_that() {
    let any = Selector::any;
    let mut rules = vec![
        rule("allow", Action::Allow, any(), any(), 80),
        rule("pass", Action::Pass, any(), any(), 80),
        rule("deny", Action::Deny, any(), any(), 80),
    ];
    assert_eq!(decide(&policy(rules.clone()), WEB, DB, 80).rule(), Some(RuleId(2)));
    rules[0].priority = 1;
    assert_eq!(decide(&policy(rules.clone()), WEB, DB, 80).rule(), Some(RuleId(0)));
    rules[0].priority = 1000;
    rules[2].tier = Tier::Baseline;
    assert_eq!(decide(&policy(rules), WEB, DB, 80).rule(), Some(RuleId(2)), "pass leaves the tier");
}

#[test]
fn a_pass_in_the_last_tier_ends_at_the_default() {
    let mut pass = rule("pass", Action::Pass, Selector::any(), Selector::any(), 80);
    pass.tier = Tier::Baseline;
    let mut policy = policy(vec![pass]);
    assert_eq!(decide(&policy, WEB, DB, 80).egress.decider, Decider::Default);
    policy.workloads[0].open.egress = true;
    policy.workloads[2].open.ingress = true;
    assert_eq!(decide(&policy, WEB, DB, 80).verdict, Verdict::Allow);
    assert_eq!(decide(&policy, DB, WEB, 80).verdict, Verdict::Deny(Refusal::Egress));
    policy.settings.default_allow = true;
    assert_eq!(decide(&policy, DB, WEB, 80).verdict, Verdict::Allow);
}

#[test]
fn a_one_sided_rule_opens_one_gate_only() {
    let mut out = rule("out", Action::Allow, app("web"), app("db"), 80);
    out.side = Some(Gate::Egress);
    let decision = decide(&policy(vec![out]), WEB, DB, 80);
    assert!(decision.egress.admits);
    assert_eq!(decision.verdict, Verdict::Deny(Refusal::Ingress));
}

#[test]
fn a_hole_needs_its_from_its_to_and_its_services() {
    let mut deny = rule("deny", Action::Deny, Selector::any(), Selector::any(), 80);
    deny.services = vec![Service::ANY];
    deny.except =
        vec![Except { from: app("web"), to: app("db"), services: vec![tcp(5432)], span: Span::default() }];
    let mut allow = rule("allow", Action::Allow, Selector::any(), Selector::any(), 80);
    allow.services = vec![Service::ANY];
    let policy = policy(vec![deny, allow]);
    assert_eq!(decide(&policy, WEB, DB, 5432).verdict, Verdict::Allow);
    assert_eq!(decide(&policy, WEB, DB, 5433).rule(), Some(RuleId(0)));
    assert_eq!(decide(&policy, API, DB, 5432).rule(), Some(RuleId(0)));
    assert_eq!(decide(&policy, WEB, API, 5432).rule(), Some(RuleId(0)));
}

#[test]
fn a_rule_holds_through_its_last_day() {
    for (expires, admitted) in [("2026-06-15", true), ("2026-06-14", false)] {
        let mut allow = rule("allow", Action::Allow, Selector::any(), Selector::any(), 80);
        allow.expires = Some(expires.parse().unwrap());
        assert_eq!(decide(&policy(vec![allow]), WEB, DB, 80).verdict.is_allow(), admitted);
    }
}

#[test]
fn world_is_nobody_here_and_networks_match_everyone() {
    let ten = || one(Alternative::Network(NetworkId(0)));
    let from_network = policy(vec![rule("net", Action::Allow, ten(), Selector::any(), 80)]);
    assert!(decide(&from_network, WEB, DB, 80).verdict.is_allow());
    assert!(decide(&from_network, "10.0.0.1", DB, 80).verdict.is_allow(), "a gateway's address counts");
    assert!(decide(&from_network, "10.7.0.1", DB, 80).verdict.is_allow());
    assert!(!decide(&from_network, "10.9.0.1", DB, 80).verdict.is_allow(), "the network's exception");

    let from_world = policy(vec![rule("world", Action::Allow, one(Alternative::World), app("db"), 80)]);
    assert!(decide(&from_world, "10.7.0.1", DB, 80).verdict.is_allow());
    assert!(!decide(&from_world, WEB, DB, 80).verdict.is_allow());
    assert!(!decide(&from_world, "10.0.0.1", DB, 80).verdict.is_allow());
}

#[test]
fn negated_label_expressions_match_workloads_only() {
    let not_canary = || requirement("canary", Operator::DoesNotExist);
    let policy = policy(vec![rule("neg", Action::Allow, not_canary(), Selector::any(), 80)]);
    assert!(decide(&policy, WEB, DB, 80).verdict.is_allow());
    assert!(!decide(&policy, WORLD, DB, 80).verdict.is_allow());
    assert!(!decide(&policy, "10.0.0.1", DB, 80).verdict.is_allow());
}

#[test]
fn isolation_beats_rules_and_audit_but_not_promiscuity() {
    let mut policy = policy(vec![rule("all", Action::Allow, Selector::any(), Selector::any(), 80)]);
    policy.segments[0].isolated = true;
    policy.workloads.iter_mut().for_each(|workload| workload.audit = true);
    assert_eq!(decide(&policy, WEB, API, 80).verdict, Verdict::Deny(Refusal::Isolation));
    assert!(decide(&policy, WEB, DB, 80).verdict.is_allow());
    assert!(decide(&policy, WEB, "10.0.0.1", 80).verdict.is_allow());
    policy.workloads[1].promiscuous = true;
    assert!(decide(&policy, WEB, API, 80).verdict.is_allow());
}

#[test]
fn an_audited_rule_is_recorded_and_decides_nothing() {
    let mut watch = rule("watch", Action::Deny, app("web"), Selector::any(), 80);
    watch.audit = true;
    let mut late = rule("late", Action::Deny, app("web"), Selector::any(), 80);
    late.audit = true;
    late.priority = 2000;
    let allow = rule("allow", Action::Allow, Selector::any(), Selector::any(), 80);
    let decision = decide(&policy(vec![watch, late, allow]), WEB, DB, 80);
    assert_eq!(decision.verdict, Verdict::Allow);
    assert_eq!(decision.egress.audited_rules, [RuleId(0)], "what comes behind the decider is not asked");
}

#[test]
fn an_audited_workload_forwards_and_the_other_gate_still_refuses() {
    let mut policy = policy(Vec::new());
    policy.workloads[0].audit = true;
    let decision = decide(&policy, WEB, DB, 80);
    assert!(!decision.egress.admits && decision.egress.passes());
    assert_eq!(decision.verdict, Verdict::Deny(Refusal::Ingress));
    policy.workloads[2].audit = true;
    assert_eq!(decide(&policy, WEB, DB, 80).verdict, Verdict::Allow);
}

#[test]
fn nothing_reaches_or_leaves_what_is_not_described() {
    let mut policy = policy(vec![rule("all", Action::Allow, Selector::any(), Selector::any(), 80)]);
    policy.workloads[2].audit = true;
    let oracle = Oracle::new(&policy, TODAY.parse().unwrap());
    let init = Party { endpoint: Endpoint::Init, address: Some("10.0.0.99".parse().unwrap()) };
    let db = oracle.party(DB.parse().unwrap());
    let layer4 = Layer4::ports(Protocol::TCP, 1, 80);
    for (source, destination) in [(init, db), (db, init)] {
        let decision = oracle.decide(source, destination, layer4);
        assert_eq!(decision.verdict, Verdict::Deny(Refusal::Undescribed));
        assert_eq!(oracle.nearest_miss(source, destination, layer4), None);
    }
}

#[test]
fn the_nearest_miss_names_the_rule_and_the_field() {
    let web_to_db = || rule("web-db", Action::Allow, app("web"), app("db"), 5432);
    let policy_of = |edit: fn(&mut Rule)| {
        let mut rule = web_to_db();
        edit(&mut rule);
        policy(vec![rule])
    };
    let field = |policy: &Policy, source: &str, destination: &str, port: u16| {
        miss(policy, source, destination, port).unwrap().only_field()
    };
    let plain = policy_of(|_| ());
    assert_eq!(field(&plain, WEB, DB, 22), Some(MissedField::Service));
    assert_eq!(field(&plain, API, DB, 5432), Some(MissedField::From));
    assert_eq!(field(&plain, WEB, API, 5432), Some(MissedField::To));
    assert_eq!(field(&plain, API, WEB, 5432), None, "two fields missed");
    assert_eq!(miss(&plain, WEB, DB, 5432), None, "admitted");

    let expired = policy_of(|rule| rule.expires = Some("2026-06-14".parse().unwrap()));
    assert_eq!(field(&expired, WEB, DB, 5432), Some(MissedField::Expired));
    let audited = policy_of(|rule| rule.audit = true);
    assert_eq!(field(&audited, WEB, DB, 5432), Some(MissedField::Audit));
    let one_sided = policy_of(|rule| rule.side = Some(Gate::Egress));
    let miss_at_ingress = miss(&one_sided, WEB, DB, 5432).unwrap();
    assert_eq!(
        (miss_at_ingress.gate, miss_at_ingress.only_field()),
        (Gate::Ingress, Some(MissedField::Side))
    );
    let holed = policy_of(|rule| {
        let everything = Service::ANY;
        let hole = Except {
            from: Selector::any(),
            to: Selector::any(),
            services: vec![everything],
            span: Span::default(),
        };
        rule.except.push(hole);
    });
    assert_eq!(field(&holed, WEB, DB, 5432), Some(MissedField::Except));

    let deny = rule("deny", Action::Deny, app("web"), app("db"), 5432);
    let overruled = policy(vec![web_to_db(), deny]);
    assert_eq!(field(&overruled, WEB, DB, 5432), Some(MissedField::Overruled(RuleId(1))));
}
