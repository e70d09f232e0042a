//! What a packet does to its connection: pure functions, no table, no clock.
//!
//! TCP follows RFC 9293 figure 5 as a middlebox sees it (flags only; sequence numbers are not checked here).
//! Everything else has two phases: spoken, and answered.

use septum_rules::proto::Protocol;

use crate::clock::Tick;
use crate::wire::tcp_flag::{ACK, FIN, RST, SYN};

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// TCP: the opener's SYN.
    SynSent = 0,
    /// TCP: both SYNs.
    SynReceived = 1,
    /// TCP: the handshake is complete.
    Established = 2,
    /// TCP: one side has sent FIN.
    Closing = 3,
    /// TCP: both sides have sent FIN.
    TimeWait = 4,
    /// TCP: reset.
    Reset = 5,
    /// No TCP: only the opener has spoken.
    Unanswered = 6,
    /// No TCP: both have.
    Answered = 7,
}

/// What connection tracking must know of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// IP protocol.
    pub protocol: Protocol,
    /// TCP flags, else zero.
    pub tcp_flags: u8,
}

/// What becomes of a connection at a packet that belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It goes on in this state.
    Continue(State),
    /// The packet opens a new connection with the same key: the gates must judge it, in its own direction.
    Reopen,
}

/// The state word's part that packets change: phase, who opened, who has sent FIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// How far it has come.
    pub phase: Phase,
    /// The opener's packets go down (from the higher end of the key to the lower).
    pub opened_down: bool,
    /// Who has sent FIN: bit 0 the opener, bit 1 the other.
    fins: u8,
}

impl Packet {
    /// The bare SYN of an opener.
    fn is_syn(self) -> bool {
        self.tcp_flags & (SYN | ACK | RST | FIN) == SYN
    }

    /// Whether this packet may open a connection. TCP opens with SYN alone.
    pub fn may_open(self) -> bool {
        self.protocol != Protocol::TCP || self.is_syn()
    }
}

impl State {
    /// The state that the opening packet makes.
    pub fn opened_by(packet: Packet, opened_down: bool) -> Self {
        let phase = if packet.protocol == Protocol::TCP { Phase::SynSent } else { Phase::Unanswered };
        Self { phase, opened_down, fins: 0 }
    }

    /// What the next packet does. `from_opener`: it goes the opening packet's way.
    pub fn step(self, packet: Packet, from_opener: bool) -> Step {
        if packet.protocol != Protocol::TCP {
            let phase = if from_opener { self.phase } else { Phase::Answered };
            return Step::Continue(Self { phase, ..self });
        }
        if packet.is_syn() {
            return self.step_syn(from_opener);
        }
        if packet.tcp_flags & RST != 0 {
            return Step::Continue(Self { phase: Phase::Reset, ..self });
        }
        let fin = packet.tcp_flags & FIN != 0;
        let fins = self.fins | if fin { 1 << u8::from(!from_opener) } else { 0 };
        let phase = match self.phase {
            Phase::Reset => Phase::Reset,
            _ if fins == 0b11 => Phase::TimeWait,
            _ if fins != 0 => Phase::Closing,
            Phase::SynSent if !from_opener && packet.tcp_flags & SYN != 0 => Phase::SynReceived,
            Phase::SynReceived if from_opener => Phase::Established,
            other => other,
        };
        Step::Continue(Self { phase, fins, ..self })
    }

    /// A bare SYN: a retransmission, a simultaneous open (RFC 9293 section 3.5), or a new connection.
    fn step_syn(self, from_opener: bool) -> Step {
        match self.phase {
            Phase::TimeWait | Phase::Reset => Step::Reopen,
            // An end that died without its FIN, and whose successor takes the same port.
            Phase::Closing if from_opener => Step::Reopen,
            _ if from_opener => Step::Continue(self),
            Phase::SynSent => Step::Continue(Self { phase: Phase::SynReceived, ..self }),
            // The answering side opens towards the opener: its right to do so was never judged.
            _ => Step::Reopen,
        }
    }

    /// Packs into 16 bits.
    pub(super) const fn to_bits(self) -> u16 {
        self.phase as u16 | (self.opened_down as u16) << 8 | (self.fins as u16) << 9
    }

    /// Unpacks what [`State::to_bits`] packed.
    pub(super) const fn from_bits(bits: u16) -> Self {
        let phase = match bits & 0xff {
            0 => Phase::SynSent,
            1 => Phase::SynReceived,
            2 => Phase::Established,
            3 => Phase::Closing,
            4 => Phase::TimeWait,
            5 => Phase::Reset,
            6 => Phase::Unanswered,
            _ => Phase::Answered,
        };
        Self { phase, opened_down: bits & 1 << 8 != 0, fins: (bits >> 9) as u8 & 0b11 }
    }
}

/// How long a silent connection is remembered, in ticks. The defaults are those of Linux
/// (`net.netfilter.nf_conntrack_*_timeout*`, Documentation/networking/nf_conntrack-sysctl.rst).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    by_phase: [u32; 8],
    icmp: u32,
    /// Fragments of one packet (`net.ipv4.ipfrag_time`).
    pub fragments: u32,
}

impl Default for Timeouts {
    fn default() -> Self {
        const fn seconds(count: u32) -> u32 {
            count * Tick::PER_SECOND
        }
        Self {
            by_phase: [
                seconds(120),
                seconds(60),
                seconds(5 * 86_400),
                seconds(120),
                seconds(120),
                seconds(10),
                seconds(30),
                seconds(120),
            ],
            icmp: seconds(30),
            fragments: seconds(30),
        }
    }
}

impl Timeouts {
    /// Ticks of silence after which a connection in this phase is forgotten.
    pub fn of(&self, protocol: Protocol, phase: Phase) -> u32 {
        if protocol.has_icmp_type() { self.icmp } else { self.by_phase[phase as usize] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(tcp_flags: u8) -> Packet {
        Packet { protocol: Protocol::TCP, tcp_flags }
    }

    /// Runs packets (flags, from the opener?) through a fresh connection.
    fn run(packets: &[(u8, bool)]) -> Phase {
        let mut state = State::opened_by(tcp(SYN), false);
        for (flags, from_opener) in packets {
            match state.step(tcp(*flags), *from_opener) {
                Step::Continue(next) => state = next,
                Step::Reopen => panic!("reopened at {flags:#x}"),
            }
        }
        state.phase
    }

    #[test]
    fn tcp_opens_and_closes_in_every_order() {
        let open = [(SYN | ACK, false), (ACK, true)];
        assert_eq!(run(&open), Phase::Established);
        for first in [true, false] {
            let close = [(FIN | ACK, first), (ACK, !first), (FIN | ACK, !first), (ACK, first)];
            assert_eq!(run(&[&open[..], &close[..1]].concat()), Phase::Closing);
            assert_eq!(run(&[&open[..], &close[..]].concat()), Phase::TimeWait);
        }
        assert_eq!(run(&[(RST | ACK, false)]), Phase::Reset);
        assert_eq!(
            run(&[(SYN, false), (SYN | ACK, true), (SYN | ACK, false), (ACK, true)]),
            Phase::Established
        );
    }

    #[test]
    fn the_answering_side_cannot_open_unjudged() {
        let state = State::opened_by(tcp(SYN), true);
        let Step::Continue(state) = state.step(tcp(SYN | ACK), false) else { panic!() };
        assert_eq!(state.step(tcp(SYN), false), Step::Reopen);
        assert_eq!(state.step(tcp(SYN), true), Step::Continue(state));
    }

    #[test]
    fn only_syn_opens_tcp() {
        for flags in [ACK, SYN | ACK, FIN | ACK, RST, SYN | FIN, 0] {
            assert!(!tcp(flags).may_open(), "{flags:#x}");
        }
        assert!(tcp(SYN | 0xc0).may_open(), "ECN setup SYN");
    }

    #[test]
    fn states_survive_packing() {
        for bits in 0..8u16 {
            for rest in 0..8u16 {
                let packed = bits | rest << 8;
                assert_eq!(State::from_bits(packed).to_bits(), packed);
            }
        }
    }
}
