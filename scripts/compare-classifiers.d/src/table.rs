//! The table for people, with geometric means by size.

use std::fmt::Write as _;

use septum_classifier::SimdPath;

use crate::measure::Row;

/// The sizes of which means are taken: up to so many filters.
const SIZES: [(&str, usize); 3] = [("1k", 3_000), ("10k", 50_000), ("100k", usize::MAX)];

/// The size that a set belongs to.
pub fn size(filters: usize) -> &'static str {
    SIZES.iter().find(|(_, most)| filters <= *most).map_or("100k", |(name, _)| name)
}

fn geometric_mean(values: &[f64]) -> f64 {
    (values.iter().map(|value| value.ln()).sum::<f64>() / values.len() as f64).exp()
}

pub fn table(rows: &[Row], path: SimdPath) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write_table(&mut out, rows, path);
    out
}

fn write_table(out: &mut String, rows: &[Row], path: SimdPath) -> std::fmt::Result {
    writeln!(out, "both with the instructions of {}\n", path.name())?;
    writeln!(
        out,
        "{:<22} {:>7} {:<8} {:>9} {:>9} {:>6} {:>9} {:>9} {:>10} {:>10} {:>5}",
        "set",
        "filters",
        "trace",
        "septum ns",
        "peer ns",
        "ratio",
        "MB",
        "peer MB",
        "compile s",
        "peer s",
        "wrong"
    )?;
    let shown =
        |value: Option<f64>, digits: usize| value.map_or("-".to_owned(), |value| format!("{value:.digits$}"));
    for row in rows {
        writeln!(
            out,
            "{:<22} {:>7} {:<8} {:>9.2} {:>9} {:>6} {:>9.2} {:>9} {:>10.4} {:>10} {:>5}",
            row.set,
            row.filters,
            row.trace,
            row.septum_ns,
            shown(row.peer_ns, 2),
            shown(row.ratio(), 3),
            row.memory as f64 / 1e6,
            shown(row.peer_memory.map(|bytes| bytes as f64 / 1e6), 2),
            row.compile_s,
            shown(row.peer_compile_s, 3),
            row.mismatches,
        )?;
    }
    writeln!(out, "\ngeometric means")?;
    for (name, _) in SIZES {
        for trace in ["uniform", "zipf", "miss"] {
            let rows: Vec<&Row> =
                rows.iter().filter(|row| size(row.filters) == name && row.trace == trace).collect();
            if rows.is_empty() {
                continue;
            }
            let own: Vec<f64> = rows.iter().map(|row| row.septum_ns).collect();
            let ratios: Vec<f64> = rows.iter().filter_map(|row| row.ratio()).collect();
            let ratio = if ratios.is_empty() { None } else { Some(geometric_mean(&ratios)) };
            writeln!(
                out,
                "{name:<5} {trace:<8} {:>3} sets  septum {:>7.2} ns  ratio {}",
                rows.len(),
                geometric_mean(&own),
                shown(ratio, 3)
            )?;
        }
    }
    Ok(())
}
