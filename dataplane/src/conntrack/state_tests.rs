//! Phases by segments, and against what nf_conntrack's table says.

use super::*;
use crate::wire::tcp_flag::{ACK, FIN, RST, SYN};

/// A connection by hand: both ends count on from what they have sent.
struct Talk {
    state: State,
    /// The opener, and the other.
    ends: [Sender; 2],
    next: [u32; 2],
}

impl Talk {
    fn opened() -> Self {
        let syn = Segment { sequence: 1000, length: 1, flags: SYN, window: 10_000, ..Segment::default() };
        let packet = Packet::Tcp(syn);
        assert!(packet.may_open());
        Self {
            state: State::opened_by(&packet, false),
            ends: [Sender::opener(&syn), Sender::default()],
            next: [1001, 5000],
        }
    }

    fn established() -> Self {
        let mut talk = Self::opened();
        talk.say(SYN | ACK, false);
        talk.say(ACK, true);
        assert_eq!(talk.state.phase(), Phase::Established);
        talk
    }

    /// The next segment of an end, acknowledging everything, and what it does.
    fn say(&mut self, flags: u8, from_opener: bool) -> Step {
        let at = usize::from(!from_opener);
        let segment = Segment {
            sequence: self.next[at],
            length: u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0),
            acknowledgment: self.next[1 - at],
            window: 10_000,
            flags,
            ..Segment::default()
        };
        let step = self.hear(segment, from_opener);
        if matches!(step, Step::Continue(_)) {
            self.next[at] = segment.end();
        }
        step
    }

    fn hear(&mut self, segment: Segment, from_opener: bool) -> Step {
        let at = usize::from(!from_opener);
        let (sender, receiver) = (self.ends[at], self.ends[1 - at]);
        let step = self.state.step_tcp(&segment, &sender, &receiver, from_opener);
        if let Step::Continue(next) = step {
            let is_handshake = matches!(self.state.phase(), Phase::SynSent | Phase::SynReceived);
            if !segment.is_reset() {
                self.ends[at] = sender.after(&receiver, &segment, is_handshake);
            }
            self.state = next;
        }
        step
    }
}

/// Where a connection ends after some segments (flags, from the opener?) in sequence.
fn run(mut talk: Talk, segments: &[(u8, bool)]) -> Phase {
    for (flags, from_opener) in segments {
        let step = talk.say(*flags, *from_opener);
        assert!(matches!(step, Step::Continue(_)), "{flags:#x}: {step:?}");
    }
    talk.state.phase()
}

#[test]
fn tcp_opens_and_closes_in_every_order() {
    for first in [true, false] {
        let close = [(FIN | ACK, first), (ACK, !first), (FIN | ACK, !first), (ACK, first)];
        for (count, phase) in
            [Phase::Established, Phase::FinWait, Phase::CloseWait, Phase::LastAck, Phase::TimeWait]
                .into_iter()
                .enumerate()
        {
            assert_eq!(run(Talk::established(), &close[..count]), phase);
        }
        // The second FIN carries the acknowledgement of the first.
        let short = [(FIN | ACK, first), (FIN | ACK, !first), (ACK, first)];
        assert_eq!(run(Talk::established(), &short[..2]), Phase::LastAck);
        assert_eq!(run(Talk::established(), &short), Phase::TimeWait);
        // Half closed: the other end goes on, as long as it likes.
        let half = [(FIN | ACK, first), (ACK, !first), (ACK, !first), (ACK, first)];
        assert_eq!(run(Talk::established(), &half), Phase::CloseWait);
    }
    assert_eq!(run(Talk::opened(), &[(SYN | ACK, false), (FIN | ACK, true)]), Phase::FinWait);
}

#[test]
fn both_may_open_at_once() {
    let mut talk = Talk::opened();
    assert!(matches!(talk.say(SYN, false), Step::Continue(_)));
    assert_eq!(talk.state.phase(), Phase::SynReceived);
    // Both SYNs are sent again, with what they acknowledge.
    talk.next[0] = 1000;
    assert!(matches!(talk.say(SYN | ACK, true), Step::Continue(_)));
    talk.next[1] = 5000;
    assert!(matches!(talk.say(SYN | ACK, false), Step::Continue(_)));
    assert!(matches!(talk.say(ACK, true), Step::Continue(_)));
    assert_eq!(talk.state.phase(), Phase::Established);
    assert!(matches!(talk.say(ACK, false), Step::Continue(_)));
}

/// net/netfilter/nf_conntrack_proto_tcp.c, `tcp_conntracks`: what a packet of the original and of the reply direction
/// does to each state, as far as a middlebox that judges opening packets by gates does the same.
#[test]
fn phases_are_those_of_linux() {
    use Phase::{CloseWait, Closed, Established, FinWait, LastAck, SynReceived, SynSent, TimeWait};
    let at = |phase: Phase| {
        let close = [(FIN | ACK, true), (ACK, false), (FIN | ACK, false), (ACK, true)];
        let mut talk = match phase {
            SynSent | SynReceived => Talk::opened(),
            _ => Talk::established(),
        };
        let before: &[(u8, bool)] = match phase {
            SynReceived => &[(SYN | ACK, false)],
            FinWait => &close[..1],
            CloseWait => &close[..2],
            LastAck => &close[..3],
            TimeWait => &close,
            Closed => &[(RST, true)],
            _ => &[],
        };
        for (flags, from_opener) in before {
            talk.say(*flags, *from_opener);
        }
        assert_eq!(talk.state.phase(), phase);
        talk
    };
    // "sIG" of Linux, a packet that passes and changes nothing, is `Judge` for a SYN.
    let syn = [
        (SynSent, None),
        (SynReceived, None),
        (Established, Some(Step::Judge)),
        (FinWait, Some(Step::Judge)),
    ];
    let syn = syn.into_iter().chain([
        (CloseWait, Some(Step::Judge)),
        (LastAck, Some(Step::Judge)),
        (TimeWait, Some(Step::Reopen)),
        (Closed, Some(Step::Reopen)),
    ]);
    for (phase, expected) in syn {
        let mut talk = at(phase);
        if expected.is_none() {
            // Sent again, from the same number.
            talk.next[0] = 1000;
        }
        let step = talk.say(SYN, true);
        assert_eq!(step, expected.unwrap_or(Step::Continue(State::new(phase, false))), "SYN in {phase:?}");
    }
    for (flags, from_opener, rows) in [
        (ACK, true, [SynSent, Established, Established, FinWait, CloseWait, TimeWait, TimeWait, Closed]),
        (ACK, false, [SynSent, SynReceived, Established, CloseWait, CloseWait, TimeWait, TimeWait, Closed]),
        (FIN | ACK, true, [SynSent, FinWait, FinWait, FinWait, CloseWait, LastAck, TimeWait, Closed]),
        (FIN | ACK, false, [SynSent, FinWait, FinWait, LastAck, LastAck, LastAck, TimeWait, Closed]),
        (RST, true, [Closed; 8]),
    ] {
        let phases = [SynSent, SynReceived, Established, FinWait, CloseWait, LastAck, TimeWait, Closed];
        for (before, after) in phases.into_iter().zip(rows) {
            assert_eq!(run(at(before), &[(flags, from_opener)]), after, "{flags:#x} in {before:?}");
        }
    }
}

#[test]
fn a_reset_that_is_not_exact_ends_nothing() {
    for from_opener in [true, false] {
        let mut talk = Talk::established();
        let at = usize::from(!from_opener);
        let blind = |sequence| Segment { sequence, flags: RST, ..Segment::default() };
        // Inside the window: the end will ask back (RFC 5961 section 3.2).
        let inside = blind(talk.next[at] + 100);
        assert!(matches!(talk.hear(inside, from_opener), Step::Continue(state) if state.is_doubted()));
        assert_eq!(talk.state.phase(), Phase::Established);
        talk.say(ACK, !from_opener);
        assert!(!talk.state.is_doubted(), "it lives");
        // Outside.
        let before = talk.state;
        assert_eq!(talk.hear(blind(talk.next[at] + 100_000), from_opener), Step::OutOfWindow);
        assert_eq!(talk.state, before);
        // Exactly.
        talk.say(RST, from_opener);
        assert_eq!(talk.state.phase(), Phase::Closed);
    }
}

#[test]
fn nothing_outside_the_window_moves_a_phase() {
    for flags in [ACK, FIN | ACK, RST | ACK, SYN | ACK] {
        let mut talk = Talk::established();
        let far = Segment { sequence: 0x7000_0000, acknowledgment: 0x7000_0000, flags, ..Segment::default() };
        for from_opener in [true, false] {
            assert_eq!(talk.hear(far, from_opener), Step::OutOfWindow, "{flags:#x}");
        }
    }
}

#[test]
fn a_refused_opening_is_over() {
    let mut talk = Talk::opened();
    let refusal = |acknowledgment| Segment { flags: RST | ACK, acknowledgment, ..Segment::default() };
    talk.hear(refusal(1000), false);
    assert_eq!(talk.state.phase(), Phase::SynSent, "it acknowledges no SYN");
    talk.hear(refusal(1001), false);
    assert_eq!(talk.state.phase(), Phase::Closed);
}

#[test]
fn an_old_connections_answer_to_a_syn_leaves_the_opening_as_it_is() {
    let mut talk = Talk::opened();
    // The challenge of an end that remembers another connection (RFC 5961 section 4.2), and the reset that settles it.
    let challenge = Segment { sequence: 777, acknowledgment: 999, flags: ACK, ..Segment::default() };
    assert!(matches!(talk.hear(challenge, false), Step::Continue(_)));
    assert!(!talk.ends[1].is_known);
    let reset = Segment { sequence: 999, flags: RST, ..Segment::default() };
    assert!(matches!(talk.hear(reset, true), Step::Continue(_)));
    assert_eq!(talk.state.phase(), Phase::SynSent);
    talk.next[0] = 1000;
    talk.say(SYN, true);
    talk.say(SYN | ACK, false);
    talk.say(ACK, true);
    assert_eq!(talk.state.phase(), Phase::Established);
}

#[test]
fn a_new_attempt_in_the_handshake_replaces_the_numbers() {
    let mut talk = Talk::opened();
    talk.next[0] = 900_000;
    talk.say(SYN, true);
    talk.say(SYN | ACK, false);
    talk.say(ACK, true);
    assert_eq!(talk.state.phase(), Phase::Established);
    assert_eq!(talk.ends[0].end, 900_001);
}

#[test]
fn only_syn_opens_tcp() {
    let tcp = |flags| Packet::Tcp(Segment { flags, ..Segment::default() });
    for flags in [ACK, SYN | ACK, FIN | ACK, RST, SYN | FIN, 0] {
        assert!(!tcp(flags).may_open(), "{flags:#x}");
        assert_eq!(tcp(flags).may_be_taken_up(), flags == ACK, "{flags:#x}");
    }
    assert!(tcp(SYN | 0xc0).may_open(), "ECN setup SYN");
    assert!(Packet::Other.may_open() && !Packet::Other.may_be_taken_up());
}

#[test]
fn states_survive_packing() {
    for bits in (0..0x100u16).filter(|bits| bits & 0xf != 0xf) {
        assert_eq!(State::from_bits(bits).to_bits(), bits);
    }
}
