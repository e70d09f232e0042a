//! `bench`: whole runs in namespaces of its own, short ones; figures are not judged, only that they are there.

use super::{Ran, septum};

/// Runs a benchmark; `None`, said so, where the system refuses namespaces.
fn bench(arguments: &[&str]) -> Option<Ran> {
    let ran = septum(["bench", "--seconds", "0.1"].iter().chain(arguments));
    if ran.status == 3 {
        eprintln!("skipped: {}", ran.stderr);
        return None;
    }
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    Some(ran)
}

#[test]
fn every_figure_is_told_in_every_form() {
    let Some(ran) =
        bench(&["-o", "json", "--rules", "0,20", "--figure", "frames,tcp,round-trip,connections"])
    else {
        return;
    };
    let document = ran.json();
    let figures = document["figures"].as_array().expect("an array");
    let told: Vec<_> = figures.iter().map(|row| (row["figure"].as_str(), row["rules"].as_u64())).collect();
    let names = ["frames", "tcp", "round-trip", "connections"];
    let expected: Vec<_> =
        [0, 20].iter().flat_map(|rules| names.map(|name| (Some(name), Some(*rules)))).collect();
    assert_eq!(told, expected);
    for (row, value) in
        figures.iter().zip(["delivered_per_s", "gbit_per_s", "p99_us", "per_s"].into_iter().cycle())
    {
        assert!(row[value].as_f64().is_some_and(|value| value > 0.0), "{row}");
    }
}

#[test]
fn the_switch_is_held_against_the_copy_loop_by_turns() {
    let Some(ran) = bench(&["--limit", "--cycles", "4", "-o", "csv"]) else {
        return;
    };
    for value in [
        "limit-frames,10,,,,64,1,,ratio,",
        "limit-tcp,10,,,,,,1,placebo,",
        "limit-round-trip,10,,,,,,,added_p99_us,",
        "limit-connections,10,,,,,,,ratio,",
    ] {
        assert!(ran.stdout.contains(value), "{value} in {}", ran.stdout);
    }
}

#[test]
fn kinds_of_frames_are_held_against_those_of_one_connection() {
    let Some(ran) = bench(&[
        "--limit",
        "--cycles",
        "4",
        "--figure",
        "contrasts",
        "--rules",
        "20",
        "--flows",
        "1,100",
        "-o",
        "json",
    ]) else {
        return;
    };
    let document = ran.json();
    let figures = document["figures"].as_array().expect("an array");
    let told: Vec<_> = figures.iter().filter_map(|row| row["figure"].as_str()).collect();
    let names = ["flows", "opening", "pairs", "refused", "rules"].map(|name| format!("contrast-{name}"));
    assert_eq!(told, names);
    for row in figures {
        // Of each kind some came through, or in where it is refused.
        assert!(row["other_per_s"].as_f64().is_some_and(|value| value > 0.0), "{row}");
    }
}

#[test]
fn ways_to_wait_are_measured_one_after_the_other() {
    let Some(ran) = bench(&["--wait", "adaptive,sleep", "--figure", "idle,round-trip", "-o", "json"]) else {
        return;
    };
    let document = ran.json();
    let figures = document["figures"].as_array().expect("an array");
    let told: Vec<_> = figures.iter().map(|row| (row["wait"].as_str(), row["figure"].as_str())).collect();
    let expected = ["adaptive", "sleep"]
        .into_iter()
        .flat_map(|wait| ["idle", "round-trip"].map(|figure| (Some(wait), Some(figure))));
    assert_eq!(told, expected.collect::<Vec<_>>());
    assert!(figures.iter().all(|row| row["cpu_percent"].is_f64()), "{document}");
}

#[test]
fn memory_is_told_with_the_connections_that_it_holds() {
    let Some(ran) = bench(&["--figure", "memory", "--ports", "4", "--connections", "2000", "-o", "json"])
    else {
        return;
    };
    let row = &ran.json()["figures"][0];
    assert!(row["connections"].as_f64().is_some_and(|connections| connections >= 2000.0), "{row}");
    assert!(row["resident_mib"].as_f64().is_some_and(|mib| mib > 0.0), "{row}");
}

#[test]
fn all_ports_come_reach_each_other_and_go() {
    let Some(ran) = bench(&["--figure", "ports", "--ports", "12", "--workers", "2", "-o", "json"]) else {
        return;
    };
    let row = &ran.json()["figures"][0];
    // All in a ring, and every fourth one further.
    assert_eq!((row["pairs"].as_f64(), row["reached"].as_f64()), (Some(15.0), Some(15.0)), "{row}");
    for value in ["start_s", "idle_percent", "stop_s"] {
        assert!(row[value].is_f64(), "{row}");
    }
}

#[test]
fn the_figures_are_drawn() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let image = folder.path().join("figures.svg");
    let path = image.to_str().expect("UTF-8");
    if bench(&["--figure", "tcp", "--plot", path]).is_some() {
        let image = std::fs::read_to_string(image).expect("an image");
        assert!(image.starts_with("<svg") && image.contains("Gbit/s"), "{image}");
    }
}

#[test]
fn bad_arguments_are_told_before_anything_is_made() {
    for (arguments, part) in [
        (&["--size", "63"][..], "from 64 to 1518"),
        (&["--seconds", "0"], "from 0.1 to 3600"),
        (&["--ports", "1"], "2..=500"),
        (&["--attach", "a", "b", "--figure", "ports"], "switch of its own"),
        (&["--figure", "contrasts"], "add --limit"),
        (&["--attach", "nobody-here", "nobody-there"], "nobody-here"),
    ] {
        let ran = septum(["bench"].iter().chain(arguments));
        assert_eq!(ran.status, 2, "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(part), "{arguments:?}: {}", ran.stderr);
    }
}
