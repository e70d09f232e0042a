//! The checker's own idea of connections: which packets may belong to what the gates have admitted.
//!
//! Written from the page that says what a policy means, and from nothing in `conntrack`: a plain map, addresses instead
//! of packed keys, no entries to reuse, no generations. It errs on the lenient side only where the page leaves the
//! switch a choice, and says so there.

#[path = "model/fragments.rs"]
mod fragments;
#[path = "model/groups.rs"]
pub(crate) mod groups;
#[path = "model/report.rs"]
mod report;
#[path = "model/shares.rs"]
mod shares;
#[path = "model/windows.rs"]
mod windows;

use std::collections::HashMap;
use std::net::IpAddr;

use septum_rules::proto::Layer4;

use self::fragments::Fragments;
use self::groups::Groups;
use self::report::{Quoted, quoted};
use self::shares::Shares;
use self::windows::Windows;
use crate::craft::{ACK, FIN, ICMP, ICMPV6, RST, SCTP, SYN, TCP, UDP};
use crate::view::{Packet, Segment};
use crate::world::{NO_FRAGMENTS, atlas};

/// Ticks in a second.
const SECOND: u32 = 8;
/// Timeouts of silent connections, as Linux has them (nf_conntrack-sysctl).
const HANDSHAKE: u32 = 120 * SECOND;
const ESTABLISHED: u32 = 5 * 86_400 * SECOND;
const CLOSING: u32 = 120 * SECOND;
const RESET: u32 = 10 * SECOND;
const UNANSWERED: u32 = 30 * SECOND;
const ANSWERED: u32 = 120 * SECOND;
const QUERY: u32 = 30 * SECOND;
const ASSOCIATED: u32 = 210 * SECOND;
const GENERIC: u32 = 600 * SECOND;

/// An end of a connection: address, and port, identifier or type.
type End = (IpAddr, u16);

/// A connection's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    protocol: u8,
    low: End,
    high: End,
}

/// A flow that the gates judged: source, destination, layer 4.
pub(crate) type Basis = (IpAddr, IpAddr, Layer4);

#[derive(Clone, Debug)]
struct Connection {
    /// The flow of its opening packet.
    basis: Basis,
    /// The opener sends from the low end to the high one.
    opened_up: bool,
    seen: u32,
    /// By side, the opener's first: who has sent anything, SYN, FIN.
    spoken: [bool; 2],
    synchronised: [bool; 2],
    finished: [bool; 2],
    is_established: bool,
    is_reset: bool,
    windows: Windows,
}

/// By whom and when a packet is judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// The worker's policy.
    pub(crate) rules: usize,
    /// The policy published last: the worker may be a burst behind another.
    pub(crate) newest: usize,
    pub(crate) tick: u32,
}

/// Why a packet may pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Right {
    /// The gates admit it: it opens a connection, or is judged for itself.
    Opens,
    /// It belongs to a live connection.
    Belongs,
    /// It reports an error about a packet of a live connection.
    Reports,
    /// It is a part of a packet whose first part passed.
    Follows,
}

/// All connections that the switch may know.
#[derive(Debug, Default)]
pub(crate) struct Model {
    connections: HashMap<Key, Connection>,
    fragments: Fragments,
    shares: Shares,
    pub(crate) groups: Groups,
}

/// What an ICMP message is: the query's type if it asks or answers.
enum Part {
    Asks(u8),
    Answers(u8),
    Reports,
    Other,
}

fn part_of(layer4: Layer4) -> Option<Part> {
    let (icmp_type, code) = layer4.icmp_type_code()?;
    Some(match (layer4.protocol.0, icmp_type, code) {
        (ICMP, 8 | 13, 0) | (ICMPV6, 128, 0) => Part::Asks(icmp_type),
        (ICMP, 0, 0) => Part::Answers(8),
        (ICMP, 14, 0) => Part::Answers(13),
        (ICMPV6, 129, 0) => Part::Answers(128),
        (ICMP, 3 | 4 | 5 | 11 | 12, _) => Part::Reports,
        (ICMPV6, ..=127, _) => Part::Reports,
        _ => Part::Other,
    })
}

/// The connection that a packet would belong to, and whether the packet goes from its low end to its high one.
fn key_of(source: IpAddr, destination: IpAddr, layer4: Layer4, identifier: u16) -> (Key, bool) {
    let protocol = layer4.protocol.0;
    // A query is its asker's: low asks, high answers.
    match part_of(layer4) {
        Some(Part::Asks(asked)) => {
            return (
                Key { protocol, low: (source, identifier), high: (destination, u16::from(asked)) },
                true,
            );
        }
        Some(Part::Answers(asked)) => {
            return (
                Key { protocol, low: (destination, identifier), high: (source, u16::from(asked)) },
                false,
            );
        }
        _ => {}
    }
    let has_ports = matches!(protocol, TCP | UDP | SCTP);
    let number = |port| if has_ports { port } else { 0 };
    let (from, to) = ((source, number(layer4.source)), (destination, number(layer4.destination)));
    match from <= to {
        true => (Key { protocol, low: from, high: to }, true),
        false => (Key { protocol, low: to, high: from }, false),
    }
}

/// Whether the evaluator still admits what a connection rests on, or connections are kept. A worker that is a burst behind
/// may still go by its own policy, or by what another worker found under the newer one.
fn stands(moment: Moment, (source, destination, layer4): Basis) -> bool {
    [moment.rules, moment.newest]
        .into_iter()
        .any(|rules| atlas().rules[rules].keeps || atlas().admits(rules, source, destination, layer4))
}

/// The host that answers for a connection: its opener, or whom somebody behind an uplink opens it to.
fn answerable(packet: &Packet) -> usize {
    let owner = |address| atlas().owner(address);
    let opener = owner(packet.source).filter(|host| atlas().hosts[*host].network.is_none());
    opener.or_else(|| owner(packet.destination)).expect("it was forwarded to somebody")
}

impl Connection {
    /// The longest that it may be remembered in silence: its timeout, and an eighth of it.
    fn lifetime(&self, protocol: u8) -> u32 {
        let timeout = self.timeout(protocol);
        timeout + timeout / 8
    }

    fn timeout(&self, protocol: u8) -> u32 {
        match protocol {
            ICMP | ICMPV6 => QUERY,
            TCP if self.is_reset => RESET,
            TCP if self.finished != [false; 2] => CLOSING,
            TCP if self.is_established => ESTABLISHED,
            TCP => HANDSHAKE,
            UDP if self.spoken == [true; 2] => ANSWERED,
            UDP => UNANSWERED,
            SCTP => ASSOCIATED,
            _ => GENERIC,
        }
    }
}

impl Model {
    fn live(&self, key: &Key, now: u32) -> Option<&Connection> {
        let connection = self.connections.get(key)?;
        (now - connection.seen <= connection.lifetime(key.protocol)).then_some(connection)
    }

    /// Whether a packet may pass to the one workload that has its destination address.
    pub(crate) fn right(&self, packet: &Packet, frame: &[u8], moment: Moment) -> Result<Right, String> {
        let (source, destination, layer4) = (packet.source, packet.destination, packet.layer4);
        if let Some((_, offset, ..)) = packet.fragment {
            if moment.rules == NO_FRAGMENTS {
                return Err("a fragment passes a policy that refuses fragments".into());
            }
            if offset != 0 {
                return self.fragments.right(packet, moment).map(|()| Right::Follows);
            }
        }
        if matches!(part_of(layer4), Some(Part::Reports)) {
            return self.right_of_report(packet, frame, moment);
        }
        let admits = || atlas().admits(moment.rules, source, destination, layer4);
        let flags = packet.tcp.map_or(0, |segment| segment.flags);
        let is_syn = flags & (SYN | ACK | RST | FIN) == SYN;
        let (key, up) = key_of(source, destination, layer4, packet.identifier);
        if let Some(connection) = self.live(&key, moment.tick) {
            let from_opener = connection.opened_up == up;
            // Both sides may open at once; else the answering side's right to open was never judged.
            let is_other_opening = is_syn && !from_opener && connection.windows.is_settled;
            if !is_other_opening && stands(moment, connection.basis) {
                let is_outside = |segment: Segment| {
                    segment.flags & SYN == 0
                        && connection.windows.excludes(usize::from(!from_opener), segment.sequence)
                };
                return match atlas().rules[moment.rules].is_strict && packet.tcp.is_some_and(is_outside) {
                    true => Err("a segment far outside its window".into()),
                    false => Ok(Right::Belongs),
                };
            }
        }
        let may_open = match part_of(layer4) {
            Some(Part::Answers(_)) => false,
            Some(_) => true,
            None if packet.protocol == TCP => is_syn,
            // RFC 9260: an association opens with INIT, alone.
            None if packet.protocol == SCTP => frame.get(packet.transport + 12) == Some(&1),
            None => true,
        };
        match may_open {
            true if admits() => Ok(Right::Opens),
            true => Err("the evaluator refuses it, and it belongs to no connection".into()),
            false => Err("it opens nothing and belongs to no live connection".into()),
        }
    }

    fn right_of_report(&self, packet: &Packet, frame: &[u8], moment: Moment) -> Result<Right, String> {
        let quoted = quoted(&frame[..packet.end], packet).ok_or("an error that quotes nothing")?;
        let Quoted { source, destination, layer4, identifier, sequence } = quoted;
        // Routers behind an uplink may speak of what they carry.
        let is_on_path = atlas().owner(destination).is_some_and(|owner| {
            let host = &atlas().hosts[owner];
            host.network.is_some() && host.has(packet.source)
        });
        if source != packet.destination || (destination != packet.source && !is_on_path) {
            return Err("an error about a packet of somebody else's".into());
        }
        let (key, up) = key_of(source, destination, layer4, identifier);
        let Some(connection) = self.live(&key, moment.tick).filter(|it| stands(moment, it.basis)) else {
            return Err("an error about no live connection".into());
        };
        let side = usize::from(connection.opened_up != up);
        let was_not_sent = sequence.is_some_and(|sequence| connection.windows.excludes(side, sequence));
        match atlas().rules[moment.rules].is_strict && was_not_sent {
            true => Err("an error about a segment that was never sent".into()),
            false => Ok(Right::Reports),
        }
    }

    /// Whether a packet that opens something opens a connection: one-way messages do not.
    pub(crate) fn is_connection(packet: &Packet) -> bool {
        !matches!(part_of(packet.layer4), Some(Part::Other))
    }

    /// Takes note that a packet passed by this right; says if its sender has more than its share then.
    pub(crate) fn passed(&mut self, packet: &Packet, right: &Right, moment: Moment) -> Result<(), String> {
        let (source, destination, layer4) = (packet.source, packet.destination, packet.layer4);
        let (key, up) = key_of(source, destination, layer4, packet.identifier);
        let mut basis = (source, destination, layer4);
        match right {
            Right::Reports => return Ok(()),
            Right::Follows => {}
            _ if matches!(part_of(layer4), Some(Part::Other)) => {}
            _ => {
                let is_fresh = self.live(&key, moment.tick).is_none();
                if *right == Right::Opens {
                    let windows = if is_fresh { Windows::default() } else { Windows::DOUBTFUL };
                    let opened = Connection { windows, ..Connection::opened(basis, up, moment.tick) };
                    self.connections.insert(key, opened);
                }
                if let Some(connection) = self.connections.get_mut(&key) {
                    basis = connection.basis;
                    connection.advance(packet, up, moment);
                }
                match *right == Right::Opens && is_fresh {
                    true => self.shares.opened(answerable(packet), key, moment)?,
                    false => self.shares.continued(key),
                }
            }
        }
        self.fragments.passed(packet, basis, moment.tick);
        Ok(())
    }

    /// A host has a new port: shares begin anew, and nobody has reported there.
    pub(crate) fn new_port(&mut self, host: usize) {
        self.shares.forget();
        self.groups.forget(host);
    }

    /// Takes note that the gates refused a packet: if its connection does not stand any more, it has ended.
    pub(crate) fn refused(&mut self, packet: &Packet, moment: Moment) {
        let is_syn = packet.tcp.is_some_and(|segment| segment.flags & SYN != 0);
        if packet.fragment.is_some_and(|(_, offset, ..)| offset != 0)
            || is_syn
            || moment.rules != moment.newest
        {
            return;
        }
        let (key, _) = key_of(packet.source, packet.destination, packet.layer4, packet.identifier);
        if self.live(&key, moment.tick).is_some_and(|connection| !stands(moment, connection.basis)) {
            self.connections.remove(&key);
        }
    }

    /// Forgets what is over, so that a long run stays small.
    pub(crate) fn sweep(&mut self, now: u32) {
        self.connections.retain(|key, connection| now - connection.seen <= connection.lifetime(key.protocol));
        self.fragments.sweep(now);
        self.groups.sweep(now);
    }
}

impl Connection {
    fn opened(basis: Basis, opened_up: bool, now: u32) -> Self {
        Self {
            basis,
            opened_up,
            seen: now,
            spoken: [false; 2],
            synchronised: [false; 2],
            finished: [false; 2],
            is_established: false,
            is_reset: false,
            windows: Windows::default(),
        }
    }

    fn advance(&mut self, packet: &Packet, up: bool, moment: Moment) {
        let now = moment.tick;
        let side = usize::from(up != self.opened_up);
        // What is certainly outside its window may pass, and tells nothing of the connection.
        let is_stray =
            |segment: &Segment| segment.flags & SYN == 0 && self.windows.excludes(side, segment.sequence);
        if packet.tcp.as_ref().is_some_and(is_stray) {
            return;
        }
        self.seen = now;
        self.spoken[side] = true;
        let Some(segment) = packet.tcp else { return };
        let flags = segment.flags;
        if flags & (SYN | ACK) == SYN && side == 0 && (self.is_reset || self.finished != [false; 2]) {
            *self = Self { windows: Windows::DOUBTFUL, ..Self::opened(self.basis, self.opened_up, now) };
            self.spoken[0] = true;
        }
        self.synchronised[side] |= flags & SYN != 0;
        // A reset at the very next number is one that every rule accepts (RFC 5961 section 3.2).
        self.is_reset |= flags & RST != 0 && self.windows.ends_at(side, segment.sequence);
        self.windows.passed(packet, segment, side, atlas().rules[moment.rules].is_strict);
        // One that may have been outside its window ends nothing.
        let end = segment.sequence.wrapping_add(segment.length);
        self.finished[side] |= flags & FIN != 0 && self.windows.ends_at(side, end);
        self.is_established |= self.synchronised == [true; 2] && side == 0 && flags & (ACK | RST) == ACK;
    }
}
