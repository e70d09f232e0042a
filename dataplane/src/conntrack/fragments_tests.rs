//! Fragments in every order, against a model that keeps them all.

use std::net::IpAddr;

use proptest::prelude::*;
use septum_rules::conntrack::ConntrackSettings;
use septum_rules::flow_key::FlowKey;
use septum_rules::identity::DomainId;
use septum_rules::proto::{Layer4, Protocol};

use super::*;

const OWNER: u16 = 3;

fn table() -> FragmentTable {
    FragmentTable::new(64, 16)
}

fn key(identification: u32) -> (ConnectionKey, u64) {
    let flow = FlowKey {
        domain: DomainId(0),
        source: IpAddr::from([10, 0, 0, 1]),
        destination: IpAddr::from([10, 0, 0, 2]),
        layer4: Layer4::bare(Protocol::UDP),
    };
    // Consecutive buckets, so that tests know which are full.
    (ConnectionKey::of_fragments(&flow, identification), u64::from(identification) * 8)
}

/// Bytes from `start` to `end`.
fn piece(start: u16, end: u16, more: bool) -> Fragment {
    Fragment { identification: 0, offset: start, more, length: end - start }
}

fn terms(fragments: u32) -> Terms {
    Terms::new(&ConntrackSettings { fragments_per_workload: fragments, ..ConntrackSettings::default() })
}

fn put(table: &FragmentTable, identification: u32, piece: &Fragment) -> Result<(), Unfollowed> {
    put_at(table, identification, piece, Tick(1), &terms(100))
}

fn put_at(
    table: &FragmentTable,
    identification: u32,
    piece: &Fragment,
    now: Tick,
    terms: &Terms,
) -> Result<(), Unfollowed> {
    let (key, hash) = key(identification);
    match piece.offset {
        0 => table.open(&key, hash, piece, (1, 42), OWNER, terms, now),
        _ => table.follow(&key, hash, piece, 1, now).map(|verdict| assert_eq!(verdict, Some(42))),
    }
}

#[test]
fn a_packet_that_is_complete_is_forgotten() {
    let table = table();
    let later = [piece(1480, 2960, true), piece(2960, 3001, false)];
    for order in [[0, 1], [1, 0]] {
        assert_eq!(put(&table, 1, &later[0]), Err(Unfollowed::Untracked), "the first comes first");
        assert_eq!(put(&table, 1, &piece(0, 1480, true)), Ok(()));
        assert_eq!(table.count(), 1);
        for at in order {
            assert_eq!(put(&table, 1, &later[at]), Ok(()));
        }
        assert_eq!(table.count(), 0);
        assert_eq!(put(&table, 1, &later[0]), Err(Unfollowed::Untracked));
    }
}

#[test]
fn a_duplicate_is_dropped_and_an_overlap_ends_the_packet() {
    for (overlapping, expected) in [
        (piece(1480, 2960, true), Unfollowed::Duplicate),
        (piece(0, 1480, true), Unfollowed::Duplicate),
        (piece(1472, 2960, true), Unfollowed::Overlap),
        (piece(1480, 2952, true), Unfollowed::Overlap),
        (piece(1480, 2968, true), Unfollowed::Overlap),
        (piece(1488, 2960, true), Unfollowed::Overlap),
        (piece(8, 16, true), Unfollowed::Overlap),
        (piece(0, 1472, true), Unfollowed::Overlap),
        (piece(0, 2960, true), Unfollowed::Overlap),
        (piece(1480, 4000, false), Unfollowed::Overlap),
        // An end before what has been seen.
        (piece(1480, 2000, false), Unfollowed::BeyondEnd),
    ] {
        let table = table();
        put(&table, 1, &piece(0, 1480, true)).unwrap();
        put(&table, 1, &piece(1480, 2960, true)).unwrap();
        assert_eq!(put(&table, 1, &overlapping), Err(expected), "{overlapping:?}");
        let honest = put(&table, 1, &piece(2960, 3000, false));
        assert_eq!(honest.is_ok(), expected == Unfollowed::Duplicate, "{overlapping:?}");
        // Another packet of the same entry has none of its bits.
        if honest.is_err() {
            put(&table, 1, &piece(0, 1480, true)).unwrap_err();
            let much_later = Tick(1000);
            assert_eq!(put_at(&table, 1, &piece(0, 1480, true), much_later, &terms(100)), Ok(()));
            assert_eq!(put_at(&table, 1, &piece(1480, 2960, false), much_later, &terms(100)), Ok(()));
            assert_eq!(table.count(), 0);
        }
    }
}

#[test]
fn nothing_lies_behind_the_last() {
    for (after_last, expected) in [
        (piece(3000, 3008, true), Unfollowed::BeyondEnd),
        (piece(2960, 3000, true), Unfollowed::BeyondEnd),
        (piece(2960, 4000, false), Unfollowed::BeyondEnd),
        (piece(65_000, 65_515, false), Unfollowed::BeyondEnd),
        (piece(2960, 3000, false), Unfollowed::Duplicate),
    ] {
        let table = table();
        put(&table, 1, &piece(0, 1480, true)).unwrap();
        put(&table, 1, &piece(2960, 3000, false)).unwrap();
        assert_eq!(put(&table, 1, &after_last), Err(expected), "{after_last:?}");
    }
}

#[test]
fn time_and_a_new_policy_end_a_packet() {
    let (table, terms) = (table(), terms(100));
    put(&table, 1, &piece(0, 800, true)).unwrap();
    let late = Tick(1 + 30 * Tick::PER_SECOND);
    assert_eq!(put_at(&table, 1, &piece(800, 1600, true), late, &terms), Ok(()), "at the last moment");
    let too_late = late.plus(1);
    assert_eq!(put_at(&table, 1, &piece(1600, 1608, true), too_late, &terms), Err(Unfollowed::Untracked));
    put_at(&table, 1, &piece(0, 800, true), too_late, &terms).unwrap();
    let (key, hash) = key(1);
    let other_policy = table.follow(&key, hash, &piece(800, 1600, true), 2, too_late);
    assert_eq!(other_policy, Err(Unfollowed::Untracked));
    assert_eq!(table.open(&key, hash, &piece(0, 800, true), (2, 9), OWNER, &terms, too_late), Ok(()));
    assert_eq!(table.follow(&key, hash, &piece(800, 1600, true), 2, too_late), Ok(Some(9)));
}

#[test]
fn a_flood_of_first_fragments_costs_its_sender_its_own() {
    let table = table();
    let flood = (0..10_000).filter(|identification| put(&table, *identification, &piece(0, 8, true)).is_ok());
    assert!(flood.count() > 64);
    assert_eq!(table.count(), 64, "the table is full, and stays so");
    let (key, hash) = key(77_777);
    let other = table.open(&key, hash, &piece(0, 8, true), (1, 1), OWNER + 1, &terms(100), Tick(1));
    assert_eq!(other, Err(Unfollowed::Full));

    let table = super::tests::table();
    let few = terms(10);
    for identification in 0..10_000 {
        // Its share used up: an older one of its own goes, where one is in the way.
        let outcome = put_at(&table, identification, &piece(0, 8, true), Tick(1), &few);
        assert!(matches!(outcome, Ok(()) | Err(Unfollowed::Quota)), "{outcome:?}");
        assert!(table.count() <= 10);
    }
    let other = table.open(&key, hash, &piece(0, 8, true), (1, 1), OWNER + 1, &few, Tick(1));
    assert_eq!(other, Ok(()), "others have room");
    table.sweep(0..table.capacity(), Tick(1000));
    assert_eq!(table.count(), 0);
}

#[test]
fn masks_cover_a_range_exactly() {
    for range in [0..1, 0..64, 63..65, 1..8192, 8191..8192, 64..128, 100..100] {
        let mut set: Vec<usize> = Vec::new();
        for (word, mask) in masks(range.clone()) {
            set.extend((0..64).filter(|bit| mask >> bit & 1 != 0).map(|bit| word * 64 + bit));
        }
        assert_eq!(set, range.collect::<Vec<_>>());
    }
}

proptest! {
    /// What passes never contradicts itself, and what is honest passes.
    #[test]
    fn agrees_with_a_model(
        pieces in prop::collection::vec((0u16..40, 1u16..12, any::<bool>()), 1..60),
    ) {
        let table = table();
        put(&table, 1, &piece(0, 16, true)).unwrap();
        let mut seen = vec![(0u16, 16u16, true)];
        for (start, length, more) in pieces {
            let (start, end) = (16 + start * 8, 16 + (start + length) * 8);
            let is_known = seen.contains(&(start, end, more));
            let overlaps = seen.iter().any(|(from, to, _)| start < *to && *from < end);
            let last = seen.iter().find(|(_, _, more)| !more).map(|(_, to, _)| *to);
            let highest = seen.iter().map(|(_, to, _)| *to).max().unwrap();
            let beyond = match (last, more) {
                (Some(last), true) => end >= last,
                (Some(last), false) => end != last,
                (None, true) => false,
                (None, false) => highest > end,
            };
            let expected = match () {
                () if is_known => Err(Unfollowed::Duplicate),
                () if beyond => Err(Unfollowed::BeyondEnd),
                () if overlaps => Err(Unfollowed::Overlap),
                () => Ok(()),
            };
            prop_assert_eq!(put(&table, 1, &piece(start, end, more)), expected);
            if expected.is_ok() {
                seen.push((start, end, more));
            }
            let total: u16 = seen.iter().map(|(from, to, _)| to - from).sum();
            let is_complete = seen.iter().any(|(_, to, more)| !more && *to == total);
            prop_assert_eq!(table.count(), u64::from(!is_complete));
            if is_complete || matches!(expected, Err(Unfollowed::Overlap | Unfollowed::BeyondEnd)) {
                break;
            }
        }
    }
}
