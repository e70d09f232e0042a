//! The neighbours of one uplink: which MAC has the next hop (RFC 826, RFC 4861), learned only by asking.
//!
//! Two kinds. Gateways and declared neighbours have places of their own, which nobody can crowd out. Others, neighbours
//! on the uplink's own subnet, share [`PLACES`] places; a full bucket forgets first whom it waits for in vain, then who has
//! not been heard for longest. An answer is believed only while a question is open, so an unasked one changes nothing.
//!
//! Shared by all workers, without locks: each word is written whole; an entry that may change its owner carries a
//! sequence, odd while it is written. A reader that meets a writer finds nothing, and asks again. Nothing allocates.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use std::hash::BuildHasher;

use foldhash::quality::RandomState;
use septum_rules::address::to_mapped_bits;
use septum_rules::mac::MacAddress;

use crate::clock::Tick;

/// Neighbours beside the gateways that are remembered at the same time.
pub const PLACES: usize = 1024;
/// Places in which one address may stand.
const BUCKET: usize = 8;

/// Ticks between two questions for one address: a second (RFC 4861 section 10, RETRANS_TIMER).
const RETRY: u32 = Tick::PER_SECOND;
/// Questions without an answer before senders are told that the neighbour is not there (MAX_MULTICAST_SOLICIT).
const PATIENCE: u32 = 3;
/// Ticks after which a MAC is asked for again, and is used on until there is an answer.
const FRESH: u32 = 30 * Tick::PER_SECOND;
/// Ticks after which a MAC is not used any more.
const VALID: u32 = 120 * Tick::PER_SECOND;
/// Ticks in which an answer is believed.
const OPEN: u32 = 3 * Tick::PER_SECOND;

/// What is known of a next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextHop {
    /// Its MAC.
    Known(MacAddress),
    /// Nothing, and now is the time to ask.
    Ask,
    /// Nothing yet; it has been asked.
    Waiting,
    /// It does not answer.
    Silent,
}

/// The table.
#[derive(Debug)]
pub struct Neighbours {
    declared: Box<[(IpAddr, MacAddress)]>,
    gateways: Box<[(IpAddr, Entry)]>,
    others: Box<[Place]>,
    hasher: RandomState,
}

/// What is known of one address.
#[derive(Debug, Default)]
struct Entry {
    /// A MAC with [`PRESENT`], or zero.
    mac: AtomicU64,
    /// When it was told.
    heard: AtomicU32,
    /// When it was last asked for.
    asked: AtomicU32,
    /// Questions since it was last heard.
    questions: AtomicU32,
}

/// An entry that may change its owner.
#[derive(Debug, Default)]
struct Place {
    sequence: AtomicU32,
    high: AtomicU64,
    low: AtomicU64,
    entry: Entry,
}

const PRESENT: u64 = 1 << 48;

fn pack(mac: MacAddress) -> u64 {
    mac.0.iter().fold(1, |bits, octet| bits << 8 | u64::from(*octet))
}

fn unpack(bits: u64) -> Option<MacAddress> {
    let [_, _, mac @ ..] = bits.to_be_bytes();
    (bits & PRESENT != 0).then_some(MacAddress(mac))
}

impl Entry {
    fn mac(&self, now: Tick) -> Option<MacAddress> {
        let is_valid = now.since(Tick(self.heard.load(Ordering::Relaxed))) < VALID;
        unpack(self.mac.load(Ordering::Relaxed)).filter(|_| is_valid)
    }

    fn next_hop(&self, now: Tick) -> NextHop {
        if let Some(mac) = self.mac(now) {
            return NextHop::Known(mac);
        }
        let questions = self.questions.load(Ordering::Relaxed);
        if self.ask(questions, now) {
            // The sender of the packet that becomes the question hears nothing; the next one does.
            NextHop::Ask
        } else if questions >= PATIENCE {
            NextHop::Silent
        } else {
            NextHop::Waiting
        }
    }

    /// Whether it is time for another question; who is told so, asks it.
    fn ask(&self, questions: u32, now: Tick) -> bool {
        let asked = self.asked.load(Ordering::Relaxed);
        if questions != 0 && now.since(Tick(asked)) < RETRY {
            return false;
        }
        // Of several workers that find it due, one asks.
        let is_mine = self.asked.compare_exchange(asked, now.0, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if is_mine {
            self.questions.store(questions.saturating_add(1), Ordering::Relaxed);
        }
        is_mine
    }

    /// Whether it should be asked for before it is missed.
    fn is_due(&self, now: Tick) -> bool {
        let is_fresh = self.mac.load(Ordering::Relaxed) != 0
            && now.since(Tick(self.heard.load(Ordering::Relaxed))) < FRESH;
        !is_fresh && self.ask(self.questions.load(Ordering::Relaxed), now)
    }

    fn hear(&self, mac: MacAddress, now: Tick) {
        let is_open = self.questions.load(Ordering::Relaxed) != 0
            && now.since(Tick(self.asked.load(Ordering::Relaxed))) < OPEN;
        if is_open {
            self.heard.store(now.0, Ordering::Relaxed);
            self.mac.store(pack(mac), Ordering::Relaxed);
            self.questions.store(0, Ordering::Relaxed);
        }
    }

    fn forget(&self) {
        for word in [&self.heard, &self.asked, &self.questions] {
            word.store(0, Ordering::Relaxed);
        }
        self.mac.store(0, Ordering::Relaxed);
    }
}

impl Place {
    /// Does something with the entry, if it is that of `address`; what is read meanwhile is void when its owner changes.
    fn with<T>(&self, address: u128, work: impl FnOnce(&Entry) -> T) -> Option<T> {
        let before = self.sequence.load(Ordering::Acquire);
        let is_it = before & 1 == 0
            && before != 0
            && self.high.load(Ordering::Relaxed) == (address >> 64) as u64
            && self.low.load(Ordering::Relaxed) == address as u64;
        if !is_it {
            return None;
        }
        let done = work(&self.entry);
        fence(Ordering::Acquire);
        (self.sequence.load(Ordering::Relaxed) == before).then_some(done)
    }

    /// Gives the place to `address`, unless somebody else is at it.
    fn take(&self, address: u128) -> bool {
        self.write(|| {
            self.high.store((address >> 64) as u64, Ordering::Relaxed);
            self.low.store(address as u64, Ordering::Relaxed);
            self.entry.forget();
        })
    }

    /// Takes down what `address` says. Its place cannot pass to another meanwhile.
    fn hear(&self, address: u128, mac: MacAddress, now: Tick) {
        if self.with(address, |_| ()).is_some() {
            self.write(|| {
                let is_still_its = self.high.load(Ordering::Relaxed) == (address >> 64) as u64
                    && self.low.load(Ordering::Relaxed) == address as u64;
                if is_still_its {
                    self.entry.hear(mac, now);
                }
            });
        }
    }

    /// Writes, unless somebody else does.
    fn write(&self, work: impl FnOnce()) -> bool {
        let before = self.sequence.load(Ordering::Relaxed);
        let is_mine = before & 1 == 0
            && self
                .sequence
                .compare_exchange(before, before.wrapping_add(1), Ordering::Acquire, Ordering::Relaxed)
                .is_ok();
        if is_mine {
            fence(Ordering::Release);
            work();
            // Zero says that a place was never taken.
            let after = if before.wrapping_add(2) == 0 { 2 } else { before.wrapping_add(2) };
            self.sequence.store(after, Ordering::Release);
        }
        is_mine
    }

    /// The greater, the less is lost by forgetting it; `None` while it is in use.
    fn worth_forgetting(&self, now: Tick) -> Option<u32> {
        if self.sequence.load(Ordering::Relaxed) == 0 {
            return Some(u32::MAX);
        }
        let since = |word: &AtomicU32| now.since(Tick(word.load(Ordering::Relaxed)));
        match self.entry.mac(now) {
            None if since(&self.entry.asked) >= OPEN => Some(u32::MAX - 1),
            None => None,
            Some(_) => Some(since(&self.entry.heard)),
        }
    }
}

impl Neighbours {
    /// The neighbours of an uplink with these gateways, of whom `declared` need not be asked.
    pub fn new(gateways: &[IpAddr], declared: &[(IpAddr, MacAddress)]) -> Self {
        let is_declared = |address: &IpAddr| declared.iter().any(|(other, _)| other == address);
        Self {
            declared: declared.into(),
            gateways: gateways
                .iter()
                .filter(|address| !is_declared(address))
                .map(|address| (*address, Entry::default()))
                .collect(),
            others: std::iter::repeat_with(Place::default).take(PLACES).collect(),
            hasher: RandomState::default(),
        }
    }

    /// Whether another was made of the same gateways and declared neighbours.
    pub fn is_same_as(&self, other: &Self) -> bool {
        let gateways = |table: &Self| table.gateways.iter().map(|(address, _)| *address).collect::<Vec<_>>();
        self.declared == other.declared && gateways(self) == gateways(other)
    }

    /// What is known of a next hop. [`NextHop::Ask`] is said to one caller, who asks.
    pub fn next_hop(&self, address: IpAddr, now: Tick) -> NextHop {
        if let Some((_, mac)) = self.declared.iter().find(|(declared, _)| *declared == address) {
            return NextHop::Known(*mac);
        }
        if let Some((_, entry)) = self.gateways.iter().find(|(gateway, _)| *gateway == address) {
            return entry.next_hop(now);
        }
        let bits = to_mapped_bits(address);
        let bucket = self.bucket(bits);
        if let Some(known) = bucket.iter().find_map(|place| place.with(bits, |entry| entry.next_hop(now))) {
            return known;
        }
        let places = bucket.iter().filter_map(|place| Some((place.worth_forgetting(now)?, place)));
        match places.max_by_key(|(worth, _)| *worth) {
            Some((_, place)) if place.take(bits) => {
                place.with(bits, |entry| entry.next_hop(now)).unwrap_or(NextHop::Waiting)
            }
            _ => NextHop::Waiting,
        }
    }

    /// Takes down what a neighbour says, where it was asked.
    pub fn hear(&self, address: IpAddr, mac: MacAddress, now: Tick) {
        if let Some((_, entry)) = self.gateways.iter().find(|(gateway, _)| *gateway == address) {
            return entry.hear(mac, now);
        }
        let bits = to_mapped_bits(address);
        self.bucket(bits).iter().for_each(|place| place.hear(bits, mac, now));
    }

    /// A gateway that is to be asked for before somebody needs it. Said to one caller, who asks.
    pub fn due(&self, now: Tick) -> Option<IpAddr> {
        self.gateways.iter().find(|(_, entry)| entry.is_due(now)).map(|(gateway, _)| *gateway)
    }

    fn bucket(&self, address: u128) -> &[Place] {
        let at = self.hasher.hash_one(address) as usize % (PLACES / BUCKET) * BUCKET;
        &self.others[at..at + BUCKET]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);

    fn address(last: u16) -> IpAddr {
        std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).into()
    }

    #[test]
    fn a_neighbour_is_asked_once_a_second_and_believed_only_then() {
        let gateway: IpAddr = "10.99.0.1".parse().unwrap();
        let table = Neighbours::new(&[gateway], &[]);
        for hop in [gateway, address(7)] {
            let start = Tick(1000);
            table.hear(hop, MAC, start);
            assert_eq!(table.next_hop(hop, start), NextHop::Ask, "nobody asked: nothing was learned");
            assert_eq!(table.next_hop(hop, Tick(1007)), NextHop::Waiting);
            assert_eq!(table.next_hop(hop, Tick(1008)), NextHop::Ask);
            table.hear(hop, MAC, Tick(1009));
            assert_eq!(table.next_hop(hop, Tick(1009)), NextHop::Known(MAC));
            // Unasked, another MAC is not believed.
            table.hear(hop, MacAddress([2, 6, 6, 6, 6, 6]), Tick(1010));
            assert_eq!(table.next_hop(hop, Tick(1010)), NextHop::Known(MAC));
            let late = Tick(1009 + VALID);
            assert_eq!(table.next_hop(hop, late), NextHop::Ask);
            assert_eq!(table.next_hop(hop, Tick(late.0 + 8)), NextHop::Ask);
            assert_eq!(table.next_hop(hop, Tick(late.0 + 16)), NextHop::Ask);
            assert_eq!(table.next_hop(hop, Tick(late.0 + 17)), NextHop::Silent);
        }
    }

    #[test]
    fn gateways_are_asked_before_they_are_missed() {
        let gateway: IpAddr = "10.99.0.1".parse().unwrap();
        let table = Neighbours::new(&[gateway], &[]);
        assert_eq!(table.due(Tick(50)), Some(gateway));
        assert_eq!(table.due(Tick(51)), None);
        table.hear(gateway, MAC, Tick(52));
        assert_eq!(table.due(Tick(60)), None);
        let stale = Tick(52 + FRESH);
        assert_eq!(table.due(stale), Some(gateway));
        assert_eq!(table.next_hop(gateway, stale), NextHop::Known(MAC), "and used until it answers");
        let declared = Neighbours::new(&[gateway], &[(gateway, MAC)]);
        assert_eq!((declared.due(stale), declared.next_hop(gateway, stale)), (None, NextHop::Known(MAC)));
    }

    #[test]
    fn a_scan_crowds_out_neither_gateways_nor_itself_for_ever() {
        let gateway: IpAddr = "10.99.0.1".parse().unwrap();
        let table = Neighbours::new(&[gateway], &[]);
        assert_eq!(table.next_hop(gateway, Tick(8)), NextHop::Ask);
        table.hear(gateway, MAC, Tick(8));
        let asked = (0..20_000).filter(|at| table.next_hop(address(*at), Tick(9)) == NextHop::Ask).count();
        assert!(asked <= PLACES && asked > PLACES / 2, "{asked}");
        assert_eq!(table.next_hop(gateway, Tick(9)), NextHop::Known(MAC));
        assert_eq!(table.next_hop(address(20_001), Tick(9 + OPEN)), NextHop::Ask);
    }

    #[test]
    fn workers_that_race_agree_on_what_they_read() {
        let table = Neighbours::new(&[], &[]);
        std::thread::scope(|scope| {
            for worker in 0..2u16 {
                let table = &table;
                scope.spawn(move || {
                    for round in 0..40_000u32 {
                        let host = (round as u16).wrapping_mul(31).wrapping_add(worker) % 4000;
                        let own = MacAddress([2, 0, 0, 0, (host >> 8) as u8, host as u8]);
                        let now = Tick(round / 100 * RETRY);
                        if let NextHop::Known(mac) = table.next_hop(address(host), now) {
                            assert_eq!(mac, own);
                        }
                        table.hear(address(host), own, now);
                    }
                });
            }
        });
    }
}
