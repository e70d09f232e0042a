//! Ports whose devices disappear while frames are on their way: the threads of a switch go on with the others.

use std::sync::Arc;
use std::time::{Duration, Instant};

use septum::port::{MemoryQueue, Offloads};
use septum::snapshot::CompiledPolicy;
use septum::switch::{NewPort, Options, Switch};
use septum::worker::Report;
use septum_rules::proto::{Layer4, Protocol};

use crate::fabric::{Fabric, today};

const WORKLOADS: usize = 8;

/// What must happen does within this, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(10);

fn policy() -> String {
    let mut text = "version = 1\n[segment.lan]\nsubnet = [\"10.0.0.0/24\"]\n".to_owned();
    for number in 0..WORKLOADS {
        text.push_str(&format!(
            "[workload.w{number}]\nsegment = \"lan\"\nmac = \"02:00:00:00:00:0{number}\"\nip = [\"10.0.0.{}\"]\n",
            number + 1
        ));
    }
    text + "[[rule]]\nname = \"talk\"\nfrom = \"segment=lan\"\nto = \"segment=lan\"\nallow = [\"udp/9\"]\n"
}

/// Every port is ready at every look, and each in turn fails at one: the rest of that look is still served.
#[test]
fn a_worker_survives_the_loss_of_any_port_at_any_look() {
    let fabric = Fabric::new(&policy());
    let frames: Vec<Vec<u8>> = (0..WORKLOADS)
        .map(|number| {
            let (from, to) = (format!("w{number}"), format!("w{}", WORKLOADS - 1));
            fabric.opening(&from, &fabric.flow(&from, &to, true, Layer4::ports(Protocol::UDP, 1000, 9)))
        })
        .collect();
    let mut far_ends = Vec::new();
    let mut ports = Vec::new();
    for number in 0..WORKLOADS {
        let (near, far) = MemoryQueue::pair(64, Offloads::ALL);
        ports.push(NewPort { workload: format!("w{number}").into(), queues: vec![near] });
        far_ends.push(Some(far));
    }
    let compiled = CompiledPolicy::compile(Arc::clone(&fabric.snapshot.policy), today()).unwrap();
    let switch = Switch::start(compiled, ports, Options { connections: 1024, ..Options::default() }).unwrap();
    let last = far_ends.pop().flatten().expect("the last stays");
    for number in 0..WORKLOADS - 1 {
        // Frames of all that are left, and one port fewer.
        for (frame, end) in frames.iter().zip(&far_ends) {
            end.iter().for_each(|end| assert!(end.inject(frame)));
        }
        drop(far_ends[number].take());
        let report = switch.reports().recv_timeout(PATIENCE).expect("the loss is told");
        let Report::PortGone { port, .. } = report else { panic!("{report:?}") };
        assert_eq!(switch.workload_at(port), Some(&Arc::from(format!("w{number}"))));
    }
    // The worker still takes what comes.
    let deadline = Instant::now() + PATIENCE;
    let before = switch.counters().total.received;
    assert!(last.inject(&frames[WORKLOADS - 1]));
    while switch.counters().total.received == before {
        assert!(Instant::now() < deadline, "nobody is served any more");
        std::thread::yield_now();
    }
    assert_eq!(switch.stop().total.imbalance(), None);
}
