//! Conversations of honest hosts: TCP with handshake, data, retransmission and both ways to end; datagrams, some of
//! them in fragments, with answers and port-unreachable errors; echoes; associations.
//!
//! A conversation knows what it has sent and what should have arrived, and nothing of the switch. Bytes of a stream are
//! made from their place in it, so that the receiver knows each of them.

use std::net::IpAddr;

use septum_rules::proto::{Layer4, Protocol};

use crate::association::Association;
use crate::craft::{ACK, Draft, FIN, ICMP, ICMPV6, PSH, RST, SCTP, SYN, TCP, UDP, VNET, icmp, tcp, udp};
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

    fn segment(&mut self, side: usize, sequence: u32, flags: u8, length: u32) -> Draft {
        let ports =
            if side == 0 { (self.numbers[0], self.numbers[1]) } else { (self.numbers[1], self.numbers[0]) };
        let begin = sequence.wrapping_sub(self.sides[side].first).wrapping_sub(1);
        let payload: Vec<u8> = (0..length).map(|at| self.byte_at(side, begin.wrapping_add(at))).collect();
        let received = self.sides[side].received;
        let acknowledgement = if flags & ACK == 0 { 0 } else { received };
        self.sides[side].wants_to_acknowledge = false;
        let transport = tcp(ports, (sequence, acknowledgement), flags, &payload);
        self.draft(side, TCP, transport)
    }

    fn say(&mut self, side: usize, sequence: u32, flags: u8, length: u32, duty: Duty) -> Utterance {
        let draft = self.segment(side, sequence, flags, length);
        // What is longer than a segment is left to the device to cut, as kernels do.
        let frame = match length as usize > SEGMENT {
            true => draft.unfinished(SEGMENT as u16),
            false if length % 3 == 1 => draft.unfinished(0),
            false => draft.sealed().frame(),
        };
        Utterance { side, frame, duty }
    }

    fn next_segments(&mut self, random: &mut Random) -> Vec<Utterance> {
        // The opener's SYN until it is answered.
        if !self.sides[0].hears {
            let first = self.sides[0].first;
            self.sides[0].next = first.wrapping_add(1);
            if self.sides[1].hears {
                let first = self.sides[1].first;
                self.sides[1].next = first.wrapping_add(1);
                return vec![self.say(1, first, SYN | ACK, 0, Duty::Pass)];
            }
            return vec![self.say(0, first, SYN, 0, Duty::Open)];
        }
        let side = random.below(2);
        if !self.sides[1].hears {
            return Vec::new();
        }
        if self.aborts && random.once_in(40) {
            self.is_over = true;
            let (sequence, duty) = (self.sides[side].next, Duty::Pass);
            return vec![self.say(side, sequence, RST | ACK, 0, duty)];
        }
        let mine = &self.sides[side];
        let outstanding = mine.next.wrapping_sub(mine.unacknowledged);
        // The answerer may only speak once its SYN is acknowledged; the opener acknowledges it first.
        if side == 1 && mine.unacknowledged == mine.first {
            let sequence = self.sides[0].next;
            return vec![self.say(0, sequence, ACK, 0, Duty::Pass)];
        }
        if outstanding != 0 && (random.once_in(3) || mine.fin.is_some()) {
            return vec![self.retransmission(side)];
        }
        if mine.fin.is_none() && mine.to_send != 0 && outstanding < 20_000 {
            let count = random.between(1, 3);
            return (0..count).filter_map(|_| self.fresh_data(side, random)).collect();
        }
        if mine.fin.is_none() && mine.to_send == 0 && outstanding == 0 && random.once_in(2) {
            let sequence = mine.next;
            self.sides[side].fin = Some(sequence);
            self.sides[side].next = sequence.wrapping_add(1);
            return vec![self.say(side, sequence, FIN | ACK, 0, Duty::Pass)];
        }
        if mine.wants_to_acknowledge || random.once_in(8) {
            let sequence = mine.next;
            return vec![self.say(side, sequence, ACK, 0, Duty::Pass)];
        }
        if self.sides.iter().all(|side| side.fin.is_some() && side.next == side.unacknowledged) {
            self.is_over = true;
        }
        Vec::new()
    }

    fn fresh_data(&mut self, side: usize, random: &mut Random) -> Option<Utterance> {
        let mine = &self.sides[side];
        let most = if random.once_in(6) { 6 * SEGMENT as u32 } else { SEGMENT as u32 };
        let length = (1 + random.below(most as usize) as u32).min(mine.to_send);
        if length == 0 {
            return None;
        }
        let sequence = mine.next;
        self.sides[side].to_send -= length;
        self.sides[side].next = sequence.wrapping_add(length);
        Some(self.say(side, sequence, ACK | PSH, length, Duty::Pass))
    }

    fn retransmission(&mut self, side: usize) -> Utterance {
        let mine = &self.sides[side];
        let sequence = mine.unacknowledged;
        if mine.fin == Some(sequence) {
            return self.say(side, sequence, FIN | ACK, 0, Duty::Pass);
        }
        let end = mine.fin.unwrap_or(mine.next);
        let length = end.wrapping_sub(sequence).min(SEGMENT as u32);
        self.say(side, sequence, ACK, length, Duty::Pass)
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

    fn hear_segment(&mut self, side: usize, packet: &Packet, frame: &[u8]) -> Result<(), String> {
        let Some(segment) = packet.tcp else { return Ok(()) };
        let first = self.sides[side].first;
        let payload = &frame[packet.payload..packet.end];
        for (at, byte) in payload.iter().enumerate() {
            let place = segment.sequence.wrapping_sub(first).wrapping_sub(1).wrapping_add(at as u32);
            if *byte != self.byte_at(side, place) {
                return Err(format!("byte {place} of a stream is not what was sent"));
            }
        }
        let mine = &mut self.sides[1 - side];
        if segment.flags & SYN != 0 {
            mine.hears = true;
            mine.received = first.wrapping_add(1);
        }
        if !mine.hears {
            return Ok(());
        }
        let end = segment.sequence.wrapping_add(segment.length);
        let gap = segment.sequence.wrapping_sub(mine.received) as i32;
        if gap <= 0 && end.wrapping_sub(mine.received) as i32 > 0 {
            mine.received = end;
            mine.other_finished |= segment.flags & FIN != 0;
        }
        mine.wants_to_acknowledge |= segment.length != 0;
        if segment.flags & ACK != 0 {
            let news = segment.acknowledgement.wrapping_sub(mine.unacknowledged) as i32;
            if news > 0 && segment.acknowledgement.wrapping_sub(mine.next) as i32 <= 0 {
                mine.unacknowledged = segment.acknowledgement;
            }
        }
        Ok(())
    }
}
