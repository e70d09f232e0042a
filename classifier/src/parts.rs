//! A service as this object sees it: cut into parts that no rule divides any further.
//!
//! Units: boxes of packets. Cost: one pass over the ports of each protocol of the service, and what comes out.

use std::collections::BTreeSet;

use septum_rules::port_range::PortRange;
use septum_rules::proto::{Layer4, Protocol, Service};

use crate::Classifier;

impl Classifier {
    /// Disjoint parts of `service`, each with one packet of it: for any pair of parties, all packets of a part share
    /// a verdict. Together they are the service; of `any`, one protocol stands for all that no rule tells apart
    /// (253, for experiments, RFC 3692, where no rule names them).
    ///
    /// # Panics
    /// When the object was updated since its compile.
    pub fn parts(&self, service: Service) -> Vec<(Service, Layer4)> {
        self.assert_plain();
        let mut parts = Vec::new();
        for protocol in self.protocols(service.protocol) {
            let [sources, destinations] = self.layer4.edges(protocol);
            let numbered = protocol.has_ports() || protocol.has_icmp_type();
            let sources = cut(&sources, service.source, protocol.has_ports());
            let destinations = cut(&destinations, service.destination, numbered);
            for source in &sources {
                for destination in &destinations {
                    let part =
                        Service { protocol: Some(protocol), source: *source, destination: *destination };
                    let source = typical(*source, EPHEMERAL, protocol.has_ports());
                    let destination = typical(*destination, 1, protocol.has_ports());
                    parts.push((part, Layer4 { protocol, source, destination }));
                }
            }
        }
        parts
    }

    /// One protocol for each group of those that no rule tells apart; well-known ones for themselves.
    fn protocols(&self, only: Option<Protocol>) -> Vec<Protocol> {
        if let Some(protocol) = only {
            return vec![protocol];
        }
        // Well-known ones stand for themselves, also where no rule names them: their packets differ in shape.
        let mut kept = vec![Protocol::TCP, Protocol::UDP, Protocol::SCTP, Protocol::ICMP, Protocol::ICMPV6];
        let mut groups: BTreeSet<u32> = BTreeSet::new();
        for protocol in std::iter::once(Protocol(253)).chain((0..=u8::MAX).map(Protocol)) {
            let is_kept = kept.contains(&protocol);
            if !is_kept && groups.insert(self.layer4.group(protocol)) {
                kept.push(protocol);
            }
        }
        kept
    }
}

/// A port that clients send from (RFC 6335): what a person expects to see in a packet.
const EPHEMERAL: u16 = 49_152;

/// `usual` where the range holds it, else its first number.
fn typical(range: PortRange, usual: u16, has_ports: bool) -> u16 {
    if has_ports && range.contains(usual) { usual } else { range.first() }
}

/// `range`, cut at `edges`; whole where the numbers mean nothing.
fn cut(edges: &BTreeSet<u16>, range: PortRange, numbered: bool) -> Vec<PortRange> {
    if !numbered {
        return vec![PortRange::ALL];
    }
    let inside = edges.range(range.first()..=range.last()).copied().filter(|edge| *edge != range.first());
    let firsts: Vec<u16> = std::iter::once(range.first()).chain(inside).collect();
    let lasts = firsts.iter().skip(1).map(|first| first - 1).chain([range.last()]);
    firsts.iter().zip(lasts).filter_map(|(first, last)| PortRange::new(*first, last).ok()).collect()
}
