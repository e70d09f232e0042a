//! Policies that are made to be too large: each is refused by the limit that it exceeds, with that limit's own words,
//! and what is only awkward is compiled within its bounds.

use std::fmt::Write as _;

use septum_classifier::{BuildError, Builder, Classifier, Limits};
use septum_rules::date::Date;
use septum_rules::load::load_text;
use septum_rules::policy::Policy;

fn today() -> Date {
    "2026-06-15".parse().expect("a date")
}

/// So many workloads, and these rules and networks.
fn policy(workloads: usize, rest: &str) -> Policy {
    let mut text = String::from("version = 1\nsegment.lan.subnet = [\"10.0.0.0/16\"]\n");
    for at in 0..workloads {
        writeln!(
            text,
            "workload.w{at} = {{ segment = \"lan\", tap = \"t{at}\", mac = \"02:00:00:00:00:{at:02x}\", ip = [\"10.0.0.{}\"] }}",
            at + 1
        )
        .expect("a string takes everything");
    }
    load_text("policy.toml", &(text + rest)).expect("a policy").policy
}

fn rule(at: usize, from: &str, to: &str, service: &str) -> String {
    format!("[[rule]]\nname = \"r{at}\"\nfrom = \"{from}\"\nto = \"{to}\"\nallow = [{service}]\n")
}

/// Every workload to every other, one rule each.
fn each_to_each(workloads: usize) -> Policy {
    let rules: String = (0..workloads * workloads)
        .map(|at| {
            let (from, to) = (at / workloads, at % workloads);
            rule(at, &format!("name=w{from}"), &format!("name=w{to}"), &format!("\"tcp/{}\"", at + 1))
        })
        .collect();
    policy(workloads, &rules)
}

fn refusal(policy: &Policy, change: impl Fn(&mut Limits)) -> BuildError {
    let mut limits = Limits::default();
    change(&mut limits);
    match Builder::new(policy, today()).narrow_up_to(0).limits(limits).build() {
        Ok(classifier) => panic!("compiled: {}", classifier.stats()),
        Err(error) => error,
    }
}

#[test]
fn each_limit_refuses_with_its_own_error() {
    let pairs = each_to_each(20);
    let error = refusal(&pairs, |limits| limits.identities = 10);
    assert!(matches!(error, BuildError::Identities { limit: 10 }), "{error}");
    let error = refusal(&pairs, |limits| limits.rule_applications = 100);
    assert!(matches!(error, BuildError::RuleApplications { limit: 100 }), "{error}");
    let error = refusal(&pairs, |limits| limits.matrix_cells = 100);
    assert!(matches!(error, BuildError::Matrix { cells: 441.., limit: 100 }), "{error}");
    let error = refusal(&pairs, |limits| limits.table_entries = 40);
    assert!(matches!(error, BuildError::Table { limit: 40, .. }), "{error}");

    let limits = Limits { pairs: 100, ..Limits::default() };
    let error = Builder::new(&pairs, today()).narrow_up_to(1).limits(limits).build().unwrap_err();
    assert!(matches!(error, BuildError::Pairs { limit: 100 }), "{error}");
}

#[test]
fn networks_that_lie_in_each_other_are_refused_by_the_size_of_their_sets() {
    // Each leaves out another address, which lies in all others.
    let mut text = String::from("[cidr]\n");
    for at in 0..400 {
        writeln!(
            text,
            "n{at} = {{ in = [\"10.0.0.0/8\"], except = [\"10.9.{}.{}/32\"] }}",
            at / 256,
            at % 256
        )
        .expect("a string");
    }
    let rules: String = (0..400).map(|at| rule(at, &format!("cidr:n{at}"), "any", "\"tcp/80\"")).collect();
    let error = refusal(&policy(20, &(text + &rules)), |limits| limits.set_entries = 5_000);
    assert!(matches!(error, BuildError::SetEntries { .. } | BuildError::Table { .. }), "{error}");
}

#[test]
fn source_ports_times_destination_ports_are_refused_before_their_classes_are_made() {
    let services: String = (0..1_100)
        .map(|at| rule(at, "any", "any", &format!("\"tcp/{} from {}\"", at * 7 + 1, at * 11 + 1)))
        .collect();
    let error = Classifier::build(&policy(2, &services), today()).unwrap_err();
    assert!(matches!(error, BuildError::Layer4Classes { classes: 4_000_000.., .. }), "{error}");
}

#[test]
fn port_ranges_that_all_overlap_compile_small() {
    // Nested from the outside in: each rule but the last is cut in two by the next.
    let rules: String = (0..3_000)
        .map(|at| {
            rule(at, "any", "any", &format!("\"tcp/{}-{}\"", at + 1, 65_000 - at))
                .replace("allow", if at % 2 == 0 { "allow" } else { "deny" })
        })
        .collect();
    let classifier = Classifier::build(&policy(3, &rules), today()).unwrap();
    assert!(classifier.memory_usage().total() < 8 << 20, "{:?}", classifier.memory_usage());
}
