//! Numbered TCP connections through the table, for its tests and its models.

use septum_rules::flow_key::FlowKey;
use septum_rules::identity::DomainId;
use septum_rules::proto::{Layer4, Protocol};

use super::{
    ConnectionKey, ConnectionTable, Direction, Entry, Opening, Packet, Segment, Step, Terms, Unopened,
};
use crate::clock::Tick;
use crate::wire::tcp_flag::{ACK, SYN};

/// A segment that takes up `length` numbers from `sequence` on.
pub(super) const fn segment(flags: u8, sequence: u32, acknowledgment: u32, length: u32) -> Packet {
    Packet::Tcp(Segment {
        sequence,
        length,
        acknowledgment,
        window: 1000,
        flags,
        scale: None,
        sack: None,
        is_cut: false,
    })
}

/// A handshake.
pub(super) const OPENING: Packet = segment(SYN, 100, 0, 1);
pub(super) const ANSWER: Packet = segment(SYN | ACK, 500, 101, 1);
pub(super) const COMPLETE: Packet = segment(ACK, 101, 501, 0);

/// The key of connection `number`, and its opener's direction.
pub(super) fn key(number: u32) -> (ConnectionKey, Direction) {
    let flow = FlowKey {
        domain: DomainId(0),
        source: std::net::Ipv4Addr::from_bits(0x0a00_0000 + number).into(),
        destination: std::net::Ipv4Addr::from_bits(0x0b00_0000).into(),
        layer4: Layer4::ports(Protocol::TCP, 40_000, 443),
    };
    ConnectionKey::of(&flow, 0)
}

/// Opens connection `number`, which the policy 1 admits by the verdict of that number, for `owner`.
pub(super) fn open(
    table: &ConnectionTable,
    number: u32,
    owner: u16,
    terms: &Terms,
    now: Tick,
) -> Result<(), Unopened> {
    let (key, direction) = key(number);
    let opening = Opening { packet: &OPENING, direction, opener: direction, judged: (1, number), owner };
    table.open(&key, table.hash(&key), &opening, terms, now)
}

/// Connection `number`, if it lives.
pub(super) fn find(table: &ConnectionTable, number: u32, now: Tick) -> Option<Entry> {
    let (key, _) = key(number);
    table.find(&key, table.hash(&key), now)
}

/// Puts a packet of connection `number` through it; `back`: against the opener's direction.
pub(super) fn put(
    table: &ConnectionTable,
    number: u32,
    packet: &Packet,
    back: bool,
    now: Tick,
) -> Option<Step> {
    let (_, direction) = key(number);
    let direction = if back { direction.reversed() } else { direction };
    let entry = find(table, number, now)?;
    let step = entry.step(packet, direction);
    if let Step::Continue(next) = step {
        table.advance(&entry, direction, packet, next, &Terms::default(), now);
    }
    Some(step)
}
