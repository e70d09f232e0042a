//! `prove`: its two reports, its exit statuses, and certificates that stay while the meaning stays.

use std::path::Path;

use super::{PAIR, file, septum};

/// The certificate of a policy's text.
fn certificate(text: &str) -> serde_json::Value {
    let (_folder, path) = file("policy.toml", text);
    let ran = septum(["prove", "-o", "json", path.to_str().unwrap()]);
    assert_eq!((ran.status, &*ran.stderr), (0, ""));
    ran.json()["certificate"].clone()
}

#[test]
fn a_policy_is_proved_for_every_packet() {
    let (_folder, path) = file("policy.toml", PAIR);
    let ran = septum(["prove", path.to_str().unwrap()]);
    assert_eq!((ran.status, &*ran.stderr), (0, ""));
    let said = ran.stdout.lines().collect::<Vec<_>>();
    assert!(said[0].ends_with("proved: the compiled policy is what the file says, for every packet"));
    for word in ["addresses:", "pairs:", "packets:", "source:", "object:", "certificate:"] {
        assert!(ran.stdout.contains(word), "{word}: {}", ran.stdout);
    }
}

#[test]
fn json_says_what_was_covered() {
    let (_folder, path) = file("policy.toml", PAIR);
    let ran = septum(["prove", "-o", "json", path.to_str().unwrap()]);
    assert_eq!((ran.status, &*ran.stderr), (0, ""));
    let document = ran.json();
    assert_eq!((&document["proved"], &document["unproved"]), (&true.into(), &().into()));
    assert_eq!((&document["witness"], &document["valid_until"]), (&().into(), &().into()));
    let covered = &document["covered"];
    assert_eq!(covered["pairs"], covered["proved_pairs"]);
    // Two workloads, each also at the unspecified address of either family; 40 bits of protocol and ports.
    let bits = 1_u128 << 32;
    let small = (bits + 2) * (bits + 2);
    let packets = covered["packets"].as_str().unwrap();
    // (2^128 + 2)^2 + (2^32 + 2)^2, times 2^40: the last digits tell.
    let last = |number: u128| number % 1_000_000;
    let large = (last(u128::MAX) + 3) * (last(u128::MAX) + 3);
    let expected = last((last(large) + last(small)) * last(1 << 40));
    assert_eq!(packets[packets.len() - 6..].parse::<u128>().unwrap(), expected);
    assert_eq!(packets.len(), 90);
    let certificate = &document["certificate"];
    for digest in ["source", "object", "sha256"] {
        assert_eq!(certificate[digest].as_str().unwrap().len(), 64);
    }
}

#[test]
fn what_does_not_fit_the_budget_is_said_and_fails() {
    let (_folder, path) = file("policy.toml", PAIR);
    let file = path.to_str().unwrap();
    let work = septum(["prove", "-o", "json", file]).json()["covered"]["work"].as_u64().unwrap();
    assert_eq!(septum(["prove", "--budget", &work.to_string(), file]).status, 0);
    let too_little = (work - 1).to_string();
    let ran = septum(["prove", "--budget", &too_little, file]);
    assert_eq!((ran.status, &*ran.stderr), (1, ""));
    assert!(ran.stdout.contains(": unproved: ") && ran.stdout.contains(" pairs\n"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("certificate"));
    let ran = septum(["prove", "--budget", &too_little, "-o", "json", file]);
    assert_eq!(ran.status, 1);
    let document = ran.json();
    assert_eq!((&document["proved"], &document["certificate"]), (&false.into(), &().into()));
    assert!(document["unproved"].as_str().unwrap().ends_with(" pairs"), "{document}");
    assert!(document["covered"]["proved_pairs"].as_u64() < document["covered"]["pairs"].as_u64());
}

#[test]
fn bad_input_is_bad_input() {
    assert_eq!(septum(["prove", "no-such-file.toml"]).status, 2);
    let (_folder, path) = file("policy.toml", "version = 1\nproof = \"never\"\n");
    let ran = septum([Path::new("prove"), &path]);
    assert_eq!(ran.status, 2);
    assert!(ran.stderr.contains(":2:9: error[S0204]"), "{}", ran.stderr);
}

#[test]
fn a_certificate_changes_with_the_meaning_and_with_nothing_else() {
    let before = certificate(PAIR);
    assert_eq!(before, certificate(PAIR), "every run");
    let left = "[workload.left]\nsegment = \"lan\"\nip      = [\"10.1.0.1\"]\n";
    let reordered = format!("# A comment.\n{}\n{left}why = \"no reason\"\n", PAIR.replace(left, ""))
        .replace("why = \"no reason\"\n", "");
    assert_eq!(before, certificate(&reordered), "another order, a comment");
    let explained = PAIR.replace("allow = ", "why   = \"because\"\nallow = ");
    assert_eq!(before, certificate(&explained), "a reason");
    let other = certificate(&PAIR.replace("tcp/80", "tcp/81"));
    assert_ne!(before["source"], other["source"]);
    assert_ne!(before["object"], other["object"]);
    // The same meaning in other words: another source, the same object.
    let worded = certificate(&PAIR.replace("[\"tcp/80\"]", "[\"tcp/80\", \"tcp/80-80\"]"));
    assert_eq!(before["object"], worded["object"]);
}
