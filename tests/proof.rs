//! The proof that a compiled object means what its policy means: no correct object is refused, an object of another policy
//! is refused exactly where some packet differs, and a proof that cannot be finished says what it covered.

#[path = "support/policies.rs"]
mod policies;

use std::fmt::Write as _;
use std::num::NonZeroUsize;

use policies::{packets, parties, policy, today};
use proptest::prelude::*;
use septum_classifier::{Answer, Budget, Builder, Classifier, Count, Proof, ProofError, Witness};
use septum_rules::endpoint::Party;
use septum_rules::load::load_text;
use septum_rules::oracle::Oracle;
use septum_rules::policy::Policy;
use septum_rules::proto::Layer4;
use septum_rules::rule::{DenyWith, LogMode};
use septum_rules::verdict::Verdict;

const ALL: Budget = Budget(u64::MAX);

/// Up to which area rules are narrow: all pairs in the matrix, all in the table, and both.
fn area() -> impl Strategy<Value = u64> {
    prop::sample::select(&[0, 2, 9, 64, u64::MAX][..])
}

/// The policy, compiled with its pairs in both forms.
fn build(policy: &Policy, area: u64) -> Classifier {
    Builder::new(policy, today()).narrow_up_to(area).build().unwrap()
}

/// What the object says, with what is recorded and told.
fn compiled(classifier: &Classifier, source: Party, destination: Party, layer4: Layer4) -> Answer {
    let (from, to) = (classifier.identify_party(source), classifier.identify_party(destination));
    let verdict = classifier.lookup(from, to, layer4);
    let entry = classifier.verdict(verdict);
    let told: Option<DenyWith> = (entry.verdict != Verdict::Allow).then_some(entry.deny_with);
    let decision = classifier.decision(verdict);
    Answer { decision, rule: entry.rule, log: entry.log, deny_with: told, audited: entry.audited }
}

/// A fixed share of all combinations of what the policy could tell apart.
fn combinations(policy: &Policy, most: usize) -> Vec<(Party, Party, Layer4)> {
    let (parties, packets) = (parties(policy), packets(policy));
    let total = parties.len() * parties.len() * packets.len();
    let step = (total / most).max(1) | 1;
    let pick = |at: usize| {
        let (pair, packet) = (at / packets.len(), at % packets.len());
        (parties[pair / parties.len()], parties[pair % parties.len()], packets[packet])
    };
    (0..total).step_by(step).map(pick).collect()
}

/// Decimal text to the number of all packets: both families' pairs of (address, owner), an unspecified one for each workload.
fn all_packets(workloads: usize) -> String {
    // (2^32 + w)^2 + (2^128 + w)^2, times 2^40, in base 2^32.
    let mut digits = [0_u128; 12];
    let w = workloads as u128;
    let mut add = |at: usize, value: u128| {
        let mut carry = value;
        for digit in &mut digits[at..] {
            carry += *digit;
            *digit = carry & 0xffff_ffff;
            carry >>= 32;
        }
    };
    // Times 2^40 is 2^8 and one digit.
    let times = 1 << 8;
    add(1 + 8, times);
    add(1 + 4, 2 * w * times);
    add(1 + 2, times);
    add(1 + 1, 2 * w * times);
    add(1, 2 * w * w * times);
    let mut text = Vec::new();
    while digits.iter().any(|digit| *digit != 0) {
        let mut rest = 0;
        for digit in digits.iter_mut().rev() {
            let part = rest << 32 | *digit;
            *digit = part / 10;
            rest = part % 10;
        }
        text.push(char::from(b'0' + rest as u8));
    }
    text.iter().rev().collect()
}

fn refuse(error: &ProofError) -> TestCaseError {
    TestCaseError::fail(error.to_string())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_correct_object_is_proved_for_every_packet(policy in policy(), area in area()) {
        let classifier = build(&policy, area);
        let proof = classifier.prove(&policy, ALL).map_err(|error| refuse(&error))?;
        prop_assert_eq!(proof.unproved_pairs(), 0);
        prop_assert_eq!(proof.packets.to_string(), all_packets(policy.workloads.len()));
    }
}

/// Workloads of which rules tell every pair apart, more than are compared on one thread alone.
fn many_pairs() -> Policy {
    const WORKLOADS: usize = 70;
    let mut text = "version = 1\n[segment.lan]\nsubnet = [\"10.0.0.0/24\"]\n".to_owned();
    for at in 0..WORKLOADS {
        write!(
            text,
            "[workload.w{at}]\nsegment = \"lan\"\nmac = \"02:00:00:00:00:{at:02x}\"\nip = [\"10.0.0.{}\"]\nlabels = {{ id = \"w{at}\" }}\n\
             [[rule]]\nname = \"from{at}\"\nfrom = \"id=w{at}\"\nto = \"any\"\nallow = [\"tcp/{}\"]\n\
             [[rule]]\nname = \"to{at}\"\nfrom = \"any\"\nto = \"id=w{at}\"\nallow = [\"udp/{}\"]\n",
            at + 1,
            80 + at % 3,
            53 + at % 2,
        )
        .expect("a string takes everything");
    }
    load_text("pairs.toml", &text).expect("a policy").policy
}

#[test]
fn how_many_threads_there_are_changes_nothing() {
    let policy = many_pairs();
    let classifier = Classifier::build(&policy, today()).unwrap();
    let on = |threads: usize, policy: &Policy, budget: Budget| {
        classifier.prove_on(NonZeroUsize::new(threads).unwrap(), policy, budget)
    };
    let proof = classifier.prove(&policy, ALL).unwrap();
    assert!(proof.distinct_pairs > 4096, "{proof:?}");
    // Late and early pairs differ.
    let mut changed = policy.clone();
    changed.rules.iter_mut().skip(40).step_by(9).for_each(|rule| rule.log = LogMode::All);
    let mismatch = classifier.prove(&changed, ALL);
    assert!(matches!(mismatch, Err(ProofError::Mismatch(_))));
    let budgets = [proof.work - 1, proof.work / 2, proof.work / 9, 1].map(Budget);
    let exhausted = budgets.map(|budget| classifier.prove(&policy, budget));
    assert!(matches!(&exhausted[0], Err(ProofError::Budget(covered)) if covered.proved_pairs > 0));
    for threads in [2, 3, 64] {
        assert_eq!(on(threads, &policy, ALL), Ok(proof));
        assert_eq!(on(threads, &policy, Budget(proof.work)), Ok(proof));
        assert_eq!(on(threads, &changed, ALL), mismatch);
        assert_eq!(budgets.map(|budget| on(threads, &policy, budget)), exhausted);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Same endpoints, other rules: refused exactly where some packet differs, with that packet.
    #[test]
    fn an_object_of_another_policy_is_refused_with_a_packet_that_shows_it(policy in policy(), other in policy(), area in area()) {
        let classifier = build(&policy, area);
        let mut changed = policy.clone();
        changed.rules = other.rules;
        let oracle = Oracle::new(&changed, today());
        match classifier.prove(&changed, ALL) {
            Err(ProofError::Mismatch(witness)) => {
                let Witness { source, destination, layer4, meant, compiled: said } = *witness;
                prop_assert_eq!(&oracle.decide(source, destination, layer4), &meant.decision);
                prop_assert_eq!(Some(compiled(&classifier, source, destination, layer4)), said.clone());
                prop_assert_ne!(Some(meant), said);
            }
            Err(ProofError::ValidUntil { meant, compiled }) => {
                prop_assert_eq!(Classifier::build(&changed, today()).unwrap().valid_until(), meant);
                prop_assert_eq!(classifier.valid_until(), compiled);
                prop_assert_ne!(meant, compiled);
            }
            Err(error) => return Err(refuse(&error)),
            Ok(_) => for (source, destination, layer4) in combinations(&changed, 500) {
                let decision = classifier.decide(source, destination, layer4);
                prop_assert_eq!(decision, oracle.decide(source, destination, layer4));
            },
        }
    }

    /// Nothing but what is logged, told and recorded changes: the object of before is refused exactly where a packet
    /// would be logged or answered otherwise.
    #[test]
    fn what_is_recorded_and_told_is_proved_too(policy in policy(), other in policy(), area in area()) {
        let classifier = build(&policy, area);
        let mut changed = policy.clone();
        for (rule, other) in changed.rules.iter_mut().zip(&other.rules) {
            (rule.log, rule.deny_with) = (other.log, other.deny_with);
        }
        changed.settings.deny_with = other.settings.deny_with;
        let meant = Classifier::build(&changed, today()).unwrap();
        match classifier.prove(&changed, ALL) {
            Err(ProofError::Mismatch(witness)) => {
                let Witness { source, destination, layer4, .. } = *witness;
                prop_assert_ne!(
                    compiled(&classifier, source, destination, layer4),
                    compiled(&meant, source, destination, layer4)
                );
            }
            Err(error) => return Err(refuse(&error)),
            Ok(_) => for (source, destination, layer4) in combinations(&changed, 500) {
                prop_assert_eq!(
                    compiled(&classifier, source, destination, layer4),
                    compiled(&meant, source, destination, layer4)
                );
            },
        }
    }

    #[test]
    fn a_budget_that_ends_says_what_was_covered(policy in policy(), area in area(), share in 0_u64..100) {
        let classifier = build(&policy, area);
        let proof = classifier.prove(&policy, ALL).map_err(|error| refuse(&error))?;
        // Exactly as much as it takes is enough, on every machine.
        prop_assert_eq!(classifier.prove(&policy, Budget(proof.work)), Ok(proof));
        match classifier.prove(&policy, Budget((proof.work - 1) * share / 100)) {
            Err(ProofError::Budget(covered)) => {
                let Proof { pairs, proved_pairs, packets, .. } = *covered;
                prop_assert!(pairs == 0 || pairs == proof.pairs, "{} of {}", pairs, proof.pairs);
                prop_assert!(proved_pairs < proof.pairs && proved_pairs <= pairs);
                prop_assert!(proved_pairs > 0 || packets == Count::ZERO);
                let told = ProofError::Budget(covered).to_string();
                let unproved = match pairs {
                    0 => "unproved: all pairs".to_owned(),
                    _ => format!("unproved: {} of {pairs} pairs", pairs - proved_pairs),
                };
                prop_assert_eq!(told, unproved);
            }
            other => return Err(TestCaseError::fail(format!("{other:?}"))),
        }
    }
}
