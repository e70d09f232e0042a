//! Ports against a real kernel: devices, namespaces, and the sandbox in which all of this runs.

#[path = "support/kernel.rs"]
mod kernel;
#[path = "support/links.rs"]
mod links;
#[path = "support/namespace.rs"]
mod namespace;
#[path = "support/nobody.rs"]
mod nobody;
#[path = "support/vxlan.rs"]
mod vxlan;

#[path = "support/ports.rs"]
mod ports;

#[path = "ports/datagram.rs"]
mod datagram;
#[path = "ports/devices.rs"]
mod devices;
#[path = "ports/inherited.rs"]
mod inherited;
#[path = "ports/killed.rs"]
mod killed;
#[path = "ports/rootless.rs"]
mod rootless;
#[path = "ports/sandbox.rs"]
mod sandbox;
#[path = "ports/shield.rs"]
mod shield;
#[path = "ports/steering.rs"]
mod steering;
#[path = "ports/traffic.rs"]
mod traffic;
#[path = "ports/tunnels.rs"]
mod tunnels;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Some tests start this program again, in one of these roles.
    if let Some(status) = sandbox::play_role()
        .or_else(rootless::play_role)
        .or_else(killed::play_role)
        .or_else(inherited::play_role)
    {
        return status;
    }
    let mut trials = Vec::new();
    trials.extend(sandbox::trials());
    trials.extend(rootless::trials());
    trials.extend(killed::trials());
    trials.extend(devices::trials());
    trials.extend(datagram::trials());
    trials.extend(inherited::trials());
    trials.extend(shield::trials());
    trials.extend(steering::trials());
    trials.extend(traffic::trials());
    trials.extend(tunnels::trials());
    // One after another: a child that one test forks has all descriptors of the others until its exec, and what they close and
    // want gone is not gone yet.
    namespace::run_trials(trials, Some(1))
}
