//! The figures as text, JSON and CSV.

use std::fmt::{Display, Write as _};

use serde_json::{Map, Value, json};

/// One measurement: of what, with what, and what came out.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) figure: &'static str,
    /// Names and values, as numbers where they are.
    pub(super) parameters: Vec<(&'static str, String)>,
    pub(super) values: Vec<(&'static str, f64)>,
}

impl Row {
    pub(super) fn new(figure: &'static str) -> Self {
        Self { figure, parameters: Vec::new(), values: Vec::new() }
    }

    pub(super) fn parameter(&mut self, name: &'static str, value: impl Display) {
        self.parameters.push((name, value.to_string()));
    }

    pub(super) fn value(&mut self, name: &'static str, value: f64) {
        self.values.push((name, value));
    }

    /// `size 64, flows 1`
    pub(super) fn label(&self) -> String {
        describe(&self.parameters)
    }
}

/// `size 64, flows 1`
pub(super) fn describe(parameters: &[(&'static str, String)]) -> String {
    let parts = parameters.iter().map(|(name, value)| format!("{name} {value}"));
    parts.collect::<Vec<_>>().join(", ")
}

/// One figure in words, for progress.
pub(super) fn sentence(row: &Row) -> String {
    let values: Vec<_> =
        row.values.iter().map(|(name, value)| format!("{} {}", number(*value), words(name))).collect();
    format!("{} ({}): {}", row.figure, row.label(), values.join(", "))
}

/// For people.
pub(super) fn text(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        let _ = writeln!(text, "{}  {}", row.figure, row.label());
        for (name, value) in &row.values {
            let _ = writeln!(text, "  {:>12}  {}", number(*value), words(name));
        }
    }
    text
}

/// One document.
pub(super) fn json(rows: &[Row]) -> String {
    let figures: Vec<Value> = rows
        .iter()
        .map(|row| {
            let mut object = Map::from_iter([("figure".to_owned(), json!(row.figure))]);
            for (name, value) in &row.parameters {
                let value = value.parse::<u64>().map_or_else(|_| json!(value), |number| json!(number));
                object.insert((*name).to_owned(), value);
            }
            for (name, value) in &row.values {
                object.insert((*name).to_owned(), json!(value));
            }
            Value::Object(object)
        })
        .collect();
    format!("{:#}\n", json!({ "figures": figures }))
}

/// A line a value.
pub(super) fn csv(rows: &[Row]) -> String {
    const PARAMETERS: [&str; 7] = ["rules", "ports", "workers", "wait", "size", "flows", "streams"];
    let mut text = format!("figure,{},value_of,value\n", PARAMETERS.join(","));
    for row in rows {
        let own = |name: &&str| {
            row.parameters.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value.as_str())
        };
        let parameters: Vec<_> = PARAMETERS.iter().map(own).collect();
        for (name, value) in &row.values {
            let _ = writeln!(text, "{},{},{name},{value}", row.figure, parameters.join(","));
        }
    }
    text
}

/// A number with three digits that count.
fn number(value: f64) -> String {
    match value.abs() {
        0.0..10.0 => format!("{value:.3}"),
        10.0..1000.0 => format!("{value:.1}"),
        1000.0..1e6 => format!("{:.1} k", value / 1e3),
        _ => format!("{:.2} M", value / 1e6),
    }
}

/// What a value is, in words.
pub(super) fn words(name: &str) -> &str {
    match name {
        "offered_per_s" => "frames/s offered",
        "delivered_per_s" => "frames/s delivered",
        "lossless_per_s" => "frames/s without loss",
        "gbit_per_s" => "Gbit/s",
        "p50_us" => "us at p50",
        "p90_us" => "us at p90",
        "p99_us" => "us at p99",
        "p999_us" => "us at p99.9",
        "round_trips" => "round trips",
        "per_s" => "connections/s",
        "cpu_percent" => "% of a processor that the switch's threads take",
        "cpu_ns_per_frame" => "ns of the switch's processor time a frame, system calls included",
        "ratio" => "of what took turns with it (median of the turns)",
        "placebo" => "that against itself: how far the ratio can be trusted",
        "copy_per_s" => "frames/s by the copy loop (median)",
        "switch_per_s" => "frames/s by the switch (median)",
        "start_s" => "s until all ports forward, namespaces included",
        "idle_percent" => "% of a processor while nothing is sent",
        "pairs" => "pairs of hosts tried",
        "reached" => "of them reached each other",
        "stop_s" => "s until all ports are gone",
        "copy_p50_us" => "us by the copy loop at p50",
        "copy_p99_us" => "us by the copy loop at p99",
        "switch_p50_us" => "us by the switch at p50",
        "switch_p99_us" => "us by the switch at p99",
        "added_p50_us" => "us that the switch adds at p50",
        "added_p99_us" => "us that the switch adds at p99",
        "placebo_p50_us" => "us between the copy loop's turns at p50: how far that can be trusted",
        "copy_connections_per_s" => "connections/s by the copy loop (median)",
        "switch_connections_per_s" => "connections/s by the switch (median)",
        "own_ns_per_frame" => "ns of own work a frame",
        "base_per_s" => "frames/s of one connection, or of few rules (median)",
        "other_per_s" => "frames/s of these (median)",
        "base_own_ns_per_frame" => "ns of own work a frame of one connection, or of few rules",
        "idle_mib" => "MiB resident without a connection",
        "connections" => "connections open",
        "resident_mib" => "MiB resident with them",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_says_the_same() {
        let mut row = Row::new("frames");
        row.parameter("size", "imix");
        row.parameter("flows", 10);
        row.value("delivered_per_s", 1_234_567.0);
        let rows = [row];
        assert!(text(&rows).contains("1.23 M  frames/s delivered"));
        assert!(csv(&rows).ends_with("frames,,,,,imix,10,,delivered_per_s,1234567\n"));
        let document: Value = serde_json::from_str(&json(&rows)).unwrap();
        assert_eq!(document["figures"][0]["flows"], 10);
        assert_eq!(document["figures"][0]["delivered_per_s"], 1_234_567.0);
    }
}
