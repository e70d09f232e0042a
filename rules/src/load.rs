//! Reading a policy: bytes in, a [`Policy`] or [`Diagnostics`] out.
//!
//! This crate does no I/O: the caller reads the first file, and an [`Include`] reads what the files include.

use std::collections::HashSet;
use std::sync::Arc;

use crate::diagnostic::{Code, Diagnostic, Diagnostics, Sink};
use crate::document::{Document, FileKind, shortened};
use crate::invariant::Invariant;
use crate::policy::Policy;
use crate::resolve::{resolve, resolve_promises};
use crate::source::{Sources, Span};
use crate::syntax;
use crate::test_case::TestCase;

/// Files of one policy.
const MOST_FILES: usize = 4096;
/// Includes inside includes.
const DEEPEST_INCLUDE: usize = 16;
/// Bytes of all files of one policy.
const MOST_BYTES_IN_ALL: usize = 256 << 20;

/// A file as the caller read it.
#[derive(Clone, Debug)]
pub struct Input {
    /// As diagnostics shall name it. Two inputs of one name are the same file.
    pub name: String,
    /// Its content; what is not UTF-8 is reported.
    pub bytes: Vec<u8>,
}

impl Input {
    /// A text that is at hand.
    pub fn new(name: impl Into<String>, text: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), bytes: text.into() }
    }
}

/// Finds the files that a policy includes.
///
/// Any `FnMut(&str, &str) -> Result<Vec<Input>, String>` is one.
pub trait Include {
    /// The files that `pattern` (a path or a glob) means, relative to the file called `from`, in a stable order.
    /// Of a file, only [`MOST_BYTES`] bytes and one more need be read.
    ///
    /// # Errors
    /// The reason, as it shall be shown: no such file, no permission.
    fn find(&mut self, pattern: &str, from: &str) -> Result<Vec<Input>, String>;
}

impl<F: FnMut(&str, &str) -> Result<Vec<Input>, String>> Include for F {
    fn find(&mut self, pattern: &str, from: &str) -> Result<Vec<Input>, String> {
        self(pattern, from)
    }
}

/// For texts that cannot include anything: every include is an error.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoIncludes;

impl Include for NoIncludes {
    fn find(&mut self, _pattern: &str, _from: &str) -> Result<Vec<Input>, String> {
        Err("this policy was not read from a file, so it cannot include one".to_owned())
    }
}

/// The largest file that is accepted, in bytes. Whoever reads a file need not read further.
pub const MOST_BYTES: usize = syntax::MOST_BYTES;

/// A policy that was read.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it means.
    pub policy: Policy,
    /// What is probably not meant.
    pub warnings: Diagnostics,
}

/// Tests and invariants from a file of their own.
#[derive(Clone, Debug)]
pub struct Promises {
    /// In the order of the file.
    pub tests: Vec<TestCase>,
    /// In the order of the file.
    pub invariants: Vec<Invariant>,
    /// The policy's sources and the file's: what the spans of these tests point into.
    pub sources: Arc<Sources>,
}

/// Reads a policy from its first file and what that includes.
///
/// # Errors
/// All that is wrong, with places; at least one of the items is an error.
pub fn load(main: Input, include: &mut dyn Include) -> Result<Loaded, Diagnostics> {
    let mut reader = Reader::new(Sources::default());
    reader.read(main, FileKind::Main, include);
    let Reader { document, sources, mut sink, incomplete, .. } = reader;
    let sources = Arc::new(sources);
    let mut policy = if incomplete { Policy::default() } else { resolve(&document, &mut sink) };
    policy.sources = Arc::clone(&sources);
    let failed = sink.errors() > 0;
    let diagnostics = sink.into_diagnostics(sources);
    if failed { Err(diagnostics) } else { Ok(Loaded { policy, warnings: diagnostics }) }
}

/// Reads a policy from one text that includes nothing.
///
/// # Errors
/// As [`load`].
pub fn load_text(name: &str, text: &str) -> Result<Loaded, Diagnostics> {
    load(Input::new(name, text), &mut NoIncludes)
}

/// Reads a file that holds nothing but `[[test]]`s and `[[invariant]]`s (and `version`), to be judged against `policy`.
///
/// # Errors
/// All that is wrong, with places, unknown names included.
pub fn load_tests(input: Input, policy: &Policy) -> Result<Promises, Diagnostics> {
    let mut reader = Reader::new((*policy.sources).clone());
    reader.read(input, FileKind::Tests, &mut NoIncludes);
    let Reader { document, sources, mut sink, .. } = reader;
    let sources = Arc::new(sources);
    let (tests, invariants) = resolve_promises(&document, policy, &mut sink);
    if sink.errors() > 0 {
        return Err(sink.into_diagnostics(sources));
    }
    Ok(Promises { tests, invariants, sources })
}

/// Collects files into one document.
struct Reader {
    document: Document,
    sources: Sources,
    sink: Sink,
    /// Files that are being read, outermost first.
    stack: Vec<String>,
    seen: HashSet<String>,
    bytes: usize,
    /// A file could not be read or parsed, so names may be missing for that reason alone.
    incomplete: bool,
}

impl Reader {
    fn new(sources: Sources) -> Self {
        Self {
            document: Document::default(),
            sources,
            sink: Sink::default(),
            stack: Vec::new(),
            seen: HashSet::new(),
            bytes: 0,
            incomplete: false,
        }
    }

    fn fail(&mut self, diagnostic: Diagnostic) {
        self.incomplete = true;
        self.sink.push(diagnostic);
    }

    fn read(&mut self, input: Input, kind: FileKind, include: &mut dyn Include) {
        let Input { name, mut bytes } = input;
        self.seen.insert(name.clone());
        let size = bytes.len();
        self.bytes += size;
        let too_large = size > MOST_BYTES || self.bytes > MOST_BYTES_IN_ALL;
        bytes.truncate(if too_large { 0 } else { size });
        let (text, broken) = syntax::decode_utf8(bytes);
        let text: Arc<str> = Arc::from(text);
        let file = self.sources.add(name.as_str(), Arc::clone(&text));
        if too_large {
            let message =
                format!("a policy has at most {MOST_BYTES} bytes a file, {MOST_BYTES_IN_ALL} in all");
            return self.fail(Diagnostic::new(Code::TooLarge, Span::new(file, 0..0), message));
        }
        if let Some((at, byte)) = broken {
            let message = format!("the byte 0x{byte:02x} is not UTF-8");
            let help = "save the file as UTF-8";
            return self
                .fail(Diagnostic::new(Code::InvalidUtf8, Span::new(file, at..at), message).help(help));
        }
        let Some(root) = syntax::parse(&name, &text, file, &mut self.sink) else {
            self.incomplete = true;
            return;
        };
        let patterns = self.document.add(root, kind, &mut self.sink);
        self.stack.push(name);
        for pattern in patterns {
            self.include(&pattern.value, pattern.span, include);
        }
        self.stack.pop();
    }

    fn include(&mut self, pattern: &str, span: Span, include: &mut dyn Include) {
        let from = self.stack.last().map_or("", String::as_str);
        let inputs = match include.find(pattern, from) {
            Ok(inputs) => inputs,
            Err(reason) => {
                let message = format!("cannot include `{}`: {reason}", shortened(pattern));
                return self.fail(Diagnostic::new(Code::IncludeFailed, span, message));
            }
        };
        for input in inputs {
            if self.stack.contains(&input.name) {
                let message = format!("`{}` includes itself", input.name);
                self.fail(
                    Diagnostic::new(Code::IncludeCycle, span, message).help("remove one of the includes"),
                );
            } else if self.seen.contains(&input.name) {
                // Included from two places: one file all the same.
            } else if self.stack.len() > DEEPEST_INCLUDE {
                let message = format!("includes are nested more than {DEEPEST_INCLUDE} deep");
                self.fail(Diagnostic::new(Code::TooLarge, span, message));
            } else if self.seen.len() >= MOST_FILES {
                let message = format!("a policy has at most {MOST_FILES} files");
                return self.fail(Diagnostic::new(Code::TooLarge, span, message));
            } else {
                self.read(input, FileKind::Included, include);
            }
        }
    }
}
