//! Honest SCTP associations, in step: what is next is said until the other side has heard it (RFC 9260 sections 5.1, 6 and 9.2).

use crate::craft::sctp;
use crate::random::Random;

const DATA: u8 = 0;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const SACK: u8 = 3;
const HEARTBEAT: u8 = 4;
const HEARTBEAT_ACK: u8 = 5;
const ABORT: u8 = 6;
const SHUTDOWN: u8 = 7;
const SHUTDOWN_ACK: u8 = 8;
const COOKIE_ECHO: u8 = 10;
const COOKIE_ACK: u8 = 11;
const SHUTDOWN_COMPLETE: u8 = 14;

/// An association: who says what, in turn.
#[derive(Clone, Debug)]
pub(crate) struct Association {
    /// The verification tags that packets to the opener, and to the answerer, carry.
    tags: [u32; 2],
    /// (side, chunk), the opener's side being 0.
    words: Vec<(usize, u8)>,
    heard: usize,
}

impl Association {
    pub(crate) fn new(random: &mut Random) -> Self {
        let mut words = vec![(0, INIT), (1, INIT_ACK), (0, COOKIE_ECHO), (1, COOKIE_ACK)];
        for _ in 0..random.between(1, 8) {
            let side = random.below(2);
            let (says, answers) = if random.once_in(4) { (HEARTBEAT, HEARTBEAT_ACK) } else { (DATA, SACK) };
            words.extend([(side, says), (1 - side, answers)]);
        }
        let side = random.below(2);
        match random.once_in(4) {
            true => words.push((side, ABORT)),
            false => words.extend([(side, SHUTDOWN), (1 - side, SHUTDOWN_ACK), (side, SHUTDOWN_COMPLETE)]),
        }
        Self { tags: [random.next() as u32 | 1, random.next() as u32 | 1], words, heard: 0 }
    }

    /// Not even its INIT was heard.
    pub(crate) fn is_new(&self) -> bool {
        self.heard == 0
    }

    /// Both ends have agreed, and none has begun to end it.
    pub(crate) fn is_settled(&self) -> bool {
        self.heard >= 4 && !matches!(self.words.get(self.heard), None | Some((_, 6..=14)))
    }

    /// The side that speaks next, and its packet; nothing when all was heard.
    pub(crate) fn next(&self, ports: [u16; 2]) -> Option<(usize, Vec<u8>)> {
        let (side, kind) = *self.words.get(self.heard)?;
        let tag = if kind == INIT { 0 } else { self.tags[1 - side] };
        let own = self.tags[side].to_be_bytes();
        let value: &[u8] = match kind {
            // The tag, a window, streams, and the first number.
            INIT | INIT_ACK => &[&own[..], &[0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]].concat(),
            DATA => b"\0\0\0\x01\0\0\0\0\0\0\0\0some data that is of some use",
            SACK => &[0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0],
            HEARTBEAT | HEARTBEAT_ACK => &[0, 1, 0, 8, 1, 2, 3, 4],
            SHUTDOWN => &[0, 0, 0, 1],
            COOKIE_ECHO => b"a cookie",
            _ => &[],
        };
        let flags = if kind == DATA { 3 } else { 0 };
        let length = (4 + value.len() as u16).to_be_bytes();
        let chunk = [
            &[kind, flags, length[0], length[1]],
            value,
            &vec![0; value.len().next_multiple_of(4) - value.len()],
        ];
        let mut packet = sctp((ports[side], ports[1 - side]), &chunk.concat());
        packet[4..8].copy_from_slice(&tag.to_be_bytes());
        Some((side, packet))
    }

    /// What `side` said, an SCTP packet, was heard by the other.
    pub(crate) fn hear(&mut self, side: usize, packet: &[u8]) {
        let is_news = self.words.get(self.heard) == Some(&(side, packet[12]));
        self.heard += usize::from(is_news);
    }
}
