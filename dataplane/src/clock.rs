//! Time as the forwarder knows it: eighths of a second, read once a burst.
//!
//! Coarse on purpose: a connection's last-seen stamp then changes rarely, so a busy flow does not dirty its
//! cache line with every frame. Time is a parameter everywhere else, so simulations run on their own.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use septum_rules::date::Date;

/// A moment: eighths of a second since an arbitrary start. Wraps after 17 years; compare only by [`Tick::since`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tick(pub u32);

impl Tick {
    /// Ticks in a second.
    pub const PER_SECOND: u32 = 8;

    /// The present, from the monotonic clock's cheap reading (the vDSO answers without a system call).
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::MonotonicCoarse);
        Self((time.tv_sec as u64 * 8 + time.tv_nsec as u64 / 125_000_000) as u32)
    }

    /// Ticks from `earlier` until this moment; zero when `earlier` is in the future (another worker's burst).
    pub fn since(self, earlier: Self) -> u32 {
        let elapsed = self.0.wrapping_sub(earlier.0);
        if elapsed > u32::MAX / 2 { 0 } else { elapsed }
    }

    /// The moment that many ticks later.
    pub const fn plus(self, ticks: u32) -> Self {
        Self(self.0.wrapping_add(ticks))
    }

    /// The moment `duration` later, rounded up.
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.wrapping_add(duration.as_millis().div_ceil(125) as u32))
    }
}

/// The moment of a burst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BurstTime {
    /// For timeouts and budgets.
    pub tick: Tick,
    /// For the log: milliseconds since 1970.
    pub unix_ms: u64,
}

impl BurstTime {
    /// The present. Two vDSO reads.
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::RealtimeCoarse);
        let unix_ms = time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000;
        Self { tick: Tick::now(), unix_ms }
    }
}

/// The present day (UTC), for what is compiled for a day.
pub fn today() -> Date {
    Date::from_unix_seconds(clock_gettime(ClockId::Realtime).tv_sec as u64)
}

/// Seconds until the first moment of `day` (UTC); zero when it has begun.
pub fn seconds_until(day: Date) -> u64 {
    day.to_unix_seconds().saturating_sub(clock_gettime(ClockId::Realtime).tv_sec as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_survive_the_wrap() {
        let before = Tick(u32::MAX - 3);
        let after = before.after(Duration::from_secs(1));
        assert_eq!(after, Tick(4));
        assert_eq!(after.since(before), 8);
        assert_eq!(before.since(after), 0);
    }
}
