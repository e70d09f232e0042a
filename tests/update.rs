//! Random changes, one after the other: the updated object against one that was compiled from scratch and against the
//! reference evaluator, and that nothing which was handed out before has changed.
//!
//! `SEPTUM_UPDATES` is the number of changes (20,000 unless given), `SEPTUM_SEED` the seed. The full size, six minutes
//! of one core:
//!
//! ```text
//! SEPTUM_UPDATES=1000000 cargo test --release -p septum-classifier --test update
//! ```

#[path = "support/policies.rs"]
#[allow(dead_code, reason = "shared with other tests, which use the rest")]
mod policies;
#[path = "support/random.rs"]
#[allow(dead_code, reason = "shared with other tests, which use the rest")]
mod random;

use std::net::IpAddr;

use policies::{packets, parties, policy, rule, today};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use random::{Random, part_of, runner, size};
use septum_classifier::update::{Change, UpdateError, UpdateLimits, Updater};
use septum_classifier::{Classifier, Limits, VerdictEntry};
use septum_rules::endpoint::Party;
use septum_rules::identity::{RuleId, WorkloadId};
use septum_rules::oracle::Oracle;
use septum_rules::policy::Policy;
use septum_rules::proto::Layer4;
use septum_rules::rule::Rule;
use septum_rules::selector::{Alternative, LabelExpression, Operator, Requirement, Selector};
use septum_rules::verdict::Decision;

/// Changes that a policy can take; `number` makes names.
struct Changes<'r> {
    runner: &'r mut TestRunner,
    random: Random,
    number: u32,
}

impl Changes<'_> {
    fn rule(&mut self, policy: &Policy, name: String) -> Rule {
        let mut rule = rule().new_tree(self.runner).expect("a rule").current();
        rule.name = name.into();
        // As people change rules: mostly with selectors that are there, and sometimes for one workload.
        if !policy.rules.is_empty() && self.random.below(3) > 0 {
            let like = &policy.rules[self.random.below(policy.rules.len())];
            (rule.from, rule.to, rule.except) = (like.from.clone(), like.to.clone(), like.except.clone());
        }
        if self.random.below(4) == 0 {
            rule.to = named(policy, self.random.below(policy.workloads.len()), Vec::new());
        }
        rule
    }

    fn next(&mut self, policy: &Policy) -> Change {
        self.number += 1;
        let (rules, workloads) = (policy.rules.len(), policy.workloads.len());
        let rule = RuleId(self.random.below(rules) as u32);
        let workload = self.random.below(workloads);
        let free = |at: u64, segment: u32| -> [IpAddr; 2] {
            let host = 0x100 + at % 0xe00;
            let texts = [format!("10.0.{segment}.{}", 16 + host % 200), format!("fd00:{segment}::{host:x}")];
            texts.map(|text| text.parse().expect("an address"))
        };
        let random = self.random.next();
        match self.random.below(10) {
            0 | 1 if rules < 24 => Change::AddRule(self.rule(policy, format!("added{}", self.number))),
            2 | 3 if rules > 0 => {
                let name = policy.rules[rule.index()].name.to_string();
                Change::ReplaceRule(rule, self.rule(policy, name))
            }
            4 if rules > 0 => Change::RemoveRule(rule),
            5 if workloads < 12 => {
                let mut added = policy.workloads[workload].clone();
                added.name = format!("added{}", self.number).into();
                added.labels.insert("name".into(), added.name.clone());
                added.mac = Some(format!("02:00:00:01:00:{:02x}", self.number % 256).parse().expect("a MAC"));
                added.addresses = free(random, added.segment.0)[..self.random.below(3)].to_vec();
                Change::AddWorkload(added)
            }
            _ => {
                let own = &policy.workloads[workload];
                let mut addresses = free(random, own.segment.0)[..self.random.below(3)].to_vec();
                // Some stay, some come back.
                addresses.extend(own.addresses.iter().filter(|_| self.random.below(2) == 0));
                addresses.sort_unstable();
                addresses.dedup();
                Change::SetAddresses(WorkloadId(workload as u32), addresses)
            }
        }
    }
}

/// One workload, by its name, if it meets some more requirements.
fn named(policy: &Policy, workload: usize, mut requirements: Vec<Requirement>) -> Selector {
    let operator = Operator::In(vec![policy.workloads[workload].name.clone()]);
    requirements.push(Requirement { key: "name".into(), operator });
    Selector { alternatives: vec![Alternative::Labels(LabelExpression { requirements })] }
}

/// Some of all packets between some of all parties.
fn flows(policy: &Policy, random: &mut Random, most: usize) -> Vec<(Party, Party, Layer4)> {
    let (parties, packets) = (parties(policy), packets(policy));
    let mut any = |end: usize| random.below(end);
    (0..most)
        .map(|_| (parties[any(parties.len())], parties[any(parties.len())], packets[any(packets.len())]))
        .collect()
}

/// An entry without what means nothing in another object.
fn told(
    classifier: &Classifier,
    (source, destination, layer4): (Party, Party, Layer4),
) -> (Decision, String) {
    let ends = (classifier.identify_party(source), classifier.identify_party(destination));
    let verdict = classifier.lookup(ends.0, ends.1, layer4);
    let VerdictEntry { verdict: outcome, rule, log, deny_with, audited, .. } = *classifier.verdict(verdict);
    (classifier.decision(verdict), format!("{outcome:?} {rule:?} {log:?} {deny_with:?} {audited}"))
}

/// The updated object says what one from scratch says, and what the policy means.
fn check(updater: &Updater, random: &mut Random, most: usize) {
    let (policy, updated) = (updater.policy(), updater.classifier());
    let fresh = Classifier::build(policy, today()).expect("within limits");
    let oracle = Oracle::new(policy, today());
    assert_eq!(updated.valid_until(), fresh.valid_until());
    for flow in flows(policy, random, most) {
        let (source, destination, layer4) = flow;
        assert_eq!(told(updated, flow), told(&fresh, flow), "{source:?} -> {destination:?} {layer4:?}");
        assert_eq!(updated.decide(source, destination, layer4), oracle.decide(source, destination, layer4));
        for party in [source, destination] {
            let Some(address) = party.address else { continue };
            let known = oracle.party(address);
            assert_eq!(updated.identify(address), updated.identify_party(known), "{address}");
        }
    }
}

/// What became of changes.
#[derive(Default)]
struct Counts {
    done: usize,
    compiled: usize,
    refused: usize,
    pairs: usize,
}

/// Makes so many changes, to one policy after the other, and checks the objects.
fn change(total: usize, mut runner: TestRunner) -> Counts {
    let mut counts = Counts::default();
    while counts.done < total {
        let first = policy().new_tree(&mut runner).expect("a policy").current();
        let mut random = Random::new(&mut runner);
        let mut updater = Updater::new(first, today()).expect("within limits");
        let checks = Random::new(&mut runner);
        let mut changes = Changes { runner: &mut runner, random: checks, number: 0 };
        for _ in 0..500.min(total - counts.done) {
            counts.done += 1;
            let change = changes.next(updater.policy());
            // Somebody goes on reading the object before.
            let held = counts.done.is_multiple_of(16).then(|| {
                let (object, flows) =
                    (updater.classifier().clone(), flows(updater.policy(), &mut random, 20));
                let answers: Vec<_> = flows.iter().map(|flow| told(&object, *flow)).collect();
                (object, flows, answers)
            });
            match updater.apply_or_compile(change.clone()) {
                Ok(updated) => {
                    counts.compiled += usize::from(updated.compiled);
                    counts.pairs += updated.pairs;
                }
                Err(UpdateError::AddressTaken(_)) => counts.refused += 1,
                Err(error) => panic!("{error}: {change:?}"),
            }
            if let Some((object, flows, answers)) = held {
                let again: Vec<_> = flows.iter().map(|flow| told(&object, *flow)).collect();
                assert_eq!(answers, again, "an object changed under its reader: {change:?}");
            }
            if counts.done.is_multiple_of(20) {
                check(&updater, &mut random, 60);
            }
        }
        check(&updater, &mut random, 2_000);
    }
    counts
}

#[test]
fn updated_objects_say_what_objects_from_scratch_say() {
    const PARTS: usize = 4;
    let (total, seed) = (size("SEPTUM_UPDATES", 20_000), size("SEPTUM_SEED", 1) as u64);
    eprintln!("SEPTUM_SEED={seed}");
    let parts: Vec<Counts> = std::thread::scope(|scope| {
        let part = |at: usize| {
            let share = total / PARTS + usize::from(at < total % PARTS);
            scope.spawn(move || change(share, part_of(seed, at as u64)))
        };
        let parts: Vec<_> = (0..PARTS).map(part).collect();
        parts.into_iter().map(|part| part.join().expect("its panic has said why")).collect()
    });
    let sum = |count: fn(&Counts) -> usize| -> usize { parts.iter().map(count).sum() };
    let (done, compiled, refused) = (sum(|it| it.done), sum(|it| it.compiled), sum(|it| it.refused));
    eprintln!("{done} changes: {compiled} compiled, {refused} refused, {} pairs", sum(|it| it.pairs));
    assert_eq!(done, total);
    assert!(compiled * 2 < done && refused * 4 < done, "{compiled} of {done} compiled, {refused} refused");
}

#[test]
fn a_change_that_is_refused_changes_nothing() {
    let mut runner = runner(3);
    let policy = policy()
        .prop_filter("two workloads with addresses", |policy| {
            policy.workloads.iter().filter(|workload| !workload.addresses.is_empty()).count() > 1
                && !policy.rules.is_empty()
        })
        .new_tree(&mut runner)
        .expect("a policy")
        .current();
    let mut updater = Updater::new(policy.clone(), today()).expect("within limits");
    let owners: Vec<usize> =
        (0..policy.workloads.len()).filter(|at| !policy.workloads[*at].addresses.is_empty()).collect();
    let taken = policy.workloads[owners[0]].addresses[0];
    let other = WorkloadId(owners[1] as u32);
    let error = updater.apply(Change::SetAddresses(other, vec![taken])).expect_err("it is another's");
    assert_eq!(error, UpdateError::AddressTaken(taken));
    assert_eq!(error.to_string(), format!("the address {taken} is taken"));
    let error = updater.apply(Change::AddRule(policy.rules[0].clone())).expect_err("there is one");
    assert_eq!(error, UpdateError::NameTaken(policy.rules[0].name.clone()));
    let error = updater.apply(Change::AddWorkload(policy.workloads[0].clone())).expect_err("there is one");
    assert_eq!(error, UpdateError::NameTaken(policy.workloads[0].name.clone()));
    assert_eq!(updater.apply(Change::RemoveRule(RuleId(99))), Err(UpdateError::Unknown("rule")));
    let nobody = Change::SetAddresses(WorkloadId(99), Vec::new());
    assert_eq!(updater.apply(nobody), Err(UpdateError::Unknown("workload")));
    assert_eq!(updater.classifier().changes(), 0);
    check(&updater, &mut Random::new(&mut runner), 2_000);
}

/// Of a change that is given up halfway something may stay behind, as long as no object says so.
#[test]
fn changes_that_are_given_up_leave_nothing_behind() {
    let bounds =
        UpdateLimits { touched_pairs: 24, touched_rules: 96, split_workloads: 1, cells: 24, overlay: 60 };
    let mut runner = runner(5);
    let (mut done, mut given_up) = (0, 0);
    while done < 3_000 {
        let first = policy().new_tree(&mut runner).expect("a policy").current();
        let mut random = Random::new(&mut runner);
        let mut updater =
            Updater::with_limits(first, today(), Limits::default(), bounds).expect("within limits");
        let mut changes = Changes { random: Random::new(&mut runner), runner: &mut runner, number: 0 };
        for _ in 0..150 {
            done += 1;
            match updater.apply(changes.next(updater.policy())) {
                Ok(_) | Err(UpdateError::AddressTaken(_)) => {}
                Err(UpdateError::NeedsCompile(why)) => {
                    given_up += 1;
                    if why.contains("since the last compile") {
                        updater.compile().expect("within limits");
                    }
                }
                Err(error) => panic!("{error}"),
            }
            if done % 10 == 0 {
                check(&updater, &mut random, 60);
            }
        }
    }
    eprintln!("{given_up} of {done} given up");
    assert!(given_up * 10 > done && given_up * 4 < done * 3, "{given_up} of {done} given up");
}

/// No room for the labels of those whom a new rule tells apart: said, not met with a panic.
#[test]
fn a_limit_of_the_compile_holds_for_updates() {
    let mut runner = runner(7);
    let policy = policy().new_tree(&mut runner).expect("a policy").current();
    let limited = |set_entries| {
        let limits = Limits { set_entries, ..Limits::default() };
        Updater::with_limits(policy.clone(), today(), limits, UpdateLimits::default()).ok()
    };
    let mut updater = (1..10_000).find_map(limited).expect("some limit is enough");
    let like = rule().new_tree(&mut runner).expect("a rule").current();
    let mut add = |number: usize| {
        let is_new =
            Requirement { key: "segment".into(), operator: Operator::NotIn(vec![number.to_string().into()]) };
        let to = named(&policy, 0, vec![is_new]);
        updater.apply(Change::AddRule(Rule {
            name: number.to_string().into(),
            to,
            expires: None,
            ..like.clone()
        }))
    };
    let full = (0..1_000).find(|number| add(*number).is_err()).expect("each takes some room");
    let error = add(full).expect_err("the last one was not finished");
    assert_eq!(error, UpdateError::NeedsCompile("an earlier change was not finished"));
    assert_eq!(updater.classifier().changes(), full as u32);
    check(&updater, &mut Random::new(&mut runner), 2_000);
}
