//! What happens on the stage: probes, lies, transfers.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use septum_rules::identity::WorkloadId;

use super::actors::{Outcome, Servers, Try, transfer, try_all};
use super::attacks::{Fate, Forgery, LIAR, forgeries, is_seen_in};
use super::findings::{Carried, Lie};
use super::plan::{Attempt, Family, Plan, Probe};
use super::stage::Stage;
use crate::burst::SLOT;
use crate::directory::gateway_mac;
use crate::drop_reason::DropReason;
use crate::sys::namespace::NetworkNamespace;
use crate::sys::netlink::Netlink;
use crate::sys::packet::{self, Received};
use crate::wire::vnet_hdr::VnetHeader;

/// How long refused probes are waited for. An answer takes less than a millisecond.
const PATIENCE: Duration = Duration::from_secs(1);
/// The second chance of a probe that should have come through: longer than TCP waits before it tries again.
const SECOND_PATIENCE: Duration = Duration::from_secs(3);
/// How long the switch may take to count a frame, or a host to see it.
const FRAME_PATIENCE: Duration = Duration::from_millis(500);
/// Once a frame's fate is known: long enough for a second copy to show up elsewhere.
const SETTLE: Duration = Duration::from_millis(10);
/// Length of one transfer.
const TRANSFER: Duration = Duration::from_secs(1);

/// Tries every probe of the plan.
///
/// # Errors
/// When sockets or threads cannot be had.
pub(super) fn probes(stage: &Stage, plan: &Plan) -> io::Result<Vec<Outcome>> {
    let all: Vec<usize> = (0..plan.probes.len()).collect();
    let mut outcomes = vec![Outcome::Silence; plan.probes.len()];
    round(stage, plan, &all, 0, PATIENCE, &mut outcomes)?;
    // On a busy machine a packet may come late; nobody shall call a promise broken for that.
    let missed = |number: &usize| {
        let promised = plan.probes[*number].promised;
        promised.is_some_and(|promised| promised.open) && outcomes[*number] != Outcome::Answered
    };
    let again: Vec<usize> = all.into_iter().filter(missed).collect();
    round(stage, plan, &again, 1, SECOND_PATIENCE, &mut outcomes)?;
    Ok(outcomes)
}

/// One round: every workload tries its own probes, all at the same time.
fn round(
    stage: &Stage,
    plan: &Plan,
    numbers: &[usize],
    round: u8,
    patience: Duration,
    outcomes: &mut [Outcome],
) -> io::Result<()> {
    let tries_of = |id: WorkloadId| -> Vec<Try> {
        let own = numbers.iter().filter(|number| plan.probes[**number].from == id);
        own.map(|number| Try::new(*number, &plan.probes[*number], round)).collect()
    };
    let workloads = (0..stage.policy.workloads.len() as u32).map(WorkloadId);
    thread::scope(|scope| {
        let start = |id| {
            let tries = tries_of(id);
            scope.spawn(move || -> io::Result<_> {
                let became =
                    stage.namespace(id).run(|| try_all(&tries, patience)).map_err(io::Error::other)??;
                Ok(tries.into_iter().zip(became).collect::<Vec<_>>())
            })
        };
        let running: Vec<_> = workloads.map(start).collect();
        for thread in running {
            let tried = thread.join().map_err(|_| io::Error::other("a host of the shop panicked"))??;
            for (attempt, outcome) in tried {
                outcomes[attempt.number] = judged(&stage.servers, attempt, outcome);
            }
        }
        Ok(())
    })
}

/// What the asking side saw, and what it could not see.
fn judged(servers: &Servers, attempt: Try, outcome: Outcome) -> Outcome {
    if !outcome.came_through() && servers.saw(attempt) { Outcome::Arrived } else { outcome }
}

/// Sends every forgery from the liar and looks for it everywhere else.
///
/// # Errors
/// When raw sockets cannot be had.
pub(super) fn lies(stage: &Stage) -> io::Result<Vec<Lie>> {
    let Some(liar) = stage.policy.workload_named(LIAR) else { return Ok(Vec::new()) };
    // Any host of the segment learns it by asking; here it need not.
    let gateway = gateway_mac(&stage.policy.segment_of(liar).name);
    let forged = forgeries(&stage.policy, gateway);
    let wire = Wire::tap(stage.namespace(liar), stage.device(liar))?;
    let others = (0..stage.policy.workloads.len() as u32).map(WorkloadId).filter(|id| *id != liar);
    let witnesses = others
        .map(|id| Ok((id, Wire::tap(stage.namespace(id), stage.device(id))?)))
        .collect::<io::Result<Vec<_>>>()?;
    forged.into_iter().map(|forgery| tell(stage, &wire, &witnesses, forgery)).collect()
}

fn tell(stage: &Stage, wire: &Wire, witnesses: &[(WorkloadId, Wire)], forgery: Forgery) -> io::Result<Lie> {
    let count = |reason: DropReason| {
        let counters = stage.counters();
        counters.ports.get(LIAR).map_or(0, |port| port.dropped[reason.index()])
    };
    let expected = match forgery.expected {
        Fate::Dropped(reason) => Some((reason, count(reason))),
        Fate::Delivered(_) => None,
    };
    let mut lie = Lie { forgery, seen_at: Vec::new(), counted: false };
    wire.send(&lie.forgery.frame)?;
    let began = Instant::now();
    loop {
        look(witnesses, &mut lie);
        lie.counted = expected.is_some_and(|(reason, before)| count(reason) > before);
        if lie.counted || !lie.seen_at.is_empty() || began.elapsed() > FRAME_PATIENCE {
            break;
        }
        thread::sleep(Duration::from_millis(1));
    }
    thread::sleep(SETTLE);
    look(witnesses, &mut lie);
    Ok(lie)
}

/// Takes everything that has arrived at the witnesses, and keeps who saw the lie.
fn look(witnesses: &[(WorkloadId, Wire)], lie: &mut Lie) {
    for (id, wire) in witnesses {
        while let Some(frame) = wire.next() {
            if is_seen_in(&lie.forgery, &frame) && !lie.seen_at.contains(id) {
                lie.seen_at.push(*id);
            }
        }
    }
}

/// A raw socket on a workload's own device: what its root can do.
struct Wire {
    socket: OwnedFd,
}

impl Wire {
    fn tap(namespace: &NetworkNamespace, device: &str) -> io::Result<Self> {
        let open = || {
            let index = Netlink::open()?.link(device)?.index;
            let socket = packet::open()?;
            packet::configure(socket.as_fd())?;
            packet::bind(socket.as_fd(), index)?;
            Ok(Self { socket })
        };
        namespace.run(open).map_err(io::Error::other)?
    }

    fn send(&self, frame: &[u8]) -> io::Result<()> {
        packet::transmit(&self.socket, &[&[0; VnetHeader::LENGTH][..], frame].concat())
    }

    /// A frame that has arrived, from its Ethernet header on.
    fn next(&self) -> Option<Vec<u8>> {
        let mut frame = vec![0; SLOT];
        match packet::receive(&self.socket, &mut frame) {
            Ok(Received::Frame(length)) => {
                frame.truncate(length);
                Some(frame.split_off(VnetHeader::LENGTH.min(length)))
            }
            Ok(Received::TooLong) => Some(Vec::new()),
            Err(_) => None,
        }
    }
}

/// One transfer a family, over the first promised TCP service that came through.
pub(super) fn transfers(stage: &Stage, plan: &Plan, outcomes: &[Outcome]) -> Vec<Carried> {
    let came = |family: Family| {
        let of_family = plan.probes.iter().zip(outcomes).filter(move |(probe, _)| probe.family() == family);
        of_family.filter(|(_, outcome)| **outcome == Outcome::Answered).map(|(probe, _)| probe)
    };
    let promised = |probe: &&Probe| probe.promised.is_some_and(|promised| promised.open);
    let tcp = |probe: &Probe| match probe.attempt {
        Attempt::Tcp(port) => Some((probe.clone(), port)),
        _ => None,
    };
    Family::BOTH
        .into_iter()
        .filter_map(|family| came(family).filter(promised).find_map(tcp))
        .map(|(probe, port)| carry(stage, &probe, port))
        .collect()
}

fn carry(stage: &Stage, probe: &Probe, port: u16) -> Carried {
    let end = |id: WorkloadId, address: IpAddr, port| (stage.namespace(id), SocketAddr::new(address, port));
    let result = transfer(end(probe.from, probe.source, 0), end(probe.to, probe.destination, port), TRANSFER);
    Carried {
        from: probe.from,
        to: probe.to,
        destination: probe.destination,
        port,
        result: result.map_err(|error| error.to_string()),
    }
}
