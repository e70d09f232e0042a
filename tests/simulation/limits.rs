//! What a workload with a limit may have sent at the most: a bucket each for packets, bytes and new connections.
//!
//! A quarter of a second's worth fits, at least two; it fills with time. Only what was forwarded is charged here, so
//! the switch, which charges what it drops too, must stay below.

use septum_rules::workload::Limits;

/// Ticks in a second.
const SECOND: u64 = 8;

#[derive(Clone, Debug)]
struct Bucket {
    /// In eighths: what one tick fills in is what a second does in whole ones.
    rate: u64,
    depth: u64,
    spent: u64,
    then: u32,
}

impl Bucket {
    fn new(rate: u64) -> Self {
        Self { rate, depth: (rate * SECOND / 4).max(2 * SECOND), spent: 0, then: 0 }
    }

    fn take(&mut self, amount: u64, now: u32) -> bool {
        self.spent = self.spent.saturating_sub(u64::from(now - self.then) * self.rate);
        self.then = now;
        let was_full = self.spent == 0;
        self.spent += amount * SECOND;
        // One that is full bears a debt: what costs more than it holds would never pass.
        self.spent <= self.depth || was_full
    }
}

/// The buckets of one workload.
#[derive(Clone, Debug)]
pub(crate) struct Allowance([Option<Bucket>; 3]);

impl Allowance {
    pub(crate) fn of(limits: Limits) -> Option<Self> {
        let Limits { packets_per_s, bytes_per_s, new_connections_per_s } = limits;
        let rates = [packets_per_s, bytes_per_s, new_connections_per_s];
        rates.iter().any(Option::is_some).then(|| Self(rates.map(|rate| rate.map(Bucket::new))))
    }

    /// Charges a frame that was forwarded: its packets on the wire, their bytes, and whether it opened a connection.
    pub(crate) fn charge(&mut self, spent: [u64; 3], now: u32) -> Result<(), String> {
        for ((bucket, amount), what) in self.0.iter_mut().zip(spent).zip(["packets", "bytes", "connections"])
        {
            if let Some(bucket) = bucket
                && amount != 0
                && !bucket.take(amount, now)
            {
                return Err(format!("more {what} than the limit lets it"));
            }
        }
        Ok(())
    }
}
