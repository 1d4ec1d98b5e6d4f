//! Lines as the patterns see them, and the buffer for `maxlines` over 1.
//!
//! Source: fail2ban `server/failregex.py`, `Regex.search`.

use super::data::MATCH_BYTES_MAX;

/// One line without its date, and as it stood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    /// What stands around the date: what patterns see.
    pub(super) text: Box<str>,
    /// With the date: what is kept as a match.
    pub(super) full: Box<str>,
    /// It may hold a literal that the patterns need: without such a line in the buffer they find nothing.
    pub(super) matters: bool,
}

/// The lines of a hit: which belong to it and which stay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Split {
    pub(super) matched: Vec<Line>,
    pub(super) unmatched: Vec<Line>,
}

/// The text of several lines, each with its end; a lone line end if there are none.
pub(super) fn join(lines: &[Line], into: &mut String) {
    into.clear();
    for (line, first) in lines.iter().zip(std::iter::once(true).chain(std::iter::repeat(false))) {
        if !first {
            into.push('\n');
        }
        into.push_str(&line.text);
    }
    into.push('\n');
}

/// Divides `lines` by a match at `begin..end` of `text`, whose skipped parts are `skipped`.
///
/// `text` need not be that of `lines`: behind a prefregex it is the content,
/// and its line numbers still pick from the buffer.
pub(super) fn split(lines: &[Line], text: &str, begin: usize, end: usize, skipped: &str) -> Split {
    if lines.len() <= 1 {
        return Split { matched: lines.to_vec(), unmatched: Vec::new() };
    }
    let bytes = text.as_bytes();
    let count = |to: usize| bytes.iter().take(to).filter(|b| **b == b'\n').count();
    let from = bytes.iter().take(begin + 1).rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let search = end.saturating_sub(1);
    let to = bytes.iter().skip(search).position(|b| *b == b'\n').map_or(bytes.len(), |at| search + at + 1);
    let (first, last) = (count(from).min(lines.len()), count(to).min(lines.len()));
    let mut matched = lines.get(first..last.max(first)).unwrap_or_default().to_vec();
    let mut unmatched = lines.get(..first).unwrap_or_default().to_vec();
    let mut at = 0;
    for line in split_lines(skipped) {
        if let Some(found) = matched.iter().skip(at).position(|m| *m.text == *line) {
            unmatched.push(matched.remove(at + found));
            at += found;
        }
    }
    unmatched.extend_from_slice(lines.get(last..).unwrap_or_default());
    Split { matched, unmatched }
}

/// Lines as Python's `splitlines` cuts them: at more than the line feed.
fn split_lines(text: &str) -> Vec<&str> {
    let is_end = |c: char| {
        matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
    };
    let mut out = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let Some((line, tail)) = rest.find(is_end).and_then(|at| rest.split_at_checked(at)) else {
            out.push(rest);
            break;
        };
        out.push(line);
        rest = tail
            .strip_prefix("\r\n")
            .unwrap_or_else(|| tail.get(tail.chars().next().map_or(0, char::len_utf8)..).unwrap_or(""));
    }
    out
}

/// A text for the matches of a failure, cut at [`MATCH_BYTES_MAX`].
pub(super) fn match_text(parts: &[&str]) -> Box<str> {
    let mut out = String::with_capacity(parts.iter().map(|p| p.len()).sum::<usize>().min(MATCH_BYTES_MAX));
    for part in parts {
        let room = MATCH_BYTES_MAX.saturating_sub(out.len());
        let cut = if part.len() <= room {
            part.len()
        } else {
            (0..=room).rev().find(|at| part.is_char_boundary(*at)).unwrap_or(0)
        };
        out.push_str(part.get(..cut).unwrap_or(""));
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_where_python_ends_them() {
        assert_eq!(split_lines("a\r\nb\n\nc\u{2028}d"), ["a", "b", "", "c", "d"]);
        assert_eq!(split_lines("a\n"), ["a"]);
        assert!(split_lines("").is_empty());
    }

    #[test]
    fn skipped_lines_stay_in_the_buffer() {
        let line = |t: &str| Line { text: t.into(), full: t.into(), matters: true };
        let lines = [line("x"), line("a"), line("z"), line("b"), line("c")];
        let text = "x\na\nz\nb\nc\n";
        // "a" begins at 2, the match ends before the newline of "b" at 7.
        let got = split(&lines, text, 2, 7, "z\n");
        assert_eq!(got.matched, [line("a"), line("b")]);
        assert_eq!(got.unmatched, [line("x"), line("z"), line("c")]);
    }
}
