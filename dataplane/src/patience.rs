//! Patience: how long a worker without frames goes on looking before it sleeps in the kernel.
//!
//! To be woken costs some microseconds, which a frame waits; to look costs a system call without end. So what comes soon is
//! looked for, and what does not is slept for. How soon is learned from each sleep, as the kernel's halt polling learns it
//! (linux `Documentation/virt/kvm/halt-polling.rst`): a short one would have been worth looking, after a long one fewer looks
//! are. The clock is read around sleeps only.

use std::time::{Duration, Instant};

/// How a worker waits for frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Wait {
    /// It never sleeps: the least latency, for a whole processor a worker
    Spin,
    /// It looks a few times more, as often as that has paid, and sleeps
    #[default]
    Adaptive,
    /// It sleeps at once: the least power
    Sleep,
}

impl Wait {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Spin => "spin",
            Self::Adaptive => "adaptive",
            Self::Sleep => "sleep",
        }
    }
}

/// Looks to begin with; each takes some 0.3 microseconds.
const FIRST: u32 = 24;
/// Looks at the most.
const MOST: u32 = 128;
/// A sleep shorter than this would have been worth looking. A wake-up takes several microseconds itself.
const SHORT: Duration = Duration::from_micros(50);
/// Looks without work after which one that never sleeps looks at every queue: about a second.
const SWEEP: u32 = 1 << 21;

/// One worker's patience.
#[derive(Debug)]
pub struct Patience {
    wait: Wait,
    /// Looks before a sleep.
    looks: u32,
    /// Looks without work since the last.
    idle: u32,
}

impl Patience {
    /// Patience of that kind.
    pub fn new(wait: Wait) -> Self {
        let looks = if wait == Wait::Adaptive { FIRST } else { 0 };
        Self { wait, looks, idle: 0 }
    }

    /// Takes down whether a look found work.
    pub fn looked(&mut self, worked: bool) {
        self.idle = if worked { 0 } else { self.idle.saturating_add(1) };
    }

    /// Whether it is time to sleep.
    pub fn is_over(&self) -> bool {
        self.wait != Wait::Spin && self.idle > self.looks
    }

    /// Whether one that never sleeps should look at every queue now.
    pub fn is_sweep_due(&mut self) -> bool {
        let is_due = self.wait == Wait::Spin && self.idle >= SWEEP;
        if is_due {
            self.idle = 0;
        }
        is_due
    }

    /// Sleeps, and learns from how long that took.
    pub fn sleep<T>(&mut self, sleep: impl FnOnce() -> T) -> T {
        if self.wait != Wait::Adaptive {
            return sleep();
        }
        let began = Instant::now();
        let result = sleep();
        self.slept(began.elapsed());
        result
    }

    fn slept(&mut self, took: Duration) {
        self.looks = if took < SHORT { (self.looks * 2).clamp(8, MOST) } else { self.looks / 2 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_sleeps_are_looked_for_and_long_ones_are_not() {
        let mut patience = Patience::new(Wait::Adaptive);
        let looks = |patience: &mut Patience| {
            patience.looked(true);
            let mut looks = 0;
            while !patience.is_over() {
                patience.looked(false);
                looks += 1;
            }
            looks
        };
        assert_eq!(looks(&mut patience), FIRST + 1);
        for _ in 0..10 {
            patience.slept(Duration::from_micros(9));
        }
        assert_eq!(looks(&mut patience), MOST + 1);
        for _ in 0..10 {
            patience.slept(Duration::from_millis(9));
        }
        assert_eq!(looks(&mut patience), 1);
    }

    #[test]
    fn one_that_spins_never_sleeps_and_sweeps_now_and_then() {
        let mut patience = Patience::new(Wait::Spin);
        let mut sweeps = 0;
        for _ in 0..2 * SWEEP {
            patience.looked(false);
            assert!(!patience.is_over());
            sweeps += u32::from(patience.is_sweep_due());
        }
        assert_eq!(sweeps, 2);
        let mut asleep = Patience::new(Wait::Sleep);
        asleep.looked(false);
        assert!(asleep.is_over());
    }
}
