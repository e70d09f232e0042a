//! A TCP conversation's words: handshake, data, retransmission and both ways to end.

use super::{Duty, SEGMENT, Talk, Utterance};
use crate::craft::{ACK, Draft, FIN, PSH, RST, SYN, TCP, tcp};
use crate::random::Random;
use crate::view::Packet;

impl Talk {
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

    pub(super) fn next_segments(&mut self, random: &mut Random) -> Vec<Utterance> {
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

    pub(super) fn hear_segment(&mut self, side: usize, packet: &Packet, frame: &[u8]) -> Result<(), String> {
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
