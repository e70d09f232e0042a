//! Text to a tree of spanned values, in file order, whatever the values mean: TOML, or JSON where a file begins with
//! `{` (which no TOML file does) or its name ends in `.json`.
//!
//! The tree is our own so that nothing above it depends on a parser's types, and because the parser sorts tables
//! by key while ids and "first declared here" follow the file. Strings borrow from the text.
//!
//! Hostile input is bounded here: bytes, an estimate of tokens (the parser holds them all at once), nesting (the
//! parser refuses 80 levels). Cost: linear in the text.

mod json;

use std::borrow::Cow;

use toml::de::{DeTable, DeValue};

use crate::date::Date;
use crate::diagnostic::{Code, Diagnostic, Sink};
use crate::source::{FileId, Span};

/// Bytes of one file. 100,000 rules need about 30 MB.
pub(crate) const MOST_BYTES: usize = 64 << 20;
/// Tokens of one file; the parser needs about 60 bytes for each.
const MOST_TOKENS: usize = 12 << 20;
/// Broken files up to this size are parsed a second time to find all their errors, not just the first.
const RECOVER_BYTES: usize = 4 << 20;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node<'t> {
    pub(crate) span: Span,
    pub(crate) value: Value<'t>,
}

/// A value, whatever it means.
#[derive(Clone, Debug)]
pub(crate) enum Value<'t> {
    String(Cow<'t, str>),
    /// The text as written, and its value where 128 bits hold it.
    Integer(String, Option<i128>),
    Float(String),
    Boolean(bool),
    /// `None`: a time, or a date with one.
    Date(Option<Date>),
    Array(Vec<Node<'t>>),
    Table(Vec<(Key<'t>, Node<'t>)>),
}

/// A key and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Key<'t> {
    pub(crate) span: Span,
    pub(crate) name: Cow<'t, str>,
}

impl Value<'_> {
    /// What it is, with its article, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Integer(..) => "an integer",
            Self::Float(_) => "a float",
            Self::Boolean(_) => "a boolean",
            Self::Date(Some(_)) => "a date",
            Self::Date(None) => "a time",
            Self::Array(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

/// The text of a file from its bytes. Where they are no UTF-8, the text keeps what can be shown of them.
pub(crate) fn decode_utf8(bytes: Vec<u8>) -> (String, Option<(usize, u8)>) {
    match String::from_utf8(bytes) {
        Ok(text) => (text, None),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let byte = error.as_bytes()[at];
            (String::from_utf8_lossy(error.as_bytes()).into_owned(), Some((at, byte)))
        }
    }
}

/// Whether a file of this name and text is JSON.
fn is_json(name: &str, text: &str) -> bool {
    name.ends_with(".json") || text.trim_start().starts_with('{')
}

/// Reads the text of the file called `name` as the table at its root, or reports why it is none.
pub(crate) fn parse<'t>(name: &str, text: &'t str, file: FileId, sink: &mut Sink) -> Option<Node<'t>> {
    if let Some(at) = token_limit(text) {
        let message = format!("the file has more than {MOST_TOKENS} tokens");
        sink.push(
            Diagnostic::new(Code::TooLarge, Span::new(file, at..at), message).help("split it with `include`"),
        );
        return None;
    }
    if is_json(name, text) {
        return json::parse(text, file, sink);
    }
    match DeTable::parse(text) {
        Ok(root) => {
            let value = table(root.into_inner(), file);
            Some(Node { span: Span::new(file, 0..0), value })
        }
        Err(first) => {
            let errors =
                if text.len() <= RECOVER_BYTES { DeTable::parse_recoverable(text).1 } else { vec![first] };
            report(text, file, &errors, sink);
            None
        }
    }
}

fn node(value: DeValue<'_>, range: std::ops::Range<usize>, file: FileId) -> Node<'_> {
    let value = match value {
        DeValue::String(text) => Value::String(text),
        DeValue::Integer(integer) => {
            Value::Integer(integer.to_string(), i128::from_str_radix(integer.as_str(), integer.radix()).ok())
        }
        DeValue::Float(float) => Value::Float(float.to_string()),
        DeValue::Boolean(boolean) => Value::Boolean(boolean),
        DeValue::Datetime(moment) => Value::Date(match (moment.date, moment.time, moment.offset) {
            (Some(date), None, None) => Date::new(date.year, date.month, date.day).ok(),
            _ => None,
        }),
        DeValue::Array(items) => Value::Array(
            items
                .into_iter()
                .map(|item| {
                    let range = item.span();
                    node(item.into_inner(), range, file)
                })
                .collect(),
        ),
        DeValue::Table(entries) => table(entries, file),
    };
    Node { span: Span::new(file, range), value }
}

fn table(entries: DeTable<'_>, file: FileId) -> Value<'_> {
    let mut entries: Vec<(Key<'_>, Node<'_>)> = entries
        .into_iter()
        .map(|(key, value)| {
            let (key_range, value_range) = (key.span(), value.span());
            let key = Key { span: Span::new(file, key_range), name: key.into_inner() };
            (key, node(value.into_inner(), value_range, file))
        })
        .collect();
    entries.sort_by_key(|(key, _)| key.span);
    Value::Table(entries)
}

/// Reports what the parser found, without what only follows from an error before.
fn report(text: &str, file: FileId, errors: &[toml::de::Error], sink: &mut Sink) {
    let mut last = None;
    // A table that is declared twice is read as one, so its keys may seem to be written twice too.
    let mut doubled_table: Option<usize> = None;
    for error in errors {
        if sink.is_full() {
            sink.omit(1);
            continue;
        }
        let at = error.span().map_or(0, |range| range.start);
        if error.message() == DUPLICATE {
            let follows = doubled_table
                .is_some_and(|table| text.get(table..at).is_some_and(|between| !between.contains("\n[")));
            if follows {
                continue;
            }
            if text[line_start(text, at)..].trim_start().starts_with('[') {
                doubled_table = Some(at);
            }
        }
        let diagnostic = syntax_error(text, file, error);
        if last.as_ref() != Some(&diagnostic) {
            last = Some(diagnostic.clone());
            sink.push(diagnostic);
        }
    }
}

/// The parser's words for a key or table that is there already.
const DUPLICATE: &str = "duplicate key";

fn syntax_error(text: &str, file: FileId, error: &toml::de::Error) -> Diagnostic {
    let range = error.span().unwrap_or(0..0);
    let span = Span::new(file, range.clone());
    let found = text.get(range.clone()).unwrap_or_default();
    let message = error.message().trim_end_matches(", expected nothing");
    if message == DUPLICATE {
        let diagnostic = Diagnostic::new(Code::DuplicateKey, span, format!("`{found}` is written twice"));
        return match first_place(text, range.start) {
            Some(first) => diagnostic.related(Span::new(file, first), "first written here"),
            None => diagnostic.label("the second time"),
        };
    }
    let looks_like_date = found.len() >= 8 && found.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    if looks_like_date && found.contains('-') {
        return Diagnostic::new(Code::InvalidDate, span, format!("`{found}` is not a date (YYYY-MM-DD)"));
    }
    if message.contains("recursion") || message.contains("recurse") {
        return Diagnostic::new(Code::TooLarge, span, "values are nested more than 80 deep");
    }
    let quotes = "strings, addresses and services among them, are written in quotes: `\"10.0.0.1\"`";
    if message.starts_with("string values must be quoted") {
        let message = if found.is_empty() { "the value is missing" } else { "a string without quotes" };
        return Diagnostic::new(Code::Syntax, span, message).help(quotes);
    }
    let diagnostic =
        Diagnostic::new(Code::Syntax, span, if message.is_empty() { "this is not TOML" } else { message });
    let number =
        ["invalid float", "invalid integer", "invalid date"].iter().any(|start| message.starts_with(start));
    if number { diagnostic.help(quotes) } else { diagnostic }
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

/// Where the key at `at`, which is a second one, was written first: a search through the lines, because the parser
/// tells only the second. `None` where the key is no line of its own.
fn first_place(text: &str, at: usize) -> Option<std::ops::Range<usize>> {
    let line_start = line_start(text, at);
    let line = text[line_start..].lines().next()?;
    let is_header = line.trim_start().starts_with('[');
    let wanted = if is_header { header(line) } else { line.split_once('=')?.0.trim() };
    let mut first = None;
    let mut offset = 0;
    for earlier in text[..line_start].split_inclusive('\n') {
        let trimmed = earlier.trim_start();
        let start = offset + earlier.len() - trimmed.len();
        let starts_table = trimmed.starts_with('[');
        let same = match is_header {
            true => starts_table && header(trimmed) == wanted,
            false => trimmed.split_once('=').is_some_and(|(key, _)| key.trim() == wanted),
        };
        if same && first.is_none() {
            first = Some(start..start + wanted.len());
        } else if starts_table && !is_header {
            // What came before belongs to another table.
            first = None;
        }
        offset += earlier.len();
    }
    first
}

/// `[a.b]` of a header line, without what follows it.
fn header(line: &str) -> &str {
    let line = line.trim();
    line.rfind(']').map_or(line, |at| &line[..=at])
}

/// Where the text passes the limit of tokens, if it does. An estimate: punctuation, newlines, and runs of the rest.
fn token_limit(text: &str) -> Option<usize> {
    let mut tokens = 0;
    let mut in_run = false;
    for (at, byte) in text.bytes().enumerate() {
        let breaks = matches!(byte, b'[' | b']' | b'{' | b'}' | b'=' | b',' | b'.' | b'\n' | b' ' | b'\t');
        tokens += usize::from(breaks || !in_run);
        in_run = !breaks;
        if tokens > MOST_TOKENS {
            return Some(at);
        }
    }
    None
}
