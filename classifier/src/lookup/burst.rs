//! A burst of flows, stage by stage, where there is no overlay.
//!
//! Every stage is a loop over up to 64 flows: what all of them need of memory is asked for in one and read in the next. All of it is
//! inlined, so that [`crate::simd::widest`] has it compiled for the processor at hand.

use std::net::IpAddr;

use septum_rules::flow_key::FlowKey;
use septum_rules::identity::IdentityId;
use septum_rules::proto::Layer4;

use crate::address_map::AddressMap;
use crate::rule_trie::Program;
use crate::simd::Work;
use crate::{Classifier, VerdictId, address_trie, perfect_table};

/// Flows of one stage.
const STAGE: usize = 64;

/// Flows, and where their verdicts go.
pub(super) struct Burst<'a, F> {
    pub(super) classifier: &'a Classifier,
    pub(super) flows: &'a [F],
    pub(super) verdicts: &'a mut [VerdictId],
}

/// What a flow is known by.
pub(super) trait Flow: Sized {
    /// The identities of both ends of up to 64 flows.
    fn ends(classifier: &Classifier, flows: &[Self], ends: &mut Ends);
    fn layer4(&self) -> Layer4;
}

/// By flow: its ends' identities.
pub(super) struct Ends {
    sources: [u32; STAGE],
    destinations: [u32; STAGE],
}

impl<F: Flow> Work for Burst<'_, F> {
    #[inline(always)]
    fn run(self) {
        let Self { classifier, flows, verdicts } = self;
        let mut ends = Ends { sources: [0; STAGE], destinations: [0; STAGE] };
        let (mut classes, mut programs) = ([0; STAGE], [Program::default(); STAGE]);
        let Classifier { tables, .. } = classifier;
        for (flows, verdicts) in flows.chunks(STAGE).zip(verdicts.chunks_mut(STAGE)) {
            F::ends(classifier, flows, &mut ends);
            let Ends { sources, destinations } = &ends;
            tables.trie.programs_of(sources, destinations, flows.len(), &mut programs, |at| {
                classes[at] = tables.layer4.class(flows[at].layer4());
            });
            for (verdict, (program, class)) in verdicts.iter_mut().zip(programs.iter().zip(&classes)) {
                *verdict = VerdictId(tables.trie.verdict(*program, *class));
            }
        }
    }
}

impl Flow for (IdentityId, IdentityId, Layer4) {
    #[inline(always)]
    fn ends(_: &Classifier, flows: &[Self], ends: &mut Ends) {
        let known = ends.sources.iter_mut().zip(&mut ends.destinations);
        for ((source, destination), flow) in known.zip(flows) {
            (*source, *destination) = (flow.0.0, flow.1.0);
        }
    }

    #[inline(always)]
    fn layer4(&self) -> Layer4 {
        self.2
    }
}

impl Flow for FlowKey {
    #[inline(always)]
    fn ends(classifier: &Classifier, flows: &[Self], ends: &mut Ends) {
        let ipv4 = |address| match address {
            IpAddr::V4(address) => Some(address.to_bits()),
            IpAddr::V6(_) => None,
        };
        let ipv6 = |address| match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => Some(address.to_bits()),
        };
        let addresses = &classifier.addresses;
        let is_done = match flows.first() {
            Some(FlowKey { source: IpAddr::V6(_), .. }) => identify(&addresses.ipv6, flows, ipv6, ends),
            _ => identify(&addresses.ipv4, flows, ipv4, ends),
        };
        if !is_done {
            let known = ends.sources.iter_mut().zip(&mut ends.destinations);
            for ((source, destination), flow) in known.zip(flows) {
                (*source, *destination) = (addresses.get(flow.source), addresses.get(flow.destination));
            }
        }
    }

    #[inline(always)]
    fn layer4(&self) -> Layer4 {
        self.layer4
    }
}

/// The identities of flows that are all of one family; tells whether they are.
#[inline(always)]
fn identify<K: address_trie::Key + perfect_table::Key + Default>(
    map: &AddressMap<K>,
    flows: &[FlowKey],
    bits: impl Fn(IpAddr) -> Option<K>,
    ends: &mut Ends,
) -> bool {
    let mut keys = [[K::default(); STAGE]; 2];
    for (at, flow) in flows.iter().enumerate().take(STAGE) {
        let (Some(source), Some(destination)) = (bits(flow.source), bits(flow.destination)) else {
            return false;
        };
        (keys[0][at], keys[1][at]) = (source, destination);
    }
    let [sources, destinations] = &keys;
    map.identities(sources, flows.len(), &mut ends.sources);
    map.identities(destinations, flows.len(), &mut ends.destinations);
    true
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use septum_rules::date::Date;
    use septum_rules::load::load_text;
    use septum_rules::proto::Protocol;

    use super::*;
    use crate::simd::compiled_for;
    use crate::{Builder, SimdPath};

    fn address(at: usize, ipv4: bool) -> IpAddr {
        let text =
            if ipv4 { format!("10.0.{}.{}", at / 200, at % 200 + 1) } else { format!("fd00::{:x}", at + 1) };
        text.parse().expect("an address")
    }

    /// Enough workloads for tables of single addresses, or few; each may reach one other.
    fn policy_text(workloads: usize) -> String {
        let mut text =
            String::from("version = 1\n[segment.lan]\nsubnet = [\"10.0.0.0/16\", \"fd00::/64\"]\n");
        for at in 0..workloads {
            let (ipv4, ipv6) = (address(at, true), address(at, false));
            write!(
                text,
                "[workload.w{at}]\nsegment = \"lan\"\nmac = \"02:00:00:00:{:02x}:{:02x}\"\nip = [\"{ipv4}\", \"{ipv6}\"]\n\
                 labels = {{ id = \"w{at}\", half = \"{}\" }}\n\
                 [[rule]]\nname = \"r{at}\"\nfrom = \"id=w{at}\"\nto = \"id=w{}\"\nallow = [\"tcp/{}\"]\n",
                at >> 8,
                at & 255,
                at % 2,
                (at * 7 + 1) % workloads,
                80 + at % 3,
            )
            .expect("a string takes everything");
        }
        text.push_str(
            "[[rule]]\nname = \"wide\"\nfrom = \"half=1\"\nto = \"half=0\"\nallow = [\"udp/53\"]\n",
        );
        text
    }

    #[test]
    fn a_burst_says_what_each_of_its_flows_says() {
        let today: Date = "2026-06-01".parse().expect("a date");
        for workloads in [20, 1_400] {
            let policy = load_text("burst.toml", &policy_text(workloads)).expect("a policy").policy;
            let flow = |at: usize, families: usize| {
                // Some addresses are nobody's, and some flows are what nobody can send: between two families.
                let source = at * 13 % (workloads + 3);
                let destination = if at.is_multiple_of(3) { at } else { source * 7 + 1 } % workloads;
                let ipv4 =
                    [families & 1 != 0, if at % 50 == 49 { families & 2 != 0 } else { families & 1 != 0 }];
                FlowKey {
                    domain: septum_rules::identity::DomainId::default(),
                    source: address(source, ipv4[0]),
                    destination: address(destination, ipv4[1]),
                    layer4: Layer4::ports(
                        if at.is_multiple_of(4) { Protocol::UDP } else { Protocol::TCP },
                        9,
                        [53, 80, 81, 82][at % 4],
                    ),
                }
            };
            for area in [0, 1, u64::MAX] {
                let classifier =
                    Builder::new(&policy, today).narrow_up_to(area).build().expect("within limits");
                for (length, families) in
                    [0, 1, 63, 64, 65, 300].into_iter().flat_map(|it| (0..4).map(move |at| (it, at)))
                {
                    let flows: Vec<FlowKey> = (0..length).map(|at| flow(at, families)).collect();
                    let ends = |flow: &FlowKey| {
                        (classifier.identify(flow.source), classifier.identify(flow.destination))
                    };
                    let known: Vec<(IdentityId, IdentityId, Layer4)> =
                        flows.iter().map(|flow| (ends(flow).0, ends(flow).1, flow.layer4)).collect();
                    let meant: Vec<VerdictId> =
                        known.iter().map(|flow| classifier.lookup(flow.0, flow.1, flow.2)).collect();
                    for path in SimdPath::ALL {
                        let mut said = [vec![VerdictId(u32::MAX); length], vec![VerdictId(u32::MAX); length]];
                        let [from_wire, from_identities] = &mut said;
                        let classifier = &classifier;
                        compiled_for(path, Burst { classifier, flows: &flows, verdicts: from_wire });
                        compiled_for(path, Burst { classifier, flows: &known, verdicts: from_identities });
                        assert_eq!(
                            said,
                            [meant.clone(), meant.clone()],
                            "{} {workloads} {area}",
                            path.name()
                        );
                    }
                }
            }
        }
    }
}
