//! The figures as an SVG image: one bar a value; values of one unit stand together, to one scale.
//!
//! What all figures have in common is the title, so that a bar's label says only what tells it from the others.

use std::fmt::Write as _;

use super::report::{Row, describe, words};

/// Where bars end at the most, from where they begin; behind it is room for the number.
const LONGEST: f64 = 370.0;
const NUMBER: usize = 110;
/// About as wide as a letter of labels is on average, or a little more.
const LETTER: usize = 7;
const BAR: usize = 18;
const GAP: usize = 6;
const HEADING: usize = 30;
const MARGIN: usize = 16;

/// Units in which there are several values of one figure.
const UNITS: [&str; 5] = ["frames/s", "connections/s", "us", "s", "MiB"];

/// Values to one scale.
struct Group {
    heading: &'static str,
    /// Label and value.
    bars: Vec<(String, f64)>,
}

/// Draws them.
pub(super) fn svg(rows: &[Row]) -> String {
    let groups = groups(rows);
    let letters = groups.iter().flat_map(|group| &group.bars).map(|(label, _)| label.chars().count()).max();
    let left = MARGIN + LETTER * letters.unwrap_or(0) + 8;
    let mut body = String::new();
    let mut top = MARGIN;
    let title = describe(&common(rows));
    if !title.is_empty() {
        let _ = writeln!(body, r#"<text x="{MARGIN}" y="{}">{title}</text>"#, top + 12);
        top += HEADING;
    }
    for Group { heading, bars } in groups {
        let most = bars.iter().fold(f64::MIN_POSITIVE, |most, (_, value)| most.max(*value));
        let _ = writeln!(body, r#"<text x="{MARGIN}" y="{}" class="h">{heading}</text>"#, top + 16);
        top += HEADING;
        for (label, value) in bars {
            let length = (value / most * LONGEST).max(1.0);
            let baseline = top + BAR - 5;
            let _ = writeln!(body, r#"<text x="{}" y="{baseline}" class="l">{label}</text>"#, left - 8);
            let _ = writeln!(body, r#"<rect x="{left}" y="{top}" width="{length:.1}" height="{BAR}"/>"#);
            let behind = left as f64 + length + 6.0;
            let _ = writeln!(body, r#"<text x="{behind:.1}" y="{baseline}">{}</text>"#, grouped(value));
            top += BAR + GAP;
        }
        top += GAP * 2;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\">\n\
         <style>text{{font:12px sans-serif;fill:#222}}.h{{font-weight:bold;font-size:13px}}.l{{text-anchor:end}}rect{{fill:#2a78b8}}</style>\n\
         <rect width=\"100%\" height=\"100%\" style=\"fill:#fff\"/>\n{body}</svg>\n",
        left + LONGEST as usize + NUMBER,
        top + MARGIN
    )
}

/// All values, by unit, in the order in which units come.
fn groups(rows: &[Row]) -> Vec<Group> {
    let common = common(rows);
    let mut groups: Vec<Group> = Vec::new();
    for row in rows {
        let own: Vec<_> = row.parameters.iter().filter(|own| !common.contains(own)).cloned().collect();
        let of = [row.figure.to_owned(), describe(&own)];
        for (name, value) in &row.values {
            let whole = words(name);
            let (heading, rest) = match whole.split_once(' ') {
                Some((unit, rest)) if UNITS.contains(&unit) => (unit, rest),
                _ => (whole, ""),
            };
            let parts = of.iter().map(String::as_str).chain([rest]).filter(|part| !part.is_empty());
            let bar = (parts.collect::<Vec<_>>().join(", "), *value);
            match groups.iter_mut().find(|group| group.heading == heading) {
                Some(group) => group.bars.push(bar),
                None => groups.push(Group { heading, bars: vec![bar] }),
            }
        }
    }
    groups
}

/// The parameters that all rows have alike.
fn common(rows: &[Row]) -> Vec<(&'static str, String)> {
    let Some((first, others)) = rows.split_first() else { return Vec::new() };
    let in_all = |own: &&(&'static str, String)| others.iter().all(|row| row.parameters.contains(own));
    first.parameters.iter().filter(in_all).cloned().collect()
}

/// A number as people read it.
fn grouped(value: f64) -> String {
    if value < 1000.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_stands_for_each_value() {
        let row = |figure, streams| {
            let mut row = Row::new(figure);
            row.parameter("rules", 10);
            row.parameter("streams", streams);
            row
        };
        let [mut one, mut two, mut round] = [row("tcp", 1), row("tcp", 2), row("round-trip", 1)];
        one.value("gbit_per_s", 12.5);
        two.value("gbit_per_s", 14.0);
        round.value("p50_us", 20.0);
        round.value("p99_us", 1_234_567.0);
        let image = svg(&[one, two, round]);
        assert_eq!(image.matches("<rect x=").count(), 4);
        assert_eq!(image.matches(r#"class="h""#).count(), 2, "one scale for each unit");
        for text in [">rules 10<", ">tcp, streams 2<", ">12.50<", ">round-trip, streams 1, at p99<", ">us<"] {
            assert!(image.contains(text), "{text} in {image}");
        }
        assert_eq!(grouped(1_234_567.0), "1 234 567");
    }
}
