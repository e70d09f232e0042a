//! Diagnostics as plain text: place, code, message, the source line with a caret, related places, help.
//!
//! Source text comes from files that may be hostile to a terminal: control characters are printed as escapes,
//! and a long line is cut around the caret.

use std::fmt;

use super::{Diagnostic, Diagnostics};
use crate::source::{SourceFile, Sources, Span};

/// Characters of a source line that are shown.
const WIDTH: usize = 120;
/// Characters shown before the caret when the line is cut.
const LEAD: usize = 50;

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, item) in self.items.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            write_diagnostic(f, &self.sources, item)?;
        }
        if self.omitted > 0 {
            writeln!(f, "\n... and {} more", self.omitted)?;
        }
        Ok(())
    }
}

fn write_diagnostic(f: &mut fmt::Formatter<'_>, sources: &Sources, item: &Diagnostic) -> fmt::Result {
    let place = sources.place(item.span);
    writeln!(f, "{place}: {}[{}]: {}", item.severity.name(), item.code, Shown(&item.message))?;
    write_excerpt(f, sources, item.span, &item.label)?;
    for (span, what) in &item.related {
        writeln!(f, "note: {}: {}", sources.place(*span), Shown(what))?;
        write_excerpt(f, sources, *span, "")?;
    }
    if let Some(help) = &item.help {
        writeln!(f, "help: {}", Shown(help))?;
    }
    Ok(())
}

fn write_excerpt(f: &mut fmt::Formatter<'_>, sources: &Sources, span: Span, label: &str) -> fmt::Result {
    let Some(file) = sources.file(span.file) else { return Ok(()) };
    let place = sources.place(span);
    let excerpt = Excerpt::new(file, span);
    let gutter = place.line.to_string().len();
    writeln!(f, "{:gutter$} |", "")?;
    writeln!(f, "{} | {}", place.line, excerpt.text)?;
    let carets = "^".repeat(excerpt.length);
    let marker = format!("{:gutter$} | {:before$}{carets} {}", "", "", Shown(label), before = excerpt.before);
    writeln!(f, "{}", marker.trim_end())
}

/// The part of a line that is shown, and where the carets go, in characters as printed.
struct Excerpt {
    text: String,
    before: usize,
    length: usize,
}

impl Excerpt {
    fn new(file: &SourceFile, span: Span) -> Self {
        let text = &*file.text;
        let start = floor_char(text, span.start as usize);
        let end = floor_char(text, (span.end as usize).max(start));
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let lead_start =
            text[line_start..start].char_indices().rev().nth(LEAD).map_or(line_start, |(at, _)| {
                // Only a line that does not fit is cut on its left.
                let fits =
                    text[line_start..].chars().take(WIDTH + 1).take_while(|c| *c != '\n').count() <= WIDTH;
                if fits { line_start } else { line_start + at }
            });
        let shown = text[lead_start..].split('\n').next().unwrap_or_default().trim_end_matches('\r');
        let (shown, cut) = match shown.char_indices().nth(WIDTH) {
            Some((at, _)) => (&shown[..at], true),
            None => (shown, false),
        };
        let shown_end = lead_start + shown.len();
        let visible = |from: usize, to: usize| {
            let (from, to) = (from.min(shown_end), to.min(shown_end));
            Shown(&text[from..to]).to_string().chars().count()
        };
        let left = if lead_start > line_start { "..." } else { "" };
        Self {
            text: format!("{left}{}{}", Shown(shown), if cut { "..." } else { "" }),
            before: left.len() + visible(lead_start, start),
            length: visible(start, end).max(1),
        }
    }
}

/// The nearest character boundary at or below `at`.
fn floor_char(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Text whose control characters are escaped; a tab is four spaces.
struct Shown<'t>(&'t str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '\t' => f.write_str("    ")?,
                // Bidirectional controls reorder what a reader sees (CVE-2021-42574).
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                    write!(f, "{}", character.escape_unicode())?
                }
                _ if character.is_control() => write!(f, "{}", character.escape_default())?,
                _ => write!(f, "{character}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::diagnostic::Code;

    fn printed(text: &str, range: std::ops::Range<usize>) -> String {
        let mut sources = Sources::default();
        let file = sources.add("p.toml", text);
        let item =
            Diagnostic::new(Code::UnknownKey, Span::new(file, range), "no").label("here").help("fix it");
        Diagnostics { sources: Arc::new(sources), items: vec![item], omitted: 0 }.to_string()
    }

    #[test]
    fn a_diagnostic_shows_the_line_and_the_caret() {
        let expected = "p.toml:2:3: error[S0201]: no\n  |\n2 | b ccc d\n  |   ^^^ here\nhelp: fix it\n";
        assert_eq!(printed("a\nb ccc d\ne", 4..7), expected);
    }

    #[test]
    fn a_span_past_the_end_or_inside_a_character_is_shown_somewhere_sane() {
        assert!(printed("a", 7..9).contains("1 | a\n"));
        assert!(printed("é", 1..1).contains("1 | é\n"));
        assert!(printed("", 0..0).contains("1 | \n"));
    }

    #[test]
    fn long_lines_are_cut_and_control_characters_escaped() {
        let line = format!("{}\u{1b}[31mX{}", "a".repeat(100_000), "b".repeat(100_000));
        let shown = printed(&line, 100_000..100_001);
        assert!(shown.len() < 600, "{}", shown.len());
        assert!(shown.contains("\\u{1b}") && !shown.contains('\u{1b}'));
    }
}
