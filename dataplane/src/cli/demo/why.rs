//! Why the switch refused a flow, in its own words: the lines of its flow log.
//!
//! The demo reads the log as any other program would (`septum run --events`): nothing is computed from the policy.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::plan::Probe;
use crate::drop_reason::DropReason;

/// Bytes of log that are kept. A demo writes a few hundred kilobytes.
const MOST: usize = 64 << 20;

/// One refusal: what the report says of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
pub(super) struct Why {
    /// The switch's reason, by its stable name.
    pub(super) reason: String,
    /// The rule that decided at the refusing gate; where a gate refused and no rule is named, its default did.
    #[serde(default)]
    pub(super) rule: Option<String>,
    /// `file:line:column` of that rule.
    #[serde(default)]
    pub(super) at: Option<String>,
}

impl Why {
    /// Two members of an isolated segment. On one link they never get so far as to send a packet: the switch answers
    /// neither ARP nor neighbour discovery for the other, so the log has no flow to speak of.
    pub(super) fn isolation() -> Self {
        Self { reason: DropReason::Isolation.name().to_owned(), rule: None, at: None }
    }

    /// The gate that refused, where one did.
    pub(super) fn gate(&self) -> Option<&'static str> {
        match DropReason::by_name(&self.reason)? {
            DropReason::DeniedEgress => Some("egress"),
            DropReason::DeniedIngress => Some("ingress"),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
struct Line {
    source: IpAddr,
    destination: IpAddr,
    service: String,
    #[serde(flatten)]
    why: Why,
}

/// Where the switch writes its flow log: memory that the demo can read meanwhile.
#[derive(Clone, Debug, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if log.len() + bytes.len() > MOST {
            return Err(io::ErrorKind::StorageFull.into());
        }
        log.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The refusals of a log, by flow; the first where there are several.
#[derive(Debug, Default)]
pub(super) struct Refusals(HashMap<(IpAddr, IpAddr, String), Why>);

impl Refusals {
    /// Reads what has been logged so far. Lines that are no refusal of a flow (a forwarded flow, a frame that did
    /// not hold together) are passed over.
    pub(super) fn read(log: &Log) -> Self {
        let log = log.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lines =
            log.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Line>(line).ok());
        let mut refusals = HashMap::new();
        for line in lines {
            refusals.entry((line.source, line.destination, line.service)).or_insert(line.why);
        }
        Self(refusals)
    }

    /// What was said of a probe.
    pub(super) fn of(&self, probe: &Probe) -> Option<&Why> {
        self.0.get(&(probe.source, probe.destination, probe.layer4().to_string()))
    }
}

#[cfg(test)]
mod tests {
    use septum_rules::identity::WorkloadId;

    use super::*;
    use crate::cli::demo::plan::Attempt;

    #[test]
    fn a_refusal_is_found_by_its_flow() {
        let mut log = Log::default();
        let lines = concat!(
            r#"{"unix_ms":1,"verdict":"forward","from":"a","source":"10.0.0.1","destination":"10.0.0.2","service":"tcp/80"}"#,
            "\n",
            r#"{"unix_ms":1,"verdict":"drop","reason":"denied-egress","from":"a","source":"10.0.0.1","destination":"10.0.0.2","service":"tcp/22","source_port":4,"rule":"r","at":"f:1:1"}"#,
            "\n",
            r#"{"unix_ms":1,"verdict":"drop","reason":"spoof-mac","from":"a"}"#,
            "\n{\"half",
        );
        log.write_all(lines.as_bytes()).unwrap();
        let refusals = Refusals::read(&log);
        let probe = |port| Probe {
            from: WorkloadId(0),
            to: WorkloadId(1),
            source: "10.0.0.1".parse().unwrap(),
            destination: "10.0.0.2".parse().unwrap(),
            attempt: Attempt::Tcp(port),
            promised: None,
        };
        let why = refusals.of(&probe(22)).unwrap();
        assert_eq!(
            (why.gate(), why.rule.as_deref(), why.at.as_deref()),
            (Some("egress"), Some("r"), Some("f:1:1"))
        );
        assert_eq!(refusals.of(&probe(80)), None);
    }
}
