//! Replaces what is known before a ban.
//!
//! Source: fail2ban `server/action.py`, `replaceTag`, and `helpers.py`,
//! `substituteRecursiveTags`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use stockade_core::text::find_tag;

use super::{ActionSpec, COMMANDS, tags};

/// A tag may be replaced this often within one value.
const MAX_REPLACEMENTS: u32 = 25;

/// No expanded text is longer; the kernel takes no longer argument anyway.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// How much text one expansion may write.
const WORK_BYTES_MAX: usize = 64 << 20;

/// The time that a command has if the action doesn't say.
pub(super) const TIMEOUT_SECS: f64 = 60.0;

/// Values that come from logs: never replaced within other properties, and
/// escaped where a property has such a name.
const ESCAPED: [&str; 3] = ["matches", "ipmatches", "ipjailmatches"];

/// Why an action's texts can't be expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpandError {
    /// Of which property.
    pub property: String,
    /// What is wrong with it, in words.
    pub why: String,
}

impl fmt::Display for ExpandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.property, self.why)
    }
}

impl std::error::Error for ExpandError {}

/// The text of `property` for `family`, with all that is known before a ban
/// replaced: other properties (`x?family=F` before `x`, recursively), `<br>`
/// and `<sp>`. All other tags stay as written. Empty for a command that is not set.
///
/// # Errors
/// If any property mentions itself, directly or through others, or grows without end.
pub fn expand(spec: &ActionSpec, property: &str, family: Option<&str>) -> Result<String, ExpandError> {
    Expansion::new(spec, family)?.text(property)
}

/// All properties of an action as one family sees them.
#[derive(Clone, Debug)]
pub struct Expansion {
    values: BTreeMap<String, String>,
    family: Option<String>,
}

impl Expansion {
    /// Replaces the properties' tags by each other. `None` and the empty
    /// family see the plain values only.
    ///
    /// # Errors
    /// As [`expand`].
    pub fn new(spec: &ActionSpec, family: Option<&str>) -> Result<Expansion, ExpandError> {
        let mut values: BTreeMap<String, String> =
            COMMANDS.iter().map(|name| ((*name).to_owned(), String::new())).collect();
        for (name, value) in &spec.properties {
            if !name.starts_with('_') && name != "bantime" {
                values.insert(name.clone(), value.clone());
            }
        }
        values.insert("timeout".to_owned(), spec.timeout_secs().to_string());
        let family = family.filter(|family| !family.is_empty()).map(str::to_owned);
        let mut expansion = Expansion { values, family };
        expansion.substitute()?;
        Ok(expansion)
    }

    /// The text of a property, complete but for the tags of the ban. Empty if
    /// there is no such property.
    ///
    /// # Errors
    /// If it mentions itself or grows without end.
    pub fn text(&self, property: &str) -> Result<String, ExpandError> {
        let fail = |why: &str| ExpandError { property: property.to_owned(), why: why.to_owned() };
        let Some(value) = self.get(property) else { return Ok(String::new()) };
        let mut text = value.to_owned();
        for _ in 0..=MAX_REPLACEMENTS {
            if !text.contains('<') {
                return Ok(text);
            }
            let next = tags::replace(&text, |tag| {
                Some(match self.get(tag) {
                    Some(value) if ESCAPED.contains(&tag) => escaped(value),
                    Some(value) => value.to_owned(),
                    None => match tag {
                        "br" => "\n".to_owned(),
                        "sp" => " ".to_owned(),
                        _ => return None,
                    },
                })
            });
            if next == text {
                return Ok(text);
            }
            if next.len() > TEXT_BYTES_MAX {
                return Err(fail("the text grows beyond 1 MiB"));
            }
            text = next;
        }
        Err(fail("the text mentions itself"))
    }

    /// What a tag stands for.
    fn get(&self, tag: &str) -> Option<&str> {
        let conditional = self.family.as_deref().and_then(|family| self.values.get(&format!("{tag}?family={family}")));
        conditional.or_else(|| self.values.get(tag)).map(String::as_str)
    }

    fn substitute(&mut self) -> Result<(), ExpandError> {
        let names: Vec<String> = self.values.keys().cloned().collect();
        let mut done: HashSet<&str> = HashSet::new();
        let mut counts: HashMap<&str, HashMap<String, u32>> = HashMap::new();
        let mut work = 0;
        loop {
            let mut again = false;
            for name in &names {
                if ESCAPED.contains(&name.as_str()) || done.contains(name.as_str()) {
                    continue;
                }
                let fail = |why: String| ExpandError { property: name.clone(), why };
                let mut value = self.values.get(name).cloned().unwrap_or_default();
                let before = value.clone();
                let mut seen = counts.get(name.as_str()).cloned().unwrap_or_default();
                let mut from = 0;
                while let Some((start, tag, end)) = find_tag(&value, from) {
                    if ESCAPED.contains(&tag) {
                        from = end;
                        continue;
                    }
                    if tag == name || seen.get(tag).copied().unwrap_or(1) > MAX_REPLACEMENTS {
                        return Err(fail(format!("it mentions itself through <{tag}>")));
                    }
                    let Some(replacement) = self.get(tag) else {
                        from = end;
                        continue;
                    };
                    let tag = tag.to_owned();
                    value = value.replace(&format!("<{tag}>"), replacement);
                    work += value.len();
                    if value.len() > TEXT_BYTES_MAX || work > WORK_BYTES_MAX {
                        return Err(fail("its text grows beyond 1 MiB".to_owned()));
                    }
                    *seen.entry(tag).or_insert(0) += 1;
                    from = start;
                }
                if !value.contains('<') {
                    done.insert(name);
                }
                if value != before {
                    if find_tag(&value, 0).is_some() {
                        counts.insert(name, seen);
                        again = true;
                    }
                    self.values.insert(name.clone(), value);
                }
            }
            if !again {
                return Ok(());
            }
        }
    }
}

/// A value with what a shell could take for its own behind a backslash.
///
/// Source: fail2ban `server/action.py`, `escapeTag`.
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            c if super::is_special(c) => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(properties: &[(&str, &str)]) -> ActionSpec {
        let properties = properties.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        ActionSpec { jail: "j".into(), name: "a".into(), properties, python: None }
    }

    #[test]
    fn values_of_the_family_go_before_plain_ones() {
        let spec = spec(&[
            ("actionban", "<tool> -s <ip> <set<n>><br><sp>x"),
            ("tool", "<base> -w"),
            ("base", "four"),
            ("base?family=inet6", "six"),
            ("n", "1"),
            ("set1", "one"),
        ]);
        assert_eq!(expand(&spec, "actionban", Some("inet4")).unwrap(), "four -w -s <ip> one\n x");
        assert_eq!(expand(&spec, "actionban", Some("inet6")).unwrap(), "six -w -s <ip> one\n x");
        assert_eq!(expand(&spec, "actionban", None).unwrap(), "four -w -s <ip> one\n x");
        assert_eq!(expand(&spec, "actionstop", None).unwrap(), "");
        assert_eq!(expand(&spec, "actionprolong", None).unwrap(), "");
    }

    #[test]
    fn matches_as_a_property_are_escaped_and_never_spread() {
        let spec = spec(&[("actionban", "echo <x> <matches>"), ("x", "<matches>"), ("matches", "a;b\nc")]);
        assert_eq!(expand(&spec, "actionban", None).unwrap(), "echo a\\;b\\nc a\\;b\\nc");
    }

    #[test]
    fn a_text_that_mentions_itself_is_an_error() {
        assert!(expand(&spec(&[("a", "<b>"), ("b", "<a>")]), "actionban", None).is_err());
        let bomb: Vec<(String, String)> = (0..30)
            .map(|n| (format!("x{n}"), format!("<x{}>", n + 1).repeat(8)))
            .chain([("x30".into(), "y".into())])
            .collect();
        let refusal = expand(&ActionSpec { properties: bomb, ..ActionSpec::default() }, "x0", None).unwrap_err();
        assert_eq!(refusal.why, "its text grows beyond 1 MiB");
    }
}
