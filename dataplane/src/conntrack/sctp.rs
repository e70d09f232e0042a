//! SCTP associations, coarsely: what opens one, what ends one (RFC 9260; the phases are those of Linux,
//! net/netfilter/nf_conntrack_proto_sctp.c).
//!
//! INIT alone opens. The verification tags of both ends are learnt from INIT and INIT ACK, and asked for where a
//! chunk would end the association: a blind ABORT or SHUTDOWN changes nothing. Everything else is for the ends
//! to judge, multihoming among it: each pair of addresses is an association of its own here.
//!
//! Nothing here panics on any input.

use super::state::{Phase, State, Step};
use crate::wire::{IpPacket, transport};

/// What connection tracking reads of an SCTP packet: the first chunk that changes anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// Its type; DATA where no chunk changes anything.
    pub kind: u8,
    /// The packet's verification tag.
    pub tag: u32,
    /// The tag that INIT and INIT ACK announce, else zero.
    pub initiate_tag: u32,
    /// The tag is the receiver's own, reflected (the T bit of ABORT and SHUTDOWN COMPLETE).
    pub is_reflected: bool,
    /// It stands alone, and whole.
    pub is_alone: bool,
}

const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const ABORT: u8 = 6;
const SHUTDOWN: u8 = 7;
const SHUTDOWN_ACK: u8 = 8;
const COOKIE_ECHO: u8 = 10;
const COOKIE_ACK: u8 = 11;
const SHUTDOWN_COMPLETE: u8 = 14;

/// Chunks of a packet that are looked at.
const MOST_CHUNKS: usize = 16;
/// Bytes of a chunk's header.
const CHUNK_HEADER: usize = 4;

impl Chunk {
    /// Reads the packet that `packet` of `frame` is; the zero chunk where the frame is another's.
    pub fn read(frame: &[u8], packet: &IpPacket) -> Self {
        let start = usize::from(packet.transport);
        let bytes = frame.get(start..packet.end as usize).unwrap_or_default();
        let Some(header) = bytes.first_chunk::<{ transport::SCTP_HEADER }>() else { return Self::default() };
        let tag = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        let none = Self { tag, ..Self::default() };
        let mut rest = &bytes[transport::SCTP_HEADER..];
        for number in 0..MOST_CHUNKS {
            let Some(&[kind, flags, high, low]) = rest.first_chunk::<CHUNK_HEADER>() else { return none };
            let length = usize::from(u16::from_be_bytes([high, low]));
            if length < CHUNK_HEADER {
                return none;
            }
            if matches!(
                kind,
                INIT | INIT_ACK
                    | ABORT
                    | SHUTDOWN
                    | SHUTDOWN_ACK
                    | COOKIE_ECHO
                    | COOKIE_ACK
                    | SHUTDOWN_COMPLETE
            ) {
                let value = rest.get(CHUNK_HEADER..).and_then(|value| value.first_chunk::<4>());
                let announces = matches!(kind, INIT | INIT_ACK) && length >= 20;
                return Self {
                    kind,
                    tag,
                    initiate_tag: value.filter(|_| announces).map_or(0, |tag| u32::from_be_bytes(*tag)),
                    is_reflected: flags & 1 != 0,
                    is_alone: number == 0 && length.next_multiple_of(4) >= rest.len() && length <= rest.len(),
                };
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        none
    }

    /// Whether it opens an association: INIT, alone, with a tag, in a packet without one (RFC 9260 section 8.5.1).
    pub const fn opens(&self) -> bool {
        self.kind == INIT && self.is_alone && self.tag == 0 && self.initiate_tag != 0
    }

    /// What the sender's word becomes: its own tag, which packets to it must carry.
    pub(super) const fn sender_word(&self, word: u64) -> u64 {
        if self.initiate_tag == 0 { word } else { self.initiate_tag as u64 | KNOWN }
    }

    /// Whether it has the tag that its receiver announced, or (reflected) its sender's own.
    fn is_verified(&self, sender: u64, receiver: u64) -> bool {
        let expected = if self.is_reflected { sender } else { receiver };
        expected == u64::from(self.tag) | KNOWN
    }

    /// What it does to an association, where the words of its sender and its receiver are these.
    pub(super) fn step(&self, state: State, sender: u64, receiver: u64, from_opener: bool) -> Step {
        let phase = match (self.kind, state.phase()) {
            (INIT, Phase::Closed) => return Step::Reopen,
            // Of the opener, a retransmission; of the other end, a collision (RFC 9260 section 5.2.1).
            (INIT, Phase::CookieWait) => state.phase(),
            // A restart, or an attempt on a living one: the ends settle it by their cookies (section 5.2).
            (INIT, _) => return Step::Judge,
            (COOKIE_ECHO, Phase::CookieWait) => Phase::CookieEchoed,
            (COOKIE_ACK, Phase::CookieWait | Phase::CookieEchoed) if !from_opener => Phase::Associated,
            // After a collision the answering end may be the one whose cookie was taken.
            (COOKIE_ACK, Phase::CookieEchoed) => Phase::Associated,
            (SHUTDOWN, Phase::Associated) if self.is_verified(sender, receiver) => Phase::Shutdown,
            (SHUTDOWN_ACK, Phase::Associated | Phase::Shutdown) if self.is_verified(sender, receiver) => {
                Phase::ShutdownAcked
            }
            (SHUTDOWN_COMPLETE, Phase::ShutdownAcked) if self.is_verified(sender, receiver) => Phase::Closed,
            (ABORT, _) if self.is_verified(sender, receiver) => Phase::Closed,
            (_, phase) => phase,
        };
        Step::Continue(state.in_phase(phase))
    }

    /// Whether what its sender announces is to be remembered in this phase.
    pub(super) const fn teaches(&self, phase: Phase) -> bool {
        self.initiate_tag != 0 && matches!(phase, Phase::CookieWait | Phase::CookieEchoed)
    }
}

/// Marks a word that holds a tag.
const KNOWN: u64 = 1 << 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(kind: u8, tag: u32, initiate_tag: u32) -> Chunk {
        Chunk { kind, tag, initiate_tag, is_reflected: false, is_alone: true }
    }

    /// Runs chunks (with whether they are the opener's) through an association; gives where it ends.
    fn run(chunks: &[(Chunk, bool)]) -> Phase {
        let init = chunk(INIT, 0, 0xa);
        assert!(init.opens());
        let mut state = State::new(Phase::CookieWait, false);
        let mut words = [init.sender_word(0), 0];
        for (chunk, from_opener) in chunks {
            let (own, other) = (usize::from(!from_opener), usize::from(*from_opener));
            let step = chunk.step(state, words[own], words[other], *from_opener);
            let Step::Continue(next) = step else { panic!("{chunk:?}: {step:?}") };
            if chunk.teaches(next.phase()) {
                words[own] = chunk.sender_word(words[own]);
            }
            state = next;
        }
        state.phase()
    }

    const HANDSHAKE: [(Chunk, bool); 3] = [
        (Chunk { kind: INIT_ACK, tag: 0xa, initiate_tag: 0xb, is_reflected: false, is_alone: true }, false),
        (Chunk { kind: COOKIE_ECHO, tag: 0xb, initiate_tag: 0, is_reflected: false, is_alone: false }, true),
        (Chunk { kind: COOKIE_ACK, tag: 0xa, initiate_tag: 0, is_reflected: false, is_alone: false }, false),
    ];

    #[test]
    fn an_association_opens_and_closes() {
        assert_eq!(run(&HANDSHAKE[..1]), Phase::CookieWait);
        assert_eq!(run(&HANDSHAKE[..2]), Phase::CookieEchoed);
        assert_eq!(run(&HANDSHAKE), Phase::Associated);
        let close = [
            (chunk(SHUTDOWN, 0xb, 0), true),
            (chunk(SHUTDOWN_ACK, 0xa, 0), false),
            (chunk(SHUTDOWN_COMPLETE, 0xb, 0), true),
        ];
        assert_eq!(run(&[&HANDSHAKE[..], &close[..1]].concat()), Phase::Shutdown);
        assert_eq!(run(&[&HANDSHAKE[..], &close[..2]].concat()), Phase::ShutdownAcked);
        assert_eq!(run(&[&HANDSHAKE[..], &close[..]].concat()), Phase::Closed);
    }

    #[test]
    fn only_the_right_tag_ends_an_association() {
        for (abort, phase) in [
            (chunk(ABORT, 0xb, 0), Phase::Closed),
            (chunk(ABORT, 0xc, 0), Phase::Associated),
            (chunk(SHUTDOWN, 0, 0), Phase::Associated),
            (Chunk { is_reflected: true, ..chunk(ABORT, 0xa, 0) }, Phase::Closed),
            (Chunk { is_reflected: true, ..chunk(ABORT, 0xb, 0) }, Phase::Associated),
        ] {
            assert_eq!(run(&[&HANDSHAKE[..], &[(abort, true)]].concat()), phase, "{abort:?}");
        }
        // Refused at once: the answer to INIT has its tag.
        assert_eq!(run(&[(chunk(ABORT, 0xa, 0), false)]), Phase::Closed);
    }

    #[test]
    fn init_alone_opens() {
        assert!(!chunk(INIT, 1, 0xa).opens(), "RFC 9260 section 8.5.1");
        assert!(!chunk(INIT, 0, 0).opens(), "the tag zero");
        assert!(!Chunk { is_alone: false, ..chunk(INIT, 0, 0xa) }.opens());
        assert!(!chunk(COOKIE_ECHO, 0, 0).opens() && !Chunk::default().opens());
        let associated = State::new(Phase::Associated, false);
        assert_eq!(chunk(INIT, 0, 7).step(associated, 0, 0, true), Step::Judge);
        let closed = State::new(Phase::Closed, false);
        assert_eq!(chunk(INIT, 0, 7).step(closed, 0, 0, true), Step::Reopen);
    }
}
