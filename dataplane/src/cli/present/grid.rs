//! A box-drawn matrix whose cells hold a few words each and wrap between them.

use super::{COLUMNS, Paint, Tone};

/// Words, each with its tone; broken between words only.
pub(crate) type Cell = Vec<(String, Tone)>;

/// A matrix with a heading for each row and each column.
#[derive(Debug)]
pub(crate) struct Grid {
    corner: String,
    columns: Vec<String>,
    rows: Vec<(String, Vec<Cell>)>,
}

impl Grid {
    /// An empty matrix; `corner` says what runs down and what runs across.
    pub(crate) fn new(corner: &str, columns: impl IntoIterator<Item = String>) -> Self {
        Self { corner: corner.to_owned(), columns: columns.into_iter().collect(), rows: Vec::new() }
    }

    /// Adds a row.
    ///
    /// # Panics
    /// When there is not one cell for each column.
    pub(crate) fn row(&mut self, name: &str, cells: Vec<Cell>) {
        assert_eq!(cells.len(), self.columns.len(), "a cell for each column");
        self.rows.push((name.to_owned(), cells));
    }

    /// Draws it, in [`COLUMNS`] columns where the words allow.
    pub(crate) fn draw(&self, paint: Paint) -> String {
        let names = self.rows.iter().map(|(name, _)| width(name));
        let first = names.chain([width(&self.corner)]).max().unwrap_or(0);
        let words = self.rows.iter().flat_map(|(_, cells)| cells).flatten().map(|(word, _)| width(word));
        let narrowest = words.chain(self.columns.iter().map(|name| width(name))).max().unwrap_or(0);
        // Each column costs its content, a blank on both sides and a line.
        let share = COLUMNS.saturating_sub(first + 4) / self.columns.len().max(1);
        let each = share.saturating_sub(3).max(narrowest);

        let rule = |left, cross, right| {
            let columns: Vec<String> = self.columns.iter().map(|_| "─".repeat(each + 2)).collect();
            format!("{left}{}{cross}{}{right}\n", "─".repeat(first + 2), columns.join(cross))
        };
        let mut drawn = rule("┌", "┬", "┐");
        drawn += &format!("│ {} │", padded(paint, Tone::Faint, &self.corner, first));
        for name in &self.columns {
            drawn += &format!(" {} │", padded(paint, Tone::Strong, name, each));
        }
        drawn.push('\n');
        drawn += &rule("├", "┼", "┤");
        for (name, cells) in &self.rows {
            let wrapped: Vec<Vec<&[(String, Tone)]>> = cells.iter().map(|cell| wrap(cell, each)).collect();
            let height = wrapped.iter().map(Vec::len).max().unwrap_or(0).max(1);
            for line in 0..height {
                let heading = if line == 0 { name } else { "" };
                drawn += &format!("│ {} │", padded(paint, Tone::Strong, heading, first));
                for cell in &wrapped {
                    let words = cell.get(line).copied().unwrap_or_default();
                    drawn += &format!(" {} │", sentence(paint, words, each));
                }
                drawn.push('\n');
            }
        }
        drawn + &rule("└", "┴", "┘")
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

fn padded(paint: Paint, tone: Tone, text: &str, to: usize) -> String {
    paint.text(tone, text) + &" ".repeat(to.saturating_sub(width(text)))
}

fn sentence(paint: Paint, words: &[(String, Tone)], to: usize) -> String {
    let shown: Vec<String> = words.iter().map(|(word, tone)| paint.text(*tone, word)).collect();
    let taken = words.iter().map(|(word, _)| width(word)).sum::<usize>() + words.len().saturating_sub(1);
    shown.join(" ") + &" ".repeat(to.saturating_sub(taken))
}

/// Lines of words, none wider than `to` unless a single word is.
fn wrap(cell: &[(String, Tone)], to: usize) -> Vec<&[(String, Tone)]> {
    let (mut lines, mut begin, mut taken) = (Vec::new(), 0, 0);
    for (at, (word, _)) in cell.iter().enumerate() {
        let needed = width(word) + usize::from(at != begin);
        if at != begin && taken + needed > to {
            lines.push(&cell[begin..at]);
            (begin, taken) = (at, width(word));
        } else {
            taken += needed;
        }
    }
    lines.push(&cell[begin..]);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_as_wide_as_the_first_and_words_stay_whole() {
        let mut grid = Grid::new("from \\ to", (0..6).map(|column| format!("host-{column}")));
        let cell =
            |words: &[&str]| words.iter().map(|word| ((*word).to_owned(), Tone::Good)).collect::<Cell>();
        let cells =
            |words: &[&str]| vec![cell(words), cell(&[]), cell(&["-"]), cell(&[]), cell(&[]), cell(&[])];
        grid.row("web-1", cells(&["8080", "udp/514", "ping"]));
        grid.row("web-2", cells(&[]));
        let drawn = grid.draw(Paint { colour: false });
        let widths: Vec<usize> = drawn.lines().map(width).collect();
        assert!(widths.iter().all(|width| *width == widths[0] && *width <= COLUMNS), "{drawn}");
        assert_eq!(drawn.lines().count(), 4 + 3 + 1, "the first row takes three lines: {drawn}");
        for word in ["8080", "udp/514", "ping"] {
            assert!(drawn.contains(word), "{drawn}");
        }
    }
}
