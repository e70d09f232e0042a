//! ClassBench filter sets: all that there are can be read, and become policies whose order is the file's.

use septum_rules::import::classbench::{filters, policy};
use septum_rules::load::{Input, load_text};
use septum_rules::port_range::PortRange;

use super::support::{fixtures, say};

#[test]
fn a_filter_is_read() {
    let line = "@10.1.2.3/8\t0.0.0.0/0\t0 : 65535\t80 : 81\t0x06/0xFF\t0x1000/0x1000\t\n\n\
                @0.0.0.0/0 1.2.3.4/32 5 : 5 0 : 65535 0x00/0x00\n";
    let filters = filters(Input::new("f", line)).unwrap();
    assert_eq!(filters[0].source.to_string(), "10.0.0.0/8");
    assert_eq!(filters[0].destination_ports, PortRange::new(80, 81).unwrap());
    assert_eq!((filters[0].line, filters[1].line), (1, 3));
    let written: Vec<_> = filters[1].services().iter().map(ToString::to_string).collect();
    assert_eq!(written, ["tcp from 5", "udp from 5", "sctp from 5"]);
    let text = policy(&filters, "f");
    let loaded = load_text("f.toml", &text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(loaded.policy.rules.len(), 2);
}

#[test]
fn a_line_that_is_no_filter_is_named() {
    let good = "@0.0.0.0/0 0.0.0.0/0 0 : 1 0 : 1 0x06/0xFF";
    for (line, column) in [
        ("0.0.0.0/0 0.0.0.0/0 0 : 1 0 : 1 0x06/0xFF", 1),
        ("@0.0.0.0/33 0.0.0.0/0 0 : 1 0 : 1 0x06/0xFF", 1),
        ("@0.0.0.0/0 0.0.0.0 0 : 1 0 : 1 0x06/0xFF", 12),
        ("@0.0.0.0/0 0.0.0.0/0 2 : 1 0 : 1 0x06/0xFF", 26),
        ("@0.0.0.0/0 0.0.0.0/0 0 - 1 0 : 1 0x06/0xFF", 24),
        ("@0.0.0.0/0 0.0.0.0/0 0 : 65536 0 : 1 0x06/0xFF", 26),
        ("@0.0.0.0/0 0.0.0.0/0 0 : 1 0 : 1 0x06/0x0F", 34),
        ("@0.0.0.0/0 0.0.0.0/0 0 : 1 0 : 1", 33),
        ("@0.0.0.0/0 0.0.0.0/0 0 : 1 0 : 1 0x06/0xFF 0x0/0x0 more", 52),
    ] {
        let diagnostics = filters(Input::new("f", format!("{good}\n{line}\n"))).unwrap_err();
        let place = diagnostics.sources.place(diagnostics.items[0].span);
        assert_eq!((place.line, place.column), (2, column), "{diagnostics}");
        assert_eq!(diagnostics.items[0].code.to_string(), "S0706");
    }
}

#[test]
fn every_filter_set_is_read() {
    let Some(folder) = fixtures("classbench/1k-10k") else { return };
    let (mut sets, mut read) = (0, 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("LICENSE") {
            continue;
        }
        let text = std::fs::read(&path).unwrap();
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
        let filters = filters(Input::new(&*name, text)).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(filters.len(), lines, "{name}");
        if name.ends_with("_1k") {
            let loaded = load_text(&name, &policy(&filters, &name)).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(loaded.policy.rules.len(), filters.len());
        }
        sets += 1;
        read += filters.len();
    }
    say(&format!("ClassBench: {read} filters of {sets} sets"));
}
