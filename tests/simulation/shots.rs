//! What is sent in a step: by honest hosts, by compromised ones, by generators, and once more.

use std::collections::VecDeque;

use septum::port::PortId;

use crate::hostile::{Lure, Mint};
use crate::provoke::{Needs, PROVOCATIONS};
use crate::rig::SMALL_TABLE;
use crate::run::Run;
use crate::talk::{Duty, Kind, Talk, Utterance};
use crate::world::{ENDING, atlas};

/// The service that is open to one of two addresses of its client.
const VAULT: u16 = 9000;

/// Services of honest hosts: (from, to, kind, port).
const SERVICES: [(&str, &str, Kind, u16); 25] = [
    ("web-1", "api-1", Kind::Stream, 8080),
    ("web-2", "api-2", Kind::Stream, 8080),
    ("old-1", "api-2", Kind::Stream, 8080),
    ("api-1", "pay-1", Kind::Stream, 8443),
    ("api-2", "pay-1", Kind::Stream, 8443),
    ("pay-1", "db-1", Kind::Stream, 5432),
    ("ops-1", "web-1", Kind::Stream, 22),
    ("ops-1", "pay-1", Kind::Stream, 22),
    ("web-1", "proxy", Kind::Stream, 80),
    ("lab-1", "lab-2", Kind::Stream, 7),
    ("pay-1", "db-1", Kind::Datagrams, 5432),
    ("web-2", "ops-1", Kind::Datagrams, 514),
    ("old-1", "api-1", Kind::Datagrams, 53),
    ("lab-2", "lab-1", Kind::Datagrams, 7),
    ("web-2", "proxy", Kind::Datagrams, 53),
    ("api-2", "ops-1", Kind::Echo, 0),
    ("api-1", "db-1", Kind::Stream, VAULT),
    ("api-1", "db-1", Kind::Datagrams, VAULT),
    ("uplink=wan", "proxy", Kind::Stream, 443),
    ("uplink=wan", "proxy", Kind::Datagrams, 443),
    ("api-2", "uplink=wan", Kind::Stream, 443),
    ("old-1", "uplink=wan", Kind::Datagrams, 53),
    ("api-1", "uplink=wan", Kind::Echo, 0),
    ("api-1", "pay-1", Kind::Association, 3868),
    ("lab-2", "lab-1", Kind::Association, 9),
];

/// The first port from which clients speak.
pub(crate) const FIRST_CLIENT: u16 = 1024;

/// A frame on its way into the switch.
pub(crate) struct Shot {
    pub(crate) frame: Vec<u8>,
    /// The conversation that it belongs to, its side, and what must become of it.
    pub(crate) of: Option<(usize, usize, Duty)>,
}

impl Run {
    /// A conversation that begins now; none if one of its hosts has no port.
    pub(crate) fn begin_talk(&mut self) -> Option<Talk> {
        let (from, to, kind, port) = *self.random.pick(&SERVICES);
        let hosts = [from, to].map(|name| atlas().host_named(name));
        let ipv4 = !self.random.once_in(2) || !atlas().has_way(hosts[0], hosts[1], false);
        if hosts.iter().any(|host| Some(*host) == self.lost) {
            return None;
        }
        let ipv4 = ipv4 || port == VAULT;
        let mut addresses = hosts.map(|host| atlas().hosts[host].address(ipv4).expect("there is a way"));
        if port == VAULT {
            addresses[0] = atlas().hosts[hosts[0]].addresses[1];
        }
        // Never the same two ends soon again: kernels wait, too, before they use a port anew.
        self.client = if self.client == u16::MAX { FIRST_CLIENT } else { self.client + 1 };
        let mut talk = Talk::new(&mut self.random, kind, hosts, addresses, [self.client, port]);
        talk.is_clean = hosts.iter().all(|host| !self.compromised[*host]);
        talk.passed = self.rig.tick;
        self.lures.push(Lure { hosts, addresses, protocol: kind.protocol(ipv4), numbers: talk.numbers });
        if self.lures.len() > 40 {
            self.lures.remove(0);
        }
        Some(talk)
    }

    /// The next words of some conversations that are spoken at one port, through a network that loses, doubles and reorders.
    pub(crate) fn honest_shots(&mut self) -> (PortId, Vec<Shot>) {
        let mut shots: Vec<Shot> = Vec::new();
        let mut speaker = None;
        for _ in 0..6 {
            if self.talks.is_empty() {
                break;
            }
            let at = self.random.below(self.talks.len());
            let mut talk = self.talks[at].clone();
            let said = talk.next(&mut self.random);
            let Some(first) = said.first() else {
                self.talks[at] = talk;
                continue;
            };
            let host = talk.hosts[first.side];
            if *speaker.get_or_insert(host) != host {
                continue;
            }
            self.talks[at] = talk;
            self.on_the_wire(at, said, &mut shots);
            if shots.len() > 10 {
                break;
            }
        }
        let port = speaker.and_then(|host| self.port_of(host));
        (port.unwrap_or(self.rig.stray), if port.is_some() { shots } else { Vec::new() })
    }

    fn on_the_wire(&mut self, talk: usize, said: Vec<Utterance>, shots: &mut Vec<Shot>) {
        let begin = shots.len();
        let is_fragmented = said.iter().any(|utterance| utterance.duty == Duty::Follow);
        let is_late = is_fragmented && self.random.once_in(4);
        for Utterance { side, frame, duty } in said {
            if is_late && duty == Duty::Follow {
                self.late.push_back((self.step + 300, self.talks[talk].hosts[side], frame));
                continue;
            }
            if self.random.once_in(30) && !is_fragmented {
                continue;
            }
            if self.random.once_in(40) && !is_fragmented {
                shots.push(Shot { frame: frame.clone(), of: Some((talk, side, Duty::Nothing)) });
                let last = shots.len() - 1;
                shots[last].of = Some((talk, side, duty));
                shots.push(Shot { frame, of: Some((talk, side, Duty::Nothing)) });
                continue;
            }
            shots.push(Shot { frame, of: Some((talk, side, duty)) });
        }
        if shots.len() > begin + 1 && !is_fragmented && self.random.once_in(4) {
            let last = shots.len() - 1;
            shots.swap(begin, last);
        }
    }

    /// Some host that is compromised and attached.
    fn villain(&mut self) -> Option<usize> {
        let start = self.random.below(self.compromised.len());
        let hosts = (0..self.compromised.len()).map(|at| (start + at) % self.compromised.len());
        hosts.into_iter().find(|host| self.compromised[*host] && self.rig.ports[*host].is_some())
    }

    pub(crate) fn hostile_shots(&mut self) -> (PortId, Vec<Shot>) {
        let Some(from) = self.villain() else { return (self.rig.stray, Vec::new()) };
        let count = self.random.between(1, 8);
        let mut mint = Mint { random: &mut self.random, from, lures: &self.lures };
        let shots: Vec<_> = (0..count).map(|_| Shot { frame: mint.frame(), of: None }).collect();
        for shot in &shots {
            remember(&mut self.history, 256, (from, &shot.frame));
        }
        (self.port_of(from).expect("a villain is attached"), shots)
    }

    /// What provokes some reason, as far as the present policy and the switch's build let it.
    pub(crate) fn provoking_shots(&mut self, worker: usize) -> (PortId, Vec<Shot>) {
        let nothing = (self.rig.stray, Vec::new());
        let (rules, _) = self.rig.rules(worker);
        let (is_late, connections) = (self.rig.is_late, self.rig.build.connections);
        // What is possible only now is tried more often.
        let is_only_now = |needs| match needs {
            Needs::Nothing | Needs::StrayPort | Needs::Trunk => None,
            Needs::Rules(wanted) => Some(rules == wanted),
            Needs::Stale => Some(rules == ENDING && is_late),
            Needs::SmallTable => Some(connections == SMALL_TABLE),
        };
        let now: Vec<_> = PROVOCATIONS.iter().filter(|it| is_only_now(it.needs) == Some(true)).collect();
        let provocation = match now.is_empty() || !self.random.once_in(5) {
            true => *self.random.pick(&PROVOCATIONS),
            false => **self.random.pick(&now),
        };
        let is_drawn =
            is_only_now(provocation.needs) != Some(false) && self.random.once_in(provocation.rarity);
        let Some(from) = provocation.named().or_else(|| self.villain()).filter(|_| is_drawn) else {
            return nothing;
        };
        let mut mint = Mint { random: &mut self.random, from, lures: &self.lures };
        let script = provocation.script(&mut mint);
        let port = |host: usize| match provocation.needs {
            Needs::StrayPort => Some(self.rig.stray),
            Needs::Trunk => Some(self.rig.trunk),
            _ => self.rig.ports[host],
        };
        let bursts: Option<Vec<_>> =
            script.into_iter().map(|(host, frames)| Some((worker, port(host)?, frames))).collect();
        let Some(bursts) = bursts else { return nothing };
        self.pending.extend(bursts);
        nothing
    }

    /// What a change of policy has ended, as if nobody had noticed: the policy may have come back meanwhile.
    pub(crate) fn haunting_shots(&mut self) -> (PortId, Vec<Shot>) {
        let nothing = (self.rig.stray, Vec::new());
        if self.ghosts.is_empty() {
            return nothing;
        }
        let at = self.random.below(self.ghosts.len());
        let (from, frame) = self.ghosts[at].clone();
        match self.port_of(from) {
            Some(port) => (port, vec![Shot { frame, of: None }]),
            None => nothing,
        }
    }

    /// Frames that were sent before, by the same host or by another.
    pub(crate) fn replayed_shots(&mut self) -> (PortId, Vec<Shot>) {
        let Some(from) = self.villain() else { return (self.rig.stray, Vec::new()) };
        let count = self.random.between(1, 4).min(self.history.len());
        let mut shots = Vec::new();
        for _ in 0..count {
            let at = self.random.below(self.history.len());
            let (_, frame) = &self.history[at];
            shots.push(Shot { frame: frame.clone(), of: None });
        }
        (self.port_of(from).expect("a villain is attached"), shots)
    }
}

/// Keeps the last frames, `most` of them, with who sent them.
pub(crate) fn remember(history: &mut VecDeque<(usize, Vec<u8>)>, most: usize, (from, frame): (usize, &[u8])) {
    if history.len() == most {
        history.pop_front();
    }
    history.push_back((from, frame.to_vec()));
}
