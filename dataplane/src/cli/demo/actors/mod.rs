//! The people of the shop: real sockets in each workload's namespace, on both ends.
//!
//! Every workload serves every port that any promise names, so that a refusal is the switch's doing and not a
//! missing listener's; and every workload tries every probe that starts at it. What counts as "came through" is an
//! echo of the very bytes that were sent, read by the application. All probes of a workload wait together
//! ([`client`]), so refused ones, which hear nothing, cost one patience for all and not one each.

mod client;
mod ping;
mod server;
mod transfer;

use std::fmt;
use std::net::IpAddr;

use rustix::io::Errno;

pub(super) use self::client::try_all;
pub(super) use self::ping::internet_checksum;
pub(super) use self::server::{Servers, serve};
pub(super) use self::transfer::{Transfer, transfer};

use super::plan::{Attempt, Probe};

/// Bytes that a probe sends and wants back.
const NONCE: usize = 8;

/// The bytes of one probe: no two probes of a run have the same.
type Nonce = [u8; NONCE];

/// What became of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The echo came back.
    Answered,
    /// The bytes reached the other application, but no echo came back.
    Arrived,
    /// Nothing came back.
    Silence,
    /// A refusal came back (RST, or an ICMP error), and this is how the kernel put it.
    Rejected(Errno),
}

impl Outcome {
    /// Whether the application at the other end received it.
    pub(super) fn came_through(self) -> bool {
        matches!(self, Self::Answered | Self::Arrived)
    }

    /// A name for JSON.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Arrived => "arrived",
            Self::Silence => "silence",
            Self::Rejected(_) => "rejected",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(error) => write!(f, "{}: {error}", self.name()),
            other => f.write_str(other.name()),
        }
    }
}

/// A probe as the sockets see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Try {
    /// Index into the plan's probes, and what the nonce is made from.
    pub(super) number: usize,
    source: IpAddr,
    destination: IpAddr,
    attempt: Attempt,
    /// Tells the second round of probes from the first.
    round: u8,
}

impl Try {
    pub(super) fn new(number: usize, probe: &Probe, round: u8) -> Self {
        let Probe { source, destination, attempt, .. } = *probe;
        Self { number, source, destination, attempt, round }
    }

    fn nonce(self) -> Nonce {
        let [_, _, _, _, a, b, c, d] = (self.number as u64).to_be_bytes();
        [b's', b'e', b'p', self.round, a, b, c, d]
    }
}
