//! The pipeline on ports in memory: every frame's end, by name.

#[path = "support/at_packets.rs"]
mod at_packets;
#[path = "support/fabric.rs"]
mod fabric;
#[path = "support/fixtures.rs"]
mod fixtures;

#[path = "wire/super_frame.rs"]
mod super_frame;

#[path = "pipeline/cases.rs"]
mod cases;
#[path = "pipeline/configuration.rs"]
mod configuration;
#[path = "pipeline/connections.rs"]
mod connections;
#[path = "pipeline/fast_path.rs"]
mod fast_path;
#[path = "pipeline/groups.rs"]
mod groups;
#[path = "pipeline/guard.rs"]
mod guard;
#[path = "pipeline/hostile.rs"]
mod hostile;
#[path = "pipeline/limits.rs"]
mod limits;
#[path = "pipeline/loss.rs"]
mod loss;
#[path = "pipeline/openvswitch.rs"]
mod openvswitch;
#[path = "pipeline/reach.rs"]
mod reach;
#[path = "pipeline/reject.rs"]
mod reject;
#[path = "pipeline/routing.rs"]
mod routing;
#[path = "pipeline/tracking.rs"]
mod tracking;
#[path = "pipeline/trunks.rs"]
mod trunks;
#[path = "pipeline/uplinks.rs"]
mod uplinks;

/// Three segments, one of them isolated, both families.
pub(crate) const SHOP: &str = include_str!("../examples/three-tier.toml");
