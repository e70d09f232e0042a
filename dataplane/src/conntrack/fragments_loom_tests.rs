//! Every interleaving of two workers at one packet's fragments; how to run them stands in `loom_tests.rs`.
//!
//! Covered: two that add parts which overlap, that add the same part, or that complete the packet; a first fragment against
//! a later one; two packets that meet one share; a packet that expires, and whose entry is taken, while another worker
//! still adds to it.

use loom::sync::Arc;
use loom::thread;
use septum_rules::conntrack::ConntrackSettings;
use septum_rules::flow_key::FlowKey;
use septum_rules::identity::DomainId;
use septum_rules::proto::{Layer4, Protocol};

use super::*;

const OWNER: u16 = 0;
const GENERATION: u32 = 1;
const START: Tick = Tick(0);
/// One bucket: every packet can be in every other's way.
const HASH: u64 = 0;

fn table() -> Arc<FragmentTable> {
    Arc::new(FragmentTable::new(FragmentTable::LEAST, 1))
}

fn key(identification: u32) -> ConnectionKey {
    let flow = FlowKey {
        domain: DomainId(0),
        source: [10, 0, 0, 1].into(),
        destination: [10, 0, 0, 2].into(),
        layer4: Layer4::bare(Protocol::UDP),
    };
    ConnectionKey::of_fragments(&flow, identification)
}

fn piece(start: u16, end: u16, more: bool) -> Fragment {
    Fragment { identification: 0, offset: start, more, length: end - start }
}

fn open(table: &FragmentTable, number: u32, now: Tick, share: u32) -> Result<(), Unfollowed> {
    let terms = Terms::new(&ConntrackSettings { fragments_per_workload: share, ..Default::default() });
    let judged = (GENERATION, number);
    table.open(&key(number), HASH, &piece(0, 64, true), judged, OWNER, &terms, now)
}

fn follow(table: &FragmentTable, number: u32, piece: &Fragment, now: Tick) -> Result<(), Unfollowed> {
    let verdict = table.follow(&key(number), HASH, piece, GENERATION, now)?;
    assert_eq!(verdict, Some(number), "nobody follows another's verdict");
    Ok(())
}

/// Every share is one of a live entry, exactly.
fn assert_shares(table: &FragmentTable) {
    let is_live = |words: &&Datagram| words[0].load(Ordering::Relaxed) & KIND == LIVE;
    assert_eq!(table.count(), table.datagrams.iter().filter(is_live).count() as u64);
}

/// Two later fragments of one packet, of two workers at the same time.
fn together(a: Fragment, b: Fragment) -> (Arc<FragmentTable>, [Result<(), Unfollowed>; 2]) {
    let table = table();
    open(&table, 1, START, 8).unwrap();
    let other = Arc::clone(&table);
    let thread = thread::spawn(move || follow(&other, 1, &a, START));
    let own = follow(&table, 1, &b, START);
    let results = [thread.join().unwrap(), own];
    assert_shares(&table);
    (table, results)
}

#[test]
fn of_two_that_overlap_at_most_one_passes() {
    loom::model(|| {
        let (table, results) = together(piece(64, 128, true), piece(72, 192, true));
        assert!(results.iter().filter(|result| result.is_ok()).count() <= 1, "{results:?}");
        assert!(results.contains(&Err(Unfollowed::Overlap)), "{results:?}");
        assert_eq!(follow(&table, 1, &piece(256, 320, true), START), Err(Unfollowed::Overlap));
    });
}

#[test]
fn of_two_that_are_the_same_at_most_one_passes() {
    loom::model(|| {
        let (_, results) = together(piece(64, 128, true), piece(64, 128, true));
        assert!(results.iter().filter(|result| result.is_ok()).count() <= 1, "{results:?}");
    });
}

#[test]
fn two_that_complete_a_packet_let_go_of_it_once() {
    loom::model(|| {
        let (table, results) = together(piece(64, 128, true), piece(128, 192, false));
        assert_eq!(results, [Ok(()), Ok(())]);
        assert_eq!(table.count(), 0);
        assert_eq!(follow(&table, 1, &piece(64, 128, true), START), Err(Unfollowed::Untracked));
    });
}

#[test]
fn a_later_fragment_beside_its_first_passes_or_is_not_known() {
    loom::model(|| {
        let table = table();
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || open(&other, 1, START, 8));
        let later = follow(&table, 1, &piece(64, 128, true), START);
        assert!(matches!(later, Ok(()) | Err(Unfollowed::Untracked)), "{later:?}");
        assert_eq!(thread.join().unwrap(), Ok(()));
        assert_shares(&table);
    });
}

#[test]
fn two_packets_that_meet_one_share_do_not_both_stay() {
    loom::model(|| {
        let table = table();
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || open(&other, 1, START, 1));
        let _ = open(&table, 2, START, 1);
        let _ = thread.join().unwrap();
        assert!(table.count() <= 1);
        assert_shares(&table);
    });
}

#[test]
fn what_comes_late_to_an_expired_packet_is_never_taken_for_its_successors() {
    loom::model(|| {
        let table = table();
        open(&table, 1, START, 8).unwrap();
        let late = Tick(31 * Tick::PER_SECOND);
        let other = Arc::clone(&table);
        // By this worker's clock the packet still lives.
        let thread = thread::spawn(move || follow(&other, 1, &piece(64, 128, true), START));
        // What the late one leaves behind refuses at worst; `follow` sees to it that it admits nothing.
        let first = open(&table, 2, late, 8);
        assert!(!matches!(first, Err(Unfollowed::Quota | Unfollowed::Full)), "{first:?}");
        let _ = follow(&table, 2, &piece(128, 192, true), late);
        let _ = thread.join().unwrap();
        assert_shares(&table);
    });
}
