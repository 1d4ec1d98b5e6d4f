//! What a hit, or a session of several hits, knows about a failure.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::failure::GroupValue;
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

/// The value of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// One text.
    Text(Box<str>),
    /// Several joined by `tuple_` groups; unset parts are kept.
    Tuple(Vec<Option<Box<str>>>),
}

impl Value {
    /// Python's idea of truth: a text that is not empty.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Value::Text(text) => !text.is_empty(),
            Value::Tuple(_) => true,
        }
    }

    /// Its length in bytes, roughly.
    pub(super) fn len(&self) -> usize {
        match self {
            Value::Text(text) => text.len(),
            Value::Tuple(parts) => parts.iter().flatten().map(|p| p.len()).sum(),
        }
    }

    /// [`Value::text`] without a copy where that is possible.
    pub(super) fn shown(&self) -> Cow<'_, str> {
        match self {
            Value::Text(text) => Cow::Borrowed(text),
            Value::Tuple(_) => Cow::Owned(self.text().into()),
        }
    }

    /// As one text; a tuple as Python shows it, which is what the original bans then.
    pub(super) fn text(&self) -> Box<str> {
        match self {
            Value::Text(text) => text.clone(),
            Value::Tuple(parts) => {
                let shown: Vec<String> =
                    parts.iter().map(|p| p.as_deref().map_or_else(|| "None".to_owned(), repr)).collect();
                format!("({})", shown.join(", ")).into()
            }
        }
    }
}

impl From<Value> for GroupValue {
    fn from(value: Value) -> GroupValue {
        GroupValue::Text(match value {
            Value::Text(text) => text,
            tuple @ Value::Tuple(_) => tuple.text(),
        })
    }
}

/// The groups and lines of a failure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Data {
    /// Named groups that are set; each name once.
    pub(super) groups: Vec<(Arc<str>, Value)>,
    /// All users seen in the session.
    pub(super) users: BTreeSet<Box<str>>,
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
    /// The value of a group, if it is set.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.groups.iter().find(|(n, _)| **n == *name).map(|(_, value)| value)
    }

    /// Is a group set to something?
    pub(super) fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(Value::is_true)
    }

    /// Sets a group.
    pub(super) fn set(&mut self, name: &Arc<str>, value: Value) {
        match self.groups.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => *old = value,
            None => self.groups.push((Arc::clone(name), value)),
        }
    }

    /// Removes a group; its value, if it was set.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.groups.iter().position(|(n, _)| **n == *name)?;
        Some(self.groups.remove(at).1)
    }

    /// Takes over all groups of `other`.
    pub(super) fn overwrite(&mut self, other: Vec<(Arc<str>, Value)>) {
        for (name, value) in other {
            self.set(&name, value);
        }
    }

    /// Notes the user of this hit.
    pub(super) fn add_user(&mut self, user: Option<&Value>) {
        if let Some(user) = user.filter(|u| u.is_true())
            && self.users.len() < USERS_MAX
        {
            self.users.insert(user.text());
        }
    }

    /// The groups that are set, sorted by name.
    pub(super) fn report(&self) -> Vec<(Arc<str>, GroupValue)> {
        let groups = self.groups.iter().map(|(name, value)| (Arc::clone(name), GroupValue::Text(value.text())));
        self.with_users(groups.collect())
    }

    /// As [`Data::report`], of what is not needed any more.
    pub(super) fn take_report(&mut self) -> Vec<(Arc<str>, GroupValue)> {
        let groups = std::mem::take(&mut self.groups).into_iter().map(|(name, value)| (name, value.into()));
        self.with_users(groups.collect())
    }

    fn with_users(&self, mut out: Vec<(Arc<str>, GroupValue)>) -> Vec<(Arc<str>, GroupValue)> {
        if !self.users.is_empty() {
            out.push((Arc::from("users"), GroupValue::List(self.users.iter().cloned().collect())));
        }
        out.sort_by(|(a, _), (b, _)| a.cmp(b));
        out
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
}
