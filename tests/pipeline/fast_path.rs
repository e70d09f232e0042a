//! The fast path repeats what guard and directory have said: a frame that differs in one bit from those that passed, or were
//! refused, has the same end, leaves the same bytes and the same connections, and counts for the same rules, as where no way was
//! remembered.

use std::collections::BTreeMap;

use septum::burst::ETHERNET;
use septum::drop_reason::DropReason;
use septum_rules::flow_key::FlowKey;
use septum_rules::proto::{Layer4, Protocol};

use crate::SHOP;
use crate::fabric::Fabric;

/// Two ends, and what one may send to the other, or may not.
type Conversation = ((&'static str, &'static str), Layer4);

const ROUTED: Conversation = (("web-1", "api-1"), Layer4::ports(Protocol::TCP, 40_000, 8080));
const BRIDGED: Conversation = (("ops-1", "api-1"), Layer4::ports(Protocol::TCP, 40_000, 22));
const BRIDGED_UDP: Conversation = (("api-1", "ops-1"), Layer4::ports(Protocol::UDP, 40_000, 514));
const REFUSED: Conversation = (("web-1", "api-1"), Layer4::ports(Protocol::TCP, 40_000, 22));
const REFUSED_UDP: Conversation = (("api-1", "ops-1"), Layer4::ports(Protocol::UDP, 40_000, 515));

/// What is known when the frame comes that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// Its connection, and the way between its ends.
    Connection,
    /// The way alone: the frame opens a connection, or is refused.
    Way,
}

/// What becomes of a frame of which one bit is flipped, behind others of its pair: its end, what arrived where, and what was
/// counted by rule.
fn outcome(
    fabric: &mut Fabric,
    frame: &[u8],
    (from, to): (&str, &str),
    (known, is_fast): (Known, bool),
    bit: usize,
) -> String {
    fabric.forget();
    for _ in 0..2 {
        fabric.send(from, frame);
    }
    if known == Known::Way {
        fabric.forget();
    }
    if !is_fast {
        fabric.forget_ways();
    }
    fabric.received(from);
    fabric.received(to);
    let mut changed = frame.to_vec();
    changed[bit / 8] ^= 1 << (bit % 8);
    let before = fabric.counters(from);
    fabric.send(from, &changed);
    let after = fabric.counters(from).since(&before);
    let mut hits = BTreeMap::new();
    fabric.snapshot.add_rule_hits(&mut hits);
    let arrived = (fabric.received(to), fabric.received(from));
    format!("{after:?} {arrived:?} {} {hits:?}", fabric.connections())
}

/// Holds every bit of the headers of a conversation's frame against the whole way.
fn assert_bits(policy: &str, (ends, layer4): Conversation, known: Known) {
    for ipv4 in [true, false] {
        let mut fabrics = [true, false].map(|is_fast| (is_fast, Fabric::new(policy)));
        let flow = fabrics[0].1.flow(ends.0, ends.1, ipv4, layer4);
        let frame = fabrics[0].1.opening(ends.0, &flow);
        let headers = ETHERNET + 14 + if ipv4 { 20 } else { 40 } + 20;
        for bit in 0..headers.min(frame.len()) * 8 {
            // Answers are limited; a tick later there are new ones.
            fabrics.iter_mut().for_each(|(_, fabric)| fabric.now.0 += 1);
            let [fast, whole] = fabrics
                .each_mut()
                .map(|(is_fast, fabric)| outcome(fabric, &frame, ends, (known, *is_fast), bit));
            assert_eq!(fast, whole, "bit {bit} of {ends:?} {layer4}, IPv4: {ipv4}, known: {known:?}");
        }
    }
}

#[test]
fn every_bit_counts_in_a_connection_as_it_does_on_the_whole_way() {
    for conversation in [ROUTED, BRIDGED, BRIDGED_UDP] {
        assert_bits(SHOP, conversation, Known::Connection);
    }
}

#[test]
fn every_bit_counts_in_what_opens_a_connection_as_it_does_on_the_whole_way() {
    for conversation in [ROUTED, BRIDGED, BRIDGED_UDP] {
        assert_bits(SHOP, conversation, Known::Way);
    }
}

#[test]
fn every_bit_counts_in_what_is_refused_as_it_does_on_the_whole_way() {
    let aloud = SHOP.replace("version = 1", "deny_with = \"reject\"\nversion = 1");
    for conversation in [REFUSED, REFUSED_UDP] {
        assert_bits(SHOP, conversation, Known::Way);
        assert_bits(&aloud, conversation, Known::Way);
    }
}

#[test]
fn what_does_not_hold_together_has_no_way_not_even_that_of_the_frame_before() {
    let ((from, to), layer4) = BRIDGED_UDP;
    let mut fabric = Fabric::new(SHOP);
    let flow = fabric.flow(from, to, true, layer4);
    let frame = fabric.opening(from, &flow);
    let to_itself = fabric.opening(from, &FlowKey { destination: flow.source, ..flow });
    assert_eq!(fabric.outcome(from, &frame), Ok(()));
    for _ in 0..3 {
        assert_eq!(fabric.outcome(from, &to_itself), Err(DropReason::Land));
    }
}

#[test]
fn a_new_policy_is_asked_at_the_next_packet() {
    let ((from, to), layer4) = BRIDGED;
    let mut fabric = Fabric::new(SHOP);
    let flow = fabric.flow(from, to, true, layer4);
    let frame = fabric.opening(from, &flow);
    for _ in 0..3 {
        assert_eq!(fabric.outcome(from, &frame), Ok(()));
    }
    fabric.change(SHOP.split("[[rule]]").next().expect("the part before the first rule"));
    assert!(fabric.outcome(from, &frame).is_err());
}
