//! YAML and JSON text to trees of spanned values, one for each document.
//!
//! JSON as `kubectl -o json` prints it is YAML 1.2. Plain scalars are resolved by YAML's core schema, `null` in a
//! mapping is the same as an absent key (as in Kubernetes), `<<` merges.
//!
//! Hostile input is bounded here: nesting ([`DEEPEST`]), and the number of values with all aliases expanded
//! ([`MOST_VALUES`]), so that "billion laughs" ends at the alias that goes too far. Cost: linear in what is expanded.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use crate::diagnostic::{Code, Diagnostic, Sink};
use crate::document::shortened;
use crate::source::{FileId, Span};
use crate::syntax::{Key, Node, Value};

/// Collections inside collections.
const DEEPEST: usize = 64;
/// Values of one file, aliases expanded.
const MOST_VALUES: usize = 4 << 20;

/// The documents of a text, empty ones left out. What is behind a syntax error is not read.
pub(super) fn documents<'t>(text: &'t str, file: FileId, sink: &mut Sink) -> Vec<Node<'t>> {
    let mut reader = Reader {
        places: Places { text, file, characters: 0, byte: 0 },
        stack: Vec::new(),
        anchors: HashMap::new(),
        values: 0,
        documents: Vec::new(),
    };
    for event in Parser::new_from_str(text) {
        let read = match event {
            Ok((event, span)) => reader.event(event, span.start, span.end),
            Err(error) => {
                let span = reader.places.span(*error.marker(), *error.marker());
                Err(Diagnostic::new(Code::ManifestSyntax, span, shortened(error.info())))
            }
        };
        if let Err(diagnostic) = read {
            sink.push(diagnostic);
            break;
        }
    }
    reader.documents
}

/// A finished value; `None` is null.
type Finished<'t> = (Span, Option<Value<'t>>);

/// What an anchor stands for.
struct Anchored<'t> {
    value: Finished<'t>,
    values: usize,
    depth: usize,
}

/// A collection that is being read.
struct Open<'t> {
    span: Span,
    anchor: usize,
    /// [`Reader::values`] when it began.
    values: usize,
    /// The deepest nesting inside it.
    depth: usize,
    content: Content<'t>,
}

enum Content<'t> {
    Sequence(Vec<Node<'t>>),
    Mapping { entries: Vec<(Key<'t>, Node<'t>)>, key: Option<Key<'t>>, merged: Vec<Node<'t>> },
}

struct Reader<'t> {
    places: Places<'t>,
    stack: Vec<Open<'t>>,
    anchors: HashMap<usize, Anchored<'t>>,
    values: usize,
    documents: Vec<Node<'t>>,
}

impl<'t> Reader<'t> {
    fn event(&mut self, event: Event<'t>, start: Marker, end: Marker) -> Result<(), Diagnostic> {
        match event {
            Event::DocumentStart(_) => self.anchors.clear(),
            Event::Scalar(text, style, anchor, tag) => {
                let span = self.places.span(start, end);
                self.count(1, span)?;
                let value = scalar(text, style, tag.as_deref(), span)?;
                self.finish((span, value), anchor, 1, 0)?;
            }
            Event::SequenceStart(anchor, tag) => {
                self.open(anchor, tag.as_deref(), start, Content::Sequence(Vec::new()))?;
            }
            Event::MappingStart(anchor, tag) => {
                let content = Content::Mapping { entries: Vec::new(), key: None, merged: Vec::new() };
                self.open(anchor, tag.as_deref(), start, content)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close()?,
            Event::Alias(anchor) => {
                let span = self.places.span(start, end);
                let Some(anchored) = self.anchors.get(&anchor) else {
                    let message = "an alias inside the value that it stands for";
                    return Err(Diagnostic::new(Code::ManifestSyntax, span, message));
                };
                let (values, depth) = (anchored.values, anchored.depth);
                self.count(values, span)?;
                self.check_depth(depth, span)?;
                let value = self.anchors[&anchor].value.clone();
                self.finish(value, 0, values, depth)?;
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn count(&mut self, values: usize, span: Span) -> Result<(), Diagnostic> {
        self.values = self.values.saturating_add(values);
        if self.values <= MOST_VALUES {
            return Ok(());
        }
        let message = format!("the file has more than {MOST_VALUES} values, aliases expanded");
        Err(Diagnostic::new(Code::TooLarge, span, message).help("split it"))
    }

    fn check_depth(&self, more: usize, span: Span) -> Result<(), Diagnostic> {
        if self.stack.len() + more <= DEEPEST {
            return Ok(());
        }
        let message = format!("values are nested more than {DEEPEST} deep");
        Err(Diagnostic::new(Code::TooLarge, span, message))
    }

    fn open(
        &mut self,
        anchor: usize,
        tag: Option<&Tag>,
        start: Marker,
        content: Content<'t>,
    ) -> Result<(), Diagnostic> {
        let span = self.places.span(start, start);
        if let Some(tag) = tag.filter(|tag| !tag.is_yaml_core_schema()) {
            return Err(unknown_tag(tag, span));
        }
        self.check_depth(1, span)?;
        let values = self.values;
        self.count(1, span)?;
        self.stack.push(Open { span, anchor, values, depth: 0, content });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Diagnostic> {
        // The parser closes only what it opened.
        let Some(open) = self.stack.pop() else { return Ok(()) };
        let value = match open.content {
            Content::Sequence(items) => Value::Array(items),
            Content::Mapping { mut entries, merged, .. } => {
                refuse_twice(&entries)?;
                if !merged.is_empty() {
                    let mut known = entries.iter().map(|(key, _)| key.name.clone()).collect();
                    for node in merged {
                        merge(&mut entries, &mut known, node)?;
                    }
                }
                Value::Table(entries)
            }
        };
        self.finish((open.span, Some(value)), open.anchor, self.values - open.values, open.depth + 1)
    }

    /// Puts a value where it belongs: into the collection around it, or among the documents.
    fn finish(
        &mut self,
        value: Finished<'t>,
        anchor: usize,
        values: usize,
        depth: usize,
    ) -> Result<(), Diagnostic> {
        if anchor > 0 {
            self.anchors.insert(anchor, Anchored { value: value.clone(), values, depth });
        }
        let (span, mut value) = value;
        if value.is_none() && self.inside_labels() {
            value = Some(Value::String(Cow::Borrowed("")));
        }
        let Some(parent) = self.stack.last_mut() else {
            self.documents.extend(value.map(|value| Node { span, value }));
            return Ok(());
        };
        parent.depth = parent.depth.max(depth);
        match &mut parent.content {
            // Go reads a null in a list as the element's zero value: an empty object.
            Content::Sequence(items) => {
                items.push(Node { span, value: value.unwrap_or_else(|| Value::Table(Vec::new())) });
            }
            Content::Mapping { entries, key, merged } => match key.take() {
                None => *key = Some(Key { span, name: key_name(value, span)? }),
                Some(key) if key.name == "<<" => merged.extend(value.map(|value| Node { span, value })),
                Some(key) => entries.extend(value.map(|value| (key, Node { span, value }))),
            },
        }
        Ok(())
    }

    /// Whether the value that was read stands in a map of strings, where Go reads a null as the empty string.
    fn inside_labels(&self) -> bool {
        let [.., around, inner] = &*self.stack else { return false };
        let Content::Mapping { key: Some(_), .. } = &inner.content else { return false };
        matches!(&around.content, Content::Mapping { key: Some(key), .. }
            if matches!(&*key.name, "labels" | "matchLabels"))
    }
}

/// Refuses a mapping that says a key twice.
fn refuse_twice(entries: &[(Key<'_>, Node<'_>)]) -> Result<(), Diagnostic> {
    let mut keys: Vec<&Key<'_>> = entries.iter().map(|(key, _)| key).collect();
    keys.sort_by(|a, b| (&a.name, a.span).cmp(&(&b.name, b.span)));
    let Some(twice) = keys.windows(2).find(|pair| pair[0].name == pair[1].name) else { return Ok(()) };
    let message = format!("the key `{}` is written twice", shortened(&twice[1].name));
    let diagnostic = Diagnostic::new(Code::DuplicateKey, twice[1].span, message);
    Err(diagnostic.related(twice[0].span, "first written here"))
}

/// Adds what `<<` brings: entries whose keys are not there yet.
fn merge<'t>(
    entries: &mut Vec<(Key<'t>, Node<'t>)>,
    known: &mut HashSet<Cow<'t, str>>,
    node: Node<'t>,
) -> Result<(), Diagnostic> {
    match node.value {
        Value::Table(merged) => {
            for (key, node) in merged {
                if known.insert(key.name.clone()) {
                    entries.push((key, node));
                }
            }
            Ok(())
        }
        Value::Array(items) => items.into_iter().try_for_each(|item| merge(entries, known, item)),
        _ => {
            Err(Diagnostic::new(Code::ManifestSyntax, node.span, "`<<` merges a mapping, or a list of them"))
        }
    }
}

fn key_name<'t>(value: Option<Value<'t>>, span: Span) -> Result<Cow<'t, str>, Diagnostic> {
    match value {
        Some(Value::String(name)) => Ok(name),
        Some(Value::Integer(written, _) | Value::Float(written)) => Ok(Cow::Owned(written)),
        Some(Value::Boolean(boolean)) => Ok(Cow::Owned(boolean.to_string())),
        _ => Err(Diagnostic::new(Code::ManifestSyntax, span, "a key is a string")),
    }
}

fn unknown_tag(tag: &Tag, span: Span) -> Diagnostic {
    let message = format!("the tag `{}` is not known", shortened(&tag.to_string()));
    Diagnostic::new(Code::ManifestSyntax, span, message).help("remove it")
}

/// A scalar by the core schema (YAML 1.2.2 section 10.3.2).
fn scalar<'t>(
    text: Cow<'t, str>,
    style: ScalarStyle,
    tag: Option<&Tag>,
    span: Span,
) -> Result<Option<Value<'t>>, Diagnostic> {
    let as_string = match tag {
        Some(tag) if tag.is_yaml_core_schema() => tag.suffix == "str",
        Some(tag) if tag.handle == "!" && tag.suffix.is_empty() => true,
        Some(tag) => return Err(unknown_tag(tag, span)),
        None => style != ScalarStyle::Plain,
    };
    if as_string {
        return Ok(Some(Value::String(text)));
    }
    Ok(match &*text {
        "" | "~" | "null" | "Null" | "NULL" => None,
        "true" | "True" | "TRUE" => Some(Value::Boolean(true)),
        "false" | "False" | "FALSE" => Some(Value::Boolean(false)),
        plain => Some(match number(plain) {
            Some(number) => number,
            None => Value::String(text),
        }),
    })
}

fn number(text: &str) -> Option<Value<'static>> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return None;
    }
    let based = |prefix: &str, radix: u32| {
        let digits = text.strip_prefix(prefix)?;
        let plain = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
        plain.then(|| Value::Integer(text.to_owned(), i128::from_str_radix(digits, radix).ok()))
    };
    if let Some(value) = based("0x", 16).or_else(|| based("0o", 8)) {
        return Some(value);
    }
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Value::Integer(text.to_owned(), text.parse().ok()));
    }
    let float = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    (float && text.parse::<f64>().is_ok()).then(|| Value::Float(text.to_owned()))
}

/// From the parser's characters to bytes. Events come in order, so the walk is short.
struct Places<'t> {
    text: &'t str,
    file: FileId,
    characters: usize,
    byte: usize,
}

impl Places<'_> {
    fn span(&mut self, start: Marker, end: Marker) -> Span {
        let start = self.byte_of(start.index());
        let end = self.byte_of(end.index()).max(start);
        Span::new(self.file, start..end)
    }

    fn byte_of(&mut self, characters: usize) -> usize {
        let bytes = self.text.as_bytes();
        let continues = |byte: &u8| byte & 0b1100_0000 == 0b1000_0000;
        while self.characters < characters && self.byte < bytes.len() {
            self.byte += 1;
            while bytes.get(self.byte).is_some_and(continues) {
                self.byte += 1;
            }
            self.characters += 1;
        }
        while self.characters > characters && self.byte > 0 {
            self.byte -= 1;
            while continues(&bytes[self.byte]) {
                self.byte -= 1;
            }
            self.characters -= 1;
        }
        self.byte
    }
}
