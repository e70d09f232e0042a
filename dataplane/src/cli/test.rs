//! `septum test FILE`: does a policy keep what its `[[test]]`s promise?
//!
//! Reach tests are decided on the reference evaluator and on the compiled object, and both must agree with the test;
//! packet tests go through the pipeline.

use std::collections::BTreeSet;
use std::path::PathBuf;

use septum_rules::endpoint::{Endpoint, Party};
use septum_rules::oracle::Oracle;
use septum_rules::policy::Policy;
use septum_rules::verify::{Broken, Expected, verify};

use super::failure::Failure;
use super::policy_file;
use crate::packet_test;
use crate::snapshot::CompiledPolicy;

/// `septum test`
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The policy
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Tests a policy.
///
/// # Errors
/// When the file is no policy.
pub(super) fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let compiled = policy_file::compile(&arguments.file)?;
    let broken = run_all(&compiled)?;
    println!("{} passed, {broken} failed", compiled.policy.tests.len() - broken);
    Ok(if broken > 0 { Failure::BROKEN } else { 0 })
}

/// Runs all tests of a policy and tells on standard error of those that are broken; gives their number.
///
/// # Errors
/// When evaluator and compiled object disagree, which is a fault of this program.
pub(super) fn run_all(compiled: &CompiledPolicy) -> Result<usize, Failure> {
    let policy = &*compiled.policy;
    let oracle = Oracle::new(policy, compiled.classifier.now());
    let by_oracle = broken(policy, |from, to, layer4| oracle.decide(from, to, layer4));
    let by_object = broken(policy, |from, to, layer4| compiled.classifier.decide(from, to, layer4));
    let flows = |found: &[Broken]| -> Vec<_> {
        found.iter().map(|broken| (broken.test, broken.from, broken.to, broken.layer4)).collect()
    };
    if flows(&by_oracle) != flows(&by_object) {
        let reason = "the compiled policy differs from its meaning: a fault of septum, not of the policy";
        return Err(Failure::new(Failure::ENVIRONMENT, reason).fix("please report it, with the policy"));
    }
    let mut tests = BTreeSet::new();
    for broken in &by_object {
        tests.insert(broken.test);
        tell(policy, broken);
    }
    for failed in packet_test::run_all(compiled) {
        tests.insert(failed.test);
        let case = &policy.tests[failed.test];
        eprintln!("{}: test `{}` is broken: {failed}", policy.sources.place(case.span), case.name);
    }
    Ok(tests.len())
}

fn broken(
    policy: &Policy,
    decide: impl FnMut(Party, Party, septum_rules::proto::Layer4) -> septum_rules::verdict::Decision,
) -> Vec<Broken> {
    let mut found = Vec::new();
    verify(policy, &policy.tests, decide, |broken| found.push(broken));
    found
}

fn tell(policy: &Policy, broken: &Broken) {
    let case = &policy.tests[broken.test];
    let promised = match broken.expected {
        Expected::Allowed => "allowed".to_owned(),
        Expected::Denied => "refused".to_owned(),
        Expected::AllowedBy(rule) => format!("allowed by `{}`", policy.rules[rule.index()].name),
    };
    let found = if broken.decision.verdict.is_allow() { "allowed" } else { "refused" };
    let why = match broken.decision.rule() {
        Some(rule) => format!("by rule `{}` at {}", policy.rules[rule.index()].name, policy.rule_place(rule)),
        None => "by default".to_owned(),
    };
    eprintln!(
        "{}: test `{}` is broken: {} -> {} {} should be {promised}, and is {found} {why}",
        policy.sources.place(case.span),
        case.name,
        name(policy, broken.from),
        name(policy, broken.to),
        broken.layer4,
    );
}

fn name(policy: &Policy, party: Party) -> String {
    let name = match party.endpoint {
        Endpoint::Workload(workload) => &*policy.workloads[workload.index()].name,
        Endpoint::Gateway(segment) => &*policy.segments[segment.index()].name,
        Endpoint::World => "world",
        Endpoint::Init => "init",
    };
    match party.address {
        Some(address) => format!("{name} ({address})"),
        None => name.to_owned(),
    }
}
