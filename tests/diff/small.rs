//! Universes so small that every packet can be tried: what is reported is exactly what differs.
//!
//! Addresses of the world are those of one /28, ports are below 16; all that the random policies know of lies in there
//! or is known by its address alone.

use std::net::{IpAddr, Ipv4Addr};

use proptest::strategy::{Strategy, ValueTree};
use septum_rules::address::Prefix;
use septum_rules::policy::Policy;
use septum_rules::port_range::PortRange;
use septum_rules::proto::{Layer4, Protocol, Service};

use crate::changes::changed;
use crate::policies::policy;
use crate::random::{Random, runner, size};
use crate::{Pair, differ};

/// The same policy, its networks and ports folded into a small universe.
fn folded(mut policy: Policy) -> Policy {
    let first = Ipv4Addr::new(10, 0, 1, 0).to_bits();
    for network in &mut policy.networks {
        let fold = |prefix: &mut Prefix| {
            let seed = match prefix.network() {
                IpAddr::V4(address) => address.to_bits(),
                IpAddr::V6(address) => (address.to_bits() >> 96) as u32,
            };
            let length = 28 + prefix.len() % 5;
            let host = seed.wrapping_mul(0x9e37_79b9) >> 28;
            *prefix = Prefix::containing(Ipv4Addr::from_bits(first + host).into(), length);
        };
        network.include.iter_mut().for_each(fold);
        network.except.iter_mut().for_each(fold);
    }
    for rule in &mut policy.rules {
        let holes = rule.except.iter_mut().flat_map(|hole| hole.services.iter_mut());
        for service in rule.services.iter_mut().chain(holes) {
            let fold = |range: PortRange| {
                if range == PortRange::ALL {
                    return range;
                }
                let (first, last) = (range.first() % 16, range.last() % 16);
                PortRange::new(first.min(last), first.max(last)).expect("in order")
            };
            if service.protocol.is_some_and(|protocol| protocol.has_ports()) {
                *service = Service {
                    source: fold(service.source),
                    destination: fold(service.destination),
                    ..*service
                };
            }
        }
    }
    for (at, workload) in (2..).zip(&mut policy.workloads) {
        workload.mac = None;
        workload.addresses.retain(IpAddr::is_ipv4);
        for address in &mut workload.addresses {
            *address = Ipv4Addr::from_bits(first + at).into();
        }
        workload.addresses.truncate(1);
    }
    for segment in &mut policy.segments {
        segment.gateways.clear();
    }
    policy
}

#[test]
fn on_a_small_universe_both_sets_are_equal() {
    let pairs = size("SEPTUM_DIFF_SMALL", 25);
    let mut runner = runner(size("SEPTUM_SEED", 2) as u64);
    let first = Ipv4Addr::new(10, 0, 1, 0).to_bits();
    let addresses: Vec<IpAddr> = (first..first + 16).map(|bits| Ipv4Addr::from_bits(bits).into()).collect();
    // Above 15, and where no rule looks, everything is as at 16.
    let ports = || 0..17_u16;
    let mut packets: Vec<Layer4> = ports()
        .flat_map(|source| ports().map(move |destination| Layer4::ports(Protocol::TCP, source, destination)))
        .collect();
    for protocol in [Protocol::UDP, Protocol::SCTP] {
        packets.extend(ports().map(|port| Layer4::ports(protocol, 16 - port, port)));
    }
    packets.extend([0, 3, 8].map(|icmp_type| Layer4::icmp(Protocol::ICMP, icmp_type, 0)));
    packets.extend([Protocol::GRE, Protocol(99), Protocol(253)].map(Layer4::bare));
    for _ in 0..pairs {
        let before = folded(policy().new_tree(&mut runner).expect("a policy").current());
        let other = folded(policy().new_tree(&mut runner).expect("a policy").current());
        let after = changed(&before, &other, &mut Random::new(&mut runner));
        let pair = Pair::new(&before, &after, false);
        let difference = differ(&before, &after, false);
        pair.check_witnesses(&difference);
        for source in &addresses {
            for destination in &addresses {
                for layer4 in &packets {
                    pair.check_packet(&difference, *source, *destination, *layer4);
                }
            }
        }
    }
}
