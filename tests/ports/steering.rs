//! Both directions of a connection come to the same worker's queue, by whatever kind of port.

use std::time::{Duration, Instant};

use etherparse::PacketBuilder;
use libtest_mimic::{Failed, Trial};
use pnet::datalink::DataLinkSender;
use septum::burst::{Burst, ETHERNET};
use septum::port::{AnyQueue, PortQueue, Substitute};
use septum::sys::steering::{Hook, program};

use crate::devices::raw;
use crate::namespace::needs_tun;
use crate::ports::{Host, wait};

const NAME: &str = "steering::both_directions_meet";

pub(crate) fn trials() -> Vec<Trial> {
    let is_refused = program(Hook::Tap).is_none();
    if is_refused {
        eprintln!("skipped: steering programs, as this kernel takes none from this user");
    }
    vec![needs_tun(Trial::test(NAME, both_directions_meet).with_ignored_flag(is_refused))]
}

/// A device that frames are sent to, and what the switch has of it.
struct Side {
    sender: Box<dyn DataLinkSender>,
    queues: Vec<AnyQueue>,
    _host: Host,
}

impl Side {
    fn new(substitute: Substitute) -> Result<Self, Failed> {
        let mut host = Host::new(1, "eth0", substitute)?;
        let queues = host.port.take_queues();
        let (sender, _) = raw(&host.namespace, "eth0")?;
        Ok(Self { sender, queues, _host: host })
    }

    /// The queue to which a frame comes that the workload sends.
    fn queue_of(&mut self, frame: &[u8]) -> Result<usize, Failed> {
        self.sender.send_to(frame, None).ok_or("no buffer")??;
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut burst = Burst::default();
        while Instant::now() < deadline {
            wait(self.queues.iter(), Duration::from_millis(50));
            for (number, queue) in self.queues.iter_mut().enumerate() {
                burst.clear();
                let count = queue.receive(&mut burst).map_err(|gone| format!("{gone:?}"))?;
                if (0..count).any(|index| burst.frame(index)[ETHERNET..] == *frame) {
                    return Ok(number);
                }
            }
        }
        Err("the frame never came".into())
    }
}

/// An end of a connection: the last octet of its address, and its port.
type End = (u8, u16);

fn frame(is_v4: bool, is_tcp: bool, from: End, to: End) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let v6 = |last| [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    let builder = match is_v4 {
        true => builder.ipv4([10, 0, 0, from.0], [10, 0, 0, to.0], 64),
        false => builder.ipv6(v6(from.0), v6(to.0), 64),
    };
    let mut frame = Vec::new();
    let written = match is_tcp {
        true => builder.tcp(from.1, to.1, 1, 1000).write(&mut frame, b"some bytes"),
        false => builder.udp(from.1, to.1).write(&mut frame, b"some bytes"),
    };
    written.expect("a vector takes everything");
    frame
}

fn both_directions_meet() -> Result<(), Failed> {
    let mut sides = [Side::new(Substitute::Never)?, Side::new(Substitute::Always)?];
    let mut came = [0; 2];
    for port in 40_000..40_032 {
        for (is_v4, is_tcp) in [(true, true), (true, false), (false, true), (false, false)] {
            let (opener, answerer) = ((1, port), (2, 443));
            let there = frame(is_v4, is_tcp, opener, answerer);
            let back = frame(is_v4, is_tcp, answerer, opener);
            let queue = sides[0].queue_of(&there)?;
            for side in &mut sides {
                assert_eq!(side.queue_of(&there)?, queue, "port {port}, IPv4 {is_v4}, TCP {is_tcp}");
                assert_eq!(side.queue_of(&back)?, queue, "port {port}, IPv4 {is_v4}, TCP {is_tcp}");
            }
            came[queue] += 1;
        }
    }
    // The same every time: nothing of it is seeded.
    assert!(came.iter().all(|count| *count >= 32), "{came:?}");
    Ok(())
}
