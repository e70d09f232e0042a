//! The terms on which connections are remembered: the policy's `[conntrack]`, in the forwarder's units.

use septum_rules::conntrack::{ConntrackSettings, TcpTracking, Timeout};
use septum_rules::proto::Protocol;

use super::state::{Phase, State};
use crate::clock::Tick;

/// What a snapshot says about remembering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// TCP segments outside the window are refused.
    pub strict: bool,
    /// Ticks after the table's start in which TCP connections are taken up midway.
    pub pick_up: u32,
    /// Connections that one workload may have.
    pub connections: u32,
    /// Of these, half-open ones.
    pub half_open: u32,
    /// Packets of one workload whose fragments are followed.
    pub fragments: u32,
    /// Ticks, by [`Timeout`].
    timeouts: [u32; Timeout::ALL.len()],
    /// The same by [`Phase`], for TCP and UDP.
    phases: [u32; Phase::ALL.len()],
}

impl Default for Terms {
    fn default() -> Self {
        Self::new(&ConntrackSettings::default())
    }
}

impl Terms {
    /// The terms that a policy sets.
    pub fn new(settings: &ConntrackSettings) -> Self {
        // The longest timeout is a year, so that no sum of a moment and a timeout is half the clock's circle ahead.
        let ticks = |timeout| settings.timeouts.seconds(timeout) * Tick::PER_SECOND;
        Self {
            strict: settings.tcp == TcpTracking::Strict,
            pick_up: settings.pick_up * Tick::PER_SECOND,
            connections: settings.connections_per_workload,
            half_open: settings.half_open_per_workload,
            fragments: settings.fragments_per_workload,
            timeouts: Timeout::ALL.map(ticks),
            // TCP has no phase in common with UDP.
            phases: Phase::ALL.map(|phase| ticks(timeout_of(Protocol::UDP, phase))),
        }
    }

    /// Ticks of one timeout.
    pub const fn ticks(&self, timeout: Timeout) -> u32 {
        self.timeouts[timeout as usize]
    }

    /// When a connection that is silent from `now` on, in this state, is forgotten.
    #[inline]
    pub fn deadline(&self, protocol: Protocol, state: State, now: Tick) -> Tick {
        let ticks = match protocol {
            Protocol::TCP | Protocol::UDP => self.phases[state.phase as usize],
            _ => self.ticks(timeout_of(protocol, state.phase)),
        };
        let ticks = if state.doubted { ticks.min(self.ticks(Timeout::TcpDoubted)) } else { ticks };
        now.plus(ticks)
    }
}

/// Which timeout a connection of this protocol has.
const fn timeout_of(protocol: Protocol, phase: Phase) -> Timeout {
    match (phase, protocol) {
        (Phase::SynSent, _) => Timeout::TcpSynSent,
        (Phase::SynReceived, _) => Timeout::TcpSynReceived,
        (Phase::Established, _) => Timeout::TcpEstablished,
        (Phase::FinWait, _) => Timeout::TcpFinWait,
        (Phase::CloseWait, _) => Timeout::TcpCloseWait,
        (Phase::LastAck, _) => Timeout::TcpLastAck,
        (Phase::TimeWait, _) => Timeout::TcpTimeWait,
        (Phase::Closed, Protocol::SCTP) => Timeout::SctpClosed,
        (Phase::Closed, _) => Timeout::TcpClose,
        (Phase::CookieWait, _) => Timeout::SctpCookieWait,
        (Phase::CookieEchoed, _) => Timeout::SctpCookieEchoed,
        (Phase::Associated, _) => Timeout::SctpEstablished,
        (Phase::Shutdown, _) => Timeout::SctpShutdown,
        (Phase::ShutdownAcked, _) => Timeout::SctpShutdownAck,
        (Phase::Answered, Protocol::UDP) => Timeout::UdpStream,
        (Phase::Unanswered, Protocol::UDP) => Timeout::Udp,
        (Phase::Unanswered | Phase::Answered, Protocol::ICMP) => Timeout::Icmp,
        (Phase::Unanswered | Phase::Answered, Protocol::ICMPV6) => Timeout::Icmp6,
        (Phase::Unanswered | Phase::Answered, _) => Timeout::Generic,
    }
}
