//! The proof that a compiled object means what its policy means: no correct object is refused, an object of another policy
//! is refused exactly where some packet differs, and a proof that cannot be finished says what it covered.

#[path = "support/policies.rs"]
mod policies;

use policies::{packets, parties, policy, today};
use proptest::prelude::*;
use septum_classifier::{Answer, Budget, Builder, Classifier, Count, Proof, ProofError, Witness};
use septum_rules::endpoint::Party;
use septum_rules::oracle::Oracle;
use septum_rules::policy::Policy;
use septum_rules::proto::Layer4;
use septum_rules::rule::DenyWith;
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
