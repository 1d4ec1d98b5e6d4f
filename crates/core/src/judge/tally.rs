//! How often each id has failed in one jail, as the original counts it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use super::table::{Seeded, Slot, Table};
use crate::failure::{Groups, Matches};
use crate::id::{FailureId, Net};
use crate::time::{Span, Timestamp};

/// How often one id has failed in one jail.
///
/// `first` and `last` are the times that the log lines claim, `first <= last`
/// unless lines came out of order; `retry` is an estimate, see [`Tally::count`].
///
/// Source: fail2ban `server/failmanager.py` and `server/ticket.py`, `FailTicket`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tally {
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    /// A fraction appears only through the bonus for known offenders when
    /// `maxretry` is not whole; Python's numbers behave the same.
    pub(super) retry: f64,
    pub(super) failures: u32,
    /// Earlier bans that the first failure was known for; the ban's count goes
    /// on from it even if the history is gone by then, as in the original.
    pub(super) earlier: u32,
    pub(super) detail: Option<Box<Detail>>,
}

/// What a tally keeps beside its numbers, if there is anything to keep.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Detail {
    /// Of the first failure.
    pub(super) ip: Option<Net>,
    /// Newest last, at most `maxmatches`.
    pub(super) matches: Vec<Box<str>>,
    /// Of the first failure.
    pub(super) groups: Groups,
}

impl Detail {
    pub(super) fn bytes(&self) -> usize {
        const BOX: usize = size_of::<Box<str>>();
        let matches: usize = self.matches.iter().map(|m| m.len() + BOX).sum();
        matches + self.groups.bytes() + size_of::<Detail>()
    }
}

/// What one failure adds.
pub(super) struct Added {
    pub(super) time: Timestamp,
    pub(super) ip: Option<Net>,
    /// What it counts: 1, or the number of lines of a manual attempt.
    pub(super) count: u32,
    pub(super) matches: Matches,
    pub(super) groups: Groups,
}

/// A tally as a snapshot has it.
pub(super) struct Stored {
    pub(super) id: FailureId,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    pub(super) retry: f64,
    pub(super) failures: u32,
    pub(super) earlier: u32,
    pub(super) detail: Option<Box<Detail>>,
}

/// The limits that counting needs to know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) findtime: Span,
    pub(super) maxmatches: usize,
    /// Bytes of matches and groups that may still be kept.
    pub(super) bytes: usize,
}

/// All tallies of one jail.
#[derive(Clone, Debug)]
pub(super) struct Tallies {
    table: Table<Tally>,
    /// When to look whether what is in a slot is too old; one live entry per slot that is or was in use.
    checks: BinaryHeap<Reverse<(Timestamp, Slot)>>,
    /// By slot: when it is looked at next. Other entries of `checks` are stale.
    due: Vec<Timestamp>,
    /// Bytes of all details.
    bytes: usize,
    /// Not before this the next sweep is due; keeps wake-ups rare.
    swept: Timestamp,
}

/// Sweeps are at least this far apart.
///
/// Source: fail2ban `server/filter.py` cleans at most every 5 seconds.
const SWEEP_EVERY: Span = Span::from_secs(5);

impl Tallies {
    pub(super) fn new(seeded: Seeded) -> Self {
        Tallies {
            table: Table::new(seeded),
            checks: BinaryHeap::new(),
            due: Vec::new(),
            bytes: 0,
            swept: Timestamp::from_micros(i64::MIN),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn get(&self, id: &FailureId) -> Option<&Tally> {
        self.table.get(id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&FailureId, &Tally)> {
        self.table.iter().map(|(_, id, tally)| (id, tally))
    }

    /// Counts a failure and returns the estimate of failures within findtime.
    ///
    /// There is no sliding window. When the first failure falls out of
    /// findtime, the count so far is scaled by its own rate and rounded half to
    /// even: with findtime 600, failures at 0, 300 and 601 count 3, where a
    /// window would say 2. Out-of-order failures count without any adjustment.
    ///
    /// DIVERGENCE (old-counts-at-once): a tally whose last
    /// failure is findtime old or older is absent at once; the original forgets
    /// it at the next cleanup, up to 5 seconds later.
    pub(super) fn count(&mut self, now: Timestamp, id: &FailureId, added: Added, limits: Limits) -> f64 {
        if let Some(slot) = self.table.find(id) {
            if let Some(tally) = self.table.at_mut(slot)
                && tally.last > now - limits.findtime
            {
                if added.time > tally.last {
                    let edge = added.time - limits.findtime;
                    if tally.first < edge {
                        let span = (added.time - tally.first).as_secs_f64();
                        tally.retry = (tally.retry / span * limits.findtime.as_secs_f64()).round_ties_even();
                        tally.first = edge;
                    }
                    tally.last = added.time;
                }
                tally.retry += f64::from(added.count);
                tally.failures = tally.failures.saturating_add(1);
                let before = tally.detail.as_ref().map_or(0, |d| d.bytes());
                keep_matches(&mut tally.detail, added.matches, limits);
                let after = tally.detail.as_ref().map_or(0, |d| d.bytes());
                let retry = tally.retry;
                self.bytes = (self.bytes + after).saturating_sub(before);
                return retry;
            }
            self.remove_slot(slot);
        }
        let mut detail = None;
        keep_matches(&mut detail, added.matches, limits);
        if added.ip.is_some() {
            detail.get_or_insert_default().ip = added.ip;
        }
        if !added.groups.is_empty() && limits.bytes > 0 {
            detail.get_or_insert_default().groups = added.groups;
        }
        self.bytes += detail.as_ref().map_or(0, |d| d.bytes());
        let retry = f64::from(added.count);
        self.put(
            id.clone(),
            Tally { first: added.time, last: added.time, retry, failures: 1, earlier: 0, detail },
            limits.findtime,
        );
        retry
    }

    /// Adds the bonus of a known offender to a tally that exists.
    pub(super) fn add_bonus(&mut self, id: &FailureId, bonus: f64, earlier: u32) -> Option<f64> {
        let slot = self.table.find(id)?;
        let tally = self.table.at_mut(slot)?;
        if tally.failures == 1 {
            tally.earlier = earlier;
        }
        tally.retry += bonus;
        tally.failures = tally.failures.saturating_add(1);
        Some(tally.retry)
    }

    fn put(&mut self, id: FailureId, tally: Tally, findtime: Span) {
        let old = tally.last + findtime;
        if let (Some(slot), _) = self.table.insert(id, tally) {
            self.check(slot, old);
            // Only where times go backwards there are stale ones.
            if self.checks.len() > 2 * self.due.len() + STALE_MAX {
                self.findtime_changed(findtime);
            }
        }
    }

    /// Has a slot looked at by then. A look planned for whom was there before does: it plans the next.
    fn check(&mut self, slot: Slot, at: Timestamp) {
        let place = slot as usize;
        if self.due.len() <= place {
            self.due.resize(place + 1, Timestamp::MAX);
        }
        if let Some(due) = self.due.get_mut(place).filter(|due| at < **due) {
            *due = at;
            self.checks.push(Reverse((at, slot)));
        }
    }

    /// Takes up a stored tally unless one is there.
    pub(super) fn restore(&mut self, stored: Stored, findtime: Span) {
        let Stored { id, first, last, retry, failures, earlier, detail } = stored;
        if self.table.find(&id).is_some() {
            return;
        }
        self.bytes += detail.as_ref().map_or(0, |d| d.bytes());
        self.put(id, Tally { first, last, retry, failures, earlier, detail }, findtime);
    }

    pub(super) fn remove(&mut self, id: &FailureId) -> Option<Tally> {
        let slot = self.table.find(id)?;
        self.remove_slot(slot)
    }

    fn remove_slot(&mut self, slot: Slot) -> Option<Tally> {
        let (_, tally) = self.table.remove_at(slot)?;
        self.bytes = self.bytes.saturating_sub(tally.detail.as_ref().map_or(0, |d| d.bytes()));
        if self.table.is_empty() {
            (self.checks, self.due) = (BinaryHeap::new(), Vec::new());
        }
        Some(tally)
    }

    /// When [`Tallies::sweep`] has something to do.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let Reverse((at, _)) = self.checks.peek()?;
        Some((*at).max(self.swept + SWEEP_EVERY))
    }

    /// Forgets tallies whose last failure is findtime old or older; looks at
    /// `room` of them at most, then the next sweep is due at once.
    pub(super) fn sweep(&mut self, now: Timestamp, findtime: Span, room: &mut usize) {
        if self.deadline().is_none_or(|at| at > now) {
            return;
        }
        while let Some(Reverse((at, slot))) = self.checks.peek().copied() {
            if at > now {
                break;
            }
            if *room == 0 {
                return;
            }
            *room -= 1;
            self.checks.pop();
            let Some(due) = self.due.get_mut(slot as usize).filter(|due| **due == at) else { continue };
            *due = Timestamp::MAX;
            let Some((_, tally)) = self.table.at(slot) else { continue };
            let old = tally.last + findtime;
            if old <= now {
                self.remove_slot(slot);
            } else {
                self.check(slot, old);
            }
        }
        self.swept = now;
    }

    /// As [`Tallies::sweep`], however much there is to do and however soon after the last one.
    pub(super) fn sweep_all(&mut self, now: Timestamp, findtime: Span) {
        let mut room = usize::MAX;
        self.swept = Timestamp::from_micros(i64::MIN);
        self.sweep(now, findtime, &mut room);
    }

    /// Plans all checks anew after findtime changed.
    pub(super) fn findtime_changed(&mut self, findtime: Span) {
        (self.checks, self.due) = (BinaryHeap::new(), Vec::new());
        let all: Vec<(Slot, Timestamp)> =
            self.table.iter().map(|(slot, _, tally)| (slot, tally.last + findtime)).collect();
        for (slot, old) in all {
            self.check(slot, old);
        }
    }

    /// One more than the highest slot in use.
    pub(super) fn slot_count(&self) -> Slot {
        self.table.slot_count()
    }

    /// Adds the tallies of some slots to a histogram by how soon they make room.
    pub(super) fn weigh(&self, slots: Range<Slot>, now: Timestamp, findtime: Span, weights: &mut [u32; WEIGHTS]) {
        for (_, tally) in self.table.within(slots) {
            if let Some(weight) = weights.get_mut(weight(tally, now, findtime)) {
                *weight = weight.saturating_add(1);
            }
        }
    }

    /// Removes tallies lighter than `limit`, and of those exactly as heavy as
    /// many as `equal` allows; returns how many went.
    pub(super) fn evict(
        &mut self,
        slots: Range<Slot>,
        now: Timestamp,
        findtime: Span,
        limit: usize,
        equal: &mut u32,
    ) -> u64 {
        let mut light = Vec::new();
        for (slot, tally) in self.table.within(slots) {
            let weight = weight(tally, now, findtime);
            if weight < limit {
                light.push(slot);
            } else if weight == limit && *equal > 0 {
                *equal -= 1;
                light.push(slot);
            }
        }
        for slot in &light {
            self.remove_slot(*slot);
        }
        light.len() as u64
    }
}

/// So many stale checks beyond two for each slot, and all are planned anew.
const STALE_MAX: usize = 1024;

/// Number of classes that [`Tallies::weigh`] tells apart: 64 counts of 64 ages.
pub(super) const WEIGHTS: usize = 64 * 64;

/// Lowest count first, and among equals the oldest first.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "both factors are clamped to 0..=63")]
pub(super) fn weight(tally: &Tally, now: Timestamp, findtime: Span) -> usize {
    let count = tally.retry.clamp(0.0, 63.0) as usize;
    let age = (now - tally.last).as_secs_f64() / findtime.as_secs_f64().max(1e-6);
    count * 64 + 63 - (age * 64.0).clamp(0.0, 63.0) as usize
}

/// Appends matches and keeps the newest `maxmatches`.
fn keep_matches(detail: &mut Option<Box<Detail>>, new: Matches, limits: Limits) {
    if limits.maxmatches == 0 {
        if let Some(detail) = detail {
            detail.matches = Vec::new();
        }
        return;
    }
    let skip = new.len().saturating_sub(limits.maxmatches);
    let bytes: usize = new.iter().skip(skip).map(|line| line.len()).sum();
    if new.is_empty() || bytes > limits.bytes {
        return;
    }
    let matches = &mut detail.get_or_insert_default().matches;
    let surplus = (matches.len() + new.len() - skip).saturating_sub(limits.maxmatches);
    matches.drain(..surplus.min(matches.len()));
    new.append_to(skip, matches);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits { findtime: Span::from_secs(600), maxmatches: 5, bytes: 1 << 20 }
    }

    fn tallies() -> Tallies {
        Tallies::new(Seeded::new(1))
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(1_000_000 + secs)
    }

    fn id(n: u32) -> FailureId {
        std::net::IpAddr::from(std::net::Ipv4Addr::from(n)).into()
    }

    fn add(tallies: &mut Tallies, now: i64, time: i64, id: &FailureId) -> f64 {
        tallies.count(
            at(now),
            id,
            Added {
                time: at(time),
                ip: None,
                count: 1,
                matches: vec!["line".into()].into(),
                groups: Groups::default(),
            },
            limits(),
        )
    }

    /// engine.md 2, the table of the rate estimate.
    #[track_caller]
    fn check(times: &[i64], expected: &[f64]) {
        let mut tallies = tallies();
        let mut now = i64::MIN;
        let counts: Vec<f64> = times
            .iter()
            .map(|time| {
                now = now.max(*time);
                add(&mut tallies, now, *time, &id(1))
            })
            .collect();
        assert_eq!(counts, expected, "{times:?}");
    }

    #[test]
    fn count_is_scaled_when_the_first_failure_leaves_findtime() {
        check(&[0, 100, 200, 300], &[1.0, 2.0, 3.0, 4.0]);
        check(&[0, 300, 601], &[1.0, 2.0, 3.0]);
        check(&[0, 300, 601, 900, 1200, 1500, 1800], &[1.0, 2.0, 3.0, 3.0, 3.0, 3.0, 3.0]);
        check(&[0, 590, 1180, 1770, 2360], &[1.0, 2.0, 2.0, 2.0, 2.0]);
        check(&[100, 0, -1000, 50], &[1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn a_tally_that_is_findtime_old_is_absent() {
        check(&[0, 600], &[1.0, 1.0]);
        check(&[0, 599], &[1.0, 2.0]);
        // profiles.md: 0, 300, 950 count 1, 2, 1.
        check(&[0, 300, 950], &[1.0, 2.0, 1.0]);
    }

    #[test]
    fn sweeps_forget_what_is_old_and_only_that() {
        let mut tallies = tallies();
        add(&mut tallies, 0, 0, &id(1));
        add(&mut tallies, 10, 10, &id(2));
        add(&mut tallies, 300, 300, &id(1));
        assert_eq!(tallies.deadline(), Some(at(600)));
        tallies.sweep(at(600), limits().findtime, &mut 100);
        assert_eq!(tallies.len(), 2, "the check of 1 was put off");
        assert_eq!(tallies.deadline(), Some(at(610)));
        tallies.sweep(at(610), limits().findtime, &mut 100);
        assert_eq!(tallies.len(), 1);
        assert_eq!(tallies.deadline(), Some(at(900)));
        tallies.sweep(at(900), limits().findtime, &mut 100);
        assert_eq!((tallies.len(), tallies.deadline(), tallies.bytes()), (0, None, 0));
    }

    #[test]
    fn the_newest_matches_are_kept() {
        let mut tallies = tallies();
        for n in 0..8 {
            let line: Box<str> = format!("line {n}").into();
            tallies.count(
                at(n),
                &id(1),
                Added { time: at(n), ip: None, count: 1, matches: vec![line].into(), groups: Groups::default() },
                limits(),
            );
        }
        let tally = tallies.remove(&id(1)).unwrap();
        assert_eq!(tally.failures, 8);
        let detail = tally.detail.unwrap();
        assert_eq!(
            detail.matches.iter().map(|m| &**m).collect::<Vec<_>>(),
            ["line 3", "line 4", "line 5", "line 6", "line 7"]
        );
        assert_eq!(tallies.bytes(), 0);
    }

    #[test]
    fn the_lowest_counts_make_room_first() {
        let mut tallies = tallies();
        for n in 0..100 {
            add(&mut tallies, 0, 0, &id(n));
        }
        for n in 0..10 {
            add(&mut tallies, 1, 1, &id(n));
        }
        add(&mut tallies, 2, 2, &id(200));
        let mut weights = [0; WEIGHTS];
        tallies.weigh(0..101, at(300), limits().findtime, &mut weights);
        let limit = weights.iter().position(|w| *w > 0).unwrap();
        let mut equal = 50;
        assert_eq!(tallies.evict(0..101, at(300), limits().findtime, limit, &mut equal), 50);
        assert_eq!(tallies.len(), 51);
        assert!((0..10).all(|n| tallies.get(&id(n)).is_some()), "higher counts stay");
    }
}
