//! What a hit, or a session of several hits, knows about a failure.

use std::borrow::Cow;

use super::name::Name;
use crate::failure::{Groups, Packer};
use crate::id::FailureId;
use crate::text::repr;

/// Longest match text that is kept of one line; the rest of the line is left out.
pub(super) const MATCH_BYTES_MAX: usize = 16 * 1024;
/// Most match texts kept for one failure or session; the oldest go first.
pub(super) const MATCHES_MAX: usize = 256;
/// Most bytes of match texts kept for one failure or session; the oldest go first, the last one stays.
pub(super) const MATCHES_BYTES_MAX: usize = 64 * 1024;
/// Most users remembered of one session.
pub(super) const USERS_MAX: usize = 256;

/// The value of a group of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// One text.
    Text(&'a str),
    /// Several joined by `tuple_` groups; unset parts are kept.
    Tuple(Vec<Option<Cow<'a, str>>>),
}

impl<'a> Part<'a> {
    /// Python's idea of truth: a text that is not empty.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Part::Text(text) => !text.is_empty(),
            Part::Tuple(_) => true,
        }
    }

    /// Its length in bytes, roughly.
    pub(super) fn len(&self) -> usize {
        match self {
            Part::Text(text) => text.len(),
            Part::Tuple(parts) => parts.iter().flatten().map(|p| p.len()).sum(),
        }
    }

    /// As one text; a tuple as Python shows it, which is what the original bans then.
    pub(super) fn shown(&self) -> Cow<'a, str> {
        match self {
            Part::Text(text) => Cow::Borrowed(text),
            Part::Tuple(parts) => Cow::Owned(shown(parts.iter().map(Option::as_deref))),
        }
    }
}

/// A tuple as Python shows it.
fn shown<'a>(parts: impl Iterator<Item = Option<&'a str>>) -> String {
    let parts: Vec<String> = parts.map(|part| part.map_or_else(|| "None".to_owned(), repr)).collect();
    format!("({})", parts.join(", "))
}

/// The groups of one line, which lie in its text; each name once.
#[derive(Clone, Debug, Default)]
pub(super) struct LineGroups<'a>(pub(super) Vec<(&'a Name, Part<'a>)>);

impl<'a> LineGroups<'a> {
    /// The value of a group, if it is set.
    pub(super) fn part(&self, name: &Name) -> Option<&Part<'a>> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// Sets a group.
    pub(super) fn set(&mut self, name: &'a Name, value: Part<'a>) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }

    /// Removes a group; its value, if it was set.
    pub(super) fn take(&mut self, name: &Name) -> Option<Part<'a>> {
        let at = self.0.iter().position(|(known, _)| *known == name)?;
        Some(self.0.swap_remove(at).1)
    }
}

/// Where groups are looked up, of a line or of a session.
pub(super) trait Known {
    /// The value of a group as one text, if it is set.
    fn text(&self, name: &Name) -> Option<Cow<'_, str>>;
    /// Is a group set to something?
    fn is_true(&self, name: &Name) -> bool;
    /// Adds each group to a pack, sorted by name; those that say who failed only if so asked.
    fn pack(&mut self, to: &mut Packer, ids: bool) -> Groups;
}

impl Known for LineGroups<'_> {
    fn text(&self, name: &Name) -> Option<Cow<'_, str>> {
        self.part(name).map(Part::shown)
    }

    fn is_true(&self, name: &Name) -> bool {
        self.part(name).is_some_and(Part::is_true)
    }

    fn pack(&mut self, to: &mut Packer, ids: bool) -> Groups {
        self.0.sort_unstable_by_key(|(name, _)| *name);
        for (name, value) in self.0.iter().filter(|(name, _)| ids || !name.is_id()) {
            to.text(name.text(), &value.shown());
        }
        to.finish()
    }
}

/// The value of a group of a session.
#[derive(Clone, Debug)]
enum Value {
    /// From here to there in the session's text.
    Text(u32, u32),
    /// Several joined by `tuple_` groups; unset parts are kept.
    Tuple(Vec<Option<Box<str>>>),
}

/// The groups of a session, sorted by name; each name once.
#[derive(Clone, Debug, Default)]
struct Kept {
    list: Vec<(Name, Value)>,
    /// The texts of all groups, and of some that are gone.
    text: String,
}

/// Texts that are gone may take as much room as those that are there, and this.
const GONE_BYTES_MAX: usize = 512;

impl Kept {
    fn place(&self, name: &Name) -> Result<usize, usize> {
        self.list.binary_search_by(|(known, _)| known.cmp(name))
    }

    fn at(&self, place: usize) -> Option<Part<'_>> {
        self.list.get(place).map(|(_, value)| self.part(value))
    }

    fn part<'s>(&'s self, value: &'s Value) -> Part<'s> {
        match value {
            Value::Text(from, to) => Part::Text(self.text.get(*from as usize..*to as usize).unwrap_or("")),
            Value::Tuple(parts) => Part::Tuple(parts.iter().map(|part| part.as_deref().map(Cow::Borrowed)).collect()),
        }
    }

    fn set(&mut self, name: &Name, value: &Part<'_>) {
        let value = match value {
            Part::Text(text) => {
                self.tidy(text.len());
                let from = self.text.len();
                self.text.push_str(text);
                let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
                Value::Text(place(from), place(self.text.len()))
            }
            Part::Tuple(parts) => Value::Tuple(parts.iter().map(|part| part.as_deref().map(Box::from)).collect()),
        };
        match self.place(name) {
            Ok(at) => {
                if let Some((_, old)) = self.list.get_mut(at) {
                    *old = value;
                }
            }
            Err(at) => self.list.insert(at, (name.clone(), value)),
        }
    }

    /// Forgets texts that are gone, if they are many.
    fn tidy(&mut self, more: usize) {
        if self.text.len() + more <= 2 * GONE_BYTES_MAX {
            return;
        }
        let length = |value: &Value| if let Value::Text(from, to) = value { (to - from) as usize } else { 0 };
        let living: usize = self.list.iter().map(|(_, value)| length(value)).sum();
        if self.text.len() <= 2 * living + GONE_BYTES_MAX {
            return;
        }
        let mut text = String::with_capacity(living + more);
        for (_, value) in &mut self.list {
            if let Value::Text(from, to) = value {
                let begin = text.len();
                text.push_str(self.text.get(*from as usize..*to as usize).unwrap_or(""));
                *from = u32::try_from(begin).unwrap_or(u32::MAX);
                *to = u32::try_from(text.len()).unwrap_or(u32::MAX);
            }
        }
        self.text = text;
    }
}

/// What is remembered of the lines of a session.
#[derive(Clone, Debug, Default)]
pub(super) struct Data {
    groups: Kept,
    /// All users seen in the session, sorted.
    pub(super) users: Vec<Box<str>>,
    /// Lines that make up the failure, oldest first.
    pub(super) matches: Vec<Box<str>>,
    /// Lines that are no failure yet, but will belong to the next one.
    pub(super) nofail_matches: Vec<Box<str>>,
    /// A failure whose address is not known yet.
    pub(super) pending: bool,
    /// The address, where the id is something else.
    pub(super) ip: Option<FailureId>,
}

impl Data {
    /// All groups that are set, sorted by name.
    pub(super) fn groups(&self) -> impl ExactSizeIterator<Item = (&Name, Part<'_>)> {
        self.groups.list.iter().map(|(name, value)| (name, self.groups.part(value)))
    }

    /// Sets a group.
    pub(super) fn set(&mut self, name: &Name, value: &Part<'_>) {
        self.groups.set(name, value);
    }

    /// Removes a group; whether it was set to something.
    pub(super) fn take(&mut self, name: &Name) -> bool {
        let Ok(at) = self.groups.place(name) else { return false };
        let truth = self.groups.at(at).is_some_and(|part| part.is_true());
        self.groups.list.remove(at);
        truth
    }

    /// Takes over all groups of a line.
    pub(super) fn overwrite(&mut self, line: &LineGroups<'_>) {
        if self.groups.list.is_empty() {
            self.groups.list.reserve(line.0.len() + 2);
            self.groups.text.reserve(line.0.iter().map(|(_, value)| value.len()).sum());
        }
        for (name, value) in &line.0 {
            self.groups.set(name, value);
        }
    }

    /// Notes the user of this hit.
    pub(super) fn add_user(&mut self, user: Option<&Part<'_>>) {
        if let Some(user) = user.filter(|user| user.is_true())
            && self.users.len() < USERS_MAX
        {
            let user = user.shown();
            if let Err(at) = self.users.binary_search_by(|known| (**known).cmp(&*user)) {
                self.users.insert(at, user.into());
            }
        }
    }
}

impl Known for Data {
    fn text(&self, name: &Name) -> Option<Cow<'_, str>> {
        self.groups.at(self.groups.place(name).ok()?).map(|part| part.shown())
    }

    fn is_true(&self, name: &Name) -> bool {
        self.groups.place(name).is_ok_and(|at| self.groups.at(at).is_some_and(|part| part.is_true()))
    }

    fn pack(&mut self, to: &mut Packer, ids: bool) -> Groups {
        let mut users = (!self.users.is_empty()).then_some(&self.users);
        let mut list = |to: &mut Packer| {
            if let Some(users) = users.take() {
                to.list(Name::USERS, users.iter().map(|user| &**user));
            }
        };
        for (name, value) in self.groups.list.iter().filter(|(name, _)| ids || !name.is_id()) {
            if name.text() > Name::USERS {
                list(to);
            }
            to.text(name.text(), &self.groups.part(value).shown());
        }
        list(to);
        to.finish()
    }
}

/// Drops the oldest texts above [`MATCHES_MAX`] and [`MATCHES_BYTES_MAX`].
pub(super) fn bound(matches: &mut Vec<Box<str>>) {
    let mut bytes = 0;
    let fits = |len: &usize| {
        bytes += len;
        bytes <= MATCHES_BYTES_MAX
    };
    let lengths = matches.iter().rev().map(|text| text.len());
    let keep = lengths.take(MATCHES_MAX).take_while(fits).count().max(1);
    if let Some(over) = matches.len().checked_sub(keep) {
        matches.drain(..over);
    }
}


#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_matches_are_kept() {
        let mut many: Vec<Box<str>> = (0..300).map(|n| n.to_string().into()).collect();
        bound(&mut many);
        assert_eq!((many.len(), &*many[0]), (MATCHES_MAX, "44"));
        let mut large: Vec<Box<str>> = (0..9).map(|_| "x".repeat(MATCH_BYTES_MAX).into()).collect();
        bound(&mut large);
        assert_eq!(large.len(), MATCHES_BYTES_MAX / MATCH_BYTES_MAX);
        let mut none = Vec::new();
        bound(&mut none);
        assert!(none.is_empty());
    }

    #[test]
    fn a_session_forgets_the_texts_it_replaced() {
        let mut data = Data::default();
        let (user, own) = (Name::of("user"), Name::of("zzz"));
        data.set(&own, &Part::Text("stays"));
        for n in 0..10_000 {
            data.set(&user, &Part::Text(&format!("user number {n}")));
        }
        assert!(data.groups.text.len() <= 2 * GONE_BYTES_MAX, "{}", data.groups.text.len());
        assert_eq!(data.text(&user).as_deref(), Some("user number 9999"));
        assert_eq!(data.text(&own).as_deref(), Some("stays"));
        assert!(data.take(&user) && !data.take(&user) && data.is_true(&own));
    }
}
