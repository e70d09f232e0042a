//! Which multicast groups one workload listens to, by its own reports (IGMP and MLD snooping, RFC 4541).
//!
//! A membership is one word: what tells the group from others, and until when it holds. A report renews it, a leave ends it at
//! once (one port, one host: nobody else is there to ask), and one that nobody renews runs out. A workload has [`PLACES`] of them,
//! which nobody else can take; a group more is refused, none is forgotten for it.
//!
//! Shared by all workers, without locks: each word is changed as a whole. Words are taken from the front, so a look ends at the
//! first that was never used: mostly one cache line. Nothing allocates, and nothing runs a clock of its own.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::quality::RandomState;
use septum_rules::address::to_mapped_bits;

use crate::clock::Tick;
use crate::wire::query;

/// Groups to which one workload may listen at the same time.
pub const PLACES: usize = 128;

/// Seconds for which a report holds: two queries and the time to answer (RFC 3376 section 8.4, RFC 3810 section 9.4).
const HOLDS: u16 = query::ROBUSTNESS as u16 * query::INTERVAL as u16 + 10;

/// A place that was never used, and one whose group was left.
const FREE: u64 = 0;
const LEFT: u64 = 1;
/// The low bits of a word are the second until which it holds, of 18 hours.
const UNTIL: u64 = 0xffff;

/// A group, as it is looked for: 47 bits of a hash whose seed nobody knows, so that no two groups are told for one, by chance
/// or by design. Were they, a listener would hear what its gates admit and it did not ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupKey(u64);

impl GroupKey {
    /// The key of a group address.
    pub fn of(group: IpAddr) -> Self {
        static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::default);
        Self((SEED.hash_one(to_mapped_bits(group)) | (UNTIL + 1)) & !UNTIL)
    }

    fn is_of(self, word: u64) -> bool {
        word & !UNTIL == self.0
    }
}

/// The workload listens to [`PLACES`] groups already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// The groups of one workload.
#[derive(Debug)]
pub struct Memberships {
    words: [AtomicU64; PLACES],
}

impl Default for Memberships {
    fn default() -> Self {
        Self { words: [const { AtomicU64::new(FREE) }; PLACES] }
    }
}

impl Memberships {
    /// Begins a membership, or renews it.
    ///
    /// # Errors
    /// When there is no place left.
    pub fn join(&self, group: GroupKey, now: Tick) -> Result<(), Full> {
        let held = group.0 | u64::from(second(now).wrapping_add(HOLDS));
        // Whoever finds a word changed looks again; each time, somebody else's change has come to pass.
        loop {
            let (mut own, mut vacant) = (None, None);
            for place in &self.words {
                let word = place.load(Ordering::Relaxed);
                if group.is_of(word) {
                    own = Some((place, word));
                    break;
                }
                if !is_held(word, now) {
                    vacant = vacant.or(Some((place, word)));
                }
                if word == FREE {
                    break;
                }
            }
            let (place, word) = own.or(vacant).ok_or(Full)?;
            if place.compare_exchange(word, held, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return Ok(());
            }
        }
    }

    /// Ends a membership.
    pub fn leave(&self, group: GroupKey) {
        self.end(|word| group.is_of(word));
    }

    /// Ends those that nobody has renewed: their seconds would come again.
    pub fn expire(&self, now: Tick) {
        self.end(|word| !is_held(word, now));
    }

    fn end(&self, is_over: impl Fn(u64) -> bool) {
        for place in self.used() {
            let over = |word| (word != FREE && is_over(word)).then_some(LEFT);
            let _ = place.fetch_update(Ordering::Relaxed, Ordering::Relaxed, over);
        }
    }

    /// Whether the workload listens to a group.
    pub fn has(&self, group: GroupKey, now: Tick) -> bool {
        let mut words = self.used().map(|place| place.load(Ordering::Relaxed));
        words.any(|word| group.is_of(word) && is_held(word, now))
    }

    fn used(&self) -> impl Iterator<Item = &AtomicU64> {
        self.words.iter().take_while(|place| place.load(Ordering::Relaxed) != FREE)
    }
}

fn second(now: Tick) -> u16 {
    (now.0 / Tick::PER_SECOND) as u16
}

/// Whether a word is a membership whose last second is not over. A worker whose burst began a second ago may ask about what another one
/// has renewed since.
fn is_held(word: u64, now: Tick) -> bool {
    word & !UNTIL != 0 && ((word & UNTIL) as u16).wrapping_sub(second(now)) <= HOLDS + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(last: u8) -> GroupKey {
        GroupKey::of(IpAddr::from([239, 0, 0, last]))
    }

    fn after(seconds: u32) -> Tick {
        Tick(u32::MAX - 100).plus(seconds * Tick::PER_SECOND)
    }

    #[test]
    fn a_membership_holds_until_it_is_left_or_not_renewed() {
        let memberships = Memberships::default();
        memberships.join(key(1), after(0)).unwrap();
        memberships.join(key(2), after(0)).unwrap();
        assert!(memberships.has(key(1), after(200)) && !memberships.has(key(3), after(0)));
        memberships.join(key(1), after(200)).unwrap();
        assert!(memberships.has(key(1), after(400)) && !memberships.has(key(2), after(400)));
        memberships.leave(key(1));
        assert!(!memberships.has(key(1), after(400)));
    }

    #[test]
    fn seconds_that_come_again_bring_nothing_back() {
        let memberships = Memberships::default();
        memberships.join(key(1), after(0)).unwrap();
        memberships.expire(after(300));
        assert!(!memberships.has(key(1), after(65_536)));
    }

    #[test]
    fn a_share_is_so_many_groups_and_each_comes_back() {
        let memberships = Memberships::default();
        let keys: Vec<_> = (0..PLACES as u8).map(key).collect();
        for group in &keys {
            assert_eq!(memberships.join(*group, after(0)), Ok(()));
        }
        assert_eq!(memberships.join(key(200), after(0)), Err(Full));
        assert_eq!(memberships.join(keys[5], after(1)), Ok(()), "what is there is renewed");
        memberships.leave(keys[7]);
        assert_eq!(memberships.join(key(200), after(0)), Ok(()));
        assert!(
            keys.iter().filter(|group| **group != keys[7]).all(|group| memberships.has(*group, after(0)))
        );
        assert_eq!(memberships.join(key(201), after(300)), Ok(()), "what ran out makes room");
    }

    #[test]
    fn workers_that_hear_of_one_port_lose_nothing() {
        let memberships = Memberships::default();
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let memberships = &memberships;
                scope.spawn(move || {
                    for round in 0..200 {
                        for last in 0..20 {
                            memberships.join(key(worker * 20 + last), after(0)).unwrap();
                            memberships.join(key(99), after(0)).unwrap();
                            if round != 199 {
                                memberships.leave(key(worker * 20 + last));
                            }
                        }
                    }
                });
            }
        });
        assert!((0..80).chain([99]).all(|last| memberships.has(key(last), after(0))));
        memberships.leave(key(99));
        assert!(!memberships.has(key(99), after(0)));
    }
}
