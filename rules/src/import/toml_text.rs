//! Pieces of TOML as a person would write them.

use std::fmt;

/// A basic string, in quotes.
pub(super) struct Quoted<'t>(pub(super) &'t str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for character in self.0.chars() {
            match character {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                _ if character.is_control() => write!(f, "\\u{:04x}", u32::from(character))?,
                _ => write!(f, "{character}")?,
            }
        }
        f.write_str("\"")
    }
}

/// Characters of a list that stands on one line.
const WIDTH: usize = 80;

/// A list of strings; one alone stands without brackets where `bare` says so.
pub(super) struct List<'t, S> {
    pub(super) items: &'t [S],
    pub(super) bare: bool,
}

impl<S: AsRef<str>> fmt::Display for List<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.items {
            [item] if self.bare => Quoted(item.as_ref()).fmt(f),
            items
                if items.len() > 1 && items.iter().map(|item| item.as_ref().len()).sum::<usize>() > WIDTH =>
            {
                f.write_str("[\n")?;
                for item in items {
                    writeln!(f, "    {},", Quoted(item.as_ref()))?;
                }
                f.write_str("]")
            }
            items => {
                f.write_str("[")?;
                for (at, item) in items.iter().enumerate() {
                    let comma = if at > 0 { ", " } else { "" };
                    write!(f, "{comma}{}", Quoted(item.as_ref()))?;
                }
                f.write_str("]")
            }
        }
    }
}

/// Text for a comment: on one line, nothing that a terminal obeys.
pub(super) fn comment(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}
