//! From values to types, with a diagnostic for everything that does not fit.
//!
//! A decoder is a function from a [`Node`] to `Option<T>`: it reports into the [`Sink`] what is wrong, with its place,
//! and gives `None`. A [`Table`] hands out its entries by key and, when closed, refuses those that nobody asked for.

use std::borrow::Cow;
use std::ops::{Range, RangeInclusive};
use std::str::FromStr;
use std::sync::Arc;

use crate::date::Date;
use crate::diagnostic::{Code, Diagnostic, Sink, did_you_mean, nearest, one_of};
use crate::source::Span;
use crate::syntax::{Key, Node, Value};

/// Bytes of a name.
const LONGEST_NAME: usize = 512;

/// A value and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spanned<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
}

impl<T> Spanned<T> {
    pub(crate) fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}

/// A string of the file.
#[derive(Clone, Debug)]
pub(crate) struct Text<'t> {
    pub(crate) value: Cow<'t, str>,
    pub(crate) span: Span,
}

impl Text<'_> {
    /// Where the bytes `part` of the value stand. Escapes make a string longer than its value, so equal lengths
    /// (but for the quotes) tell that bytes map one to one; otherwise the whole string is the answer.
    pub(crate) fn part(&self, part: Range<usize>) -> Span {
        let written = self.span.range().len();
        if written != self.value.len() + 2 {
            return self.span;
        }
        let first = self.span.start as usize + 1;
        Span::new(self.span.file, first + part.start..first + part.end)
    }

    pub(crate) fn to_shared(&self) -> Spanned<Arc<str>> {
        Spanned::new(Arc::from(&*self.value), self.span)
    }
}

/// Reports that a value has the wrong type.
fn wrong_type<T>(node: &Node<'_>, expected: &str, sink: &mut Sink) -> Option<T> {
    let message = format!("expected {expected}, found {}", node.value.kind());
    sink.push(Diagnostic::new(Code::WrongType, node.span, message).label(format!("expected {expected}")));
    None
}

pub(crate) fn text<'t>(node: Node<'t>, sink: &mut Sink) -> Option<Text<'t>> {
    match node.value {
        Value::String(value) => Some(Text { value, span: node.span }),
        _ => wrong_type(&node, "a string", sink),
    }
}

pub(crate) fn boolean(node: Node<'_>, sink: &mut Sink) -> Option<Spanned<bool>> {
    match node.value {
        Value::Boolean(value) => Some(Spanned::new(value, node.span)),
        _ => wrong_type(&node, "`true` or `false`", sink),
    }
}

/// An integer in `range`.
pub(crate) fn integer(
    node: Node<'_>,
    what: &str,
    range: RangeInclusive<u64>,
    sink: &mut Sink,
) -> Option<Spanned<u64>> {
    let Value::Integer(written, value) = &node.value else { return wrong_type(&node, "an integer", sink) };
    let fitting = value.and_then(|value| u64::try_from(value).ok()).filter(|value| range.contains(value));
    if fitting.is_none() {
        let written = shortened(written);
        let message = format!("{what} is from {} to {}, not {written}", range.start(), range.end());
        sink.report(Code::OutOfRange, node.span, message);
    }
    fitting.map(|value| Spanned::new(value, node.span))
}

/// A date, bare as TOML has it or as a string as JSON must.
pub(crate) fn date(node: Node<'_>, sink: &mut Sink) -> Option<Spanned<Date>> {
    let date = match &node.value {
        Value::Date(Some(date)) => *date,
        Value::String(written) => match written.parse::<Date>() {
            Ok(date) => date,
            Err(error) => {
                sink.report(Code::InvalidDate, node.span, error.to_string());
                return None;
            }
        },
        Value::Date(None) => {
            let message = "expected a day without a time (YYYY-MM-DD)";
            sink.push(
                Diagnostic::new(Code::InvalidDate, node.span, message)
                    .help("a rule ends with the last moment (UTC) of the day in `expires`"),
            );
            return None;
        }
        _ => return wrong_type(&node, "a date (YYYY-MM-DD, without quotes)", sink),
    };
    Some(Spanned::new(date, node.span))
}

/// A string of words that stand for something: each word with its value.
pub(crate) fn word<T: Copy>(node: Node<'_>, words: &[(&str, T)], sink: &mut Sink) -> Option<Spanned<T>> {
    let text = text(node, sink)?;
    match words.iter().find(|(word, _)| *word == text.value) {
        Some((_, value)) => Some(Spanned::new(*value, text.span)),
        None => {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            unknown_word(&text, &words, sink);
            None
        }
    }
}

/// Reports a word that is none of `words`.
pub(crate) fn unknown_word(text: &Text<'_>, words: &[&str], sink: &mut Sink) {
    let message = format!("expected {}, found `{}`", one_of(words), shortened(&text.value));
    let help = did_you_mean(&text.value, words.iter().copied());
    sink.push(Diagnostic::new(Code::UnknownWord, text.span, message).help_maybe(help));
}

/// A string that a newtype of the field can read.
pub(crate) fn parsed<T: FromStr>(node: Node<'_>, code: Code, sink: &mut Sink) -> Option<Spanned<T>>
where
    T::Err: std::fmt::Display,
{
    let text = text(node, sink)?;
    match text.value.parse() {
        Ok(value) => Some(Spanned::new(value, text.span)),
        Err(error) => {
            sink.report(code, text.span, error.to_string());
            None
        }
    }
}

/// A list, or one item in place of a list of one. Items that do not fit are reported and left out.
pub(crate) fn list<'t, T>(
    node: Node<'t>,
    sink: &mut Sink,
    mut item: impl FnMut(Node<'t>, &mut Sink) -> Option<T>,
) -> Spanned<Vec<T>> {
    let span = node.span;
    let items = match node.value {
        Value::Array(items) => items,
        value => vec![Node { span, value }],
    };
    Spanned::new(items.into_iter().filter_map(|node| item(node, sink)).collect(), span)
}

/// Like [`list`], but an empty one is refused; `instead` says what to do.
pub(crate) fn some_list<'t, T>(
    node: Node<'t>,
    sink: &mut Sink,
    instead: &str,
    item: impl FnMut(Node<'t>, &mut Sink) -> Option<T>,
) -> Option<Spanned<Vec<T>>> {
    if matches!(&node.value, Value::Array(items) if items.is_empty()) {
        sink.push(Diagnostic::new(Code::EmptyList, node.span, "the list is empty").help(instead));
        return None;
    }
    // A list all of whose items were refused has been reported already.
    let items = list(node, sink, item);
    (!items.value.is_empty()).then_some(items)
}

/// A name that selectors and reports can carry, from a key or from a value.
pub(crate) fn check_name(name: &str, span: Span, what: &str, sink: &mut Sink) -> bool {
    let problem = if name.is_empty() {
        "is empty".to_owned()
    } else if name.len() > LONGEST_NAME {
        format!("is longer than {LONGEST_NAME} bytes")
    } else if let Some(character) = name.chars().find(|character| !is_word_character(*character)) {
        format!("holds {}", quoted(character))
    } else {
        return true;
    };
    let message = format!("the name of a {what} {problem}");
    sink.push(
        Diagnostic::new(Code::InvalidName, span, message).help("use letters, digits, `-`, `_`, `.` and `/`"),
    );
    false
}

/// What label keys, label values and names are made of: everything that cannot be mistaken for selector syntax.
pub(crate) fn is_word_character(character: char) -> bool {
    !character.is_whitespace() && !character.is_control() && !"=!(),<>\"'`\\".contains(character)
}

/// A name that is free text, on one line.
pub(crate) fn title(node: Node<'_>, what: &str, sink: &mut Sink) -> Option<Spanned<Arc<str>>> {
    let text = text(node, sink)?;
    let problem = if text.value.trim().is_empty() {
        "is empty"
    } else if text.value.len() > LONGEST_NAME {
        "is longer than 512 bytes"
    } else if text.value.chars().any(char::is_control) {
        "holds a control character"
    } else {
        return Some(text.to_shared());
    };
    sink.report(Code::InvalidName, text.span, format!("the name of a {what} {problem}"));
    None
}

/// A character as messages show it.
pub(crate) fn quoted(character: char) -> String {
    match character {
        ' ' => "a space".to_owned(),
        '`' => "a backtick".to_owned(),
        _ if character.is_control() || character.is_whitespace() => {
            format!("`{}`", character.escape_default())
        }
        _ => format!("`{character}`"),
    }
}

/// At most the first 60 characters, for messages.
pub(crate) fn shortened(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(60) {
        Some((at, _)) => Cow::Owned(format!("{}...", &text[..at])),
        None => Cow::Borrowed(text),
    }
}

/// The entries of a table, handed out by key.
#[derive(Debug)]
pub(crate) struct Table<'t> {
    /// What to point at when the table lacks something.
    pub(crate) span: Span,
    entries: Vec<(Key<'t>, Option<Node<'t>>)>,
    asked: Vec<&'static str>,
}

impl<'t> Table<'t> {
    /// The table that `node` is.
    pub(crate) fn open(node: Node<'t>, sink: &mut Sink) -> Option<Self> {
        match node.value {
            Value::Table(entries) => {
                let entries = entries.into_iter().map(|(key, node)| (key, Some(node))).collect();
                Some(Self { span: node.span, entries, asked: Vec::new() })
            }
            _ => wrong_type(&node, "a table", sink),
        }
    }

    /// A table without entries.
    pub(crate) fn empty(span: Span) -> Self {
        Self { span, entries: Vec::new(), asked: Vec::new() }
    }

    /// The entry of `key`, as it is.
    pub(crate) fn take(&mut self, key: &'static str) -> Option<Node<'t>> {
        self.asked.push(key);
        self.entries.iter_mut().find(|(found, _)| found.name == key).and_then(|(_, node)| node.take())
    }

    /// Where the value of `key` stands, if it is there and was not taken.
    pub(crate) fn span_of(&self, key: &str) -> Option<Span> {
        self.entries
            .iter()
            .find(|(found, _)| found.name == key)
            .and_then(|(_, node)| Some(node.as_ref()?.span))
    }

    /// The entry of `key`, which must be there.
    pub(crate) fn require(&mut self, key: &'static str, what: &str, sink: &mut Sink) -> Option<Node<'t>> {
        let node = self.take(key);
        if node.is_none() {
            let message = format!("{what} lacks `{key}`");
            sink.push(
                Diagnostic::new(Code::MissingKey, self.span, message).label(format!("add `{key} = ...`")),
            );
        }
        node
    }

    /// The entry of `key`, decoded; `None` where it is absent or, which is reported, does not fit.
    pub(crate) fn get<T>(
        &mut self,
        key: &'static str,
        sink: &mut Sink,
        decode: impl FnOnce(Node<'t>, &mut Sink) -> Option<T>,
    ) -> Option<T> {
        self.take(key).and_then(|node| decode(node, sink))
    }

    /// All entries that were not asked for, for tables whose keys are names.
    pub(crate) fn into_named(self) -> impl Iterator<Item = (Key<'t>, Node<'t>)> {
        self.entries.into_iter().filter_map(|(key, node)| Some((key, node?)))
    }

    /// Refuses what nobody asked for.
    pub(crate) fn close(self, what: &str, sink: &mut Sink) {
        for (key, _) in self.entries.iter().filter(|(_, node)| node.is_some()) {
            if sink.is_full() {
                sink.omit(1);
                continue;
            }
            let message = format!("{what} has no key `{}`", shortened(&key.name));
            let help = match nearest(&key.name, self.asked.iter().copied()) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("the keys are {}", one_of(&self.asked)),
            };
            sink.push(Diagnostic::new(Code::UnknownKey, key.span, message).help(help));
        }
    }
}
