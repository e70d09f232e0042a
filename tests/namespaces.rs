//! `septum run`, the program itself, between real network stacks: hosts are anonymous network namespaces in a sandbox.

#[path = "support/echo.rs"]
mod echo;
#[path = "support/forge.rs"]
mod forge;
#[path = "support/host.rs"]
mod host;
#[path = "support/kernel.rs"]
mod kernel;
#[path = "support/lab.rs"]
mod lab;
#[path = "support/links.rs"]
mod links;
#[path = "support/namespace.rs"]
mod namespace;
#[path = "support/nobody.rs"]
mod nobody;
#[path = "support/ping.rs"]
mod ping;
#[path = "support/running.rs"]
mod running;
#[path = "support/summary.rs"]
mod summary;
#[path = "support/traceroute.rs"]
mod traceroute;
#[path = "support/trio.rs"]
mod trio;
#[path = "support/vxlan.rs"]
mod vxlan;

#[path = "namespaces/bad_input.rs"]
mod bad_input;
#[path = "namespaces/boot.rs"]
mod boot;
#[path = "namespaces/bulk.rs"]
mod bulk;
#[path = "namespaces/closing.rs"]
mod closing;
#[path = "namespaces/events.rs"]
mod events;
#[path = "namespaces/flood.rs"]
mod flood;
#[path = "namespaces/groups.rs"]
mod groups;
#[path = "namespaces/lies.rs"]
mod lies;
#[path = "namespaces/life.rs"]
mod life;
#[path = "namespaces/promises.rs"]
mod promises;
#[path = "namespaces/refusals.rs"]
mod refusals;
#[path = "namespaces/reload.rs"]
mod reload;
#[path = "namespaces/rootless.rs"]
mod rootless;
#[path = "namespaces/routes.rs"]
mod routes;
#[path = "namespaces/spoofing.rs"]
mod spoofing;
#[path = "namespaces/stack.rs"]
mod stack;
#[path = "namespaces/state.rs"]
mod state;
#[path = "namespaces/steering.rs"]
mod steering;
#[path = "namespaces/trunks.rs"]
mod trunks;
#[path = "namespaces/tunnels.rs"]
mod tunnels;
#[path = "namespaces/uplinks.rs"]
mod uplinks;

use std::process::ExitCode;

use libtest_mimic::Trial;

fn main() -> ExitCode {
    // One test starts this program again, to run the others as somebody else.
    if let Some(status) = rootless::play_role() {
        return status;
    }
    // The longest first.
    let mut trials = rootless::trials();
    trials.extend(between_hosts());
    namespace::run_trials(trials, None)
}

/// What holds between hosts whatever kind of device joins them.
fn between_hosts() -> Vec<Trial> {
    let modules = [
        promises::trials(),
        routes::trials(),
        state::trials(),
        lies::trials(),
        boot::trials(),
        spoofing::trials(),
        refusals::trials(),
        uplinks::trials(),
        groups::trials(),
        trunks::trials(),
        reload::trials(),
        life::trials(),
        bad_input::trials(),
        events::trials(),
        bulk::trials(),
        tunnels::trials(),
        flood::trials(),
        closing::trials(),
        stack::trials(),
        steering::trials(),
    ];
    modules.into_iter().flatten().collect()
}
