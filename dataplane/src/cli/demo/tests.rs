//! The built-in policy against its promises, as the reference evaluator sees them.
//!
//! No promise may be idle: whichever rule of the policy is removed, one breaks; and no pair and service is left out.

use std::collections::HashSet;

use septum_rules::date::Date;
use septum_rules::endpoint::{Endpoint, Party};
use septum_rules::load::load_text;
use septum_rules::oracle::Oracle;
use septum_rules::policy::Policy;
use septum_rules::rule::Action;

use super::plan::{Family, Plan, Probe};
use super::{POLICY, POLICY_NAME, plan_for};

fn today() -> Date {
    Date::new(2026, 7, 1).unwrap()
}

fn built_in() -> Policy {
    load_text(POLICY_NAME, POLICY).unwrap().policy
}

fn admits(oracle: &Oracle<'_>, probe: &Probe) -> bool {
    let party = |id, address| Party { endpoint: Endpoint::Workload(id), address: Some(address) };
    let decision =
        oracle.decide(party(probe.from, probe.source), party(probe.to, probe.destination), probe.layer4());
    decision.verdict.is_allow()
}

fn broken<'p>(policy: &Policy, plan: &'p Plan) -> Vec<&'p Probe> {
    let oracle = Oracle::new(policy, today());
    plan.probes.iter().filter(|probe| probe.breaks_promise(admits(&oracle, probe))).collect()
}

#[test]
fn the_built_in_policy_keeps_every_promise() {
    let policy = built_in();
    let plan = plan_for(&policy).unwrap();
    assert_eq!(broken(&policy, &plan).len(), 0);
}

#[test]
fn whichever_rule_is_removed_a_promise_breaks_in_both_families() {
    let policy = built_in();
    let plan = plan_for(&policy).unwrap();
    let actions: HashSet<Action> = policy.rules.iter().map(|rule| rule.action).collect();
    assert!(actions.contains(&Action::Allow) && actions.contains(&Action::Deny));
    for at in 0..policy.rules.len() {
        let mut edited = policy.clone();
        let removed = edited.rules.remove(at);
        let broken = broken(&edited, &plan);
        for family in Family::BOTH {
            assert!(broken.iter().any(|probe| probe.family() == family), "{} over {family:?}", removed.name);
        }
        let opened = broken.iter().all(|probe| probe.promised.is_some_and(|promised| !promised.open));
        assert_eq!(opened, removed.action == Action::Deny, "{}", removed.name);
    }
}

#[test]
fn every_pair_and_service_is_promised_in_both_families() {
    let policy = built_in();
    let plan = plan_for(&policy).unwrap();
    let pairs = policy.workloads.len() * (policy.workloads.len() - 1);
    assert_eq!(plan.probes.len(), pairs * plan.attempts.len() * Family::BOTH.len());
    for probe in &plan.probes {
        assert!(probe.promised.is_some(), "{probe:?}");
    }
}
