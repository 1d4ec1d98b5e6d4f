//! Texts as Python shows them, for messages that other programs and people know.

use std::fmt::Write;

/// A string as Python's `repr` shows it.
pub(super) fn repr(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => escape(&mut out, u32::from(c)),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// Bytes as Python's `repr` shows them.
pub(super) fn repr_bytes(bytes: &[u8]) -> String {
    let quote = if bytes.contains(&b'\'') && !bytes.contains(&b'"') { b'"' } else { b'\'' };
    let mut out = String::with_capacity(bytes.len() + 3);
    out.push('b');
    out.push(char::from(quote));
    for b in bytes {
        match *b {
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            b if b == quote => {
                out.push('\\');
                out.push(char::from(b));
            }
            b @ 0x20..0x7f => out.push(char::from(b)),
            b => escape(&mut out, u32::from(b)),
        }
    }
    out.push(char::from(quote));
    out
}

fn escape(out: &mut String, code: u32) {
    let done = if code < 0x100 { write!(out, "\\x{code:02x}") } else { write!(out, "\\u{code:04x}") };
    debug_assert!(done.is_ok(), "writing to a string does not fail");
}

/// A length of time in words: its largest unit and at most two more, rounded.
///
/// Source: fail2ban `server/mytime.py`, `seconds2str`.
pub(super) fn duration(secs: u64) -> String {
    type Units = &'static [(u64, char)];
    // From this many seconds on: round to this unit, then split by these.
    const SCALES: [(u64, u64, Units); 4] = [
        (31_536_000, 86_400, &[(365, 'y'), (7, 'w'), (1, 'd')]),
        (604_800, 3_600, &[(168, 'w'), (24, 'd'), (1, 'h')]),
        (86_400, 60, &[(1_440, 'd'), (60, 'h'), (1, 'm')]),
        (3_595, 10, &[(360, 'h'), (6, 'm')]),
    ];
    const SHORT: Units = &[(60, 'm'), (1, 's')];
    let (mut rest, units) = match SCALES.iter().find(|(from, ..)| secs >= *from) {
        Some((_, unit, units)) => (round(secs, *unit), *units),
        None => (secs, SHORT),
    };
    let mut parts = Vec::new();
    for (size, name) in units {
        if rest >= *size {
            parts.push(format!("{}{name}", rest / size));
            rest %= size;
        }
    }
    if parts.is_empty() { "0".to_owned() } else { parts.join(" ") }
}

/// `n / unit`, halves to even.
fn round(n: u64, unit: u64) -> u64 {
    let (whole, rest) = (n / unit, n % unit);
    if rest * 2 > unit || (rest * 2 == unit && whole % 2 == 1) { whole + 1 } else { whole }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted_as_python_does() {
        assert_eq!(repr("a'b"), "\"a'b\"");
        assert_eq!(repr("a'\"\\\n\u{7}é"), "'a\\'\"\\\\\\n\\x07é'");
        assert_eq!(repr_bytes(b"x\xff'\n"), "b\"x\\xff'\\n\"");
    }

    #[test]
    fn lengths_of_time_are_rounded_to_three_units() {
        for (secs, words) in [
            (86_400 * 390, "1y 3w 4d"),
            (86_400 * 368, "1y 3d"),
            (86_400 * 2 + 3_600 * 7 + 60 * 15, "2d 7h 15m"),
            (86_400 * 2 + 3_599, "2d 1h"),
            (3_595, "1h"),
            (3_590, "59m 50s"),
            (61, "1m 1s"),
            (59, "59s"),
            (0, "0"),
        ] {
            assert_eq!(duration(secs), words, "{secs}");
        }
    }
}
