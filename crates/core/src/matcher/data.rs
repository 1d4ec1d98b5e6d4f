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
    /// Places of the known names that are set to a text.
    set: Places,
    /// These texts, by their places.
    known: [&'a str; NAMES],
    /// All others.
    others: Vec<(&'a Name, Part<'a>)>,
}

/// A set of places of known names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Places(u16);

const _: () = assert!(NAMES <= u16::BITS as usize, "each name has its bit");

impl Places {
    #[inline]
    fn has(self, place: usize) -> bool {
        place < NAMES && self.0 >> place & 1 == 1
    }

    #[inline]
    fn add(&mut self, place: usize) {
        if place < NAMES {
            self.0 |= 1 << place;
        }
    }

    /// Removes a place; whether it was there.
    #[inline]
    fn take(&mut self, place: usize) -> bool {
        let had = self.has(place);
        if had {
            self.0 &= !(1 << place);
        }
        had
    }

    /// In order.
    #[inline]
    fn iter(self) -> impl Iterator<Item = usize> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            if rest == 0 {
                return None;
            }
            let place = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            Some(place)
        })
    }
}

impl<'a> LineGroups<'a> {
    /// The text of a known name, by its place, if it is set to one.
    #[inline]
    fn known_text(&self, place: usize) -> Option<&'a str> {
        if self.set.has(place) { self.known.get(place).copied() } else { None }
    }

    /// All known names that are set to a text, by their places, in order.
    #[inline]
    fn known_texts(&self) -> impl Iterator<Item = (usize, &'a str)> {
        self.set.iter().filter_map(|place| Some((place, *self.known.get(place)?)))
    }

    #[inline]
    fn put_known(&mut self, place: usize, text: &'a str) {
        if let Some(known) = self.known.get_mut(place) {
            *known = text;
            self.set.add(place);
        }
    }

    /// The value of a group, if it is set.
    #[inline]
    pub(super) fn part(&self, name: &Name) -> Option<Part<'a>> {
        match name.place().and_then(|at| self.known_text(at)) {
            Some(text) => Some(Part::Text(text)),
            _ if self.others.is_empty() => None,
            _ => self.others.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone()),
        }
    }

    /// Sets a group that has a known name, by its place, to a text.
    #[inline]
    pub(super) fn set_known(&mut self, place: u8, text: &'a str) {
        if self.others.is_empty() {
            self.put_known(usize::from(place), text);
        } else if let Some(name) = Name::KNOWN.get(usize::from(place)) {
            self.set(name, Part::Text(text));
        }
    }

    /// Sets a group.
    pub(super) fn set(&mut self, name: &'a Name, value: Part<'a>) {
        if !self.others.is_empty() {
            self.others.retain(|(known, _)| *known != name);
        }
        match (name.place(), value) {
            (Some(place), Part::Text(text)) => self.put_known(place, text),
            (place, value) => {
                if let Some(place) = place {
                    self.set.take(place);
                }
                self.others.push((name, value));
            }
        }
    }

    /// Removes a group; its value, if it was set.
    pub(super) fn take(&mut self, name: &Name) -> Option<Part<'a>> {
        if let Some(place) = name.place()
            && let Some(text) = self.known_text(place)
        {
            self.set.take(place);
            return Some(Part::Text(text));
        }
        if self.others.is_empty() {
            return None;
        }
        let at = self.others.iter().position(|(known, _)| *known == name)?;
        Some(self.others.swap_remove(at).1)
    }

    /// Takes over all groups of another.
    pub(super) fn overwrite(&mut self, other: LineGroups<'a>) {
        for (place, text) in other.known_texts() {
            if let Some(name) = Name::KNOWN.get(place) {
                self.set(name, Part::Text(text));
            }
        }
        for (name, value) in other.others {
            self.set(name, value);
        }
    }

    /// The length of all values in bytes, roughly.
    pub(super) fn len(&self) -> usize {
        let known: usize = self.known_texts().map(|(_, text)| text.len()).sum();
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
        match name.place().and_then(|at| self.known_text(at)) {
            Some(text) => Some(Cow::Borrowed(text)),
            None if self.others.is_empty() => None,
            None => self.part(name).map(|part| part.shown()),
        }
    }

    #[inline]
    fn is_true(&self, name: &Name) -> bool {
        match name.place().and_then(|at| self.known_text(at)) {
            Some(text) => !text.is_empty(),
            None if self.others.is_empty() => false,
            None => self.part(name).is_some_and(|part| part.is_true()),
        }
    }

    fn pack(&mut self, to: &mut Packer, ids: bool) -> Groups {
        if self.others.is_empty() {
            pack_known(self.known_texts(), to, ids);
            return to.finish();
        }
        self.others.sort_unstable_by_key(|(name, _)| *name);
        let known = self.known_texts().filter_map(|(at, text)| Some((Name::KNOWN.get(at)?, Part::Text(text))));
        let others = self.others.iter().map(|(name, value)| (*name, value.clone()));
        for (name, value) in by_name(known, others).filter(|(name, _)| ids || !name.is_id()) {
            to.text(name.text(), &value.shown());
        }
        to.finish()
    }
}

/// Adds the texts of known names, given by their places, to a pack.
#[inline]
fn pack_known<'t>(texts: impl Iterator<Item = (usize, &'t str)>, to: &mut Packer, ids: bool) {
    for (at, text) in texts {
        if let Some(name) = Name::KNOWN.get(at)
            && let Some(place) = name.packed_place()
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
    /// Places of the known names that are set to a text.
    set: Places,
    /// These texts, by their places.
    known: [Extent; NAMES],
    /// All others, sorted by name.
    others: Vec<(Name, Value)>,
    /// The texts of all groups, and of some that are gone.
    text: String,
}

impl Default for Kept {
    fn default() -> Kept {
        Kept { set: Places::default(), known: [NOWHERE; NAMES], others: Vec::new(), text: String::new() }
    }
}

/// Texts that are gone may take as much room as those that are there, and this.
const GONE_BYTES_MAX: usize = 512;

impl Kept {
    #[inline]
    fn text(&self, (from, to): Extent) -> &str {
        self.text.get(from as usize..to as usize).unwrap_or("")
    }

    /// The text of a known name, by its place, if it is set.
    #[inline]
    fn text_at(&self, place: usize) -> Option<&str> {
        if self.set.has(place) { self.known.get(place).map(|at| self.text(*at)) } else { None }
    }

    /// The text of a known name, if it is set.
    #[inline]
    fn known_text(&self, name: &Name) -> Option<&str> {
        self.text_at(name.place()?)
    }

    /// All known names that are set to a text, by their places, in order.
    #[inline]
    fn known_texts(&self) -> impl Iterator<Item = (usize, &str)> {
        self.set.iter().filter_map(|place| Some((place, self.text(*self.known.get(place)?))))
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
            Value::Text(at) => Part::Text(self.text(*at)),
            Value::Tuple(parts) => Part::Tuple(parts.iter().map(|part| part.as_deref().map(Cow::Borrowed)).collect()),
        }
    }

    /// Removes a group; whether it was set to something.
    #[inline]
    fn take(&mut self, name: &Name) -> bool {
        if let Some(place) = name.place()
            && self.set.take(place)
        {
            return self.known.get(place).is_some_and(|(from, to)| from < to);
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

    fn set_text(&mut self, name: &Name, text: &str) {
        match name.place() {
            Some(place) => self.set_known(place, text),
            None => {
                let at = self.keep(text);
                self.put(name, Value::Text(at));
            }
        }
    }

    /// Sets a known name, by its place, to a text.
    #[inline]
    fn set_known(&mut self, place: usize, text: &str) {
        if self.text_at(place) == Some(text) {
            return;
        }
        let at = self.keep(text);
        if let Some(known) = self.known.get_mut(place) {
            *known = at;
            self.set.add(place);
        }
        if !self.others.is_empty() {
            self.others.retain(|(known, _)| known.place() != Some(place));
        }
    }

    /// Adds a text to those that are kept.
    #[inline]
    fn keep(&mut self, text: &str) -> Extent {
        if self.text.len() + text.len() > 2 * GONE_BYTES_MAX {
            self.tidy(text.len());
        }
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let from = place(self.text.len());
        self.text.push_str(text);
        (from, place(self.text.len()))
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
        for (place, at) in self.known.iter_mut().enumerate() {
            if !self.set.has(place) {
                *at = NOWHERE;
            }
        }
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
        self.set = Places::default();
        self.others.clear();
        self.text.clear();
    }

    /// All that are set, sorted by name.
    fn iter(&self) -> impl Iterator<Item = (&Name, Part<'_>)> {
        let known = self.known_texts().filter_map(|(at, text)| Some((Name::KNOWN.get(at)?, Part::Text(text))));
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
        for (place, text) in line.known_texts() {
            self.groups.set_known(place, text);
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
            None if self.groups.others.is_empty() => None,
            None => self.groups.get(name).map(|part| part.shown()),
        }
    }

    #[inline]
    fn is_true(&self, name: &Name) -> bool {
        match self.groups.known_text(name) {
            Some(text) => !text.is_empty(),
            None if self.groups.others.is_empty() => false,
            None => self.groups.get(name).is_some_and(|part| part.is_true()),
        }
    }

    fn pack(&mut self, to: &mut Packer, ids: bool) -> Groups {
        if self.groups.others.is_empty() {
            // All known names come before this one.
            pack_known(self.groups.known_texts(), to, ids);
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
