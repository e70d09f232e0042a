//! The wire: parsing, checksums, what the switch writes, segmentation. Etherparse and pnet are the independent
//! witnesses.

#[path = "support/at_packets.rs"]
mod at_packets;
#[path = "support/captures.rs"]
mod captures;
#[path = "support/fixtures.rs"]
mod fixtures;

#[path = "wire/build.rs"]
mod build;
#[path = "wire/fitted.rs"]
mod fitted;
#[path = "wire/foreign.rs"]
mod foreign;
#[path = "wire/frames.rs"]
mod frames;
#[path = "wire/oracle.rs"]
mod oracle;
#[path = "wire/quotes.rs"]
mod quotes;
#[path = "wire/reasons.rs"]
mod reasons;
#[path = "wire/segmentation.rs"]
mod segmentation;
#[path = "wire/super_frame.rs"]
mod super_frame;
#[path = "wire/traffic.rs"]
mod traffic;
#[path = "wire/tunnels.rs"]
mod tunnels;
