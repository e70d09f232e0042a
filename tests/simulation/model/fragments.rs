//! The checker's idea of packets that pass in parts: the first part was admitted, and no two parts contradict each other.

use std::collections::HashMap;
use std::net::IpAddr;

use super::{Basis, Moment, SECOND, stands};
use crate::view::Packet;

/// How long later fragments may follow their first.
const PATIENCE: u32 = 30 * SECOND;

/// IPv6 tells fragments apart without the protocol (RFC 8200 section 4.5).
type Key = (IpAddr, IpAddr, u8, u32);

/// A packet of which the first part has passed.
#[derive(Clone, Debug)]
struct Followed {
    /// Where the parts that have passed begin and end.
    parts: Vec<(u32, u32)>,
    /// Where the last one ends, once it is known.
    end: Option<u32>,
    since: u32,
    basis: Basis,
}

/// A fragment: where it begins and ends, and whether more follow.
type Part = (u32, u32, bool);

/// Every packet whose later fragments may still pass.
#[derive(Debug, Default)]
pub(super) struct Fragments(HashMap<Key, Followed>);

fn key_of(packet: &Packet, identification: u32) -> Key {
    let protocol = if packet.source.is_ipv4() { packet.protocol } else { 0 };
    (packet.source, packet.destination, protocol, identification)
}

fn part_of(packet: &Packet) -> Option<(Key, Part)> {
    let (identification, offset, more, length) = packet.fragment?;
    let begin = u32::from(offset);
    Some((key_of(packet, identification), (begin, begin + u32::from(length), more)))
}

impl Followed {
    fn contradicts(&self, (begin, end, more): Part) -> Option<&'static str> {
        let overlaps = self.parts.iter().any(|(first, behind)| begin < *behind && *first < end);
        let highest = self.parts.iter().map(|(_, behind)| *behind).max().unwrap_or(0);
        match self.end {
            _ if overlaps => Some("a fragment over the bytes of another"),
            Some(last) if end > last => Some("a fragment behind the last"),
            None if !more && end < highest => Some("a last fragment before another"),
            _ => None,
        }
    }
}

impl Fragments {
    /// Whether a later fragment may pass.
    pub(super) fn right(&self, packet: &Packet, moment: Moment) -> Result<(), String> {
        let Some((key, part)) = part_of(packet) else { return Ok(()) };
        let why = match self.0.get(&key) {
            None => "a fragment whose first never passed",
            Some(first) if moment.tick - first.since > PATIENCE => "a fragment that comes too late",
            Some(first) if !stands(moment, first.basis) => "a fragment of what is not admitted any more",
            Some(first) => match first.contradicts(part) {
                Some(why) => why,
                None => return Ok(()),
            },
        };
        Err(why.into())
    }

    /// Takes note of a fragment that passed; a first one begins its packet anew.
    pub(super) fn passed(&mut self, packet: &Packet, basis: Basis, now: u32) {
        let Some((key, (begin, end, more))) = part_of(packet) else { return };
        if begin == 0 {
            self.0.insert(key, Followed { parts: Vec::new(), end: None, since: now, basis });
        }
        let Some(followed) = self.0.get_mut(&key) else { return };
        followed.parts.push((begin, end));
        if !more {
            followed.end = Some(end);
        }
    }

    pub(super) fn sweep(&mut self, now: u32) {
        self.0.retain(|_, first| now - first.since <= PATIENCE);
    }
}
