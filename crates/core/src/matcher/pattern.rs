//! One compiled failregex, ignoreregex or prefregex and its groups.

use std::ops::Range;
use std::sync::Arc;

use stockade_pattern::{Flags, Outcome, Regex, Scratch, Slots};

use super::data::{Data, Value};
use super::filter::UseDns;
use super::tags;

/// Groups that say who failed, or that a later line of the same session will.
const ID_GROUPS: [&str; 5] = ["fid", "ip4", "ip6", "dns", "mlfid"];

/// A compiled pattern; immutable.
#[derive(Debug)]
pub(super) struct Pattern {
    /// With its tags expanded.
    pub(super) text: Box<str>,
    regex: Regex,
    /// Named groups by number.
    names: Box<[(Arc<str>, usize)]>,
    /// Groups whose text fills another one that is empty, in the order of their names.
    alternates: Box<[(Arc<str>, Arc<str>)]>,
    /// Groups whose texts are joined to one value, in the order of their names.
    tuples: Box<[(Arc<str>, Arc<str>)]>,
    /// The groups of `<SKIPLINES>`, in order.
    skips: Box<[usize]>,
}

/// Why a pattern cannot be used.
pub(super) struct Fault {
    pub(super) message: String,
    /// In characters of the pattern.
    pub(super) position: Option<usize>,
    pub(super) pattern: String,
}

impl Pattern {
    /// Expands the tags of `text` and compiles it.
    ///
    /// # Errors
    /// It is empty, or no regular expression.
    pub(super) fn compile(text: &str, usedns: UseDns, multiline: bool) -> Result<Self, Fault> {
        let expanded = tags::expand(text, usedns);
        if expanded.trim_start().is_empty() {
            return Err(Fault { message: "Cannot add empty regex".to_owned(), position: None, pattern: expanded });
        }
        let expanded = tags::localise_flags(&expanded);
        let regex = match Regex::new(&expanded, Flags { multiline, ..Flags::default() }) {
            Ok(regex) => regex,
            Err(e) => return Err(Fault { message: e.message, position: e.position, pattern: expanded }),
        };
        let mut names: Vec<(Arc<str>, usize)> = regex.group_names().to_vec();
        names.sort_by_key(|(_, group)| *group);
        let special = |prefix: &str| -> Box<[(Arc<str>, Arc<str>)]> {
            let mut found: Vec<(Arc<str>, Arc<str>)> =
                names.iter().filter_map(|(name, _)| Some((Arc::clone(name), target(name, prefix)?))).collect();
            found.sort();
            found.into()
        };
        let (alternates, tuples) = (special("alt_"), special("tuple_"));
        let number =
            |n: usize| names.iter().find(|(name, _)| **name == *format!("skiplines{n}")).map(|(_, group)| *group);
        let skips = (0..).map_while(number).collect();
        Ok(Pattern { text: expanded.into(), regex, names: names.into(), alternates, tuples, skips })
    }

    /// Has it a group that says who failed?
    pub(super) fn names_somebody(&self) -> bool {
        self.names.iter().any(|(name, _)| ID_GROUPS.contains(&&**name))
    }

    /// Searches the whole of `text`.
    pub(super) fn search(&self, scratch: &mut Scratch, slots: &mut Slots, text: &str) -> Outcome {
        self.regex.search(scratch, text, 0..text.len(), slots)
    }

    /// The texts of all named groups of a match, alternates and tuples applied.
    pub(super) fn groups(&self, slots: &Slots, text: &str) -> Data {
        let mut data = Data::default();
        for (name, group) in &self.names {
            let value = slots.get(*group).and_then(|at| text.get(at)).map(|t| Value::Text(t.into()));
            data.groups.push((Arc::clone(name), value));
        }
        for (from, to) in &self.alternates {
            let filled = data.get(to).is_some_and(Value::is_true);
            if let (false, Some(value)) = (filled, data.get(from).filter(|v| v.is_true()).cloned()) {
                data.set(to, Some(value));
            }
        }
        for (from, to) in &self.tuples {
            let part = data.get(from).map(Value::text);
            let joined = match data.take(to) {
                Some(Value::Tuple(mut parts)) => {
                    parts.push(part);
                    parts
                }
                other => vec![other.as_ref().map(Value::text), part],
            };
            data.set(to, Some(Value::Tuple(joined)));
        }
        data
    }

    /// Where the groups of `<SKIPLINES>` that took part lie.
    pub(super) fn skipped<'a>(&'a self, slots: &'a Slots) -> impl Iterator<Item = Range<usize>> + 'a {
        self.skips.iter().filter_map(|group| slots.get(*group))
    }
}

/// The group that `alt_NAME`, `alt_NAME_1` and so on fill: NAME.
fn target(name: &str, prefix: &str) -> Option<Arc<str>> {
    let rest = name.strip_prefix(prefix)?;
    if name.len() <= 4 {
        return None;
    }
    let base = match rest.rsplit_once('_') {
        Some((base, number)) if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => base,
        _ => rest,
    };
    Some(tags::group_name(base).into())
}
