//! The proof of the proof: objects of which one cell was spoiled.
//!
//! *Small*: in a universe of 8-bit addresses and 4-bit ports every address and every packet is looked up, one by one, in
//! the spoiled object, so that it is known of each of 10,000 corruptions whether it matters there. All that matter must
//! be refused, and no other. *Large*: of objects of all addresses and ports, 10,000 corruptions that the reference
//! evaluator shows at an edge of the policy must all be refused.
//!
//! The lookups here go the readers' way, step by step, and stop where a reader would leave a table or not end.
//! `SEPTUM_CORRUPTIONS` makes it as many times more.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroUsize;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use septum_rules::endpoint::{Endpoint, Party};
use septum_rules::identity::WorkloadId;
use septum_rules::oracle::Oracle;
use septum_rules::policy::Policy;
use septum_rules::proto::{Layer4, Protocol};

use super::source::Scope;
use super::{Answer, Budget, ProofError};
use crate::cells::Chance;
use crate::rule_trie::Program;
use crate::{Builder, Classifier, policies};

const ALL: Budget = Budget(u64::MAX);

/// How many corruptions are tried.
fn corruptions() -> usize {
    let times = std::env::var("SEPTUM_CORRUPTIONS").ok().and_then(|times| times.parse().ok());
    10_000 * times.unwrap_or(1)
}

/// Policies that come back with their seed.
struct Policies {
    runner: TestRunner,
}

impl Policies {
    fn new(seed: u8) -> Self {
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
        Self { runner: TestRunner::new_with_rng(Config::default(), rng) }
    }

    fn next(&mut self) -> Policy {
        policies::policy().new_tree(&mut self.runner).expect("a policy").current()
    }
}

/// Everybody and every packet that is asked about, with what the policy's object, which is proved, says of them.
struct World {
    parties: Vec<Party>,
    packets: Vec<Layer4>,
    /// By packet: equal numbers for packets that no service of the policy tells apart.
    packet_kinds: Vec<u32>,
    /// By party: likewise for the evaluator's selectors.
    party_kinds: Vec<u32>,
    /// By kinds of source, destination and packet: the answer.
    meant: HashMap<[u32; 3], Answer>,
}

/// What is read of a spoiled object.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Read<T> {
    kind: u32,
    value: Option<T>,
}

fn numbers<T: Eq + std::hash::Hash>(keys: impl Iterator<Item = T>) -> Vec<u32> {
    let mut known = HashMap::new();
    keys.map(|key| {
        let next = known.len() as u32;
        *known.entry(key).or_insert(next)
    })
    .collect()
}

/// The lowest place of each distinct reading.
fn distinct<T: Copy + Eq + std::hash::Hash>(kinds: &[u32], values: Vec<Option<T>>) -> Vec<(usize, Read<T>)> {
    let mut known = HashSet::new();
    let reads = kinds.iter().zip(values).map(|(kind, value)| Read { kind: *kind, value });
    reads.enumerate().filter(|(_, read)| known.insert(*read)).collect()
}

impl World {
    fn new(policy: &Policy, classifier: &Classifier, parties: Vec<Party>, packets: Vec<Layer4>) -> Self {
        let oracle = Oracle::new(policy, classifier.now());
        let selectors = || {
            let holes = policy.rules.iter().flat_map(|rule| &rule.except);
            let holes = holes.flat_map(|hole| [&hole.from, &hole.to]);
            policy.rules.iter().flat_map(|rule| [&rule.from, &rule.to]).chain(holes)
        };
        let services = || {
            let holes = policy.rules.iter().flat_map(|rule| &rule.except).flat_map(|hole| &hole.services);
            policy.rules.iter().flat_map(|rule| &rule.services).chain(holes)
        };
        let party_kinds = numbers(parties.iter().map(|party| {
            let owner = match party.endpoint {
                Endpoint::Gateway(_) => Endpoint::Gateway(septum_rules::identity::SegmentId(0)),
                other => other,
            };
            let satisfied = selectors().map(|selector| oracle.selector_matches(selector, *party));
            (owner, satisfied.collect::<Vec<bool>>())
        }));
        let packet_kinds = numbers(
            packets
                .iter()
                .map(|layer4| services().map(|service| service.matches(*layer4)).collect::<Vec<bool>>()),
        );
        let mut world = Self { parties, packets, packet_kinds, party_kinds, meant: HashMap::new() };
        let no_values = |count| vec![None::<u32>; count];
        let sources = distinct(&world.party_kinds, no_values(world.parties.len()));
        let packets = distinct(&world.packet_kinds, no_values(world.packets.len()));
        for (source, from) in &sources {
            for (destination, to) in &sources {
                for (packet, kind) in &packets {
                    let (source, destination) = (world.parties[*source], world.parties[*destination]);
                    let layer4 = world.packets[*packet];
                    let ends = [source, destination].map(|party| classifier.identify_party(party));
                    let verdict = classifier.lookup(ends[0], ends[1], layer4);
                    let answer = classifier.answer(Some(verdict.0)).expect("a sound object answers");
                    assert_eq!(answer.decision, oracle.decide(source, destination, layer4));
                    world.meant.insert([from.kind, to.kind, kind.kind], answer);
                }
            }
        }
        world
    }

    /// A packet for which a spoiled object says something else, with what is meant: every party and every packet is
    /// looked up, then every pair of readings that differ.
    fn difference(&self, spoiled: &Classifier) -> Option<(Party, Party, Layer4, &Answer)> {
        let identities = self.parties.iter().map(|party| identity(spoiled, *party)).collect();
        let classes = self.packets.iter().map(|layer4| class(spoiled, *layer4)).collect();
        let ends = distinct(&self.party_kinds, identities);
        let packets = distinct(&self.packet_kinds, classes);
        for (source, from) in &ends {
            for (destination, to) in &ends {
                let program = from.value.zip(to.value).and_then(|(from, to)| program(spoiled, from, to));
                for (packet, read) in &packets {
                    let meant = &self.meant[&[from.kind, to.kind, read.kind]];
                    let verdict =
                        program.zip(read.value).and_then(|(program, class)| verdict(spoiled, program, class));
                    if !spoiled.answers(verdict, meant) {
                        let (source, destination) = (self.parties[*source], self.parties[*destination]);
                        return Some((source, destination, self.packets[*packet], meant));
                    }
                }
            }
        }
        None
    }
}

/// [`Classifier::identify_party`], as far as it leads.
fn identity(classifier: &Classifier, party: Party) -> Option<u32> {
    let addresses = &classifier.addresses;
    let by_address = |address: IpAddr| match address {
        IpAddr::V4(address) => addresses.ipv4.step(address.to_bits()),
        IpAddr::V6(address) => addresses.ipv6.step(address.to_bits()),
    };
    match (party.endpoint, party.address) {
        (Endpoint::Init, _) => Some(classifier.init_identity().0),
        (Endpoint::Workload(id), address) => {
            let without = addresses.workloads[id.index()];
            match address {
                None => Some(without.none.0),
                Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) => Some(without.unspecified_ipv4.0),
                Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)) => Some(without.unspecified_ipv6.0),
                Some(address) => by_address(address),
            }
        }
        (_, Some(address)) => by_address(address),
        (Endpoint::Gateway(_), None) => Some(addresses.gateway.0),
        (Endpoint::World, None) => Some(addresses.world.0),
    }
}

fn class(classifier: &Classifier, layer4: Layer4) -> Option<u32> {
    classifier.layer4.step(layer4)
}

fn program(classifier: &Classifier, source: u32, destination: u32) -> Option<Program> {
    let trie = &classifier.trie;
    trie.program_between(trie.source_end(source)?, trie.destination_end(destination)?)
}

fn verdict(classifier: &Classifier, program: Program, class: u32) -> Option<u32> {
    let mut said = None;
    classifier.trie.verdicts(program, class, 1, |_, verdict| said = verdict);
    said
}

/// Asserts that a refusal's witness is one, by the evaluator and by lookups in the spoiled object.
fn assert_witness(policy: &Policy, spoiled: &Classifier, error: ProofError, table: &str) {
    let ProofError::Mismatch(witness) = error else { panic!("{table}: {error}") };
    let oracle = Oracle::new(policy, spoiled.now());
    assert_eq!(witness.meant.decision, oracle.decide(witness.source, witness.destination, witness.layer4));
    let ends = identity(spoiled, witness.source).zip(identity(spoiled, witness.destination));
    let program = ends.and_then(|(from, to)| program(spoiled, from, to));
    let class = class(spoiled, witness.layer4);
    let verdict = program.zip(class).and_then(|(program, class)| verdict(spoiled, program, class));
    assert_eq!(spoiled.answer(verdict), witness.compiled, "{table}");
    assert_ne!(Some(witness.meant), witness.compiled, "{table}");
}

/// Every form in which pairs are kept.
fn compiled(policy: &Policy, round: usize) -> Classifier {
    let area = [0, 2, 16, u64::MAX][round % 4];
    Builder::new(policy, policies::today()).narrow_up_to(area).build().expect("within limits")
}

#[test]
fn in_a_small_universe_exactly_what_matters_is_refused() {
    // 10.0.1.0 to 10.0.1.255; TCP to UDP; ports 0 to 15.
    let first = u32::from_be_bytes([10, 0, 1, 0]);
    let scope =
        Scope { addresses: [(first.into(), (first + 255).into()), (1, 0)], protocols: 6..=17, last_port: 15 };
    const EACH: usize = 500;
    let (mut policies, mut chance) = (Policies::new(1), Chance(1));
    let (mut tried, mut mattered) = (0, 0);
    for round in 0.. {
        if tried >= corruptions() {
            break;
        }
        let mut policy = policies.next();
        shrink_ports(&mut policy);
        let sound = compiled(&policy, round);
        sound.prove(&policy, ALL).expect("a sound object is proved");
        let oracle = Oracle::new(&policy, sound.now());
        let mut parties: Vec<Party> =
            (first..=first + 255).map(|bits| oracle.party(Ipv4Addr::from_bits(bits).into())).collect();
        parties.extend(without_address(&policy));
        let packets = (6..=17_u8).flat_map(|protocol| {
            (0..=255_u16).map(move |ports| Layer4::ports(Protocol(protocol), ports >> 4, ports & 15))
        });
        let world = World::new(&policy, &sound, parties, packets.collect());
        assert!(world.difference(&sound).is_none());
        for _ in 0..EACH {
            let mut spoiled = sound.clone();
            let table = spoiled.spoil(&mut chance);
            let difference = world.difference(&spoiled);
            match (spoiled.prove_within(&policy, scope.clone(), ALL, NonZeroUsize::MIN), difference) {
                (Ok(_), None) => {}
                (Err(error), Some(_)) => {
                    mattered += 1;
                    assert_witness(&policy, &spoiled, error, table);
                }
                (Ok(_), Some(difference)) => panic!("{table}: round {round}: not refused: {difference:?}"),
                (Err(error), None) => panic!("{table}: round {round}: refused for nothing: {error}"),
            }
            tried += 1;
        }
    }
    eprintln!("{tried} corruptions in a small universe: {mattered} mattered and were refused, no other was");
    assert!(mattered * 10 > tried, "{mattered} of {tried}");
}

#[test]
fn what_the_evaluator_shows_in_a_large_object_is_refused() {
    let (mut policies, mut chance) = (Policies::new(2), Chance(2));
    let (mut tried, mut shown, mut refused) = (0, 0, 0);
    for round in 0.. {
        if shown >= corruptions() {
            break;
        }
        let policy = policies.next();
        let sound = compiled(&policy, round);
        sound.prove(&policy, ALL).expect("a sound object is proved");
        let (parties, packets) = (policies::parties(&policy), policies::packets(&policy));
        let world = World::new(&policy, &sound, parties, packets);
        for _ in 0..500 {
            let mut spoiled = sound.clone();
            let table = spoiled.spoil(&mut chance);
            let difference = world.difference(&spoiled);
            tried += 1;
            shown += usize::from(difference.is_some());
            match spoiled.prove(&policy, ALL) {
                Ok(_) => assert!(difference.is_none(), "{table}: round {round}: {difference:?}"),
                Err(error) => {
                    refused += 1;
                    assert_witness(&policy, &spoiled, error, table);
                }
            }
        }
    }
    eprintln!(
        "{tried} corruptions of large objects: {shown} shown, all refused; {refused} refused, each with a witness"
    );
}

/// Ports of four bits, so that more of the policy lies in the small universe.
fn shrink_ports(policy: &mut Policy) {
    use septum_rules::port_range::PortRange;
    let shrink = |range: &mut PortRange| {
        let (first, last) = (range.first(), range.last());
        if *range != PortRange::ALL {
            let first = first & 15;
            let last = if last == u16::MAX { last } else { (last & 15).max(first) };
            *range = PortRange::new(first, last).expect("in order");
        }
    };
    for rule in &mut policy.rules {
        let holes = rule.except.iter_mut().flat_map(|hole| &mut hole.services);
        for service in rule.services.iter_mut().chain(holes) {
            shrink(&mut service.source);
            shrink(&mut service.destination);
        }
    }
}

/// Those that no address of the small universe is.
fn without_address(policy: &Policy) -> Vec<Party> {
    let unspecified = [Some(IpAddr::from(Ipv4Addr::UNSPECIFIED)), Some(Ipv6Addr::UNSPECIFIED.into()), None];
    let workloads = (0..policy.workloads.len() as u32).map(|at| Endpoint::Workload(WorkloadId(at)));
    let mut parties: Vec<Party> =
        workloads.flat_map(|endpoint| unspecified.map(|address| Party { endpoint, address })).collect();
    let gateway = Endpoint::Gateway(septum_rules::identity::SegmentId(0));
    parties
        .extend([Endpoint::World, Endpoint::Init, gateway].map(|endpoint| Party { endpoint, address: None }));
    parties
}
