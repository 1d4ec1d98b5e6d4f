//! What one action should hold for one family, and how it is going.

use std::collections::HashSet;

use stockade_core::{Net, Timestamp};

use crate::content::{Bans, End};

/// The bans of one action in one family.
#[derive(Clone, Debug, Default)]
pub(super) struct Account {
    bans: Bans<(End, u32)>,
    /// Number of the next ban; they are put back in the order in which they came.
    next: u32,
    /// Whose state in the kernel may differ from what is wanted.
    pub(super) unsettled: HashSet<Net>,
    /// The start commands have had their effect.
    pub(super) started: bool,
    /// Something stood there before this process started it.
    pub(super) adopted: bool,
    /// There was a ban since the start, or since all were removed at once: only then that is done again.
    pub(super) used: bool,
    /// The last look here, or the repair after it, failed: what changed is still to be seen.
    pub(super) unseen: bool,
}

impl Account {
    /// When the ban ends, if it is wanted.
    pub(super) fn end(&self, net: Net) -> Option<End> {
        self.bans.get(net).map(|(end, _)| end)
    }

    /// Notes what is wanted from now on; returns what was.
    pub(super) fn set(&mut self, net: Net, end: Option<End>) -> Option<End> {
        let Some(end) = end else { return self.bans.set(net, None).map(|(end, _)| end) };
        self.used = true;
        let next = self.next;
        self.next = self.next.saturating_add(1);
        let (before, number) = self.bans.set(net, Some((end, next)))?;
        // A ban that is prolonged stays in its place.
        self.bans.set(net, Some((end, number)));
        Some(before)
    }

    /// Forgets all bans.
    pub(super) fn clear(&mut self) {
        self.bans.clear();
        self.unsettled.clear();
    }

    /// How many are wanted.
    pub(super) fn len(&self) -> usize {
        self.bans.len()
    }

    /// All of them, the oldest first, with the seconds that are left.
    pub(super) fn in_order(&self, now: Timestamp) -> Vec<Wanted> {
        let mut all: Vec<(u32, Wanted)> =
            self.bans.iter().map(|(net, (end, number))| (number, (net, secs_left(end, now)))).collect();
        all.sort_unstable_by_key(|(number, (net, _))| (*number, *net));
        all.into_iter().map(|(_, wanted)| wanted).collect()
    }

    /// All of them in no order, with their ends.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Net, End)> + '_ {
        self.bans.iter().map(|(net, (end, _))| (net, end))
    }

    /// Some of them, spread over all.
    pub(super) fn sample(&self, most: usize) -> Vec<Net> {
        let step = self.bans.len().checked_div(most).unwrap_or(0).max(1);
        self.bans.iter().step_by(step).map(|(net, _)| net).collect()
    }
}

/// A ban, and how many seconds it lasts still; `None` is for ever.
pub(super) type Wanted = (Net, Option<u64>);

/// Seconds until an end, rounded up.
pub(super) fn secs_left(end: End, now: Timestamp) -> Option<u64> {
    end.millis_from(now).map(|millis| millis.div_ceil(1000))
}
