//! Who listens to which group, by the reports that the switch took from each port (RFC 2236, RFC 3376, RFC 2710, RFC 3810).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::SECOND;
use crate::craft::{ICMPV6, IGMP};
use crate::view::Packet;
use crate::world::atlas;

/// How long a report holds: two intervals between queries, and the time to answer (RFC 3376 section 8.4).
const HOLDS: u32 = 260 * SECOND;

/// How sure it is that somebody listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listens {
    No,
    /// A report was refused in part, or runs out about now.
    Perhaps,
    Surely,
}

/// When a membership was last reported, at all and by a report that was taken whole.
#[derive(Clone, Copy, Debug)]
struct Reported {
    at_all: u32,
    whole: Option<u32>,
}

/// By host and group.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    reported: HashMap<(usize, IpAddr), Reported>,
}

impl Groups {
    /// Takes note of a report, if it is one, that the switch took, `whole` or as far as there was room.
    pub(crate) fn told(&mut self, host: usize, packet: &Packet, frame: &[u8], whole: bool, now: u32) {
        let records = records(packet.protocol, &frame[packet.transport..packet.end]).unwrap_or_default();
        for (group, _) in records.iter().filter(|(_, listens)| !listens) {
            self.reported.remove(&(host, *group));
        }
        for (group, _) in records.iter().filter(|(_, listens)| *listens) {
            let fresh = Reported { at_all: now, whole: None };
            let entry = self.reported.entry((host, *group)).or_insert(fresh);
            *entry = Reported { at_all: now, whole: if whole { Some(now) } else { entry.whole } };
        }
    }

    /// Whether a host listens to a group, or broadcast address.
    pub(crate) fn listens(&self, host: usize, group: IpAddr, now: u32) -> Listens {
        const SOLICITED: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0);
        let last = |address: Ipv6Addr| address.to_bits() & 0xff_ffff;
        let is_of_its_kind = match group {
            IpAddr::V4(v4) => !v4.is_multicast() || v4.octets()[..3] == [224, 0, 0],
            IpAddr::V6(v6) if v6.to_bits() >> 24 == SOLICITED.to_bits() >> 24 => {
                let addresses = &atlas().hosts[host].addresses;
                let owns =
                    addresses.iter().any(|own| matches!(own, IpAddr::V6(own) if last(*own) == last(v6)));
                return if owns { Listens::Surely } else { Listens::No };
            }
            IpAddr::V6(v6) => v6 == Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
        };
        let holds = |since: u32, for_so_long| now.saturating_sub(since) <= for_so_long;
        match self.reported.get(&(host, group)) {
            _ if is_of_its_kind => Listens::Surely,
            Some(Reported { whole: Some(since), .. }) if holds(*since, HOLDS - SECOND) => Listens::Surely,
            Some(Reported { at_all, .. }) if holds(*at_all, HOLDS + 2 * SECOND) => Listens::Perhaps,
            _ => Listens::No,
        }
    }

    /// A host has a new port: nothing was reported there.
    pub(super) fn forget(&mut self, host: usize) {
        self.reported.retain(|(there, _), _| *there != host);
    }

    pub(super) fn sweep(&mut self, now: u32) {
        self.reported.retain(|_, reported| now.saturating_sub(reported.at_all) <= 2 * HOLDS);
    }
}

/// The groups that a message is about, and whether its sender listens to them; nothing where it is no report.
fn records(protocol: u8, message: &[u8]) -> Option<Vec<(IpAddr, bool)>> {
    match (protocol, *message.first()?) {
        (IGMP, 0x12 | 0x16) => Some(vec![(group(message, 4, 4)?, true)]),
        (IGMP, 0x17) => Some(vec![(group(message, 4, 4)?, false)]),
        (IGMP, 0x22) => listed(message, 4),
        (ICMPV6, 131) => Some(vec![(group(message, 8, 16)?, true)]),
        (ICMPV6, 132) => Some(vec![(group(message, 8, 16)?, false)]),
        (ICMPV6, 143) => listed(message, 16),
        _ => None,
    }
}

fn listed(report: &[u8], length: usize) -> Option<Vec<(IpAddr, bool)>> {
    let mut records = Vec::new();
    let mut at = 8;
    for _ in 0..u16::from_be_bytes([*report.get(6)?, *report.get(7)?]) {
        let [kind, auxiliary, high, low] = *report.get(at..)?.first_chunk()?;
        let sources = usize::from(u16::from_be_bytes([high, low]));
        let group = group(report, at + 4, length)?;
        at += 4 + (1 + sources) * length + 4 * usize::from(auxiliary);
        match kind {
            2 | 4 => records.push((group, true)),
            1 | 3 => records.push((group, sources != 0)),
            5 if sources != 0 => records.push((group, true)),
            _ => {}
        }
    }
    Some(records)
}

fn group(message: &[u8], at: usize, length: usize) -> Option<IpAddr> {
    let bytes = message.get(at..at + length)?;
    Some(match length {
        4 => Ipv4Addr::from(*bytes.first_chunk::<4>()?).into(),
        _ => Ipv6Addr::from(*bytes.first_chunk::<16>()?).into(),
    })
}
