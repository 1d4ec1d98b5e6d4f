//! `name[option=value, ...]`: how a jail calls a filter or an action.
//!
//! Source: fail2ban `helpers.py` (`extractOptions`, `splitWithOptions`).

use std::collections::HashSet;
use std::sync::Arc;

use stockade_wire::value::repr_str;

use crate::ordered::Ordered;
use crate::text::{is_space, is_word, strip};

/// Texts longer than this are not split.
const MAX_CALL: usize = 256 << 10;

/// A call taken apart.
#[derive(Debug)]
pub(crate) struct Call {
    /// With blanks at its end, if it has some.
    pub(crate) name: String,
    pub(crate) arguments: Ordered<Arc<str>>,
}

/// The options of a text like `key="<ip>", max-count=100`, in order.
///
/// # Errors
/// If it has another shape; in words for the operator.
pub fn option_list(text: &str) -> Result<Vec<(String, String)>, String> {
    let call = parse(&format!("@[{text}]"))?;
    Ok(call.arguments.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect())
}

fn is_key(c: char) -> bool {
    is_word(c) || c == '-' || c == '.'
}

fn skip_space(text: &str, from: usize) -> usize {
    let rest = text.get(from..).unwrap_or("");
    from + (rest.len() - rest.trim_start_matches(is_space).len())
}

fn skip_key(text: &str, from: usize) -> usize {
    let rest = text.get(from..).unwrap_or("");
    from + (rest.len() - rest.trim_start_matches(is_key).len())
}

fn char_at(text: &str, at: usize) -> Option<char> {
    text.get(at..)?.chars().next()
}

/// The end of a key at `from`, which an equals sign must follow. A key may
/// carry a condition: `name?family=inet6`.
fn key_end(text: &str, from: usize) -> Option<usize> {
    let plain = skip_key(text, from);
    if plain == from {
        return None;
    }
    match char_at(text, plain)? {
        '=' => Some(plain),
        '?' => {
            let name = skip_key(text, plain + 1);
            if name == plain + 1 || char_at(text, name) != Some('=') {
                return None;
            }
            let value = skip_key(text, name + 1);
            (value > name + 1 && char_at(text, value) == Some('=')).then_some(value)
        }
        _ => None,
    }
}

/// The end of a separator between groups, `]` and `[` with blanks between.
fn group_break(text: &str, at: usize) -> Option<usize> {
    if char_at(text, at) != Some(']') {
        return None;
    }
    let next = skip_space(text, at + 1);
    (char_at(text, next) == Some('[')).then_some(next + 1)
}

/// Takes a call apart.
///
/// # Errors
/// What is wrong with its syntax, as the original says it.
pub(crate) fn parse(text: &str) -> Result<Call, String> {
    let Some(bracket) = text.find('[') else {
        if text.is_empty() {
            return Err("unexpected option syntax".to_owned());
        }
        return Ok(Call { name: text.to_owned(), arguments: Ordered::default() });
    };
    let inner = text.get(bracket + 1..).unwrap_or("").trim_end_matches(is_space).strip_suffix(']');
    let (Some(name), Some(inner)) = (text.get(..bracket).filter(|n| !n.is_empty()), inner) else {
        return Err("unexpected option syntax".to_owned());
    };
    let mut arguments = Ordered::default();
    let mut at = 0;
    while at < inner.len() {
        let start = skip_space(inner, at);
        let Some(end) = key_end(inner, start) else {
            let mut tail = at;
            if char_at(inner, at) == Some(',') {
                tail += 1;
            }
            if skip_space(inner, tail) == inner.len() {
                break;
            }
            let rest = inner.get(at..).unwrap_or("");
            return Err(format!("expected option, wrong syntax at {}: {}", position(inner, at), start_of(rest)));
        };
        let key = inner.get(start..end).unwrap_or("");
        let (value, next) = value(inner, end + 1);
        arguments.put(key, Arc::from(strip(value)));
        at = if next == inner.len() || inner.get(next..) == Some("\n") {
            next
        } else if char_at(inner, next) == Some(',') {
            next + 1
        } else if let Some(next) = group_break(inner, next) {
            next
        } else {
            let rest = inner.get(next..).unwrap_or("");
            let place = position(inner, next);
            return Err(format!("unexpected syntax at {place} after option {}: {}", repr_str(key), start_of(rest)));
        };
    }
    Ok(Call { name: name.to_owned(), arguments })
}

/// The value that begins at `from`, without its quotes, and where it ends.
fn value(text: &str, from: usize) -> (&str, usize) {
    for quote in ['"', '\''] {
        if let Some(inner) = text.get(from..).and_then(|t| t.strip_prefix(quote))
            && let Some(end) = inner.find(quote)
        {
            return (inner.get(..end).unwrap_or(""), from + end + 2);
        }
    }
    let end = bare_end(text, from);
    (text.get(from..end).unwrap_or(""), end)
}

fn bare_end(text: &str, from: usize) -> usize {
    text.get(from..).and_then(|t| t.find([',', ']'])).map_or(text.len(), |n| from + n)
}

fn position(text: &str, at: usize) -> usize {
    text.get(..at).unwrap_or("").chars().count()
}

fn start_of(text: &str) -> String {
    text.chars().take(25).collect()
}

/// Splits a list of calls at white space outside of brackets. Pieces whose
/// brackets do not fit come out word by word. `None` for monstrous texts.
pub(crate) fn split(text: &str) -> Option<Vec<&str>> {
    if text.len() > MAX_CALL {
        return None;
    }
    let mut calls = Vec::new();
    let mut splitter = Splitter { text, failed: HashSet::new(), steps: 0 };
    let mut at = skip_space(text, 0);
    while at < text.len() {
        let name = text.get(at..)?.find(|c| c == '[' || is_space(c)).map_or(text.len(), |n| at + n);
        let bracket = skip_space(text, name);
        let mut end = None;
        if name > at {
            if char_at(text, bracket) == Some('[') {
                end = splitter.items(skip_space(text, bracket + 1));
            }
            if end.is_none() && is_end(text, name) {
                end = Some(name);
            }
        }
        let end = end.unwrap_or_else(|| text.get(at..).and_then(|t| t.find(is_space)).map_or(text.len(), |n| at + n));
        calls.push(text.get(at..end)?);
        at = skip_space(text, end);
    }
    Some(calls)
}

fn is_end(text: &str, at: usize) -> bool {
    char_at(text, at).is_none_or(is_space)
}

/// Finds where the brackets of one call end, trying all readings in the order
/// of the original's regular expression.
struct Splitter<'a> {
    text: &'a str,
    /// Places from which there is no way to the end.
    failed: HashSet<usize>,
    steps: usize,
}

/// Characters looked at, again and again, before all calls are taken to be malformed.
const MAX_STEPS: usize = 10_000_000;

impl Splitter<'_> {
    /// The end of the brackets, read from `start` (an item or the closing bracket).
    fn items(&mut self, start: usize) -> Option<usize> {
        // Depth first with an explicit stack: the places still to be tried, last one first.
        let mut todo = vec![start];
        while let Some(at) = todo.pop() {
            if !self.failed.insert(at) {
                continue;
            }
            self.steps += 1;
            if self.steps > MAX_STEPS {
                return None;
            }
            if char_at(self.text, at) == Some(']') {
                if is_end(self.text, at + 1) {
                    return Some(at + 1);
                }
                continue;
            }
            let mut next = self.after_item(at);
            next.reverse();
            todo.extend(next);
        }
        None
    }

    /// All places at which the reading can go on behind an item at `at`, best first.
    fn after_item(&mut self, at: usize) -> Vec<usize> {
        let Some(key) = key_end(self.text, at) else { return Vec::new() };
        let from = key + 1;
        let mut places = Vec::new();
        for quote in ['"', '\''] {
            if let Some(inner) = self.text.get(from..).and_then(|t| t.strip_prefix(quote))
                && let Some(end) = inner.find(quote)
            {
                self.after_value(from + end + 2, &mut places);
            }
        }
        let end = bare_end(self.text, from);
        self.after_value(end, &mut places);
        // A shorter bare value helps only if a key follows it.
        let bare = self.text.get(from..end).unwrap_or("");
        self.steps += bare.len();
        for (offset, _) in bare.char_indices().rev().filter(|(_, c)| is_key(*c)) {
            if key_end(self.text, from + offset).is_some() {
                places.push(from + offset);
            }
        }
        places
    }

    fn after_value(&self, end: usize, places: &mut Vec<usize>) {
        let at = skip_space(self.text, end);
        if char_at(self.text, at) == Some(',') {
            places.push(skip_space(self.text, at + 1));
        }
        if let Some(next) = group_break(self.text, at) {
            places.push(skip_space(self.text, next));
        }
        places.push(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, name: &str, arguments: &str) {
        let call = parse(text).unwrap();
        let shown: Vec<String> = call.arguments.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!((call.name.as_str(), shown.join("|").as_str()), (name, arguments), "{text}");
    }

    #[test]
    fn calls_are_taken_apart() {
        check("a", "a", "");
        check("a [x=1]", "a ", "x=1");
        check("a[x=1][y=\"2,3]\", z= ' 4 ']\n", "a", "x=1|y=2,3]|z=' 4 '");
        check("a[x='4 ', y=b=c d,]", "a", "x=4|y=b=c d");
        check("a[x?family=inet6=V, x=W]", "a", "x?family=inet6=V|x=W");
        check("a[]", "a", "");
    }

    #[test]
    fn bad_calls_are_refused() {
        let error = |text| parse(text).unwrap_err();
        assert_eq!(error("a[x]"), "expected option, wrong syntax at 0: x");
        assert_eq!(error("a[x=1,,y=2]"), "expected option, wrong syntax at 4: ,y=2");
        assert_eq!(error("a[x=\"1\"y]"), "unexpected syntax at 5 after option 'x': y");
        assert_eq!(error("a[x=1"), "unexpected option syntax");
        assert_eq!(error("[x=1]"), "unexpected option syntax");
    }

    #[test]
    fn lists_of_calls_are_split() {
        let parts = |text| split(text).unwrap().join("|");
        assert_eq!(parts(" a b\nc [x=1, y=\"2 ]\"]\n  [z=3] d"), "a|b|c [x=1, y=\"2 ]\"]\n  [z=3]|d");
        assert_eq!(parts("a[x=1]b c"), "a[x=1]b|c");
        assert_eq!(parts("a[x= 1 c"), "a[x=|1|c");
        assert_eq!(parts("a[x=1 y=\"a,b\"] c"), "a[x=1 y=\"a,b\"]|c");
        assert_eq!(parts("[x=1] y"), "[x=1]|y");
    }
}
