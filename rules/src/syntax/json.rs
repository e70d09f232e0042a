//! JSON (RFC 8259) to the tree that TOML is read into: a policy in JSON is the same policy, under the same rules.
//!
//! What JSON lacks is written so: a date is a string (`"2027-03-31"`), `[[rule]]` is a list of objects under `rule`.
//! Stricter than the RFC where a policy gains by it: a key stands once in its object, `null` is refused. Nesting is
//! bounded as in TOML. Cost: linear in the text.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::{Key, Node, Value};
use crate::diagnostic::{Code, Diagnostic, Sink};
use crate::source::{FileId, Span};

/// Values inside values, as many as the parser of TOML takes.
const DEEPEST: usize = 80;

/// Reads a text as the object at its root, or reports why it is none.
pub(super) fn parse<'t>(text: &'t str, file: FileId, sink: &mut Sink) -> Option<Node<'t>> {
    let mut parser = Parser { text, at: 0, file, sink };
    let root = parser.document();
    match root {
        Ok(root) if matches!(root.value, Value::Table(_)) => {
            Some(Node { span: Span::new(file, 0..0), value: root.value })
        }
        Ok(root) => {
            let message = format!("a policy is an object, not {}", root.value.kind());
            sink.report(Code::WrongType, root.span, message);
            None
        }
        Err(problem) => {
            sink.push(*problem);
            None
        }
    }
}

type Parsed<T> = Result<T, Box<Diagnostic>>;

struct Parser<'t, 's> {
    text: &'t str,
    at: usize,
    file: FileId,
    /// For what is wrong without ending the reading.
    sink: &'s mut Sink,
}

impl<'t> Parser<'t, '_> {
    fn document(&mut self) -> Parsed<Node<'t>> {
        self.skip_space();
        let root = self.value(0)?;
        match root {
            Some(root) if self.at == self.text.len() => Ok(root),
            Some(_) => Err(self.unexpected("the end of the file")),
            // Reported already; the caller needs to know that there is nothing.
            None => Err(self.problem(0..0, "a policy is an object, not `null`")),
        }
    }

    /// A value and the space behind it; `None` is a `null`, which has been reported.
    fn value(&mut self, depth: usize) -> Parsed<Option<Node<'t>>> {
        if depth > DEEPEST {
            let message = format!("values are nested more than {DEEPEST} deep");
            let span = Span::new(self.file, self.at..self.at + 1);
            return Err(Box::new(Diagnostic::new(Code::TooLarge, span, message)));
        }
        let start = self.at;
        let value = match self.peek() {
            Some(b'{') => self.object(depth)?,
            Some(b'[') => self.array(depth)?,
            Some(b'"') => Value::String(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') if self.take_word("true") => Value::Boolean(true),
            Some(b'f') if self.take_word("false") => Value::Boolean(false),
            Some(b'n') if self.take_word("null") => {
                let span = Span::new(self.file, start..self.at);
                let diagnostic = Diagnostic::new(Code::WrongType, span, "`null` says nothing here");
                self.sink.push(diagnostic.help("leave the key out for its default"));
                self.skip_space();
                return Ok(None);
            }
            _ => return Err(self.unexpected("a value")),
        };
        // Of what spans lines, the bracket is shown.
        let end = if matches!(value, Value::Table(_) | Value::Array(_)) { start + 1 } else { self.at };
        self.skip_space();
        Ok(Some(Node { span: Span::new(self.file, start..end), value }))
    }

    fn object(&mut self, depth: usize) -> Parsed<Value<'t>> {
        let mut entries: Vec<(Key<'t>, Node<'t>)> = Vec::new();
        let mut places: HashMap<Cow<'t, str>, Span> = HashMap::new();
        self.open();
        while !self.closes(b'}', entries.is_empty() && places.is_empty())? {
            let start = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.unexpected("a key in quotes"));
            }
            let name = self.string()?;
            let span = Span::new(self.file, start..self.at);
            self.skip_space();
            if self.peek() != Some(b':') {
                return Err(self.unexpected("`:`"));
            }
            self.open();
            let value = self.value(depth + 1)?;
            match places.entry(name.clone()) {
                Entry::Vacant(entry) => {
                    entry.insert(span);
                }
                Entry::Occupied(first) => {
                    let message = format!("`{name}` is written twice");
                    let diagnostic = Diagnostic::new(Code::DuplicateKey, span, message);
                    self.sink.push(diagnostic.related(*first.get(), "first written here"));
                    continue;
                }
            }
            entries.extend(value.map(|value| (Key { span, name }, value)));
        }
        Ok(Value::Table(entries))
    }

    fn array(&mut self, depth: usize) -> Parsed<Value<'t>> {
        let mut items = Vec::new();
        let mut first = true;
        self.open();
        while !self.closes(b']', first)? {
            first = false;
            items.extend(self.value(depth + 1)?);
        }
        Ok(Value::Array(items))
    }

    /// Whether the list ends here, else goes past the comma that must stand before all but the first.
    fn closes(&mut self, bracket: u8, first: bool) -> Parsed<bool> {
        if self.peek() == Some(bracket) {
            self.at += 1;
            return Ok(true);
        }
        if first {
            return Ok(false);
        }
        if self.peek() != Some(b',') {
            return Err(self.unexpected(&format!("`,` or `{}`", bracket as char)));
        }
        let comma = self.at;
        self.open();
        if self.peek() == Some(bracket) {
            let problem = self.problem(comma..comma + 1, "a comma before the end of a list");
            return Err(Box::new(problem.help("remove it: JSON has none there")));
        }
        Ok(false)
    }

    fn string(&mut self) -> Parsed<Cow<'t, str>> {
        let start = self.at;
        self.at += 1;
        let mut value: Cow<'t, str> = Cow::Borrowed("");
        loop {
            let rest = &self.text.as_bytes()[self.at..];
            let plain =
                rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)).unwrap_or(rest.len());
            let run = &self.text[self.at..self.at + plain];
            value = if value.is_empty() { Cow::Borrowed(run) } else { Cow::Owned(value.into_owned() + run) };
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(value);
                }
                Some(b'\\') => {
                    let character = self.escape()?;
                    value.to_mut().push(character);
                }
                Some(_) => {
                    let problem = self.problem(self.at..self.at + 1, "a control character in a string");
                    return Err(Box::new(problem.help("write a line break as `\\n`")));
                }
                None => return Err(self.problem(start..start + 1, "the string does not end")),
            }
        }
    }

    fn escape(&mut self) -> Parsed<char> {
        let start = self.at;
        let escaped = self.text.as_bytes().get(start + 1).copied();
        self.at += 2;
        Ok(match escaped {
            Some(plain @ (b'"' | b'\\' | b'/')) => plain as char,
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let first = self.hexadecimal();
                let low = first.filter(|unit| (0xd800..0xdc00).contains(unit)).and_then(|_| {
                    self.text[self.at..].starts_with("\\u").then(|| {
                        self.at += 2;
                        self.hexadecimal()
                    })?
                });
                let units: Vec<u16> = first.into_iter().chain(low).collect();
                match char::decode_utf16(units).collect::<Result<Vec<char>, _>>().as_deref() {
                    Ok([character]) => *character,
                    _ => return Err(self.problem(start..start + 2, "`\\u` names no character")),
                }
            }
            _ => return Err(self.problem(start..start + 1, "no such escape in JSON")),
        })
    }

    fn hexadecimal(&mut self) -> Option<u16> {
        let digits = self.text.get(self.at..self.at + 4)?;
        let unit =
            digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16))?;
        self.at += 4;
        unit.ok()
    }

    fn number(&mut self) -> Parsed<Value<'t>> {
        let start = self.at;
        let rest = &self.text[start..];
        let length = rest
            .find(|it: char| !(it.is_ascii_alphanumeric() || matches!(it, '+' | '-' | '.')))
            .unwrap_or(rest.len());
        let written = &rest[..length];
        let digits = written.strip_prefix('-').unwrap_or(written);
        let whole = digits.find(['.', 'e', 'E']).unwrap_or(digits.len());
        let leading_zero = whole > 1 && digits.starts_with('0');
        let numeric = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let is_float = whole < digits.len();
        let well_formed = numeric(&digits[..whole])
            && !leading_zero
            && (!is_float
                || (written.parse::<f64>().is_ok() && !digits.contains(".e") && !digits.ends_with('.')));
        if !well_formed {
            let problem = self.problem(start..start + length.max(1), "not a number as JSON has it");
            let help = "strings, addresses and services among them, are written in quotes: `\"10.0.0.1\"`";
            return Err(Box::new(problem.help(help)));
        }
        self.at += length;
        Ok(match is_float {
            true => Value::Float(written.to_owned()),
            false => Value::Integer(written.to_owned(), written.parse().ok()),
        })
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.text[self.at..].starts_with(word);
        self.at += if found { word.len() } else { 0 };
        found
    }

    /// Goes past a character and the space behind it.
    fn open(&mut self) {
        self.at += 1;
        self.skip_space();
    }

    fn skip_space(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        self.at +=
            rest.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).unwrap_or(rest.len());
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn unexpected(&self, expected: &str) -> Box<Diagnostic> {
        let Some(found) = self.text[self.at..].chars().next() else {
            return self
                .problem(self.at..self.at, &format!("expected {expected}, found the end of the file"));
        };
        let found_shown =
            if found.is_control() { found.escape_default().to_string() } else { found.to_string() };
        let message = format!("expected {expected}, found `{found_shown}`");
        let problem = self.problem(self.at..self.at + found.len_utf8(), &message);
        match found {
            '/' | '#' => Box::new(problem.help("JSON has no comments; TOML has")),
            '\'' => Box::new(problem.help("write strings in double quotes")),
            _ => problem,
        }
    }

    fn problem(&self, at: std::ops::Range<usize>, message: &str) -> Box<Diagnostic> {
        Box::new(Diagnostic::new(Code::Syntax, Span::new(self.file, at), message))
    }
}
