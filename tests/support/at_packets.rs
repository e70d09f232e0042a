//! The packets of Open vSwitch's own tests (`at-packets.json` of the fixtures), by the test's title.

use std::path::Path;

/// A test's title, and its packets.
pub(crate) type Titled = (String, Vec<Vec<u8>>);

/// Every test that has packets.
pub(crate) fn at_packets(directory: &Path) -> Vec<Titled> {
    let text = std::fs::read_to_string(directory.join("at-packets.json")).expect("the file is there");
    let tests: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let titled = |test: &serde_json::Value| {
        let packets = test["packets_hex"].as_array().expect("a list").iter();
        let title = test["test"].as_str().expect("a title").to_owned();
        (title, packets.map(|packet| from_hex(packet.as_str().expect("a string"))).collect())
    };
    tests.as_array().expect("a list").iter().map(titled).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.bytes().filter_map(|digit| char::from(digit).to_digit(16)).map(|d| d as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}
