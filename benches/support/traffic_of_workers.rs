//! Workers that share a snapshot and a connection table, and the frames of each.

use std::sync::Arc;

use septum::burst::{BURST, ETHERNET};
use septum::clock::Tick;
use septum::conntrack::ConnectionTable;
use septum::drop_reason::DropReason;
use septum::port::PortId;
use septum::snapshot::Snapshot;
use septum::wire::checksum::Sum;
use septum_rules::proto::{Layer4, Protocol};

use crate::switch_in_memory::{A, B, Lane, frame};

/// What the frames are, and who meets them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    /// Frames of connections, both directions of each at the same worker: what the steering program brings about.
    Own(Protocol),
    /// The replies of a worker's connections come to the next worker: the worst that the kernel's own hash could do.
    Crossed(Protocol),
    /// Every frame opens a connection of UDP.
    Opening,
}

impl Case {
    pub(crate) const ALL: [(&str, Self); 5] = [
        ("UDP, own", Self::Own(Protocol::UDP)),
        ("UDP, crossed", Self::Crossed(Protocol::UDP)),
        ("TCP, own", Self::Own(Protocol::TCP)),
        ("TCP, crossed", Self::Crossed(Protocol::TCP)),
        ("opening", Self::Opening),
    ];
}

const NOW: Tick = Tick(1);
const SYN: u8 = 2;
const ACK: u8 = 16;

/// One worker's frames, and what it forwards them with.
pub(crate) struct Worker {
    lane: Lane,
    /// From a to b, and from b to a.
    frames: [Vec<Vec<u8>>; 2],
    next: [usize; 2],
    sends_tcp: bool,
}

/// The frames of a flow, both ways: the first that opens it.
fn both_ways(number: u32, protocol: Protocol) -> [Vec<u8>; 2] {
    // Where one pair of addresses has no ports left, another's begin.
    let there = frame(number >> 15, Layer4::ports(protocol, 1024 + (number & 0x7fff) as u16, 9));
    let mut back = there.clone();
    let (ethernet, ip) = (ETHERNET, ETHERNET + 14);
    back[ethernet..ethernet + 6].copy_from_slice(&there[ethernet + 6..ethernet + 12]);
    back[ethernet + 6..ethernet + 12].copy_from_slice(&there[ethernet..ethernet + 6]);
    back[ip + 12..ip + 16].copy_from_slice(&there[ip + 16..ip + 20]);
    back[ip + 16..ip + 20].copy_from_slice(&there[ip + 12..ip + 16]);
    back[ip + 20..ip + 22].copy_from_slice(&there[ip + 22..ip + 24]);
    back[ip + 22..ip + 24].copy_from_slice(&there[ip + 20..ip + 22]);
    [there, back]
}

/// Makes a segment of one: one byte of data with a number of its own, or none. Its checksum is left to the far end.
fn set_segment(frame: &mut [u8], flags: u8, [sequence, acknowledged]: [u32; 2], length: u16) {
    let ip = &mut frame[ETHERNET + 14..];
    ip[2..4].copy_from_slice(&(40 + length).to_be_bytes());
    ip[10..12].fill(0);
    let checksum = Sum::default().add_bytes(&ip[..20]).checksum();
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    ip[24..28].copy_from_slice(&sequence.to_be_bytes());
    ip[28..32].copy_from_slice(&acknowledged.to_be_bytes());
    ip[33] = flags;
}

impl Worker {
    /// Sees a burst of the frames in one direction through, the next of its rotation.
    pub(crate) fn run(&mut self, snapshot: &Snapshot, direction: usize, tick: Tick) {
        let Self { lane, frames, next, sends_tcp } = self;
        let frames = &mut frames[direction];
        lane.burst.clear();
        for _ in 0..BURST {
            let frame = &mut frames[next[direction]];
            if *sends_tcp && direction == 0 {
                let at = ETHERNET + 14 + 24;
                let number = u32::from_be_bytes(frame[at..at + 4].try_into().expect("four bytes"));
                frame[at..at + 4].copy_from_slice(&(number + 1).to_be_bytes());
            }
            lane.burst.push(frame);
            next[direction] = (next[direction] + 1) % frames.len();
        }
        lane.forward(snapshot, [A, B][direction], tick);
    }

    /// How many frames it has of each direction.
    pub(crate) fn flows(&self) -> usize {
        self.frames[0].len()
    }

    /// Panics where a frame did not come through.
    pub(crate) fn assert_all_forwarded(&self) {
        let ports = [A, B].map(|port| self.lane.forwarder.cells.port(port.slot));
        for port in ports {
            for (reason, count) in DropReason::ALL.iter().zip(&port.dropped) {
                assert_eq!(count.get(), 0, "frames dropped as {reason:?}");
            }
        }
        let sum = |counts: [u64; 2]| counts[0] + counts[1];
        assert_eq!(sum(ports.map(|port| port.received.get())), sum(ports.map(|port| port.transmitted.get())));
    }
}

/// So many workers with so many flows each, whose connections are open unless the case is to open them.
/// `opened` is told of each flow when it has been opened, and who owns it.
pub(crate) fn workers(
    case: Case,
    count: usize,
    flows: usize,
    (table, snapshot): (&Arc<ConnectionTable>, &Snapshot),
    mut opened: impl FnMut(usize, usize),
) -> Vec<Worker> {
    let protocol = match case {
        Case::Own(protocol) | Case::Crossed(protocol) => protocol,
        Case::Opening => Protocol::UDP,
    };
    let mut all: Vec<Worker> = (0..count)
        .map(|number| Worker {
            lane: Lane::new(number, Arc::clone(table)),
            frames: [Vec::with_capacity(flows), Vec::with_capacity(flows)],
            next: [0, 0],
            sends_tcp: protocol == Protocol::TCP,
        })
        .collect();
    let mut opener = Lane::new(0, Arc::clone(table));
    let mut send = |frame: &[u8], ingress: PortId| {
        opener.burst.clear();
        opener.burst.push(frame);
        opener.forward(snapshot, ingress, NOW);
    };
    for owner in 0..count {
        let replies_to = if matches!(case, Case::Crossed(_)) { (owner + 1) % count } else { owner };
        for flow in 0..flows {
            let [mut there, mut back] = both_ways((owner * flows + flow) as u32, protocol);
            if protocol == Protocol::TCP {
                set_segment(&mut back, SYN | ACK, [0, 1], 0);
            }
            if case != Case::Opening {
                send(&there, A);
                send(&back, B);
            }
            if protocol == Protocol::TCP {
                set_segment(&mut there, ACK, [1, 1], 0);
                send(&there, A);
                set_segment(&mut there, ACK, [1, 1], 1);
                set_segment(&mut back, ACK, [1, 1], 0);
            }
            opened(owner, flow);
            all[owner].frames[0].push(there);
            all[replies_to].frames[1].push(back);
        }
    }
    all
}
