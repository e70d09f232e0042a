//! The checker's own idea of connections: which packets may belong to what the gates have admitted.
//!
//! Written from the page that says what a policy means, and from nothing in `conntrack`: a plain map, addresses instead
//! of packed keys, no entries to reuse, no generations. It errs on the lenient side only where the page leaves the
//! switch a choice, and says so there.

use std::collections::HashMap;
use std::net::IpAddr;

use septum_rules::proto::{Layer4, Protocol};

use crate::craft::{ACK, FIN, ICMP, ICMPV6, RST, SCTP, SYN, TCP, UDP};
use crate::view::Packet;
use crate::world::{NO_FRAGMENTS, atlas};

/// Ticks in a second.
const SECOND: u32 = 8;
/// How long a silent connection may still pass packets, as Linux has it (nf_conntrack-sysctl).
const HANDSHAKE: u32 = 120 * SECOND;
const ESTABLISHED: u32 = 5 * 86_400 * SECOND;
const CLOSING: u32 = 120 * SECOND;
const RESET: u32 = 10 * SECOND;
const UNANSWERED: u32 = 30 * SECOND;
const ANSWERED: u32 = 120 * SECOND;
const QUERY: u32 = 30 * SECOND;
const ASSOCIATED: u32 = 210 * SECOND;
const GENERIC: u32 = 600 * SECOND;
/// How long later fragments may follow their first.
const FRAGMENTS: u32 = 30 * SECOND;
/// Further from the next number than any window here, and a super-frame.
const FAR: u32 = 1 << 18;

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
    /// The sequence number behind what each side has sent.
    next: [Option<u32>; 2],
}

#[derive(Clone, Debug)]
struct Followed {
    /// Bytes of the first fragment.
    reach: u16,
    since: u32,
    basis: Basis,
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
    fragments: HashMap<(IpAddr, IpAddr, u8, u32), Followed>,
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

impl Connection {
    fn lifetime(&self, protocol: u8) -> u32 {
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
        if let Some((identification, offset, ..)) = packet.fragment {
            if moment.rules == NO_FRAGMENTS {
                return Err("a fragment passes a policy that refuses fragments".into());
            }
            if offset != 0 {
                let followed = self.fragments.get(&fragment_key(packet, identification));
                return match followed {
                    None => Err("a fragment whose first never passed".into()),
                    Some(first) if moment.tick - first.since > FRAGMENTS => {
                        Err("a fragment that comes too late".into())
                    }
                    Some(first) if offset < first.reach => {
                        Err("a fragment that reaches into the first".into())
                    }
                    Some(first) if !stands(moment, first.basis) => {
                        Err("a fragment of what is not admitted any more".into())
                    }
                    Some(_) => Ok(Right::Follows),
                };
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
            let is_under_way =
                connection.is_established || connection.is_reset || connection.finished != [false; 2];
            let is_other_opening = is_syn && !from_opener && is_under_way;
            if !is_other_opening && stands(moment, connection.basis) {
                return Ok(Right::Belongs);
            }
        }
        let may_open = match part_of(layer4) {
            Some(Part::Answers(_)) => false,
            Some(_) => true,
            None => packet.protocol != TCP || is_syn,
        };
        match may_open {
            true if admits() => Ok(Right::Opens),
            true => Err("the evaluator refuses it, and it belongs to no connection".into()),
            false => Err("it opens nothing and belongs to no live connection".into()),
        }
    }

    fn right_of_report(&self, packet: &Packet, frame: &[u8], moment: Moment) -> Result<Right, String> {
        let quoted = quoted(&frame[..packet.end], packet).ok_or("an error that quotes nothing")?;
        let (source, destination, layer4, identifier) = quoted;
        if source != packet.destination || destination != packet.source {
            return Err("an error about a packet of somebody else's".into());
        }
        let (key, _) = key_of(source, destination, layer4, identifier);
        match self.live(&key, moment.tick) {
            Some(connection) if stands(moment, connection.basis) => Ok(Right::Reports),
            _ => Err("an error about no live connection".into()),
        }
    }

    /// Whether a packet that opens something opens a connection: one-way messages do not.
    pub(crate) fn is_connection(packet: &Packet) -> bool {
        !matches!(part_of(packet.layer4), Some(Part::Other))
    }

    /// Takes note that a packet passed by this right.
    pub(crate) fn passed(&mut self, packet: &Packet, right: &Right, moment: Moment) {
        if matches!(right, Right::Follows | Right::Reports) {
            return;
        }
        let (source, destination, layer4) = (packet.source, packet.destination, packet.layer4);
        let (key, up) = key_of(source, destination, layer4, packet.identifier);
        let mut basis = (source, destination, layer4);
        if !matches!(part_of(layer4), Some(Part::Other)) {
            if *right == Right::Opens {
                self.connections.insert(key, Connection::opened(basis, up, moment.tick));
            }
            if let Some(connection) = self.connections.get_mut(&key) {
                basis = connection.basis;
                connection.advance(packet, up, moment.tick);
            }
        }
        if let Some((identification, 0, _, reach)) = packet.fragment {
            let followed = Followed { reach, since: moment.tick, basis };
            self.fragments.insert(fragment_key(packet, identification), followed);
        }
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
        self.fragments.retain(|_, first| now - first.since <= FRAGMENTS);
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
            next: [None; 2],
        }
    }

    fn advance(&mut self, packet: &Packet, up: bool, now: u32) {
        let side = usize::from(up != self.opened_up);
        // What is far outside every window may pass, and tells nothing of the connection.
        let is_stray = packet.tcp.is_some_and(|segment| {
            let far = |next| (segment.sequence.wrapping_sub(next) as i32).unsigned_abs() > FAR;
            segment.flags & SYN == 0 && self.next[side].is_some_and(far)
        });
        if is_stray {
            return;
        }
        self.seen = now;
        self.spoken[side] = true;
        let Some(segment) = packet.tcp else { return };
        let flags = segment.flags;
        if flags & (SYN | ACK) == SYN && side == 0 && (self.is_reset || self.finished != [false; 2]) {
            *self = Self::opened(self.basis, self.opened_up, now);
            self.spoken[0] = true;
        }
        self.synchronised[side] |= flags & SYN != 0;
        self.finished[side] |= flags & FIN != 0;
        // A reset at the very next number is one that every rule accepts (RFC 5961 section 3.2).
        if flags & RST != 0 && self.next[side] == Some(segment.sequence) {
            self.is_reset = true;
        }
        self.is_established |= self.synchronised == [true; 2] && side == 0 && flags & (SYN | RST) == 0;
        self.next[side] = Some(segment.sequence.wrapping_add(segment.length));
    }
}

fn fragment_key(packet: &Packet, identification: u32) -> (IpAddr, IpAddr, u8, u32) {
    // IPv6 tells fragments apart without the protocol (RFC 8200 section 4.5).
    let protocol = if packet.source.is_ipv4() { packet.protocol } else { 0 };
    (packet.source, packet.destination, protocol, identification)
}

/// What an ICMP error quotes: addresses, layer 4, an echo's identifier.
fn quoted(frame: &[u8], packet: &Packet) -> Option<(IpAddr, IpAddr, Layer4, u16)> {
    let inner = frame.get(packet.transport + 8..)?;
    let (source, destination, protocol, transport) = match packet.source {
        IpAddr::V4(_) => {
            let header = usize::from(inner.first()? & 0xf) * 4;
            let address = |at: usize| <[u8; 4]>::try_from(inner.get(at..at + 4)?).ok().map(IpAddr::from);
            (address(12)?, address(16)?, *inner.get(9)?, inner.get(header..)?)
        }
        IpAddr::V6(_) => {
            let address = |at: usize| <[u8; 16]>::try_from(inner.get(at..at + 16)?).ok().map(IpAddr::from);
            (address(8)?, address(24)?, *inner.get(6)?, inner.get(40..)?)
        }
    };
    let number = |at: usize| Some(u16::from_be_bytes([*transport.get(at)?, *transport.get(at + 1)?]));
    let layer4 = match protocol {
        TCP | UDP | SCTP => Layer4::ports(Protocol(protocol), number(0)?, number(2)?),
        ICMP | ICMPV6 => Layer4::icmp(Protocol(protocol), *transport.first()?, *transport.get(1)?),
        _ => Layer4::bare(Protocol(protocol)),
    };
    let is_echo = matches!((protocol, transport.first()), (ICMP, Some(0 | 8)) | (ICMPV6, Some(128 | 129)));
    let identifier = if is_echo { number(4)? } else { 0 };
    Some((source, destination, layer4, identifier))
}
