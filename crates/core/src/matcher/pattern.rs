//! One compiled failregex, ignoreregex or prefregex and its groups.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use memchr::memmem::Finder;
use stockade_pattern::{ByteSet, Flags, Hole, LiteralSet, Outcome, Regex, Scratch, Slots, Whole};

use super::data::{LineGroups, Part};
use super::filter::UseDns;
use super::known::Known;
use super::name::Name;
use super::tags;

/// Groups that say who failed, or that a later line of the same session will.
const ID_GROUPS: [Name; 5] = [Name::FID, Name::IP4, Name::IP6, Name::DNS, Name::MLFID];

/// A compiled pattern; immutable.
#[derive(Debug)]
pub(super) struct Pattern {
    /// With its tags expanded.
    pub(super) text: Arc<str>,
    regex: Regex,
    /// Named groups by number.
    names: Box<[(Name, usize)]>,
    /// Groups whose text fills another one that is empty, in the order of their names.
    alternates: Box<[(Name, Name)]>,
    /// Groups whose texts are joined to one value, in the order of their names.
    tuples: Box<[(Name, Name)]>,
    /// The groups of `<SKIPLINES>`, in order.
    skips: Box<[usize]>,
    /// The group of a prefregex that the failregexes see.
    content: Option<usize>,
    /// What a text must begin with to match at all.
    first: Option<ByteSet>,
    /// See [`Pattern::may_match`]; chosen when it is first asked for.
    guard: OnceLock<Option<Finder<'static>>>,
}

/// Shorter literals are not looked for before a pattern is tried.
const GUARD_BYTES_MIN: usize = 8;

/// Why a pattern cannot be used.
pub(super) struct Fault {
    pub(super) message: String,
    /// In characters of the pattern.
    pub(super) position: Option<usize>,
    pub(super) pattern: String,
}

impl Pattern {
    /// Expands the tags of `text` and compiles it, or takes what is known.
    ///
    /// # Errors
    /// It is empty, or no regular expression.
    pub(super) fn compile(text: &str, usedns: UseDns, multiline: bool, known: &Known) -> Result<Self, Fault> {
        let expanded = tags::expand(text, usedns);
        if expanded.trim_start().is_empty() {
            return Err(Fault { message: "Cannot add empty regex".to_owned(), position: None, pattern: expanded });
        }
        let expanded = tags::localise_flags(&expanded);
        let regex = match known.regex(&expanded, Flags { multiline, ..Flags::default() }) {
            Ok(regex) => regex,
            Err(e) => return Err(Fault { message: e.message, position: e.position, pattern: expanded }),
        };
        let mut names: Vec<(Name, usize)> =
            regex.group_names().iter().map(|(name, group)| (Name::of(name), *group)).collect();
        names.sort_by_key(|(_, group)| *group);
        let special = |prefix: &str| -> Box<[(Name, Name)]> {
            let mut found: Vec<(Name, Name)> =
                names.iter().filter_map(|(name, _)| Some((name.clone(), target(name.text(), prefix)?))).collect();
            found.sort();
            found.into()
        };
        let (alternates, tuples) = (special("alt_"), special("tuple_"));
        let number =
            |n: usize| names.iter().find(|(name, _)| *name.text() == *format!("skiplines{n}")).map(|(_, group)| *group);
        let skips = (0..).map_while(number).collect();
        let content = names.iter().find(|(name, _)| *name == Name::CONTENT).map(|(_, group)| *group);
        let first = regex.first_bytes();
        Ok(Pattern {
            text: regex.text(),
            regex,
            names: names.into(),
            alternates,
            tuples,
            skips,
            content,
            first,
            guard: OnceLock::new(),
        })
    }

    /// Has it a group that says who failed?
    pub(super) fn names_somebody(&self) -> bool {
        self.names.iter().any(|(name, _)| ID_GROUPS.contains(name))
    }

    /// Searches the whole of `text`.
    pub(super) fn search(&self, scratch: &mut Scratch, slots: &mut Slots, text: Whole<'_>) -> Outcome {
        self.regex.search_whole(scratch, text, slots)
    }

    /// Sets of literals, of each of which every text that matches holds at least one.
    pub(super) fn required(&self, hole: Hole) -> Vec<LiteralSet> {
        self.regex.required(hole)
    }

    /// What the first characters of a text that matches can be; empty if that is not known.
    pub(super) fn head(&self) -> Vec<ByteSet> {
        self.regex.head()
    }

    /// May it match a text that begins with this byte?
    pub(super) fn may_begin(&self, byte: u8) -> bool {
        self.first.is_none_or(|first| first.has(byte))
    }

    /// Has the text the longest literal that each match holds? Worth asking where several patterns
    /// begin alike, so that most of them fail late.
    pub(super) fn may_match(&self, text: &str) -> bool {
        let guard = self.guard.get_or_init(|| self.choose_guard());
        guard.as_ref().is_none_or(|guard| guard.find(text.as_bytes()).is_some())
    }

    fn choose_guard(&self) -> Option<Finder<'static>> {
        let begin = self.text.strip_prefix('^').unwrap_or(&self.text).as_bytes();
        let only = |set: LiteralSet| match <[Vec<u8>; 1]>::try_from(set.literals) {
            Ok([literal]) if !set.ignorecase => Some(literal),
            _ => None,
        };
        // What stands at the begin is looked at first anyway.
        let late = |literal: &Vec<u8>| literal.len() >= GUARD_BYTES_MIN && !begin.starts_with(literal);
        let longest = self.required(Hole::None).into_iter().filter_map(only).filter(late).max_by_key(Vec::len)?;
        Some(Finder::new(&longest).into_owned())
    }

    /// What takes the place of the text for the failregexes, if it is not empty.
    ///
    /// A group `alt_content` or `tuple_content` is not followed there.
    pub(super) fn content(&self, slots: &Slots) -> Option<Range<usize>> {
        slots.get(self.content?).filter(|at| !at.is_empty())
    }

    /// Adds the texts of all named groups of a match, alternates and tuples
    /// applied, to those that are there; `content` is left out if so asked.
    pub(super) fn add_groups<'a>(
        &'a self,
        slots: &Slots,
        text: &'a str,
        without_content: bool,
        to: &mut LineGroups<'a>,
    ) {
        if self.alternates.is_empty() && self.tuples.is_empty() {
            self.add_plain(slots, text, without_content, to);
            return;
        }
        let mut own = LineGroups::default();
        self.add_plain(slots, text, false, &mut own);
        for (from, to) in &self.alternates {
            let filled = own.part(to).is_some_and(|value| value.is_true());
            if let (false, Some(value)) = (filled, own.part(from).filter(Part::is_true)) {
                own.set(to, value);
            }
        }
        for (from, to) in &self.tuples {
            let part = own.part(from).map(|value| value.shown());
            let joined = match own.take(to) {
                Some(Part::Tuple(mut parts)) => {
                    parts.push(part);
                    parts
                }
                other => vec![other.as_ref().map(Part::shown), part],
            };
            own.set(to, Part::Tuple(joined));
        }
        if without_content {
            own.take(&Name::CONTENT);
        }
        to.overwrite(own);
    }

    fn add_plain<'a>(&'a self, slots: &Slots, text: &'a str, without_content: bool, to: &mut LineGroups<'a>) {
        for (name, group) in &self.names {
            if without_content && self.content == Some(*group) {
                continue;
            }
            let Some(at) = slots.get(*group) else { continue };
            let Some(value) = text.get(at) else { continue };
            match name {
                Name::Known(place) => to.set_known(*place, value),
                Name::Own(_) => to.set(name, Part::Text(value)),
            }
        }
    }

    /// Where the groups of `<SKIPLINES>` that took part lie.
    pub(super) fn skipped<'a>(&'a self, slots: &'a Slots) -> impl Iterator<Item = Range<usize>> + 'a {
        self.skips.iter().filter_map(|group| slots.get(*group))
    }
}

/// The group that `alt_NAME`, `alt_NAME_1` and so on fill: NAME.
fn target(name: &str, prefix: &str) -> Option<Name> {
    let rest = name.strip_prefix(prefix)?;
    if name.len() <= 4 {
        return None;
    }
    let base = match rest.rsplit_once('_') {
        Some((base, number)) if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => base,
        _ => rest,
    };
    Some(Name::of(&tags::group_name(base)))
}
