//! How much work a proof may be.

/// How much work a proof may be, in units of some ten nanoseconds: one entry read or compared. The count is the same on
/// every machine, so a proof that fits here fits everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget(pub u64);

impl Default for Budget {
    /// Seconds rather than minutes.
    fn default() -> Self {
        Self(1 << 30)
    }
}

/// The budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exhausted;

/// What has been spent of a budget.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    budget: u64,
    pub(super) spent: u64,
}

impl Work {
    pub(super) fn new(budget: Budget) -> Self {
        Self { budget: budget.0, spent: 0 }
    }

    /// What is left of the budget.
    pub(super) fn left(&self) -> Budget {
        Budget(self.budget - self.spent.min(self.budget))
    }

    /// Asked before the work is done.
    ///
    /// # Errors
    /// When there is not so much left.
    pub(super) fn spend(&mut self, units: usize) -> Result<(), Exhausted> {
        self.spent = self.spent.saturating_add(units as u64);
        if self.spent > self.budget { Err(Exhausted) } else { Ok(()) }
    }
}
