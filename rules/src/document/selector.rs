//! The grammar of selectors: what `kubectl -l` takes, or `cidr:NAME`, `world`, `any`, or a list of these.
//!
//! The label grammar follows Kubernetes' `labels.Parse` (apimachinery/pkg/labels/selector.go): the same texts are
//! accepted and mean the same, an empty value (`app=`, `env in (a,)`) and an empty expression included. Two
//! differences: numeric comparison (`>`, `<`) is refused, and keys and values may be any word.

use std::ops::Range;
use std::sync::Arc;

use super::decode::{Spanned, Text, is_word_character, quoted, shortened, some_list, text};
use crate::diagnostic::{Code, Diagnostic, Sink};
use crate::selector::{LabelExpression, Operator, Requirement};
use crate::syntax::Node;

/// Requirements in one label expression.
const MOST_REQUIREMENTS: usize = 1000;

/// A selector whose networks are still names.
#[derive(Clone, Debug)]
pub(crate) struct SelectorText {
    pub(crate) alternatives: Vec<AlternativeText>,
}

/// One alternative, its network still a name.
#[derive(Clone, Debug)]
pub(crate) enum AlternativeText {
    Any,
    World,
    Network(Spanned<Arc<str>>),
    Labels(LabelExpression),
}

/// What is wrong with a selector, and where in its text.
struct Problem {
    at: Range<usize>,
    message: String,
    help: Option<String>,
}

impl Problem {
    fn new(at: Range<usize>, message: impl Into<String>) -> Self {
        Self { at, message: message.into(), help: None }
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

pub(crate) fn selector(node: Node<'_>, sink: &mut Sink) -> Option<SelectorText> {
    let list = some_list(node, sink, "remove the key, or write `any`, for every endpoint", alternative)?;
    Some(SelectorText { alternatives: list.value })
}

fn alternative(node: Node<'_>, sink: &mut Sink) -> Option<AlternativeText> {
    alternative_of(&text(node, sink)?, sink)
}

/// One alternative, from a string.
pub(super) fn alternative_of(text: &Text<'_>, sink: &mut Sink) -> Option<AlternativeText> {
    match parse_alternative(text) {
        Ok(alternative) => Some(alternative),
        Err(problem) => {
            let span = text.part(problem.at);
            sink.push(
                Diagnostic::new(Code::MalformedSelector, span, problem.message).help_maybe(problem.help),
            );
            None
        }
    }
}

fn parse_alternative(text: &Text<'_>) -> Result<AlternativeText, Problem> {
    let whole: &str = &text.value;
    let trimmed = whole.trim();
    match trimmed {
        "any" => return Ok(AlternativeText::Any),
        "world" => return Ok(AlternativeText::World),
        _ => {}
    }
    let Some(name) = trimmed.strip_prefix("cidr:") else {
        return parse_labels(whole).map(AlternativeText::Labels);
    };
    let start = whole.len() - whole.trim_start().len() + "cidr:".len();
    if name.is_empty() {
        return Err(Problem::new(start..start, "`cidr:` lacks the name of a network"));
    }
    if let Some((at, character)) = name.char_indices().find(|(_, character)| !is_word_character(*character)) {
        let at = start + at;
        return Err(Problem::new(
            at..at + character.len_utf8(),
            format!("a network's name holds no {}", plain(character)),
        )
        .help("`cidr:NAME` stands alone; write a list for OR: [\"cidr:a\", \"app=web\"]"));
    }
    let span = text.part(start..start + name.len());
    Ok(AlternativeText::Network(Spanned::new(Arc::from(name), span)))
}

fn plain(character: char) -> String {
    quoted(character).trim_start_matches("a ").to_owned()
}

/// A label expression, from a text alone.
fn parse_labels(text: &str) -> Result<LabelExpression, Problem> {
    let mut parser = Parser { lexer: Lexer { text, at: 0 }, peeked: None };
    let mut requirements = Vec::new();
    if parser.peek()?.0 == Token::End {
        return Ok(LabelExpression { requirements });
    }
    loop {
        requirements.push(parser.requirement()?);
        let (token, at) = parser.next()?;
        match token {
            Token::End => return Ok(LabelExpression { requirements }),
            Token::Comma if requirements.len() < MOST_REQUIREMENTS => {}
            Token::Comma => {
                return Err(Problem::new(
                    at,
                    format!("an expression has at most {MOST_REQUIREMENTS} requirements"),
                ));
            }
            Token::Word(word) => {
                return Err(Problem::new(
                    at,
                    format!("expected `,` or the end, found `{}`", shortened(word)),
                )
                .help("join requirements with `,` (and); write a list for OR"));
            }
            other => {
                return Err(Problem::new(at, format!("expected `,` or the end, found {}", other.shown())));
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'t> {
    Word(&'t str),
    Equals,
    NotEquals,
    Not,
    Open,
    Close,
    Comma,
    End,
}

impl Token<'_> {
    fn shown(self) -> String {
        match self {
            Self::Word(word) => format!("`{}`", shortened(word)),
            Self::Equals => "`=`".to_owned(),
            Self::NotEquals => "`!=`".to_owned(),
            Self::Not => "`!`".to_owned(),
            Self::Open => "`(`".to_owned(),
            Self::Close => "`)`".to_owned(),
            Self::Comma => "`,`".to_owned(),
            Self::End => "the end".to_owned(),
        }
    }
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Lexer<'t> {
    fn next(&mut self) -> Result<(Token<'t>, Range<usize>), Problem> {
        let rest = &self.text[self.at..];
        let start = self.at + (rest.len() - rest.trim_start().len());
        let rest = &self.text[start..];
        let (token, length) = match rest.chars().next() {
            None => (Token::End, 0),
            Some('(') => (Token::Open, 1),
            Some(')') => (Token::Close, 1),
            Some(',') => (Token::Comma, 1),
            Some('=') => (Token::Equals, if rest.starts_with("==") { 2 } else { 1 }),
            Some('!') if rest.starts_with("!=") => (Token::NotEquals, 2),
            Some('!') => (Token::Not, 1),
            Some(character @ ('<' | '>')) => {
                return Err(Problem::new(start..start + 1, format!("`{character}` is not supported"))
                    .help("labels are compared with `=`, `!=`, `in (...)` and `notin (...)`"));
            }
            Some(character) if !is_word_character(character) => {
                let message = format!("{} cannot stand in a selector", quoted(character));
                let problem = Problem::new(start..start + character.len_utf8(), message);
                let quote = character == '\'' || character == '"';
                return Err(if quote { problem.help("write the value without quotes") } else { problem });
            }
            Some(_) => {
                let length = rest.find(|character| !is_word_character(character)).unwrap_or(rest.len());
                (Token::Word(&rest[..length]), length)
            }
        };
        self.at = start + length;
        Ok((token, start..self.at))
    }
}

struct Parser<'t> {
    lexer: Lexer<'t>,
    peeked: Option<(Token<'t>, Range<usize>)>,
}

impl<'t> Parser<'t> {
    fn next(&mut self) -> Result<(Token<'t>, Range<usize>), Problem> {
        match self.peeked.take() {
            Some(token) => Ok(token),
            None => self.lexer.next(),
        }
    }

    fn peek(&mut self) -> Result<(Token<'t>, Range<usize>), Problem> {
        let token = self.next()?;
        self.peeked = Some(token.clone());
        Ok(token)
    }

    fn requirement(&mut self) -> Result<Requirement, Problem> {
        let (mut token, mut at) = self.next()?;
        let negated = token == Token::Not;
        if negated {
            (token, at) = self.next()?;
        }
        let Token::Word(key) = token else {
            return Err(Problem::new(at, format!("expected a label's key, found {}", token.shown())));
        };
        let key: Arc<str> = Arc::from(key);
        let (token, at) = self.peek()?;
        if negated || matches!(token, Token::End | Token::Comma) {
            let operator = if negated { Operator::DoesNotExist } else { Operator::Exists };
            return Ok(Requirement { key, operator });
        }
        self.next()?;
        let operator = match token {
            Token::Equals => Operator::In(vec![self.value()?]),
            Token::NotEquals => Operator::NotIn(vec![self.value()?]),
            Token::Word("in") => Operator::In(self.values()?),
            Token::Word("notin") => Operator::NotIn(self.values()?),
            other => {
                let problem = Problem::new(
                    at,
                    format!("expected `=`, `!=`, `in`, `notin` or `,`, found {}", other.shown()),
                );
                return Err(match other {
                    Token::Word("not") => problem.help("write `notin (...)`"),
                    Token::Word("and" | "AND" | "&&") => problem.help("write `,` for AND"),
                    Token::Word("or" | "OR" | "||") => {
                        problem.help("write a list for OR: [\"app=web\", \"app=api\"]")
                    }
                    _ => problem,
                });
            }
        };
        Ok(Requirement { key, operator })
    }

    /// The value behind `=`; none is the empty one.
    fn value(&mut self) -> Result<Arc<str>, Problem> {
        let (token, at) = self.peek()?;
        match token {
            Token::End | Token::Comma => Ok(Arc::from("")),
            Token::Word(word) => {
                self.next()?;
                Ok(Arc::from(word))
            }
            other => Err(Problem::new(at, format!("expected a value, found {}", other.shown()))),
        }
    }

    /// `(a, b)`. As in Kubernetes, a missing value is the empty one, and values are a set.
    fn values(&mut self) -> Result<Vec<Arc<str>>, Problem> {
        let (token, at) = self.next()?;
        if token != Token::Open {
            return Err(Problem::new(at, format!("expected `(`, found {}", token.shown()))
                .help("write the values in parentheses: `env in (prod,stage)`"));
        }
        let mut values = Vec::new();
        loop {
            let (token, at) = self.peek()?;
            match token {
                Token::Word(word) => {
                    self.next()?;
                    values.push(Arc::from(word));
                }
                Token::Comma | Token::Close => values.push(Arc::from("")),
                other => {
                    return Err(Problem::new(
                        at,
                        format!("expected a value or `)`, found {}", other.shown()),
                    ));
                }
            }
            let (token, at) = self.next()?;
            match token {
                Token::Comma => {}
                Token::Close => {
                    values.sort();
                    values.dedup();
                    return Ok(values);
                }
                other => {
                    return Err(Problem::new(at, format!("expected `,` or `)`, found {}", other.shown())));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::Labels;

    fn matches(expression: &str, labels: &[(&str, &str)]) -> bool {
        let labels: Labels = labels.iter().map(|(key, value)| (Arc::from(*key), Arc::from(*value))).collect();
        match parse_labels(expression) {
            Ok(expression) => expression.matches(&labels),
            Err(problem) => panic!("{expression}: {}", problem.message),
        }
    }

    #[test]
    fn expressions_mean_what_kubectl_makes_of_them() {
        let web = [("app", "web"), ("env", "prod")];
        for expression in [
            "",
            "app=web",
            "app==web",
            " app = web , env = prod ",
            "env in (prod,stage)",
            "env in ( stage , prod )",
            "env notin (dev)",
            "zone notin (a)",
            "app!=api",
            "zone!=a",
            "app",
            "!zone",
            "! zone",
            "app,!zone,env!=dev",
            "zone notin ()",
            "in!=x",
        ] {
            assert!(matches(expression, &web), "{expression}");
        }
        for expression in [
            "app=",
            "app=api",
            "!app",
            "zone",
            "zone in (a)",
            "env notin (prod)",
            "app=web,env=dev",
            "app in ()",
        ] {
            assert!(!matches(expression, &web), "{expression}");
        }
        assert!(matches("app in (a,)", &[("app", "")]));
        assert!(matches("app in ()", &[("app", "")]));
        assert!(matches("app=", &[("app", "")]));
    }

    #[test]
    fn what_kubectl_refuses_is_refused_at_its_place() {
        for (expression, at) in [
            ("app=web,", 8),
            ("=web", 0),
            ("app=web env=prod", 8),
            ("app in prod", 7),
            ("app in (a", 9),
            ("app in (a b)", 10),
            ("!app=web", 4),
            ("app=!web", 4),
            ("app>5", 3),
            ("(app)", 0),
            ("app='web'", 4),
            ("!,", 1),
            ("a=b=c", 3),
            (",a", 0),
        ] {
            assert_eq!(parse_labels(expression).unwrap_err().at.start, at, "{expression}");
        }
    }
}
