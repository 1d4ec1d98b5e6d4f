//! What a hit, or a session of several hits, knows about a failure.

use std::borrow::Cow;

use super::name::{NAMES, Name};
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
pub(super) struct LineGroups<'a> {
    /// Texts of known names, by their places.
    known: [Option<&'a str>; NAMES],
    /// All others.
    others: Vec<(&'a Name, Part<'a>)>,
}

impl<'a> LineGroups<'a> {
    /// The value of a group, if it is set.
    #[inline]
    pub(super) fn part(&self, name: &Name) -> Option<Part<'a>> {
        match name.place().and_then(|at| self.known.get(at)) {
            Some(Some(text)) => Some(Part::Text(text)),
            _ if self.others.is_empty() => None,
            _ => self.others.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone()),
        }
    }

    /// Sets a group that has a known name, by its place, to a text.
    #[inline]
    pub(super) fn set_known(&mut self, place: u8, text: &'a str) {
        if self.others.is_empty() {
            if let Some(known) = self.known.get_mut(usize::from(place)) {
                *known = Some(text);
            }
        } else if let Some(name) = Name::KNOWN.get(usize::from(place)) {
            self.set(name, Part::Text(text));
        }
    }

    /// Sets a group.
    pub(super) fn set(&mut self, name: &'a Name, value: Part<'a>) {
        if !self.others.is_empty() {
            self.others.retain(|(known, _)| *known != name);
        }
        match (name.place().and_then(|at| self.known.get_mut(at)), value) {
            (Some(place), Part::Text(text)) => *place = Some(text),
            (place, value) => {
                if let Some(place) = place {
                    *place = None;
                }
                self.others.push((name, value));
            }
        }
    }

    /// Removes a group; its value, if it was set.
    pub(super) fn take(&mut self, name: &Name) -> Option<Part<'a>> {
        if let Some(text) = name.place().and_then(|at| self.known.get_mut(at)).and_then(Option::take) {
            return Some(Part::Text(text));
        }
        let at = self.others.iter().position(|(known, _)| *known == name)?;
        Some(self.others.swap_remove(at).1)
    }

    /// Takes over all groups of another.
    pub(super) fn overwrite(&mut self, other: LineGroups<'a>) {
        for (place, text) in other.known.into_iter().enumerate() {
            if let (Some(text), Some(name)) = (text, Name::KNOWN.get(place)) {
                self.set(name, Part::Text(text));
            }
        }
        for (name, value) in other.others {
            self.set(name, value);
        }
    }

    /// The length of all values in bytes, roughly.
    pub(super) fn len(&self) -> usize {
        let known: usize = self.known.iter().flatten().map(|text| text.len()).sum();
        known + self.others.iter().map(|(_, value)| value.len()).sum::<usize>()
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
    #[inline]
    fn text(&self, name: &Name) -> Option<Cow<'_, str>> {
        match name.place().and_then(|at| *self.known.get(at)?) {
            Some(text) => Some(Cow::Borrowed(text)),
            None if self.others.is_empty() => None,
            None => self.part(name).map(|part| part.shown()),
        }
    }

    #[inline]
    fn is_true(&self, name: &Name) -> bool {
        match name.place().and_then(|at| *self.known.get(at)?) {
            Some(text) => !text.is_empty(),
            None if self.others.is_empty() => false,
            None => self.part(name).is_some_and(|part| part.is_true()),
        }
    }

    fn pack(&mut self, to: &mut Packer, ids: bool) -> Groups {
        if self.others.is_empty() {
            pack_known(self.known.iter().copied(), to, ids);
            return to.finish();
        }
        self.others.sort_unstable_by_key(|(name, _)| *name);
        let known = Name::KNOWN.iter().zip(&self.known).filter_map(|(name, text)| Some((name, Part::Text((*text)?))));
        let others = self.others.iter().map(|(name, value)| (*name, value.clone()));
        for (name, value) in by_name(known, others).filter(|(name, _)| ids || !name.is_id()) {
            to.text(name.text(), &value.shown());
        }
        to.finish()
    }
}

/// Adds the texts of known names, given by their places, to a pack.
#[inline]
fn pack_known<'t>(texts: impl Iterator<Item = Option<&'t str>>, to: &mut Packer, ids: bool) {
    for (name, text) in Name::KNOWN.iter().zip(texts) {
        if let (Some(text), Some(place)) = (text, name.packed_place())
            && (ids || !name.is_id())
        {
            to.known(place, text);
        }
    }
}

/// Two sorted lists of groups as one.
fn by_name<'a>(
    known: impl Iterator<Item = (&'a Name, Part<'a>)>,
    others: impl Iterator<Item = (&'a Name, Part<'a>)>,
) -> impl Iterator<Item = (&'a Name, Part<'a>)> {
    let (mut known, mut others) = (known.peekable(), others.peekable());
    std::iter::from_fn(move || match (known.peek(), others.peek()) {
        (Some((one, _)), Some((other, _))) if other < one => others.next(),
        (Some(_), _) => known.next(),
        (None, _) => others.next(),
    })
}

/// Where a text begins and ends in the texts of a session; nowhere if it ends before it begins.
type Extent = (u32, u32);
/// Of a group that is not set.
const NOWHERE: Extent = (1, 0);

/// The value of a group of a session.
#[derive(Clone, Debug)]
enum Value {
    Text(Extent),
    /// Several joined by `tuple_` groups; unset parts are kept.
    Tuple(Vec<Option<Box<str>>>),
}

/// The groups of a session; each name once.
#[derive(Clone, Debug)]
struct Kept {
    /// Texts of known names, by their places.
    known: [Extent; NAMES],
    /// All others, sorted by name.
    others: Vec<(Name, Value)>,
    /// The texts of all groups, and of some that are gone.
    text: String,
}

impl Default for Kept {
    fn default() -> Kept {
        Kept { known: [NOWHERE; NAMES], others: Vec::new(), text: String::new() }
    }
}

/// Texts that are gone may take as much room as those that are there, and this.
const GONE_BYTES_MAX: usize = 512;

impl Kept {
    #[inline]
    fn text(&self, (from, to): Extent) -> Option<&str> {
        if from > to { None } else { self.text.get(from as usize..to as usize) }
    }

    /// The text of a known name, if it is set.
    #[inline]
    fn known_text(&self, name: &Name) -> Option<&str> {
        self.text(*self.known.get(name.place()?)?)
    }

    #[inline]
    fn get(&self, name: &Name) -> Option<Part<'_>> {
        if let Some(text) = self.known_text(name) {
            return Some(Part::Text(text));
        }
        if self.others.is_empty() {
            return None;
        }
        self.others.iter().find(|(known, _)| known == name).map(|(_, value)| self.part(value))
    }

    fn part<'s>(&'s self, value: &'s Value) -> Part<'s> {
        match value {
            Value::Text(at) => Part::Text(self.text(*at).unwrap_or("")),
            Value::Tuple(parts) => Part::Tuple(parts.iter().map(|part| part.as_deref().map(Cow::Borrowed)).collect()),
        }
    }

    /// Removes a group; whether it was set to something.
    #[inline]
    fn take(&mut self, name: &Name) -> bool {
        if let Some(place) = name.place().and_then(|at| self.known.get_mut(at))
            && place.0 <= place.1
        {
            let (from, to) = std::mem::replace(place, NOWHERE);
            return from < to;
        }
        if self.others.is_empty() {
            return false;
        }
        let Some(at) = self.others.iter().position(|(known, _)| known == name) else { return false };
        match self.others.remove(at).1 {
            Value::Text((from, to)) => from < to,
            Value::Tuple(_) => true,
        }
    }

    fn set(&mut self, name: &Name, value: &Part<'_>) {
        match value {
            Part::Text(text) => self.set_text(name, text),
            Part::Tuple(parts) => {
                let parts = parts.iter().map(|part| part.as_deref().map(Box::from)).collect();
                self.put(name, Value::Tuple(parts));
            }
        }
    }

    #[inline]
    fn set_text(&mut self, name: &Name, text: &str) {
        if self.known_text(name) == Some(text) {
            return;
        }
        if self.text.len() + text.len() > 2 * GONE_BYTES_MAX {
            self.tidy(text.len());
        }
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let from = place(self.text.len());
        self.text.push_str(text);
        let at = (from, place(self.text.len()));
        match name.place().and_then(|at| self.known.get_mut(at)) {
            Some(known) => {
                *known = at;
                if !self.others.is_empty() {
                    self.others.retain(|(known, _)| known != name);
                }
            }
            None => self.put(name, Value::Text(at)),
        }
    }

    /// Sets what is no text of a known name.
    fn put(&mut self, name: &Name, value: Value) {
        self.take(name);
        let at = self.others.partition_point(|(known, _)| known < name);
        self.others.insert(at, (name.clone(), value));
    }

    /// Forgets texts that are gone, if they are many.
    #[cold]
    fn tidy(&mut self, more: usize) {
        let other = |(_, value): &(Name, Value)| if let Value::Text(at) = value { *at } else { NOWHERE };
        let all = self.known.iter().copied().chain(self.others.iter().map(other));
        let living: usize = all.map(|(from, to)| to.saturating_sub(from) as usize).sum();
        if self.text.len() <= 2 * living + GONE_BYTES_MAX {
            return;
        }
        let old = std::mem::replace(&mut self.text, String::with_capacity(living + more));
        let others = self.others.iter_mut().filter_map(|(_, value)| match value {
            Value::Text(at) => Some(at),
            Value::Tuple(_) => None,
        });
        for at in self.known.iter_mut().chain(others).filter(|(from, to)| from <= to) {
            let begin = u32::try_from(self.text.len()).unwrap_or(u32::MAX);
            self.text.push_str(old.get(at.0 as usize..at.1 as usize).unwrap_or(""));
            *at = (begin, begin + (at.1 - at.0));
        }
    }

    fn clear(&mut self) {
        self.known = [NOWHERE; NAMES];
        self.others.clear();
        self.text.clear();
    }

    /// All that are set, sorted by name.
    fn iter(&self) -> impl Iterator<Item = (&Name, Part<'_>)> {
        let known =
            Name::KNOWN.iter().zip(&self.known).filter_map(|(name, at)| Some((name, Part::Text(self.text(*at)?))));
        by_name(known, self.others.iter().map(|(name, value)| (name, self.part(value))))
    }
}

/// Different texts, sorted.
#[derive(Clone, Debug, Default)]
struct Users {
    text: String,
    list: Vec<Extent>,
}

impl Users {
    fn add(&mut self, user: &str) {
        let text = &self.text;
        let of = |(from, to): &Extent| text.get(*from as usize..*to as usize).unwrap_or("");
        let Err(at) = self.list.binary_search_by(|known| of(known).cmp(user)) else { return };
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let from = place(self.text.len());
        self.text.push_str(user);
        self.list.insert(at, (from, place(self.text.len())));
    }

    fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.list.iter().map(|(from, to)| self.text.get(*from as usize..*to as usize).unwrap_or(""))
    }
}

/// What is remembered of the lines of a session.
#[derive(Clone, Debug, Default)]
pub(super) struct Data {
    groups: Kept,
    /// All users seen in the session.
    users: Users,
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
    pub(super) fn groups(&self) -> impl Iterator<Item = (&Name, Part<'_>)> {
        self.groups.iter()
    }

    /// All users seen, sorted.
    pub(super) fn users(&self) -> impl ExactSizeIterator<Item = &str> {
        self.users.iter()
    }

    /// How many users were seen.
    pub(super) fn users_seen(&self) -> usize {
        self.users.list.len()
    }

    /// Sets a group.
    pub(super) fn set(&mut self, name: &Name, value: &Part<'_>) {
        self.groups.set(name, value);
    }

    /// Removes a group; whether it was set to something.
    pub(super) fn take(&mut self, name: &Name) -> bool {
        self.groups.take(name)
    }

    /// Takes over all groups of a line.
    pub(super) fn overwrite(&mut self, line: &LineGroups<'_>) {
        for (name, text) in Name::KNOWN.iter().zip(&line.known) {
            if let Some(text) = text {
                self.groups.set_text(name, text);
            }
        }
        for (name, value) in &line.others {
            self.groups.set(name, value);
        }
    }

    /// Notes the user of this hit.
    pub(super) fn add_user(&mut self, user: Option<Cow<'_, str>>) {
        if let Some(user) = user.filter(|user| !user.is_empty())
            && self.users.list.len() < USERS_MAX
        {
            self.users.add(&user);
        }
    }

    /// Forgets everything but its room in memory; false if that is not worth keeping.
    pub(super) fn clear(&mut self) -> bool {
        self.groups.clear();
        self.users.text.clear();
        self.users.list.clear();
        self.matches.clear();
        self.nofail_matches.clear();
        (self.pending, self.ip) = (false, None);
        let texts = self.groups.text.capacity() + self.users.text.capacity();
        texts <= 4 * GONE_BYTES_MAX && self.users.list.capacity() + self.matches.capacity() < 64
    }
}

impl Known for Data {
    #[inline]
    fn text(&self, name: &Name) -> Option<Cow<'_, str>> {
        match self.groups.known_text(name) {
            Some(text) => Some(Cow::Borrowed(text)),
            None => self.groups.get(name).map(|part| part.shown()),
        }
    }

    #[inline]
    fn is_true(&self, name: &Name) -> bool {
        match self.groups.known_text(name) {
            Some(text) => !text.is_empty(),
            None => self.groups.get(name).is_some_and(|part| part.is_true()),
        }
    }

    fn pack(&mut self, to: &mut Packer, ids: bool) -> Groups {
        if self.groups.others.is_empty() {
            // All known names come before this one.
            pack_known(self.groups.known.iter().map(|at| self.groups.text(*at)), to, ids);
            if !self.users.list.is_empty() {
                to.list(Name::USERS, self.users.iter());
            }
            return to.finish();
        }
        let mut users = (!self.users.list.is_empty()).then_some(&self.users);
        let mut list = |to: &mut Packer| {
            if let Some(users) = users.take() {
                to.list(Name::USERS, users.iter());
            }
        };
        for (name, value) in self.groups.iter().filter(|(name, _)| ids || !name.is_id()) {
            if name.text() > Name::USERS {
                list(to);
            }
            to.text(name.text(), &value.shown());
        }
        list(to);
        to.finish()
    }
}

/// Drops the oldest texts above [`MATCHES_MAX`] and [`MATCHES_BYTES_MAX`].
pub(super) fn bound(matches: &mut Vec<Box<str>>) {
    if matches.len() < 2 {
        return;
    }
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
