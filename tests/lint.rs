//! What `lint` finds, held against the reference evaluator: a rule called redundant or shadowed changes no decision
//! when it is taken away, a rule that is called nothing decides something.

use proptest::prelude::*;
use septum_rules::date::Date;
use septum_rules::diagnostic::Code;
use septum_rules::endpoint::{Endpoint, Party};
use septum_rules::identity::RuleId;
use septum_rules::lint::{Linted, lint};
use septum_rules::load::load_text;
use septum_rules::oracle::Oracle;
use septum_rules::policy::Policy;
use septum_rules::proto::{Layer4, Protocol};
use septum_rules::verdict::{Decider, Gate};

const SHOP: &str = r#"version = 1
[segment.dmz]
subnet = ["10.1.0.0/24", "fd00:1::/64"]
gateway = ["10.1.0.1", "fd00:1::1"]
isolated = true
[segment.app]
subnet = "10.2.0.0/24"
gateway = "10.2.0.1"
labels = { zone = "in" }
[segment.island]
subnet = "10.3.0.0/24"
[workload.web-1]
segment = "dmz"
ip = ["10.1.0.11", "fd00:1::b"]
labels = { app = "web", env = "prod" }
[workload.web-2]
segment = "dmz"
ip = "10.1.0.12"
labels = { app = "web", env = "dev" }
[workload.api-1]
segment = "app"
ip = "10.2.0.11"
labels = { app = "api", env = "prod" }
[workload.db-1]
segment = "app"
ip = "10.2.0.12"
labels = { app = "db" }
[workload.far-1]
segment = "island"
ip = "10.3.0.11"
labels = { app = "far" }
[cidr]
corp = { in = ["10.99.0.0/16"], except = ["10.99.255.0/24"] }
half = ["0.0.0.0/1", "::/1"]
"#;

fn today() -> Date {
    Date::new(2026, 6, 1).unwrap()
}

fn policy(rules: &str) -> Policy {
    load_text("p.toml", &format!("{SHOP}{rules}")).map_err(|error| error.to_string()).unwrap().policy
}

/// The codes found about rules `r0`, `r1`, ... and the messages.
fn found(rules: &str) -> Vec<String> {
    let linted = lint(&policy(rules), today());
    assert!(linted.complete);
    let about_rules = linted.warnings.items.iter().filter(|item| item.message.starts_with("rule"));
    about_rules.map(|item| format!("{} {}", item.code, item.message)).collect()
}

#[test]
fn a_rule_behind_a_wider_one_is_redundant_or_shadowed() {
    let narrow = "[[rule]]\nname = \"narrow\"\npriority = 2000\nfrom = \"app=web\"\nto = \"app=api\"\nallow = [\"tcp/80\"]\n";
    let wide = |action: &str| {
        format!(
            "{narrow}[[rule]]\nname = \"wide\"\nfrom = \"!nothing\"\nto = \"zone=in\"\n{action} = [\"tcp\"]\n"
        )
    };
    assert_eq!(
        found(&wide("allow")),
        ["S0911 rule `narrow` changes nothing: `wide` decides alike, and first"]
    );
    assert_eq!(found(&wide("deny")), ["S0910 rule `narrow` never decides: `wide` comes first"]);
    assert_eq!(found(&wide("pass")), ["S0910 rule `narrow` never decides: `wide` comes first"]);
}

#[test]
fn negation_and_except_leave_what_they_leave() {
    let rules = "[[rule]]\nname = \"r0\"\nfrom = \"app!=web\"\nto = \"app=db\"\ndeny = [\"any\"]\nexcept = [{ from = \"app=api\", services = [\"tcp/5432\"] }]\n\
        [[rule]]\nname = \"r1\"\npriority = 2000\nfrom = \"app=web\"\nto = \"app=db\"\nallow = [\"tcp/5432\"]\n\
        [[rule]]\nname = \"r2\"\npriority = 2000\nfrom = \"app=api\"\nto = \"app=db\"\nallow = [\"tcp/5432\"]\n\
        [[rule]]\nname = \"r3\"\npriority = 2000\nfrom = \"app=api\"\nto = \"app=db\"\nallow = [\"tcp/5433\"]\n";
    assert_eq!(found(rules), ["S0910 rule `r3` never decides: `r0` comes first"]);
}

#[test]
fn a_rule_that_outlives_what_hides_it_is_needed() {
    let rules = |expires: &str| {
        format!(
            "[[rule]]\nname = \"r0\"\nto = \"app=db\"\ndeny = [\"any\"]\nexpires = 2026-12-31\n\
            [[rule]]\nname = \"r1\"\npriority = 2000\nto = \"app=db\"\nallow = [\"tcp/80\"]\n{expires}"
        )
    };
    assert_eq!(found(&rules("")), Vec::<String>::new());
    assert_eq!(found(&rules("expires = 2026-11-30\n")), ["S0910 rule `r1` never decides: `r0` comes first"]);
}

#[test]
fn what_a_pass_leads_past_a_tier_is_not_decided_there() {
    let rules = |passed: &str| {
        format!(
            "[[rule]]\nname = \"r0\"\ntier = \"admin\"\npriority = 1\nto = \"app=db\"\npass = [\"{passed}\"]\n\
            [[rule]]\nname = \"r1\"\ntier = \"admin\"\nto = \"app=db\"\ndeny = [\"any\"]\n\
            [[rule]]\nname = \"r2\"\nto = \"app=db\"\nallow = [\"tcp/80\"]\n"
        )
    };
    assert_eq!(found(&rules("tcp")), Vec::<String>::new());
    assert_eq!(found(&rules("udp")), ["S0910 rule `r2` never decides: `r1` comes first"]);
}

#[test]
fn rules_that_match_nothing_say_why() {
    let help = |rules: &str| {
        let linted = lint(&policy(rules), today());
        let item = linted.warnings.items.iter().find(|item| item.code == Code::NeverMatches).cloned();
        item.unwrap_or_else(|| panic!("{}", linted.warnings)).help.unwrap()
    };
    let rule = |text: &str| format!("[[rule]]\nname = \"r0\"\nallow = [\"tcp/80\"]\n{text}");
    assert!(help(&rule("from = \"app=web\"\nto = \"app=web\"\n")).contains("one isolated segment"));
    assert!(help(&rule("from = \"world\"\nto = \"cidr:corp\"\n")).contains("neither end is a workload"));
    assert!(help(&rule("from = \"app=web,app=api\"\n")).contains("`from`"));
    assert!(
        help(&rule("from = \"app=db\"\nto = \"world\"\nside = \"ingress\"\n")).contains("at which it stands")
    );
    assert!(help(&rule("except = [{ services = [\"tcp/1-1000\"] }]\n")).contains("`except`"));
}

#[test]
fn single_findings() {
    let one = |rules: &str, code: Code, message: &str| {
        let linted = lint(&policy(rules), today());
        let hit =
            linted.warnings.items.iter().any(|item| item.code == code && item.message.contains(message));
        assert!(hit, "{code} {message}\n{}", linted.warnings);
    };
    let rule = |text: &str| format!("[[rule]]\nname = \"r0\"\n{text}");
    one(&rule("allow = [\"any\"]\nexpires = 2026-05-31\n"), Code::ExpiredRule, "2026-05-31");
    one(&rule("allow = [\"any\"]\nexpires = 2026-06-15\n"), Code::ExpiringRule, "2026-06-15");
    one(&rule("allow = [\"any\"]\n"), Code::AnyToAny, "`r0`");
    one(&rule("from = \"app=wbe\"\nallow = [\"any\"]\n"), Code::UnknownLabel, "`app=wbe`");
    one(&rule("from = \"ap\"\nallow = [\"any\"]\n"), Code::UnknownLabel, "`ap`");
    one(
        &rule("from = \"app=web\"\nto = \"app=db\"\nallow = [\"any\"]\n"),
        Code::WorkloadWithoutRule,
        "`far-1`",
    );
    one(&rule("allow = [\"any\"]\n"), Code::UnusedNetwork, "`corp`");
    one(&rule("allow = [\"any\"]\n[service]\nweb = [\"tcp/80\"]\n"), Code::UnusedService, "`web`");
    one(
        &rule("from = \"app=far\"\nto = \"app=db\"\nallow = [\"tcp/80\"]\n"),
        Code::NoPath,
        "far-1 -> db-1 tcp/80",
    );
    one("[workload.x]\nsegment = \"app\"\nopen = [\"ingress\"]\n", Code::OpenByDefault, "`x`");
    let meeting = rule("from = \"app=web\"\nto = \"app=db\"\nallow = [\"tcp\"]\n")
        + "[[rule]]\nname = \"r1\"\nfrom = \"env=dev\"\ndeny = [\"tcp/443\"]\n";
    one(&meeting, Code::ContradictoryRules, "`r0` allows and `r1` denies web-2 -> db-1 tcp/443");
}

/// A rule of a small world, in which rules often meet.
fn rule() -> impl Strategy<Value = String> {
    let selector = || {
        prop::sample::select(vec![
            "any",
            "world",
            "cidr:corp",
            "cidr:half",
            "app=web",
            "app!=web",
            "env",
            "!env",
            "zone=in",
            "env in (prod,dev)",
            "app notin (db,api)",
            "name=db-1",
            "segment=dmz",
            "",
        ])
    };
    let services = || {
        prop::sample::select(vec![
            "\"any\"",
            "\"tcp\"",
            "\"tcp/80\"",
            "\"tcp/80-443\"",
            "\"tcp/80 from 1000-2000\"",
            "\"udp/53\", \"tcp/443\"",
            "\"icmp\"",
            "\"icmp/8\"",
            "\"gre\"",
        ])
    };
    let line = |key: &'static str, values: Vec<&'static str>| {
        prop::option::weighted(0.5, prop::sample::select(values))
            .prop_map(move |value| value.map(|value| format!("{key} = {value}\n")).unwrap_or_default())
    };
    (
        prop::sample::select(vec!["allow", "deny", "pass"]),
        (selector(), selector(), services()),
        prop::option::weighted(0.3, (selector(), selector(), services())),
        line("tier", vec!["\"admin\"", "\"admin\"", "\"baseline\""]),
        line("priority", vec!["1", "2"]),
        line("side", vec!["\"egress\"", "\"ingress\""]),
        line("mode", vec!["\"enforce\"", "\"enforce\"", "\"audit\""]),
        line("expires", vec!["2026-01-01", "2027-01-01", "2028-01-01"]),
    )
        .prop_map(|(action, (from, to, services), hole, tier, priority, side, mode, expires)| {
            let except = hole
                .map(|(from, to, services)| format!("except = [{{ from = \"{from}\", to = \"{to}\", services = [{services}] }}]\n"))
                .unwrap_or_default();
            format!("from = \"{from}\"\nto = \"{to}\"\n{action} = [{services}]\n{except}{tier}{priority}{side}{mode}{expires}")
        })
}

/// Everybody, and for the world one address of each kind.
fn parties(oracle: &Oracle<'_>) -> Vec<Party> {
    [
        "10.1.0.11",
        "fd00:1::b",
        "10.1.0.12",
        "10.2.0.11",
        "10.2.0.12",
        "10.3.0.11",
        "10.1.0.1",
        "fd00:1::1",
        "10.2.0.1",
        "10.99.0.1",
        "10.99.255.1",
        "1.1.1.1",
        "200.1.1.1",
        "2001:db8::1",
        "9000::1",
    ]
    .iter()
    .map(|address| oracle.party(address.parse().unwrap()))
    .collect()
}

fn headers() -> Vec<Layer4> {
    let ports =
        [(Protocol::TCP, 1500, 80), (Protocol::TCP, 5, 80), (Protocol::TCP, 5, 81), (Protocol::TCP, 5, 443)];
    let more =
        [(Protocol::TCP, 5, 1), (Protocol::UDP, 5, 53), (Protocol::UDP, 5, 54), (Protocol::TCP, 1500, 443)];
    let ported = ports.iter().chain(&more).map(|(protocol, from, to)| Layer4::ports(*protocol, *from, *to));
    let bare = [Layer4::bare(Protocol::GRE), Layer4::bare(Protocol(99)), Layer4::icmp(Protocol::ICMP, 8, 0)];
    ported.chain(bare).chain([Layer4::icmp(Protocol::ICMP, 0, 0)]).collect()
}

/// What both gates say of every flow: by workloads' gates, isolation aside.
fn decisions(policy: &Policy, day: Date) -> Vec<(bool, Decider, Vec<RuleId>)> {
    let oracle = Oracle::new(policy, day);
    let parties = parties(&oracle);
    let mut decisions = Vec::new();
    for source in &parties {
        for destination in &parties {
            let same_family = source.address.unwrap().is_ipv4() == destination.address.unwrap().is_ipv4();
            if !same_family || isolated(policy, source, destination) {
                continue;
            }
            for layer4 in headers() {
                for gate in [Gate::Egress, Gate::Ingress] {
                    let decision = oracle.gate(gate, *source, *destination, layer4);
                    decisions.push((decision.admits, decision.decider, decision.audited_rules));
                }
            }
        }
    }
    decisions
}

fn isolated(policy: &Policy, a: &Party, b: &Party) -> bool {
    let segment = |party: &Party| match party.endpoint {
        Endpoint::Workload(id) => Some(policy.workloads[id.index()].segment),
        _ => None,
    };
    segment(a).is_some() && segment(a) == segment(b) && policy.segments[segment(a).unwrap().index()].isolated
}

fn about(linted: &Linted, policy: &Policy, codes: &[Code]) -> Vec<usize> {
    let rule_at = |span| policy.rules.iter().position(|rule| rule.span == span);
    let items = linted.warnings.items.iter().filter(|item| codes.contains(&item.code));
    items.filter_map(|item| rule_at(item.span)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn findings_about_rules_are_true(rules in prop::collection::vec(rule(), 1..7)) {
        let named = rules.iter().enumerate().map(|(at, rule)| format!("[[rule]]\nname = \"r{at}\"\n{rule}"));
        let policy = policy(&named.collect::<String>());
        let linted = lint(&policy, today());
        prop_assert!(linted.complete);
        let idle = [Code::RedundantRule, Code::ShadowedRule, Code::NeverMatches];
        // The findings hold today and, because what hides a rule lasts as long as it does, on every later day.
        for day in [today(), Date::new(2027, 6, 1).unwrap(), Date::new(2028, 6, 1).unwrap()] {
            let before = decisions(&policy, day);
            for at in about(&linted, &policy, &idle) {
                let mut without = policy.clone();
                // Its number must stay, so it is expired rather than removed.
                without.rules[at].expires = Date::new(2000, 1, 1).ok();
                let after = decisions(&without, day);
                for (before, after) in before.iter().zip(&after) {
                    prop_assert_eq!(before.0, after.0, "r{} on {}\n{}", at, day, &linted.warnings);
                }
            }
        }
        if policy.rules.iter().all(|rule| rule.expires.is_none()) {
            let codes = [idle.as_slice(), &[Code::UnknownLabel]].concat();
            let named = about(&linted, &policy, &codes);
            let decisions = decisions(&policy, today());
            for at in 0..policy.rules.len() {
                let id = RuleId(at as u32);
                let decides = decisions.iter().any(|(_, decider, audited)| {
                    *decider == Decider::Rule(id) || audited.contains(&id)
                });
                // A pass decides by leaving the tier, which no decision names.
                let is_pass = policy.rules[at].action == septum_rules::rule::Action::Pass;
                prop_assert!(decides || is_pass || named.contains(&at), "r{} does nothing\n{}", at, &linted.warnings);
            }
        }
    }
}

/// All that is found, as code and place.
fn all_found(rules: &str) -> Vec<String> {
    let warnings = lint(&policy(rules), today()).warnings;
    warnings.items.iter().map(|item| item.code.to_string()).collect()
}

/// Something for every kind of name, and one finding too many for `far-1`.
const FINDINGS: &str = r#"
near = ["10.98.0.0/16"]
[service]
spare = ["tcp/1"]
[[rule]]
name = "everything"
from = "any"
to = "any"
allow = ["any"]
expires = 2026-06-02
[[rule]]
name = "nothing"
from = "app=wbe"
to = "app=api"
allow = ["tcp/80"]
"#;

#[test]
fn what_the_file_allows_is_not_reported() {
    let before = all_found(FINDINGS);
    let allow = |entry: &str| format!("{FINDINGS}[[lint.allow]]\n{entry}\nreason = \"until March\"\n");
    let without = |gone: &str| before.iter().filter(|code| *code != gone).cloned().collect::<Vec<_>>();
    for (code, name) in [
        ("S0916", "rule = \"everything\""),
        ("S0915", "rule = \"everything\""),
        ("S0918", "rule = \"nothing\""),
        ("S0919", "service = \"spare\""),
        ("S0920", ""),
    ] {
        assert!(before.iter().any(|found| found == code), "{code} is not in {before:?}");
        let after = all_found(&allow(&format!("code = \"{code}\"\n{name}")));
        assert_eq!(after, without(code), "{code} {name}");
    }
}

#[test]
fn an_allow_is_about_what_it_names_and_nothing_else() {
    let before = all_found(FINDINGS);
    for entry in [
        "code = \"S0916\"\nrule = \"nothing\"",
        "code = \"S0920\"\nservice = \"spare\"",
        "code = \"S0917\"\nworkload = \"far-1\"",
        "code = \"S0912\"",
    ] {
        let text = format!("{FINDINGS}[[lint.allow]]\n{entry}\nreason = \"until March\"\n");
        let after = all_found(&text);
        let expected: Vec<String> = before.iter().cloned().chain(["S0923".to_owned()]).collect();
        assert_eq!(after, expected, "{entry}");
    }
}

#[test]
fn each_workload_with_open_gates_is_allowed_on_its_own() {
    let rules = r#"
[workload.legacy-1]
segment = "app"
ip = "10.2.0.21"
open = "ingress"
[workload.legacy-2]
segment = "app"
ip = "10.2.0.22"
open = "ingress"
[[lint.allow]]
code = "S0922"
workload = "legacy-1"
reason = "measured until March"
"#;
    let warnings = lint(&policy(rules), today()).warnings;
    let open: Vec<&str> = warnings
        .items
        .iter()
        .filter(|item| matches!(item.code, Code::OpenByDefault | Code::UnusedAllow))
        .map(|item| item.message.as_str())
        .collect();
    assert_eq!(open, ["gates that admit what no rule decides: `legacy-2`"]);
}
