//! The proof of the region's proof: overlays of which one cell was spoiled before the change was proved.
//!
//! *Pairs*: what a rule's change wrote (rows, programs, verdicts, lists of audited rules) is spoiled, one cell at a time, and
//! every packet that old and new programs tell apart is looked up between everybody whom the change touches. What answers
//! otherwise must be refused, with a packet that shows it; nothing else may be. *Identities*: addresses, workloads,
//! twins and rows are spoiled where a label expression has told workloads apart, and identities where addresses have
//! changed hands. Whoever is answered otherwise must be refused.
//!
//! What this proof does not promise: pairs that the change did not touch, which are the object before by construction. A
//! row that is spoiled can hit them. The same proof, asked about every pair that has a program of its own, must see that; and
//! so would the whole proof after the next compile, as it sees what is wrong in tables (`proof::corruption`). Nor does it
//! look at those who are not described, whom no rule means, at identity keys, or at the day until which the
//! object is valid; `tests/update.rs` holds all answers and that day against a compile's.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use septum_rules::endpoint::{Endpoint, Party};
use septum_rules::identity::{IdentityId, RuleId, SegmentId, WorkloadId};
use septum_rules::oracle::Oracle;
use septum_rules::policy::Policy;
use septum_rules::proto::{Layer4, Protocol};

use super::region_proof::answer;
use super::rule::Split;
use super::{Change, UpdateError, Updater};
use crate::cells::{Cell, Chance, spoil_one};
use crate::overlay::Overlay;
use crate::{Answer, Classifier, VerdictId, policies};

#[path = "../../../tests/support/random.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with other tests, which use the rest")]
mod random;

const CORRUPTIONS: usize = 5_000;
/// Of one change.
const EACH: usize = 50;

/// Policies, and changes of them, that come back with their seed.
struct Changes {
    runner: TestRunner,
    chance: Chance,
}

impl Changes {
    fn new(seed: u64) -> Self {
        Self { runner: random::runner(seed), chance: Chance(seed) }
    }

    fn updater(&mut self) -> Updater {
        let policy = policies::policy().new_tree(&mut self.runner).expect("a policy").current();
        Updater::new(policy, policies::today()).expect("within limits")
    }

    /// A rule is added, replaced or put to rest; half of the new ones ask what others ask.
    fn of_a_rule(&mut self, policy: &Policy) -> (RuleId, Change) {
        let mut rule = policies::rule().new_tree(&mut self.runner).expect("a rule").current();
        let (count, kind) = (policy.rules.len(), self.chance.below(4));
        let id = RuleId(self.chance.below(count) as u32);
        if let Some(like) = policy.rules.get(self.chance.below(2 * count)) {
            (rule.from, rule.to) = (like.from.clone(), like.to.clone());
        }
        match kind {
            0 if count > 0 => (id, Change::RemoveRule(id)),
            1 if count > 0 => {
                rule.name = Arc::clone(&policy.rules[id.index()].name);
                (id, Change::ReplaceRule(id, rule))
            }
            _ => {
                rule.name = format!("added{count}").into();
                (RuleId(count as u32), Change::AddRule(rule))
            }
        }
    }
}

/// Somebody of every identity but that of those who are not described.
fn everybody(policy: &Policy) -> Vec<Party> {
    let mut parties = policies::parties(policy);
    parties.retain(|party| party.endpoint != Endpoint::Init);
    parties.push(Party { endpoint: Endpoint::Gateway(SegmentId(0)), address: None });
    // Between workloads that lie in the narrowest networks, one address can be all that is left of a part of the world.
    let oracle = Oracle::new(policy, policies::today());
    parties.extend((0..16).map(|host| oracle.party([10, 0, 1, host].into())));
    parties
}

/// An object with another overlay.
fn with(classifier: &Classifier, overlay: Overlay) -> Classifier {
    Classifier { tables: Arc::clone(&classifier.tables), overlay: Some(Arc::new(overlay)) }
}

/// The overlay with one cell of its pairs spoiled, and the table's name; `None` where it has no pairs.
fn spoiled(overlay: &Overlay, chance: &mut Chance) -> Option<(Overlay, &'static str)> {
    let mut spoiled = overlay.clone();
    let cells = spoiled.cells();
    let table = (!cells.is_empty()).then(|| spoil_one(cells, chance))?;
    Some((spoiled, table))
}

/// What an object says of a pair of identities, as far as lookups lead.
fn said(classifier: &Classifier, (source, destination): (u32, u32), layer4: Layer4) -> Option<Answer> {
    let verdict = match classifier.program_of_its_own(IdentityId(source), IdentityId(destination)) {
        Some(program) => program.step(layer4)?,
        None => {
            let [source, destination] = twins(classifier, (source, destination));
            let trie = &classifier.trie;
            let ends = (trie.source_end(source)?, trie.destination_end(destination)?);
            let program = trie.program_between(ends.0, ends.1)?;
            trie.verdict(program, classifier.layer4.class(layer4))
        }
    };
    answer(classifier, VerdictId(verdict))
}

fn twins(classifier: &Classifier, (source, destination): (u32, u32)) -> [u32; 2] {
    [source, destination].map(|end| classifier.overlay.as_ref().map_or(end, |overlay| overlay.twin(end)))
}

/// What is read of a pair in one object: the number of its own program, else the ends by which the tables are asked.
type Reading = Result<u32, [u32; 2]>;

fn reading(classifier: &Classifier, pair: (u32, u32)) -> Reading {
    let overlay = classifier.overlay.as_ref().expect("an updated object");
    overlay.pairs.number(pair.0, pair.1).ok_or_else(|| twins(classifier, pair))
}

/// Finds packets of which two objects say different things; pairs of which both read the same are compared once.
struct Differences<'a> {
    objects: [&'a Classifier; 2],
    known: HashMap<[Reading; 2], Option<Layer4>>,
}

impl<'a> Differences<'a> {
    fn between(sound: &'a Classifier, spoiled: &'a Classifier) -> Self {
        Self { objects: [sound, spoiled], known: HashMap::new() }
    }

    /// Of the pairs that these identities are in the one object and in the other.
    fn of(&mut self, pairs: [(u32, u32); 2]) -> Option<Layer4> {
        let objects = self.objects;
        let readings = [reading(objects[0], pairs[0]), reading(objects[1], pairs[1])];
        *self.known.entry(readings).or_insert_with(|| {
            packets(objects, pairs)
                .into_iter()
                .find(|layer4| said(objects[0], pairs[0], *layer4) != said(objects[1], pairs[1], *layer4))
        })
    }
}

/// A packet of every part at layer 4 that the programs of a pair in two objects tell apart.
fn packets(objects: [&Classifier; 2], pairs: [(u32, u32); 2]) -> BTreeSet<Layer4> {
    let programs = objects.into_iter().zip(pairs);
    let programs = programs
        .map(|(object, (from, to))| object.program_of_its_own(IdentityId(from), IdentityId(to)))
        .collect::<Vec<_>>();
    let asks_tables = programs.iter().any(|program| program.is_none());
    let classes = if asks_tables { &objects[0].representatives[..] } else { &[] };
    let sheets: Vec<_> = programs.into_iter().flatten().flat_map(|program| program.sheets()).collect();
    let named = sheets.iter().filter_map(|sheet| sheet.protocol);
    let mut protocols: BTreeSet<Protocol> = named.chain(classes.iter().map(|it| it.protocol)).collect();
    protocols.extend((0..=u8::MAX).map(Protocol).find(|protocol| !protocols.contains(protocol)));
    let mut packets = BTreeSet::new();
    for protocol in protocols {
        let (mut sources, mut destinations) = (BTreeSet::from([0]), BTreeSet::from([0]));
        for sheet in sheets.iter().filter(|sheet| sheet.protocol.is_none_or(|it| it == protocol)) {
            sources.extend(sheet.sources);
            destinations.extend(sheet.destinations);
        }
        for class in classes.iter().filter(|class| class.protocol == protocol) {
            sources.insert(class.source);
            destinations.insert(class.destination);
        }
        for source in sources {
            packets.extend(destinations.iter().map(|to| Layer4 { protocol, source, destination: *to }));
        }
    }
    packets
}

/// Every pair that has a program of its own in one of two objects.
fn pairs_of_their_own(objects: [&Classifier; 2], identities: &BTreeSet<u32>) -> Vec<(u32, u32)> {
    let rows = objects.into_iter().flat_map(|object| {
        let overlay = object.overlay.as_ref().expect("an updated object");
        let row = |source: &u32| (*source, overlay.pairs.row(*source));
        identities.iter().map(row).flat_map(|(from, row)| row.iter().map(move |(to, _)| (from, *to)))
    });
    rows.filter(|(_, destination)| identities.contains(destination))
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}

/// Asserts that a witness is one, by the evaluator and by lookups in the spoiled object.
fn assert_witness(policy: &Policy, spoiled: &Classifier, error: UpdateError, table: &str) {
    let UpdateError::Mismatch(witness) = error else { panic!("{table}: {error}") };
    let (source, destination, layer4) = (witness.source, witness.destination, witness.layer4);
    assert_eq!(
        witness.meant.decision,
        Oracle::new(policy, spoiled.now()).decide(source, destination, layer4)
    );
    let ends = [source, destination].map(|party| spoiled.identify_party(party).0);
    assert_eq!(said(spoiled, (ends[0], ends[1]), layer4), witness.compiled, "{table}");
    assert_ne!(Some(witness.meant), witness.compiled, "{table}");
}

#[test]
fn of_pairs_exactly_what_matters_is_refused() {
    let mut changes = Changes::new(1);
    let (mut tried, mut mattered, mut elsewhere) = (0, 0, 0);
    while tried < CORRUPTIONS {
        let mut updater = changes.updater();
        for _ in 0..4 {
            let (id, change) = changes.of_a_rule(updater.policy());
            let before = updater.rules.parts(id).cloned();
            match updater.apply(change) {
                Err(UpdateError::NeedsCompile(_)) => break,
                outcome => outcome.expect("a change"),
            };
            let touched = updater.touched(&[before.as_ref(), updater.rules.parts(id)]).expect("as before");
            let sound = updater.classifier().clone();
            assert!(updater.prove_pairs(&sound, &touched).is_ok());
            let parties = everybody(updater.policy());
            let identities = parties.iter().map(|party| sound.identify_party(*party).0).collect();
            for _ in 0..EACH {
                let Some((overlay, table)) = spoiled(&updater.overlay, &mut changes.chance) else { break };
                let spoiled = with(&sound, overlay);
                let all = pairs_of_their_own([&sound, &spoiled], &identities);
                let mut differences = Differences::between(&sound, &spoiled);
                let (inside, outside): (Vec<(u32, u32)>, Vec<_>) = all
                    .iter()
                    .filter(|pair| differences.of([**pair; 2]).is_some())
                    .partition(|pair| touched.contains(pair));
                tried += 1;
                match updater.prove_pairs(&spoiled, &touched) {
                    Ok(_) => assert!(inside.is_empty(), "{table}: not refused: {inside:?}"),
                    Err(error) => {
                        mattered += 1;
                        assert!(!inside.is_empty(), "{table}: refused for nothing: {error}");
                        assert_witness(updater.policy(), &spoiled, error, table);
                    }
                }
                if inside.is_empty() {
                    elsewhere += usize::from(!outside.is_empty());
                    assert_eq!(updater.prove_pairs(&spoiled, &all).is_err(), !outside.is_empty(), "{table}");
                }
            }
        }
    }
    eprintln!("{tried} corruptions: {mattered} mattered and were refused, {elsewhere} mattered elsewhere");
    assert!(mattered * 10 > tried && elsewhere > 0, "{mattered} and {elsewhere} of {tried}");
}

/// Who was told apart, and how many identities and which pairs there were before.
struct Learned {
    before: Classifier,
    split: Vec<Split>,
    overlay: Overlay,
}

impl Learned {
    /// Spoils one thing that was written to tell these apart.
    fn spoiled(&self, chance: &mut Chance) -> Option<(Overlay, &'static str)> {
        let mut overlay = self.overlay.clone();
        let first = overlay.first_identity;
        let count = first + overlay.identities.len() as u32;
        let Split { party, before, after } = self.split[chance.below(self.split.len())];
        let other =
            |known: u32, chance: &mut Chance| (known + 1 + chance.below(count as usize) as u32) % (count + 1);
        match (chance.below(3), party) {
            (0, Party { address: Some(address), .. }) if !address.is_unspecified() => {
                overlay.addresses.insert(address, other(after, chance));
                Some((overlay, "addresses"))
            }
            (0, Party { endpoint: Endpoint::Workload(id), .. }) => {
                let mut without = *overlay.workloads.get(&id.0)?;
                without.cells()[chance.below(3)].spoil(None, chance);
                overlay.workloads.insert(id.0, without);
                Some((overlay, "workloads"))
            }
            (1, _) => {
                let known = self.before.overlay.as_ref().map_or(0, |overlay| overlay.identities.len());
                let mut new: Vec<_> = overlay.identities.iter_mut().skip(known).collect();
                let at = chance.below(new.len());
                Cell::Word(&mut new.get_mut(at)?.0).spoil(Some(before.into()), chance);
                Some((overlay, "twins"))
            }
            _ => {
                let row = overlay.pairs.row(after);
                let (to, program) = *row.get(chance.below(row.len()))?;
                let programs = overlay.pairs.program_count() as u32;
                overlay.pairs.insert(after, &[(to, (program + 1) % programs)]);
                Some((overlay, "rows"))
            }
        }
    }

    /// Somebody who was told apart, and is told something else than before.
    fn difference(&self, spoiled: &Classifier, parties: &[Party]) -> Option<(Party, Party, Layer4)> {
        let mut differences = Differences::between(&self.before, spoiled);
        let identity = |classifier: &Classifier, party: Party| classifier.identify_party(party).0;
        for Split { party, .. } in &self.split {
            for other in parties {
                for (from, to) in [(*party, *other), (*other, *party)] {
                    let pairs = [&self.before, spoiled].map(|it| (identity(it, from), identity(it, to)));
                    if let Some(layer4) = differences.of(pairs) {
                        return Some((from, to, layer4));
                    }
                }
            }
        }
        None
    }
}

#[test]
fn whoever_was_told_apart_and_is_answered_otherwise_is_refused() {
    let mut changes = Changes::new(2);
    let (mut tried, mut mattered) = (0, 0);
    while tried < CORRUPTIONS {
        let mut updater = changes.updater();
        for _ in 0..4 {
            let (_, change) = changes.of_a_rule(updater.policy());
            if let Change::AddRule(rule) | Change::ReplaceRule(_, rule) = &change {
                let before = updater.candidate();
                if updater.learn(rule).is_err() {
                    break;
                }
                let learned =
                    Learned { before, split: updater.split.clone(), overlay: updater.overlay.clone() };
                let parties = policies::parties(updater.policy());
                assert!(learned.difference(&updater.candidate(), &parties).is_none());
                assert_eq!(updater.prove_split(), Ok(()));
                for _ in 0..if learned.split.is_empty() { 0 } else { EACH } {
                    let Some((overlay, table)) = learned.spoiled(&mut changes.chance) else { continue };
                    (updater.overlay, updater.split) = (overlay, learned.split.clone());
                    tried += 1;
                    let difference = learned.difference(&updater.candidate(), &parties);
                    match updater.prove_split() {
                        Ok(()) => assert!(difference.is_none(), "{table}: not refused: {difference:?}"),
                        Err(UpdateError::Identity(_)) => mattered += usize::from(difference.is_some()),
                        Err(error) => panic!("{table}: {error}"),
                    }
                }
                (updater.overlay, updater.split) = (learned.overlay, learned.split);
            }
            if updater.apply(change).is_err() {
                break;
            }
        }
    }
    eprintln!("{tried} corruptions: {mattered} mattered and were refused");
    assert!(mattered * 10 > tried, "{mattered} of {tried}");
}

#[test]
fn an_address_that_changed_hands_under_another_identity_is_refused() {
    let mut changes = Changes::new(3);
    let mut tried = 0;
    while tried < CORRUPTIONS {
        let mut updater = changes.updater();
        let workload = WorkloadId(changes.chance.below(updater.policy().workloads.len()) as u32);
        let segment = updater.policy().workloads[workload.index()].segment.0;
        let addresses = [format!("10.0.{segment}.77"), format!("fd00:{segment}::77")];
        let addresses = addresses.map(|text| text.parse().expect("an address"));
        if updater.apply(Change::SetAddresses(workload, addresses.to_vec())).is_err() {
            continue;
        }
        let count = updater.identities.identities.len();
        for address in addresses {
            let party = updater.party_at(address);
            assert_eq!(updater.prove_party(updater.classifier(), party), Ok(()));
            let right = updater.identity_at(address);
            for wrong in (0..count as u32 + 2).filter(|identity| *identity != right) {
                let mut overlay = updater.overlay.clone();
                overlay.addresses.insert(address, wrong);
                let spoiled = with(updater.classifier(), overlay);
                assert_eq!(updater.prove_party(&spoiled, party), Err(UpdateError::Identity(party)));
                tried += 1;
            }
        }
    }
}
