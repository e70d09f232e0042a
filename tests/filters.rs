//! Compiled filter sets against linear search: every instruction set of this processor, both families, the ClassBench
//! fixtures where they are at hand, random sets, and sets made to be hard.

#[path = "support/filter_sets.rs"]
mod filter_sets;

use filter_sets::{Random, filter_ipv4, fixtures, linear, packet};
use septum_classifier::SimdPath;
use septum_classifier::filter::{Filter, FilterClassifier, FilterLimits, FilterMatch, FiveTuple};

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
