//! What a packet does to its connection: pure functions, no table, no clock.
//!
//! TCP follows RFC 9293 figure 5 as a middlebox sees it, with the phases of Linux
//! (net/netfilter/nf_conntrack_proto_tcp.c), and RFC 5961: a reset ends a connection only exactly in sequence, a SYN
//! on a live one ends nothing. Whether a segment is inside the windows is [`super::window`]'s; SCTP is
//! [`super::sctp`]'s. Everything else has two phases: spoken, and answered.

use std::fmt;

use septum_rules::proto::Protocol;

use super::sctp::Chunk;
use super::segment::Segment;
use super::window::Sender;
use crate::wire::IpPacket;

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
    FinWait = 3,
    /// TCP: that FIN was acknowledged.
    CloseWait = 4,
    /// TCP: both sides have sent FIN.
    LastAck = 5,
    /// TCP: both FINs were acknowledged.
    TimeWait = 6,
    /// TCP: reset. SCTP: aborted, or shut down.
    Closed = 7,
    /// No TCP, no SCTP: only the opener has spoken.
    Unanswered = 8,
    /// No TCP, no SCTP: both have.
    Answered = 9,
    /// SCTP: INIT was sent.
    CookieWait = 10,
    /// SCTP: the cookie was sent back.
    CookieEchoed = 11,
    /// SCTP: the cookie was taken.
    Associated = 12,
    /// SCTP: one side shuts down.
    Shutdown = 13,
    /// SCTP: the other agrees.
    ShutdownAcked = 14,
}

impl Phase {
    /// All of them, each at the place of its number.
    pub const ALL: [Self; 15] = [
        Self::SynSent,
        Self::SynReceived,
        Self::Established,
        Self::FinWait,
        Self::CloseWait,
        Self::LastAck,
        Self::TimeWait,
        Self::Closed,
        Self::Unanswered,
        Self::Answered,
        Self::CookieWait,
        Self::CookieEchoed,
        Self::Associated,
        Self::Shutdown,
        Self::ShutdownAcked,
    ];

    /// Whether only the opening packet was seen.
    pub const fn is_opening(self) -> bool {
        matches!(self, Self::SynSent | Self::CookieWait | Self::Unanswered)
    }

    /// Whether nobody but the opener need exist yet: what a flood consists of.
    pub const fn is_half_open(self) -> bool {
        matches!(self, Self::SynSent | Self::SynReceived | Self::CookieWait | Self::CookieEchoed)
    }
}

/// What connection tracking must know of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet {
    /// A TCP segment, or the first fragment of one.
    Tcp(Segment),
    /// An SCTP packet, or the first fragment of one.
    Sctp(Chunk),
    /// Any other protocol.
    Other,
}

/// What becomes of a connection at a packet that belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It goes on in this state.
    Continue(State),
    /// The packet opens a new connection with the same key: the gates must judge it, in its own direction.
    Reopen,
    /// The packet asks to open where a connection lives (RFC 5961 section 4): the gates must judge it, and if they admit
    /// it, it passes for the end to answer, and changes nothing.
    Judge,
    /// A TCP segment outside the windows: it changes nothing.
    OutOfWindow,
}

/// The state word's part that packets change, as it stands there: the phase in four bits, and a bit each for what else is known.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct State(u16);

/// The bits of the phase.
const PHASE: u16 = 0xf;
/// The opener's packets go down (from the higher end of the key to the lower).
const OPENED_DOWN: u16 = 1 << 4;
/// TCP: who has sent FIN; the lower bit the opener, the other one the other.
const FINS: u16 = 0b11 << 5;
/// TCP: a reset has passed that was not exactly in sequence, and nobody has spoken since.
const DOUBTED: u16 = 1 << 7;

impl Packet {
    /// Reads what `packet` of `frame` is.
    #[inline]
    pub fn read(frame: &[u8], packet: &IpPacket) -> Self {
        match packet.flow.layer4.protocol {
            Protocol::TCP => Self::Tcp(Segment::read(frame, packet)),
            Protocol::SCTP => Self::Sctp(Chunk::read(frame, packet)),
            _ => Self::Other,
        }
    }

    /// Whether this packet may open a connection. TCP opens with SYN alone, SCTP with INIT alone.
    pub const fn may_open(&self) -> bool {
        match self {
            Self::Tcp(segment) => segment.is_opening(),
            Self::Sctp(chunk) => chunk.opens(),
            Self::Other => true,
        }
    }

    /// Whether it is part of a TCP connection under way: what a restarted switch may take up. A FIN or a reset is not worth it.
    pub const fn may_be_taken_up(&self) -> bool {
        matches!(self, Self::Tcp(segment)
            if segment.has_ack() && !segment.is_syn() && !segment.is_reset() && !segment.is_fin())
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut state = f.debug_struct("State");
        state.field("phase", &self.phase()).field("opened_down", &self.is_opened_down());
        state.field("fins", &self.fins()).field("doubted", &self.is_doubted()).finish()
    }
}

impl State {
    /// A state without a history.
    pub fn new(phase: Phase, opened_down: bool) -> Self {
        Self(phase as u16 | if opened_down { OPENED_DOWN } else { 0 })
    }

    /// How far it has come.
    #[inline]
    pub const fn phase(self) -> Phase {
        // A table of phases would be another line to read; the compiler sees through this one.
        match self.phase_number() {
            0 => Phase::SynSent,
            1 => Phase::SynReceived,
            2 => Phase::Established,
            3 => Phase::FinWait,
            4 => Phase::CloseWait,
            5 => Phase::LastAck,
            6 => Phase::TimeWait,
            7 => Phase::Closed,
            8 => Phase::Unanswered,
            9 => Phase::Answered,
            10 => Phase::CookieWait,
            11 => Phase::CookieEchoed,
            12 => Phase::Associated,
            13 => Phase::Shutdown,
            _ => Phase::ShutdownAcked,
        }
    }

    /// The number of its phase: below 16.
    #[inline]
    pub(super) const fn phase_number(self) -> usize {
        (self.0 & PHASE) as usize
    }

    /// The opener's packets go down (from the higher end of the key to the lower).
    #[inline]
    pub const fn is_opened_down(self) -> bool {
        self.0 & OPENED_DOWN != 0
    }

    /// TCP: a reset has passed that was not exactly in sequence, and nobody has spoken since.
    #[inline]
    pub const fn is_doubted(self) -> bool {
        self.0 & DOUBTED != 0
    }

    /// TCP: who has sent FIN; bit 0 the opener, bit 1 the other.
    const fn fins(self) -> u16 {
        (self.0 & FINS) >> FINS.trailing_zeros()
    }

    /// The same but for the phase.
    #[inline]
    pub(super) const fn in_phase(self, phase: Phase) -> Self {
        Self(self.0 & !PHASE | phase as u16)
    }

    /// The state that a packet makes which opens a connection, or is the first seen of one.
    pub fn opened_by(packet: &Packet, opened_down: bool) -> Self {
        let phase = match packet {
            Packet::Tcp(segment) if segment.is_opening() => Phase::SynSent,
            Packet::Tcp(_) => Phase::Established,
            Packet::Sctp(_) => Phase::CookieWait,
            Packet::Other => Phase::Unanswered,
        };
        Self::new(phase, opened_down)
    }

    /// What a TCP segment of `sender` to `receiver` does. `from_opener`: it goes the opening packet's way.
    pub fn step_tcp(self, segment: &Segment, sender: &Sender, receiver: &Sender, from_opener: bool) -> Step {
        if segment.is_opening() {
            return match self.phase() {
                // RFC 6191 lets the end decide by time stamps, too, whether it takes the new one.
                Phase::TimeWait | Phase::Closed => Step::Reopen,
                Phase::SynSent | Phase::SynReceived if from_opener => Step::Continue(self),
                // Simultaneous open (RFC 9293 section 3.5).
                Phase::SynSent => Step::Continue(self.in_phase(Phase::SynReceived)),
                _ => Step::Judge,
            };
        }
        if !sender.fits(receiver, segment) {
            return Step::OutOfWindow;
        }
        if segment.is_reset() {
            return Step::Continue(match self.phase() {
                Phase::Closed => self,
                _ if sender.resets_exactly(receiver, segment) => self.in_phase(Phase::Closed),
                _ => Self(self.0 | DOUBTED),
            });
        }
        let heard = Heard {
            is_syn: segment.is_syn(),
            has_ack: segment.has_ack(),
            is_fin: segment.is_fin(),
            acknowledges_all: sender.acknowledges_all(receiver, segment),
            from_opener,
        };
        Step::Continue(self.after(heard))
    }

    /// The phases of a segment that is inside the windows and no reset.
    fn after(self, heard: Heard) -> Self {
        let fins = match self.phase() {
            // Nobody can end what has not begun, or is over.
            Phase::SynSent | Phase::TimeWait | Phase::Closed => self.fins(),
            _ => self.fins() | if heard.is_fin { 1 << u8::from(!heard.from_opener) } else { 0 },
        };
        let is_pure = !heard.is_fin && !heard.is_syn;
        let phase = match self.phase() {
            Phase::SynSent if !heard.from_opener && heard.is_syn && heard.has_ack => Phase::SynReceived,
            phase @ (Phase::SynSent | Phase::TimeWait | Phase::Closed) => phase,
            Phase::LastAck if is_pure && heard.acknowledges_all => Phase::TimeWait,
            _ if fins == 0b11 => Phase::LastAck,
            Phase::FinWait if is_pure && heard.acknowledges_all && self.other_closed(heard.from_opener) => {
                Phase::CloseWait
            }
            Phase::CloseWait => Phase::CloseWait,
            _ if fins != 0 => Phase::FinWait,
            Phase::SynReceived if heard.from_opener && heard.has_ack => Phase::Established,
            other => other,
        };
        Self(self.0 & OPENED_DOWN | fins << FINS.trailing_zeros()).in_phase(phase)
    }

    /// Whether the end that this packet goes to has sent FIN.
    const fn other_closed(self, from_opener: bool) -> bool {
        self.fins() >> from_opener as u16 & 1 != 0
    }

    /// What a packet of any other protocol does.
    #[inline]
    pub const fn step_other(self, from_opener: bool) -> Step {
        Step::Continue(if from_opener { self } else { self.in_phase(Phase::Answered) })
    }

    /// The lower half of the state word.
    #[inline]
    pub(super) const fn to_bits(self) -> u16 {
        self.0
    }

    /// The state whose half of the word this is.
    #[inline]
    pub(super) const fn from_bits(bits: u16) -> Self {
        Self(bits & (PHASE | OPENED_DOWN | FINS | DOUBTED))
    }
}

/// What a segment says, as far as phases go.
#[derive(Clone, Copy, Debug)]
struct Heard {
    is_syn: bool,
    has_ack: bool,
    is_fin: bool,
    acknowledges_all: bool,
    from_opener: bool,
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
