//! The counters as `septum run` prints them, read back.

use std::collections::BTreeMap;

use libtest_mimic::Failed;

/// What the summary says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// By workload, and `total`.
    pub(crate) ports: BTreeMap<String, PortRow>,
    pub(crate) dropped: BTreeMap<String, u64>,
    pub(crate) undelivered: BTreeMap<String, u64>,
    /// By `NAME (GATE)`.
    pub(crate) rules: BTreeMap<String, u64>,
    pub(crate) connections: u64,
    /// Lines of the event log: written, lost, failed.
    pub(crate) events: [u64; 3],
    /// How far the policy is proved.
    pub(crate) policy: String,
    pub(crate) balance: String,
}

/// A port's row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PortRow {
    pub(crate) received: u64,
    pub(crate) forwarded: u64,
    pub(crate) replied: u64,
    pub(crate) dropped: u64,
    pub(crate) transmitted: u64,
    pub(crate) undelivered: u64,
}

impl Summary {
    /// Reads what was printed, from the head of the table to the balance.
    pub(crate) fn parse(lines: &[String]) -> Result<Self, Failed> {
        let mut summary = Self::default();
        let begin = lines.iter().rposition(|line| line.starts_with("port ")).ok_or("no table of ports")?;
        for line in &lines[begin + 1..] {
            summary.read(line).ok_or_else(|| format!("a line of the summary that is none: {line:?}"))?;
        }
        Ok(summary)
    }

    fn read(&mut self, line: &str) -> Option<()> {
        if let Some(rest) = line.strip_prefix("balance: ") {
            self.balance = rest.to_owned();
        } else if let Some(rest) = line.strip_prefix("policy: ") {
            self.policy = rest.to_owned();
        } else if let Some(rest) = line.strip_prefix("rule ") {
            let (rule, frames) = rest.rsplit_once(": ")?;
            self.rules.insert(rule.to_owned(), frames.strip_suffix(" frames")?.parse().ok()?);
        } else if let Some(rest) = line.strip_prefix("events: ") {
            let numbers: Vec<u64> =
                rest.split(", ").map_while(|part| part.split(' ').next()?.parse().ok()).collect();
            self.events = numbers.try_into().ok()?;
        } else if let Some(rest) = line.strip_prefix("connections: ") {
            self.connections = rest.parse().ok()?;
        } else if let Some((reason, count)) = line.split_once(": ") {
            let (reasons, reason) = match reason.split_once(' ')? {
                ("dropped", reason) => (&mut self.dropped, reason),
                ("undelivered", reason) => (&mut self.undelivered, reason),
                _ => return None,
            };
            reasons.insert(reason.to_owned(), count.parse().ok()?);
        } else {
            let mut words = line.split_whitespace();
            let name = words.next()?.to_owned();
            let numbers: Vec<u64> = words.map_while(|word| word.parse().ok()).collect();
            let [received, forwarded, replied, dropped, transmitted, undelivered] =
                numbers.try_into().ok()?;
            let row = PortRow { received, forwarded, replied, dropped, transmitted, undelivered };
            self.ports.insert(name, row);
        }
        Some(())
    }

    /// How many frames were dropped for a reason.
    pub(crate) fn dropped(&self, reason: &str) -> u64 {
        self.dropped.get(reason).copied().unwrap_or(0)
    }

    /// How many frames were refused; what a stack says of itself to all, also before its port is described, is not.
    pub(crate) fn refused(&self) -> u64 {
        self.ports["total"].dropped - self.dropped("absorbed") - self.dropped("undescribed")
    }

    /// Every frame has one end: so it says, and so its numbers say.
    pub(crate) fn assert_balance(&self) {
        assert_eq!(self.balance, "every frame has one end", "{self:#?}");
        for (name, row) in &self.ports {
            assert_eq!(row.received, row.forwarded + row.replied + row.dropped, "{name}: {self:#?}");
        }
        let total = self.ports["total"];
        assert_eq!(total.dropped, self.dropped.values().sum::<u64>(), "{self:#?}");
        assert_eq!(total.undelivered, self.undelivered.values().sum::<u64>(), "{self:#?}");
    }
}
