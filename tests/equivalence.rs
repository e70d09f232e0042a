//! The compiled object against the reference evaluator: same verdict, same deciders at both gates, same audited
//! rules, for random policies that use the whole language, at every edge of every network and service.

#[path = "support/policies.rs"]
mod policies;

use policies::{packets, parties, policy, rule, today};
use proptest::prelude::*;
use septum_classifier::{Builder, Classifier, VerdictId};
use septum_rules::date::Date;
use septum_rules::endpoint::Party;
use septum_rules::identity::RuleId;
use septum_rules::oracle::Oracle;
use septum_rules::policy::Policy;
use septum_rules::proto::Layer4;
use septum_rules::rule::{Action, Rule};
use septum_rules::selector::{Alternative, LabelExpression, Operator, Requirement, Selector};
use septum_rules::verdict::{Decider, Decision, GateDecision, Refusal, Verdict};

/// A fixed share of all combinations, so that a case takes milliseconds and its failures come back.
fn combinations(policy: &Policy, most: usize) -> Vec<(Party, Party, Layer4)> {
    let (parties, packets) = (parties(policy), packets(policy));
    let total = parties.len() * parties.len() * packets.len();
    // An odd step wanders through all packets and pairs.
    let step = (total / most).max(1) | 1;
    (0..total)
        .step_by(step)
        .map(|at| {
            let (pair, packet) = (at / packets.len(), at % packets.len());
            (parties[pair / parties.len()], parties[pair % parties.len()], packets[packet])
        })
        .collect()
}

/// The decision with rules as names, which survive another order in the file.
fn by_name(policy: &Policy, decision: &Decision) -> String {
    let name = |rule: &RuleId| policy.rules[rule.index()].name.to_string();
    let gate = |gate: &GateDecision| {
        let decider = match &gate.decider {
            Decider::Rule(rule) => name(rule),
            other => format!("{other:?}"),
        };
        let audited: Vec<String> = gate.audited_rules.iter().map(name).collect();
        format!("{} by {decider} {} {audited:?}", gate.admits, gate.audited)
    };
    format!("{:?}: {}; {}", decision.verdict, gate(&decision.egress), gate(&decision.ingress))
}

/// Up to which area rules are kept pair by pair: none, some, or all of them.
fn area() -> impl Strategy<Value = u64> {
    prop::sample::select(&[0, 1, 2, 4, 9, 16, 64, u64::MAX][..])
}

/// The policy, compiled with its pairs in both forms.
fn build(policy: &Policy, area: u64) -> Classifier {
    Builder::new(policy, today()).narrow_up_to(area).build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_compiled_object_means_what_the_policy_means(policy in policy(), area in area()) {
        let oracle = Oracle::new(&policy, today());
        let classifier = build(&policy, area);
        for (source, destination, layer4) in combinations(&policy, 4_000) {
            let expected = oracle.decide(source, destination, layer4);
            let got = classifier.decide(source, destination, layer4);
            prop_assert_eq!(&got, &expected, "{:?} -> {:?} {}", source, destination, layer4);

            let identities = (classifier.identify_party(source), classifier.identify_party(destination));
            let verdict = classifier.lookup(identities.0, identities.1, layer4);
            let entry = classifier.verdict(verdict);
            prop_assert_eq!(entry.verdict, expected.verdict);
            prop_assert_eq!(entry.rule, expected.rule());
            prop_assert_eq!(entry.egress.decider, expected.egress.decider);
            let mut burst = [VerdictId::default(); 2];
            classifier.lookup_burst(&[(identities.0, identities.1, layer4); 2], &mut burst);
            prop_assert_eq!(burst, [verdict; 2]);
        }
    }

    #[test]
    fn addresses_belong_to_whom_the_policy_says(
        policy in policy(),
        random in proptest::collection::vec(any::<u32>(), 20),
    ) {
        let oracle = Oracle::new(&policy, today());
        let classifier = Classifier::build(&policy, today()).unwrap();
        let known = parties(&policy).into_iter().filter_map(|party| party.address);
        let random = random.into_iter().map(|bits| std::net::Ipv4Addr::from_bits(bits).into());
        for address in known.chain(random) {
            let party = oracle.party(address);
            prop_assert_eq!(classifier.identify(address), classifier.identify_party(party), "{}", address);
        }
    }

    #[test]
    fn the_order_of_rules_in_the_file_changes_nothing(
        policy in policy(),
        rotation in 0..16_usize,
        mirrored: bool,
    ) {
        let mut shuffled = policy.clone();
        let count = shuffled.rules.len().max(1);
        shuffled.rules.rotate_left(rotation % count);
        if mirrored {
            shuffled.rules.reverse();
        }
        let before = Classifier::build(&policy, today()).unwrap();
        let after = Classifier::build(&shuffled, today()).unwrap();
        for (source, destination, layer4) in combinations(&policy, 500) {
            let decision = before.decide(source, destination, layer4);
            let again = after.decide(source, destination, layer4);
            prop_assert_eq!(by_name(&policy, &decision), by_name(&shuffled, &again));
            let keys = (before.identify_party(source), after.identify_party(source));
            prop_assert_eq!(before.identity_key(keys.0), after.identity_key(keys.1));
        }
    }

    /// What was admitted stays admitted, at either gate on its own too. The added rule comes with the tier and the
    /// priority of one that is there.
    #[test]
    fn adding_an_allow_removes_no_admission(
        policy in policy(),
        added in rule(),
        at in any::<prop::sample::Index>(),
    ) {
        let mut added = Rule { name: "added".into(), action: Action::Allow, audit: false, expires: None, ..added };
        if !policy.rules.is_empty() {
            let beside = at.get(&policy.rules);
            (added.tier, added.priority) = (beside.tier, beside.priority);
        }
        let mut wider = policy.clone();
        wider.rules.push(added);
        let before = Classifier::build(&policy, today()).unwrap();
        let after = Classifier::build(&wider, today()).unwrap();
        for (source, destination, layer4) in combinations(&wider, 2_000) {
            let (was, is) = (
                before.decide(source, destination, layer4),
                after.decide(source, destination, layer4),
            );
            let kept = is.verdict.is_allow() || !was.verdict.is_allow();
            prop_assert!(kept, "{:?} -> {:?} {}: {:?}", source, destination, layer4, is);
            prop_assert!(is.egress.admits || !was.egress.admits, "egress: {:?} then {:?}", was, is);
            prop_assert!(is.ingress.admits || !was.ingress.admits, "ingress: {:?} then {:?}", was, is);
        }
    }

    #[test]
    fn until_the_day_it_names_an_object_stays_true(policy in policy()) {
        let classifier = Classifier::build(&policy, today()).unwrap();
        let Some(due) = classifier.valid_until() else { return Ok(()) };
        prop_assert!(due > today());
        let last_day = Date::from_unix_seconds(due.to_unix_seconds() - 1);
        let oracle = Oracle::new(&policy, last_day);
        for (source, destination, layer4) in combinations(&policy, 500) {
            prop_assert_eq!(
                classifier.decide(source, destination, layer4),
                oracle.decide(source, destination, layer4)
            );
        }
    }

    #[test]
    fn an_explanation_is_the_decision_with_its_nearest_miss(policy in policy()) {
        let oracle = Oracle::new(&policy, today());
        let classifier = Classifier::build(&policy, today()).unwrap();
        for (source, destination, layer4) in combinations(&policy, 100) {
            let explanation = classifier.explain(&policy, source, destination, layer4);
            prop_assert_eq!(&explanation.decision, &oracle.decide(source, destination, layer4));
            let refusing = explanation.decision.refusing_gate().map(|(gate, _)| gate);
            let nearest =
                refusing.and_then(|gate| oracle.nearest_miss_at(gate, source, destination, layer4));
            prop_assert_eq!(explanation.nearest_miss, nearest);
        }
    }

    /// Changing what the nearest miss says must admit the flow at that gate.
    #[test]
    fn mending_the_only_missed_field_admits_the_flow(policy in policy()) {
        use septum_rules::oracle::MissedField;
        use septum_rules::proto::Service;
        let oracle = Oracle::new(&policy, today());
        for (source, destination, layer4) in combinations(&policy, 100) {
            if oracle.decide(source, destination, layer4).verdict == Verdict::Deny(Refusal::Isolation) {
                continue;
            }
            let Some(miss) = oracle.nearest_miss(source, destination, layer4) else { continue };
            let Some(field) = miss.only_field() else { continue };
            let mut mended = policy.clone();
            let rule = &mut mended.rules[miss.rule.index()];
            match field {
                MissedField::From => rule.from = Selector::any(),
                MissedField::To => rule.to = Selector::any(),
                MissedField::Service => rule.services = vec![Service::ANY],
                MissedField::Except => rule.except.clear(),
                MissedField::Expired => rule.expires = None,
                MissedField::Side => rule.side = None,
                MissedField::Audit => rule.audit = false,
                MissedField::Overruled(_) => continue,
            }
            let decision = Oracle::new(&mended, today()).gate(miss.gate, source, destination, layer4);
            prop_assert!(decision.admits && decision.decider == Decider::Rule(miss.rule), "{:?}", field);
        }
    }

    #[test]
    fn reach_asks_every_ordered_pair_of_different_workloads_once(policy in policy()) {
        let oracle = Oracle::new(&policy, today());
        let classifier = Classifier::build(&policy, today()).unwrap();
        let workloads = || Classifier::workload_parties(&policy);
        let packets = packets(&policy);
        let asked = &packets[..packets.len().min(3)];
        let mut rows = 0;
        for row in classifier.reach(workloads(), workloads(), asked.iter().copied()) {
            let expected = oracle.decide(row.source, row.destination, row.layer4);
            prop_assert_eq!(row.entry.verdict, expected.verdict);
            prop_assert_ne!(row.source.endpoint, row.destination.endpoint);
            rows += 1;
        }
        let count = policy.workloads.len();
        prop_assert_eq!(rows, count * (count - 1) * asked.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Up to which area rules are narrow decides where a pair's program stands, never what it says.
    #[test]
    fn both_forms_of_pairs_say_the_same(policy in policy(), area in area()) {
        let (matrix, mixed) = (build(&policy, 0), build(&policy, area));
        prop_assert_eq!(mixed.identity_count(), matrix.identity_count());
        for (source, destination, layer4) in combinations(&policy, 2_000) {
            let verdict = |classifier: &Classifier| classifier.decide(source, destination, layer4);
            prop_assert_eq!(verdict(&mixed), verdict(&matrix), "{:?} -> {:?} {}", source, destination, layer4);
        }
    }

    /// Rules from one workload to another: what the table is for, with wide rules above and below.
    #[test]
    fn rules_between_single_workloads_stand_in_the_table(
        policy in policy(),
        rules in proptest::collection::vec(rule(), 1..4),
    ) {
        let mut policy = policy;
        let single = |at: usize| {
            let values = vec![format!("workload{at}").into()];
            let requirement = Requirement { key: "name".into(), operator: Operator::In(values) };
            let expression = LabelExpression { requirements: vec![requirement] };
            Selector { alternatives: vec![Alternative::Labels(expression)] }
        };
        for from_at in 0..policy.workloads.len() {
            for to_at in 0..policy.workloads.len() {
                let name = format!("single-{from_at}-{to_at}").into();
                let (from, to) = (single(from_at), single(to_at));
                let rule = rules[(from_at + 3 * to_at) % rules.len()].clone();
                policy.rules.push(Rule { name, from, to, audit: false, expires: None, ..rule });
            }
        }
        let oracle = Oracle::new(&policy, today());
        let classifier = build(&policy, 4);
        for (source, destination, layer4) in combinations(&policy, 2_000) {
            prop_assert_eq!(
                classifier.decide(source, destination, layer4),
                oracle.decide(source, destination, layer4),
                "{:?} -> {:?} {}", source, destination, layer4
            );
        }
    }
}

/// The wide baseline rule comes too late for every pair, but for those that a narrow rule passes on.
#[test]
fn a_narrow_pass_gives_later_wide_rules_their_turn() {
    let text = r#"
        version = 1
        segment.lan.subnet = ["10.0.0.0/24"]
        workload.a = { segment = "lan", tap = "a", mac = "02:00:00:00:00:01", ip = ["10.0.0.1"] }
        workload.b = { segment = "lan", tap = "b", mac = "02:00:00:00:00:02", ip = ["10.0.0.2"] }
        [[rule]]
        name = "aside"
        priority = 1
        from = "name=a"
        to = "name=b"
        pass = ["any"]
        [[rule]]
        name = "all"
        from = "any"
        to = "any"
        allow = ["any"]
        [[rule]]
        name = "late"
        tier = "baseline"
        from = "any"
        to = "any"
        deny = ["any"]
    "#;
    let policy = septum_rules::load::load_text("policy.toml", text).unwrap().policy;
    let oracle = Oracle::new(&policy, today());
    for area in [0, 1, u64::MAX] {
        let classifier = build(&policy, area);
        for (source, destination, layer4) in combinations(&policy, 10_000) {
            let expected = oracle.decide(source, destination, layer4);
            assert_eq!(classifier.decide(source, destination, layer4), expected, "{area}");
        }
    }
}
