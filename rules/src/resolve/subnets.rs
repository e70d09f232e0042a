//! Which segment an address lies in, and which addresses no host can have.
//!
//! Subnets are sorted once; overlaps show between neighbours, and an address is found by bisection.

use std::net::IpAddr;
use std::sync::Arc;

use super::topology::Holder;
use crate::address::Prefix;
use crate::diagnostic::{Code, Diagnostic, Sink};
use crate::document::SegmentText;
use crate::identity::SegmentId;

/// Why the lowest address of an IPv6 subnet is no host's (RFC 4291 section 2.6.1).
pub(super) const SUBNET_ROUTER: &str = "its subnet's router anycast address";

/// Why no single host can have this address (in this subnet), if so.
pub(super) fn unusable(address: IpAddr, subnet: Option<Prefix>) -> Option<&'static str> {
    if address.is_unspecified() {
        return Some("the unspecified address");
    }
    if address.is_loopback() {
        return Some("a loopback address");
    }
    if address.is_multicast() {
        return Some("a multicast address");
    }
    match address {
        IpAddr::V4(v4) if v4.is_broadcast() => return Some("the broadcast address"),
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => return Some("an IPv4 address in disguise"),
        _ => {}
    }
    let subnet = subnet?;
    // A subnet of two addresses or one has neither (RFC 3021, RFC 6164).
    let roomy = subnet.len() <= if subnet.is_ipv4() { 30 } else { 126 };
    match (roomy, subnet.is_ipv4()) {
        (true, true) if address == subnet.network() => Some("its subnet's network address"),
        (true, true) if address == subnet.last() => Some("its subnet's broadcast address"),
        (true, false) if address == subnet.network() => Some(SUBNET_ROUTER),
        _ => None,
    }
}

pub(super) fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// All subnets, sorted, with their segments.
pub(super) struct Subnets {
    sorted: Vec<(Prefix, SegmentId, Holder)>,
    /// Where subnets overlap, which has been reported, places in them mean nothing.
    overlap: bool,
}

/// Where an address lies, seen from a segment.
pub(super) enum Place<'s> {
    Inside,
    Outside { inside_of: Option<&'s Holder> },
}

impl Subnets {
    pub(super) fn new(segments: &[&SegmentText], sink: &mut Sink) -> Self {
        let mut sorted: Vec<(Prefix, SegmentId, Holder)> = Vec::new();
        for (index, text) in segments.iter().enumerate() {
            for subnet in &text.subnets {
                let first = subnet.value.network();
                if first.is_multicast() || first.is_loopback() || is_link_local(first) {
                    let message = format!("{} holds no addresses that a workload can have", subnet.value);
                    sink.report(Code::UnusableAddress, subnet.span, message);
                }
                let holder = Holder { name: Arc::clone(&text.name.value), span: subnet.span };
                sorted.push((subnet.value, SegmentId(index as u32), holder));
            }
        }
        // Prefixes are nested or disjoint, so in this order a prefix that overlaps any earlier one overlaps the
        // last one that is not itself inside another.
        sorted.sort_by_key(|(prefix, _, holder)| (*prefix, holder.span));
        let mut overlap = false;
        let mut outer: Option<usize> = None;
        for at in 0..sorted.len() {
            match outer.map(|outer| &sorted[outer]).filter(|(prefix, ..)| prefix.covers(sorted[at].0)) {
                Some(outer) => {
                    overlap = true;
                    report_overlap(outer, &sorted[at], sink);
                }
                None => outer = Some(at),
            }
        }
        Self { sorted, overlap }
    }

    fn find(&self, address: IpAddr) -> Option<&(Prefix, SegmentId, Holder)> {
        let behind = self.sorted.partition_point(|(prefix, ..)| prefix.network() <= address);
        self.sorted[..behind].last().filter(|(prefix, ..)| prefix.contains(address))
    }

    pub(super) fn prefix_of(&self, address: IpAddr, segment: SegmentId) -> Option<Prefix> {
        self.find(address)
            .filter(|(_, holder, _)| *holder == segment && !self.overlap)
            .map(|(prefix, ..)| *prefix)
    }

    pub(super) fn place(&self, address: IpAddr, segment: SegmentId) -> Place<'_> {
        match self.find(address) {
            _ if self.overlap => Place::Inside,
            Some((_, holder, _)) if *holder == segment => Place::Inside,
            found => Place::Outside { inside_of: found.map(|(_, _, holder)| holder) },
        }
    }
}

fn report_overlap(a: &(Prefix, SegmentId, Holder), b: &(Prefix, SegmentId, Holder), sink: &mut Sink) {
    let (first, second) = if a.2.span <= b.2.span { (a, b) } else { (b, a) };
    let whose = if first.1 == second.1 {
        "the same segment".to_owned()
    } else {
        format!("segment `{}`", first.2.name)
    };
    let message = format!("the subnet {} overlaps {} of {whose}", second.0, first.0);
    sink.push(
        Diagnostic::new(Code::OverlappingSubnets, second.2.span, message)
            .related(first.2.span, "the other subnet"),
    );
}
