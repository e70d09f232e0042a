//! Many ports: how long they take to come and go, what they cost while nothing is sent, and whether all reach each other.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::ends::ECHO;
use super::report::Row;
use super::stage::{Setting, Stage};
use crate::cli::failure::Failure;

/// How far apart, in the order of the hosts, those are that are tried, and of how many hosts one begins: every one asks its neighbour,
/// some ask further. The kernel knows at most 1024 neighbours of all namespaces together (`net.ipv4.neigh.default.gc_thresh3`).
const DISTANCES: [(usize, usize); 4] = [(1, 1), (7, 4), (61, 4), (251, 4)];
/// What a datagram may take.
const PATIENCE: Duration = Duration::from_millis(500);
/// What is on its way when the ports have come up, is not idleness: router and group messages of the hosts' stacks.
pub(super) const SETTLE: Duration = Duration::from_secs(2);

/// Brings everything up, waits for `duration`, lets the hosts talk, and takes everything down.
pub(super) fn measure(setting: Setting, duration: Duration) -> Result<Row, Failure> {
    let mut row = Row::new("ports");
    row.parameter("ports", setting.ports);
    row.parameter("rules", setting.rules);
    row.parameter("workers", setting.workers);
    let began = Instant::now();
    let stage = Stage::open(Setting { talk: true, ..setting })?;
    row.value("start_s", began.elapsed().as_secs_f64());

    std::thread::sleep(SETTLE);
    let (began, before) = (Instant::now(), processor_time());
    std::thread::sleep(duration);
    let used = processor_time() - before;
    row.value("idle_percent", 100.0 * used.as_secs_f64() / began.elapsed().as_secs_f64());

    let (pairs, reached) = talk(&stage).map_err(|error| {
        Failure::because(Failure::ENVIRONMENT, "the hosts cannot be made to talk", &error)
    })?;
    row.value("pairs", pairs as f64);
    row.value("reached", reached as f64);

    let began = Instant::now();
    stage.close();
    row.value("stop_s", began.elapsed().as_secs_f64());
    Ok(row)
}

/// What all threads of this process have used.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// Has every host send a datagram to some others; gives how many pairs that are, and in how many it arrived.
fn talk(stage: &Stage) -> io::Result<(usize, usize)> {
    let mut sockets = Vec::new();
    for (namespace, address) in stage.hosts() {
        let at = SocketAddr::new(address, ECHO);
        let socket = namespace.run(|| UdpSocket::bind(at)).map_err(io::Error::other)??;
        socket.set_read_timeout(Some(PATIENCE))?;
        sockets.push((socket, at));
    }
    let (mut pairs, mut reached) = (0, 0);
    for (distance, step) in DISTANCES.into_iter().filter(|(distance, _)| *distance < sockets.len()) {
        let other = |from: usize| (from + distance) % sockets.len();
        let beginning = || sockets.iter().enumerate().step_by(step);
        for (from, (socket, _)) in beginning() {
            socket.send_to(&[0; 8], sockets[other(from)].1)?;
        }
        for (from, (_, address)) in beginning() {
            pairs += 1;
            let heard = sockets[other(from)].0.recv_from(&mut [0; 8]);
            reached += usize::from(heard.is_ok_and(|(_, by)| by == *address));
        }
    }
    Ok((pairs, reached))
}
