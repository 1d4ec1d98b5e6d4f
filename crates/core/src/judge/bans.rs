//! The living bans of one jail, and what is remembered of ended ones.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::ends::{End, Ends};
use super::table::{Seeded, Slot, Table};
use crate::decision::Seq;
use crate::failure::GroupValue;
use crate::id::{FailureId, Net};
use crate::time::{BanTime, Span, Timestamp};

/// One living ban.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ban {
    /// Number of the decision that made it; bans of a jail are ordered by it.
    pub(super) seq: Seq,
    /// How many numbers later the newest decision on it was made.
    pub(super) later: u32,
    /// Time of the last counted failure.
    pub(super) start: Timestamp,
    /// As last decided: where the end index has it.
    pub(super) end: Timestamp,
    /// What actions see as `<bancount>`.
    pub(super) count: u32,
    pub(super) failures: u32,
    /// Has it a ban time of its own? Else it follows the jail's.
    pub(super) own: bool,
    pub(super) restored: bool,
    /// Does the database have it as it is here? Else it has [`Rest::other`].
    pub(super) as_stored: bool,
    /// What most bans do not have.
    pub(super) rest: Option<Box<Rest>>,
}

/// What a ban may have beside its numbers; apart from them, as there are very many without it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rest {
    /// A ban from a line older than the last one, or one that is over at once,
    /// leaves the row as it was (or leaves none); a restored one may have been
    /// cut.
    other: Option<Past>,
    evidence: Option<Box<Evidence>>,
}

impl Rest {
    /// `None` if there is nothing.
    pub(super) fn of(other: Option<Past>, evidence: Option<Box<Evidence>>) -> Option<Box<Rest>> {
        (other.is_some() || evidence.is_some()).then(|| Box::new(Rest { other, evidence }))
    }
}

/// What a ban keeps beside its numbers, if there is anything to keep.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Evidence {
    pub(super) ip: Option<Net>,
    pub(super) matches: Arc<[Box<str>]>,
    pub(super) groups: Arc<[(Arc<str>, GroupValue)]>,
    pub(super) why: Box<str>,
    pub(super) bytes: usize,
}

impl Evidence {
    /// A new evidence record, if there is anything to keep.
    pub(super) fn new(
        ip: Option<Net>,
        matches: Vec<Box<str>>,
        groups: Vec<(Arc<str>, GroupValue)>,
        why: Box<str>,
    ) -> Option<Box<Self>> {
        const TEXT: usize = size_of::<Box<str>>();
        if ip.is_none() && matches.is_empty() && groups.is_empty() && why.is_empty() {
            return None;
        }
        let lines: usize = matches.iter().map(|line| line.len() + TEXT).sum();
        let values = groups.iter().map(|(_, value)| match value {
            GroupValue::Text(text) => text.len() + 3 * TEXT,
            GroupValue::List(list) => list.iter().map(|text| text.len() + TEXT).sum::<usize>() + 3 * TEXT,
        });
        let bytes = lines + values.sum::<usize>() + why.len() + size_of::<Evidence>();
        Some(Box::new(Evidence { ip, matches: matches.into(), groups: groups.into(), why, bytes }))
    }
}

impl Ban {
    /// Number of the newest decision on it.
    pub(super) fn last(&self) -> Seq {
        Seq(self.seq.0.saturating_add(u64::from(self.later)))
    }

    pub(super) fn evidence(&self) -> Option<&Evidence> {
        self.rest.as_ref()?.evidence.as_deref()
    }

    /// Bytes of its lines and groups.
    fn bytes(&self) -> usize {
        self.evidence().map_or(0, |evidence| evidence.bytes)
    }

    /// Its ban time in a jail with this one.
    pub(super) fn bantime(&self, jail: BanTime) -> BanTime {
        match self.own {
            false => jail,
            true if self.end == Timestamp::MAX => BanTime::Permanent,
            true => BanTime::For(self.end - self.start),
        }
    }

    /// The history row that this ban is.
    pub(super) fn past(&self, jail: BanTime) -> Option<Past> {
        match self.as_stored {
            // A restored ban has counted itself, its row has not.
            true => Some(Past::new(self.count - u32::from(self.restored), self.start, self.bantime(jail))),
            false => self.rest.as_ref()?.other,
        }
    }
}

/// The living bans of one jail by id and by end.
#[derive(Clone, Debug)]
pub(super) struct Bans {
    table: Table<Ban>,
    /// Bans that end.
    ends: Ends,
    /// Bans without an end, by order of ban.
    permanent: BTreeSet<(Seq, Slot)>,
    bytes: usize,
}

impl Bans {
    pub(super) fn new(seeded: Seeded) -> Self {
        Bans { table: Table::new(seeded), ends: Ends::default(), permanent: BTreeSet::new(), bytes: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn get(&self, id: &FailureId) -> Option<&Ban> {
        self.table.get(id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&FailureId, &Ban)> {
        self.table.iter().map(|(_, id, ban)| (id, ban))
    }

    /// The bans in at most `most` slots from `from` on, and the slot to go on from.
    pub(super) fn page(&self, from: Slot, most: usize) -> (impl Iterator<Item = (&FailureId, &Ban)>, Option<Slot>) {
        let all = self.table.slot_count();
        let end = from.saturating_add(Slot::try_from(most).unwrap_or(Slot::MAX)).min(all);
        let page = (from..end).filter_map(|slot| self.table.at(slot)).map(|(id, ban)| (id, ban));
        (page, (end < all).then_some(end))
    }

    pub(super) fn insert(&mut self, id: FailureId, ban: Ban) {
        let (end, seq) = (ban.end, ban.seq);
        self.bytes += ban.bytes();
        if let (Some(slot), _) = self.table.insert(id, ban) {
            self.index(end, seq, slot);
        }
    }

    fn index(&mut self, end: Timestamp, seq: Seq, slot: Slot) {
        if end == Timestamp::MAX {
            self.permanent.insert((seq, slot));
        } else {
            self.ends.insert(End::new(end, seq, slot));
        }
    }

    /// Puts a stored ban in; [`Bans::came_together`] follows behind the last one of many.
    pub(super) fn take_up(&mut self, id: FailureId, ban: Ban) {
        let (end, seq) = (ban.end, ban.seq);
        self.bytes += ban.bytes();
        match self.table.insert(id, ban) {
            (Some(slot), _) if end != Timestamp::MAX => self.ends.take_up(End::new(end, seq, slot)),
            (Some(slot), _) => self.index(end, seq, slot),
            (None, _) => {}
        }
    }

    /// What was taken up since the last call is all that came together.
    pub(super) fn came_together(&mut self) {
        self.ends.came_together();
    }

    fn unindex(&mut self, end: Timestamp, seq: Seq, slot: Slot) {
        if end == Timestamp::MAX {
            self.permanent.remove(&(seq, slot));
        } else {
            self.ends.remove(&End::new(end, seq, slot));
        }
    }

    pub(super) fn remove(&mut self, id: &FailureId) -> Option<(FailureId, Ban)> {
        let slot = self.table.find(id)?;
        self.remove_at(slot)
    }

    fn remove_at(&mut self, slot: Slot) -> Option<(FailureId, Ban)> {
        let (id, ban) = self.table.remove_at(slot)?;
        self.unindex(ban.end, ban.seq, slot);
        self.bytes = self.bytes.saturating_sub(ban.bytes());
        if self.table.is_empty() {
            self.ends = Ends::default();
        }
        Some((id, ban))
    }

    /// When the next ban is over: the first moment after its end.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.ends.first().map(|first| first.time() + Span::from_micros(1))
    }

    /// Takes the ban that ended first, if its end is before `now`.
    ///
    /// Source: fail2ban `server/banmanager.py`: over once the time is strictly
    /// later than the end.
    pub(super) fn pop_over(&mut self, now: Timestamp) -> Option<(FailureId, Ban)> {
        loop {
            self.ends.first().filter(|first| first.time() < now)?;
            let first = self.ends.pop_first()?;
            if self.is_of(first) {
                return self.remove_at(first.slot);
            }
        }
    }

    /// Is this the end of the ban in its slot, as that is now?
    fn is_of(&self, end: End) -> bool {
        self.table.at(end.slot).is_some_and(|(_, ban)| end == End::new(ban.end, ban.seq, end.slot))
    }

    /// Takes any ban: by end, those without an end last.
    pub(super) fn pop(&mut self) -> Option<(FailureId, Ban)> {
        while let Some(first) = self.ends.pop_first() {
            if self.is_of(first) {
                return self.remove_at(first.slot);
            }
        }
        let slot = self.permanent.first()?.1;
        self.remove_at(slot)
    }

    /// Gives a ban a ban time of its own, or (`None`) the jail's as it is now.
    pub(super) fn retime(&mut self, id: &FailureId, own: Option<BanTime>, jail: BanTime) -> Option<&Ban> {
        let slot = self.table.find(id)?;
        let ban = self.table.at_mut(slot)?;
        let (old, seq) = (ban.end, ban.seq);
        ban.own |= own.is_some();
        let bantime = own.unwrap_or(jail);
        let end = bantime.end(ban.start);
        ban.end = end;
        if let Some(other) = ban.rest.as_mut().and_then(|rest| rest.other.as_mut()) {
            other.bantime = bantime;
        }
        self.unindex(old, seq, slot);
        self.index(end, seq, slot);
        self.get(id)
    }

    /// A further decision was made on a ban.
    pub(super) fn decided(&mut self, id: &FailureId, seq: Seq) {
        if let Some(ban) = self.table.find(id).and_then(|slot| self.table.at_mut(slot)) {
            ban.later = u32::try_from(seq.0.saturating_sub(ban.seq.0)).unwrap_or(u32::MAX);
        }
    }

    /// Forgets the lines and groups of the ban that this decision made.
    pub(super) fn let_go_of_evidence(&mut self, id: &FailureId, seq: Seq) {
        let Some(ban) = self.get(id).filter(|ban| ban.seq == seq) else { return };
        let Some(full) = ban.evidence() else { return };
        let left = Evidence::new(full.ip, Vec::new(), Vec::new(), full.why.clone());
        self.put_evidence(id, left);
    }

    /// Replaces what a ban keeps beside its numbers.
    pub(super) fn put_evidence(&mut self, id: &FailureId, evidence: Option<Box<Evidence>>) {
        let Some(ban) = self.table.find(id).and_then(|slot| self.table.at_mut(slot)) else { return };
        let old = ban.bytes();
        let other = ban.rest.take().and_then(|rest| rest.other);
        ban.rest = Rest::of(other, evidence);
        self.bytes = self.bytes.saturating_sub(old).saturating_add(ban.bytes());
    }

    /// At most `limit` ids, from slot `from` on, whose end does not fit the
    /// jail's ban time, and the slot to go on from (`None` when all were seen).
    pub(super) fn misfits(&self, jail: BanTime, from: Slot, limit: usize) -> (Vec<FailureId>, Option<Slot>) {
        let mut found = Vec::new();
        let mut slot = from;
        let end = self.table.slot_count();
        while slot < end {
            if found.len() >= limit {
                return (found, Some(slot));
            }
            if let Some((id, ban)) = self.table.at(slot)
                && !ban.own
                && jail.end(ban.start) != ban.end
            {
                found.push(id.clone());
            }
            slot += 1;
        }
        (found, None)
    }
}

/// What is remembered of the last ban of an id in a jail: a row of `bips`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Past {
    pub(super) count: u32,
    pub(super) start: Timestamp,
    pub(super) bantime: BanTime,
}

impl Past {
    /// As the database keeps it: in whole seconds, and so it is compared.
    pub(super) fn new(count: u32, start: Timestamp, bantime: BanTime) -> Self {
        Past { count, start: Timestamp::from_secs(start.secs_rounded()), bantime }
    }
}

/// The ended bans of one jail.
#[derive(Clone, Debug)]
pub(super) struct History(Table<Past>);

impl History {
    pub(super) fn new(seeded: Seeded) -> Self {
        History(Table::new(seeded))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn get(&self, id: &FailureId) -> Option<&Past> {
        self.0.get(id)
    }

    pub(super) fn insert(&mut self, id: FailureId, past: Past) {
        self.0.insert(id, past);
    }

    pub(super) fn remove(&mut self, id: &FailureId) -> Option<Past> {
        self.0.remove(id).map(|(_, past)| past)
    }

    pub(super) fn pop(&mut self) -> Option<(FailureId, Past)> {
        let slot = self.0.iter().next().map(|(slot, ..)| slot)?;
        self.0.remove_at(slot)
    }

    /// Forgets what the database forgets.
    ///
    /// Source: fail2ban `server/database.py`, `purge`: rows of which three ban
    /// times passed before the purge age began; permanent ones stay.
    pub(super) fn purge(&mut self, now: Timestamp, age: Span) {
        let edge = now - age;
        let old: Vec<Slot> = self
            .0
            .iter()
            .filter(|(_, _, past)| match past.bantime {
                BanTime::Permanent => false,
                BanTime::For(time) => past.start < edge && past.start + time + time + time < edge,
            })
            .map(|(slot, ..)| slot)
            .collect();
        for slot in old {
            self.0.remove_at(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_living_ban_is_small() {
        assert!(size_of::<Option<(FailureId, Ban)>>() <= 72, "{}", size_of::<Option<(FailureId, Ban)>>());
    }
}
