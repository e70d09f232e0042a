//! Every interleaving, under the C11 memory model, of two or three workers at the shared table.
//!
//! ```text
//! RUSTFLAGS="--cfg septum_loom" LOOM_MAX_PREEMPTIONS=3 \
//!     cargo test -p septum --lib --target-dir target/loom loom
//! ```
//!
//! Covered: two workers that open the same connection, two that want the same entry, or two that meet one bound; a lookup while the entry is
//! ended and reused; ending against completing, and expiry against both, as far as shares go; what two workers learn of one
//! end. Buckets have two entries here instead of eight, nothing else differs. The table of fragments has models of its own
//! (`fragments_loom_tests`).

use loom::sync::Arc;
use loom::thread;
use septum_rules::conntrack::ConntrackSettings;

use super::super::open::Unopened;
use super::super::rehearsal::{self, ANSWER, COMPLETE, find, key, put, segment};
use super::*;
use crate::wire::tcp_flag::ACK;

const START: Tick = Tick(0);

/// The least table: two buckets of two entries.
fn table() -> Arc<ConnectionTable> {
    Arc::new(ConnectionTable::seeded(1, WAYS))
}

/// Opens connection `number`, all of them for one owner.
fn open(table: &ConnectionTable, number: u32, terms: &Terms, now: Tick) -> Result<(), Unopened> {
    rehearsal::open(table, number, 0, terms, now)
}

/// Every share is one of a live entry, exactly.
fn assert_shares(table: &ConnectionTable) {
    let live =
        table.entries.iter().zip(0..).filter(|(words, _)| words[0].load(Ordering::Relaxed) & KIND == LIVE);
    let phases: Vec<Phase> =
        live.map(|(words, _)| State::from_bits(words[6].load(Ordering::Relaxed) as u16).phase()).collect();
    let half_open = phases.iter().filter(|phase| phase.is_half_open()).count();
    assert_eq!(table.share_of(0), (phases.len() as u32, half_open as u32), "{phases:?}");
    assert_eq!(table.count(), phases.len() as u64);
}

#[test]
fn two_that_open_the_same_connection_leave_one() {
    loom::model(|| {
        let table = table();
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || open(&other, 1, &Terms::default(), START));
        let own = open(&table, 1, &Terms::default(), START);
        assert_eq!((own, thread.join().unwrap()), (Ok(()), Ok(())));
        assert_eq!(table.count_live(START), 1);
        assert_shares(&table);
    });
}

#[test]
fn two_that_open_the_same_connection_in_two_regions_leave_one() {
    loom::model(|| {
        // One has room in the inner region.
        let places = Places::of_lengths(2 * WAYS, 2 * WAYS);
        let table = Arc::new(ConnectionTable::seeded_with(1, WAYS, places));
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || open(&other, 1, &Terms::default(), START));
        let own = open(&table, 1, &Terms::default(), START);
        assert_eq!((own, thread.join().unwrap()), (Ok(()), Ok(())));
        assert_eq!(table.count_live(START), 1);
        assert!(find(&table, 1, START).is_some());
        assert_shares(&table);
    });
}

#[test]
fn two_that_meet_a_bound_do_not_both_pass() {
    loom::model(|| {
        let table = table();
        let one = Terms::new(&ConntrackSettings { half_open_per_workload: 1, ..Default::default() });
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || open(&other, 1, &one, START));
        let own = open(&table, 2, &one, START);
        let passed = usize::from(own.is_ok()) + usize::from(thread.join().unwrap().is_ok());
        assert!(passed <= 1);
        assert_eq!(table.count_live(START), passed);
        assert_shares(&table);
    });
}

#[test]
fn two_that_prefer_one_entry_are_both_found_and_then_counted_out() {
    loom::model(|| {
        let table = table();
        let preferred = |number| table.places.for_next().preferred(table.hash(&key(number).0));
        let one = 1;
        let two = (2..).find(|number| preferred(*number) == preferred(one)).unwrap();
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || open(&other, one, &Terms::default(), START));
        let own = open(&table, two, &Terms::default(), START);
        assert_eq!((own, thread.join().unwrap()), (Ok(()), Ok(())));
        for number in [one, two] {
            table.end(&find(&table, number, START).unwrap());
            assert!(find(&table, number, START).is_none());
        }
        assert_eq!(table.occupied(table.hash(&key(one).0)).count(), 1);
        assert_shares(&table);
    });
}

#[test]
fn a_lookup_never_mixes_two_tenants_of_an_entry() {
    loom::model(|| {
        let table = table();
        open(&table, 1, &Terms::default(), START).unwrap();
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || {
            other.end(&find(&other, 1, START).unwrap());
            open(&other, 2, &Terms::default(), START).unwrap();
        });
        for number in [1, 2] {
            if let Some(entry) = find(&table, number, START) {
                assert_eq!(entry.verdict(), Some(number));
                assert_eq!(entry.sender(key(number).1).end, 101);
            }
        }
        thread.join().unwrap();
        assert_shares(&table);
    });
}

#[test]
fn ending_and_completing_give_each_share_back_once() {
    loom::model(|| {
        let table = table();
        open(&table, 1, &Terms::default(), START).unwrap();
        put(&table, 1, &ANSWER, true, START);
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || put(&other, 1, &COMPLETE, false, START));
        if let Some(entry) = find(&table, 1, START) {
            table.end(&entry);
        }
        thread.join().unwrap();
        assert_eq!(table.share_of(0), (0, 0));
        assert_shares(&table);
    });
}

#[test]
fn two_that_complete_count_it_once() {
    loom::model(|| {
        let table = table();
        open(&table, 1, &Terms::default(), START).unwrap();
        put(&table, 1, &ANSWER, true, START);
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || put(&other, 1, &COMPLETE, false, START));
        put(&table, 1, &COMPLETE, false, START);
        thread.join().unwrap();
        assert_eq!(table.share_of(0), (1, 0));
        assert_shares(&table);
    });
}

#[test]
fn what_expires_is_reused_by_one() {
    loom::model(|| {
        let table = table();
        open(&table, 1, &Terms::default(), START).unwrap();
        let late = Tick(121 * Tick::PER_SECOND);
        let other = Arc::clone(&table);
        // Swept by one, opened anew by the other.
        let thread = thread::spawn(move || {
            for index in 0..other.entries.len() {
                let control = other.words(index)[0].load(Ordering::Acquire);
                let state = other.words(index)[6].load(Ordering::Relaxed);
                if control & KIND == LIVE && is_expired(state, late) {
                    other.release(index, control);
                }
            }
        });
        open(&table, 1, &Terms::default(), late).unwrap();
        thread.join().unwrap();
        assert_eq!(table.count_live(late), 1);
        assert_shares(&table);
    });
}

#[test]
fn what_two_workers_learn_of_an_end_is_all_known() {
    loom::model(|| {
        let table = table();
        open(&table, 1, &Terms::default(), START).unwrap();
        put(&table, 1, &ANSWER, true, START);
        put(&table, 1, &COMPLETE, false, START);
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || put(&other, 1, &segment(ACK, 101, 501, 100), false, START));
        put(&table, 1, &segment(ACK, 201, 501, 50), false, START);
        thread.join().unwrap();
        let (_, direction) = key(1);
        assert_eq!(find(&table, 1, START).unwrap().sender(direction).end, 251);
        assert_shares(&table);
    });
}
