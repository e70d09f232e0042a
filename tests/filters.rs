//! Compiled filter sets against linear search: every instruction set of this processor, both families, the ClassBench
//! fixtures where they are at hand, random sets, and sets made to be hard.

#[path = "support/filter_sets.rs"]
mod filter_sets;

use filter_sets::{Random, filter_ipv4, fixtures, linear, packet};
use proptest::prelude::*;
use septum_classifier::SimdPath;
use septum_classifier::filter::{
    Filter, FilterClassifier, FilterError, FilterLimits, FilterMatch, FiveTuple,
};
use septum_rules::address::Prefix;
use septum_rules::port_range::PortRange;
use septum_rules::proto::Protocol;

/// All paths, and single lookups, say what a linear search says.
fn check(name: &str, filters: &[Filter], packets: &[FiveTuple<u32>]) {
    let classifier = FilterClassifier::build(filters, &FilterLimits::default()).unwrap();
    let expected: Vec<Option<usize>> = packets.iter().map(|packet| linear(filters, packet)).collect();
    for (packet, expected) in packets.iter().zip(&expected) {
        assert_eq!(classifier.classify(packet).filter(), *expected, "{name}: {packet}");
    }
    for path in SimdPath::ALL {
        let mut matches = vec![FilterMatch::NONE; packets.len()];
        classifier.classify_burst_with(path, packets, &mut matches);
        for ((packet, expected), found) in packets.iter().zip(&expected).zip(&matches) {
            assert_eq!(found.filter(), *expected, "{name} with {}: {packet}", path.name());
        }
    }
}

#[test]
fn fixtures_mean_what_a_linear_search_says() {
    let Some(sets) = fixtures() else {
        println!("skipped: no ClassBench sets (SEPTUM_FIXTURES or ../shared/fixtures)");
        return;
    };
    for (name, filters) in sets {
        let mut random = Random::new(7);
        let packets: Vec<_> = (0..3_000).map(|at| packet(&filters, &mut random, at % 4 == 0)).collect();
        check(&name, &filters, &packets);
    }
}

#[test]
fn an_empty_set_matches_nothing() {
    check("empty", &[], &[FiveTuple::default()]);
}

#[test]
fn bursts_of_every_length_are_classified() {
    let any = [(0, u16::MAX); 2];
    let filters: Vec<Filter> = (0..40_u8)
        .map(|at| filter_ipv4(&format!("10.0.{at}.0/24"), "0.0.0.0/0", any, Some(at % 3)))
        .chain([filter_ipv4("10.0.0.0/8", "10.1.0.0/16", any, None)])
        .collect();
    let classifier = FilterClassifier::build(&filters, &FilterLimits::default()).unwrap();
    let mut random = Random::new(3);
    let packets: Vec<_> = (0..130).map(|at| packet(&filters, &mut random, at % 3 == 0)).collect();
    for path in SimdPath::ALL {
        for length in 0..=packets.len() {
            // What stands behind the burst stays as it was.
            let untouched = classifier.classify(&packets[0]);
            let mut matches = vec![untouched; packets.len()];
            classifier.classify_burst_with(path, &packets[..length], &mut matches);
            for (at, found) in matches.iter().enumerate() {
                let expected = if at < length { classifier.classify(&packets[at]) } else { untouched };
                assert_eq!(*found, expected, "{length} packets with {}: {}", path.name(), packets[at]);
            }
            // Nor does it matter when there is less room than packets.
            let mut short = vec![FilterMatch::NONE; length / 2];
            classifier.classify_burst_with(path, &packets[..length], &mut short);
            assert_eq!(short, matches[..length / 2]);
        }
    }
}

/// Sets of filters whose prefixes and ranges nest and overlap in a small corner of all packets.
fn crowded() -> impl Strategy<Value = Vec<Filter>> {
    let prefix = (0..8_u32, prop_oneof![Just(0_u8), 8..=32_u8], 0..4_u32).prop_map(|(high, length, low)| {
        Prefix::containing(std::net::Ipv4Addr::from_bits(high << 24 | low).into(), length)
    });
    let ports = (0..12_u16, 0..12_u16).prop_map(|(one, other)| match one.min(other) {
        0 => PortRange::ALL,
        first => PortRange::new(first, one.max(other)).unwrap(),
    });
    let protocol = prop_oneof![Just(None), (0..4_u8).prop_map(|number| Some(Protocol(number)))];
    let filter = (prefix.clone(), prefix, ports.clone(), ports, protocol).prop_map(
        |(source, destination, source_ports, destination_ports, protocol)| Filter {
            source,
            destination,
            source_ports,
            destination_ports,
            protocol,
        },
    );
    proptest::collection::vec(filter, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn crowded_sets_mean_what_a_linear_search_says(filters in crowded(), seed in any::<u64>()) {
        let mut random = Random::new(seed);
        let packets: Vec<_> = match filters.len() {
            0 => vec![FiveTuple::default()],
            _ => (0..300).map(|at| packet(&filters, &mut random, at % 2 == 0)).collect(),
        };
        check("crowded", &filters, &packets);
    }

    #[test]
    fn the_same_set_in_ipv6_means_the_same(filters in crowded(), seed in any::<u64>()) {
        // 2001:db8::/96 holds the IPv4 addresses.
        const NET: u128 = 0x2001_0db8 << 96;
        let moved = |prefix: Prefix| {
            let std::net::IpAddr::V4(address) = prefix.network() else { panic!("IPv4") };
            let bits = NET | u128::from(address.to_bits());
            Prefix::containing(std::net::Ipv6Addr::from_bits(bits).into(), 96 + prefix.len())
        };
        let ipv6: Vec<Filter> = filters
            .iter()
            .map(|filter| Filter { source: moved(filter.source), destination: moved(filter.destination), ..*filter })
            .collect();
        // Both families in one object, the IPv4 filters behind the others.
        let all: Vec<Filter> = ipv6.iter().chain(&filters).copied().collect();
        let classifier = FilterClassifier::build(&all, &FilterLimits::default()).unwrap();
        let mut random = Random::new(seed);
        for at in 0..if filters.is_empty() { 0 } else { 200 } {
            let ipv4 = packet(&filters, &mut random, at % 2 == 0);
            let expected = linear(&filters, &ipv4);
            let tuple = FiveTuple::new(NET | u128::from(ipv4.source), NET | u128::from(ipv4.destination), ipv4.layer4());
            prop_assert_eq!(classifier.classify(&tuple).filter(), expected);
            let mut found = [FilterMatch::NONE];
            classifier.classify_burst(&[tuple], &mut found);
            prop_assert_eq!(found[0].filter(), expected);
            prop_assert_eq!(classifier.classify(&ipv4).filter(), expected.map(|at| at + filters.len()));
            // Outside of the network nothing matches.
            let outside = FiveTuple { source: tuple.source ^ 1 << 127, ..tuple };
            prop_assert_eq!(classifier.classify(&outside).filter(), None);
        }
    }
}

/// A set made to be hard compiles and is right, or is refused with a limit; either way soon.
fn is_bounded(name: &str, filters: &[Filter]) {
    let mut random = Random::new(11);
    match FilterClassifier::build(filters, &FilterLimits::default()) {
        Ok(classifier) => {
            let memory = classifier.memory_usage().total();
            assert!(memory < 256 << 20, "{name}: {memory} bytes");
            let packets: Vec<_> = (0..500).map(|at| packet(filters, &mut random, at % 2 == 0)).collect();
            for packet in &packets {
                assert_eq!(classifier.classify(packet).filter(), linear(filters, packet), "{name}: {packet}");
            }
        }
        Err(error) => assert!(
            matches!(
                error,
                FilterError::Services | FilterError::Applications { .. } | FilterError::Table { .. }
            ),
            "{name}: {error}"
        ),
    }
}

#[test]
fn hard_sets_are_compiled_or_refused() {
    let any = [(0, u16::MAX); 2];
    let nested: Vec<Filter> = (0..=32)
        .rev()
        .flat_map(|source| (0..=32).rev().map(move |destination| (source, destination)))
        .map(|(source, destination)| {
            let prefix = |length: u8| Prefix::containing(std::net::Ipv4Addr::new(10, 1, 2, 3).into(), length);
            Filter {
                source: prefix(source),
                destination: prefix(destination),
                ..filter_ipv4("10.0.0.0/8", "10.0.0.0/8", any, None)
            }
        })
        .collect();
    is_bounded("prefixes nested in each other on both sides", &nested);

    let overlapping = |count: u16| -> Vec<Filter> {
        let ports = |at: u16| [(at, at + 2 * count), (2 * at, u16::MAX - at)];
        (0..count).map(|at| filter_ipv4("0.0.0.0/0", "0.0.0.0/0", ports(at), Some(6))).collect()
    };
    is_bounded("300 ranges that all overlap", &overlapping(300));
    is_bounded("5,000 ranges that all overlap", &overlapping(5_000));

    let cross: Vec<Filter> = (0..60_u8)
        .flat_map(|source| (0..60_u8).map(move |destination| (source, destination)))
        .flat_map(|(source, destination)| {
            let (wide, narrow) = (format!("10.{source}.0.0/16"), format!("10.{destination}.7.0/24"));
            [filter_ipv4(&wide, &narrow, any, Some(6)), filter_ipv4(&narrow, &wide, any, Some(17))]
        })
        .collect();
    is_bounded("the cross product of wide and narrow prefixes", &cross);

    let stars: Vec<Filter> = (0..20_000_u32)
        .map(|at| {
            let host = format!("10.{}.{}.1", at >> 8 & 0xff, at & 0xff);
            match at % 2 {
                0 => filter_ipv4(&host, "0.0.0.0/0", any, None),
                _ => filter_ipv4("0.0.0.0/0", &host, any, None),
            }
        })
        .collect();
    is_bounded("hosts to anywhere, and anywhere to hosts", &stars);

    let mut random = Random::new(17);
    let mut ranges =
        || [(); 2].map(|()| (random.below(1 << 15) as u16, 1 << 15 | random.below(1 << 15) as u16));
    let filters: Vec<Filter> =
        (0..100_000).map(|_| filter_ipv4("0.0.0.0/0", "0.0.0.0/0", ranges(), Some(6))).collect();
    is_bounded("100,000 ranges that all overlap", &filters);

    let mut prefix = || {
        let address = std::net::Ipv4Addr::from_bits(random.next() as u32);
        Prefix::containing(address.into(), random.below(33) as u8)
    };
    let any = filter_ipv4("0.0.0.0/0", "0.0.0.0/0", any, None);
    let filters: Vec<Filter> =
        (0..100_000).map(|_| Filter { source: prefix(), destination: prefix(), ..any }).collect();
    is_bounded("100,000 prefixes of all lengths", &filters);
}

/// Addresses that are spread out, those of a few networks, and both: each is found by another table, or another way in it.
#[test]
fn addresses_are_found_wherever_they_lie() {
    let any = [(0, u16::MAX); 2];
    let spread = |count: u32| (0..count).map(|at| format!("{}.{}.{}.0/24", at >> 8, at & 0xff, at % 7));
    let crowd = |count: u32| (0..count).map(|at| format!("10.77.{}.{}", (at * 2) >> 8, (at * 2) & 0xff));
    for (name, spread_count, crowd_count) in [
        ("spread", 5_000, 0),
        ("crowded", 0, 5_000),
        ("dense", 100, 32),
        ("one crowd", 5_000, 200),
        ("few", 9, 9),
    ] {
        let filters: Vec<Filter> = spread(spread_count)
            .chain(crowd(crowd_count))
            .enumerate()
            .flat_map(|(at, prefix)| {
                let port = (at % 50) as u16;
                [
                    filter_ipv4(&prefix, "0.0.0.0/0", [any[0], (port, port)], Some(6)),
                    filter_ipv4("0.0.0.0/0", &prefix, any, Some(17)),
                ]
            })
            .collect();
        let mut random = Random::new(13);
        let packets: Vec<_> = (0..2_000).map(|at| packet(&filters, &mut random, at % 4 == 0)).collect();
        check(name, &filters, &packets);
    }
}

#[test]
fn limits_are_kept_and_named() {
    let any = [(0, u16::MAX); 2];
    let filters: Vec<Filter> =
        (0..50_u8).map(|at| filter_ipv4(&format!("10.0.{at}.0/24"), "0.0.0.0/0", any, None)).collect();
    let few = FilterLimits { filters: 49, ..FilterLimits::default() };
    let error = FilterClassifier::build(&filters, &few).unwrap_err();
    assert_eq!(error, FilterError::Filters { count: 50, limit: 49 });
    let few = FilterLimits { applications: 10, ..FilterLimits::default() };
    let error = FilterClassifier::build(&filters, &few).unwrap_err();
    assert!(matches!(error, FilterError::Applications { limit: 10, .. }), "{error}");
    let mixed = Filter { destination: "::/0".parse().unwrap(), ..filters[0] };
    let error = FilterClassifier::build(&[mixed], &FilterLimits::default()).unwrap_err();
    assert_eq!(error.to_string(), "filter 0: 10.0.0.0/24 and ::/0 are of two families");
}
