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
    /// The same by the number of the [`Phase`], for TCP and UDP.
    phases: [Span; PHASES],
}

/// Numbers that a phase may have in an entry.
const PHASES: usize = 16;

/// How long a silent connection is remembered: a timeout, rounded up to a moment that many packets share.
///
/// Deadlines are multiples of a power of two of ticks, of an eighth of the timeout at the most. So few of a connection's packets find
/// a deadline to change, however many connections take turns: that is a locked instruction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Span {
    /// Ticks at least.
    ticks: u32,
    /// The multiple, less one.
    grain: u32,
}

impl Span {
    const fn of(ticks: u32) -> Self {
        let part = ticks / 8;
        Self { ticks, grain: if part == 0 { 0 } else { (1 << part.ilog2()) - 1 } }
    }

    /// The shorter one.
    fn or_less(self, ticks: u32) -> Self {
        if ticks < self.ticks { Self::of(ticks) } else { self }
    }

    /// When what is silent from `now` on is forgotten.
    #[inline]
    const fn after(self, now: Tick) -> Tick {
        // The clock's circle is a multiple of every grain.
        Tick(now.0.wrapping_add(self.ticks).wrapping_add(self.grain) & !self.grain)
    }
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
            phases: std::array::from_fn(|number| {
                let phase = Phase::ALL.get(number);
                phase.map_or(Span::default(), |phase| Span::of(ticks(timeout_of(Protocol::UDP, *phase))))
            }),
        }
    }

    /// Ticks of one timeout.
    pub const fn ticks(&self, timeout: Timeout) -> u32 {
        self.timeouts[timeout as usize]
    }

    /// When a connection that is silent from `now` on, in this state, is forgotten: after its timeout, and an eighth of it at the most.
    #[inline]
    pub fn deadline(&self, protocol: Protocol, state: State, now: Tick) -> Tick {
        let span = match protocol {
            Protocol::TCP | Protocol::UDP => self.phases[state.phase_number()],
            _ => Span::of(self.ticks(timeout_of(protocol, state.phase()))),
        };
        match state.is_doubted() {
            false => span.after(now),
            true => span.or_less(self.ticks(Timeout::TcpDoubted)).after(now),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_forgotten_early_or_much_too_late() {
        for ticks in [8, 24, 80, 240, 960, 3_456_000, 252_288_000] {
            let span = Span::of(ticks);
            for now in (0..5000).chain([u32::MAX - ticks, u32::MAX - 1]) {
                let remembered = span.after(Tick(now)).since(Tick(now));
                assert!((ticks..=ticks + ticks / 8).contains(&remembered), "{ticks} at {now}: {remembered}");
            }
        }
    }

    #[test]
    fn packets_that_follow_soon_change_no_deadline() {
        let span = Span::of(30 * Tick::PER_SECOND);
        let deadlines: std::collections::HashSet<_> = (1..=160).map(|now| span.after(Tick(now))).collect();
        assert_eq!(deadlines.len(), 10, "one in two seconds");
    }
}
