//! Texts that other programs and people read and write: as Python's `repr`
//! shows them, with what a terminal or log reader would obey escaped, and
//! with `<tag>`s in them.

use std::fmt::Write as _;

/// A string as Python's `repr` shows it: in single quotes, or in double ones if
/// it holds single quotes only; what cannot be printed is escaped.
pub fn repr(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    write_repr(&mut out, text);
    out
}

/// Appends [`repr`] of a string.
pub fn write_repr(out: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            ' '..='~' => out.push(c),
            c if !c.is_ascii() && is_printable(c) => out.push(c),
            c => escape(out, u32::from(c)),
        }
    }
    out.push(quote);
}

/// Bytes as Python's `repr` shows them.
pub fn repr_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 3);
    write_repr_bytes(&mut out, bytes);
    out
}

/// Appends [`repr_bytes`] of bytes.
pub fn write_repr_bytes(out: &mut String, bytes: &[u8]) {
    let quote = if bytes.contains(&b'\'') && !bytes.contains(&b'"') { b'"' } else { b'\'' };
    out.push('b');
    out.push(char::from(quote));
    for &b in bytes {
        match b {
            b if b == quote => {
                out.push('\\');
                out.push(char::from(b));
            }
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            b' '..=b'~' => out.push(char::from(b)),
            b => escape(out, u32::from(b)),
        }
    }
    out.push(char::from(quote));
}

/// Appends `text` with control characters, line separators and marks that turn
/// the direction of writing escaped, so that nobody can write whole lines into
/// a log (which a jail may read itself) or steer a terminal.
///
/// DIVERGENCE (captured-text-escaped): the original writes captured text as it is.
pub fn push_escaped(out: &mut String, text: &str) {
    // Nearly all text is this.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return out.push_str(text);
    }
    for c in text.chars() {
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            escape(out, u32::from(c));
        } else {
            out.push(c);
        }
    }
}

/// The first `<tag>` in `text` at or behind byte `from`: where it begins, its
/// name, and the byte behind its end.
///
/// A name is not empty and has no blank and no angle bracket in it.
/// Source: fail2ban `helpers.py`, `TAG_CRE`.
pub fn find_tag(text: &str, from: usize) -> Option<(usize, &str, usize)> {
    let mut start = from + text.get(from..)?.find('<')?;
    loop {
        let inner = text.get(start + 1..)?;
        let stop = inner.find(['<', '>', ' '])?;
        let end = start + 1 + stop;
        match inner.as_bytes().get(stop)? {
            b'>' if stop > 0 => return Some((start, inner.get(..stop)?, end + 1)),
            b'<' => start = end,
            _ => start = end + text.get(end..)?.find('<')?,
        }
    }
}

fn escape(out: &mut String, code: u32) {
    let done = match code {
        0..=0xff => write!(out, "\\x{code:02x}"),
        0x100..=0xffff => write!(out, "\\u{code:04x}"),
        _ => write!(out, "\\U{code:08x}"),
    };
    debug_assert!(done.is_ok(), "writing to a string does not fail");
}

/// Python's `str.isprintable` for one character. The standard library knows
/// the same classes, but shows them only through `escape_debug`, which treats
/// a combining mark at the very start as special; hence the letter before it.
fn is_printable(c: char) -> bool {
    let mut text = String::from("a");
    text.push(c);
    text.escape_debug().nth(1) == Some(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted_as_python_does() {
        assert_eq!(repr("a'b"), "\"a'b\"");
        assert_eq!(repr("a'\"\\\n\u{7}é\u{200b}"), "'a\\'\"\\\\\\n\\x07é\\u200b'");
        assert_eq!(repr_bytes(b"x\xff'\n"), "b\"x\\xff'\\n\"");
    }
}
