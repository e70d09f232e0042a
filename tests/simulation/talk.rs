//! Conversations of honest hosts: TCP with handshake, data, retransmission and both ways to end; datagrams, some of
//! them in fragments, with answers and port-unreachable errors; echoes; associations.
//!
//! A conversation knows what it has sent and what should have arrived, and nothing of the switch. Bytes of a stream are
//! made from their place in it, so that the receiver knows each of them.

#[path = "talk/association.rs"]
mod association;
#[path = "talk/stream.rs"]
mod stream;

use std::net::IpAddr;

use septum_rules::proto::{Layer4, Protocol};

use self::association::Association;
use crate::craft::{Draft, ICMP, ICMPV6, SCTP, TCP, UDP, VNET, icmp, udp};
use crate::model::Basis;
use crate::random::Random;
use crate::view::Packet;
use crate::world::atlas;

/// Payload bytes of an honest segment: fits the smallest MTU of the simulation.
const SEGMENT: usize = 1000;

/// What a conversation speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Stream,
    Datagrams,
    Echo,
    Association,
}

impl Kind {
    /// Its IP protocol.
    pub(crate) fn protocol(self, ipv4: bool) -> u8 {
        match self {
            Self::Stream => TCP,
            Self::Datagrams => UDP,
            Self::Association => SCTP,
            Self::Echo if ipv4 => ICMP,
            Self::Echo => ICMPV6,
        }
    }
}

/// What must become of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Duty {
    /// Opens the conversation: passes if the gates admit it and there is room.
    Open,
    /// Belongs to it: passes.
    Pass,
    /// A later fragment: passes if the first of the same burst did.
    Follow,
    /// May be refused: a duplicate, or what comes late.
    Nothing,
}

/// One side, the opener's being the first.
#[derive(Clone, Debug, Default)]
struct Side {
    first: u32,
    next: u32,
    unacknowledged: u32,
    /// What the other side has sent without a gap.
    received: u32,
    hears: bool,
    to_send: u32,
    wants_to_acknowledge: bool,
    fin: Option<u32>,
    other_finished: bool,
}

/// A conversation.
#[derive(Clone, Debug)]
pub(crate) struct Talk {
    pub(crate) kind: Kind,
    /// Opener and answerer.
    pub(crate) hosts: [usize; 2],
    pub(crate) addresses: [IpAddr; 2],
    pub(crate) numbers: [u16; 2],
    pub(crate) is_over: bool,
    /// Both hosts are honest, so what is sent must arrive.
    pub(crate) is_clean: bool,
    /// When a packet of it last passed.
    pub(crate) passed: u32,
    /// The opening packet has passed.
    pub(crate) is_open: bool,
    seed: u32,
    sides: [Side; 2],
    /// Datagrams and echoes: requests still to send, and an answer that is due.
    rounds: u32,
    owes: Option<Owes>,
    association: Association,
    identification: u32,
    aborts: bool,
}

#[derive(Clone, Debug)]
enum Owes {
    Answer(u32),
    Unreachable(Vec<u8>),
}

/// A frame of a conversation.
pub(crate) struct Utterance {
    pub(crate) side: usize,
    pub(crate) frame: Vec<u8>,
    pub(crate) duty: Duty,
}

impl Talk {
    pub(crate) fn new(
        random: &mut Random,
        kind: Kind,
        hosts: [usize; 2],
        addresses: [IpAddr; 2],
        numbers: [u16; 2],
    ) -> Self {
        let side = |random: &mut Random| {
            let first = random.next() as u32;
            Side {
                first,
                next: first,
                unacknowledged: first,
                to_send: random.below(12_000) as u32,
                ..Side::default()
            }
        };
        Self {
            kind,
            hosts,
            addresses,
            numbers,
            is_over: false,
            is_clean: false,
            passed: 0,
            is_open: false,
            seed: random.next() as u32,
            sides: [side(random), side(random)],
            rounds: 1 + random.below(6) as u32,
            owes: None,
            association: Association::new(random),
            // Apart from those of other conversations, as a host that counts them keeps them.
            identification: u32::from(numbers[0]) << 5,
            aborts: random.once_in(5),
        }
    }

    /// The flow of the packet that opens it.
    pub(crate) fn basis(&self) -> Basis {
        (self.addresses[0], self.addresses[1], self.layer4())
    }

    fn layer4(&self) -> Layer4 {
        let [from, to] = self.numbers;
        let protocol = Protocol(self.kind.protocol(self.addresses[0].is_ipv4()));
        match (self.kind, self.addresses[0].is_ipv4()) {
            (Kind::Echo, true) => Layer4::icmp(protocol, 8, 0),
            (Kind::Echo, false) => Layer4::icmp(protocol, 128, 0),
            _ => Layer4::ports(protocol, from, to),
        }
    }

    /// Whether silence since its last packet is longer than a switch must bear.
    pub(crate) fn is_stale(&self, now: u32) -> bool {
        let bearable = match self.kind {
            Kind::Stream if self.is_settled() => 4 * 86_400 * 8,
            Kind::Association if self.association.is_settled() => 180 * 8,
            // Seconds, where Linux has few.
            Kind::Association => 2 * 8,
            _ => 20 * 8,
        };
        self.is_open && now - self.passed > bearable
    }

    /// The handshake is complete and nobody has begun to close.
    fn is_settled(&self) -> bool {
        self.sides.iter().all(|side| side.hears && side.unacknowledged != side.first && side.fin.is_none())
    }

    fn draft(&mut self, side: usize, protocol: u8, transport: Vec<u8>) -> Draft {
        self.identification = self.identification.wrapping_add(1);
        let [from, to] = if side == 0 { self.hosts } else { [self.hosts[1], self.hosts[0]] };
        let (source, destination) = (self.addresses[side], self.addresses[1 - side]);
        Draft {
            macs: (atlas().hosts[from].mac, atlas().next_hop(from, to)),
            source,
            destination,
            ttl: 64,
            protocol,
            identification: self.identification,
            transport,
            options: Vec::new(),
        }
    }

    /// What is said next; nothing when the conversation is over.
    pub(crate) fn next(&mut self, random: &mut Random) -> Vec<Utterance> {
        match self.kind {
            Kind::Stream => self.next_segments(random),
            Kind::Datagrams => self.next_datagram(random),
            Kind::Echo => self.next_echo(),
            Kind::Association => self.next_chunk(),
        }
    }

    fn byte_at(&self, side: usize, place: u32) -> u8 {
        (self.seed ^ side as u32).wrapping_add(place).wrapping_mul(0x9e37_79b1).to_be_bytes()[0]
    }

    fn next_datagram(&mut self, random: &mut Random) -> Vec<Utterance> {
        let (side, length) = match self.owes.take() {
            Some(Owes::Unreachable(quoted)) => {
                let (protocol, kind) = if self.addresses[0].is_ipv4() { (ICMP, 3) } else { (ICMPV6, 1) };
                let code = if protocol == ICMP { 3 } else { 4 };
                let draft = self.draft(1, protocol, icmp(kind, code, [0; 4], &quoted));
                self.is_over = true;
                return vec![Utterance { side: 1, frame: draft.sealed().frame(), duty: Duty::Pass }];
            }
            Some(Owes::Answer(length)) => (1, length as usize),
            None if self.rounds == 0 => {
                self.is_over = true;
                return Vec::new();
            }
            None => {
                self.rounds -= 1;
                (0, if random.once_in(4) { random.between(1300, 4000) } else { random.below(1000) })
            }
        };
        let ports =
            if side == 0 { (self.numbers[0], self.numbers[1]) } else { (self.numbers[1], self.numbers[0]) };
        let payload: Vec<u8> = (0..length as u32).map(|at| self.byte_at(side, at)).collect();
        let draft = self.draft(side, UDP, udp(ports, &payload)).sealed();
        let duty = if side == 0 { Duty::Open } else { Duty::Pass };
        if length <= SEGMENT {
            return vec![Utterance { side, frame: draft.frame(), duty }];
        }
        let part = 8 * random.between(20, 125);
        let places = (0..draft.transport.len()).step_by(part);
        places
            .map(|at| Utterance {
                side,
                frame: draft.fragment(at, part),
                duty: if at == 0 { duty } else { Duty::Follow },
            })
            .collect()
    }

    fn next_echo(&mut self) -> Vec<Utterance> {
        let (side, kinds) = match self.owes.take() {
            Some(_) => (1, (0, 129)),
            None if self.rounds == 0 => {
                self.is_over = true;
                return Vec::new();
            }
            None => {
                self.rounds -= 1;
                (0, (8, 128))
            }
        };
        let (protocol, kind) = if self.addresses[0].is_ipv4() { (ICMP, kinds.0) } else { (ICMPV6, kinds.1) };
        let [high, low] = self.numbers[0].to_be_bytes();
        let message = icmp(kind, 0, [high, low, 0, self.rounds as u8], b"as it was in the beginning");
        let frame = self.draft(side, protocol, message).sealed().frame();
        vec![Utterance { side, frame, duty: if side == 0 { Duty::Open } else { Duty::Pass } }]
    }

    fn next_chunk(&mut self) -> Vec<Utterance> {
        let Some((side, transport)) = self.association.next(self.numbers) else {
            self.is_over = true;
            return Vec::new();
        };
        let frame = self.draft(side, SCTP, transport).frame();
        let is_first = self.association.is_new();
        vec![Utterance { side, frame, duty: if is_first { Duty::Open } else { Duty::Pass } }]
    }

    /// A frame of `side` has arrived at the other.
    pub(crate) fn hear(
        &mut self,
        side: usize,
        packet: &Packet,
        frame: &[u8],
        random: &mut Random,
    ) -> Result<(), String> {
        match self.kind {
            Kind::Stream => return self.hear_segment(side, packet, frame),
            Kind::Association => self.association.hear(side, &frame[packet.transport..packet.end]),
            _ if side == 1 => {}
            Kind::Echo => self.owes = Some(Owes::Answer(0)),
            Kind::Datagrams if packet.fragment.is_none() && random.once_in(6) => {
                let quoted = frame[VNET + 14..packet.end.min(VNET + 14 + 200)].to_vec();
                self.owes = Some(Owes::Unreachable(quoted));
            }
            Kind::Datagrams => self.owes = Some(Owes::Answer((packet.end - packet.payload) as u32)),
        }
        Ok(())
    }
}
