//! Values over several lines, as `fail2ban-client --dp` prints them: Python's
//! `pprint.pformat` with width 1000 and an indent of 2.

use super::Value;

const WIDTH: usize = 1000;
const INDENT: usize = 2;

/// One command in the layout of `--dp`: one line, unless that were wider than
/// 1000 characters. Then lists are broken after each item, and texts between
/// words.
pub fn pretty(command: &[Value]) -> String {
    let mut out = String::new();
    format(&mut out, &Value::List(command.to_vec()), 0, 0);
    out
}

/// Writes `value` that starts in column `column`, with `allowance` characters
/// to come behind it.
fn format(out: &mut String, value: &Value, column: usize, allowance: usize) {
    let flat = value.repr();
    let room = WIDTH.saturating_sub(column + allowance);
    if flat.chars().count() <= room {
        out.push_str(&flat);
        return;
    }
    match value {
        Value::List(items) => bracketed(out, "[", items, "]", column, allowance),
        Value::Tuple(items) => {
            bracketed(out, "(", items, if items.len() == 1 { ",)" } else { ")" }, column, allowance);
        }
        Value::Dict(pairs) => dict(out, pairs, column, allowance),
        Value::Str(text) => long_text(out, text, column, allowance),
        _ => out.push_str(&flat),
    }
}

fn bracketed(out: &mut String, open: &str, items: &[Value], close: &str, column: usize, allowance: usize) {
    out.push_str(open);
    out.push_str(&" ".repeat(INDENT - 1));
    let inner = column + INDENT;
    for (n, item) in items.iter().enumerate() {
        let last = n + 1 == items.len();
        if n > 0 {
            out.push_str(",\n");
            out.push_str(&" ".repeat(inner));
        }
        format(out, item, inner, if last { allowance + close.len() } else { 1 });
    }
    out.push_str(close);
}

fn dict(out: &mut String, pairs: &[(Value, Value)], column: usize, allowance: usize) {
    out.push('{');
    out.push_str(&" ".repeat(INDENT - 1));
    let inner = column + INDENT;
    for (n, (key, value)) in pairs.iter().enumerate() {
        let last = n + 1 == pairs.len();
        if n > 0 {
            out.push_str(",\n");
            out.push_str(&" ".repeat(inner));
        }
        let key = key.repr();
        out.push_str(&key);
        out.push_str(": ");
        format(out, value, inner + key.chars().count() + 2, if last { allowance + 1 } else { 1 });
    }
    out.push('}');
}

/// Breaks a text into several quoted pieces: after each line end, and long
/// lines between words.
fn long_text(out: &mut String, text: &str, column: usize, allowance: usize) {
    let lines: Vec<&str> = split_lines(text);
    // At the outermost level the pieces would stand in parentheses.
    let outer = column == 0;
    let (column, allowance) = if outer { (column + 1, allowance + 1) } else { (column, allowance) };
    let full = WIDTH.saturating_sub(column);
    let mut chunks: Vec<String> = Vec::new();
    let mut width = full;
    for (n, line) in lines.iter().enumerate() {
        let last = n + 1 == lines.len();
        if last {
            width = full.saturating_sub(allowance);
        }
        let rep = repr(line);
        if rep.chars().count() <= width {
            chunks.push(rep);
            continue;
        }
        words(&mut chunks, line, full, if last { allowance } else { 0 });
    }
    if chunks.len() == 1 {
        out.push_str(&chunks.concat());
        return;
    }
    if outer {
        out.push('(');
    }
    for (n, chunk) in chunks.iter().enumerate() {
        if n > 0 {
            out.push('\n');
            out.push_str(&" ".repeat(column));
        }
        out.push_str(chunk);
    }
    if outer {
        out.push(')');
    }
}

/// Adds the pieces of one line that is too wide: as many words (each with the
/// white space behind it) as fit.
fn words(chunks: &mut Vec<String>, line: &str, full: usize, allowance: usize) {
    let parts = split_words(line);
    let mut current = String::new();
    for (n, part) in parts.iter().enumerate() {
        let width = if n + 1 == parts.len() { full.saturating_sub(allowance) } else { full };
        let candidate = format!("{current}{part}");
        if repr(&candidate).chars().count() > width {
            if !current.is_empty() {
                chunks.push(repr(&current));
            }
            current = (*part).to_owned();
        } else {
            current = candidate;
        }
    }
    if !current.is_empty() {
        chunks.push(repr(&current));
    }
}

fn repr(text: &str) -> String {
    let mut out = String::new();
    stockade_core::text::write_repr(&mut out, text);
    out
}

/// Python's `str.splitlines(True)`.
fn split_lines(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_line_end(*c)) {
        let mut end = at + c.len_utf8();
        if c == '\r' && rest.get(end..).is_some_and(|t| t.starts_with('\n')) {
            end += 1;
        }
        let (line, tail) = rest.split_at(end);
        lines.push(line);
        rest = tail;
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines
}

fn is_line_end(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Runs of non-blanks, each with the white space behind it (and before the first).
fn split_words(line: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        let word = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let gap = rest.get(word..).and_then(|t| t.find(|c: char| !c.is_whitespace())).map_or(rest.len(), |n| word + n);
        let (part, tail) = rest.split_at(gap);
        parts.push(part);
        rest = tail;
    }
    parts
}
