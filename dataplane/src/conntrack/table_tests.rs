//! The table alone: what is found, what expires, what is refused, and what threads do to it.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread;

use septum_rules::flow_key::FlowKey;
use septum_rules::identity::DomainId;
use septum_rules::proto::Layer4;

use super::*;
use crate::wire::tcp_flag::{ACK, RST, SYN};

const SYN_PACKET: Packet = Packet { protocol: Protocol::TCP, tcp_flags: SYN };
const ACK_PACKET: Packet = Packet { protocol: Protocol::TCP, tcp_flags: ACK };

fn key(number: u32) -> (ConnectionKey, Direction) {
    let flow = FlowKey {
        domain: DomainId(0),
        source: std::net::Ipv4Addr::from_bits(0x0a00_0000 + number).into(),
        destination: std::net::Ipv4Addr::from_bits(0x0b00_0000).into(),
        layer4: Layer4::ports(Protocol::TCP, 40_000, 443),
    };
    ConnectionKey::of(&flow, 0)
}

fn second(count: u32) -> Tick {
    Tick(count * Tick::PER_SECOND)
}

#[test]
fn a_connection_is_found_from_both_sides_until_it_expires() {
    let table = ConnectionTable::new(64, Timeouts::default());
    let (key, direction) = key(1);
    let hash = table.hash(&key);
    let find = |direction, packet, now| table.find(&key, hash, direction, packet, now);
    assert!(matches!(find(direction, ACK_PACKET, second(0)), Found::None));
    table.open(&key, hash, direction, SYN_PACKET, (7, 42), second(0)).unwrap();
    let Found::Connection(entry) = find(direction.reversed(), ACK_PACKET, second(1)) else { panic!() };
    assert!(entry.is_judged_by(7) && !entry.is_judged_by(8));
    assert_eq!((entry.verdict(), entry.opened()), (Some(42), direction));
    table.rejudged(&entry, 8, 43);
    let Found::Connection(entry) = find(direction, ACK_PACKET, second(1)) else { panic!() };
    assert!(entry.is_judged_by(8) && entry.verdict() == Some(43));
    assert!(entry.is_judged_after(7) && !entry.is_judged_after(8) && !entry.is_judged_after(9));
    assert!(matches!(find(direction, ACK_PACKET, second(121)), Found::None), "SYN sent lasts 120 s");
    assert!(matches!(find(direction, SYN_PACKET, second(121)), Found::None));
}

#[test]
fn a_reset_connection_opens_only_anew() {
    let table = ConnectionTable::new(64, Timeouts::default());
    let (key, direction) = key(1);
    let hash = table.hash(&key);
    table.open(&key, hash, direction, SYN_PACKET, (1, 1), second(0)).unwrap();
    let reset = Packet { protocol: Protocol::TCP, tcp_flags: RST | ACK };
    let Found::Connection(entry) = table.find(&key, hash, direction.reversed(), reset, second(0)) else {
        panic!()
    };
    table.advance(&entry, direction.reversed(), reset, second(0));
    assert!(matches!(table.find(&key, hash, direction, SYN_PACKET, second(1)), Found::Reopens(_)));
    assert!(matches!(table.find(&key, hash, direction.reversed(), SYN_PACKET, second(1)), Found::Reopens(_)));
    assert!(matches!(table.find(&key, hash, direction, ACK_PACKET, second(11)), Found::None));
}

#[test]
fn a_full_bucket_refuses_and_keeps_what_lives() {
    let table = ConnectionTable::new(WAYS, Timeouts::default());
    let keys: Vec<_> = (0..WAYS as u32 + 1).map(key).collect();
    let open = |(key, direction): &(ConnectionKey, Direction), now| {
        table.open(key, table.hash(key), *direction, SYN_PACKET, (1, 1), now)
    };
    for known in &keys[..WAYS] {
        open(known, second(0)).unwrap();
    }
    assert_eq!(open(&keys[WAYS], second(1)), Err(TableFull));
    assert_eq!(table.count_live(second(1)), WAYS);
    for (key, direction) in &keys[..WAYS] {
        assert!(matches!(
            table.find(key, table.hash(key), *direction, ACK_PACKET, second(1)),
            Found::Connection(_)
        ));
    }
    assert_eq!(open(&keys[WAYS], second(121)), Ok(()), "expired entries are reused");
}

#[test]
fn fragments_cannot_crowd_connections_out() {
    let table = ConnectionTable::new(WAYS, Timeouts::default());
    let flow = key(0).0.flow(Direction::Up);
    let follow = |identification, note| {
        let key = ConnectionKey::of_fragments(&flow, identification);
        table.open_fragments(&key, table.hash(&key), note, (1, 1), second(0))
    };
    let followed = (0..100).filter(|identification| follow(*identification, 3).is_ok()).count();
    assert_eq!(followed, FRAGMENT_WAYS);
    assert_eq!(follow(0, 3), Ok(()), "the same first fragment again");
    assert_eq!(follow(0, 4), Err(Unfollowed::Overlap));
    assert_eq!(follow(100, 3), Err(Unfollowed::Full));
    for (key, direction) in (0..(WAYS - FRAGMENT_WAYS) as u32).map(key) {
        assert_eq!(table.open(&key, table.hash(&key), direction, SYN_PACKET, (1, 1), second(0)), Ok(()));
    }
}

#[test]
fn an_ended_entry_leaves_the_ones_behind_it_reachable() {
    let table = ConnectionTable::new(WAYS, Timeouts::default());
    let keys: Vec<_> = (0..WAYS as u32).map(key).collect();
    for (key, direction) in &keys {
        table.open(key, table.hash(key), *direction, SYN_PACKET, (1, 1), second(0)).unwrap();
    }
    for ended in 0..keys.len() {
        let (key, direction) = &keys[ended];
        let Found::Connection(entry) = table.find(key, table.hash(key), *direction, ACK_PACKET, second(0))
        else {
            panic!()
        };
        table.end(&entry);
        for (at, (key, direction)) in keys.iter().enumerate() {
            let found = table.find(key, table.hash(key), *direction, ACK_PACKET, second(0));
            assert_eq!(matches!(found, Found::Connection(_)), at > ended);
        }
    }
}

#[test]
fn threads_that_open_and_end_the_same_connections_never_mix_them_up() {
    let table = Arc::new(ConnectionTable::new(64, Timeouts::default()));
    let hits = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..4)
        .map(|seed: u64| {
            let (table, hits) = (Arc::clone(&table), Arc::clone(&hits));
            thread::spawn(move || {
                let mut random = seed * 2 + 1;
                for _ in 0..50_000 {
                    random = random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    let number = (random >> 33) as u32 % 24;
                    let (key, direction) = key(number);
                    let hash = table.hash(&key);
                    match table.find(&key, hash, direction, ACK_PACKET, second(0)) {
                        Found::Connection(entry) => {
                            // The verdict is the key's number: anything else is another connection's entry.
                            assert_eq!(entry.verdict(), Some(number));
                            hits.fetch_add(1, Ordering::Relaxed);
                            table.advance(&entry, direction, ACK_PACKET, second(0));
                            if random >> 60 == 0 {
                                table.end(&entry);
                            }
                        }
                        _ => drop(table.open(&key, hash, direction, SYN_PACKET, (1, number), second(0))),
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(hits.load(Ordering::Relaxed) > 100_000);
    assert!(table.count_live(second(0)) <= 24);
}
