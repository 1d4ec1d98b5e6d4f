//! Small pieces of Python's text handling that the dialect rests on.

use std::borrow::Cow;

/// Python's `str.isspace` for one character.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// Python's `str.strip`.
pub(crate) fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Python's `str.rstrip`.
pub(crate) fn rstrip(text: &str) -> &str {
    text.trim_end_matches(is_space)
}

/// Python's `\w` for one character.
pub(crate) fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// Python's `str.lower`, without a copy where nothing changes.
pub(crate) fn lower(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|b| b.is_ascii() && !b.is_ascii_uppercase()) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.to_lowercase())
    }
}

/// Words between white space and commas; empty ones are left out.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c| is_space(c) || c == ',').filter(|word| !word.is_empty())
}

/// True for `1`, `on`, `true` and `yes` in any case; all else is false.
pub(crate) fn truth(text: &str) -> bool {
    matches!(text.to_lowercase().as_str(), "1" | "on" | "true" | "yes")
}

/// Python's `int(text)`: blanks around, a sign, digits with single underscores
/// between them. `None` also for numbers beyond 64 bits.
pub(crate) fn int(text: &str) -> Option<i64> {
    let text = strip(text);
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    if digits.is_empty() || digits.starts_with('_') || digits.ends_with('_') || digits.contains("__") {
        return None;
    }
    let mut value: i64 = 0;
    for c in digits.chars().filter(|c| *c != '_') {
        let digit = i64::from(c.to_digit(10)?);
        let digit = if negative { -digit } else { digit };
        value = value.checked_mul(10)?.checked_add(digit)?;
    }
    Some(value)
}

/// Splits as a POSIX shell does: blanks separate, quotes and backslashes
/// protect.
///
/// # Errors
/// What is missing: the end of a quotation, or what a backslash protects.
pub fn shell_words(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\r' | '\n' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('\'') => break,
                        Some(c) => word.push(c),
                        None => return Err("a quotation is not closed"),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('"') => break,
                        Some('\\') => match chars.next() {
                            Some(c @ ('"' | '\\')) => word.push(c),
                            Some(c) => word.extend(['\\', c]),
                            None => return Err("a quotation is not closed"),
                        },
                        Some(c) => word.push(c),
                        None => return Err("a quotation is not closed"),
                    }
                }
            }
            '\\' => match chars.next() {
                Some(c) => word.get_or_insert_default().push(c),
                None => return Err("nothing follows the last backslash"),
            },
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

/// Python's `json.dumps` of a dictionary of texts: blanks after `:` and `,`,
/// anything beyond ASCII escaped.
pub(crate) fn json_texts<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut out = String::from("{");
    for (n, (key, value)) in pairs.enumerate() {
        if n > 0 {
            out.push_str(", ");
        }
        json_text(&mut out, key);
        out.push_str(": ");
        json_text(&mut out, value);
    }
    out.push('}');
    out
}

fn json_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            ' '..='~' => out.push(c),
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    out.push('"');
}

/// How many single-character edits (insert, delete, replace, swap of
/// neighbours) lead from `a` to `b`. Texts are cut at 64 characters.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(64).collect();
    let b: Vec<char> = b.chars().take(64).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, cb) in b.iter().enumerate() {
            let at = |row: &[usize], n: usize| row.get(n).copied().unwrap_or(usize::MAX / 2);
            let mut best = (at(&last, j) + usize::from(ca != cb)).min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(cb) && b.get(j - 1) == Some(ca);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

/// The candidate nearest to `word`, if it is near enough to be meant.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = match word.chars().count() {
        0..=2 => 0,
        3..=5 => 1,
        6..=9 => 2,
        _ => 3,
    };
    let word = word.to_lowercase();
    let scored = candidates.into_iter().map(|c| (distance(&word, &c.to_lowercase()), c));
    scored.filter(|(d, c)| *d <= limit && *c != word).min_by_key(|(d, _)| *d).map(|(_, c)| c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_read_as_python_reads_them() {
        for (text, value) in [("+5", Some(5)), (" 1_0 ", Some(10)), ("-1", Some(-1)), ("5 # x", None), ("1__0", None)] {
            assert_eq!(int(text), value, "{text}");
        }
        assert_eq!(int(""), None);
        assert_eq!(int("9223372036854775808"), None);
    }

    #[test]
    fn journal_matches_are_split_like_a_shell() {
        let split = |t: &str| shell_words(t).map(|w| w.join("|"));
        assert_eq!(split("A=b + C='d e'"), Ok("A=b|+|C=d e".to_owned()));
        assert_eq!(split(r#"a\ b "c\"d\e" ''"#), Ok(r#"a b|c"d\e|"#.to_owned()));
        assert_eq!(split("'x"), Err("a quotation is not closed"));
        assert_eq!(split("x\\"), Err("nothing follows the last backslash"));
    }

    #[test]
    fn arguments_of_python_actions_are_ascii_json() {
        let pairs = [("dest", "a\"b"), ("ü", "😀\n")];
        assert_eq!(json_texts(pairs.into_iter()), r#"{"dest": "a\"b", "\u00fc": "\ud83d\ude00\n"}"#);
    }

    #[test]
    fn near_spellings_are_found() {
        assert_eq!(nearest("maxrety", ["maxretry", "maxlines"]), Some("maxretry"));
        assert_eq!(nearest("fnidtime", ["findtime", "bantime"]), Some("findtime"));
        assert_eq!(nearest("port", ["protocol"]), None);
    }
}
