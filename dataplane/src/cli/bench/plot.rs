//! The figures as an SVG image: one bar a value, each kind of value to a scale of its own.

use std::fmt::Write as _;

use super::report::{Row, words};

const WIDTH: usize = 860;
const LEFT: usize = 380;
const BAR: usize = 18;
const GAP: usize = 6;
const HEADING: usize = 30;
const MARGIN: usize = 16;

/// Draws them.
pub(super) fn svg(rows: &[Row]) -> String {
    let mut kinds: Vec<&'static str> = Vec::new();
    for (name, _) in rows.iter().flat_map(|row| &row.values) {
        if !kinds.contains(name) {
            kinds.push(name);
        }
    }
    let mut body = String::new();
    let mut top = MARGIN;
    for kind in kinds {
        let bars: Vec<(String, f64)> = rows
            .iter()
            .filter_map(|row| {
                let (_, value) = row.values.iter().find(|(name, _)| *name == kind)?;
                Some((format!("{}: {}", row.figure, row.label()), *value))
            })
            .collect();
        let most = bars.iter().fold(f64::MIN_POSITIVE, |most, (_, value)| most.max(*value));
        let _ = writeln!(body, r#"<text x="{MARGIN}" y="{}" class="h">{}</text>"#, top + 16, words(kind));
        top += HEADING;
        for (label, value) in bars {
            let room = (WIDTH - LEFT - 110) as f64;
            let length = (value / most * room).max(1.0);
            let baseline = top + BAR - 5;
            let _ = writeln!(body, r#"<text x="{}" y="{baseline}" class="l">{label}</text>"#, LEFT - 8);
            let _ = writeln!(body, r#"<rect x="{LEFT}" y="{top}" width="{length:.1}" height="{BAR}"/>"#);
            let _ = writeln!(
                body,
                r#"<text x="{:.1}" y="{baseline}">{}</text>"#,
                LEFT as f64 + length + 6.0,
                grouped(value)
            );
            top += BAR + GAP;
        }
        top += GAP * 2;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{0}\" viewBox=\"0 0 {WIDTH} {0}\">\n\
         <style>text{{font:12px sans-serif;fill:#222}}.h{{font-weight:bold;font-size:13px}}.l{{text-anchor:end}}rect{{fill:#2a78b8}}</style>\n\
         <rect width=\"100%\" height=\"100%\" style=\"fill:#fff\"/>\n{body}</svg>\n",
        top + MARGIN
    )
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
        let mut row = Row::new("tcp");
        row.parameter("streams", 1);
        row.value("gbit_per_s", 12.5);
        let image = svg(&[row.clone(), row]);
        assert_eq!(image.matches("<rect x=").count(), 2);
        assert!(image.contains("12.50") && image.contains("tcp: streams 1"));
        assert_eq!(grouped(1_234_567.0), "1 234 567");
    }
}
