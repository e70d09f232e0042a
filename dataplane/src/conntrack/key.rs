//! The name of a connection: the same for both directions.
//!
//! The two ends are put in order, so a packet and its reply give one key, and a [`Direction`] says which way
//! this packet goes. Addresses are 128 bits, IPv4 as its mapped IPv6 form (a real packet with such an address is a
//! martian, so the forms cannot meet).

use septum_rules::address::{from_mapped_bits, to_mapped_bits};
use septum_rules::flow_key::FlowKey;
use septum_rules::identity::DomainId;
use septum_rules::proto::{Layer4, Protocol};

use super::table::ConnectionTable;
use crate::wire::IpPacket;

/// Both ends in order, packed: two addresses, then ports, protocol and domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionKey(pub(super) [u64; 5]);

/// Which way a packet goes, relative to the order of the ends in its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// From the lower end to the higher.
    #[default]
    Up,
    /// From the higher end to the lower.
    Down,
}

impl Direction {
    /// The other way.
    pub const fn reversed(self) -> Self {
        match self {
            Self::Up => Self::Down,
            Self::Down => Self::Up,
        }
    }
}

/// A packet's place among connections: the key, its hash in one table, and the packet's direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Connection {
    /// The name of the connection.
    pub key: ConnectionKey,
    /// The key's hash.
    pub hash: u64,
    /// Which way the packet goes.
    pub direction: Direction,
}

impl Connection {
    /// The place of a packet in `table`.
    pub fn of(ip: &IpPacket, table: &ConnectionTable) -> Self {
        let (key, direction) = ConnectionKey::of(&ip.flow, ip.echo_identifier);
        Self { key, hash: table.hash(&key), direction }
    }
}

/// An address and a 16-bit number.
type End = (u128, u16);

/// Which way a packet from `source` to `destination` goes. By the lower halves of the addresses where these differ, as they
/// nearly always do: any order serves.
#[inline]
fn direction_of(source: End, destination: End) -> Direction {
    let (lower, higher) = (source.0 as u64, destination.0 as u64);
    let is_up = if lower == higher { source <= destination } else { lower < higher };
    if is_up { Direction::Up } else { Direction::Down }
}

impl ConnectionKey {
    /// The key of a flow, and this packet's direction in it.
    ///
    /// `echo_identifier` is that of an ICMP query or reply. Queries have no two ports: the asking end gets the identifier,
    /// the answering end the type of the query; and the key says which end asks, since an identifier may equal a type.
    /// So a request of the other side is another connection.
    pub fn of(flow: &FlowKey, echo_identifier: u16) -> (Self, Direction) {
        let role = icmp_role(flow.layer4);
        let (source_port, destination_port) = match role {
            Some(IcmpRole::Query(asked)) => (echo_identifier, asked),
            Some(IcmpRole::Reply(asked)) => (asked, echo_identifier),
            Some(IcmpRole::Other) => (0, flow.layer4.destination),
            None => (flow.layer4.source, flow.layer4.destination),
        };
        let source = (to_mapped_bits(flow.source), source_port);
        let destination = (to_mapped_bits(flow.destination), destination_port);
        let (mut key, direction) = Self::between(flow.domain, flow.layer4.protocol, source, destination);
        let low_asks = match role {
            Some(IcmpRole::Query(_)) => direction == Direction::Up,
            Some(IcmpRole::Reply(_)) => direction == Direction::Down,
            _ => false,
        };
        key.0[4] |= if low_asks { LOW_ASKS } else { 0 };
        (key, direction)
    }

    /// The key of a packet of TCP or UDP between two ends, in the default domain, and the packet's direction. The same as
    /// [`ConnectionKey::of`] gives, for those who have no [`FlowKey`] at hand.
    #[inline]
    pub fn of_ports(source: (u128, u16), destination: (u128, u16), protocol: Protocol) -> (Self, Direction) {
        Self::between(DomainId::default(), protocol, source, destination)
    }

    #[inline]
    fn between(domain: DomainId, protocol: Protocol, source: End, destination: End) -> (Self, Direction) {
        let direction = direction_of(source, destination);
        let key = match direction {
            Direction::Up => Self::pack(domain, protocol, source, destination),
            Direction::Down => Self::pack(domain, protocol, destination, source),
        };
        (key, direction)
    }

    /// The key under which the fragments of one packet are followed; directed, so it never meets a connection's.
    ///
    /// IPv4 tells packets apart by protocol too (RFC 791 section 3.2). IPv6 does not (RFC 8200 section 4.5): there a later
    /// fragment names the header behind the fragment header, which need not be the transport.
    pub fn of_fragments(flow: &FlowKey, identification: u32) -> Self {
        let source = (to_mapped_bits(flow.source), (identification >> 16) as u16);
        let destination = (to_mapped_bits(flow.destination), identification as u16);
        let protocol = if flow.source.is_ipv4() { flow.layer4.protocol } else { Protocol::default() };
        let mut key = Self::pack(flow.domain, protocol, source, destination);
        key.0[4] |= FRAGMENTS;
        key
    }

    #[inline]
    fn pack(domain: DomainId, protocol: Protocol, low: End, high: End) -> Self {
        let ports = u64::from(low.1) << 48 | u64::from(high.1) << 32;
        let rest = u64::from(domain.0) << 16 | u64::from(protocol.0);
        Self([(low.0 >> 64) as u64, low.0 as u64, (high.0 >> 64) as u64, high.0 as u64, ports | rest])
    }

    /// The protocol.
    #[inline]
    pub const fn protocol(&self) -> Protocol {
        Protocol(self.0[4] as u8)
    }

    /// The ports of TCP or UDP, as the gates judge the packet that goes in `direction`.
    #[inline]
    pub fn ports(&self, direction: Direction) -> Layer4 {
        let (low, high) = ((self.0[4] >> 48) as u16, (self.0[4] >> 32) as u16);
        match direction {
            Direction::Up => Layer4::ports(self.protocol(), low, high),
            Direction::Down => Layer4::ports(self.protocol(), high, low),
        }
    }

    /// Whether both ends show numbers that the table keeps beside the entry.
    #[inline]
    pub(super) const fn has_ends(&self) -> bool {
        matches!(self.protocol(), Protocol::TCP | Protocol::SCTP)
    }

    /// The flow of the packet that goes in `direction`, as the gates judge it.
    pub fn flow(&self, direction: Direction) -> FlowKey {
        let [low_high, low_low, high_high, high_low, rest] = self.0;
        let low = (u128::from(low_high) << 64 | u128::from(low_low), (rest >> 48) as u16);
        let high = (u128::from(high_high) << 64 | u128::from(high_low), (rest >> 32) as u16);
        let (source, destination) = match direction {
            Direction::Up => (low, high),
            Direction::Down => (high, low),
        };
        let protocol = self.protocol();
        let layer4 = if protocol.has_icmp_type() {
            // Only queries and one-way messages are ever stored from their opener's side, where the
            // destination's number is the type (a query's code is zero).
            Layer4 { protocol, source: 0, destination: destination.1 }
        } else {
            Layer4 { protocol, source: source.1, destination: destination.1 }
        };
        FlowKey {
            domain: DomainId((rest >> 16) as u16),
            source: from_mapped_bits(source.0),
            destination: from_mapped_bits(destination.0),
            layer4,
        }
    }
}

/// Marks the key of an ICMP query whose lower end asks; beside [`FRAGMENTS`].
const LOW_ASKS: u64 = 1 << 9;

/// Marks a key of fragments; above the protocol's eight bits, below the domain's.
const FRAGMENTS: u64 = 1 << 8;

/// What an ICMP message is to connection tracking; numbers are `type << 8` of the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpRole {
    /// Asks; the other side answers.
    Query(u16),
    /// Answers a query.
    Reply(u16),
    /// Neither.
    Other,
}

/// The part that an ICMP or ICMPv6 message plays; `None` for other protocols.
pub fn icmp_role(layer4: Layer4) -> Option<IcmpRole> {
    const fn asked(icmp_type: u8) -> u16 {
        u16::from_be_bytes([icmp_type, 0])
    }
    let (icmp_type, code) = layer4.icmp_type_code()?;
    Some(match (layer4.protocol, icmp_type, code) {
        // RFC 792. Only an echo's identifier is read: the timestamps of two hosts are one conversation.
        (Protocol::ICMP, 8 | 13, 0) => IcmpRole::Query(asked(icmp_type)),
        (Protocol::ICMP, 0, 0) => IcmpRole::Reply(asked(8)),
        (Protocol::ICMP, 14, 0) => IcmpRole::Reply(asked(13)),
        // RFC 4443 section 4.
        (Protocol::ICMPV6, 128, 0) => IcmpRole::Query(asked(128)),
        (Protocol::ICMPV6, 129, 0) => IcmpRole::Reply(asked(128)),
        _ => IcmpRole::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(source: &str, destination: &str, layer4: Layer4) -> FlowKey {
        FlowKey {
            domain: DomainId(3),
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            layer4,
        }
    }

    #[test]
    fn a_packet_and_its_reply_share_a_key_and_differ_in_direction() {
        for (a, b) in [("10.0.0.1", "10.0.0.2"), ("10.0.0.2", "10.0.0.1"), ("fd00::1", "fd00::2")] {
            let there = flow(a, b, Layer4::ports(Protocol::TCP, 40000, 443));
            let back = flow(b, a, Layer4::ports(Protocol::TCP, 443, 40000));
            let (key, direction) = ConnectionKey::of(&there, 0);
            assert_eq!(ConnectionKey::of(&back, 0), (key, direction.reversed()));
            assert_eq!(key.flow(direction), there);
            assert_eq!(key.flow(direction.reversed()), back);
            let end = |address, port| (to_mapped_bits(address), port);
            let (domain, ends) =
                (DomainId::default(), (end(there.source, 40000), end(there.destination, 443)));
            assert_eq!(
                ConnectionKey::of_ports(ends.0, ends.1, Protocol::TCP),
                ConnectionKey::of(&FlowKey { domain, ..there }, 0)
            );
        }
    }

    #[test]
    fn an_echo_request_of_the_other_side_is_another_connection() {
        let request = |a, b| flow(a, b, Layer4::icmp(Protocol::ICMP, 8, 0));
        let (key, direction) = ConnectionKey::of(&request("10.0.0.1", "10.0.0.2"), 77);
        let reply = flow("10.0.0.2", "10.0.0.1", Layer4::icmp(Protocol::ICMP, 0, 0));
        assert_eq!(ConnectionKey::of(&reply, 77), (key, direction.reversed()));
        assert_ne!(ConnectionKey::of(&request("10.0.0.2", "10.0.0.1"), 77).0, key);
        assert_eq!(key.flow(direction), request("10.0.0.1", "10.0.0.2"));
    }

    #[test]
    fn an_identifier_that_equals_the_type_is_no_way_back_in() {
        for (a, b, protocol, asked) in
            [("10.0.0.1", "10.0.0.2", Protocol::ICMP, 8), ("fd00::1", "fd00::2", Protocol::ICMPV6, 128)]
        {
            let identifier = u16::from(asked) << 8;
            let request = |from, to| flow(from, to, Layer4::icmp(protocol, asked, 0));
            let (there, _) = ConnectionKey::of(&request(a, b), identifier);
            let (back, _) = ConnectionKey::of(&request(b, a), identifier);
            assert_ne!(there, back);
        }
    }

    #[test]
    fn fragments_never_share_a_key_with_a_connection() {
        let bare = flow("10.0.0.1", "10.0.0.2", Layer4::bare(Protocol::GRE));
        assert_ne!(ConnectionKey::of(&bare, 0).0, ConnectionKey::of_fragments(&bare, 0));
    }
}
