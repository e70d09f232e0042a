//! The fast path repeats decisions and makes none: a frame that differs in one bit from those that passed has the same end, and
//! leaves the same bytes, as where nothing was remembered.

use septum_rules::proto::{Layer4, Protocol};

use crate::SHOP;
use crate::fabric::Fabric;

const ETHERNET: usize = 12;

/// Two ends, and what one may send to the other.
type Conversation = ((&'static str, &'static str), Layer4);

const ROUTED: Conversation = (("web-1", "api-1"), Layer4::ports(Protocol::TCP, 40_000, 8080));
const BRIDGED: Conversation = (("ops-1", "api-1"), Layer4::ports(Protocol::TCP, 40_000, 22));
const BRIDGED_UDP: Conversation = (("api-1", "ops-1"), Layer4::ports(Protocol::UDP, 40_000, 514));

/// What becomes of the third packet of a connection, of which one bit is flipped: its end, and what arrived where.
fn outcome(
    fabric: &mut Fabric,
    frame: &[u8],
    (from, to): (&str, &str),
    remembered: bool,
    bit: usize,
) -> String {
    fabric.forget();
    for _ in 0..2 {
        assert_eq!(fabric.outcome(from, frame), Ok(()));
    }
    if !remembered {
        fabric.forget_ways();
    }
    fabric.received(to);
    let mut changed = frame.to_vec();
    changed[bit / 8] ^= 1 << (bit % 8);
    let before = fabric.counters(from);
    fabric.send(from, &changed);
    let after = fabric.counters(from).since(&before);
    format!("{after:?} {:?} {:?} {}", fabric.received(to), fabric.received(from), fabric.connections())
}

#[test]
fn every_bit_of_every_header_counts_as_it_does_on_the_whole_way() {
    for (ends, layer4) in [ROUTED, BRIDGED, BRIDGED_UDP] {
        for ipv4 in [true, false] {
            let mut fabrics = [true, false].map(|remembered| (remembered, Fabric::new(SHOP)));
            let flow = fabrics[0].1.flow(ends.0, ends.1, ipv4, layer4);
            let frame = fabrics[0].1.opening(ends.0, &flow);
            let headers = ETHERNET + 14 + if ipv4 { 20 } else { 40 } + 20;
            for bit in 0..headers.min(frame.len()) * 8 {
                // Answers are limited; a tick later there are new ones.
                fabrics.iter_mut().for_each(|(_, fabric)| fabric.now.0 += 1);
                let [fast, whole] = fabrics
                    .each_mut()
                    .map(|(remembered, fabric)| outcome(fabric, &frame, ends, *remembered, bit));
                assert_eq!(fast, whole, "bit {bit} of {ends:?} {layer4}, IPv4: {ipv4}");
            }
        }
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
