//! A pattern as it is written, cut into its pieces: what may be left off at its end
//! without breaking it.

/// One piece of a sequence: something to match, with its repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece<'p> {
    /// As it is written.
    pub(super) text: &'p str,
    /// Where it begins, in bytes of the pattern.
    pub(super) at: usize,
    /// If it is a group: what opens it, its alternatives, what closes it and repeats it.
    pub(super) group: Option<Group<'p>>,
}

/// A group of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group<'p> {
    /// Such as `(`, `(?:`, `(?P<name>`, `<F-USER>`.
    pub(super) open: &'p str,
    /// What stands between, with its place in the pattern.
    pub(super) inner: (&'p str, usize),
    /// `)` or `</F-USER>`, without a repeat.
    pub(super) close: &'p str,
    /// Such as `*`, `{1,3}?`; may be empty.
    pub(super) repeat: &'p str,
}

/// The alternatives of a pattern (one if it has none) with their places.
pub(super) fn alternatives(pattern: &str, offset: usize) -> Vec<(&str, usize)> {
    let (mut out, mut begin, mut at) = (Vec::new(), 0, 0);
    while at < pattern.len() {
        if pattern.as_bytes().get(at) == Some(&b'|') {
            out.push((pattern.get(begin..at).unwrap_or(""), offset + begin));
            begin = at + 1;
            at += 1;
        } else {
            at = end_of_atom(pattern, at);
        }
    }
    out.push((pattern.get(begin..).unwrap_or(""), offset + begin));
    out
}

/// The pieces of one alternative, in order.
pub(super) fn pieces(pattern: &str, offset: usize) -> Vec<Piece<'_>> {
    let (mut out, mut at) = (Vec::new(), 0);
    while at < pattern.len() {
        let end = end_of_atom(pattern, at);
        let whole = end_of_repeat(pattern, end);
        let (atom, text) = (pattern.get(at..end).unwrap_or(""), pattern.get(at..whole).unwrap_or(""));
        let repeat = pattern.get(end..whole).unwrap_or("");
        out.push(Piece { text, at: offset + at, group: group(atom, offset + at, repeat) });
        at = whole.max(at + 1);
    }
    out
}

/// Takes a group apart. Look-arounds, conditionals and comments stay whole.
fn group<'p>(atom: &'p str, at: usize, repeat: &'p str) -> Option<Group<'p>> {
    let opening = if atom.starts_with("(?P<") || atom.starts_with("<F-") {
        atom.find('>')? + 1
    } else if atom.starts_with("(?:") {
        3
    } else if atom.starts_with('(') && !atom.starts_with("(?") {
        1
    } else {
        return None;
    };
    let closing = if atom.starts_with('<') { atom.rfind("</F-")? } else { atom.len().checked_sub(1)? };
    let inner = atom.get(opening..closing)?;
    Some(Group { open: atom.get(..opening)?, inner: (inner, at + opening), close: atom.get(closing..)?, repeat })
}

/// Behind the atom that begins at `at`: a character, an escape, a class, a group, a tag.
fn end_of_atom(pattern: &str, at: usize) -> usize {
    let rest = pattern.get(at..).unwrap_or("");
    let first = rest.chars().next().map_or(1, char::len_utf8);
    match rest.as_bytes().first() {
        Some(b'\\') => at + 1 + rest.chars().nth(1).map_or(0, char::len_utf8),
        Some(b'[') => end_of_class(pattern, at),
        Some(b'(') => end_of_group(pattern, at),
        Some(b'<') => end_of_tag(pattern, at).unwrap_or(at + first),
        _ => at + first,
    }
    .min(pattern.len())
}

fn end_of_class(pattern: &str, at: usize) -> usize {
    let bytes = pattern.as_bytes();
    let mut i = at + 1;
    if bytes.get(i) == Some(&b'^') {
        i += 1;
    }
    // A bracket that stands first is one of the class.
    if bytes.get(i) == Some(&b']') {
        i += 1;
    }
    while let Some(byte) = bytes.get(i) {
        match byte {
            b'\\' => i += 2,
            b']' => return i + 1,
            _ => i += 1,
        }
    }
    pattern.len()
}

fn end_of_group(pattern: &str, at: usize) -> usize {
    let bytes = pattern.as_bytes();
    let mut i = at + 1;
    // The condition of `(?(name)a|b)` is no group, and `(?P<name>` and `(?<!` hold a bracket that is no tag.
    if pattern.get(at..).is_some_and(|rest| rest.starts_with("(?(")) {
        i = pattern.get(at..).and_then(|rest| rest.find(')')).map_or(pattern.len(), |n| at + n + 1);
    } else if bytes.get(i) == Some(&b'?') {
        while bytes.get(i).is_some_and(|b| !b":=!>)".contains(b)) {
            i += 1;
        }
        if bytes.get(i) != Some(&b')') {
            i += 1;
        }
    }
    while i < pattern.len() {
        if bytes.get(i) == Some(&b')') {
            return i + 1;
        }
        i = end_of_atom(pattern, i).max(i + 1);
    }
    pattern.len()
}

/// `<HOST>`, `<F-ID/>`, or `<F-USER>` up to its closing tag.
fn end_of_tag(pattern: &str, at: usize) -> Option<usize> {
    let rest = pattern.get(at..)?;
    let close = rest.find('>')?;
    let name = rest.get(1..close)?;
    let plain = name.strip_suffix('/').unwrap_or(name);
    if plain.is_empty() || !plain.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-') {
        return None;
    }
    if name.starts_with("F-") && !name.ends_with('/') {
        let closing = format!("</{name}>");
        let end = rest.find(&closing)?;
        return Some(at + end + closing.len());
    }
    Some(at + close + 1)
}

/// Behind a repeat that begins at `at`, if one does.
fn end_of_repeat(pattern: &str, at: usize) -> usize {
    let bytes = pattern.as_bytes();
    let mut end = match bytes.get(at) {
        Some(b'*' | b'+' | b'?') => at + 1,
        Some(b'{') => {
            let inner = pattern.get(at + 1..).and_then(|rest| rest.split_once('}')).map(|(inner, _)| inner);
            match inner.filter(|i| i.bytes().all(|b| b.is_ascii_digit() || b == b',') && !i.is_empty() && *i != ",") {
                Some(inner) => at + inner.len() + 2,
                None => return at,
            }
        }
        _ => return at,
    };
    if matches!(bytes.get(end), Some(b'?' | b'+')) {
        end += 1;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, expected: &[&str]) {
        let texts: Vec<&str> = pieces(pattern, 0).iter().map(|piece| piece.text).collect();
        assert_eq!(texts, expected, "{pattern}");
    }

    #[test]
    fn patterns_fall_into_what_they_match_one_after_the_other() {
        check(r"^ab+\s*<HOST>$", &["^", "a", "b+", r"\s*", "<HOST>", "$"]);
        check(r"[]\]x](?:a|b){2,3}?(?P<n>[)])c{x", &[r"[]\]x]", "(?:a|b){2,3}?", "(?P<n>[)])", "c", "{", "x"]);
        check("<F-USER>a|<b</F-USER>* <F-ID/><x", &["<F-USER>a|<b</F-USER>*", " ", "<F-ID/>", "<", "x"]);
        check("(?<!a>)b(?(n)x|(?:y))é", &["(?<!a>)", "b", "(?(n)x|(?:y))", "é"]);
    }

    #[test]
    fn alternatives_of_a_group_are_its_own() {
        let texts: Vec<&str> = alternatives("a|(?:b|c)|[|]d", 0).iter().map(|(text, _)| *text).collect();
        assert_eq!(texts, ["a", "(?:b|c)", "[|]d"]);
        let all = pieces("x<F-USER>a|b</F-USER>?", 0);
        let group = all[1].group.as_ref().unwrap();
        assert_eq!((group.open, group.inner, group.close, group.repeat), ("<F-USER>", ("a|b", 9), "</F-USER>", "?"));
    }
}
