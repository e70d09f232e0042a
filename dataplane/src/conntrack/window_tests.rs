//! Windows: each bound by hand, and all of them against a model of two honest ends.

use proptest::prelude::*;

use super::*;
use crate::wire::tcp_flag::{ACK, FIN, RST, SYN};

fn segment(flags: u8, sequence: u32, acknowledgment: u32, window: u16, payload: u32) -> Segment {
    let length = payload + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
    Segment { sequence, length, acknowledgment, window, flags, scale: None, sack: None, is_cut: false }
}

/// Both ends after a handshake from 1000 and 5000, windows of 10,000 bytes, with these scales.
fn connected(scales: [Option<u8>; 2]) -> (Sender, Sender) {
    let syn = Segment { scale: scales[0], ..segment(SYN, 1000, 0, 10_000, 0) };
    let opener = Sender::opener(&syn);
    let syn_ack = Segment { scale: scales[1], ..segment(SYN | ACK, 5000, 1001, 10_000, 0) };
    assert!(Sender::default().fits(&opener, &syn_ack));
    let answerer = Sender::default().after(&opener, &syn_ack, true);
    let ack = segment(ACK, 1001, 5001, 10_000, 0);
    assert!(opener.fits(&answerer, &ack));
    (opener.after(&answerer, &ack, true), answerer)
}

#[test]
fn words_hold_what_is_known() {
    for (opener, answerer) in [connected([None; 2]), connected([Some(7), Some(0)])] {
        for sender in [opener, answerer, Sender::default(), Sender { is_untracked: true, ..opener }] {
            let unpacked = Sender::from_words(sender.to_words());
            assert_eq!(Sender { window: sender.window, ..unpacked }, sender);
            assert!((sender.window..sender.window + WINDOW_UNIT).contains(&unpacked.window));
        }
    }
}

#[test]
fn each_bound_is_kept() {
    let (a, b) = connected([None; 2]);
    let fits = |sequence, acknowledgment, payload| {
        a.fits(&b, &segment(ACK, sequence, acknowledgment, 10_000, payload))
    };
    assert!(fits(1001, 5001, 1000));
    // 1: the edge is 1001 + 10,000; a probe stands on it.
    assert!(fits(11_001, 5001, 1) && !fits(11_002, 5001, 1));
    // 2: no further back than the window and its slack.
    assert!(fits(1000, 5001, 0), "a keepalive");
    assert!(!fits(1001_u32.wrapping_sub(80_000), 5001, 0));
    // 3: what was not sent cannot be acknowledged.
    assert!(!fits(1001, 5002, 0));
    let sack = Segment { sack: Some(5002), ..segment(ACK, 1001, 5001, 10_000, 0) };
    assert!(!a.fits(&b, &sack));
    // 4: nor what was acknowledged long ago.
    assert!(!fits(1001, 5001_u32.wrapping_sub(80_000), 0));
    // Without ACK that field means nothing.
    assert!(a.fits(&b, &segment(RST, 1001, 0xdead_beef, 0, 0)));
}

#[test]
fn scales_count_only_where_both_have_them() {
    for (scales, edge) in
        [([Some(4), Some(2)], 5001 + (10_000 << 4)), ([Some(4), None], 15_001), ([None, Some(2)], 15_001)]
    {
        let (a, b) = connected(scales);
        let at = |sequence| b.fits(&a, &segment(ACK, sequence, 1001, 10_000, 1));
        assert!(at(edge) && !at(edge + 1), "{scales:?}");
    }
}

#[test]
fn a_super_frame_may_begin_at_the_edge_and_its_acknowledgements_pass() {
    let (a, b) = connected([None; 2]);
    let large = segment(ACK, 11_000, 5001, 10_000, 64_000);
    assert!(a.fits(&b, &large));
    let a = a.after(&b, &large, false);
    let answer = segment(ACK, 5001, 11_000, 10_000, 0);
    assert!(b.fits(&a, &answer), "sent before it came");
    assert!(b.fits(&a, &segment(ACK, 5001, 75_000, 10_000, 0)));
}

#[test]
fn resets_end_only_exactly() {
    let (a, b) = connected([None; 2]);
    let data = segment(ACK, 1001, 5001, 10_000, 3000);
    let a = a.after(&b, &data, false);
    let b = b.after(&a, &segment(ACK, 5001, 2001, 10_000, 0), false);
    let exact = |sequence| a.resets_exactly(&b, &segment(RST, sequence, 0, 0, 0));
    assert!(exact(4001), "the next that it would send");
    assert!(exact(2001), "the next that the other waits for");
    assert!(!exact(2002) && !exact(4000) && !exact(4002) && !exact(1001));
    // The answer to a SYN proves itself by what it acknowledges.
    let opener = Sender::opener(&segment(SYN, 1000, 0, 10_000, 0));
    let refusal = |flags, acknowledgment| {
        Sender::default().resets_exactly(&opener, &segment(flags, 0, acknowledgment, 0, 0))
    };
    assert!(refusal(RST | ACK, 1001) && !refusal(RST | ACK, 1002) && !refusal(RST, 1001));
}

#[test]
fn what_cannot_be_followed_is_inside() {
    let (a, b) = connected([None; 2]);
    let cut = Segment { is_cut: true, ..segment(ACK, 1001, 5001, 10_000, 500) };
    let a = a.after(&b, &cut, false);
    assert!(a.fits(&b, &segment(ACK, 0x8000_0000, 0, 0, 0)));
    assert!(b.fits(&a, &segment(ACK, 5001, 3000, 10_000, 0)), "the rest of the cut segment, acknowledged");
}

#[test]
fn quoted_numbers_must_have_been_sent() {
    let (a, b) = connected([None; 2]);
    let a = a.after(&b, &segment(ACK, 1001, 5001, 10_000, 3000), false);
    assert!(a.has_sent(&b, 1001) && a.has_sent(&b, 4000));
    assert!(!a.has_sent(&b, 4002) && !a.has_sent(&b, 1001_u32.wrapping_sub(90_000)));
}

/// One of two honest ends: sends inside the window that it was given, acknowledges what came, in order or not.
#[derive(Clone, Debug)]
struct Host {
    next: u32,
    acknowledged: u32,
    /// First number that it may not send.
    edge: u32,
    expects: u32,
    /// What came out of order, as (from, to).
    held: Vec<(u32, u32)>,
    window: u32,
    /// The edge that it has promised never moves back (RFC 9293 section 3.8.6).
    promised: u32,
    scale: u8,
}

impl Host {
    fn new(initial: u32, scale: u8, window: u32) -> Self {
        Self {
            next: initial,
            acknowledged: initial,
            edge: initial,
            expects: 0,
            held: Vec::new(),
            window,
            promised: 0,
            scale,
        }
    }

    fn stamp(&mut self, flags: u8, sequence: u32, length: u32) -> Segment {
        let offered = (self.window >> self.scale).min(0xffff) << self.scale;
        let keeps = self.promised.wrapping_sub(self.expects);
        let offered =
            if is_after(self.promised, self.expects.wrapping_add(offered)) { keeps } else { offered };
        // A right edge between two units of the scale is rounded up, as stacks do.
        let field = (offered.div_ceil(1 << self.scale)).min(0xffff);
        self.promised = later(self.promised, self.expects.wrapping_add(field << self.scale));
        let sack = self.held.iter().map(|(_, to)| *to).reduce(later);
        Segment {
            sequence,
            length,
            acknowledgment: self.expects,
            window: field as u16,
            flags,
            scale: None,
            sack,
            is_cut: false,
        }
    }

    fn send(&mut self, most: u32) -> Segment {
        let room = self.edge.wrapping_sub(self.next).min(most);
        let segment = self.stamp(ACK, self.next, room);
        self.next = self.next.wrapping_add(room);
        segment
    }

    fn send_again(&mut self) -> Segment {
        let length = self.next.wrapping_sub(self.acknowledged).min(1400);
        self.stamp(ACK, self.acknowledged, length)
    }

    fn receive(&mut self, segment: &Segment, peer_scale: u8) {
        if is_after(segment.acknowledgment, self.acknowledged) {
            self.acknowledged = segment.acknowledgment;
        }
        let edge = segment.acknowledgment.wrapping_add(u32::from(segment.window) << peer_scale);
        self.edge = later(self.edge, edge);
        if segment.length != 0 && is_after(segment.end(), self.expects) {
            self.held.push((segment.sequence, segment.end()));
        }
        while let Some(at) = self.held.iter().position(|(from, _)| !is_after(*from, self.expects)) {
            let (_, to) = self.held.swap_remove(at);
            self.expects = later(self.expects, to);
        }
        // What was overtaken is no longer selectively acknowledged.
        self.held.retain(|(_, to)| is_after(*to, self.expects));
    }
}

proptest! {
    /// Whatever two honest ends send through loss, reordering, duplication and changing windows is inside, and a blind
    /// reset or acknowledgement is not.
    #[test]
    fn honest_ends_are_always_inside(
        initial in any::<[u32; 2]>(),
        scales in prop::array::uniform2(0u8..15),
        windows in prop::array::uniform2(1u32..2_000_000),
        steps in prop::collection::vec((any::<u8>(), 0u32..65_000, any::<u16>()), 1..400),
    ) {
        let mut hosts = [Host::new(initial[0], scales[0], windows[0]), Host::new(initial[1], scales[1], windows[1])];
        let field = |at: usize| windows[at].min(0xffff) as u16;
        let syn = Segment { scale: Some(scales[0]), ..segment(SYN, initial[0], 0, field(0), 0) };
        let answer = Segment { scale: Some(scales[1]), ..segment(SYN | ACK, initial[1], initial[0].wrapping_add(1), field(1), 0) };
        let mut known = [Sender::opener(&syn), Sender::default()];
        prop_assert!(known[1].fits(&known[0], &answer));
        known[1] = known[1].after(&known[0], &answer, true);
        for at in 0..2 {
            let next = initial[at].wrapping_add(1);
            hosts[at].next = next;
            hosts[at].acknowledged = next;
            hosts[at].edge = next.wrapping_add(u32::from(field(1 - at)));
            hosts[at].expects = initial[1 - at].wrapping_add(1);
            hosts[at].promised = hosts[at].expects.wrapping_add(u32::from(field(at)));
        }
        // The handshake's last acknowledgement.
        let mut on_the_way: Vec<(usize, Segment)> = vec![(0, hosts[0].send(0))];
        for (what, amount, pick) in steps {
            let at = usize::from(what & 1);
            match what >> 1 & 7 {
                0..=2 => { let segment = hosts[at].send(amount); on_the_way.push((at, segment)); }
                3 => { let segment = hosts[at].send_again(); on_the_way.push((at, segment)); }
                4 if !on_the_way.is_empty() => { on_the_way.swap_remove(usize::from(pick) % on_the_way.len()); }
                5 if !on_the_way.is_empty() => { let copy = on_the_way[usize::from(pick) % on_the_way.len()]; on_the_way.push(copy); }
                6 => hosts[at].window = amount,
                _ if !on_the_way.is_empty() => {
                    // Reordered by up to eight.
                    let place = usize::from(pick) % on_the_way.len().min(8);
                    let (from, segment) = on_the_way.remove(place);
                    let words = [known[from].to_words(), known[1 - from].to_words()];
                    let (sender, receiver) = (Sender::from_words(words[0]), Sender::from_words(words[1]));
                    if !sender.fits(&receiver, &segment) {
                        // Overtaken by 64 KiB and a window: lost, as on the way. Sent again it has a fresh acknowledgement.
                        let peer = &hosts[1 - from];
                        let overtaken = is_after(peer.acknowledged.wrapping_sub(SLACK), segment.acknowledgment)
                            || is_after(peer.expects.wrapping_sub(SLACK), segment.end());
                        prop_assert!(overtaken, "{segment:?}\n{sender:?}\n{receiver:?}\n{peer:?}");
                        continue;
                    }
                    known[from] = sender.after(&receiver, &segment, false);
                    hosts[1 - from].receive(&segment, scales[from]);
                    // What nobody sent: far ahead of the window, and an acknowledgement of the future.
                    if let Some(answer) = known[1 - from].answer {
                        let ahead = Segment { sequence: answer.edge.wrapping_add(1), ..segment };
                        prop_assert!(!known[from].fits(&known[1 - from], &ahead));
                    }
                    let future = Segment { acknowledgment: known[1 - from].end.wrapping_add(1), ..segment };
                    prop_assert!(!known[from].fits(&known[1 - from], &future));
                }
                _ => {}
            }
        }
    }

    /// What workers learn of an end is the same, in whatever order they write it down.
    #[test]
    fn merging_is_commutative(
        a in (any::<u16>(), any::<u16>(), any::<u32>()),
        b in (any::<u16>(), any::<u16>(), any::<u32>()),
        initial in any::<u32>(),
    ) {
        let made = |(end, acknowledged, window): (u16, u16, u32)| Sender {
            is_known: true,
            end: initial.wrapping_add(u32::from(end)),
            window: window >> 2,
            scale: Some(3),
            is_untracked: false,
            answer: Some(Answer { acknowledged: initial.wrapping_add(u32::from(acknowledged)), edge: initial.wrapping_add(u32::from(acknowledged)).wrapping_add(window >> 3) }),
        };
        let (a, b) = (made(a), made(b));
        prop_assert_eq!(a.merged(&b), b.merged(&a));
        prop_assert_eq!(a.merged(&a), a);
    }
}
