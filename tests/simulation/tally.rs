//! How the frames of a run ended, counted; and the table that a run prints.

use septum::drop_reason::{DropReason, UndeliveredReason};

/// How the frames of a run ended.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    pub(crate) sent: u64,
    pub(crate) forwarded: u64,
    pub(crate) replied: u64,
    /// Frames that left the switch, answers included.
    pub(crate) arrived: u64,
    pub(crate) dropped: [u64; DropReason::COUNT],
    pub(crate) undelivered: [u64; UndeliveredReason::COUNT],
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            sent: 0,
            forwarded: 0,
            replied: 0,
            arrived: 0,
            dropped: [0; DropReason::COUNT],
            undelivered: [0; UndeliveredReason::COUNT],
        }
    }
}

/// Reasons that are given before any gate or connection is asked; with all others, the frame had come that far.
pub(crate) fn is_before_gates(reason: DropReason) -> bool {
    reason < DropReason::NoRoute
        || matches!(
            reason,
            DropReason::UnknownNeighbour
                | DropReason::PolicyStale
                | DropReason::ReplyLimited
                | DropReason::Absorbed
        )
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.forwarded += other.forwarded;
        self.replied += other.replied;
        self.arrived += other.arrived;
        for (mine, theirs) in self.dropped.iter_mut().zip(other.dropped) {
            *mine += theirs;
        }
        for (mine, theirs) in self.undelivered.iter_mut().zip(other.undelivered) {
            *mine += theirs;
        }
    }

    /// Frames about which gates or connections were asked.
    pub(crate) fn judged(&self) -> u64 {
        let dropped = DropReason::ALL.into_iter().filter(|reason| !is_before_gates(*reason));
        self.forwarded + dropped.map(|reason| self.dropped[reason.index()]).sum::<u64>()
    }

    /// What a run prints: the shares, the rarest reason, and how often each was given.
    pub(crate) fn table(&self, seeds: u64) -> String {
        let share = |part: u64| format!("{:.1} %", part as f64 * 100.0 / self.sent as f64);
        let rarest = DropReason::ALL.into_iter().min_by_key(|reason| self.dropped[reason.index()]);
        let rarest = rarest.expect("there are reasons");
        let mut text = format!(
            "{} frames, {seeds} seeds: {} reached the gates, {} were forwarded; {} answers; {} frames arrived; \
             the rarest reason: {rarest}, {} times\n",
            self.sent,
            share(self.judged()),
            share(self.forwarded),
            self.replied,
            self.arrived,
            self.dropped[rarest.index()]
        );
        for reason in DropReason::ALL {
            text += &format!("{:>28} {:>10}\n", reason.name(), self.dropped[reason.index()]);
        }
        text
    }
}
