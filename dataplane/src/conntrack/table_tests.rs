//! The table alone: what is found, what expires, what is refused, and what threads do to it.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread;

use septum_rules::conntrack::ConntrackSettings;

use super::super::end::SLICES;
use super::super::open::Unopened;
use super::super::places::part_of;
use super::super::rehearsal::{ANSWER, COMPLETE, OPENING, find, key, open, put, segment};
use super::*;
use crate::wire::tcp_flag::RST;

fn second(count: u32) -> Tick {
    Tick(count * Tick::PER_SECOND)
}

fn terms(connections: u32, half_open: u32) -> Terms {
    Terms::new(&ConntrackSettings {
        connections_per_workload: connections,
        half_open_per_workload: half_open,
        ..ConntrackSettings::default()
    })
}

fn phase(table: &ConnectionTable, number: u32, now: Tick) -> Option<Phase> {
    Some(find(table, number, now)?.state().phase())
}

#[test]
fn a_connection_is_found_from_both_sides_until_it_expires() {
    let table = ConnectionTable::new(64);
    let (key, direction) = key(1);
    let hash = table.hash(&key);
    assert!(table.find(&key, hash, second(0)).is_none());
    open(&table, 1, 7, &Terms::default(), second(0)).unwrap();
    let entry = table.find(&key, hash, second(1)).unwrap();
    assert!(entry.is_judged_by(1) && !entry.is_judged_by(2));
    assert_eq!((entry.verdict(), entry.opened()), (Some(1), direction));
    table.rejudged(&entry, 8, 43);
    let entry = table.find(&key, hash, second(1)).unwrap();
    assert!(entry.is_judged_by(8) && entry.verdict() == Some(43));
    assert!(entry.is_judged_after(7) && !entry.is_judged_after(8) && !entry.is_judged_after(9));
    assert!(table.find(&key, hash, second(120)).is_some(), "SYN sent lasts 120 s");
    assert!(table.find(&key, hash, Tick(120 * Tick::PER_SECOND + 1)).is_none());
}

#[test]
fn shares_follow_a_connection_through_its_life() {
    let (table, terms) = (ConnectionTable::new(64), Terms::default());
    open(&table, 1, 7, &terms, second(0)).unwrap();
    assert_eq!((table.share_of(7), table.count()), ((1, 1), 1));
    put(&table, 1, &ANSWER, true, second(0));
    assert_eq!((phase(&table, 1, second(0)), table.share_of(7)), (Some(Phase::SynReceived), (1, 1)));
    put(&table, 1, &COMPLETE, false, second(0));
    assert_eq!((phase(&table, 1, second(0)), table.share_of(7)), (Some(Phase::Established), (1, 0)));
    put(&table, 1, &segment(RST, 501, 0, 0), true, second(0));
    assert_eq!(phase(&table, 1, second(0)), Some(Phase::Closed));
    assert_eq!(put(&table, 1, &OPENING, false, second(1)), Some(Step::Reopen));
    assert_eq!(put(&table, 1, &OPENING, true, second(1)), Some(Step::Reopen));
    assert_eq!(phase(&table, 1, second(11)), None);
    // Nobody asks for it any more; the sweep finds it.
    assert_eq!(table.share_of(7), (1, 0));
    (0..=SLICES).for_each(|_| table.sweep(second(60)));
    assert_eq!((table.share_of(7), table.count()), ((0, 0), 0));
}

#[test]
fn each_bound_refuses_by_its_own_name_and_evicts_nothing() {
    let table = ConnectionTable::new(64);
    let at = second(0);
    let half_open = terms(1000, 4);
    for number in 0..4 {
        assert_eq!(open(&table, number, 1, &half_open, at), Ok(()));
    }
    assert_eq!(open(&table, 4, 1, &half_open, at), Err(Unopened::HalfOpenQuota));
    assert_eq!(open(&table, 4, 2, &half_open, at), Ok(()), "another's share");
    // What is complete no longer counts as half-open.
    put(&table, 0, &ANSWER, true, at);
    put(&table, 0, &COMPLETE, false, at);
    assert_eq!(open(&table, 5, 1, &half_open, at), Ok(()));
    assert_eq!(table.share_of(1), (5, 4));
    assert_eq!(open(&table, 6, 1, &terms(5, 100), at), Err(Unopened::Quota));
    let wide = terms(1000, 1000);
    let opened = (100..200).filter(|number| open(&table, *number, 3, &wide, at).is_ok()).count();
    assert_eq!((opened + 6, table.count()), (64, 64), "the bound, and no entry beyond");
    assert_eq!(open(&table, 200, 9, &wide, at), Err(Unopened::TableFull));
    assert_eq!(table.share_of(9), (0, 0), "what was refused has no share");
    assert_eq!(phase(&table, 0, at), Some(Phase::Established));
    assert!((1..6).all(|number| phase(&table, number, at).is_some()));
    // Their time over, all are reused.
    assert_eq!(table.count_live(second(121)), 1);
    (0..=SLICES).for_each(|_| table.sweep(second(121)));
    assert_eq!((table.count(), table.share_of(1)), (1, (1, 0)));
}

/// Opens connections of these numbers, all of which there is room for.
fn fill(table: &ConnectionTable, numbers: Range<u32>, now: Tick) {
    for number in numbers {
        assert_eq!(open(table, number, 0, &terms(u32::MAX, u32::MAX), now), Ok(()), "{number}");
    }
}

#[test]
fn it_is_the_bound_that_refuses_whatever_the_hash() {
    let at = second(0);
    let tables = (0..300).map(|seed| (seed, 512)).chain([(1, 16), (2, 16), (3, 1 << 16), (4, 1 << 16)]);
    let made = tables.map(|(seed, limit)| (seed, limit, ConnectionTable::seeded(seed, limit as usize)));
    let whole = (0..100).map(|seed| (seed, 512, divided(seed, 512, 0)));
    for (seed, limit, table) in made.chain(whole) {
        fill(&table, 0..limit, at);
        let full = open(&table, limit, 0, &terms(u32::MAX, u32::MAX), at);
        assert_eq!(full, Err(Unopened::TableFull), "seed {seed}");
        // Others take the places of those that end, and everybody is found.
        (0..limit / 2).for_each(|number| table.end(&find(&table, number, at).unwrap()));
        fill(&table, limit..limit + limit / 2, at);
        let live = limit / 2..limit + limit / 2;
        assert!(live.clone().all(|number| phase(&table, number, at).is_some()), "seed {seed}");
        assert_eq!(table.count_live(at), limit as usize);
        // What has ended is not counted on.
        live.for_each(|number| table.end(&find(&table, number, at).unwrap()));
        let is_first_line = |number| table.occupied(table.hash(&key(number).0)).count() == 1;
        assert!((0..limit).all(is_first_line), "seed {seed}");
    }
}

/// A table with an inner region of so many entries, or none.
fn divided(seed: u64, limit: usize, inner: usize) -> ConnectionTable {
    ConnectionTable::seeded_with(seed, limit, Places::of_lengths(inner, 2 * limit))
}

#[test]
fn few_stand_on_few_pages_and_more_beside_them() {
    let (table, at) = (divided(7, 1024, 256), second(0));
    let place = |number| find(&table, number, at).unwrap().index;
    fill(&table, 0..64, at);
    assert!((0..64).all(|number| place(number) < 256), "there is room in the inner region");
    assert!(table.places.in_use().1.is_none(), "so no search goes further");
    fill(&table, 64..1024, at);
    assert!((64..1024).all(|number| place(number) >= 256));
    assert!((0..64).all(|number| place(number) < 256), "nothing moves");
    // The places of those that end are taken first.
    (0..32).for_each(|number| table.end(&find(&table, number, at).unwrap()));
    fill(&table, 2000..2032, at);
    assert!((2000..2032).all(|number| place(number) < 256));
    (64..1024).for_each(|number| table.end(&find(&table, number, at).unwrap()));
    assert!(table.places.in_use().1.is_none());
    assert!((32..64).chain(2000..2032).all(|number| phase(&table, number, at).is_some()));
    assert_eq!((table.count(), table.count_live(at)), (64, 64));
    (0..=SLICES).for_each(|_| table.sweep(second(121)));
    assert_eq!((table.count(), table.places.occupied().count()), (0, 1));
}

#[test]
fn a_long_table_has_an_inner_region_and_a_short_one_has_none() {
    assert_eq!(Places::new(16).length(), 32);
    assert_eq!(Places::new(64).length(), 128 + 32);
    let parts: Vec<_> = (0..SLICES).flat_map(|part| part_of(3..1000, part, SLICES)).collect();
    assert_eq!(parts, (3..1000).collect::<Vec<_>>(), "the parts of a sweep are all of it");
}

#[test]
fn an_ended_entry_leaves_the_ones_behind_it_reachable() {
    let table = ConnectionTable::new(WAYS);
    for number in 0..WAYS as u32 {
        open(&table, number, 0, &Terms::default(), second(0)).unwrap();
    }
    for ended in 0..WAYS as u32 {
        table.end(&find(&table, ended, second(0)).unwrap());
        for number in 0..WAYS as u32 {
            assert_eq!(phase(&table, number, second(0)).is_some(), number > ended);
        }
    }
    assert_eq!(table.count(), 0);
}

#[test]
fn threads_that_open_and_end_the_same_connections_never_mix_them_up() {
    never_mixed_up(ConnectionTable::new(64));
    // Most of them now in this region, now in that.
    never_mixed_up(divided(1, 64, 16));
}

fn never_mixed_up(table: ConnectionTable) {
    let table = Arc::new(table);
    let hits = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..4)
        .map(|seed: u64| {
            let (table, hits) = (Arc::clone(&table), Arc::clone(&hits));
            thread::spawn(move || {
                let mut random = seed * 2 + 1;
                for round in 0..50_000 {
                    random = random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    let number = (random >> 33) as u32 % 24;
                    let now = Tick(round / 500);
                    match find(&table, number, now) {
                        Some(entry) => {
                            // The verdict is the key's number: anything else is another connection's entry.
                            assert_eq!(entry.verdict(), Some(number));
                            hits.fetch_add(1, Ordering::Relaxed);
                            let packet = [OPENING, ANSWER, COMPLETE][(random >> 40) as usize % 3];
                            put(&table, number, &packet, packet == ANSWER, now);
                            if random >> 60 == 0 {
                                table.end(&entry);
                            }
                        }
                        None => drop(open(&table, number, number as u16 % 3, &Terms::default(), now)),
                    }
                    table.sweep(now);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(hits.load(Ordering::Relaxed) > 100_000);
    // Every share is one of a live entry, exactly.
    let now = Tick(100);
    let live: Vec<u32> = (0..24).filter(|number| phase(&table, *number, now).is_some()).collect();
    assert_eq!(table.count_live(now), live.iter().collect::<HashSet<_>>().len());
    assert_eq!(table.count(), live.len() as u64);
    for owner in 0..3 {
        let own = live.iter().filter(|number| **number % 3 == u32::from(owner));
        let half_open = own.clone().filter(|number| phase(&table, **number, now).unwrap().is_half_open());
        assert_eq!(table.share_of(owner), (own.count() as u32, half_open.count() as u32));
    }
}
