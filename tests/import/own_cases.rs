//! Our own cases: manifests in `tests/cases/import`, each with the flows it must admit and refuse in its comments:
//! `# allow FROM TO SERVICE` and `# deny FROM TO SERVICE`, an end being a pod or an address.

use std::path::{Path, PathBuf};

use septum_rules::endpoint::Party;
use septum_rules::load::Input;
use septum_rules::oracle::Oracle;

use super::support::{Judge, opening, say};

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/import");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    paths
}

#[test]
fn our_own_cases_reach_whom_they_say() {
    let (mut files, mut flows) = (0, 0);
    for path in cases() {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let judge = Judge::of(vec![Input::new(&*name, &*text)]);
        let oracle = judge.oracle();
        let before = flows;
        for line in text.lines() {
            let words: Vec<&str> = line.trim_start_matches('#').split_whitespace().collect();
            let [verdict @ ("allow" | "deny"), from, to, service] = *words else { continue };
            let (protocol, port) = service.split_once('/').expect("a service");
            let layer4 = opening(protocol, port.parse().expect("a port"));
            let (from, to) = (end(&judge, &oracle, from), end(&judge, &oracle, to));
            let decision = judge.decide(&oracle, from, to, layer4);
            assert_eq!(decision.verdict.is_allow(), verdict == "allow", "{name}: {line}");
            flows += 1;
        }
        assert!(flows > before, "{name} checks nothing");
        files += 1;
    }
    say(&format!("own cases: {flows} flows of {files} files"));
}

fn end(judge: &Judge, oracle: &Oracle<'_>, name: &str) -> Party {
    match name.parse() {
        Ok(address) => oracle.party(address),
        Err(_) => judge.pod(name),
    }
}
