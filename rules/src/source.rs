//! Where things stand in the files that a person edits.
//!
//! Offsets are bytes; lines and columns count from one, a column being a Unicode scalar value (as editors
//! and rustc count). A [`Span`] is two `u32` and a file number, cheap enough for every rule to keep one.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Which file of a [`Sources`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u16);

/// A range of bytes in one file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The file.
    pub file: FileId,
    /// First byte.
    pub start: u32,
    /// One behind the last byte.
    pub end: u32,
}

impl Span {
    /// A span of `file` from a range of bytes.
    pub fn new(file: FileId, range: Range<usize>) -> Self {
        let clamp = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        Self { file, start: clamp(range.start), end: clamp(range.end) }
    }

    /// The bytes as a range.
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// A place as people name it: prints as `file:line:column`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The file as it was named to us.
    pub file: Arc<str>,
    /// Line, from one.
    pub line: u32,
    /// Column in characters, from one.
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// One file that was read.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// The file as it was named to us.
    pub name: Arc<str>,
    /// Its whole text.
    pub text: Arc<str>,
    line_starts: Vec<u32>,
}

/// All files that one policy was read from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<SourceFile>,
}

impl Sources {
    /// Adds a file and gives its number. Texts are limited to 4 GiB by [`Span`]; loaders limit them far lower.
    pub fn add(&mut self, name: impl Into<Arc<str>>, text: impl Into<Arc<str>>) -> FileId {
        let text = text.into();
        let line_starts = std::iter::once(0)
            .chain(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at as u32 + 1))
            .collect();
        let id = FileId(u16::try_from(self.files.len()).expect("loaders refuse more than 65,535 files"));
        self.files.push(SourceFile { name: name.into(), text, line_starts });
        id
    }

    /// The files, in the order of their numbers.
    pub fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// The file of that number, where there is one.
    pub fn file(&self, id: FileId) -> Option<&SourceFile> {
        self.files.get(usize::from(id.0))
    }

    /// Where `span` begins. A span of no known file is `<built in>:1:1`.
    pub fn place(&self, span: Span) -> Place {
        let Some(file) = self.file(span.file) else {
            return Place { file: "<built in>".into(), line: 1, column: 1 };
        };
        let line = file.line_starts.partition_point(|start| *start <= span.start).max(1);
        let line_start = file.line_starts[line - 1] as usize;
        let at = (span.start as usize).min(file.text.len());
        let column = file.text.get(line_start..at).map_or(1, |before| before.chars().count() + 1);
        Place { file: Arc::clone(&file.name), line: line as u32, column: column as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let mut sources = Sources::default();
        let file = sources.add("a.toml", "x = 1\nñandú = 2\n");
        let at = |start| sources.place(Span::new(file, start..start)).to_string();
        assert_eq!(at(0), "a.toml:1:1");
        assert_eq!(at(4), "a.toml:1:5");
        assert_eq!(at(6), "a.toml:2:1");
        assert_eq!(at(14), "a.toml:2:7");
        assert_eq!(at(9999), "a.toml:3:1");
    }
}
