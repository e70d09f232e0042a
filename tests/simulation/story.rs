//! The story of a failure: what happened before, in the words of people.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::net::IpAddr;

use septum::pipeline::End;

use crate::checker::hex;
use crate::view::{Content, View, read};

/// Events that are kept.
const KEPT: usize = 20_000;

/// What happened.
struct Event {
    step: u64,
    tick: u32,
    what: What,
}

enum What {
    Change(String),
    Frame { worker: usize, from: String, frame: Vec<u8>, end: End },
}

/// What happened lately.
#[derive(Default)]
pub(crate) struct Story(VecDeque<Event>);

impl Story {
    /// Time, policy or ports have changed.
    pub(crate) fn change(&mut self, (step, tick): (u64, u32), what: String) {
        self.push(Event { step, tick, what: What::Change(what) });
    }

    /// A burst has come in at the port of this name.
    pub(crate) fn burst(
        &mut self,
        (step, tick): (u64, u32),
        (worker, from): (usize, &str),
        frames: &[&[u8]],
        ends: &[End],
    ) {
        for (frame, end) in frames.iter().zip(ends) {
            let what = What::Frame { worker, from: from.to_owned(), frame: frame.to_vec(), end: *end };
            self.push(Event { step, tick, what });
        }
    }

    fn push(&mut self, event: Event) {
        if self.0.len() > KEPT {
            self.0.pop_front();
        }
        self.0.push_back(event);
    }

    /// What happened in a step, and before it between the same two ends.
    pub(crate) fn of(&self, step: u64) -> String {
        let mut report = String::new();
        let (now, before): (Vec<_>, Vec<_>) = self.0.iter().partition(|event| event.step == step);
        let pairs: Vec<_> = now.iter().filter_map(|event| event.pair()).collect();
        let concerns = |event: &&&Event| match (&event.what, event.pair()) {
            (What::Change(_), _) => true,
            (_, Some((a, b))) => pairs.contains(&(a, b)) || pairs.contains(&(b, a)),
            (_, None) => false,
        };
        let before: Vec<_> = before.iter().filter(concerns).collect();
        for event in before.iter().rev().take(24).rev().map(|event| **event).chain(now.iter().copied()) {
            let _ = writeln!(report, "  {:>7} t{:<6} {}", event.step, event.tick, event.what);
        }
        report
    }
}

impl Event {
    /// The two addresses of a frame that has them.
    fn pair(&self) -> Option<(IpAddr, IpAddr)> {
        let What::Frame { frame, .. } = &self.what else { return None };
        let view = read(frame).ok()?;
        view.ip().map(|packet| (packet.source, packet.destination))
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (worker, from, frame, end) = match self {
            Self::Change(what) => return f.write_str(what),
            Self::Frame { worker, from, frame, end } => (worker, from, frame, end),
        };
        write!(f, "worker {worker} {from}: ")?;
        match read(frame) {
            Ok(View { content: Content::Ip(packet), .. }) => {
                write!(f, "{} -> {} {}", packet.source, packet.destination, packet.layer4)?;
                if let Some(segment) = packet.tcp {
                    let numbers = (segment.sequence, segment.acknowledgement);
                    write!(f, " flags {:#04x} numbers {numbers:?} length {}", segment.flags, segment.length)?;
                }
                if let Some(part) = packet.fragment {
                    write!(f, " fragment {part:?}")?;
                }
            }
            Ok(View { content: Content::Arp(operation, _, sender, target), .. }) => {
                write!(f, "ARP {operation}, {sender} asks {target}")?;
            }
            Err(why) => write!(f, "({why})")?,
        }
        write!(f, " => {end:?} [{}]", hex(&frame[..frame.len().min(120)]))
    }
}
