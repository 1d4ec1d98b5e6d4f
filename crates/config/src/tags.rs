//! `<tag>`: values of a filter or action that mention other values.
//!
//! Source: fail2ban `helpers.py`, `substituteRecursiveTags`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use stockade_core::text::find_tag;

use crate::budget::Budget;
use crate::diagnostic::Problem;
use crate::ini::{Cell, Entry};
use crate::ordered::Ordered;

/// A tag may be replaced this often within one value.
const MAX_REPLACEMENTS: u32 = 25;

/// Replaces the tags in all values of `table` by other values of it, or by
/// what `lookup` knows. Tags that nobody knows stay, and so do those in
/// `ignore`.
///
/// # Errors
/// A value that meets itself, or a tag that comes again and again.
pub(crate) fn substitute(
    table: &Ordered<Entry>,
    ignore: &HashSet<String>,
    budget: &Budget,
    mut lookup: impl FnMut(&str) -> Result<Option<Arc<str>>, Problem>,
) -> Result<Ordered<Entry>, Problem> {
    let mut out = table.clone();
    let keys: Vec<Arc<str>> = table.keys().cloned().collect();
    let mut done: HashSet<Arc<str>> = HashSet::new();
    let mut counts: HashMap<Arc<str>, HashMap<String, u32>> = HashMap::new();
    loop {
        let mut again = false;
        for key in &keys {
            if ignore.contains(&**key) || done.contains(key) {
                continue;
            }
            let Some(entry) = out.get(key) else { continue };
            // A missing value reads as "None" here, and so has no tags.
            let Some(original) = entry.value.to_text() else { continue };
            if !original.contains('<') {
                done.insert(Arc::clone(key));
                continue;
            }
            let origin = Arc::clone(&entry.origin);
            let spot = || origin.spot(&original, original.find('<').unwrap_or(0));
            let mut seen = counts.get(key).cloned().unwrap_or_default();
            let mut value = original.to_string();
            let mut from = 0;
            while let Some((start, tag, end)) = find_tag(&value, from) {
                if ignore.contains(tag) {
                    from = end;
                    continue;
                }
                if tag == &**key || seen.get(tag).copied().unwrap_or(1) > MAX_REPLACEMENTS {
                    let problem = Problem::new(format!("option '{key}' mentions itself through <{tag}>"));
                    return Err(problem.at(spot()).help("use %(known/NAME)s for the value before this file's"));
                }
                let replacement = match out.get(tag).and_then(|e| e.value.to_text()) {
                    Some(text) => Some(text),
                    None => lookup(tag)?,
                };
                let Some(replacement) = replacement else {
                    from = end;
                    continue;
                };
                let tag = tag.to_owned();
                value = value.replace(&format!("<{tag}>"), &replacement);
                budget.spend(value.len()).map_err(|p| p.at(spot()))?;
                budget.check_length(value.len()).map_err(|p| p.at(spot()))?;
                *seen.entry(tag).or_insert(0) += 1;
                from = start;
                while !value.is_char_boundary(from) {
                    from += 1;
                }
            }
            let finished = !value.contains('<');
            if value != *original {
                if find_tag(&value, 0).is_some() {
                    counts.insert(Arc::clone(key), seen);
                    again = true;
                }
                out.insert(key, Entry { value: Cell::Text(value.into()), origin });
            }
            if finished {
                done.insert(Arc::clone(key));
            }
        }
        if !again {
            return Ok(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_have_no_blanks_and_no_brackets_inside() {
        let names = |text: &str| {
            let mut names = Vec::new();
            let mut from = 0;
            while let Some((_, name, end)) = find_tag(text, from) {
                names.push(name.to_owned());
                from = end;
            }
            names.join("|")
        };
        assert_eq!(names("a <b> <c d> <e<f>> <> <g"), "b|f");
        assert_eq!(names("x << y <z>\n<a\nb>"), "z|a\nb");
    }
}
