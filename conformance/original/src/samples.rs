//! The annotations in its sample logs.

use std::collections::BTreeMap;

use serde_json::Value;

/// Named options of a filter call.
pub type Options = BTreeMap<String, Value>;

/// `# failJSON: {..}` and its like: the word and what follows it.
#[must_use]
pub fn annotation(line: &str) -> Option<(&str, &str)> {
    let rest = line.strip_prefix('#')?.trim_start_matches('#');
    let (kind, json) = rest.strip_prefix(' ').unwrap_or(rest).split_once(':')?;
    ["failJSON", "fileOptions", "filterOptions", "addFILE"].contains(&kind).then_some((kind, json))
}

/// Evaluates the three forms of conditions that those logs have, for the filter of that name.
#[must_use]
pub fn holds(condition: &str, name: &str, options: &Options) -> bool {
    let words: String = condition.chars().filter(|c| !c.is_whitespace()).collect();
    let mode = options.get("mode").and_then(Value::as_str);
    if let Some(wanted) = words.strip_prefix("name==") {
        return wanted.trim_matches('\'') == name;
    }
    if let Some(wanted) = words.strip_prefix("opts.get('mode')==") {
        return mode == Some(wanted.trim_matches('\''));
    }
    if let Some(wanted) = words.strip_prefix("opts.get('mode')!=") {
        return mode != Some(wanted.trim_matches('\''));
    }
    panic!("unknown condition {condition}")
}
