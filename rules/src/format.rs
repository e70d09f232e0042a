//! `fmt`: one way to lay a policy out, comments kept.
//!
//! Changes white space alone: `=` and trailing comments stand in line within a group of keys, one blank line is left
//! before a table, short lists and inline tables have one spacing, lists over several lines stay as they are. What
//! the file means cannot change, and formatting twice is formatting once.
//!
//! Cost: linear in the text.

use toml_edit::{Decor, DocumentMut, InlineTable, Item, KeyMut, RawString, Table, Value};

/// The text is no TOML; reading it as a policy says where and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the file is not TOML, and is left as it is")]
pub struct NotToml;

/// Lays a policy file out.
///
/// # Errors
/// [`NotToml`], when there is nothing to lay out.
pub fn format(text: &str) -> Result<String, NotToml> {
    let mut document: DocumentMut = text.parse().map_err(|_| NotToml)?;
    let mut first = true;
    table(document.as_table_mut(), &mut first);
    let trailing = lines_before(&raw(Some(document.trailing())), false);
    document.set_trailing(trailing);
    let mut formatted: String = document.to_string().trim_start_matches('\n').trim_end().to_owned();
    if !formatted.is_empty() {
        formatted.push('\n');
    }
    Ok(formatted)
}

/// A table and the tables in it. `first`: nothing has been written above it.
fn table(table: &mut Table, first: &mut bool) {
    keys(table, first);
    for (_, item) in table.iter_mut() {
        match item {
            Item::Table(inner) if !inner.is_dotted() => self::inner(inner, first),
            Item::ArrayOfTables(tables) => tables.iter_mut().for_each(|inner| self::inner(inner, first)),
            _ => {}
        }
    }
}

fn inner(inner: &mut Table, first: &mut bool) {
    if !inner.is_implicit() {
        let above = raw(inner.decor().prefix());
        let behind = trailing_comment(&raw(inner.decor().suffix()));
        inner.decor_mut().set_prefix(lines_before(&above, true));
        inner.decor_mut().set_suffix(behind);
        *first = true;
    }
    table(inner, first);
    *first = false;
}

/// One `key = value` of a group, as far as its width matters.
struct Line {
    key_width: usize,
    value_width: usize,
    comment: String,
}

/// The keys of a table, in groups that neither a blank line nor a comment line divides.
fn keys(table: &mut Table, first: &mut bool) {
    let mut group: Vec<(String, Line)> = Vec::new();
    let mut done: Vec<Vec<(String, Line)>> = Vec::new();
    for (mut key, item) in table.iter_mut() {
        let Item::Value(value) = item else { continue };
        let above = raw(key.leaf_decor().prefix());
        let lines = lines_before(&above, false);
        let lines = if *first { lines.trim_start_matches('\n').to_owned() } else { lines };
        *first = false;
        let comment = trailing_comment(&raw(value.decor().suffix()));
        *value.decor_mut() = Decor::new("", "");
        spaced(value);
        let divided = !lines.is_empty();
        key.leaf_decor_mut().set_prefix(lines);
        let written = value.to_string();
        let line = Line {
            key_width: key_text(&key).chars().count(),
            value_width: written.trim().chars().count(),
            comment: comment.trim_start().to_owned(),
        };
        let many_lines = written.trim().contains('\n');
        if divided || many_lines {
            done.push(std::mem::take(&mut group));
        }
        group.push((key.get().to_owned(), line));
        if many_lines {
            done.push(std::mem::take(&mut group));
        }
    }
    done.push(group);
    for group in done {
        align(table, &group);
    }
}

fn align(table: &mut Table, group: &[(String, Line)]) {
    let key_width = group.iter().map(|(_, line)| line.key_width).max().unwrap_or(0);
    for run in group.chunk_by(|(_, above), (_, below)| above.comment.is_empty() == below.comment.is_empty()) {
        // Comments stand in line with their neighbours only: a long line elsewhere does not push them away.
        let value_width = run.iter().map(|(_, line)| line.value_width).max().unwrap_or(0);
        for (name, line) in run {
            lay_out(table, name, line, key_width, value_width);
        }
    }
}

fn lay_out(table: &mut Table, name: &str, line: &Line, key_width: usize, value_width: usize) {
    let Some((mut key, item)) = table.get_key_value_mut(name) else { return };
    let Some(value) = item.as_value_mut() else { return };
    key.leaf_decor_mut().set_suffix(" ".repeat(key_width - line.key_width + 1));
    let comment = match &*line.comment {
        "" => String::new(),
        comment => format!("{}{comment}", " ".repeat(value_width.saturating_sub(line.value_width) + 2)),
    };
    *value.decor_mut() = Decor::new(" ", comment);
}

fn key_text(key: &KeyMut<'_>) -> String {
    key.display_repr().into_owned()
}

/// Lists and inline tables on one line get one spacing; over several lines they are their author's.
fn spaced(value: &mut Value) {
    if value.to_string().contains('\n') {
        return;
    }
    match value {
        Value::Array(array) => {
            for (at, item) in array.iter_mut().enumerate() {
                spaced(item);
                *item.decor_mut() = Decor::new(if at == 0 { "" } else { " " }, "");
            }
            array.set_trailing("");
            array.set_trailing_comma(false);
        }
        Value::InlineTable(inline) => spaced_inline(inline),
        _ => {}
    }
}

fn spaced_inline(inline: &mut InlineTable) {
    let last = inline.len().saturating_sub(1);
    for (at, (mut key, value)) in inline.iter_mut().enumerate() {
        spaced(value);
        key.leaf_decor_mut().set_prefix(" ");
        key.leaf_decor_mut().set_suffix(" ");
        *value.decor_mut() = Decor::new(" ", if at == last { " " } else { "" });
    }
    inline.set_trailing("");
    inline.set_trailing_comma(false);
}

/// Blank and comment lines above something: no indentation, one blank line at most in a row, and one in front
/// where `blank` asks for it.
fn lines_before(raw: &str, blank: bool) -> String {
    let mut lines = String::new();
    let mut blank_due = blank;
    let mut first = true;
    // What follows the last newline is indentation.
    let complete = raw.rsplit_once('\n').map_or("", |(complete, _)| complete);
    if raw.contains('\n') {
        for line in complete.split('\n').map(str::trim) {
            if line.is_empty() {
                blank_due |= !(blank && first);
                continue;
            }
            if blank_due {
                lines.push('\n');
            }
            lines.push_str(line);
            lines.push('\n');
            (blank_due, first) = (false, false);
        }
    }
    if blank_due {
        lines.push('\n');
    }
    lines
}

/// A comment behind a value or header, two spaces before it.
fn trailing_comment(raw: &str) -> String {
    match raw.trim() {
        "" => String::new(),
        comment => format!("  {comment}"),
    }
}

fn raw(text: Option<&RawString>) -> String {
    text.and_then(RawString::as_str).unwrap_or_default().to_owned()
}
