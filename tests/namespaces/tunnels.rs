//! TCP through the kernel's VXLAN tunnels, which the policy sees as what they are, UDP between two workloads: super-frames pass whole.

use libtest_mimic::{Failed, Trial};
use rustix::process::Signal;

use crate::bulk::{BYTES, checksum_errors, transfer};
use crate::host::Host;
use crate::kernel;
use crate::lab::Lab;
use crate::running::Running;
use crate::trio::trio_and;
use crate::vxlan::{CARRIERS, Carrier, needs_vxlan};

/// Tunnels may be between any two workloads, in one segment or over the gateway.
const TUNNELS: &str = r#"
[[rule]]
name  = "tunnels"
from  = "name in (a,b,c)"
to    = "name in (a,b,c)"
allow = ["udp/4789-4792"]
"#;

pub(crate) fn trials() -> Vec<Trial> {
    [("uring", "auto"), ("readwrite", "readwrite")]
        .into_iter()
        .map(|(name, io)| {
            let test = move || super_frames_arrive_whole(io);
            needs_vxlan(Trial::test(format!("tunnels::super_frames_arrive_whole_{name}"), test))
        })
        .collect()
}

fn super_frames_arrive_whole(io: &str) -> Result<(), Failed> {
    let lab = Lab::new(&trio_and(TUNNELS))?;
    let running = Running::start(&lab.policy(), &["--io", io])?;
    let hosts = ["a", "b", "c"].map(|name| lab.host(name));
    let [a, b, c] = &hosts;
    let tunnels: Vec<(Carrier, &Host)> = CARRIERS.into_iter().zip([&**b, c, c, b]).collect();
    let mut ends = Vec::new();
    for (carrier, to) in &tunnels {
        let (from, to_address) = (a.address(carrier.ipv4), to.address(carrier.ipv4));
        ends.push(carrier.add(&a.namespace, 1, from, to_address)?);
        ends.push(carrier.add(&to.namespace, 2, to_address, from)?);
    }
    // Until its other end is there, a tunnel without checksums meets a stack that wants them.
    let before = hosts.iter().map(|host| checksum_errors(host)).collect::<Result<Vec<_>, _>>()?;
    for (carrier, to) in &tunnels {
        transfer(a, to, carrier.inside(2)[usize::from(carrier.has_checksums)])?;
    }
    let after = hosts.iter().map(|host| checksum_errors(host)).collect::<Result<Vec<_>, _>>()?;
    assert_eq!(before, after);
    drop(ends);
    let summary = running.end(Signal::TERM)?;
    assert_eq!(summary.dropped("offload-header"), 0, "{summary:#?}");
    let is_tap = septum::sys::tun::open().is_ok();
    if is_tap && !kernel::tells_of_tunnels() {
        eprintln!(
            "this kernel cuts what TAP devices carry in tunnels (before Linux 6.17): only that it arrives"
        );
    } else {
        let frames = summary.ports["a"].forwarded;
        assert!(frames * 5000 < 4 * BYTES as u64, "{frames} frames are no super-frames: {summary:#?}");
    }
    lab.assert_empty()
}
