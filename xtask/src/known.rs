//! The list of known differences from the original and the marks in the code name each other.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::steps;

/// The list, from the top of the repository.
const LIST: &str = "conformance/known-differences.json";

/// How the code marks a difference; an id in brackets follows.
const MARK: &str = concat!("DIVER", "GENCE");

/// One entry: its id and the files where it stands or is met.
type Entry = (String, Vec<String>);

/// What is wrong with the list or the marks, given all tracked files.
///
/// # Errors
/// When the list cannot be read.
pub(crate) fn check(names: &[&str]) -> Result<Vec<String>> {
    let top = steps::top();
    let list: Value = serde_json::from_str(&steps::read(&top.join(LIST))?).context(LIST)?;
    let entries: Vec<Entry> = list.as_array().context(LIST)?.iter().map(entry).collect();
    let mut wrong = Vec::new();
    let mut ids = BTreeSet::new();
    for (id, _) in &entries {
        if !ids.insert(id.as_str()) {
            wrong.push(format!("{LIST}: \"{id}\" stands twice"));
        }
    }
    let mut texts = Vec::new();
    for name in names.iter().filter(|name| name.ends_with(".rs") && !name.starts_with("xtask/")) {
        let text = steps::read(&top.join(name)).unwrap_or_default();
        wrong.extend(marks(name, &text, &ids));
        texts.push((*name, text));
    }
    wrong.extend(entries.iter().flat_map(|entry| places(entry, &texts)));
    Ok(wrong)
}

fn entry(value: &Value) -> Entry {
    let places = value.get("where").and_then(Value::as_array).into_iter().flatten();
    let places = places.filter_map(|place| place.as_str().map(str::to_owned)).collect();
    (value.get("id").and_then(Value::as_str).unwrap_or_default().to_owned(), places)
}

/// Marks in a source file that name no entry.
fn marks(name: &str, text: &str, ids: &BTreeSet<&str>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let Some((_, rest)) = line.split_once(MARK) else { continue };
        // The word itself in a sentence about marks.
        if rest.starts_with('`') || rest.starts_with(" (id)") {
            continue;
        }
        let id = id_of(rest);
        match id {
            Some(id) if ids.contains(id) => {}
            Some(id) => wrong.push(format!("{name}:{number}: \"{id}\" is not in {LIST}")),
            None => wrong.push(format!("{name}:{number}: {MARK} without the id of its entry in {LIST}")),
        }
    }
    wrong
}

/// The id behind a mark: `MARK (id)` or `MARK: id.`
fn id_of(rest: &str) -> Option<&str> {
    if let Some(inside) = rest.strip_prefix(" (") {
        return inside.split_once(')').map(|(id, _)| id);
    }
    let word = rest.strip_prefix(": ")?.split_once('.')?.0;
    word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-').then_some(word)
}

/// Places of an entry that do not know of it: a source has to hold the mark, a test the id, or to read the list.
fn places((id, places): &Entry, texts: &[(&str, String)]) -> Vec<String> {
    let mut wrong = Vec::new();
    for place in places {
        let text = texts.iter().find(|(name, _)| name == place).map(|(_, text)| text.as_str());
        let known = match text {
            None => false,
            Some(text) if place.contains("/tests/") => text.contains(id.as_str()) || text.contains("finish(file!())"),
            Some(text) => {
                text.match_indices(MARK).any(|(at, _)| text.get(at + MARK.len()..).and_then(id_of) == Some(id))
            }
        };
        if !known {
            wrong.push(format!("{LIST}: {id}: {place} is not there, or does not know of it"));
        }
    }
    if places.is_empty() {
        wrong.push(format!("{LIST}: {id} says not where"));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_and_its_entry_name_each_other() {
        let ids = BTreeSet::from(["a-b"]);
        let line = |rest: &str| format!("/// {MARK}{rest}\n");
        assert!(marks("x.rs", &line(" (a-b): so"), &ids).is_empty());
        assert_eq!(marks("x.rs", &line(" (c): so"), &ids).len(), 1);
        assert_eq!(marks("x.rs", &line(": so"), &ids).len(), 1);
        assert!(marks("x.rs", &line(": a-b. So"), &ids).is_empty());
        let texts = [("crates/x/src/y.rs", line(" (a-b): so")), ("crates/x/tests/z.rs", "finish(file!())".to_owned())];
        let found = |place: &str| places(&("a-b".to_owned(), vec![place.to_owned()]), &texts).len();
        assert_eq!((found("crates/x/src/y.rs"), found("crates/x/tests/z.rs"), found("crates/x/src/q.rs")), (0, 0, 1));
    }
}
