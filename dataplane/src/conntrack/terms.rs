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
        }
    }

    /// Ticks of one timeout.
    pub const fn ticks(&self, timeout: Timeout) -> u32 {
        self.timeouts[timeout as usize]
    }

    /// When a connection that is silent from `now` on, in this state, is forgotten.
    #[inline]
    pub fn deadline(&self, protocol: Protocol, state: State, now: Tick) -> Tick {
        let timeout = match state.phase {
            Phase::SynSent => Timeout::TcpSynSent,
            Phase::SynReceived => Timeout::TcpSynReceived,
            Phase::Established => Timeout::TcpEstablished,
            Phase::FinWait => Timeout::TcpFinWait,
            Phase::CloseWait => Timeout::TcpCloseWait,
            Phase::LastAck => Timeout::TcpLastAck,
            Phase::TimeWait => Timeout::TcpTimeWait,
            Phase::Closed if protocol == Protocol::SCTP => Timeout::SctpClosed,
            Phase::Closed => Timeout::TcpClose,
            Phase::CookieWait => Timeout::SctpCookieWait,
            Phase::CookieEchoed => Timeout::SctpCookieEchoed,
            Phase::Associated => Timeout::SctpEstablished,
            Phase::Shutdown => Timeout::SctpShutdown,
            Phase::ShutdownAcked => Timeout::SctpShutdownAck,
            Phase::Unanswered | Phase::Answered => match protocol {
                Protocol::UDP if state.phase == Phase::Answered => Timeout::UdpStream,
                Protocol::UDP => Timeout::Udp,
                Protocol::ICMP => Timeout::Icmp,
                Protocol::ICMPV6 => Timeout::Icmp6,
                _ => Timeout::Generic,
            },
        };
        let ticks = self.ticks(timeout);
        let ticks = if state.doubted { ticks.min(self.ticks(Timeout::TcpDoubted)) } else { ticks };
        now.plus(ticks)
    }
}
