//! The plot: for each set of the uniform trace a pair of bars, on a logarithmic scale.

use std::fmt::Write as _;

use crate::measure::Row;

const LEFT: f64 = 150.0;
const WIDTH: f64 = 640.0;
const BAR: f64 = 9.0;
const STEP: f64 = 2.0 * BAR + 8.0;
const TOP: f64 = 48.0;

/// An SVG document.
pub fn svg(rows: &[Row]) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write_svg(&mut out, rows);
    out
}

/// Where a time lies: 1 ns to 1,000 ns.
fn x(nanoseconds: f64) -> f64 {
    LEFT + WIDTH * nanoseconds.max(1.0).log10() / 3.0
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

fn write_svg(out: &mut String, rows: &[Row]) -> std::fmt::Result {
    let rows: Vec<&Row> = rows.iter().filter(|row| row.trace == "uniform").collect();
    let bottom = TOP + STEP * rows.len() as f64;
    let (width, height) = (LEFT + WIDTH + 60.0, bottom + 40.0);
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>"
    )?;
    writeln!(
        out,
        "<text x=\"{LEFT}\" y=\"18\" font-size=\"13\">Nanoseconds a packet, uniform trace, one core</text>\n\
         <rect x=\"{LEFT}\" y=\"26\" width=\"10\" height=\"10\" fill=\"#1b6ca8\"/><text x=\"{}\" y=\"35\">Septum</text>\n\
         <rect x=\"{}\" y=\"26\" width=\"10\" height=\"10\" fill=\"#c4c4c4\"/><text x=\"{}\" y=\"35\">DPDK ACL</text>",
        LEFT + 14.0,
        LEFT + 80.0,
        LEFT + 94.0
    )?;
    for mark in [1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0] {
        let at = x(mark);
        writeln!(
            out,
            "<line x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{bottom}\" stroke=\"#ddd\"/>\
             <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{mark}</text>",
            bottom + 16.0
        )?;
    }
    for (at, row) in rows.iter().enumerate() {
        let y = TOP + STEP * at as f64 + 4.0;
        writeln!(
            out,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            y + BAR + 4.0,
            escaped(&row.set)
        )?;
        let bars = [(Some(row.septum_ns), "#1b6ca8", y), (row.peer_ns, "#c4c4c4", y + BAR)];
        for (nanoseconds, colour, y) in bars {
            let Some(nanoseconds) = nanoseconds else { continue };
            let end = x(nanoseconds);
            writeln!(
                out,
                "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>\
                 <text x=\"{:.1}\" y=\"{}\" font-size=\"9\">{nanoseconds:.1}</text>",
                end - LEFT,
                end + 3.0,
                y + BAR - 1.0
            )?;
        }
    }
    writeln!(out, "</svg>")
}
