//! Both directions of a connection come to the same worker's queue, by whatever kind of port.

use std::time::{Duration, Instant};

use etherparse::PacketBuilder;
use libtest_mimic::{Failed, Trial};
use pnet::datalink::DataLinkSender;
use septum::burst::{Burst, ETHERNET};
use septum::port::tap::TapQueue;
use septum::port::{AnyQueue, Inside, Offloads, Port, PortQueue, Substitute};
use septum::sys::namespace::NetworkNamespace;
use septum::sys::steering::{Hook, program};
use septum::sys::tun;
use septum_rules::workload::PortSpec;

use crate::devices::raw;
use crate::namespace::needs_tun;
use crate::ports::{Host, tap, wait};

pub(crate) fn trials() -> Vec<Trial> {
    let is_refused = program(Hook::Tap).is_none();
    if is_refused {
        eprintln!("skipped: steering programs, as this kernel takes none from this user");
    }
    let trials = [
        Trial::test("steering::both_directions_meet", both_directions_meet),
        Trial::test("steering::a_device_that_is_kept_loses_it", a_device_that_is_kept_loses_it),
    ];
    trials.map(|trial| needs_tun(trial.with_ignored_flag(is_refused))).into()
}

/// A device that frames are sent to, and what the switch has of it.
struct Side {
    sender: Box<dyn DataLinkSender>,
    queues: Vec<AnyQueue>,
    _host: Option<Host>,
}

impl Side {
    fn new(substitute: Substitute) -> Result<Self, Failed> {
        let mut host = Host::new(1, "eth0", substitute)?;
        let queues = host.port.take_queues();
        let (sender, _) = raw(&host.namespace, "eth0")?;
        Ok(Self { sender, queues, _host: Some(host) })
    }

    /// A device that is there already, by these queues.
    fn of(namespace: &NetworkNamespace, queues: Vec<AnyQueue>) -> Result<Self, Failed> {
        let (sender, _) = raw(namespace, "eth0")?;
        Ok(Self { sender, queues, _host: None })
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

fn a_device_that_is_kept_loses_it() -> Result<(), Failed> {
    const FLOWS: std::ops::Range<u16> = 40_000..40_064;
    let namespace = NetworkNamespace::anonymous()?;
    let spec = PortSpec { persistent: true, ..tap("eth0") };
    let inside = Inside { addresses: vec![("10.0.0.1".parse()?, 24)], ..Inside::default() };
    let queues_of_flows = |mut side: Side| {
        FLOWS
            .map(|port| side.queue_of(&frame(true, false, (1, port), (2, 443))))
            .collect::<Result<Vec<_>, _>>()
    };
    let mut port = Port::open_in(&spec, &namespace, &inside, 2, Substitute::Never)?;
    let steered = queues_of_flows(Side::of(&namespace, port.take_queues())?)?;
    drop(port);
    // Somebody else's queues: the kernel spreads flows by a hash that it seeded, and agrees on all of them once in 2^64 times.
    let attach = || -> std::io::Result<_> {
        let queue = tun::open()?;
        tun::attach(&queue, "eth0", false)?;
        tun::set_header(&queue)?;
        Ok(AnyQueue::Tap(TapQueue::new(queue, Offloads::NONE)))
    };
    let others = namespace.run(|| -> std::io::Result<_> { Ok(vec![attach()?, attach()?]) })??;
    assert_ne!(queues_of_flows(Side::of(&namespace, others)?)?, steered);
    Ok(())
}
