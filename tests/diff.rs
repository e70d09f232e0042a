//! What `Comparison` reports, against the reference evaluator: every packet that it shows differs, and every packet
//! that differs lies in what it reports.
//!
//! `SEPTUM_DIFF_PAIRS` (policy pairs, 1,000 unless given, of which each gets `SEPTUM_DIFF_PACKETS` packets) sets the
//! size; `SEPTUM_SEED` the seed. The full size:
//!
//! ```text
//! SEPTUM_DIFF_PACKETS=100000 cargo test --release -p septum-classifier --test diff -- --nocapture what_is_reported
//! ```

#[path = "support/policies.rs"]
#[allow(dead_code, reason = "shared with other tests, which use the rest")]
mod policies;

#[path = "support/random.rs"]
mod random;

#[path = "diff/changes.rs"]
mod changes;
#[path = "diff/names.rs"]
mod names;
#[path = "diff/small.rs"]
mod small;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};

use changes::changed;
use policies::{packets, parties, policy, today};
use proptest::strategy::{Strategy, ValueTree};
use random::{Random, part_of, runner, size};
use septum_classifier::diff::{ChangedRegion, Comparison, DecidedBy, Difference, GateJudgement, Judgement};
use septum_classifier::{Budget, Classifier};
use septum_rules::endpoint::{Endpoint, Party};
use septum_rules::oracle::Oracle;
use septum_rules::policy::Policy;
use septum_rules::proto::{Layer4, Protocol};
use septum_rules::verdict::{Decider, Decision, GateDecision};

fn differ(before: &Policy, after: &Policy, deciders: bool) -> Difference {
    let [old, new] = [before, after].map(|policy| Classifier::build(policy, today()).expect("within limits"));
    let comparison = Comparison::new(&old, before, &new, after).deciders(deciders);
    comparison.run().expect("within the budget")
}

/// What a comparison looks at.
fn compared(policy: &Policy, decision: &Decision, deciders: bool) -> impl PartialEq + std::fmt::Debug {
    let rule = |gate: &GateDecision| gate.rule().map(|rule| policy.rules[rule.index()].name.to_string());
    let deciders = deciders.then(|| (rule(&decision.egress), rule(&decision.ingress)));
    (decision.verdict, decision.egress.admits, decision.ingress.admits, deciders)
}

/// What a region says must be what the evaluator says of a packet in it.
fn agrees(told: Judgement, decision: &Decision) -> bool {
    let gate = |told: GateJudgement, gate: &GateDecision| {
        told.admits == gate.admits && told.decided_by.is_none_or(|by| by == DecidedBy::from(gate.decider))
    };
    told.verdict == decision.verdict
        && gate(told.egress, &decision.egress)
        && gate(told.ingress, &decision.ingress)
}

/// Whether such a packet can be on a wire.
fn exists(ends: [[Party; 2]; 2], layer4: Layer4) -> bool {
    let [source, destination] = ends;
    let is_one = |side: usize| {
        matches!(source[side].endpoint, Endpoint::Workload(_))
            && source[side].endpoint == destination[side].endpoint
    };
    let is_self = source == destination || is_one(0) && is_one(1);
    let families = [source[0].address, destination[0].address].map(|it| it.map(|it| it.is_ipv4()));
    let fits = |ipv4: bool| match layer4.protocol {
        Protocol::ICMP => ipv4,
        Protocol::ICMPV6 => !ipv4,
        _ => true,
    };
    let one_family = families[0].zip(families[1]).is_none_or(|(one, other)| one == other);
    !is_self && one_family && families.into_iter().flatten().all(fits)
}

struct Pair<'p> {
    policies: [&'p Policy; 2],
    oracles: [Oracle<'p>; 2],
    deciders: bool,
}

impl<'p> Pair<'p> {
    fn new(before: &'p Policy, after: &'p Policy, deciders: bool) -> Self {
        let oracles = [Oracle::new(before, today()), Oracle::new(after, today())];
        Self { policies: [before, after], oracles, deciders }
    }

    fn decide(&self, ends: [[Party; 2]; 2], layer4: Layer4) -> [Decision; 2] {
        let [source, destination] = ends;
        [0, 1].map(|side| self.oracles[side].decide(source[side], destination[side], layer4))
    }

    fn differs(&self, decisions: &[Decision; 2]) -> bool {
        let [old, new] = [0, 1].map(|side| compared(self.policies[side], &decisions[side], self.deciders));
        old != new
    }

    fn at(&self, address: IpAddr) -> [Party; 2] {
        [0, 1].map(|side| self.oracles[side].party(address))
    }

    /// Every witness differs, and is as its region says.
    fn check_witnesses(&self, difference: &Difference) {
        for region in &difference.regions {
            let witness = region.witness;
            let ends = [witness.source, witness.destination];
            assert!(exists(ends, witness.layer4), "{region:?}");
            for (end, set) in ends.into_iter().zip([&region.from, &region.to]) {
                let Some(address) = end[0].address else { continue };
                assert_eq!(end, self.at(address), "{region:?}");
                assert!(set.members.iter().any(|member| member.contains(address)), "{region:?}");
            }
            assert!(region.services.contains(witness.layer4), "{region:?}");
            let decisions = self.decide(ends, witness.layer4);
            assert!(self.differs(&decisions), "{region:?}: {decisions:?}");
            assert!(agrees(region.before, &decisions[0]), "{region:?}: {decisions:?}");
            assert!(agrees(region.after, &decisions[1]), "{region:?}: {decisions:?}");
        }
    }

    /// A packet that differs lies in exactly one region, which says what becomes of it; one that does not in none. Whether
    /// it differs.
    fn check_packet(
        &self,
        difference: &Difference,
        source: IpAddr,
        destination: IpAddr,
        layer4: Layer4,
    ) -> bool {
        let ends = [self.at(source), self.at(destination)];
        if !exists(ends, layer4) {
            return false;
        }
        let decisions = self.decide(ends, layer4);
        let holds = |region: &&ChangedRegion| region.contains(source, destination, layer4);
        let regions: Vec<&ChangedRegion> = difference.regions.iter().filter(holds).collect();
        let told = || format!("{source} -> {destination} {layer4:?}: {decisions:?}, {regions:?}");
        let differs = self.differs(&decisions);
        assert_eq!(regions.len(), usize::from(differs), "{}", told());
        for region in &regions {
            assert!(
                agrees(region.before, &decisions[0]) && agrees(region.after, &decisions[1]),
                "{}",
                told()
            );
        }
        differs
    }
}

/// Addresses at and beside every edge of both policies, and packets at and beside every edge of their services.
fn boundaries(pair: &Pair<'_>) -> (Vec<IpAddr>, Vec<Layer4>) {
    let mut addresses: Vec<IpAddr> = pair
        .policies
        .iter()
        .flat_map(|policy| parties(policy))
        .filter(|party| !matches!(party.endpoint, Endpoint::Init))
        .filter_map(|party| party.address)
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    let mut layer4: Vec<Layer4> = pair.policies.iter().flat_map(|policy| packets(policy)).collect();
    layer4.sort_unstable();
    layer4.dedup();
    (addresses, layer4)
}

/// Compares the pair of that number, and looks at so many packets of it. How many regions differ, and how many packets did.
fn check_pair(seed: u64, number: usize, count: usize) -> (usize, usize) {
    let mut runner = part_of(seed, number as u64);
    let before = policy().new_tree(&mut runner).expect("a policy").current();
    let other = policy().new_tree(&mut runner).expect("a policy").current();
    let mut random = Random::new(&mut runner);
    // Most changes are small; some pairs have nothing in common.
    let after = if number.is_multiple_of(4) { other } else { changed(&before, &other, &mut random) };
    let pair = Pair::new(&before, &after, number.is_multiple_of(3));
    let difference = differ(&before, &after, pair.deciders);
    pair.check_witnesses(&difference);
    let (addresses, packets) = boundaries(&pair);
    let mut differing = 0;
    for at in 0..count {
        // Half at the boundaries, half anywhere.
        let mut address = |other: Option<IpAddr>| match random.below(2) + at % 2 {
            0 => {
                let bits = u128::from(random.next()) << 64 | u128::from(random.next());
                let ipv4 = other.map_or(bits & 1 == 0, |other| other.is_ipv4());
                if ipv4 { Ipv4Addr::from_bits(bits as u32).into() } else { Ipv6Addr::from_bits(bits).into() }
            }
            _ => addresses[random.below(addresses.len())],
        };
        let source = address(None);
        let mut destination = address(Some(source));
        while destination.is_ipv4() != source.is_ipv4() {
            destination = address(Some(source));
        }
        let layer4 = match random.below(3) {
            0 => Layer4::ports(Protocol::TCP, random.next() as u16, random.next() as u16),
            _ => packets[random.below(packets.len())],
        };
        differing += usize::from(pair.check_packet(&difference, source, destination, layer4));
    }
    (difference.regions.len(), differing)
}

#[test]
fn what_is_reported_differs_and_what_differs_is_reported() {
    let (pairs, count) = (size("SEPTUM_DIFF_PAIRS", 1_000), size("SEPTUM_DIFF_PACKETS", 500));
    let seed = size("SEPTUM_SEED", 1) as u64;
    eprintln!("SEPTUM_SEED={seed}");
    let next = AtomicUsize::new(0);
    let take_pairs = || {
        let numbers = std::iter::from_fn(|| {
            let number = next.fetch_add(1, Ordering::Relaxed);
            (number < pairs).then_some(number)
        });
        numbers.map(|number| check_pair(seed, number, count)).collect::<Vec<_>>()
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let found: Vec<(usize, usize)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(take_pairs)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no pair fails")).collect()
    });
    let regions: usize = found.iter().map(|(regions, _)| regions).sum();
    let differing = found.iter().filter(|(regions, _)| *regions > 0).count();
    let packets: usize = found.iter().map(|(_, packets)| packets).sum();
    println!(
        "{pairs} pairs of policies, of which {differing} differ, in {regions} regions; {count} packets each, of which {packets} \
         differ, each in one region that says what becomes of it"
    );
    // The pairs are worth comparing.
    assert!(
        regions > pairs && differing * 2 > pairs,
        "{regions} regions, {differing} of {pairs} pairs differ"
    );
}

#[test]
fn equal_policies_do_not_differ_and_order_is_no_difference() {
    let mut runner = runner(7);
    for _ in 0..100 {
        let before = policy().new_tree(&mut runner).expect("a policy").current();
        let mut after = before.clone();
        after.rules.reverse();
        after.workloads.reverse();
        for deciders in [false, true] {
            let difference = differ(&before, &after, deciders);
            assert!(difference.is_empty(), "{:?}", difference.regions);
        }
    }
}

#[test]
fn a_budget_that_is_too_small_says_so() {
    let mut runner = runner(8);
    let policy = policy().new_tree(&mut runner).expect("a policy").current();
    let classifier = Classifier::build(&policy, today()).expect("within limits");
    let comparison = Comparison::new(&classifier, &policy, &classifier, &policy);
    let error = comparison.budget(Budget(10)).run().expect_err("it is small");
    assert!(error.to_string().contains("budget of 10 steps"), "{error}");
}

#[test]
fn deciders_are_compared_by_name() {
    assert_eq!(DecidedBy::from(Decider::Default), DecidedBy::Default);
    let mut runner = runner(9);
    let mut renamed = 0;
    for _ in 0..50 {
        let before = policy().new_tree(&mut runner).expect("a policy").current();
        let mut after = before.clone();
        for rule in &mut after.rules {
            rule.name = format!("{} again", rule.name).into();
        }
        assert!(differ(&before, &after, false).is_empty());
        renamed += differ(&before, &after, true).regions.len();
    }
    assert!(renamed > 0);
}
